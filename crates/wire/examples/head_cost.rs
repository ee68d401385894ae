//! Prints what parsing a typical head costs, in ns: `cargo run --release -p tidegate-wire --example
//! head_cost`.
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::hint::black_box;
use std::time::Instant;

use tidegate_wire::http1::chunked::ChunkedDecoder;
use tidegate_wire::http1::head::{
    HeadLimits, Method, RequestHead, ResponseHead, parse_request, parse_response,
};
use tidegate_wire::http1::write::put_field;
use tidegate_wire::sse::FrameScanner;

const GET: &[u8] = b"GET /static/app.js?v=3 HTTP/1.1\r\n\
    Host: www.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Connection: keep-alive\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef\r\n\
    Cache-Control: max-age=0\r\n\r\n";

const POST: &[u8] = b"POST /v1/chat/completions HTTP/1.1\r\n\
    Host: 127.0.0.1:8080\r\n\
    Accept: application/json\r\n\
    Content-Type: application/json\r\n\
    User-Agent: OpenAI/Python 2.8.1\r\n\
    X-Stainless-Lang: python\r\n\
    Authorization: Bearer sk-tg-0123456789abcdef0123456789abcdef\r\n\
    Accept-Encoding: gzip, deflate\r\n\
    Content-Length: 512\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Date: Tue, 04 Aug 2026 12:00:00 GMT\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 1024\r\n\
    Server: origin\r\n\
    X-Request-Id: req_0123456789abcdef\r\n\
    Connection: keep-alive\r\n\r\n";

const CHUNK: &[u8] = b"2f\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\r\n";

/// Runs `work` in rounds and prints the best, which is the one the machine disturbed least.
fn measure(what: &str, mut work: impl FnMut()) {
    const OPERATIONS: u32 = 200_000;
    let mut best = f64::INFINITY;
    for _ in 0..15 {
        let start = Instant::now();
        for _ in 0..OPERATIONS {
            work();
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(OPERATIONS));
    }
    println!("{what:32} {best:7.1} ns");
}

fn main() {
    let limits = HeadLimits::default();
    let mut request = RequestHead::default();
    for (what, head) in [("GET, 8 fields", GET), ("POST, 8 fields", POST)] {
        let mut parse = || parse_request(black_box(head), &limits, &mut request);
        assert_eq!(parse(), Ok(Some(head.len())));
        measure(what, || {
            black_box(parse().is_ok());
        });
    }

    let mut response = ResponseHead::default();
    let mut parse = || parse_response(black_box(RESPONSE), &limits, Method::Get, &mut response);
    assert_eq!(parse(), Ok(Some(RESPONSE.len())));
    measure("response, 6 fields", || {
        black_box(parse().is_ok());
    });

    let mut out = Vec::with_capacity(1024);
    measure("rewriting 8 fields", || {
        out.clear();
        for field in &request.fields {
            put_field(&mut out, field.name.of(black_box(POST)), field.value.of(POST));
        }
        black_box(&out);
    });

    let mut chunk = CHUNK.to_vec();
    measure("decoding one chunk", || {
        let decoded = ChunkedDecoder::default().decode(black_box(&mut chunk));
        black_box(decoded.is_ok());
    });

    let mut scanner = FrameScanner::default();
    let frame = b"data: {\"choices\":[{\"delta\":{\"content\":\"token\"}}]}\n\n";
    measure("finding the end of one frame", || {
        black_box(scanner.complete(black_box(frame)));
    });
}
