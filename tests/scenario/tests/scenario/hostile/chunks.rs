//! Chunked bodies: sizes, extensions, line ends, trailers (RFC 9112 section 7.1).

use super::one::{Row, broken, passed, play, post};

/// What is sent behind a sound head, and refused.
fn bad(name: &'static str, body: impl AsRef<[u8]>) -> Row {
    let bytes = post("Transfer-Encoding: chunked\r\n", body);
    broken(name, bytes, 400, "bad_request")
}

/// What is sent behind a sound head, and passed on as this body.
fn good(name: &'static str, body: impl AsRef<[u8]>, seen: &str) -> Row {
    let bytes = post("Transfer-Encoding: chunked\r\n", body);
    let seen = format!("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{seen}");
    passed(name, bytes, &[&seen])
}

/// A chunk of this size, by its digits.
fn sized(name: &'static str, size: &str) -> Row {
    bad(name, format!("{size}\r\nhello\r\n0\r\n\r\n"))
}

pub(super) fn rows() -> Vec<Row> {
    let extended = |length: usize| format!("5;{}\r\nhello\r\n0\r\n\r\n", "e".repeat(length));
    let trailers = |count: usize| format!("0\r\n{}\r\n", "T: u\r\n".repeat(count));
    let trailer = |length: usize| format!("0\r\nT:{}\r\n\r\n", "u".repeat(length));
    let spread = format!("{}0\r\n\r\n", format!("1;{}\r\nx\r\n", "e".repeat(250)).repeat(70));
    vec![
        sized("a chunk size in C's hex", "0x5"),
        sized("a chunk size with an underscore", "0_5"),
        sized("a chunk size with a plus", "+5"),
        sized("a chunk size with a minus", "-5"),
        sized("a blank before a chunk size", " 5"),
        sized("a blank behind a chunk size", "5 "),
        sized("a tab behind a chunk size", "5\t"),
        sized("no chunk size", ""),
        sized("a chunk size of letters", "g"),
        sized("a chunk size with a dot", "5.0"),
        sized("a chunk size with a comma", "5,"),
        sized("a chunk size with NUL", "5\0"),
        sized("a chunk size in quotes", "\"5\""),
        sized("a chunk size in Arabic digits", "\u{665}"),
        sized("a chunk size of 17 digits", "00000000000000005"),
        sized("a chunk size that wraps 64 bits to 5", "10000000000000005"),
        sized("a chunk size that wraps 32 bits twice", "1000000000000000000000005"),
        sized("an extension without its semicolon", "5 a=b"),
        bad("a bare LF behind a chunk size", b"5\nhello\r\n0\r\n\r\n"),
        bad("a bare CR behind a chunk size", b"5\rhello\r\n0\r\n\r\n"),
        bad("two CRs behind a chunk size", b"5\r\r\nhello\r\n0\r\n\r\n"),
        bad("a bare LF behind chunk data", b"5\r\nhello\n0\r\n\r\n"),
        bad("a bare CR behind chunk data", b"5\r\nhello\r0\r\n\r\n"),
        bad("no line end behind chunk data", b"5\r\nhello0\r\n\r\n"),
        bad("two bytes in place of a line end", b"5\r\nhelloXX0\r\n\r\n"),
        bad("chunk data shorter than its size", b"5\r\nhell\r\n0\r\n\r\n"),
        bad("chunk data longer than its size", b"5\r\nhello!\r\n0\r\n\r\n"),
        bad(
            "chunk data longer by a whole request",
            b"5\r\nhelloGET /y HTTP/1.1\r\nHost: a\r\n\r\n0\r\n\r\n",
        ),
        bad("a bare LF behind the last chunk", b"0\n\r\n"),
        bad("a bare LF at the very end", b"0\r\n\n"),
        bad("a bare CR at the very end", b"0\r\n\rX"),
        bad("an extension with a bare LF", b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
        bad("an extension with a bare CR", b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
        bad("an extension with NUL", b"5;a\0b\r\nhello\r\n0\r\n\r\n"),
        bad("an extension ended by a bare LF", b"5;a\nhello\r\n0\r\n\r\n"),
        bad("a bare LF in the last extension", b"0;a\nGET /y HTTP/1.1\r\n\r\n"),
        bad("an extension of 257 bytes", extended(257)),
        bad("extensions that outweigh the data", spread),
        bad("a trailer without a colon", b"0\r\ntrailer\r\n\r\n"),
        bad("a trailer without a name", b"0\r\n: b\r\n\r\n"),
        bad("a blank in the name of a trailer", b"0\r\na b: c\r\n\r\n"),
        bad("a blank before the colon of a trailer", b"0\r\na : c\r\n\r\n"),
        bad("a folded trailer", b"0\r\na: b\r\n c\r\n\r\n"),
        bad("a trailer with NUL", b"0\r\na: b\0\r\n\r\n"),
        bad("a trailer with a bare CR", b"0\r\na: b\rc\r\n\r\n"),
        bad("a trailer ended by a bare LF", b"0\r\na: b\n\r\n"),
        bad("a request in place of a trailer", b"0\r\nGET /y HTTP/1.1\r\nHost: a\r\n\r\n"),
        bad("a trailer of more than 8 KiB", trailer(8 * 1024)),
        bad("65 trailers", trailers(65)),
        good("64 trailers are dropped", trailers(64), ""),
        good("a long trailer is dropped", trailer(8 * 1024 - 10), ""),
        good("an extension of 256 bytes is dropped", extended(256), "hello"),
        good("an extension with a value is dropped", b"5;a=b\r\nhello\r\n0\r\n\r\n", "hello"),
        good("an extension in quotes is dropped", b"5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n", "hello"),
        good("blanks before an extension are dropped", b"5 \t;a\r\nhello\r\n0\r\n\r\n", "hello"),
        good("an extension of the last chunk is dropped", b"5\r\nhello\r\n0;a\r\n\r\n", "hello"),
        good("a last chunk of many zeros", b"5\r\nhello\r\n0000000000000000\r\n\r\n", "hello"),
        good("a size of 16 digits", b"0000000000000005\r\nhello\r\n0\r\n\r\n", "hello"),
        good(
            "sizes in both cases",
            b"a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n",
            "01234567890123456789a",
        ),
        good("line ends in chunk data", b"4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n"),
        good("a last chunk in chunk data", b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n"),
        good(
            "trusted names in trailers are dropped",
            b"0\r\nX-Forwarded-For: 6.6.6.6\r\nAuthorization: x\r\n\r\n",
            "",
        ),
        good(
            "framing in trailers is dropped",
            b"0\r\nContent-Length: 50\r\nTransfer-Encoding: gzip\r\n\r\n",
            "",
        ),
        good("Host in a trailer is dropped", b"0\r\nHost: evil.example\r\n\r\n", ""),
    ]
}

#[test]
fn a_chunked_body_is_sound_or_never_whole() {
    play(&rows());
}
