//! What a request of HTTP/2 becomes, and what a composed head becomes.

use http::Request;
use tidegate_wire::http1::head::{HeadLimits, RequestFraming, RequestHead, parse_request};

use super::*;

fn parts(method: &str, uri: &str, fields: &[(&str, &str)]) -> request::Parts {
    let mut builder = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

fn written(parts: &request::Parts, ended: bool) -> Result<String, String> {
    let mut out = Vec::new();
    match request(parts, ended, [1, 2], &mut out) {
        Ok(()) => Ok(String::from_utf8(out).unwrap()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn a_request_becomes_a_head_that_parses_as_it_was_meant() {
    let fields = [("accept", "*/*"), ("te", "trailers"), ("x-a", "1"), ("x-a", "2")];
    let parts = parts("POST", "https://a.example:8443/p/q?x=1", &fields);
    let text = written(&parts, false).unwrap();
    assert_eq!(
        text,
        "POST /p/q?x=1 HTTP/1.1\r\nHost: a.example:8443\r\naccept: */*\r\nte: trailers\r\nx-a: 1\r\n\
         x-a: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let mut head = RequestHead::default();
    let length = parse_request(text.as_bytes(), &HeadLimits::default(), &mut head);
    assert_eq!(length, Ok(Some(text.len())));
    assert_eq!(head.framing, RequestFraming::Chunked);
}

#[test]
fn framing_says_whether_a_body_follows() {
    let without = parts("POST", "http://a/", &[]);
    assert!(!written(&without, true).unwrap().contains("chunked"));
    let with_length = parts("POST", "http://a/", &[("content-length", "5")]);
    let text = written(&with_length, false).unwrap();
    assert!(text.contains("content-length: 5\r\n") && !text.contains("chunked"), "{text}");
}

#[test]
fn cookie_crumbs_are_joined() {
    let crumbs = [("cookie", "a=1"), ("accept", "*/*"), ("cookie", "b=2"), ("cookie", "c=3")];
    let text = written(&parts("GET", "http://a/", &crumbs), true).unwrap();
    assert!(text.contains("\r\nCookie: a=1; b=2; c=3\r\n"), "{text}");
    assert_eq!(text.to_ascii_lowercase().matches("cookie:").count(), 1);
}

#[test]
fn host_and_authority_are_one() {
    let same = parts("GET", "http://a.example/", &[("host", "A.example")]);
    assert_eq!(written(&same, true).unwrap().to_ascii_lowercase().matches("host:").count(), 1);
    let other = parts("GET", "http://a.example/", &[("host", "b.example")]);
    assert!(written(&other, true).is_err());
    let alone = parts("GET", "/", &[("host", "b.example")]);
    assert!(written(&alone, true).unwrap().contains("\r\nHost: b.example\r\n"));
    // Two of them reach the parser, which refuses.
    let two = parts("GET", "/", &[("host", "b.example"), ("host", "b.example")]);
    let text = written(&two, true).unwrap();
    let mut head = RequestHead::default();
    assert!(parse_request(text.as_bytes(), &HeadLimits::default(), &mut head).is_err());
}

#[test]
fn what_http2_forbids_is_refused() {
    for fields in [
        &[("connection", "close")][..],
        &[("transfer-encoding", "chunked")],
        &[("upgrade", "h2c")],
        &[("keep-alive", "timeout=5")],
        &[("proxy-connection", "keep-alive")],
        &[("te", "gzip")],
        &[("te", "trailers, gzip")],
        &[("x-a", " blank before")],
        &[("x-a", "blank behind\t")],
    ] {
        assert!(written(&parts("GET", "http://a/", fields), true).is_err(), "{fields:?}");
    }
    assert!(written(&parts("GET", "ftp://a/", &[]), true).is_err());
}

#[test]
fn a_path_is_a_path() {
    let mut absolute = parts("GET", "http://a/", &[]);
    absolute.uri = http::Uri::from_parts({
        let mut uri = http::uri::Parts::default();
        uri.path_and_query = Some("*".parse().unwrap());
        uri
    })
    .unwrap();
    assert!(written(&absolute, true).is_err(), "only OPTIONS has an asterisk");
    absolute.method = Method::OPTIONS;
    assert!(written(&absolute, true).unwrap().starts_with("OPTIONS * HTTP/1.1\r\n"));
}

#[test]
fn a_composed_head_becomes_fields_without_those_of_the_connection() {
    let bytes =
        b"HTTP/1.1 404 Not Found\r\nContent-Type: a/b\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\
        Connection: close\r\nTransfer-Encoding: chunked\r\nX-Empty: \r\n\r\nbody: x\r\n\r\n";
    let (response, length) = response(bytes).unwrap();
    assert_eq!(&bytes[length..], b"body: x\r\n\r\n");
    assert_eq!(response.status(), 404);
    let fields: Vec<_> = response
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
        .collect();
    assert_eq!(fields, ["content-type=a/b", "set-cookie=a", "set-cookie=b", "x-empty="]);
}

#[test]
fn half_a_head_is_none() {
    for bytes in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 2\r\n\r\n", b"\r\n\r\n"] {
        assert!(response(bytes).is_none(), "{bytes:?}");
    }
}

fn tunnel(protocol: &'static str, fields: &[(&str, &str)]) -> request::Parts {
    let mut parts = parts("CONNECT", "http://a.example/chat?x=1", fields);
    parts.extensions.insert(Protocol::from_static(protocol));
    parts
}

#[test]
fn an_extended_connect_becomes_a_request_for_a_websocket_with_a_key_of_ours() {
    let fields = [
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "of the caller"),
        ("sec-websocket-accept", "too"),
    ];
    let text = written(&tunnel("websocket", &fields), false).unwrap();
    assert_eq!(
        text,
        "GET /chat?x=1 HTTP/1.1\r\nHost: a.example\r\nsec-websocket-version: 13\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAEAAAAAAAAAAg==\r\n\r\n"
    );
    let mut head = RequestHead::default();
    let length = parse_request(text.as_bytes(), &HeadLimits::default(), &mut head);
    assert_eq!(length, Ok(Some(text.len())));
    assert_eq!(head.framing, RequestFraming::None);
    assert!(head.upgrade.is_some());
}

#[test]
fn an_extended_connect_asks_for_a_websocket_has_no_length_and_stays_open() {
    let refused = [
        (tunnel("connect-udp", &[]), false, "unknown_protocol"),
        (tunnel("websocket, h2c", &[]), false, "unknown_protocol"),
        (tunnel("", &[]), false, "unknown_protocol"),
        (tunnel("websocket", &[]), true, "bad_request"),
        (tunnel("websocket", &[("content-length", "0")]), false, "bad_request"),
        (tunnel("websocket", &[("upgrade", "websocket")]), false, "bad_request"),
    ];
    for (parts, ended, reason) in refused {
        let error = written(&parts, ended).unwrap_err();
        assert!(error.starts_with(reason), "{error}");
    }
}
