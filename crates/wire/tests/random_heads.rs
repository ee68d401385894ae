//! Random heads, sound, damaged and senseless, through the checks of the fuzz targets.
#![allow(clippy::unwrap_used)]

#[path = "../../../fuzz/checks.rs"]
#[allow(dead_code, reason = "the checks of bodies and streams run elsewhere")]
mod checks;

use proptest::prelude::*;
use proptest::sample::{Index, select};

fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        "[A-Za-z0-9!#$%&'*+.^_`|~-]{1,20}:[ \t]{0,2}([!-~]([ -~]{0,30}[!-~])?)?[ \t]{0,2}"
            .prop_filter("a field with a meaning", |line| {
                let name = line.split(':').next().unwrap().to_ascii_lowercase();
                !["host", "te", "expect", "upgrade", "connection"].contains(&name.as_str())
            }),
        select(vec![
            "Content-Type: application/json",
            "Connection: keep-alive, x-a",
            "connection: close",
            "X-A: 1",
            "Accept: */*",
            "Cookie: a=b; c=d",
        ])
        .prop_map(str::to_owned),
    ]
}

fn fields() -> impl Strategy<Value = String> {
    let framing = select(vec!["", "Content-Length: 7\r\n", "Transfer-Encoding: chunked\r\n"]);
    (prop::collection::vec(field(), 0..12), framing).prop_map(|(lines, framing)| {
        let end = if lines.is_empty() { "" } else { "\r\n" };
        format!("{}{end}{framing}\r\n", lines.join("\r\n"))
    })
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let method = select(vec!["GET", "POST", "DELETE", "OPTIONS", "PURGE"]);
    let target = "(http://[a-z]{1,9}(:[0-9]{1,4})?)?/[!-\"$-~]{0,40}";
    let host = "[a-z0-9.-]{1,20}(:[0-9]{1,4})?";
    (method, target, host, fields()).prop_map(|(method, target, host, fields)| {
        format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}").into_bytes()
    })
}

fn response() -> impl Strategy<Value = Vec<u8>> {
    (200u16..600, "[ -~]{0,20}", fields()).prop_map(|(status, reason, fields)| {
        format!("HTTP/1.1 {status} {reason}\r\n{fields}").into_bytes()
    })
}

/// Bytes whose presence or absence decides what a head means.
fn damage() -> impl Strategy<Value = (Index, u8, bool)> {
    (any::<Index>(), select(&b"\r\n\t \0:;,#@[]/*5\x7f\x80"[..]), any::<bool>())
}

fn damaged(mut head: Vec<u8>, damages: &[(Index, u8, bool)]) -> Vec<u8> {
    for (index, byte, insert) in damages {
        let at = index.index(head.len());
        if *insert {
            head.insert(at, *byte);
        } else {
            head[at] = *byte;
        }
    }
    head
}

proptest! {
    #[test]
    fn sound_requests_are_accepted_and_none_of_their_prefixes_is(head in request()) {
        prop_assert!(checks::request_head(&head), "{}", head.escape_ascii());
    }

    #[test]
    fn sound_responses_are_accepted_and_none_of_their_prefixes_is(head in response()) {
        prop_assert!(checks::response_head(&head), "{}", head.escape_ascii());
    }

    #[test]
    fn damaged_heads_break_no_invariant(
        request in request(),
        response in response(),
        damages in prop::collection::vec(damage(), 1..4),
    ) {
        checks::request_head(&damaged(request, &damages));
        checks::response_head(&damaged(response, &damages));
    }

    #[test]
    fn arbitrary_bytes_break_no_invariant(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        crlf in any::<Index>(),
    ) {
        let fields = [&bytes[..crlf.index(bytes.len() + 1)], b"\r\n\r\n"].concat();
        checks::request_head(&bytes);
        checks::request_head(&[b"GET / HTTP/1.1\r\nHost: a\r\n", &fields[..]].concat());
        checks::request_head(&[b"GET /", &fields[..]].concat());
        checks::response_head(&bytes);
        checks::response_head(&[b"HTTP/1.1 200 OK\r\n", &fields[..]].concat());
        checks::response_head(&[b"HTTP/1.1 200 ", &fields[..]].concat());
    }
}
