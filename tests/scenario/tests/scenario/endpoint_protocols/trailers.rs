//! Fields behind a body, on their way between callers of HTTP/2 and endpoints of HTTP/2.

use http::HeaderMap;
use tidegate_lab::origin::{OriginOptions, spawn_origin};
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::h2raw::{
    DATA, END_HEADERS, END_STREAM, HEADERS, Raw, fields_block, request,
};
use tidegate_scenario::http::Connection;
use tidegate_scenario::http2_origin::{Http2Origin, Options};
use tidegate_scenario::until;

use super::grpc;

/// Everything to this origin, with further lines of the route and further sections.
fn before(origin: &Http2Origin, route: &str, sections: &str) -> Gateway {
    Gateway::start(&format!(
        "upstreams:\n  app: {{ endpoints: [\"http://{}\"], protocol: http2 }}\n\
         routes:\n  - path: /\n    upstream: app\n{route}{sections}shards: 1\n",
        origin.address
    ))
}

/// The head of a request that is echoed, with a body of this length.
fn announced(length: &str) -> Vec<(&str, &str)> {
    request("POST", "/echo", &[("content-length", length)])
}

fn trail(raw: &mut Raw, fields: &[(&str, &str)]) {
    raw.frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields_block(fields));
}

fn names(trailers: &HeaderMap) -> Vec<&str> {
    trailers.keys().map(http::HeaderName::as_str).collect()
}

#[test]
fn fields_behind_a_body_of_announced_length_are_passed_on() {
    let origin = Http2Origin::start(Options::default());
    let gateway = before(&origin, "", "");
    for (body, later) in [("", false), ("hello", false), ("hello", true)] {
        let mut raw = Raw::open(gateway.address);
        let length = body.len().to_string();
        raw.head(1, &announced(&length), false);
        if !body.is_empty() {
            raw.frame(DATA, 0, 1, body.as_bytes());
        }
        if later {
            // The endpoint has all of the body before there is anything behind it.
            let echo = std::iter::from_fn(|| raw.next_frame()).find(|frame| frame.kind == DATA);
            assert_eq!(echo.expect("an echo").payload, body.as_bytes());
        }
        trail(&mut raw, &[("x-checksum", "1"), ("authorization", "evil")]);
        let reply = raw.outcome(1);
        assert!(reply.complete, "{body:?} {later}: {reply:?}");
    }
    let seen = origin.trailers();
    assert_eq!(seen.iter().map(names).collect::<Vec<_>>(), [["x-checksum"]; 3]);
    assert_eq!(origin.bodies(), [&b""[..], b"hello", b"hello"]);
    assert!(origin.requests().iter().all(|head| head.headers().contains_key("content-length")));
}

#[test]
fn a_stream_that_does_not_end_behind_its_announced_body_is_answered_408() {
    let origin = Http2Origin::start(Options::default());
    let gateway = before(&origin, "", "timeouts: { body: 300ms }\n");
    let mut raw = Raw::open(gateway.address);
    raw.head(1, &request("POST", "/hold", &[("content-length", "5")]), false);
    raw.frame(DATA, 0, 1, b"hello");
    assert_eq!(raw.outcome(1).status, 408);
    until("the endpoint has heard of it", || (origin.resets() == 1).then_some(()));
}

#[test]
fn a_stream_that_does_not_end_behind_its_body_is_reset_once_the_reply_has_begun() {
    let origin = Http2Origin::start(Options::default());
    let gateway = before(&origin, "", "timeouts: { between_tokens: 300ms }\n");
    for announced in [&[("content-length", "5")][..], &[]] {
        let mut raw = Raw::open(gateway.address);
        raw.head(1, &request("POST", "/echo", announced), false);
        raw.frame(DATA, 0, 1, b"hello");
        assert!(!raw.outcome(1).complete, "{announced:?}");
    }
    until("both are counted", || {
        let cut = gateway.metric("tidegate_ended_total", "between_tokens_timeout");
        (cut == 2.0).then_some(())
    });
}

#[test]
fn an_endpoint_of_http1_is_not_kept_waiting_for_what_it_cannot_get() {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let gateway = Gateway::start(&format!(
        "upstreams: {{ app: {{ endpoints: [\"http://{}\"] }} }}\n\
         routes: [{{ path: /, upstream: app }}]\ntimeouts: {{ body: 200ms }}\n",
        lab.addr
    ));
    for body in ["", "hello"] {
        let mut raw = Raw::open(gateway.address);
        let length = body.len().to_string();
        raw.head(1, &request("POST", "/slow?ms=600", &[("content-length", &length)]), false);
        if !body.is_empty() {
            raw.frame(DATA, 0, 1, body.as_bytes());
        }
        let reply = raw.outcome(1);
        assert_eq!(reply.status, 200, "{body:?}: {reply:?}");
    }
}

#[test]
fn what_a_route_removes_or_sets_in_a_head_does_not_come_behind_the_body() {
    let origin = Http2Origin::start(Options::default());
    let route = "    request_headers: { remove: [X-Internal], set: { X-Tenant: a }, add: { X-Trace: b } }\n";
    let gateway = before(&origin, route, "");
    let mut raw = Raw::open(gateway.address);
    raw.head(1, &request("POST", "/echo", &[]), false);
    raw.frame(DATA, 0, 1, b"hello");
    trail(
        &mut raw,
        &["x-internal", "x-tenant", "x-trace", "x-checksum"].map(|name| (name, "evil")),
    );
    assert!(raw.outcome(1).complete);
    assert_eq!(names(&origin.trailers()[0]), ["x-trace", "x-checksum"]);
    assert_eq!(origin.requests()[0].headers()["x-tenant"], "a");
}

#[test]
fn what_a_route_removes_of_a_reply_does_not_come_behind_its_body() {
    let origin = Http2Origin::start(Options::default());
    let gateway = before(&origin, "    reply_headers: { remove: [Grpc-Message] }\n", "");
    let mut caller = Connection::open(gateway.address);
    let ask = b"POST /grpc HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nContent-Length: 3\r\n\
        Connection: close\r\n\r\nabc";
    let said = caller.send(ask).rest();
    assert!(said.ends_with(b"\r\n0\r\ngrpc-status: 0\r\n\r\n"), "{}", said.escape_ascii());
    grpc::call(&gateway, async |mut sender| {
        let (reply, mut send) = sender.send_request(grpc::request("/grpc"), false).unwrap();
        send.send_data(grpc::message("hello"), true).unwrap();
        let (_, trailers) = grpc::rest(reply.await.unwrap()).await;
        assert_eq!(names(&trailers.expect("trailers")), ["grpc-status"]);
    });
}
