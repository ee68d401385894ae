//! SIGUSR2: a new process takes over the sockets, the old one ends with its last exchange.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::process::{Signal, test_kill_process};
use tidegate_lab::provider::{ProviderOptions, spawn_provider};
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::{Connection, get, once};
use tidegate_scenario::process::child_of;
use tidegate_scenario::until;

use super::{provider, stream};

const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn an_upgrade_breaks_no_stream_and_fails_no_request() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    // The old process waits this long for connections that stay silent.
    let soon = "timeouts: { keep_alive: 3s }\n";
    let mut gateway = Gateway::start(&format!("{}{soon}", provider(lab.addr)));
    let mut running = stream(gateway.address, 60, 25);
    let mut idle = Connection::open(gateway.address);
    assert_eq!(idle.send(HEALTH).reply().status, 200);
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..2)
        .map(|_| {
            let (stop, address) = (Arc::clone(&stop), gateway.address);
            std::thread::spawn(move || {
                let mut answered = 0u32;
                while !stop.load(Relaxed) {
                    let close = b"GET /v1/models HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
                    assert_eq!(once(address, close).status, 401, "after {answered} answers");
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    let second = gateway.upgrade();
    let third = gateway.upgrade();
    assert_ne!(second, third);
    // Whoever kept a connection to the first process is answered once more, and told to go.
    let reply = idle.send(b"GET /status HTTP/1.1\r\nHost: a\r\n\r\n").reply();
    assert_eq!((reply.status, reply.field("connection")), (200, Some("close")));
    let reply = running.reply();
    assert!(reply.complete && reply.text().ends_with("data: [DONE]\n\n"), "{}", reply.text());
    assert_eq!(gateway.ended(), Some(0), "the first process ends with its last exchange");
    stop.store(true, Relaxed);
    for caller in callers {
        assert!(caller.join().expect("every request is answered") > 0);
    }
    assert_eq!(get(gateway.address, "/health").text(), r#"{"status":"ok"}"#);
    assert_eq!(gateway.admin("/api/monitor/health").status, 200, "the admin listener goes along");
    until("the second process ends", || test_kill_process(second).is_err().then_some(()));
    assert!(test_kill_process(third).is_ok());
}

#[test]
fn an_upgrade_that_cannot_start_changes_nothing() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let mut gateway = Gateway::start(&provider(lab.addr));
    gateway.rewrite("no_such_key: 1\n");
    gateway.signal(Signal::USR2);
    gateway.logged("not upgraded");
    assert_eq!(get(gateway.address, "/health").status, 200);
    assert_eq!(gateway.admin("/api/v1/config").json()["generation"], 1);
}

#[test]
fn the_new_process_reads_the_configuration_anew() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let mut gateway = Gateway::start(&provider(lab.addr));
    let more = "listeners: [{ bind: 127.0.0.1:0 }]\nshards: 3\nlimits: { requests: 77 }\n";
    gateway.rewrite(&format!("{more}{}", provider(lab.addr)));
    gateway.upgrade();
    assert_eq!(gateway.ended(), Some(0));
    assert_eq!(gateway.status()["max_connections"], 77);
}

#[test]
fn a_stop_ends_the_new_process_that_is_still_starting() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let mut gateway = Gateway::start(&provider(lab.addr));
    // A name server that never answers holds up the new process's start.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    gateway.rewrite(&format!(
        "{}resolver: {{ servers: [\"{}\"] }}\n\
         upstreams: {{ app: {{ endpoints: [\"http://app.internal\"] }} }}\n\
         routes: [{{ path: /, upstream: app }}]\n",
        provider(lab.addr),
        silent.local_addr().unwrap()
    ));
    gateway.signal(Signal::USR2);
    let new = until("the new process", || child_of(gateway.pid()));
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.ended(), Some(0));
    assert!(test_kill_process(new).is_err(), "it would go on for ever, and nobody knows of it");
}
