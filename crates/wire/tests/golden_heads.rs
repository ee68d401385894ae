//! Whole heads of real clients and servers, and everything that is read from them.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;

use tidegate_wire::http1::head::{
    Field, HeadLimits, Method, RequestHead, ResponseHead, Span, parse_request, parse_response,
};

fn text(buf: &[u8], span: Span) -> String {
    span.of(buf).escape_ascii().to_string()
}

fn describe_fields(out: &mut String, buf: &[u8], fields: &[Field]) {
    for field in fields {
        let hop = if field.hop { " (hop)" } else { "" };
        let (name, value) = (text(buf, field.name), text(buf, field.value));
        writeln!(out, "  {:?}{hop}: {name} = {value}", field.id).unwrap();
    }
}

fn request(buf: &[u8]) -> String {
    let mut head = RequestHead::default();
    let length = parse_request(buf, &HeadLimits::default(), &mut head).unwrap().unwrap();
    let mut out = String::new();
    let optional = |span: Option<Span>| span.map(|span| text(buf, span));
    writeln!(out, "{length} of {} bytes, {:?}", buf.len(), head.version).unwrap();
    writeln!(out, "method {:?} = {}", head.method, text(buf, head.method_name)).unwrap();
    writeln!(out, "target {}", text(buf, head.target)).unwrap();
    writeln!(out, "path {}, query {:?}", text(buf, head.path), optional(head.query)).unwrap();
    writeln!(out, "authority {}", text(buf, head.authority)).unwrap();
    writeln!(out, "framing {:?}, keep alive {}", head.framing, head.keep_alive).unwrap();
    let upgrade = optional(head.upgrade);
    writeln!(out, "expects continue {}, upgrade {upgrade:?}", head.expect_continue).unwrap();
    describe_fields(&mut out, buf, &head.fields);
    out
}

fn response(buf: &[u8]) -> String {
    let mut head = ResponseHead::default();
    let length =
        parse_response(buf, &HeadLimits::default(), Method::Post, &mut head).unwrap().unwrap();
    let mut out = String::new();
    writeln!(out, "{length} of {} bytes, {:?}", buf.len(), head.version).unwrap();
    writeln!(out, "status {} {}", head.status, text(buf, head.reason)).unwrap();
    writeln!(out, "framing {:?}, keep alive {}", head.framing, head.keep_alive).unwrap();
    let upgrade = head.upgrade.map(|span| text(buf, span));
    writeln!(out, "upgrade {upgrade:?}").unwrap();
    describe_fields(&mut out, buf, &head.fields);
    out
}

#[test]
fn an_openai_sdk_request_is_read_whole() {
    insta::assert_snapshot!(request(
        b"POST /v1/chat/completions HTTP/1.1\r\n\
          Host: 127.0.0.1:8080\r\n\
          Accept-Encoding: gzip, deflate\r\n\
          Connection: keep-alive\r\n\
          Accept: application/json\r\n\
          Content-Type: application/json\r\n\
          User-Agent: OpenAI/Python 2.8.1\r\n\
          X-Stainless-Lang: python\r\n\
          x-stainless-retry-count: 0\r\n\
          Authorization: Bearer sk-tg-0123456789\r\n\
          Content-Length: 17\r\n\r\n{\"model\":\"gpt-5\"}"
    ));
}

#[test]
fn an_anthropic_sdk_request_is_read_whole() {
    insta::assert_snapshot!(request(
        b"POST /v1/messages?beta=true HTTP/1.1\r\n\
          host: api.example.com\r\n\
          anthropic-version: 2023-06-01\r\n\
          anthropic-beta: files-api-2025-04-14\r\n\
          x-api-key: sk-ant-x\r\n\
          content-type: application/json\r\n\
          transfer-encoding: chunked\r\n\
          connection: close\r\n\r\n"
    ));
}

#[test]
fn a_curl_upload_is_read_whole() {
    insta::assert_snapshot!(request(
        b"PUT http://files.example:8000/a%20b/../c?x=1&y= HTTP/1.1\r\n\
          Host: proxy.example:3128\r\n\
          User-Agent: curl/8.14.1\r\n\
          Accept: */*\r\n\
          Proxy-Connection: Keep-Alive\r\n\
          Proxy-Authorization: Basic dTpw\r\n\
          Expect: 100-continue\r\n\
          Content-Length: 1048577\r\n\r\n"
    ));
}

#[test]
fn a_websocket_handshake_is_read_whole() {
    insta::assert_snapshot!(request(
        b"GET /realtime HTTP/1.1\r\n\
          Host: [2001:db8::1]:443\r\n\
          Connection: keep-alive, Upgrade, X-Hop, X-Forwarded-For\r\n\
          Upgrade: websocket\r\n\
          X-Hop: gone\r\n\
          X-Forwarded-For: 203.0.113.7\r\n\
          Sec-WebSocket-Version: 13\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
          Cookie: a=b\r\n\r\n"
    ));
}

#[test]
fn an_http10_request_is_read_whole() {
    insta::assert_snapshot!(request(
        b"\r\nGET /status HTTP/1.0\r\nUser-Agent: ApacheBench/2.3\r\nConnection: Keep-Alive\r\n\r\n"
    ));
}

#[test]
fn a_streaming_response_is_read_whole() {
    insta::assert_snapshot!(response(
        b"HTTP/1.1 200 OK\r\n\
          Date: Tue, 04 Aug 2026 12:00:00 GMT\r\n\
          Content-Type: text/event-stream; charset=utf-8\r\n\
          Transfer-Encoding: chunked\r\n\
          Connection: keep-alive\r\n\
          X-Request-Id: req_0123\r\n\
          Cache-Control: no-cache\r\n\
          Set-Cookie: a=b; Path=/\r\n\
          Server: cloudflare\r\n\r\n5\r\n"
    ));
}

#[test]
fn an_overload_response_is_read_whole() {
    insta::assert_snapshot!(response(
        b"HTTP/1.1 529 \r\n\
          content-type: application/json\r\n\
          content-length: 81\r\n\
          retry-after: 12\r\n\
          retry-after-ms: 12000\r\n\
          keep-alive: timeout=5\r\n\
          connection: close\r\n\r\n"
    ));
}
