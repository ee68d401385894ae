//! RFC 9113 section 8: what is malformed is refused or reset, and the origin sees nothing of it.

use std::fmt::Write as _;

use tidegate_scenario::h2raw::{DATA, END_STREAM, HEADERS, Outcome, Raw, fields_block, request};
use tidegate_scenario::origin::Origin;

use super::before;

/// One way to be malformed: fields, and the body's frames behind them.
struct Case<'c> {
    name: &'c str,
    fields: Vec<(&'c str, &'c str)>,
    /// None: the head ends the stream.
    body: Option<&'c [&'c [u8]]>,
}

fn case<'c>(name: &'c str, fields: &[(&'c str, &'c str)]) -> Case<'c> {
    Case { name, fields: fields.to_vec(), body: None }
}

fn with<'c>(name: &'c str, more: &[(&'c str, &'c str)]) -> Case<'c> {
    Case { name, fields: request("GET", "/bad", more), body: None }
}

fn posted<'c>(name: &'c str, length: &'c str, body: &'c [&'c [u8]]) -> Case<'c> {
    Case { name, fields: request("POST", "/bad", &[("content-length", length)]), body: Some(body) }
}

fn path<'c>(name: &'c str, path: &'c str) -> Case<'c> {
    Case { name, fields: request("GET", path, &[]), body: None }
}

fn authority<'c>(name: &'c str, authority: &'c str) -> Case<'c> {
    case(
        name,
        &[(":method", "GET"), (":scheme", "http"), (":authority", authority), (":path", "/bad")],
    )
}

fn cases<'c>() -> Vec<Case<'c>> {
    const M: (&str, &str) = (":method", "GET");
    const S: (&str, &str) = (":scheme", "http");
    const A: (&str, &str) = (":authority", "localhost");
    const P: (&str, &str) = (":path", "/bad");
    vec![
        case("no method", &[S, A, P]),
        case("no scheme", &[M, A, P]),
        case("no path", &[M, S, A]),
        case("nobody asked", &[M, S, P]),
        case("two methods", &[M, M, S, A, P]),
        case("two paths", &[M, S, A, P, P]),
        case("two authorities", &[M, S, A, A, P]),
        case("two schemes", &[M, S, S, A, P]),
        case("a status in a request", &[M, S, A, P, (":status", "200")]),
        case("an unknown pseudo-field", &[M, S, A, P, (":bad", "1")]),
        case("a pseudo-field behind a field", &[M, S, A, ("x-a", "1"), P]),
        case("a method that is no token", &[(":method", "GE T"), S, A, P]),
        case(
            "a method with a line in it",
            &[(":method", "GET / HTTP/1.1\r\nx: y\r\n\r\nGET"), S, A, P],
        ),
        case("an empty method", &[(":method", ""), S, A, P]),
        case("a scheme that is none", &[M, (":scheme", "ht tp"), A, P]),
        case("a scheme that is not ours", &[M, (":scheme", "ftp"), A, P]),
        case("CONNECT with a path", &[(":method", "CONNECT"), S, A, P]),
        case("CONNECT without an authority", &[(":method", "CONNECT")]),
        case(
            "an extended CONNECT that ends with its head",
            &[(":method", "CONNECT"), (":protocol", "websocket"), S, A, P],
        ),
        case(":protocol of a GET", &[M, (":protocol", "websocket"), S, A, P]),
        with("an upper-case name", &[("X-Bad", "1")]),
        with("an empty name", &[("", "1")]),
        with("a name with a blank", &[("x bad", "1")]),
        with("a name with a colon", &[("x:bad", "1")]),
        with("a name with a line in it", &[("x\r\nbad", "1")]),
        with("a value with CR", &[("x-bad", "a\rb")]),
        with("a value with LF", &[("x-bad", "a\nb")]),
        with("a value with CRLF", &[("x-bad", "a\r\nx-smuggled: b")]),
        with("a value with NUL", &[("x-bad", "a\0b")]),
        with("a blank before a value", &[("x-bad", " a")]),
        with("a blank behind a value", &[("x-bad", "a ")]),
        with("a tab behind a value", &[("x-bad", "a\t")]),
        with("connection", &[("connection", "close")]),
        with("connection that nominates", &[("connection", "x-real-ip")]),
        with("keep-alive", &[("keep-alive", "timeout=5")]),
        with("proxy-connection", &[("proxy-connection", "keep-alive")]),
        with("transfer-encoding", &[("transfer-encoding", "chunked")]),
        with("transfer-encoding identity", &[("transfer-encoding", "identity")]),
        with("upgrade", &[("upgrade", "websocket")]),
        with("te that is not trailers", &[("te", "gzip")]),
        with("te that is more than trailers", &[("te", "trailers, gzip")]),
        with("another host", &[("host", "evil.example")]),
        with("two hosts", &[("host", "localhost"), ("host", "evil.example")]),
        with("a body that does not come", &[("content-length", "5")]),
        path("an empty path", ""),
        path("no slash", "bad"),
        path("an absolute target", "http://evil.example/bad"),
        path("an authority as a target", "evil.example:80"),
        path("an asterisk", "*"),
        path("a blank in a path", "/bad HTTP/1.1"),
        path("a line in a path", "/bad HTTP/1.1\r\nx: y"),
        path("NUL in a path", "/b\0ad"),
        path("a path above the root", "/../../bad"),
        authority("an empty authority", ""),
        authority("a user in the authority", "user@localhost"),
        authority("a blank in the authority", "local host"),
        authority("a path in the authority", "localhost/x"),
        authority("a line in the authority", "localhost\r\nx: y"),
        authority("a port that is none", "localhost:port"),
        posted("less than announced", "5", &[b"four"]),
        posted("more than announced", "3", &[b"four"]),
        posted("more than announced, in pieces", "3", &[b"tw", b"o!"]),
        posted("nothing announced, something sent", "0", &[b"x"]),
        posted("a length with a sign", "+4", &[b"four"]),
        posted("a length below zero", "-4", &[b"four"]),
        posted("a length in hex", "0x4", &[b"four"]),
        posted("a list of lengths", "4, 5", &[b"four"]),
        posted("a length beyond any", "99999999999999999999999", &[b"four"]),
        posted("an empty length", "", &[b"four"]),
        Case {
            name: "two lengths",
            fields: request("POST", "/bad", &[("content-length", "4"), ("content-length", "5")]),
            body: Some(&[b"four"]),
        },
    ]
}

fn told(address: std::net::SocketAddr, case: &Case) -> Outcome {
    let mut raw = Raw::open(address);
    raw.head(1, &case.fields, case.body.is_none());
    if let Some(pieces) = case.body {
        for (index, piece) in pieces.iter().enumerate() {
            raw.frame(DATA, u8::from(index + 1 == pieces.len()), 1, piece);
        }
    }
    raw.outcome(1)
}

#[test]
fn no_malformed_request_reaches_the_origin() {
    // An upload that breaks off has begun to reach it, as it does over HTTP/1.1; but never as a
    // whole request, and those alone are recorded.
    let origin = Origin::plain();
    let gateway = before(origin.address, "");
    let mut wrong = String::new();
    for case in cases() {
        let outcome = told(gateway.address, &case);
        let refused = matches!(outcome.status, 400 | 404 | 431) || outcome.reset.is_some();
        if !refused && outcome.goaway.is_none() {
            let _ = writeln!(wrong, "{}: {} {}", case.name, outcome.status, outcome.text());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    let seen: Vec<_> = origin.requests().into_iter().map(|request| request.head).collect();
    assert!(seen.is_empty(), "{seen:#?}");
    assert_eq!(tidegate_scenario::http::get(gateway.address, "/fine").status, 200);
}

#[test]
fn what_http1_refuses_is_told_with_its_reason() {
    let origin = Origin::plain();
    let gateway = before(origin.address, "");
    for (name, value) in [("host", "evil.example"), ("x-bad", " blank")] {
        let mut raw = Raw::open(gateway.address);
        raw.head(1, &request("GET", "/", &[(name, value)]), true);
        let reply = raw.outcome(1);
        assert_eq!((reply.status, reply.complete), (400, true), "{name}: {}", reply.text());
        assert!(reply.text().contains("bad_request"), "{name}: {}", reply.text());
        raw.get(3, "/health");
        assert_eq!(raw.outcome(3).body, br#"{"status":"ok"}"#, "the connection goes on");
    }
    assert!(origin.requests().is_empty());
}

#[test]
fn a_head_beyond_the_limit_is_refused_and_crumbs_count() {
    let origin = Origin::plain();
    let gateway = before(origin.address, "limits: { head: 8KiB }\n");
    let long = "x".repeat(9000);
    let crumbs = vec![("cookie", "a=b"); 300];
    let many: Vec<(String, String)> =
        (0..150).map(|i| (format!("x-{i}"), "1".to_owned())).collect();
    let many: Vec<_> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    for (name, fields) in
        [("one", &[("x-long", long.as_str())][..]), ("crumbs", &crumbs), ("many", &many)]
    {
        let mut raw = Raw::open(gateway.address);
        raw.head(1, &request("GET", "/", fields), true);
        let reply = raw.outcome(1);
        assert!(reply.status == 431 || reply.goaway.is_some(), "{name}: {reply:?}");
    }
    assert!(origin.requests().is_empty());
}

#[test]
fn a_body_beyond_the_limit_is_refused_with_and_without_a_length() {
    let origin = Origin::plain();
    let gateway = before(origin.address, "limits: { body: 1KiB }\n");
    let mut raw = Raw::open(gateway.address);
    raw.head(1, &request("POST", "/", &[("content-length", "2000")]), false);
    let reply = raw.outcome(1);
    assert_eq!(reply.status, 413);
    assert!(reply.text().contains("body_too_large"), "{}", reply.text());
    raw.head(3, &request("POST", "/", &[]), false);
    raw.frame(DATA, END_STREAM, 3, &[b'x'; 2000]);
    let reply = raw.outcome(3);
    assert!(reply.text().contains("body_too_large"), "{}", reply.text());
    assert!(origin.requests().is_empty());
}

#[test]
fn trailers_of_a_request_reach_nobody() {
    let origin = Origin::plain();
    let gateway = before(origin.address, "");
    for (name, value) in [
        (":path", "/evil"),
        ("connection", "evil"),
        ("X-Evil", "1"),
        ("x-evil", "1"),
        ("host", "evil"),
    ] {
        let mut raw = Raw::open(gateway.address);
        raw.head(1, &request("POST", "/", &[]), false);
        raw.frame(DATA, 0, 1, b"body");
        raw.frame(HEADERS, 5, 1, &fields_block(&[(name, value)]));
        let outcome = raw.outcome(1);
        let ended = outcome.complete || outcome.reset.is_some() || outcome.goaway.is_some();
        assert!(ended, "{name}: {outcome:?}");
    }
    let seen = String::from_utf8_lossy(&origin.bytes()).to_lowercase();
    assert!(seen.contains("post /") && !seen.contains("evil"), "{seen}");
}
