//! HTTP/2: names and values that HTTP/1.1 would read differently (RFC 9113 sections 8.2 and 10.3).

use super::two::{End, PROTOCOL, Row, passed, play, unseen, with};

fn reset(name: &'static str, field: (&str, &str)) -> Row {
    unseen(name, with(&[field]), End::Reset(PROTOCOL))
}

/// What is no field at all ends the connection: the library that reads the block says so.
fn ends(name: &'static str, field: (&str, &str)) -> Row {
    unseen(name, with(&[field]), End::Goaway(PROTOCOL))
}

fn told(name: &'static str, field: (&str, &str), code: &'static str) -> Row {
    unseen(name, with(&[field]), End::Told(400, code))
}

/// Passed on with these lines.
fn seen(name: &'static str, fields: &[(&str, &str)], lines: &str) -> Row {
    let seen = format!("GET /x HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
    passed(name, with(fields), &[&seen])
}

pub(super) fn rows() -> Vec<Row> {
    const BAD: &str = "bad_request";
    vec![
        ends("h2: a capital in a name", ("X-bad", "y")),
        ends("h2: a capital at the end of a name", ("x-nO", "y")),
        ends("h2: an empty name", ("", "y")),
        ends("h2: a blank in a name", ("x bad", "y")),
        ends("h2: a blank behind a name", ("x ", "y")),
        ends("h2: a colon in a name", ("x:bad", "y")),
        ends("h2: a field line in a name", ("x: y\r\nz", "y")),
        ends("h2: a CR in a name", ("x\r", "y")),
        ends("h2: a LF in a name", ("x\n", "y")),
        ends("h2: NUL in a name", ("x\0", "y")),
        ends("h2: a tab in a name", ("x\t", "y")),
        ends("h2: a letter beyond ASCII in a name", ("x\u{e4}", "y")),
        ends("h2: a name in brackets", ("(x)", "y")),
        ends("h2: transfer-encoding with a blank", ("transfer-encoding ", "chunked")),
        ends("h2: a CR in a value", ("x", "y\rz")),
        ends("h2: a LF in a value", ("x", "y\nz")),
        ends("h2: a field line in a value", ("x", "y\r\nz: smuggled")),
        ends("h2: a whole request in a value", ("x", "y\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a")),
        ends("h2: NUL in a value", ("x", "y\0z")),
        ends("h2: DEL in a value", ("x", "y\u{7f}z")),
        ends("h2: a vertical tab in a value", ("x", "y\u{b}z")),
        told("h2: a blank before a value", ("x", " y"), BAD),
        told("h2: a blank behind a value", ("x", "y "), BAD),
        told("h2: a tab before a value", ("x", "\ty"), BAD),
        told("h2: a tab behind a value", ("x", "y\t"), BAD),
        told("h2: a value of one blank", ("x", " "), BAD),
        reset("h2: connection", ("connection", "close")),
        reset("h2: connection that nominates", ("connection", "host")),
        reset("h2: keep-alive", ("keep-alive", "timeout=5")),
        reset("h2: proxy-connection", ("proxy-connection", "keep-alive")),
        reset("h2: upgrade", ("upgrade", "websocket")),
        reset("h2: upgrade to h2c", ("upgrade", "h2c")),
        reset("h2: transfer-encoding chunked", ("transfer-encoding", "chunked")),
        reset("h2: transfer-encoding identity", ("transfer-encoding", "identity")),
        reset("h2: an empty transfer-encoding", ("transfer-encoding", "")),
        reset("h2: te of a coding", ("te", "gzip")),
        reset("h2: te of more than trailers", ("te", "trailers, gzip")),
        reset("h2: te of chunked", ("te", "chunked")),
        unseen(
            "h2: an unknown expectation",
            with(&[("expect", "200-ok")]),
            End::Told(417, "unknown_expectation"),
        ),
        seen("h2: te trailers goes no further", &[("te", "trailers")], ""),
        seen(
            "h2: http2-settings is a field",
            &[("http2-settings", "AA")],
            "http2-settings: AA\r\n",
        ),
        seen("h2: an empty value", &[("x", "")], "x: \r\n"),
        seen("h2: a tab in a value", &[("x", "y\tz")], "x: y\tz\r\n"),
        seen("h2: a value in UTF-8", &[("x", "\u{e4}")], "x: \u{e4}\r\n"),
        seen(
            "h2: cookie crumbs become one field",
            &[("cookie", "a=b"), ("x", "y"), ("cookie", "c=d")],
            "x: y\r\nCookie: a=b; c=d\r\n",
        ),
        seen("h2: an empty cookie crumb", &[("cookie", "a=b"), ("cookie", "")], "Cookie: a=b;\r\n"),
        seen("h2: x-forwarded-for of a stranger", &[("x-forwarded-for", "6.6.6.6")], ""),
        seen("h2: x-real-ip of a stranger", &[("x-real-ip", "6.6.6.6")], ""),
        seen("h2: forwarded of a stranger", &[("forwarded", "for=6.6.6.6")], ""),
        seen("h2: x_forwarded_for with underscores", &[("x_forwarded_for", "6.6.6.6")], ""),
        seen("h2: content_length with an underscore", &[("content_length", "50")], ""),
        seen("h2: proxy credentials", &[("proxy-authorization", "Basic eDp5")], ""),
    ]
}

#[test]
fn a_field_of_http2_is_a_field_of_http1_or_refused() {
    play(&rows());
}
