//! Requests and replies that are well formed.

use tidegate_lab::origin::{OriginOptions, spawn_origin};
use tidegate_lab::provider::{ProviderOptions, spawn_provider};
use tidegate_scenario::gateway::{Gateway, KEY};
use tidegate_scenario::h2raw::{
    DATA, END_STREAM, HEADERS, Raw, WINDOW_UPDATE, fields_block, request,
};
use tidegate_scenario::http::get;
use tidegate_scenario::llm::{CHAT, providers};
use tidegate_scenario::origin::{Answer, Origin};
use tidegate_scenario::scripted::Scripted;
use tidegate_scenario::until;

use super::before;

#[test]
fn a_request_reaches_the_origin_as_http1_and_its_reply_comes_back() {
    let origin = Origin::start(|_| {
        Answer::keep(
            "HTTP/1.1 201 Created\r\nX-A: b\r\nConnection: x-hop\r\nX-Hop: 1\r\n\
             Content-Length: 5\r\n\r\nhello",
        )
    });
    let gateway = before(origin.address, "");
    let mut raw = Raw::open(gateway.address);
    let crumbs = [("cookie", "a=1"), ("x-b", "c"), ("cookie", "b=2"), ("te", "trailers")];
    raw.head(1, &request("POST", "/p?q=1", &crumbs), false);
    raw.frame(DATA, 0, 1, b"one ");
    raw.frame(DATA, END_STREAM, 1, b"two");
    let reply = raw.outcome(1);
    assert_eq!((reply.status, reply.text(), reply.complete), (201, "hello".to_owned(), true));
    let seen = origin.requests().pop().unwrap();
    assert_eq!(seen.line(), "POST /p?q=1 HTTP/1.1");
    assert_eq!(seen.field("host"), Some("localhost"));
    assert_eq!(seen.field("cookie"), Some("a=1; b=2"));
    assert_eq!(seen.field("x-b"), Some("c"));
    assert_eq!(seen.field("te"), None);
    assert_eq!(seen.field("transfer-encoding"), Some("chunked"));
    assert_eq!(seen.body, b"one two");
    assert_eq!(gateway.metric("tidegate_h2_streams_total", ""), 1.0);
    assert_eq!(gateway.metric("tidegate_h2_connections", ""), 1.0);
}

#[test]
fn an_announced_length_is_passed_on_and_trailers_are_not() {
    let origin = Origin::plain();
    let gateway = before(origin.address, "");
    let mut raw = Raw::open(gateway.address);
    raw.head(1, &request("PUT", "/", &[("content-length", "7")]), false);
    raw.frame(DATA, 0, 1, b"one two");
    raw.frame(HEADERS, 5, 1, &fields_block(&[("x-trailer", "evil")]));
    assert_eq!(raw.outcome(1).status, 200);
    let seen = origin.requests().pop().unwrap();
    assert_eq!((seen.field("content-length"), &seen.body[..]), (Some("7"), &b"one two"[..]));
    assert_eq!((seen.field("transfer-encoding"), seen.field("x-trailer")), (None, None));
    // No body at all.
    raw.head(3, &request("POST", "/", &[]), true);
    assert_eq!(raw.outcome(3).body, b"ok");
    let seen = origin.requests().pop().unwrap();
    assert_eq!((seen.field("content-length"), seen.field("transfer-encoding")), (Some("0"), None));
}

#[test]
fn replies_without_a_body_end_with_their_head() {
    let origin = Origin::start(|received| match received.line() {
        line if line.contains("/204") => Answer::keep("HTTP/1.1 204 No Content\r\n\r\n"),
        line if line.contains("/304") => {
            Answer::keep("HTTP/1.1 304 Not Modified\r\nETag: a\r\n\r\n")
        }
        line if line.contains("/0") => Answer::ok(""),
        _ => Answer::keep("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
    });
    let gateway = before(origin.address, "");
    let mut raw = Raw::open(gateway.address);
    for (stream, method, path, status) in [
        (1, "GET", "/204", 204),
        (3, "GET", "/304", 304),
        (5, "GET", "/0", 200),
        (7, "HEAD", "/", 200),
    ] {
        raw.head(stream, &request(method, path, &[]), true);
        let reply = raw.outcome(stream);
        assert!(reply.complete && reply.body.is_empty(), "{path}: {reply:?}");
        // A status that an earlier block defined reads as 0.
        assert!(reply.status == status || reply.status == 0, "{path}: {reply:?}");
    }
}

#[test]
fn a_caller_that_waits_for_100_is_told_to_go_on() {
    let origin = Origin::plain();
    let gateway = before(origin.address, "");
    let mut raw = Raw::open(gateway.address);
    raw.head(1, &request("POST", "/", &[("expect", "100-continue")]), false);
    let interim = std::iter::from_fn(|| raw.next_frame()).find(|frame| frame.stream == 1).unwrap();
    assert_eq!((interim.kind, interim.flags & END_STREAM), (HEADERS, 0));
    raw.frame(DATA, END_STREAM, 1, b"body");
    let reply = raw.outcome(1);
    assert_eq!((reply.status, reply.body.as_slice()), (200, b"ok".as_slice()));
    assert_eq!(origin.requests()[0].body, b"body");
}

#[test]
fn what_we_answer_ourselves_is_answered() {
    let origin = Origin::plain();
    let gateway = Gateway::start(&format!(
        "upstreams: {{ app: {{ endpoints: [http://{}] }} }}\nroutes: [{{ path: /app/, upstream: app }}]\n",
        origin.address
    ));
    let mut raw = Raw::open(gateway.address);
    raw.get(1, "/health");
    let reply = raw.outcome(1);
    assert_eq!((reply.status, reply.text()), (200, r#"{"status":"ok"}"#.to_owned()));
    raw.get(3, "/nowhere");
    let reply = raw.outcome(3);
    assert_eq!(reply.status, 404);
    assert!(reply.text().contains("no_route"), "{}", reply.text());
    raw.get(5, "/app/x");
    assert_eq!(raw.outcome(5).body, b"ok");
}

#[test]
fn a_large_reply_follows_the_windows_of_its_caller() {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let gateway = before(lab.addr, "");
    // A window of 1,000 bytes for each stream.
    let mut raw = Raw::open_with(gateway.address, &[(4, 1000)]);
    raw.get(1, "/big");
    let (mut received, mut ended) = (0, false);
    while !ended {
        let frame = raw.next_frame().expect("the connection stays");
        if frame.kind == DATA {
            assert!(frame.payload.len() <= 1000, "{}", frame.payload.len());
            received += frame.payload.len();
            ended = frame.flags & END_STREAM != 0;
            let more = (frame.payload.len() as u32).to_be_bytes();
            if !ended && !frame.payload.is_empty() {
                raw.frame(WINDOW_UPDATE, 0, 1, &more);
                raw.frame(WINDOW_UPDATE, 0, 0, &more);
            }
        }
    }
    assert_eq!(received, 1024 * 1024);
}

#[test]
fn many_streams_of_one_connection_are_served_side_by_side() {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let gateway = before(lab.addr, "");
    let mut raw = Raw::open(gateway.address);
    raw.get(1, "/slow?ms=400");
    for stream in (3..203).step_by(2) {
        raw.get(stream, "/small");
    }
    let mut order = Vec::new();
    while order.len() < 101 {
        let frame = raw.next_frame().expect("the connection stays");
        if matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0 {
            order.push(frame.stream);
        }
        if frame.kind == DATA && !frame.payload.is_empty() {
            raw.frame(WINDOW_UPDATE, 0, 0, &(frame.payload.len() as u32).to_be_bytes());
        }
    }
    assert_eq!(order.last(), Some(&1), "the slow one held nobody up");
}

#[test]
fn an_llm_stream_comes_frame_by_frame_and_ends_properly() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway =
        Gateway::start(&format!("{}routes: [{{ path: /v1/, llm: true }}]\n", providers(lab.addr)));
    let mut raw = Raw::open(gateway.address);
    let bearer = format!("Bearer {KEY}");
    let fields = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    raw.head(1, &request("POST", CHAT.path, &fields), false);
    raw.frame(DATA, END_STREAM, 1, CHAT.body("lab-tokens-20", true).as_bytes());
    let reply = raw.outcome(1);
    assert_eq!((reply.status, reply.complete), (200, true), "{}", reply.text());
    assert!(reply.text().contains(CHAT.end), "{}", reply.text());
    assert_eq!(reply.text().matches("data: ").count(), reply.text().matches("\n\n").count());
}

#[test]
fn an_llm_call_whose_announced_body_is_there_waits_for_no_end() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway =
        Gateway::start(&format!("{}routes: [{{ path: /v1/, llm: true }}]\n", providers(lab.addr)));
    let mut raw = Raw::open(gateway.address);
    let bearer = format!("Bearer {KEY}");
    let body = CHAT.body("lab-echo", false);
    let length = body.len().to_string();
    let fields = [("authorization", bearer.as_str()), ("content-length", length.as_str())];
    raw.head(1, &request("POST", CHAT.path, &fields), false);
    raw.frame(DATA, 0, 1, body.as_bytes());
    let reply = raw.outcome(1);
    assert_eq!((reply.status, reply.complete), (200, true), "{}", reply.text());
}

#[test]
fn a_broken_reply_is_a_reset_and_not_an_end() {
    let origin = Scripted::start(|_, peer| {
        if peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
        }
    });
    let gateway = before(origin.address, "");
    let mut raw = Raw::open(gateway.address);
    raw.get(1, "/");
    let reply = raw.outcome(1);
    assert_eq!((reply.status, reply.complete, reply.body.as_slice()), (200, false, &b"half"[..]));
    assert!(reply.reset.is_some(), "{reply:?}");
    raw.get(3, "/health");
    assert_eq!(raw.outcome(3).body, br#"{"status":"ok"}"#, "the connection goes on");
}

#[test]
fn a_reset_stream_cancels_its_exchange_at_once() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway =
        Gateway::start(&format!("{}routes: [{{ path: /v1/, llm: true }}]\n", providers(lab.addr)));
    let mut raw = Raw::open(gateway.address);
    let bearer = format!("Bearer {KEY}");
    let fields = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    raw.head(1, &request("POST", CHAT.path, &fields), false);
    raw.frame(DATA, END_STREAM, 1, CHAT.body("lab-stall", true).as_bytes());
    until("the provider is asked", || (lab.stats().open == 1).then_some(()));
    raw.frame(tidegate_scenario::h2raw::RST_STREAM, 0, 1, &8u32.to_be_bytes());
    until("the provider's exchange is cancelled", || (lab.stats().cancelled == 1).then_some(()));
    until("nothing is in flight", || {
        (gateway.metric("tidegate_requests_in_flight", "") == 0.0).then_some(())
    });
    assert_eq!(gateway.metric("tidegate_ended_total", "client_gone"), 1.0);
    assert_eq!(gateway.metric("tidegate_h2_resets_total", ""), 1.0);
}

#[test]
fn the_preface_may_come_in_pieces_and_a_request_that_begins_like_it_is_one_of_http1() {
    let origin = Origin::plain();
    let gateway = before(origin.address, "");
    let mut pieces = tidegate_scenario::http::Connection::open(gateway.address);
    let hello = [tidegate_scenario::h2raw::PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    for byte in hello.chunks(1) {
        pieces.send(byte);
    }
    // The settings of the server, whose type is the fourth byte of their head.
    assert!(pieces.until_seen(&[4, 0, 0, 0, 0, 0]));
    let mut patch = tidegate_scenario::http::Connection::open(gateway.address);
    patch.send(b"P").send(b"R").send(b"OPFIND / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(patch.reply().status, 200);
    assert_eq!(origin.requests()[0].line(), "PROPFIND / HTTP/1.1");
    // No upgrade in the middle of HTTP/1.1.
    let reply = tidegate_scenario::http::once(
        gateway.address,
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
          HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n",
    );
    assert_eq!(reply.status, 200);
    assert_eq!(get(gateway.address, "/health").status, 200);
}
