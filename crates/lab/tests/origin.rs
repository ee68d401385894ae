//! The origin's paths over real sockets.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};

use support::{Reply, connect, get, post_with, send_raw};
use tidegate_lab::origin::{OriginOptions, spawn_origin};
use tidegate_lab::server::ServerHandle;

fn origin() -> ServerHandle {
    spawn_origin(&OriginOptions::default()).unwrap()
}

#[test]
fn bodies_have_their_sizes() {
    let origin = origin();
    for (path, bytes) in
        [("/small", 1024), ("/big", 1 << 20), ("/bytes/0", 0), ("/bytes/100000", 100_000)]
    {
        let reply = get(origin.addr, path);
        assert_eq!((reply.status, reply.body.len()), (200, bytes), "{path}");
        assert!(reply.head.contains(&format!("content-length: {bytes}\r\n")), "{path}");
    }
    assert_eq!(get(origin.addr, "/bytes/9999999999").status, 404);
}

#[test]
fn statuses_come_as_asked() {
    let origin = origin();
    for status in [200, 201, 204, 304, 404, 418, 429, 500, 503] {
        let reply = get(origin.addr, &format!("/status/{status}"));
        assert_eq!(reply.status, status);
        assert_eq!(reply.body.is_empty(), matches!(status, 204 | 304), "{status}");
    }
    for path in ["/status/199", "/status/600", "/status/x", "/nowhere"] {
        assert_eq!(get(origin.addr, path).status, 404, "{path}");
    }
}

#[test]
fn echo_tells_what_arrived_in_order() {
    let origin = origin();
    let reply = post_with(origin.addr, "/echo?x=%20", "B: 1\r\na: 2\r\nB: 3\r\n", b"body").json();
    assert_eq!(reply["method"], "POST");
    assert_eq!(reply["target"], "/echo?x=%20");
    assert_eq!(reply["body"], "body");
    assert_eq!(reply["version"], "HTTP/1.0");
    assert_eq!(reply["connection"], 1);
    let names: Vec<_> =
        reply["headers"].as_array().unwrap().iter().map(|pair| pair[0].clone()).collect();
    assert_eq!(names, ["host", "B", "a", "B", "content-length"]);
}

#[test]
fn one_connection_carries_many_requests() {
    let origin = origin();
    let request = "GET /echo HTTP/1.1\r\nhost: lab\r\n\r\n";
    let last = "GET /echo HTTP/1.1\r\nhost: lab\r\nconnection: close\r\n\r\n";
    let replies = send_raw(origin.addr, format!("{request}{request}{last}").as_bytes());
    let replies = String::from_utf8(replies).unwrap();
    assert_eq!(replies.matches("\"connection\":1}").count(), 3);
    assert_eq!(replies.matches("connection: close\r\n").count(), 1);
}

#[test]
fn events_come_one_by_one_and_end() {
    let origin = origin();
    let reply = get(origin.addr, "/sse?count=3&x-lab-interval-ms=1");
    assert_eq!(reply.events(), ["event 1", "event 2", "event 3"]);
    assert!(reply.head.contains("content-type: text/event-stream"));
}

#[test]
fn chunks_are_chunked_and_close_is_not() {
    let origin = origin();
    let ask = |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nhost: lab\r\nconnection: close\r\n\r\n");
        Reply::of(&send_raw(origin.addr, request.as_bytes()))
    };
    let chunked = ask("/chunked?count=2");
    assert_eq!(chunked.text(), "7\r\nline 1\n\r\n7\r\nline 2\n\r\n0\r\n\r\n");
    let until_close = ask("/close?count=2");
    assert_eq!(until_close.text(), "line 1\nline 2\n");
    assert!(!until_close.head.contains("content-length") && !until_close.head.contains("chunked"));
}

#[test]
fn a_head_request_gets_no_body() {
    let origin = origin();
    for path in ["/small", "/big", "/echo", "/sse", "/nowhere"] {
        let request = format!("HEAD {path} HTTP/1.0\r\nhost: lab\r\n\r\n");
        assert!(Reply::of(&send_raw(origin.addr, request.as_bytes())).body.is_empty(), "{path}");
    }
}

#[test]
fn a_client_that_expects_continue_gets_it_before_the_reply() {
    let origin = origin();
    let mut stream = connect(origin.addr);
    let head = "POST /echo HTTP/1.1\r\nhost: lab\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"body").unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    assert_eq!(Reply::of(&reply).json()["body"], "body");
}

#[test]
fn the_early_reply_comes_before_the_body_and_survives_it() {
    let origin = origin();
    let mut stream = connect(origin.addr);
    stream
        .write_all(b"POST /early HTTP/1.1\r\nhost: lab\r\ncontent-length: 300000\r\n\r\n")
        .unwrap();
    let mut begun = [0; 12];
    stream.read_exact(&mut begun).unwrap();
    assert_eq!(&begun, b"HTTP/1.1 413");
    stream.write_all(&vec![b'x'; 300_000]).unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("refused before the body was read\n"), "{rest}");
}

#[test]
fn a_chunked_body_is_echoed_without_its_coding() {
    let origin = origin();
    let body = "POST /echo HTTP/1.1\r\nhost: lab\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
    assert_eq!(Reply::of(&send_raw(origin.addr, body.as_bytes())).json()["body"], "abcde");
    let broken = body.replace("2;x=y", "2x");
    assert_eq!(Reply::of(&send_raw(origin.addr, broken.as_bytes())).status, 400);
}

#[test]
fn an_origin_in_trouble_answers_so_until_it_is_told_to_be_well() {
    let origin = origin();
    assert_eq!(get(origin.addr, "/lab/trouble?status=503").status, 204);
    assert_eq!(get(origin.addr, "/small").status, 503);
    assert_eq!(get(origin.addr, "/lab/trouble?reset").status, 204);
    let mut stream = connect(origin.addr);
    stream.write_all(b"GET /small HTTP/1.1\r\nhost: lab\r\n\r\n").unwrap();
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    // Told at once, however late the others are answered.
    assert_eq!(get(origin.addr, "/lab/trouble?ms=600000").status, 204);
    assert_eq!(get(origin.addr, "/lab/trouble?ms=none").status, 400);
    assert_eq!(get(origin.addr, "/lab/trouble").status, 204);
    assert_eq!(get(origin.addr, "/small").status, 200);
}
