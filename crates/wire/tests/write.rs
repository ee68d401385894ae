//! What is written reads back as what was meant.
#![allow(clippy::unwrap_used)]

use tidegate_wire::http1::head::{HeadLimits, Method, ResponseHead, parse_response};
use tidegate_wire::http1::write::{
    put_field, put_number, put_number_field, put_status_line, reason,
};

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn status_lines_have_version_status_and_reason() {
    assert_eq!(written(|out| put_status_line(out, 200)), "HTTP/1.1 200 OK\r\n");
    assert_eq!(written(|out| put_status_line(out, 503)), "HTTP/1.1 503 Service Unavailable\r\n");
    assert_eq!(written(|out| put_status_line(out, 799)), "HTTP/1.1 799 \r\n");
    assert_eq!(reason(429), "Too Many Requests");
}

#[test]
fn every_status_line_is_one_that_we_accept() {
    for status in 100..=999 {
        let mut out = Vec::new();
        put_status_line(&mut out, status);
        out.extend_from_slice(b"\r\n");
        let mut head = ResponseHead::default();
        let parsed = parse_response(&out, &HeadLimits::default(), Method::Get, &mut head);
        assert_eq!(parsed, Ok(Some(out.len())));
        assert_eq!(head.status, status);
        assert_eq!(head.reason.of(&out), reason(status).as_bytes());
    }
}

#[test]
fn numbers_are_written_to_the_last_digit() {
    for value in [0, 9, 10, 4_294_967_296, u64::MAX] {
        assert_eq!(written(|out| put_number(out, value)), value.to_string());
    }
    let field = written(|out| put_number_field(out, b"Content-Length", 512));
    assert_eq!(field, "Content-Length: 512\r\n");
}

#[test]
fn a_value_cannot_begin_another_field() {
    let field = written(|out| put_field(out, b"A", b"b\r\nSet-Cookie: c\0\rd"));
    assert_eq!(field, "A: b  Set-Cookie: c  d\r\n");
    assert_eq!(written(|out| put_field(out, b"A", b"b\tc")), "A: b\tc\r\n");
}
