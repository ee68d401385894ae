//! Changes over the admin API while traffic runs: applied whole or not at all, and kept in the file.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use serde_json::Value;
use tidegate_scenario::gateway::{Gateway, TOKEN};
use tidegate_scenario::http::{Connection, Reply, get};
use tidegate_scenario::origin::Origin;
use tidegate_scenario::process;
use tidegate_scenario::scripted::{self, chunk};
use tidegate_scenario::until;

/// One upstream with one endpoint, written with comments and a reference.
fn configuration(endpoint: SocketAddr) -> String {
    format!(
        "callers: [{{ name: dev, key: \"${{PATH}}\" }}] # from the environment\n\
         upstreams:\n  default:\n    # the first\n    endpoints:\n      - {{ url: http://{endpoint}, name: backend1 }} # keep\n\
         routes:\n  - {{ name: default, path: /, upstream: default }}\n"
    )
}

fn change(gateway: &Gateway, method: &str, path: &str, body: &str) -> Reply {
    gateway.admin_request(method, path, TOKEN, body)
}

#[track_caller]
fn changed(gateway: &Gateway, method: &str, path: &str, body: &str) -> Value {
    let reply = change(gateway, method, path, body);
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

#[test]
fn changes_under_load_fail_no_request() {
    let (one, two) = (Origin::plain(), Origin::plain());
    let gateway = Gateway::start(&configuration(one.address));
    let stop = Arc::new(AtomicBool::new(false));
    let (done, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (stop, done, failed) = (stop.clone(), done.clone(), failed.clone());
            let address = gateway.address;
            std::thread::spawn(move || {
                while !stop.load(Relaxed) {
                    let ok = get(address, "/").status == 200;
                    if ok { &done } else { &failed }.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    let more = |wanted: usize| {
        let from = done.load(Relaxed);
        until("requests go on", || (done.load(Relaxed) >= from + wanted).then_some(()));
    };
    more(20);
    let add = format!(
        r#"{{"upstream_id":"default","backend":{{"id":"backend2","host":"127.0.0.1","port":{}}}}}"#,
        two.address.port()
    );
    changed(&gateway, "POST", "/api/v1/backends/add", &add);
    until("the new backend is used", || (!two.requests().is_empty()).then_some(()));
    for balance in ["weight", "ip_hash", "least_connections_weight"] {
        let body = format!(r#"{{"routing":{{"default":{{"load_balancer":"{balance}"}}}}}}"#);
        changed(&gateway, "PUT", "/api/v1/config", &body);
        more(20);
    }
    let update = r#"{"upstream_id":"default","backend_id":"backend2","max_conn":500}"#;
    changed(&gateway, "PUT", "/api/v1/backends/update", update);
    let remove = r#"{"upstream_id":"default","backend_id":"backend1"}"#;
    changed(&gateway, "DELETE", "/api/v1/backends/remove", remove);
    more(20);
    stop.store(true, Relaxed);
    for caller in callers {
        caller.join().unwrap();
    }
    assert_eq!(failed.load(Relaxed), 0, "of {}", done.load(Relaxed));
    let backends = gateway.admin("/api/v1/backends?upstream=default").json();
    assert_eq!(backends["backends"].as_array().unwrap().len(), 1);
    assert_eq!(backends["backends"][0]["max_conn"], 500);
}

#[test]
fn a_change_is_in_the_file_with_comments_and_references_and_can_be_reverted() {
    let origin = Origin::plain();
    let gateway = Gateway::start(&configuration(origin.address));
    let before = gateway.file();
    let answer = changed(&gateway, "PATCH", "/api/v1/config", r#"{"limits":{"requests":77}}"#);
    assert_eq!((&answer["persisted"], &answer["generation"]), (&true.into(), &2.into()));
    assert_eq!(answer["differences"][0]["path"], "limits.requests");
    assert_eq!(gateway.status()["max_connections"], 77);
    let after = gateway.file();
    assert_eq!(after, format!("{before}limits: {{ requests: 77 }}\n"));
    assert!(after.contains("${PATH}") && after.contains("# keep"));
    let versions = gateway.admin("/api/v1/config/history").json();
    assert_eq!(versions["versions"].as_array().unwrap().len(), 1);
    changed(&gateway, "POST", "/api/v1/config/revert", "{}");
    assert_eq!(gateway.file(), before);
    assert_eq!(
        (gateway.status()["max_connections"].as_u64(), gateway.generation()),
        (Some(1000), 3)
    );
    let audit = gateway.admin("/api/v1/audit").json();
    assert_eq!(audit["entries"][0]["what"], "POST /api/v1/config/revert");
    assert_eq!(audit["entries"][1]["fields"][0], "limits.requests");
    assert_eq!(audit["entries"][1]["who"], "admin");
    assert_eq!(change(&gateway, "POST", "/api/v1/config/revert", r#"{"id":"../1-1"}"#).status, 404);
}

#[test]
fn a_wrong_change_is_refused_whole_and_a_dry_run_changes_nothing() {
    let origin = Origin::plain();
    let gateway = Gateway::start(&configuration(origin.address));
    let before = gateway.file();
    let wrong =
        r#"{"limits":{"requests":50,"conections":1},"routes":[{"path":"/","upstream":"nobody"}]}"#;
    let reply = change(&gateway, "PATCH", "/api/v1/config", wrong);
    assert_eq!(reply.status, 422);
    let problems = reply.json()["error"]["problems"].to_string();
    assert!(
        problems.contains("limits.conections") && problems.contains("routes[0].upstream"),
        "{problems}"
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let bind = format!(
        r#"{{"listeners":[{{"bind":"127.0.0.1:0"}},{{"bind":"{}"}}]}}"#,
        taken.local_addr().unwrap()
    );
    assert_eq!(change(&gateway, "PATCH", "/api/v1/config", &bind).status, 409);
    let dry =
        changed(&gateway, "PATCH", "/api/v1/config?dry_run=true", r#"{"limits":{"requests":5}}"#);
    assert_eq!((&dry["changed"], &dry["persisted"]), (&true.into(), &false.into()));
    assert_eq!(dry["differences"][0]["after"], 5);
    assert_eq!((gateway.generation(), gateway.file()), (1, before));
    assert_eq!(get(gateway.address, "/").status, 200);
}

#[test]
fn a_drained_endpoint_keeps_its_stream_until_force_ends_it() {
    let origin = scripted::Scripted::start(|_, peer| {
        while peer.request_head().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").send(chunk("hello"));
            peer.wait_for_close();
        }
    });
    let gateway = Gateway::start(&configuration(origin.address));
    let mut stream = Connection::open(gateway.address);
    stream.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(stream.until_seen(b"hello"));
    let name = r#""upstream_id":"default","backend_id":"backend1""#;
    changed(&gateway, "POST", "/api/v1/backends/disconnect", &format!("{{{name}}}"));
    assert_eq!(get(gateway.address, "/new").status, 503, "nothing new goes there");
    let state = || gateway.admin("/api/v1/endpoints").json()["endpoints"][0]["state"].clone();
    assert_eq!((&state()["draining"], &state()["in_flight"]), (&true.into(), &1.into()));
    let force = format!(r#"{{{name},"force":true,"grace":"100ms"}}"#);
    changed(&gateway, "POST", "/api/v1/backends/disconnect", &force);
    let reply = stream.reply();
    assert!(!reply.complete, "it is broken off");
    until("nothing is in flight", || (state()["in_flight"] == 0).then_some(()));
    assert!(gateway.metric("tidegate_ended_total", "endpoint_drained") >= 1.0);
    let back = r#"{"upstream":"default","endpoint":"backend1"}"#;
    changed(&gateway, "POST", "/api/v1/endpoints/undrain", back);
    let mut again = Connection::open(gateway.address);
    again.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(again.until_seen(b"hello"));
}

#[test]
fn an_imported_configuration_passes_its_check() {
    let directory = process::directory();
    let old = directory.join("speedmimi.yaml");
    std::fs::write(
        &old,
        "server: { host: 0.0.0.0, port: 18080, read_timeout: 30s, write_timeout: 30s, max_conn: 1000, real_ip_header: X-Real-IP }\n\
         ssl: { enabled: false, cert_file: a.crt, key_file: a.key }\n\
         backends: { default: [{ id: b1, host: 127.0.0.1, port: 8081, weight: 100, scheme: http, active: true, max_conn: 10 }] }\n\
         routing: { default: { path: /, upstream: default, load_balancer: performance_least_connections_weight } }\n\
         grpc: { enabled: true, host: 127.0.0.1, port: 19091 }\n",
    )
    .unwrap();
    let imported = process::run(&["import", "speedmimi", old.to_str().unwrap()]);
    assert!(imported.status.success(), "{imported:?}");
    let warnings = String::from_utf8(imported.stderr).unwrap();
    assert!(warnings.contains("real_ip_header"), "{warnings}");
    let ours = directory.join("speedmimi-imported.yaml");
    std::fs::write(&ours, imported.stdout).unwrap();
    let checked = process::tidegate(&["check", ours.to_str().unwrap()])
        .env("TIDEGATE_ADMIN_TOKEN", "a-token-of-sixteen-letters")
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn explain_tells_what_is_in_force_and_who_is_left_out() {
    let origin = Origin::plain();
    let gateway = Gateway::start(&configuration(origin.address));
    let asked = "/api/v1/explain?url=http://any.example/x&from=192.0.2.7";
    let told = gateway.admin(asked).json();
    let endpoint = &told["upstreams"][0]["endpoints"][0];
    assert_eq!(endpoint["candidate"], true, "{told}");
    let body = format!(r#"{{"upstream":"default","endpoint":"http://{}"}}"#, origin.address);
    changed(&gateway, "POST", "/api/v1/endpoints/drain", &body);
    let told = gateway.admin(asked).json();
    let endpoint = &told["upstreams"][0]["endpoints"][0];
    assert_eq!(endpoint["candidate"], false, "{told}");
    assert!(endpoint["why_not"].to_string().contains("drain"), "{told}");
    assert_eq!(gateway.admin("/api/v1/explain").status, 400);
    assert_eq!(gateway.admin("/api/v1/explain?url=nowhere").status, 400);
}
