//! Requests over HTTP/2: what arrives, what comes back, how many connections it takes.

use std::time::Duration;

use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::{Connection, get, once};
use tidegate_scenario::http2_origin::{Http2Origin, Options, big};
use tidegate_scenario::until;

fn to(origin: &Http2Origin) -> Gateway {
    super::before(&format!("endpoints: [\"http://{}\"], protocol: http2", origin.address))
}

#[test]
fn a_request_arrives_with_its_fields_and_without_those_of_the_connection() {
    let origin = Http2Origin::start(Options::default());
    let gateway = to(&origin);
    let reply = once(
        gateway.address,
        b"GET /a%20b?c=d HTTP/1.1\r\nHost: app.example\r\nX-One: 1\r\nKeep-Alive: 5\r\n\
          Upgrade: h2c\r\nConnection: x-gone, upgrade, close\r\nX-Gone: 1\r\nTE: trailers\r\n\r\n",
    );
    assert_eq!((reply.status, reply.text().as_str()), (200, "ok"));
    assert_eq!(reply.field("x-origin"), Some("h2"));
    let requests = origin.requests();
    let request = requests.first().expect("it arrived");
    assert_eq!(request.uri(), "http://app.example/a%20b?c=d");
    let fields: Vec<_> = request
        .headers()
        .iter()
        .filter(|(name, _)| *name != "x-request-id")
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    assert_eq!(
        fields,
        ["x-one: 1", "x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http", "te: trailers"]
    );
}

#[test]
fn one_connection_serves_many_callers_at_once() {
    let origin = Http2Origin::start(Options::default());
    let gateway = to(&origin);
    let mut callers: Vec<_> = (0..50).map(|_| Connection::open(gateway.address)).collect();
    for caller in &mut callers {
        caller.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    until("all streams are open", || (origin.streams().0 == 50).then_some(()));
    assert_eq!(origin.connections(), 1);
    until("the gauge says so", || {
        (gateway.metric("tidegate_upstream_http2_streams", "") == 50.0).then_some(())
    });
    assert_eq!(gateway.metric("tidegate_upstream_http2_connections", ""), 1.0);
    origin.release();
    for caller in &mut callers {
        assert_eq!(caller.reply().text(), "released");
    }
    until("no stream is left", || {
        (gateway.metric("tidegate_upstream_http2_streams", "") == 0.0).then_some(())
    });
}

#[test]
fn the_connections_grow_past_the_limit_of_streams_that_each_allows() {
    let origin = Http2Origin::start(Options { streams_max: Some(4), ..Options::default() });
    let gateway = to(&origin);
    let mut callers: Vec<_> = (0..20).map(|_| Connection::open(gateway.address)).collect();
    for caller in &mut callers {
        caller.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    until("all streams are open", || (origin.streams().0 == 20).then_some(()));
    assert_eq!(origin.connections(), 5);
    origin.release();
    for caller in &mut callers {
        assert_eq!(caller.reply().status, 200);
    }
}

#[test]
fn a_mebibyte_passes_both_ways_through_small_windows() {
    let origin = Http2Origin::start(Options { window: Some(1000), ..Options::default() });
    let gateway = to(&origin);
    let body = big();
    let mut caller = Connection::open(gateway.address);
    let mut ask =
        format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len())
            .into_bytes();
    ask.extend_from_slice(&body);
    let mut sender = caller.stream.try_clone().unwrap();
    // Both directions at once: the origin echoes as it reads.
    let sending = std::thread::spawn(move || std::io::Write::write_all(&mut sender, &ask));
    let reply = caller.reply();
    sending.join().unwrap().unwrap();
    assert_eq!((reply.status, reply.complete), (200, true));
    assert!(reply.body == body);
    assert!(origin.bodies() == [body.clone()]);
    let reply = get(gateway.address, "/big");
    assert!(reply.complete && reply.body == body);
}

/// Uploads of known length before an endpoint with a small window, which takes nothing of `/late` for
/// now; the caller must go on within a second.
fn uploads() -> (Http2Origin, Gateway) {
    let origin = Http2Origin::start(Options { window: Some(1000), ..Options::default() });
    let gateway = Gateway::start(&format!(
        "upstreams: {{ app: {{ endpoints: [\"http://{}\"], protocol: http2 }} }}\n\
         routes: [{{ path: /, upstream: app }}]\nshards: 1\ntimeouts: {{ body: 1s }}\n",
        origin.address
    ));
    (origin, gateway)
}

#[test]
fn the_callers_time_stands_still_while_the_endpoints_window_is_closed() {
    let (origin, gateway) = uploads();
    let mut caller = Connection::open(gateway.address);
    caller.send(b"PUT /late HTTP/1.1\r\nHost: a\r\nContent-Length: 3000\r\n\r\n");
    caller.send(&[b'x'; 2500]);
    until("it is asked", || (origin.streams().0 == 1).then_some(()));
    // Who sends nothing has used up its time, so that the first one would have, too.
    let mut silent = Connection::open(gateway.address);
    silent.send(b"PUT /late HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n");
    assert_eq!(silent.reply().status, 408);
    origin.release();
    until("the window is open again", || (origin.taken() == 2500).then_some(()));
    let reply = caller.send(&[b'x'; 500]).reply();
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(origin.taken(), 3000);
}

#[test]
fn a_body_that_only_trickles_to_an_open_window_is_answered_408() {
    let (origin, gateway) = uploads();
    origin.release();
    let mut caller = Connection::open(gateway.address);
    caller.send(b"PUT /late HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    caller.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    // A byte comes long before each deadline, until the gateway has had enough.
    let answered = (0..400).any(|_| caller.send(b"x").stream.peek(&mut [0]).is_ok());
    assert!(answered, "it may go on for ever");
    let reply = caller.reply();
    assert_eq!(reply.status, 408, "{}", reply.text());
}

#[test]
fn a_reply_without_a_body_and_one_to_head_end_at_once() {
    let origin = Http2Origin::start(Options::default());
    let gateway = to(&origin);
    let mut caller = Connection::open(gateway.address);
    assert_eq!(caller.send(b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n").reply().status, 204);
    caller.send(b"HEAD /nothing HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(caller.reply_to(tidegate_wire::http1::head::Method::Head).status, 204);
    assert_eq!(caller.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").reply().text(), "ok");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_caller_that_reads_slowly_holds_up_no_other_on_the_same_connection() {
    let origin = Http2Origin::start(Options::default());
    let gateway = to(&origin);
    let slow: Vec<_> = (0..40)
        .map(|_| {
            let mut caller = Connection::open(gateway.address);
            caller.send(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
            caller
        })
        .collect();
    until("all of them are being sent", || (origin.requests().len() == 40).then_some(()));
    let reply = get(gateway.address, "/big");
    assert!(reply.complete && reply.body == big());
    assert_eq!(origin.connections(), 1);
    for mut caller in slow {
        assert!(caller.reply().body == big());
    }
}

#[test]
fn trailers_reach_a_caller_that_asks_for_them_and_no_other() {
    let origin = Http2Origin::start(Options::default());
    let gateway = to(&origin);
    for (te, expected) in [("TE: trailers\r\n", true), ("", false)] {
        let mut caller = Connection::open(gateway.address);
        let ask = format!(
            "POST /grpc HTTP/1.1\r\nHost: a\r\n{te}Content-Length: 3\r\nConnection: close\r\n\r\nabc"
        );
        let all = caller.send(ask.as_bytes()).rest();
        let text = String::from_utf8_lossy(&all).into_owned();
        assert!(text.contains("\r\n3\r\nabc\r\n0\r\n"), "{text}");
        let (_, end) = text.split_once("\r\n0\r\n").unwrap();
        let wanted = if expected { "grpc-status: 0\r\ngrpc-message: fine\r\n\r\n" } else { "\r\n" };
        assert_eq!(end, wanted);
    }
}

#[test]
fn both_directions_stream_at_the_same_time() {
    let origin = Http2Origin::start(Options::default());
    let gateway = to(&origin);
    let mut caller = Connection::open(gateway.address);
    caller.send(b"POST /grpc HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for round in 0..5 {
        caller.send(format!("7\r\nround-{round}\r\n").as_bytes());
        assert!(caller.until_seen(format!("round-{round}").as_bytes()), "the reply keeps up");
    }
    caller.send(b"0\r\n\r\n");
    assert_eq!(caller.reply().text(), "round-0round-1round-2round-3round-4");
    assert_eq!(origin.bodies().len(), 1);
}

#[test]
fn a_health_check_asks_over_http2_too() {
    let origin = Http2Origin::start(Options::default());
    let gateway = super::before(&format!(
        "endpoints: [\"http://{}\"], protocol: http2, \
         health: {{ path: /up, interval: 1s, timeout: 1s, failures: 1 }}",
        origin.address
    ));
    let asked = || origin.requests().iter().filter(|head| head.uri().path() == "/up").count();
    // The first one has been judged when the second one arrives.
    until("it was asked twice", || (asked() >= 2).then_some(()));
    assert_eq!(gateway.metric("tidegate_upstream_admitting", ""), 1.0);
    assert_eq!(origin.requests()[0].headers()["user-agent"], "tidegate-health");
}
