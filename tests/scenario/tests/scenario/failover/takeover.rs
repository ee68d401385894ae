//! A provider that cannot be reached, or breaks before its reply: the next one answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
use tidegate_lab::fault::{Fault, FaultProxy};
use tidegate_lab::provider::{ProviderOptions, spawn_provider};
use tidegate_scenario::gateway::{Gateway, KEY};
use tidegate_scenario::http::{Connection, get};
use tidegate_scenario::llm::{CHAT, error_event};
use tidegate_scenario::scripted::{STREAM_HEAD, Scripted, chunk, json_reply};
use tidegate_scenario::until;

use super::{chat, openai};

#[test]
fn a_provider_that_refuses_connections_is_passed_over() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gone = spawn_provider(ProviderOptions::default()).unwrap();
    gone.stop();
    let gateway = Gateway::start(&openai(&[(gone.addr, ""), (lab.addr, ", priority: 1")]));
    for _ in 0..10 {
        assert_eq!(chat(&gateway, "lab-echo").status, 200);
    }
    assert_eq!(gateway.metric("tidegate_requests_total", "class=\"5xx\""), 0.0);
}

#[test]
fn a_provider_that_does_not_accept_in_time_is_passed_over() {
    // A backlog that is full: further connections are neither accepted nor refused.
    let full = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&full, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listen(&full, 0).unwrap();
    let address = std::net::SocketAddr::try_from(getsockname(&full).unwrap()).unwrap();
    let _fills_it = Connection::open(address);
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&format!(
        "timeouts: {{ connect: 300ms }}\n{}",
        openai(&[(address, ""), (lab.addr, ", priority: 1")])
    ));
    assert_eq!(chat(&gateway, "lab-echo").status, 200);
    let failures = "tidegate_upstream_failures_total";
    assert_eq!(gateway.metric(failures, "connect_timeout"), 1.0);
}

#[test]
fn a_provider_that_breaks_before_its_reply_is_complete_enough_is_replaced() {
    let beginnings = ["", "H", "HTTP/1.1 200 OK\r\nContent-Ty", "HTTP/1.1 100 Continue\r\n\r\n"];
    for reset in [false, true] {
        let provider = Scripted::start(move |number, peer| {
            peer.request();
            peer.send(beginnings[number % beginnings.len()]);
            peer.wait_until_read();
            if reset {
                peer.reset();
            }
        });
        let lab = spawn_provider(ProviderOptions::default()).unwrap();
        let gateway = Gateway::start(&format!(
            "retry: {{ cooldown: {{ failures: 1000 }} }}\n{}",
            openai(&[(provider.address, ""), (lab.addr, ", priority: 1")])
        ));
        for beginning in beginnings {
            let reply = chat(&gateway, "lab-echo");
            assert_eq!(reply.status, 200, "reset {reset} after {beginning:?}: {}", reply.text());
        }
        assert_eq!(provider.accepted(), beginnings.len());
        assert_eq!(lab.stats().completed, beginnings.len() as u64);
    }
}

#[test]
fn a_provider_in_a_black_hole_is_replaced_by_the_first_token_deadline() {
    let (behind, lab) = (
        spawn_provider(ProviderOptions::default()).unwrap(),
        spawn_provider(ProviderOptions::default()).unwrap(),
    );
    let fault = FaultProxy::spawn(behind.addr).unwrap();
    let gateway = Gateway::start(&format!(
        "timeouts: {{ first_token: 300ms }}\n{}",
        openai(&[(fault.addr, ""), (lab.addr, ", priority: 1")])
    ));
    let stream = CHAT.stream("lab-tokens-3");
    // First through a connection that works, so that the next request finds it in the pool.
    assert!(Connection::open(gateway.address).send(&stream).reply().text().contains(CHAT.end));
    fault.set(Fault::BlackHole);
    let reply = Connection::open(gateway.address).send(&stream).reply();
    assert!(reply.complete && reply.text().contains(CHAT.end), "{}", reply.text());
    assert_eq!((behind.stats().requests, lab.stats().completed), (1, 1));
}

#[test]
fn no_request_fails_while_one_of_two_providers_is_killed() {
    let (behind, lab) = (
        spawn_provider(ProviderOptions::default()).unwrap(),
        spawn_provider(ProviderOptions::default()).unwrap(),
    );
    let fault = Arc::new(FaultProxy::spawn(behind.addr).unwrap());
    let gateway = Gateway::start(&openai(&[(fault.addr, ""), (lab.addr, "")]));
    let begun = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..200)
        .map(|_| {
            let (address, begun) = (gateway.address, Arc::clone(&begun));
            std::thread::spawn(move || {
                let mut connection = Connection::open(address);
                let ask = CHAT.whole_with("lab-echo", "x-lab-first-token-ms: 20\r\n");
                (0..10).all(|_| {
                    begun.fetch_add(1, SeqCst);
                    let reply = connection.send(&ask).reply();
                    let well = reply.status == 200 && reply.complete;
                    if !well {
                        println!("failed: {reply:?}");
                    }
                    well
                })
            })
        })
        .collect();
    until("the callers are busy", || (begun.load(SeqCst) >= 600).then_some(()));
    fault.set(Fault::Refuse);
    fault.kill_connections();
    let well = callers.into_iter().map(|caller| caller.join().unwrap());
    assert_eq!(well.filter(|well| *well).count(), 200);
    assert!(behind.stats().requests >= 100, "{:?}", behind.stats());
    println!("retries: {}", gateway.metric("tidegate_retries_total", ""));
}

#[test]
fn pooled_connections_that_all_turn_out_to_be_dead_do_not_fail_a_request() {
    let dead = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&dead);
    // Closes only when the next request comes, which no pool can know before.
    let provider = Scripted::start(move |_, peer| {
        while peer.request().is_some() {
            if theirs.load(SeqCst) {
                return;
            }
            peer.send(json_reply(200, r#"{"object":"chat.completion"}"#));
        }
    });
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&format!(
        "shards: 1\n{}",
        openai(&[(provider.address, ""), (lab.addr, ", priority: 1")])
    ));
    let mut callers: Vec<Connection> = (0..12).map(|_| Connection::open(gateway.address)).collect();
    for caller in &mut callers {
        caller.send(&CHAT.whole("m"));
    }
    for caller in &mut callers {
        assert_eq!(caller.reply().status, 200);
    }
    assert!(gateway.metric("tidegate_pool_idle_connections", "") >= 0.0);
    dead.store(true, SeqCst);
    for caller in &mut callers {
        let reply = caller.send(&CHAT.whole("lab-echo")).reply();
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
}

#[test]
fn after_the_first_byte_of_a_reply_nobody_else_is_asked() {
    let event = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n";
    let provider = Scripted::start(move |_, peer| {
        let Some(request) = peer.request() else { return };
        if request.body.windows(13).any(|part| part == b"\"stream\":true") {
            peer.send(STREAM_HEAD).send(chunk(event));
        } else {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"half\":");
        }
        peer.wait_until_read();
        peer.reset();
    });
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&openai(&[(provider.address, ""), (lab.addr, ", priority: 1")]));
    let reply = Connection::open(gateway.address).send(&CHAT.stream("lab-tokens-3")).reply();
    error_event(&CHAT, &reply.text());
    let reply = chat(&gateway, "lab-echo");
    assert!(!reply.complete, "{reply:?}");
    assert_eq!(lab.stats().requests, 0);
    assert_eq!(gateway.metric("tidegate_retries_total", ""), 0.0);
}

#[test]
fn the_next_provider_gets_the_same_bytes_with_its_own_name_for_the_model() {
    let gone = spawn_provider(ProviderOptions::default()).unwrap();
    gone.stop();
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&format!(
        "models:\n  - {{ name: gpt, to: [{{ provider: p0, model: other }}, {{ provider: p1, model: lab-echo }}], balance: priority }}\n{}",
        openai(&[(gone.addr, ""), (lab.addr, "")])
    ));
    let body =
        r#"{ "z": 1.0, "model" : "gpt", "messages":[{"role":"user","content":"\u0068i"}],"a":1e2}"#;
    let ask = tidegate_scenario::http::llm_call(CHAT.path, KEY, body);
    assert_eq!(Connection::open(gateway.address).send(&ask).reply().status, 200);
    let last = get(lab.addr, "/lab/last").json();
    assert_eq!(last["body"], body.replace("\"gpt\"", "\"lab-echo\""));
}

#[test]
fn a_body_that_was_passed_on_as_it_came_is_not_sent_twice() {
    let provider = Scripted::start(|_, peer| {
        peer.request();
        peer.reset();
    });
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&openai(&[(provider.address, ""), (lab.addr, ", priority: 1")]));
    let mut connection = Connection::open(gateway.address);
    connection.send(
        format!(
            "POST /v1/files HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 300000\r\n\r\n"
        )
        .as_bytes(),
    );
    let reply = connection.send(&vec![b'x'; 300_000]).reply();
    assert_eq!(reply.status, 502);
    assert_eq!(reply.field("x-tidegate-reason"), Some("upstream_closed"));
    assert_eq!(lab.stats().requests, 0);
}
