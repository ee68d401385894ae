//! Sizes just below, at and just beyond what is allowed.

use super::one::{Row, broken, passed, play, post, refused};
use super::{BODY_MAX, HEAD_MAX};

/// A head of so many bytes, most of them in one value.
fn head(bytes: usize) -> String {
    let rest = "GET /x HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
    format!("GET /x HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(bytes - rest))
}

/// A head of so many bytes, most of them in the target.
fn target(bytes: usize) -> String {
    let rest = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".len();
    format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(bytes - rest))
}

/// A head of so many fields.
fn fields(count: usize) -> String {
    format!("GET /x HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count - 1))
}

fn sized(bytes: usize) -> Vec<u8> {
    post(format!("Content-Length: {bytes}\r\n"), "b".repeat(bytes))
}

/// A body of so many bytes in chunks of 1000.
fn chunked(bytes: usize) -> Vec<u8> {
    let body = "b".repeat(bytes);
    let chunks = body
        .as_bytes()
        .chunks(1000)
        .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)));
    post("Transfer-Encoding: chunked\r\n", chunks.collect::<String>() + "0\r\n\r\n")
}

/// Passed on as it came.
fn same(name: &'static str, bytes: &str) -> Row {
    passed(name, bytes.to_owned(), &[bytes])
}

pub(super) fn rows() -> Vec<Row> {
    let body = |bytes: usize, framing: &str| {
        let body = "b".repeat(bytes);
        format!("POST /x HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{body}")
    };
    let long_name = format!("GET /x HTTP/1.1\r\nHost: a\r\n{}: y\r\n\r\n", "X".repeat(4000));
    vec![
        same("a head one byte below the limit", &head(HEAD_MAX - 1)),
        same("a head at the limit", &head(HEAD_MAX)),
        refused("a head one byte beyond the limit", head(HEAD_MAX + 1), 431, "head_too_large"),
        refused("a head far beyond the limit", head(8 * HEAD_MAX), 431, "head_too_large"),
        same("a target one byte below the limit", &target(HEAD_MAX - 1)),
        same("a target at the limit", &target(HEAD_MAX)),
        refused("a target one byte beyond the limit", target(HEAD_MAX + 1), 431, "head_too_large"),
        refused("a target far beyond the limit", target(8 * HEAD_MAX), 414, "target_too_long"),
        same("99 fields", &fields(99)),
        same("100 fields", &fields(100)),
        refused("101 fields", fields(101), 431, "too_many_fields"),
        refused("300 fields", fields(300), 431, "too_many_fields"),
        same("a name of 4000 bytes", &long_name),
        passed(
            "a body one byte below the limit",
            sized(BODY_MAX - 1),
            &[&body(BODY_MAX - 1, &format!("Content-Length: {}", BODY_MAX - 1))],
        ),
        passed(
            "a body at the limit",
            sized(BODY_MAX),
            &[&body(BODY_MAX, &format!("Content-Length: {BODY_MAX}"))],
        ),
        refused("a body one byte beyond the limit", sized(BODY_MAX + 1), 413, "body_too_large"),
        passed(
            "chunks one byte below the limit",
            chunked(BODY_MAX - 1),
            &[&body(BODY_MAX - 1, "Transfer-Encoding: chunked")],
        ),
        passed(
            "chunks at the limit",
            chunked(BODY_MAX),
            &[&body(BODY_MAX, "Transfer-Encoding: chunked")],
        ),
        broken("chunks one byte beyond the limit", chunked(BODY_MAX + 1), 413, "body_too_large")
            .ended(),
        broken("chunks far beyond the limit", chunked(50 * BODY_MAX), 413, "body_too_large"),
        broken(
            "one chunk of the largest size",
            post(
                "Transfer-Encoding: chunked\r\n",
                format!("ffffffffffffffff\r\n{}", "b".repeat(BODY_MAX + 1)),
            ),
            413,
            "body_too_large",
        ),
    ]
}

#[test]
fn each_bound_is_exact() {
    play(&rows());
}
