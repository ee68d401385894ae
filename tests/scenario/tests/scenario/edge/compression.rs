//! Replies are compressed for who accepts it, and only those that may be.

use std::io::Read as _;

use tidegate_scenario::h2raw::{Raw, request};
use tidegate_scenario::http::{Connection, Reply, once};
use tidegate_scenario::origin::{Answer, Origin};
use tidegate_scenario::scripted::Scripted;
use tidegate_wire::http1::head::Method;

use super::{gateway, get_with};

const COMPRESS: &str = "compress: [zstd, br, gzip]";

fn text() -> String {
    "All work and no play makes a dull page. ".repeat(1000)
}

fn answer(fields: &str, body: &str) -> Answer {
    Answer::keep(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n{fields}\r\n{body}",
        body.len()
    ))
}

/// What the bytes say in this coding, as far as they go.
fn decoded(coding: &str, bytes: &[u8]) -> String {
    let mut out = Vec::new();
    let _ = match coding {
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out),
        "br" => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out),
        "zstd" => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut out),
        _ => (&mut &bytes[..]).read_to_end(&mut out),
    };
    String::from_utf8(out).unwrap()
}

fn ask(connection: &mut Connection, accept: &str) -> Reply {
    connection.send(&get_with(&format!("Accept-Encoding: {accept}\r\n"))).reply()
}

#[test]
fn a_caller_gets_the_coding_that_it_wants_most() {
    let origin = Origin::start(|_| answer("ETag: \"v1\"\r\nAccept-Ranges: bytes\r\n", &text()));
    let gateway = gateway(origin.address, "", COMPRESS);
    let mut connection = Connection::open(gateway.address);
    for (accept, coding) in [
        ("gzip", "gzip"),
        ("gzip, br", "br"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip;q=1, zstd;q=0.1", "gzip"),
    ] {
        let reply = ask(&mut connection, accept);
        assert_eq!(reply.field("content-encoding"), Some(coding), "{accept}");
        assert_eq!(reply.field("vary"), Some("Accept-Encoding"));
        assert_eq!(reply.field("etag"), Some("W/\"v1\""));
        assert_eq!(reply.field("content-length"), None);
        assert_eq!(reply.field("accept-ranges"), None);
        assert!(reply.complete && reply.body.len() < 5000, "{}", reply.body.len());
        assert_eq!(decoded(coding, &reply.body), text());
    }
    for accept in ["identity", "gzip;q=0", "deflate", "identity, gzip;q=0.5"] {
        let reply = ask(&mut connection, accept);
        assert_eq!(reply.field("content-encoding"), None, "{accept}");
        assert_eq!(reply.field("vary"), Some("Accept-Encoding"), "caches must know all the same");
        assert_eq!(reply.field("etag"), Some("\"v1\""));
        assert_eq!(reply.text(), text());
    }
}

#[test]
fn what_may_not_be_changed_passes_as_it_is() {
    for fields in [
        "Content-Encoding: gzip\r\n",
        "Cache-Control: public, No-Transform\r\n",
        "Content-Type: image/png\r\n",
        "Content-Digest: sha-256=:x:\r\n",
    ] {
        let origin = Origin::start(move |_| {
            let body = text();
            let typed =
                if fields.contains("Content-Type") { "" } else { "Content-Type: text/css\r\n" };
            Answer::keep(format!(
                "HTTP/1.1 200 OK\r\n{typed}Content-Length: {}\r\n{fields}\r\n{body}",
                body.len()
            ))
        });
        let gateway = gateway(origin.address, "", COMPRESS);
        let reply = ask(&mut Connection::open(gateway.address), "gzip");
        let already = fields.contains("Encoding").then_some("gzip");
        assert_eq!(reply.field("content-encoding"), already, "{fields}");
        assert_eq!(reply.text(), text(), "{fields}");
    }
}

#[test]
fn short_replies_and_replies_without_a_body_are_left_alone() {
    let origin = Origin::start(|request| match request.line() {
        line if line.starts_with("HEAD") => Answer::keep(
            "HTTP/1.1 200 OK\r\nContent-Type: text/css\r\nContent-Length: 5000\r\n\r\n",
        ),
        _ => answer("", "short"),
    });
    let gateway = gateway(origin.address, "", COMPRESS);
    let mut connection = Connection::open(gateway.address);
    let reply = ask(&mut connection, "gzip");
    assert_eq!((reply.field("content-encoding"), reply.text().as_str()), (None, "short"));
    connection.send(b"HEAD / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    let head = connection.reply_to(Method::Head);
    assert_eq!(head.field("content-length"), Some("5000"));
    assert_eq!(head.field("content-encoding"), None);
}

#[test]
fn each_event_of_a_compressed_stream_arrives_at_once() {
    for coding in ["gzip", "br", "zstd"] {
        let (next, wait) = std::sync::mpsc::sync_channel::<()>(0);
        let wait = std::sync::Mutex::new(wait);
        let origin = Scripted::start(move |_, peer| {
            if peer.request().is_none() {
                return;
            }
            peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
            for event in 0..3 {
                peer.send(format!("data: {event}\n\n"));
                // The next event comes only once the test has read this one.
                wait.lock().unwrap().recv().unwrap();
            }
        });
        let gateway = gateway(origin.address, "", COMPRESS);
        let mut connection = Connection::open(gateway.address);
        connection.send(&get_with(&format!("Accept-Encoding: {coding}\r\n")));
        let mut body = connection.chunks();
        let mut bytes = Vec::new();
        for event in 0..3 {
            while !decoded(coding, &bytes).ends_with(&format!("data: {event}\n\n")) {
                bytes.extend(body.next().expect("a chunk"));
            }
            next.send(()).unwrap();
        }
        body.by_ref().for_each(|chunk| bytes.extend(chunk));
        assert_eq!(decoded(coding, &bytes), "data: 0\n\ndata: 1\n\ndata: 2\n\n");
    }
}

#[test]
fn a_compressed_request_passes_unchanged() {
    let origin = Origin::plain();
    let gateway = gateway(origin.address, "", COMPRESS);
    let body = b"\x1f\x8b\x08not really\x00\xff";
    let mut request = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    assert_eq!(once(gateway.address, &request).status, 200);
    let seen = origin.requests().pop().expect("a request");
    assert_eq!(seen.body, body);
    assert_eq!(seen.field("content-encoding"), Some("gzip"));
}

#[test]
fn callers_of_http2_get_compressed_replies_too() {
    let origin = Origin::start(|_| answer("", &text()));
    let gateway = gateway(origin.address, "", COMPRESS);
    let mut raw = Raw::open(gateway.address);
    raw.head(1, &request("GET", "/x", &[("accept-encoding", "gzip")]), true);
    let outcome = raw.outcome(1);
    assert!(outcome.complete && outcome.body.len() < 5000);
    assert_eq!(decoded("gzip", &outcome.body), text());
}
