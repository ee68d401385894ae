//! Several requests on one connection: what follows an answer is a request again, or nothing is.

use super::one::{Row, broken, get, passed, passed_last, play, post, refused};

const X: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
const Y: &str = "GET /y HTTP/1.1\r\nHost: a\r\n\r\n";

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

pub(super) fn rows() -> Vec<Row> {
    let posted = post("Content-Length: 5\r\n", "hello");
    let posted_seen = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let chunked = post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n");
    let chunked_seen = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nhello";
    let early = |lines: &str, body: &str| {
        format!("POST /early HTTP/1.1\r\nHost: a\r\n{lines}\r\n{body}").into_bytes()
    };
    let (x, y) = (get("/x"), get("/y"));
    vec![
        passed("two requests at once", joined(&[&x, &y]), &[X, Y]),
        passed("a body and a request at once", joined(&[&posted, &y]), &[posted_seen, Y]),
        passed("chunks and a request at once", joined(&[&chunked, &y]), &[chunked_seen, Y]),
        passed(
            "an empty line between two requests",
            joined(&[&posted, b"\r\n", &y]),
            &[posted_seen, Y],
        ),
        passed(
            "three bodies at once",
            joined(&[&posted, &chunked, &posted]),
            &[posted_seen, chunked_seen, posted_seen],
        ),
        passed_last(
            "a request behind one that closes",
            joined(&[b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &y]),
            &[X],
        ),
        passed_last(
            "a request behind one of HTTP/1.0",
            joined(&[b"GET /x HTTP/1.0\r\nHost: a\r\n\r\n", &y]),
            &[X],
        ),
        passed(
            "a bad request behind a good one",
            joined(&[&x, b"GET  /y HTTP/1.1\r\nHost: a\r\n\r\n"]),
            &[X],
        )
        .told(&[(200, ""), (400, "invalid_request_line")])
        .stops(),
        passed(
            "a length too short",
            post("Content-Length: 4\r\n", "hello"),
            &[
                "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nhell",
                "oGET /behind HTTP/1.1\r\nHost: b\r\n\r\n",
            ],
        )
        .stops(),
        passed(
            "bytes that are no request behind a body",
            joined(&[&posted, b"garbage\r\n\r\n"]),
            &[posted_seen],
        )
        .told(&[(200, ""), (400, "invalid_request_line")])
        .stops(),
        passed(
            "chunks with more behind their end",
            joined(&[&chunked, b"0\r\n\r\n"]),
            &[chunked_seen],
        )
        .told(&[(200, ""), (400, "invalid_request_line")])
        .stops(),
        passed(
            "a second end of chunks and a conflict",
            joined(&[
                &chunked,
                &post("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            ]),
            &[chunked_seen],
        )
        .told(&[(200, ""), (400, "conflicting_framing")])
        .stops(),
        refused(
            "a request behind a refused one",
            joined(&[b"GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", &y]),
            400,
            "repeated_host",
        ),
        refused(
            "a body behind a refused head",
            post(
                "Content-Length: 5\r\nContent-Length: 5\r\n",
                "GET /y HTTP/1.1\r\nHost: a\r\n\r\n",
            ),
            400,
            "repeated_content_length",
        ),
        refused("nothing but half a head", "GET /x HTTP/1.1\r\nHost: a\r\n", 400, "bad_request")
            .ended(),
        refused("half a request line", "GET /x HT", 400, "bad_request").ended(),
        refused("no byte at all", "", 400, "").told(&[]).ended(),
        refused("an empty line and nothing more", "\r\n", 400, "bad_request").ended(),
        broken("half a body", post("Content-Length: 10\r\n", "hello"), 400, "bad_request")
            .told(&[])
            .ended(),
        broken(
            "half a chunk",
            post("Transfer-Encoding: chunked\r\n", "5\r\nhel"),
            400,
            "bad_request",
        )
        .told(&[])
        .ended(),
        broken(
            "chunks without their end",
            post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"),
            400,
            "bad_request",
        )
        .told(&[])
        .ended(),
        broken(
            "chunks without the last line",
            post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n"),
            400,
            "bad_request",
        )
        .told(&[])
        .ended(),
        broken(
            "an early reply to a body that is a request",
            early("Content-Length: 3000\r\n", Y),
            413,
            "",
        ),
        broken(
            "an early reply to chunks",
            early("Transfer-Encoding: chunked\r\n", "fff\r\nhello\r\n"),
            413,
            "",
        )
        .told(&[(413, "")]),
    ]
}

#[test]
fn what_follows_an_answer_is_a_request_or_nothing() {
    play(&rows());
}
