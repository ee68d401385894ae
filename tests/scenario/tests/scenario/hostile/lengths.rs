//! Content-Length is digits, once, and means what it says (RFC 9110 section 8.6).

use super::one::{Row, declined, passed, passed_last, play, post, refused};

/// A length that is none, before `hello`.
fn invalid(name: &'static str, value: &str) -> Row {
    let bytes = post(format!("Content-Length: {value}\r\n"), "hello");
    refused(name, bytes, 400, "invalid_content_length")
}

fn lines(name: &'static str, lines: &str, code: &'static str) -> Row {
    refused(name, post(lines, "hello"), 400, code)
}

pub(super) fn rows() -> Vec<Row> {
    let five = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let none = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    vec![
        invalid("a length with a plus", "+5"),
        invalid("a length with a minus", "-5"),
        invalid("a length of minus nothing", "-0"),
        invalid("an empty length", ""),
        invalid("a length with a blank in it", "5 5"),
        invalid("a list of equal lengths", "5, 5"),
        invalid("a list of different lengths", "5, 6"),
        invalid("a list with an empty length", "5,"),
        invalid("a length in hex", "0x5"),
        invalid("a length with a fraction", "5.0"),
        invalid("a length with an exponent", "5e0"),
        invalid("a length with an underscore", "0_5"),
        invalid("a length in words", "five"),
        invalid("a length in Arabic digits", "\u{665}"),
        invalid("a length in quotes", "\"5\""),
        invalid("a length with a parameter", "5;a=b"),
        invalid("a length that wraps 64 bits to 5", "18446744073709551621"),
        invalid("a length just beyond 64 bits", "18446744073709551616"),
        invalid("a length of 100 digits", &"9".repeat(100)),
        lines("a length with a vertical tab", "Content-Length: \u{b}5\r\n", "invalid_field_value"),
        lines("a length with NUL", "Content-Length: 5\0\r\n", "invalid_field_value"),
        lines(
            "two equal lengths",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "repeated_content_length",
        ),
        lines(
            "two different lengths",
            "Content-Length: 5\r\nContent-Length: 0\r\n",
            "repeated_content_length",
        ),
        lines(
            "two lengths in two spellings",
            "content-length: 5\r\nCONTENT-LENGTH: 5\r\n",
            "repeated_content_length",
        ),
        lines(
            "a length and an empty one",
            "Content-Length: 5\r\nContent-Length:\r\n",
            "invalid_content_length",
        ),
        lines("a length behind a bare CR", "X: y\rContent-Length: 5\r\n", "invalid_field_value"),
        declined(
            "a length of 4 GiB and 5 is not 5",
            post("Content-Length: 4294967301\r\n", ""),
            413,
            "body_too_large",
        )
        .ended(),
        declined(
            "the largest length",
            post("Content-Length: 18446744073709551615\r\n", ""),
            413,
            "body_too_large",
        )
        .ended(),
        passed("a length with zeros before it", post("Content-Length: 005\r\n", "hello"), &[five]),
        passed("a length with tabs around it", post("Content-Length:\t5\t\r\n", "hello"), &[five]),
        passed("a length of nothing", post("Content-Length: 0\r\n", ""), &[none]),
        passed("a POST without a length", post("", ""), &[none]),
        passed(
            "a length of nothing for a GET",
            "GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            &["GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"],
        ),
        passed(
            "a GET with a body",
            "GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
            &["GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"],
        ),
        passed(
            "a HEAD with a body",
            "HEAD /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
            &["HEAD /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"],
        ),
        passed(
            "a DELETE whose body looks like a request",
            "DELETE /x HTTP/1.1\r\nHost: a\r\nContent-Length: 18\r\n\r\nGET /y HTTP/1.1\r\n\r",
            &["DELETE /x HTTP/1.1\r\nHost: a\r\nContent-Length: 18\r\n\r\nGET /y HTTP/1.1\r\n\r"],
        ),
        passed(
            "Content-Length among the options of Connection",
            post("Connection: content-length\r\nContent-Length: 5\r\n", "hello"),
            &[five],
        ),
        passed_last(
            "a length in HTTP/1.0",
            "POST /x HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
            &[five],
        ),
        passed_last(
            "a POST of HTTP/1.0 without a length",
            "POST /x HTTP/1.0\r\nHost: a\r\n\r\n",
            &[none],
        ),
    ]
}

#[test]
fn a_length_is_digits_once_or_refused() {
    play(&rows());
}
