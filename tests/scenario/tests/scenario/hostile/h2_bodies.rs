//! HTTP/2: bodies, their lengths, and trailers (RFC 9113 section 8.1).

use tidegate_scenario::h2raw::{DATA, HEADERS, fields_block, frame, request};

use super::BODY_MAX;
use super::two::{End, PROTOCOL, Row, begun, head, passed, perhaps, play, post, unseen};

/// A POST with these fields, and these pieces, the last of which ends the stream.
fn posted(fields: &[(&str, &str)], pieces: &[&[u8]]) -> Vec<u8> {
    let mut bytes = post(fields);
    for (index, piece) in pieces.iter().enumerate() {
        bytes.extend(frame(DATA, u8::from(index + 1 == pieces.len()), 1, piece));
    }
    bytes
}

/// A POST that announces this length.
fn length(length: &str, pieces: &[&[u8]]) -> Vec<u8> {
    posted(&[("content-length", length)], pieces)
}

/// A length that is none.
fn invalid(name: &'static str, value: &str) -> Row {
    unseen(name, length(value, &[b"four"]), End::Reset(PROTOCOL))
}

/// A POST of `body` with these trailers.
fn trailed(trailers: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = post(&[]);
    bytes.extend(frame(DATA, 0, 1, b"body"));
    bytes.extend(frame(HEADERS, 5, 1, &fields_block(trailers)));
    bytes
}

pub(super) fn rows() -> Vec<Row> {
    let whole = |framing: &str, body: &str| {
        format!("POST /x HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n{body}")
    };
    let chunked = whole("Transfer-Encoding: chunked", "body");
    let four = whole("Content-Length: 4", "four");
    let most = "b".repeat(BODY_MAX);
    let reset = End::Reset(PROTOCOL);
    vec![
        passed("h2: a body without a length", posted(&[], &[b"body"]), &[&chunked]),
        passed("h2: a body in pieces", posted(&[], &[b"bo", b"", b"dy"]), &[&chunked]),
        passed("h2: a body with its length", length("4", &[b"four"]), &[&four]),
        passed("h2: a body with its length in pieces", length("4", &[b"fo", b"ur"]), &[&four]),
        passed("h2: a length with zeros before it", length("004", &[b"four"]), &[&four]),
        passed("h2: an end behind the whole length", length("4", &[b"four", b""]), &[&four]),
        passed(
            "h2: no body at all",
            posted(&[], &[b""]),
            &[&whole("Transfer-Encoding: chunked", "")],
        ),
        passed("h2: a length of nothing", length("0", &[b""]), &[&whole("Content-Length: 0", "")]),
        passed(
            "h2: a body that is a request",
            posted(&[], &[b"0\r\n\r\nGET /y HTTP/1.1\r\nHost: a\r\n\r\n"]),
            &[&whole("Transfer-Encoding: chunked", "0\r\n\r\nGET /y HTTP/1.1\r\nHost: a\r\n\r\n")],
        ),
        passed(
            "h2: a body at the limit",
            posted(&[], &[most.as_bytes()]),
            &[&whole("Transfer-Encoding: chunked", &most)],
        ),
        begun(
            "h2: a body one byte beyond the limit",
            posted(&[], &[most.as_bytes(), b"b"]),
            End::Told(413, "body_too_large"),
        ),
        unseen(
            "h2: a length one byte beyond the limit",
            post(&[("content-length", "4097")]),
            End::Told(413, "body_too_large"),
        ),
        begun("h2: less than announced", length("5", &[b"four"]), reset),
        begun("h2: nothing of what is announced", length("5", &[b""]), reset),
        begun("h2: more than announced", length("3", &[b"four"]), reset),
        begun("h2: more than announced in pieces", length("3", &[b"fo", b"ur"]), reset),
        perhaps(
            "h2: more than announced is a request",
            length("4", &[b"four", b"GET /y HTTP/1.1\r\n\r\n"]),
            &[&four],
            reset,
        ),
        perhaps(
            "h2: something where nothing is announced",
            length("0", &[b"GET /y HTTP/1.1\r\nHost: a\r\n\r\n"]),
            &[&whole("Content-Length: 0", "")],
            reset,
        ),
        unseen(
            "h2: a length and the end of the stream",
            head(&request("POST", "/x", &[("content-length", "4")])),
            reset,
        ),
        unseen(
            "h2: a GET with a length and no body",
            head(&request("GET", "/x", &[("content-length", "4")])),
            reset,
        ),
        unseen(
            "h2: two lengths",
            posted(&[("content-length", "4"), ("content-length", "5")], &[b"four"]),
            reset,
        ),
        unseen(
            "h2: two equal lengths",
            posted(&[("content-length", "4"), ("content-length", "4")], &[b"four"]),
            End::Told(400, "repeated_content_length"),
        ),
        unseen(
            "h2: a length and transfer-encoding",
            posted(&[("content-length", "4"), ("transfer-encoding", "chunked")], &[b"four"]),
            reset,
        ),
        invalid("h2: a length with a sign", "+4"),
        invalid("h2: a length below zero", "-4"),
        invalid("h2: a length in hex", "0x4"),
        invalid("h2: a list of lengths", "4, 4"),
        invalid("h2: an empty length", ""),
        invalid("h2: a length with a blank", "4 4"),
        invalid("h2: a length beyond 64 bits", "18446744073709551620"),
        passed("h2: trailers go no further", trailed(&[("x", "y")]), &[&chunked]),
        passed(
            "h2: trusted names in trailers go no further",
            trailed(&[("x-forwarded-for", "6.6.6.6"), ("authorization", "x")]),
            &[&chunked],
        ),
        passed(
            "h2: framing in trailers goes no further",
            trailed(&[("content-length", "50")]),
            &[&chunked],
        ),
        passed(
            "h2: Host in trailers goes no further",
            trailed(&[("host", "evil.example")]),
            &[&chunked],
        ),
        passed(
            "h2: a pseudo-field in trailers goes no further",
            trailed(&[(":path", "/y")]),
            &[&chunked],
        ),
        passed(
            "h2: :status in trailers goes no further",
            trailed(&[(":status", "200")]),
            &[&chunked],
        ),
        begun("h2: a capital in trailers", trailed(&[("X", "y")]), End::Goaway(PROTOCOL)),
        begun("h2: connection in trailers", trailed(&[("connection", "close")]), reset),
        begun(
            "h2: transfer-encoding in trailers",
            trailed(&[("transfer-encoding", "chunked")]),
            reset,
        ),
        begun(
            "h2: a line in trailers",
            trailed(&[("x", "y\r\nz: smuggled")]),
            End::Goaway(PROTOCOL),
        ),
        begun(
            "h2: trailers that do not end the stream",
            [post(&[]), frame(HEADERS, 4, 1, &fields_block(&[("x", "y")]))].concat(),
            reset,
        ),
    ]
}

#[test]
fn a_body_of_http2_is_as_long_as_it_says_or_never_whole() {
    play(&rows());
}
