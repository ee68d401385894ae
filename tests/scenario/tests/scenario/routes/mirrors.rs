//! Copies of requests for another upstream.

use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::h2raw::{DATA, Raw, request};
use tidegate_scenario::http::{Connection, get};
use tidegate_scenario::origin::{Answer, Origin};
use tidegate_scenario::until;

use super::{before, named};

const MIRRORED: &str =
    "  - { upstream: app, mirror: { upstream: shadow }, rewrite: { prefix: /x/ } }\n";

/// Waits until so many mirrors have come to this result.
fn mirrored(gateway: &Gateway, result: &str, count: f64) {
    let label = format!("result=\"{result}\"");
    until(&format!("{count} mirrors {result}"), || {
        (gateway.metric("tidegate_mirrored_total", &label) >= count).then_some(())
    });
    assert_eq!(gateway.metric("tidegate_mirrored_total", &label), count);
}

#[test]
fn a_mirror_gets_the_same_request_and_the_caller_only_the_first_reply() {
    let app = named("app");
    let shadow = Origin::start(|_| Answer::keep("HTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\nbad"));
    let gateway = before(&[("app", &app), ("shadow", &shadow)], MIRRORED);
    let mut connection = Connection::open(gateway.address);
    let requests: [&[u8]; 4] = [
        b"GET /a?q=1 HTTP/1.1\r\nHost: h\r\nX-One: 1\r\n\r\n",
        b"POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n3\r\nyou\r\n0\r\n\r\n",
        b"HEAD /d HTTP/1.1\r\nHost: h\r\n\r\n",
    ];
    for request in requests {
        let method = if request.starts_with(b"HEAD") {
            tidegate_wire::http1::head::Method::Head
        } else {
            tidegate_wire::http1::head::Method::Get
        };
        assert_eq!(connection.send(request).reply_to(method).status, 200);
    }
    // A body that comes after its head.
    connection.send(b"POST /e HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc");
    until("the head is there", || (app.bytes().ends_with(b"abc")).then_some(()));
    assert_eq!(connection.send(b"def").reply().text(), "app");
    mirrored(&gateway, "sent", 5.0);
    let seen = |origin: &Origin| {
        let mut seen: Vec<_> = origin
            .requests()
            .iter()
            .map(|request| (request.line().to_owned(), request.body.clone()))
            .collect();
        seen.sort();
        seen
    };
    assert_eq!(seen(&app), seen(&shadow));
    assert!(shadow.requests().iter().any(|request| request.field("x-one") == Some("1")));
    assert!(seen(&shadow).contains(&("POST /x/e HTTP/1.1".to_owned(), b"abcdef".to_vec())));
}

#[test]
fn a_body_that_is_too_long_is_not_mirrored_and_counted() {
    let (app, shadow) = (named("app"), named("shadow"));
    let gateway = before(&[("app", &app), ("shadow", &shadow)], MIRRORED);
    let body = vec![b'x'; 17 * 1024];
    let head = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut connection = Connection::open(gateway.address);
    assert_eq!(connection.send(head.as_bytes()).send(&body).reply().status, 200);
    let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4400\r\n";
    connection.send(head.as_bytes()).send(&body);
    assert_eq!(connection.send(b"\r\n0\r\n\r\n").reply().status, 200);
    mirrored(&gateway, "dropped", 2.0);
    assert!(app.requests().iter().all(|request| request.body.len() == body.len()));
    assert!(shadow.requests().is_empty());
}

#[test]
fn a_mirror_that_is_down_or_stalls_fails_no_exchange() {
    let app = named("app");
    let gate = tidegate_scenario::gate::Gate::default();
    let held = gate.clone();
    let stalled = Origin::start(move |_| {
        held.pass();
        Answer::close("")
    });
    let gateway = before(&[("app", &app), ("shadow", &stalled)], MIRRORED);
    for _ in 0..20 {
        assert_eq!(get(gateway.address, "/").text(), "app");
    }
    gate.open();
    mirrored(&gateway, "failed", 20.0);
    assert_eq!(app.requests().len(), 20);
}

#[test]
fn a_share_of_the_requests_is_mirrored() {
    let (app, shadow) = (named("app"), named("shadow"));
    let route = "  - { upstream: app, mirror: { upstream: shadow, percent: 20 } }\n";
    let gateway = before(&[("app", &app), ("shadow", &shadow)], route);
    let mut connection = Connection::open(gateway.address);
    for _ in 0..500 {
        assert_eq!(connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").reply().status, 200);
    }
    let sent = || gateway.metric("tidegate_mirrored_total", "result=\"sent\"");
    until("mirrors are done", || (sent() >= shadow.requests().len() as f64).then_some(()));
    // Five standard deviations.
    let count = shadow.requests().len();
    assert!((55..=145).contains(&count), "{count}");
}

#[test]
fn an_announced_body_is_mirrored_although_its_stream_does_not_end() {
    let (app, shadow) = (named("app"), named("shadow"));
    let gateway = before(&[("app", &app), ("shadow", &shadow)], MIRRORED);
    for (count, body) in [(1.0, ""), (2.0, "hello")] {
        let mut raw = Raw::open(gateway.address);
        let length = body.len().to_string();
        raw.head(1, &request("POST", "/", &[("content-length", &length)]), false);
        if !body.is_empty() {
            raw.frame(DATA, 0, 1, body.as_bytes());
        }
        assert_eq!(raw.outcome(1).status, 200);
        mirrored(&gateway, "sent", count);
        assert_eq!(shadow.requests().last().expect("a mirror").body, body.as_bytes());
    }
}
