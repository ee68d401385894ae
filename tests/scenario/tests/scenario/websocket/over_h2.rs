//! The request for a WebSocket over HTTP/2 (RFC 8441) and what becomes of it.

use std::io::Read as _;

use tidegate_lab::origin::{OriginOptions, spawn_origin};
use tidegate_scenario::gate::Gate;
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::h2raw::{DATA, HEADERS, Raw, SETTINGS};
use tidegate_scenario::h2tunnel::{Ended, Tunnel, asking, refused};
use tidegate_scenario::origin::{Answer, Origin};
use tidegate_scenario::scripted::Scripted;
use tidegate_scenario::until;
use tidegate_scenario::websocket::{SWITCHED, switched};

use super::before;

#[test]
fn a_listener_announces_extended_connect() {
    let gateway = before(([127, 0, 0, 1], 1).into(), "");
    let settings = Raw::open(gateway.address).next_frame().expect("settings");
    assert_eq!(settings.kind, SETTINGS);
    assert!(settings.payload.as_chunks::<6>().0.contains(&[0, 8, 0, 0, 0, 1]), "{settings:?}");
}

#[test]
fn the_endpoint_sees_a_request_of_http11_with_a_key_of_ours() {
    let origin = Scripted::start(|_, peer| {
        let request = peer.request().expect("a request");
        peer.send(switched(&request)).send(request.head).finish();
    });
    let gateway = before(origin.address, "");
    let mut keys = Vec::new();
    for _ in 0..2 {
        let mut raw = Raw::open(gateway.address);
        let more = [
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "chat"),
            ("x-own", "1"),
        ];
        raw.head(1, &asking("/a/../ws?x=1", &more), false);
        raw.frame(DATA, 1, 1, b"");
        let outcome = raw.outcome(1);
        assert_eq!((outcome.status, outcome.complete), (200, true));
        let asked = outcome.text();
        assert!(asked.starts_with("GET /ws?x=1 HTTP/1.1\r\nHost: app\r\n"), "{asked}");
        for line in [
            "Connection: Upgrade\r\n",
            "Upgrade: websocket\r\n",
            "sec-websocket-version: 13\r\n",
            "sec-websocket-protocol: chat\r\n",
            "x-own: 1\r\n",
            "X-Forwarded-For: 127.0.0.1\r\n",
        ] {
            assert_eq!(asked.matches(line).count(), 1, "{line}: {asked}");
        }
        let lower = asked.to_ascii_lowercase();
        assert_eq!(lower.matches("sec-websocket-key:").count(), 1, "{asked}");
        assert!(!asked.contains("dGhlIHNhbXBsZSBub25jZQ=="), "{asked}");
        assert!(!lower.contains("content-length") && !lower.contains("transfer-encoding"));
        keys.push(lower.split("sec-websocket-key: ").nth(1).map(|rest| rest[..24].to_owned()));
    }
    assert_ne!(keys[0], keys[1]);
}

#[test]
fn bytes_sent_early_are_held_until_the_101() {
    let gate = Gate::default();
    let opened = gate.clone();
    let origin = Scripted::start(move |_, peer| {
        let request = peer.request().expect("a request");
        opened.pass();
        peer.stream.set_nonblocking(true).unwrap();
        let early = peer.stream.read(&mut [0; 16]).map_err(|error| error.kind());
        assert_eq!(early, Err(std::io::ErrorKind::WouldBlock), "before the 101");
        peer.stream.set_nonblocking(false).unwrap();
        peer.send(switched(&request));
        let early = peer.exactly(5);
        peer.send(early).finish();
    });
    let gateway = before(origin.address, "");
    let mut tunnel = Tunnel::ask(gateway.address, &[]);
    tunnel.send(b"early");
    until("the endpoint is asked", || (origin.accepted() == 1).then_some(()));
    // What stands behind it on the connection has been read.
    tunnel.raw.frame(tidegate_scenario::h2raw::PING, 0, 0, &[7; 8]);
    let pong = std::iter::from_fn(|| tunnel.raw.next_frame())
        .find(|frame| frame.kind == tidegate_scenario::h2raw::PING);
    assert_eq!(pong.expect("an answer").payload, [7; 8]);
    gate.open();
    tunnel.finish();
    assert_eq!(tunnel.rest(), (b"early".to_vec(), Ended::Well));
}

#[test]
fn a_refusal_is_an_ordinary_reply_and_the_connection_goes_on() {
    let origin = Origin::start(|request| match request.line() {
        "GET /ws HTTP/1.1" => {
            Answer::keep("HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno!")
        }
        _ => Answer::ok("ok"),
    });
    let gateway = before(origin.address, "");
    let mut raw = Raw::open(gateway.address);
    for stream in [1, 3] {
        raw.head(stream, &asking("/ws", &[]), false);
        raw.frame(DATA, 0, stream, b"GET /smuggled HTTP/1.1\r\nHost: app\r\n\r\n");
        let outcome = raw.outcome(stream);
        assert_eq!((outcome.status, outcome.text().as_str()), (404, "no!"));
    }
    raw.get(5, "/x");
    assert_eq!(raw.outcome(5).text(), "ok");
    let seen: Vec<_> = origin.requests().iter().map(|r| r.line().to_owned()).collect();
    assert_eq!(seen, ["GET /ws HTTP/1.1", "GET /ws HTTP/1.1", "GET /x HTTP/1.1"]);
    assert_eq!(gateway.metric("tidegate_websockets_total", ""), 0.0);
}

#[test]
fn no_2xx_is_told_that_would_be_taken_for_a_tunnel() {
    let origin = Origin::plain();
    let gateway = Gateway::start(&format!(
        "upstreams: {{ app: {{ endpoints: [\"http://{}\"] }} }}\n\
         routes:\n\
         - {{ path: /fixed, reply: {{ status: 200, body: hello }} }}\n\
         - {{ path: /teapot, reply: {{ status: 400, body: tea }} }}\n\
         - {{ path: /, upstream: app }}\n",
        origin.address
    ));
    for (path, status, reason) in [
        // The endpoint answers 200, as if nobody had spoken of a WebSocket.
        ("/ws", 502, "bad_reply"),
        ("/health", 404, "no_route"),
        ("/status", 404, "no_route"),
        ("/fixed", 404, "no_route"),
        ("/teapot", 400, "tea"),
    ] {
        let outcome = refused(gateway.address, path);
        assert_eq!((outcome.status, outcome.complete), (status, true), "{path}: {outcome:?}");
        assert!(outcome.text().contains(reason), "{path}: {}", outcome.text());
    }
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn an_endpoint_that_has_not_read_the_key_has_not_switched() {
    let replies = [
        SWITCHED.to_owned(),
        SWITCHED.replace("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", ""),
    ];
    for reply in replies {
        let origin = Scripted::start(move |_, peer| {
            peer.request();
            peer.send(&reply).send("boo");
            peer.wait_for_close();
        });
        let gateway = before(origin.address, "");
        let outcome = refused(gateway.address, "/ws");
        assert_eq!(outcome.status, 502, "{outcome:?}");
        assert!(outcome.text().contains("bad_reply"), "{}", outcome.text());
    }
}

#[test]
fn other_protocols_are_not_implemented() {
    let origin = Origin::plain();
    let gateway = before(origin.address, "");
    for protocol in ["connect-udp", "connect-ip", "webtransport", "h2c", ""] {
        let mut fields = asking("/ws", &[]);
        fields[1].1 = protocol;
        let mut raw = Raw::open(gateway.address);
        raw.head(1, &fields, false);
        let outcome = raw.outcome(1);
        assert_eq!(outcome.status, 501, "{protocol}: {outcome:?}");
        assert!(outcome.text().contains("unknown_protocol"), "{}", outcome.text());
        raw.get(3, "/x");
        assert_eq!(raw.outcome(3).status, 200, "the connection goes on");
    }
    assert_eq!(gateway.metric("tidegate_ended_total", "unknown_protocol"), 5.0);
    assert_eq!(origin.requests().len(), 5);
}

#[test]
fn routes_access_lists_limits_and_admission_hold_as_for_any_request() {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let gateway = Gateway::start(&format!(
        "upstreams: {{ app: {{ endpoints: [\"http://{}\"] }} }}\n\
         routes:\n\
         - {{ path: /denied, upstream: app, access: {{ deny: [127.0.0.0/8] }} }}\n\
         - {{ path: /rare, upstream: app, rate_limit: {{ requests: 1, per: 1h }} }}\n\
         - {{ path: /post, upstream: app, methods: [POST] }}\n\
         - {{ path: /ws, upstream: app }}\n\
         limits: {{ requests: 1, queue: {{ size: 0 }} }}\n",
        lab.addr
    ));
    for (path, status, reason) in [
        ("/denied", 403, "access_denied"),
        ("/rare", 404, "no such path"),
        ("/rare", 429, "rate_limited"),
        ("/post", 405, "method_not_allowed"),
        ("/none", 404, "no_route"),
    ] {
        let outcome = refused(gateway.address, path);
        assert_eq!(outcome.status, status, "{path}: {}", outcome.text());
        assert!(outcome.text().contains(reason), "{path}: {}", outcome.text());
    }
    let mut tunnel = Tunnel::open(gateway.address);
    let outcome = refused(gateway.address, "/ws");
    assert_eq!(outcome.status, 503, "{outcome:?}");
    tunnel.echoes("mine");
}

#[test]
fn a_stream_that_ends_with_its_head_is_no_tunnel() {
    let origin = Origin::plain();
    let gateway = before(origin.address, "");
    let mut raw = Raw::open(gateway.address);
    raw.head(1, &asking("/ws", &[]), true);
    assert_eq!(raw.outcome(1).status, 400);
    assert!(origin.requests().is_empty());
}

#[test]
fn a_caller_that_goes_before_the_101_cancels_the_attempt() {
    let gate = Gate::default();
    let opened = gate.clone();
    let origin = Scripted::start(move |_, peer| {
        peer.request();
        peer.wait_for_close();
        opened.open();
    });
    let gateway = before(origin.address, "");
    let mut tunnel = Tunnel::ask(gateway.address, &[]);
    until("the endpoint is asked", || (origin.accepted() == 1).then_some(()));
    tunnel.reset();
    gate.pass();
    until("it is over", || {
        (gateway.metric("tidegate_ended_total", "client_gone") == 1.0).then_some(())
    });
    tunnel.raw.get(3, "/health");
    assert_eq!(tunnel.raw.outcome(3).status, 200, "the connection goes on");
}

#[test]
fn many_tunnels_share_a_connection_with_requests() {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let gateway = before(lab.addr, "");
    let mut raw = Raw::open(gateway.address);
    let tunnels: Vec<u32> = (1..101).step_by(2).collect();
    for stream in &tunnels {
        raw.head(*stream, &asking("/ws", &[]), false);
    }
    let mut heads = 0;
    while heads < tunnels.len() {
        let frame = raw.next_frame().expect("the connection stays");
        if frame.kind == HEADERS {
            assert_eq!(frame.payload.first(), Some(&0x88));
            heads += 1;
        }
    }
    assert_eq!(gateway.metric("tidegate_websockets_open", ""), tunnels.len() as f64);
    raw.get(1001, "/small");
    assert_eq!(raw.outcome(1001).status, 200);
    for stream in &tunnels {
        let text = format!("stream {stream}");
        raw.frame(DATA, 0, *stream, &tidegate_scenario::websocket::frame(1, text.as_bytes()));
        let data = std::iter::from_fn(|| raw.next_frame()).find(|frame| frame.kind == DATA);
        let data = data.expect("an echo");
        let expected = tidegate_scenario::websocket::answer(1, text.as_bytes());
        assert_eq!((data.stream, data.payload), (*stream, expected));
    }
    drop(raw);
    until("no WebSocket is open", || {
        (gateway.metric("tidegate_websockets_open", "") == 0.0).then_some(())
    });
}
