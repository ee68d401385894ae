//! Fields behind a request's body, on their way from a caller of HTTP/2 to an endpoint of HTTP/2.

use http::HeaderMap;
use tidegate_lab::origin::{OriginOptions, spawn_origin};
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::h2raw::{
    DATA, END_HEADERS, END_STREAM, HEADERS, Raw, fields_block, request,
};
use tidegate_scenario::http2_origin::{Http2Origin, Options};
use tidegate_scenario::until;

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
