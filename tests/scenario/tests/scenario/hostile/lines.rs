//! Request lines and line ends (RFC 9112 sections 2.2 and 3).

use super::one::{Row, get, passed, passed_last, play, refused, with};

/// A refusal of the request line.
fn line(name: &'static str, line: &str) -> Row {
    let bytes = format!("{line}\r\nHost: a\r\n\r\n");
    refused(name, bytes, 400, "invalid_request_line")
}

/// A version that is not spoken.
fn version(name: &'static str, version: &str) -> Row {
    let bytes = format!("GET /x {version}\r\nHost: a\r\n\r\n");
    refused(name, bytes, 505, "unsupported_version")
}

/// A line that ends with LF alone.
fn bare(name: &'static str, bytes: &[u8]) -> Row {
    refused(name, bytes, 400, "bare_line_feed")
}

pub(super) fn rows() -> Vec<Row> {
    vec![
        passed("a plain request", get("/x"), &["GET /x HTTP/1.1\r\nHost: a\r\n\r\n"]),
        passed(
            "one empty line before a request",
            [b"\r\n", &get("/x")[..]].concat(),
            &["GET /x HTTP/1.1\r\nHost: a\r\n\r\n"],
        ),
        line("two empty lines before a request", "\r\n\r\nGET /x HTTP/1.1"),
        line("no version", "GET /x"),
        line("no target", "GET HTTP/1.1"),
        line("no method", "/x HTTP/1.1"),
        line("two blanks behind the method", "GET  /x HTTP/1.1"),
        line("two blanks behind the target", "GET /x  HTTP/1.1"),
        line("a blank behind the version", "GET /x HTTP/1.1 "),
        line("a blank before the method", " GET /x HTTP/1.1"),
        line("a tab behind the method", "GET\t/x HTTP/1.1"),
        line("a tab behind the target", "GET /x\tHTTP/1.1"),
        line("a fourth word", "GET /x /y HTTP/1.1"),
        line("a vertical tab in a target", "GET /x\u{b}y HTTP/1.1"),
        line("NUL in a target", "GET /x\0y HTTP/1.1"),
        line("a CR in a target", "GET /x\ry HTTP/1.1"),
        line("a CR before the version", "GET /x\r HTTP/1.1"),
        line("NUL in a method", "GE\0T /x HTTP/1.1"),
        line("a colon in a method", "GET: /x HTTP/1.1"),
        line("a method in brackets", "(GET) /x HTTP/1.1"),
        line("a version in lower case", "GET /x http/1.1"),
        line("a version without a dot", "GET /x HTTP/11"),
        line("a version with three digits", "GET /x HTTP/1.10"),
        line("a version with a sign", "GET /x HTTP/+1.1"),
        line("another protocol", "GET /x SIP/2.0"),
        line("a second CR behind the version", "GET /x HTTP/1.1\r"),
        version("HTTP/1.2", "HTTP/1.2"),
        version("a version with leading zero", "HTTP/01.1"),
        version("HTTP/2.0 in text", "HTTP/2.0"),
        version("HTTP/2 in text", "HTTP/2"),
        version("HTTP/3 in text", "HTTP/3"),
        version("HTTP/0.9 by name", "HTTP/0.9"),
        version("HTTP/9.9", "HTTP/9.9"),
        refused("HTTP/0.9", "GET /x\r\n", 400, "invalid_request_line"),
        refused(
            "a preface that changes its mind",
            "PRI * HTTP/2.0\r\n\r\nGET /x\r\n\r\n",
            505,
            "unsupported_version",
        ),
        refused(
            "the beginning of TLS",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            400,
            "invalid_request_line",
        ),
        bare("a bare LF behind the request line", b"GET /x HTTP/1.1\nHost: a\r\n\r\n"),
        bare("a bare LF behind a field", b"GET /x HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
        bare("a bare LF in place of the last line", b"GET /x HTTP/1.1\r\nHost: a\r\n\n"),
        bare("bare LFs everywhere", b"GET /x HTTP/1.1\nHost: a\n\n"),
        bare("a bare LF before the request", b"\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n"),
        bare("LF CR in place of CR LF", b"GET /x HTTP/1.1\n\rHost: a\n\r\n\r"),
        refused(
            "a bare CR before the request",
            b"\rGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
            400,
            "invalid_request_line",
        ),
        refused(
            "a bare CR in place of line ends",
            b"GET /x HTTP/1.1\rHost: a\r\r",
            400,
            "invalid_request_line",
        ),
        refused(
            "two CRs before the last LF",
            b"GET /x HTTP/1.1\r\nHost: a\r\n\r\r\n",
            400,
            "invalid_field_name",
        ),
        passed(
            "a method in lower case is another method",
            b"get /x HTTP/1.1\r\nHost: a\r\n\r\n",
            &["get /x HTTP/1.1\r\nHost: a\r\n\r\n"],
        ),
        passed(
            "a method that nobody knows",
            b"M-SEARCH /x HTTP/1.1\r\nHost: a\r\n\r\n",
            &["M-SEARCH /x HTTP/1.1\r\nHost: a\r\n\r\n"],
        ),
        passed_last(
            "HTTP/1.0 becomes HTTP/1.1 and its connection ends",
            b"GET /x HTTP/1.0\r\nHost: a\r\n\r\n",
            &["GET /x HTTP/1.1\r\nHost: a\r\n\r\n"],
        ),
        passed(
            "HTTP/1.0 with keep-alive",
            b"GET /x HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
            &["GET /x HTTP/1.1\r\nHost: a\r\n\r\n"],
        ),
        passed(
            "HEAD has a length and no body",
            b"HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n",
            &["HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n"],
        ),
        refused("a blank line only of blanks", with("  \r\n"), 400, "folded_field"),
    ]
}

#[test]
fn a_request_line_is_one_line_of_three_words_or_refused() {
    play(&rows());
}
