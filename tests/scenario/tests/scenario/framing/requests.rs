//! Requests that two recipients could read differently, by the rule that refuses them.

use tidegate_lab::provider::{ProviderOptions, spawn_provider};
use tidegate_scenario::gateway::{Gateway, KEY};
use tidegate_scenario::http::{Connection, once};
use tidegate_scenario::origin::Origin;
use tidegate_scenario::until;

use super::{all_that_comes, before, refused_unseen};

#[test]
fn content_length_with_transfer_encoding_is_refused() {
    refused_unseen(&[
        (
            "CL.TE",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "conflicting_framing",
        ),
        (
            "TE.CL",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            400,
            "conflicting_framing",
        ),
        (
            "CL 0 and TE",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "conflicting_framing",
        ),
    ]);
}

#[test]
fn a_transfer_coding_other_than_chunked_is_refused() {
    refused_unseen(&[
        (
            "in HTTP/1.0",
            b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "transfer_encoding_in_http10",
        ),
        (
            "unknown",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            400,
            "unknown_transfer_encoding",
        ),
        (
            "identity",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
            400,
            "unknown_transfer_encoding",
        ),
        (
            "gzip before chunked",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            400,
            "unknown_transfer_encoding",
        ),
        (
            "chunked not last",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
            400,
            "chunked_not_last",
        ),
        (
            "with a parameter",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
            400,
            "unknown_transfer_encoding",
        ),
        (
            "vertical tab",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
            400,
            "invalid_field_value",
        ),
    ]);
}

#[test]
fn transfer_encoding_twice_is_refused() {
    refused_unseen(&[
        (
            "two fields",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "repeated_transfer_encoding",
        ),
        (
            "a list of two",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            400,
            "repeated_transfer_encoding",
        ),
        (
            "an empty element",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
            400,
            "repeated_transfer_encoding",
        ),
        (
            "TE.TE",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-encoding: cow\r\n\r\n0\r\n\r\n",
            400,
            "repeated_transfer_encoding",
        ),
    ]);
}

#[test]
fn content_length_is_digits_only() {
    let heads: Vec<(String, Vec<u8>, &str)> = [
        ("+5", "invalid_content_length"),
        ("-1", "invalid_content_length"),
        ("5 5", "invalid_content_length"),
        ("5,5", "invalid_content_length"),
        ("5, 6", "invalid_content_length"),
        ("0x5", "invalid_content_length"),
        ("5.0", "invalid_content_length"),
        ("1e1", "invalid_content_length"),
        ("", "invalid_content_length"),
        ("five", "invalid_content_length"),
        // One beyond 64 bits, and one that 32 bits would take for 5.
        ("18446744073709551616", "invalid_content_length"),
        ("99999999999999999999999999", "invalid_content_length"),
        ("5\r\nContent-Length: 5", "repeated_content_length"),
        ("5\r\nContent-Length: 6", "repeated_content_length"),
        ("5\r\ncontent-length:", "invalid_content_length"),
    ]
    .into_iter()
    .map(|(value, code)| {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {value}\r\n\r\nhello");
        (value.to_owned(), head.into_bytes(), code)
    })
    .collect();
    let table: Vec<_> =
        heads.iter().map(|(name, head, code)| (name.as_str(), &head[..], 400, *code)).collect();
    refused_unseen(&table);
}

#[test]
fn a_length_beyond_32_bits_keeps_all_its_bits() {
    // 2^32 + 5: whoever packs it into 32 bits takes `hello` for the whole body.
    let origin = Origin::plain();
    let gateway = before(&origin);
    let mut connection = Connection::open(gateway.address);
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4294967301\r\n\r\nhello";
    connection.send(head.as_bytes());
    connection.send(super::SMUGGLED.as_bytes()).finish();
    connection.rest();
    assert!(origin.requests().is_empty(), "{:?}", origin.requests());
}

#[test]
fn a_malformed_field_name_is_refused() {
    refused_unseen(&[
        ("blank before colon", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, "space_before_colon"),
        (
            "blank before colon of Transfer-Encoding",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
            400,
            "space_before_colon",
        ),
        (
            "tab before colon",
            b"GET / HTTP/1.1\r\nHost: a\r\nX\t: b\r\n\r\n",
            400,
            "space_before_colon",
        ),
        ("empty", b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400, "invalid_field_name"),
        ("no colon", b"GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n", 400, "invalid_field_name"),
        ("a control", b"GET / HTTP/1.1\r\nHost: a\r\nX\x01Y: b\r\n\r\n", 400, "invalid_field_name"),
        (
            "beyond ASCII",
            b"GET / HTTP/1.1\r\nHost: a\r\nX\xff: b\r\n\r\n",
            400,
            "invalid_field_name",
        ),
        ("a bracket", b"GET / HTTP/1.1\r\nHost: a\r\nX(Y: b\r\n\r\n", 400, "invalid_field_name"),
    ]);
}

#[test]
fn control_characters_and_folded_fields_are_refused() {
    refused_unseen(&[
        ("NUL", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", 400, "invalid_field_value"),
        ("bare CR", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", 400, "invalid_field_value"),
        ("DEL", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\x7fc\r\n\r\n", 400, "invalid_field_value"),
        ("obs-fold", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400, "folded_field"),
        ("obs-fold, tab", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n", 400, "folded_field"),
        (
            "folded Transfer-Encoding",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
            400,
            "folded_field",
        ),
        ("blank line first", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, "folded_field"),
    ]);
}

#[test]
fn a_bare_line_feed_is_refused_everywhere_in_a_head() {
    refused_unseen(&[
        ("request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400, "bare_line_feed"),
        ("field line", b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400, "bare_line_feed"),
        ("last line", b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400, "bare_line_feed"),
        ("before the request line", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bare_line_feed"),
        ("all lines", b"GET / HTTP/1.1\nHost: a\n\n", 400, "bare_line_feed"),
    ]);
}

#[test]
fn exactly_one_valid_host_is_demanded() {
    refused_unseen(&[
        ("none", b"GET / HTTP/1.1\r\nX: y\r\n\r\n", 400, "missing_host"),
        ("two", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "repeated_host"),
        ("two equal", b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400, "repeated_host"),
        ("empty", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, "invalid_host"),
        ("a path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "invalid_host"),
        ("a user", b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400, "invalid_host"),
        ("a list", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400, "invalid_host"),
        ("a port out of range", b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400, "invalid_host"),
        (
            "valid target, bad Host",
            b"GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n",
            400,
            "invalid_host",
        ),
        ("absolute form without Host", b"GET http://a/ HTTP/1.1\r\n\r\n", 400, "missing_host"),
    ]);
}

#[test]
fn a_malformed_request_line_is_refused() {
    refused_unseen(&[
        ("fragment", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "fragment_in_target"),
        (
            "fragment, absolute",
            b"GET http://a/#b HTTP/1.1\r\nHost: a\r\n\r\n",
            400,
            "fragment_in_target",
        ),
        ("user in target", b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid_target"),
        ("no slash", b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid_target"),
        ("star", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid_target"),
        ("beyond ASCII", b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid_target"),
        ("two blanks", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid_request_line"),
        ("three words", b"GET / / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid_request_line"),
        ("HTTP/0.9", b"GET /\r\n\r\n", 400, "invalid_request_line"),
        ("version 2", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "unsupported_version"),
        ("version 1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505, "unsupported_version"),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400, "invalid_request_line"),
        (
            "not quite the HTTP/2 preface",
            b"PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n",
            505,
            "unsupported_version",
        ),
        (
            "a coded NUL",
            b"GET /a%00 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            400,
            "bad_request",
        ),
        (
            "above the root",
            b"GET /../a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            400,
            "bad_request",
        ),
        (
            "hidden dots",
            b"GET /a/..%2fb HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            400,
            "bad_request",
        ),
        (
            "half an escape",
            b"GET /a%2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            400,
            "bad_request",
        ),
        (
            "CONNECT",
            b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            400,
            "bad_request",
        ),
        ("TRACE", b"TRACE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 400, "bad_request"),
        (
            "an unknown expectation",
            b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 0\r\n\r\n",
            417,
            "unknown_expectation",
        ),
    ]);
}

/// Bad chunked bodies by name; each is sent behind a sound head.
const BAD_CHUNKS: [(&str, &[u8]); 22] = [
    ("0x", b"0x5\r\nhello\r\n0\r\n\r\n"),
    ("underscore", b"0_5\r\nhello\r\n0\r\n\r\n"),
    ("plus", b"+5\r\nhello\r\n0\r\n\r\n"),
    ("minus", b"-5\r\nhello\r\n0\r\n\r\n"),
    ("blank first", b" 5\r\nhello\r\n0\r\n\r\n"),
    ("blank behind", b"5 \r\nhello\r\n0\r\n\r\n"),
    ("no digits", b"\r\nhello\r\n0\r\n\r\n"),
    ("17 digits", b"00000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("beyond 64 bits", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("letters", b"G\r\nhello\r\n0\r\n\r\n"),
    ("bare LF behind the size", b"5\nhello\r\n0\r\n\r\n"),
    ("bare CR behind the size", b"5\rhello\r\n0\r\n\r\n"),
    ("extension with LF", b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    ("extension with CR", b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    ("extension with NUL", b"5;a\0b\r\nhello\r\n0\r\n\r\n"),
    ("data too short", b"5\r\nhell\r\n0\r\n\r\n"),
    ("data too long", b"5\r\nhello!\r\n0\r\n\r\n"),
    ("no CRLF behind data", b"5\r\nhello0\r\n\r\n"),
    ("LF behind data", b"5\r\nhello\n0\r\n\r\n"),
    ("XX behind data", b"5\r\nhelloXX0\r\n\r\n"),
    ("bad trailer", b"5\r\nhello\r\n0\r\nbad trailer\r\n\r\n"),
    ("folded trailer", b"5\r\nhello\r\n0\r\nA: b\r\n c\r\n\r\n"),
];

#[test]
fn a_bad_chunk_is_refused_and_no_origin_gets_a_whole_request() {
    let origin = Origin::plain();
    let gateway = before(&origin);
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(300));
    let all = BAD_CHUNKS.into_iter().chain([("long extension", long.as_bytes())]);
    for (name, body) in all {
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let said = all_that_comes(&gateway, name, &[head, body].concat());
        assert!(said.starts_with("HTTP/1.1 400 "), "{name}: {said}");
        assert!(said.contains("\r\nConnection: close\r\n"), "{name}: {said}");
    }
    assert_eq!(tidegate_scenario::http::get(gateway.address, "/fine").status, 200);
    let requests = origin.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    let bytes = String::from_utf8_lossy(&origin.bytes()).into_owned();
    assert!(!bytes.contains("smuggled") && !bytes.contains("\r\n0\r\n\r\n"), "{bytes}");
}

#[test]
fn a_bad_chunk_of_an_llm_call_reaches_no_provider() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&format!(
        "providers: {{ lab: {{ dialect: openai, base_url: http://{}/v1, api_key: none }} }}\n",
        lab.addr
    ));
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    for (name, body) in BAD_CHUNKS {
        let said = all_that_comes(&gateway, name, &[head.as_bytes(), body].concat());
        assert!(said.starts_with("HTTP/1.1 400 "), "{name}: {said}");
    }
    assert_eq!((lab.stats().requests, lab.stats().connections), (0, 0));
}

#[test]
fn chunk_extensions_and_trailers_are_dropped() {
    let origin = Origin::plain();
    let gateway = before(&origin);
    let reply = once(
        gateway.address,
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Forwarded-For\r\n\r\n\
          5;name=value\r\nhello\r\n0;last\r\nX-Forwarded-For: 6.6.6.6\r\nX-Api-Key: stolen\r\n\r\n",
    );
    assert_eq!(reply.status, 200);
    let bytes = String::from_utf8_lossy(&origin.bytes()).into_owned();
    assert_eq!(origin.requests()[0].body, b"hello");
    for dropped in ["6.6.6.6", "stolen", "name=value", "last", "Trailer"] {
        assert!(!bytes.contains(dropped), "{dropped} in {bytes}");
    }
}

#[test]
fn absolute_form_overrides_host() {
    let origin = Origin::plain();
    let gateway = before(&origin);
    let reply = once(
        gateway.address,
        b"GET http://right.example:81/a?b HTTP/1.1\r\nHost: wrong.example\r\n\r\n",
    );
    assert_eq!(reply.status, 200);
    let seen = &origin.requests()[0];
    assert_eq!(seen.line(), "GET /a?b HTTP/1.1");
    assert_eq!(seen.field("host"), Some("right.example:81"));
    assert!(!seen.head.contains("wrong.example"), "{}", seen.head);
}

#[test]
fn connection_cannot_nominate_the_fields_that_the_gateway_sets() {
    let origin = Origin::plain();
    let gateway = before(&origin);
    let reply = once(
        gateway.address,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nX-Mine: 1\r\nAuthorization: Basic x\r\n\
          Connection: x-mine, host, content-length, x-forwarded-for, x-forwarded-proto, authorization\r\n\r\nhi",
    );
    assert_eq!(reply.status, 200);
    let seen = &origin.requests()[0];
    assert_eq!(seen.field("host"), Some("a"));
    assert_eq!(seen.field("content-length"), Some("2"));
    assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.field("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.field("authorization"), Some("Basic x"));
    assert_eq!(seen.field("x-mine"), None, "nominated, and nobody's business but the caller's");
}

#[test]
fn an_upgrade_to_another_protocol_is_not_tunnelled_and_early_bytes_stay_here() {
    let origin = Origin::start(|_| {
        tidegate_scenario::origin::Answer::keep(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        )
    });
    let gateway = before(&origin);
    let said = all_that_comes(
        &gateway,
        "upgrade",
        b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade, close\r\n\r\n",
    );
    assert!(said.starts_with("HTTP/1.1 502 "), "{said}");
    let seen = until("the origin is asked", || origin.requests().into_iter().next());
    assert_eq!((seen.field("upgrade"), seen.field("connection")), (None, None));
    assert!(!String::from_utf8_lossy(&origin.bytes()).contains("smuggled"));
}
