//! The framing rules for request heads: each has a test that is named after it.
#![allow(clippy::unwrap_used)]

use tidegate_wire::http1::head::{
    FieldId, HeadError, HeadLimits, Method, RequestFraming, RequestHead, Version, parse_request,
};

fn parse(head: &[u8]) -> Result<RequestHead, HeadError> {
    let mut parsed = RequestHead::default();
    match parse_request(head, &HeadLimits::default(), &mut parsed)? {
        Some(length) => {
            assert_eq!(length, head.len(), "the head ends elsewhere: {}", head.escape_ascii());
            Ok(parsed)
        }
        None => panic!("taken for incomplete: {}", head.escape_ascii()),
    }
}

/// A POST with Host and these lines, each of which brings its own CRLF.
fn post_with(lines: &[u8]) -> Vec<u8> {
    [b"POST /v1 HTTP/1.1\r\nHost: a\r\n", lines, b"\r\n"].concat()
}

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
}

fn assert_refused(head: &[u8], error: HeadError) {
    assert_eq!(parse(head).err(), Some(error), "{}", head.escape_ascii());
}

#[test]
fn rule_01_content_length_with_transfer_encoding_is_refused() {
    for lines in [
        &b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"[..],
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"transfer-encoding: CHUNKED\r\ncontent-length: 0\r\n",
    ] {
        assert_refused(&post_with(lines), HeadError::ConflictingFraming);
    }
    assert_eq!(HeadError::ConflictingFraming.status(), 400);
    assert_eq!(HeadError::ConflictingFraming.code(), "conflicting_framing");
}

#[test]
fn rule_02_transfer_encoding_in_http10_is_refused() {
    assert_refused(
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        HeadError::TransferEncodingInHttp10,
    );
}

#[test]
fn rule_02_unknown_codings_and_chunked_not_last_are_refused() {
    for (value, error) in [
        ("identity", HeadError::UnknownTransferEncoding),
        ("gzip", HeadError::UnknownTransferEncoding),
        ("gzip, chunked", HeadError::UnknownTransferEncoding),
        ("xchunked", HeadError::UnknownTransferEncoding),
        ("chunked;q=1", HeadError::UnknownTransferEncoding),
        ("\"chunked\"", HeadError::UnknownTransferEncoding),
        ("\u{b}chunked", HeadError::InvalidFieldValue),
        ("chunked, gzip", HeadError::ChunkedNotLast),
        ("chunked, identity", HeadError::ChunkedNotLast),
    ] {
        let lines = format!("Transfer-Encoding: {value}\r\n");
        assert_refused(&post_with(lines.as_bytes()), error);
        assert_eq!(error.status(), 400);
    }
}

#[test]
fn rule_02_a_request_is_never_delimited_by_close() {
    assert_eq!(parse(&post_with(b"")).unwrap().framing, RequestFraming::None);
    let http10 = parse(b"POST / HTTP/1.0\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(http10.framing, RequestFraming::None);
}

#[test]
fn rule_03_repeated_transfer_encoding_is_refused() {
    for lines in [
        &b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"[..],
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n",
        b"Transfer-Encoding: chunked, gzip, chunked\r\n",
        b"Transfer-Encoding: ,chunked\r\n",
        b"Transfer-Encoding: chunked,\r\n",
        b"Transfer-Encoding: \r\n",
    ] {
        assert_refused(&post_with(lines), HeadError::RepeatedTransferEncoding);
    }
}

#[test]
fn rule_04_content_length_that_is_not_digits_is_refused() {
    for value in [
        "+5",
        "-5",
        "",
        "5 5",
        "5,5",
        "5, 6",
        "0x5",
        "5.0",
        "5e1",
        "five",
        "5;",
        "\u{0665}",
        "_5",
        "18446744073709551616",
        "99999999999999999999999",
    ] {
        let lines = format!("Content-Length: {value}\r\n");
        assert_refused(&post_with(lines.as_bytes()), HeadError::InvalidContentLength);
    }
}

#[test]
fn rule_04_repeated_content_length_is_refused_even_if_equal() {
    for lines in [
        &b"Content-Length: 5\r\nContent-Length: 6\r\n"[..],
        b"Content-Length: 5\r\nContent-Length: 5\r\n",
        b"content-length: 0\r\nCONTENT-LENGTH: 0\r\n",
    ] {
        assert_refused(&post_with(lines), HeadError::RepeatedContentLength);
    }
}

#[test]
fn rule_04_content_length_is_read_to_the_last_bit() {
    for (value, length) in [
        ("0", 0),
        ("5", 5),
        ("  42\t", 42),
        ("007", 7),
        ("4294967296", 1 << 32),
        ("18446744073709551615", u64::MAX),
    ] {
        let lines = format!("Content-Length:{value}\r\n");
        let head = parse(&post_with(lines.as_bytes())).unwrap();
        assert_eq!(head.framing, RequestFraming::Length(length), "{value}");
    }
}

#[test]
fn chunked_in_any_case_is_chunked() {
    for value in ["chunked", "Chunked", "CHUNKED", " chunked \t"] {
        let lines = format!("Transfer-Encoding:{value}\r\n");
        let head = parse(&post_with(lines.as_bytes())).unwrap();
        assert_eq!(head.framing, RequestFraming::Chunked, "{value}");
    }
}

#[test]
fn rule_08_field_names_that_are_not_tokens_are_refused() {
    for (line, error) in [
        (&b": value\r\n"[..], HeadError::InvalidFieldName),
        (b"Na me: value\r\n", HeadError::InvalidFieldName),
        (b"Na\x00me: value\r\n", HeadError::InvalidFieldName),
        (b"N\xc3\xa4me: value\r\n", HeadError::InvalidFieldName),
        (b"Name(x): value\r\n", HeadError::InvalidFieldName),
        (b"\"Name\": value\r\n", HeadError::InvalidFieldName),
        (b"{Name}: value\r\n", HeadError::InvalidFieldName),
        (b"no colon\r\n", HeadError::InvalidFieldName),
        (b"NoColon\r\n", HeadError::InvalidFieldName),
        (b"Name\r: value\r\n", HeadError::InvalidFieldName),
        (b"\r\r\n", HeadError::InvalidFieldName),
        (b"Content-Length : 5\r\n", HeadError::SpaceBeforeColon),
        (b"Transfer-Encoding\t: chunked\r\n", HeadError::SpaceBeforeColon),
    ] {
        assert_refused(&post_with(line), error);
    }
}

#[test]
fn rule_09_spans_of_a_head_beyond_16_bits_are_exact() {
    let filler = "x".repeat(70_000);
    let head = post_with(format!("A: {filler}\r\nContent-Length: 7\r\nB: end\r\n").as_bytes());
    let limits = HeadLimits { bytes: 128 * 1024, fields: 100 };
    let mut parsed = RequestHead::default();
    assert_eq!(parse_request(&head, &limits, &mut parsed), Ok(Some(head.len())));
    assert_eq!(parsed.framing, RequestFraming::Length(7));
    let values: Vec<_> = parsed.fields.iter().map(|field| field.value.of(&head)).collect();
    assert_eq!(values, [b"a", filler.as_bytes(), b"7", b"end"]);
    assert!(parsed.fields.last().unwrap().value.start > u32::from(u16::MAX));
}

#[test]
fn rule_10_control_bytes_in_values_are_refused() {
    for byte in (0..=0x1f).chain([0x7f]).filter(|&byte| !matches!(byte, b'\t' | b'\n')) {
        for value in [
            vec![byte, b'a'],
            vec![b'a', byte, b'b'],
            // Long enough for the vector paths of the tokenizer.
            [&[b'a'; 70][..], &[byte], &[b'b'; 70]].concat(),
            [&[b'a'; 31][..], &[byte], b"b"].concat(),
        ] {
            let head = post_with(&[b"A: ", &value[..], b"\r\n"].concat());
            assert_refused(&head, HeadError::InvalidFieldValue);
        }
    }
}

#[test]
fn values_may_hold_tab_and_bytes_beyond_ascii() {
    let head = post_with(b"A:\t a\tb \xc3\xa4 \xff\t \r\n");
    assert_eq!(parse(&head).unwrap().fields[1].value.of(&head), b"a\tb \xc3\xa4 \xff");
}

#[test]
fn rule_10_folded_fields_are_refused() {
    for lines in [
        &b"A: b\r\n c\r\n"[..],
        b"A: b\r\n\tc\r\n",
        b"A:\r\n b\r\n",
        b"A: b\r\n \r\n",
        b" Host: b\r\n",
        b"Transfer-Encoding:\r\n chunked\r\n",
    ] {
        assert_refused(&post_with(lines), HeadError::FoldedField);
    }
    assert_refused(b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", HeadError::FoldedField);
}

#[test]
fn rule_11_a_bare_line_feed_is_refused_wherever_it_is() {
    let sound = b"POST /v1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
    let ends: Vec<_> = (0..sound.len()).filter(|&at| sound[at] == b'\r').collect();
    assert_eq!(ends.len(), 4);
    for at in ends {
        let mut head = sound.to_vec();
        head.remove(at);
        assert_refused(&head, HeadError::BareLineFeed);
        // It is refused as soon as it is seen, not when the head is complete.
        assert_refused(&head[..=at], HeadError::BareLineFeed);
    }
    assert_refused(b"GET / HTTP/1.1\nHost: a\n\n", HeadError::BareLineFeed);
    assert_refused(&post_with(b"A: b\nContent-Length: 5\r\n"), HeadError::BareLineFeed);
    assert_refused(b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::BareLineFeed);
}

#[test]
fn rule_11_line_feeds_of_the_body_are_none_of_the_heads_business() {
    let head = post_with(b"Content-Length: 4\r\n");
    let message = [&head[..], b"a\nb\n"].concat();
    let parsed = parse_request(&message, &HeadLimits::default(), &mut RequestHead::default());
    assert_eq!(parsed, Ok(Some(head.len())));
}

#[test]
fn rule_12_exactly_one_valid_host_is_required() {
    assert_refused(b"GET / HTTP/1.1\r\n\r\n", HeadError::MissingHost);
    assert_refused(b"GET http://a/ HTTP/1.1\r\n\r\n", HeadError::MissingHost);
    assert_refused(b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", HeadError::RepeatedHost);
    assert_refused(b"GET / HTTP/1.0\r\nHost: a\r\nhOST: b\r\n\r\n", HeadError::RepeatedHost);
    let long = format!("{}:80", "a".repeat(256));
    for host in [
        "",
        "a b",
        "a,b",
        "a/b",
        "a?b",
        "a#b",
        "u@a",
        "a:",
        "a:b",
        "a:65536",
        "a:123456",
        "a:+80",
        ":80",
        "http://a",
        "[::1",
        "::1",
        "[1.2.3.4]",
        "[::g]",
        "[::1]x",
        "[::1]:",
        "[fe80::1%1]",
        "a%2eb",
        "\u{e4}",
        "a\\b",
        "a;b",
        long.as_str(),
    ] {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_refused(head.as_bytes(), HeadError::InvalidHost);
    }
}

#[test]
fn rule_12_valid_hosts_are_the_authority() {
    for host in [
        "a",
        "A.example",
        "a-b_c~d.example.",
        "a:0",
        "a:65535",
        "127.0.0.1:8080",
        "[::1]",
        "[::ffff:1.2.3.4]:443",
    ] {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let parsed = parse(head.as_bytes()).unwrap();
        assert_eq!(parsed.authority.of(head.as_bytes()), host.as_bytes());
    }
}

#[test]
fn an_http10_request_may_lack_host() {
    let parsed = parse(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    assert!(parsed.authority.is_empty());
    assert_eq!(parsed.version, Version::Http10);
}

#[test]
fn rule_12_the_authority_of_an_absolute_target_overrides_host() {
    for (target, authority, path, query) in [
        ("http://b.example/x?y=1", "b.example", "/x", Some("y=1")),
        ("https://b.example:8443/", "b.example:8443", "/", None),
        ("HTTP://b/x//y", "b", "/x//y", None),
        ("http://b", "b", "/", None),
        ("http://b?q", "b", "/", Some("q")),
        ("http://[::1]:80/p?", "[::1]:80", "/p", Some("")),
    ] {
        let head = get(target);
        let parsed = parse(&head).unwrap();
        assert_eq!(parsed.authority.of(&head), authority.as_bytes(), "{target}");
        assert_eq!(parsed.path.of(&head), path.as_bytes(), "{target}");
        assert_eq!(parsed.query.map(|query| query.of(&head)), query.map(str::as_bytes), "{target}");
        assert_eq!(parsed.target.of(&head), target.as_bytes());
    }
}

#[test]
fn rule_12_an_invalid_host_is_refused_even_if_the_target_overrides_it() {
    assert_refused(b"GET http://b/ HTTP/1.1\r\nHost: a b\r\n\r\n", HeadError::InvalidHost);
}

#[test]
fn rule_12_a_fragment_in_a_target_is_refused() {
    for target in ["/#", "/a#b", "/a?b#c", "#", "http://b/#x", "http://b#x"] {
        assert_refused(&get(target), HeadError::FragmentInTarget);
    }
}

#[test]
fn malformed_targets_are_refused() {
    for target in [
        "a",
        "*",
        "//b@c d",
        "http:/b/",
        "http:///x",
        "http://u@b/",
        "http://u:p@b/",
        "ftp://b/",
        "b:443",
        "http://b:x/",
        "http://b:/",
        "http://b\\c/",
        "?q",
        "/\u{e4}",
        "/\u{7f}",
        "\\x",
    ] {
        let error = parse(&get(target)).unwrap_err();
        let expected = match target {
            "//b@c d" | "/\u{7f}" => HeadError::InvalidRequestLine,
            _ => HeadError::InvalidTarget,
        };
        assert_eq!(error, expected, "{target}");
    }
    assert_refused(b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::InvalidTarget);
}

#[test]
fn origin_targets_keep_path_and_query_as_written() {
    for (target, path, query) in [
        ("/", "/", None),
        ("/?", "/", Some("")),
        ("//b/../c%2f", "//b/../c%2f", None),
        ("/a?b?c=/d", "/a", Some("b?c=/d")),
        ("/{x}|y\"<>^`", "/{x}|y\"<>^`", None),
    ] {
        let head = get(target);
        let parsed = parse(&head).unwrap();
        assert_eq!(parsed.path.of(&head), path.as_bytes());
        assert_eq!(parsed.query.map(|query| query.of(&head)), query.map(str::as_bytes));
        assert_eq!(parsed.authority.of(&head), b"a");
    }
}

#[test]
fn the_asterisk_belongs_to_options_alone() {
    let head = b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n";
    let parsed = parse(head).unwrap();
    assert_eq!((parsed.method, parsed.path.of(head)), (Method::Options, &b"*"[..]));
    assert_refused(b"POST * HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::InvalidTarget);
    assert_refused(b"OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::InvalidTarget);
}

#[test]
fn connect_takes_host_and_port_and_nothing_else() {
    let head = b"CONNECT b.example:443 HTTP/1.1\r\nHost: a\r\n\r\n";
    let parsed = parse(head).unwrap();
    assert_eq!(parsed.method, Method::Connect);
    assert_eq!(parsed.authority.of(head), b"b.example:443");
    assert!(parsed.path.is_empty());
    assert_eq!(parsed.query, None);
    for target in ["/", "b.example", "http://b/", "*", "u@b:1", "b:1/", "b:", "[::1]"] {
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_refused(head.as_bytes(), HeadError::InvalidTarget);
    }
}

#[test]
fn a_connect_with_a_body_is_refused() {
    for line in ["Content-Length: 1", "Transfer-Encoding: chunked"] {
        let head = format!("CONNECT b:443 HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n");
        assert_refused(head.as_bytes(), HeadError::BodyNotAllowed);
    }
    assert!(parse(b"CONNECT b:443 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").is_ok());
}

/// The names of the fields that are marked hop-by-hop, in order.
fn hop_names(head: &[u8]) -> Vec<String> {
    let parsed = parse(head).unwrap();
    let hops = parsed.fields.iter().filter(|field| field.hop);
    hops.map(|field| String::from_utf8_lossy(field.name.of(head)).into_owned()).collect()
}

#[test]
fn rule_13_connection_cannot_nominate_what_proxies_set_or_origins_need() {
    for name in [
        "Host",
        "Content-Length",
        "Content-Type",
        "Authorization",
        "X-Api-Key",
        "Cookie",
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Port",
        "X-Forwarded-Server",
        "X-Forwarded-Prefix",
        "X-Forwarded-Tls-Client-Cert",
        "X-Real-Ip",
        "True-Client-Ip",
        "Cf-Connecting-Ip",
        "Via",
        "X-Request-Id",
        "Traceparent",
    ] {
        let value = if name == "Host" { "a" } else { "1" };
        let host = if name == "Host" { "" } else { "Host: a\r\n" };
        let option = name.to_ascii_uppercase();
        let head = format!(
            "GET / HTTP/1.1\r\n{host}{name}: {value}\r\nConnection: close, {option}\r\n\r\n"
        );
        assert_eq!(hop_names(head.as_bytes()), ["Connection"], "{name}");
    }
}

#[test]
fn fields_that_connection_nominates_are_hop_by_hop() {
    let head = post_with(
        b"X-Session: 1\r\nconnection: x-SESSION ,, close\r\nOther: 2\r\nConnection: http2-settings\r\n\
          HTTP2-Settings: AAA\r\n",
    );
    assert_eq!(hop_names(&head), ["X-Session", "connection", "Connection", "HTTP2-Settings"]);
}

#[test]
fn the_fields_of_rfc_9110_are_hop_by_hop() {
    let head = post_with(
        b"Keep-Alive: 5\r\nProxy-Connection: close\r\nTE: trailers\r\nTrailer: X\r\n\
          Transfer-Encoding: chunked\r\nUpgrade: x\r\nProxy-Authorization: Basic eDp5\r\nAccept: */*\r\n",
    );
    let hops = ["Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade"];
    assert_eq!(hop_names(&head), [&hops[..], &["Proxy-Authorization"]].concat());
}

#[test]
fn trusted_names_in_disguise_are_not_forwarded() {
    for name in [
        "X_Forwarded_For",
        "x-forwarded_for",
        "X_Forwarded-Proto",
        "X_FORWARDED_TLS_CLIENT_CERT_AND_MORE",
        "X_Real_Ip",
        "True_Client-Ip",
        "Cf_Connecting_Ip",
        "Content_Length",
        "Transfer_Encoding",
    ] {
        let head = post_with(format!("{name}: 5\r\n").as_bytes());
        assert_eq!(hop_names(&head), [name]);
        assert_eq!(parse(&head).unwrap().framing, RequestFraming::None, "{name}");
    }
    for name in
        ["api_key", "X_Forwarded", "X_Mine", "_", "X_Real_Ip_", "Content_Length_Of_The_Whole"]
    {
        assert!(hop_names(&post_with(format!("{name}: 5\r\n").as_bytes())).is_empty(), "{name}");
    }
}

#[test]
fn a_flood_of_connection_options_is_refused() {
    let options = |count: usize| -> Vec<u8> {
        let list: Vec<_> = (0..count).map(|at| format!("x-{at}")).collect();
        post_with(format!("Connection: {}\r\n", list.join(", ")).as_bytes())
    };
    assert!(parse(&options(32)).is_ok());
    assert_refused(&options(33), HeadError::TooManyConnectionOptions);
}

#[test]
fn rule_14_expect_continue_is_told() {
    assert!(parse(&post_with(b"Expect: 100-Continue\r\n")).unwrap().expect_continue);
    assert!(!parse(&post_with(b"")).unwrap().expect_continue);
    let http10 = b"POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n";
    assert!(!parse(http10).unwrap().expect_continue);
    assert_refused(&post_with(b"Expect: 200-ok\r\n"), HeadError::UnknownExpectation);
    for second in ["x", "100-continue", ""] {
        let lines = format!("Expect: 100-continue\r\nExpect: {second}\r\n");
        assert_refused(&post_with(lines.as_bytes()), HeadError::UnknownExpectation);
    }
    assert_eq!(HeadError::UnknownExpectation.status(), 417);
}

#[test]
fn rule_15_an_upgrade_counts_only_if_connection_says_so() {
    let upgrade = |lines: &[u8]| {
        let head = post_with(lines);
        parse(&head).unwrap().upgrade.map(|value| value.of(&head).to_vec())
    };
    let websocket = Some(b"websocket".to_vec());
    assert_eq!(upgrade(b"Connection: Upgrade\r\nUpgrade: websocket\r\n"), websocket);
    assert_eq!(upgrade(b"Upgrade: websocket\r\nConnection: keep-alive, upgrade\r\n"), websocket);
    assert_eq!(upgrade(b"Upgrade: websocket\r\n"), None);
    assert_eq!(upgrade(b"Connection: upgrade\r\n"), None);
    assert_eq!(upgrade(b"Connection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n"), None);
    let http10 = b"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(parse(http10).unwrap().upgrade, None);
}

#[test]
fn the_connection_persists_as_version_and_connection_say() {
    for (version, connection, persists) in [
        ("HTTP/1.1", "", true),
        ("HTTP/1.1", "Connection: keep-alive\r\n", true),
        ("HTTP/1.1", "Connection: close\r\n", false),
        ("HTTP/1.1", "Connection: Keep-Alive, CLOSE\r\n", false),
        ("HTTP/1.1", "Connection: x\r\nConnection: close\r\n", false),
        ("HTTP/1.1", "Connection: closed\r\n", true),
        ("HTTP/1.0", "", false),
        ("HTTP/1.0", "Connection: Keep-Alive\r\n", true),
        ("HTTP/1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let head = format!("GET / {version}\r\nHost: a\r\n{connection}\r\n");
        assert_eq!(parse(head.as_bytes()).unwrap().keep_alive, persists, "{version} {connection}");
    }
}

#[test]
fn malformed_request_lines_are_refused() {
    for line in [
        "GET /",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1.1x",
        "GET / HTTP/11",
        "G(T / HTTP/1.1",
        "/ HTTP/1.1",
        "GET /\r HTTP/1.1",
        "GET /\0 HTTP/1.1",
    ] {
        let head = format!("{line}\r\nHost: a\r\n\r\n");
        assert_refused(head.as_bytes(), HeadError::InvalidRequestLine);
    }
    assert_refused(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", HeadError::InvalidRequestLine);
}

#[test]
fn other_versions_are_unsupported() {
    for version in ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/9.9", "HTTP/3"] {
        let head = format!("PRI * {version}\r\n\r\n");
        assert_refused(head.as_bytes(), HeadError::UnsupportedVersion);
    }
    assert_eq!(HeadError::UnsupportedVersion.status(), 505);
}

#[test]
fn one_empty_line_before_the_request_is_skipped_and_counted() {
    let head = b"\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n";
    let parsed = parse(head).unwrap();
    assert_eq!(parsed.path.of(head), b"/x");
    assert_refused(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::InvalidRequestLine);
    assert_refused(b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::InvalidRequestLine);
}

#[test]
fn methods_are_case_sensitive_and_unknown_ones_pass() {
    for (name, method) in [
        ("GET", Method::Get),
        ("HEAD", Method::Head),
        ("POST", Method::Post),
        ("PUT", Method::Put),
        ("DELETE", Method::Delete),
        ("OPTIONS", Method::Options),
        ("TRACE", Method::Trace),
        ("PATCH", Method::Patch),
        ("get", Method::Other),
        ("QUERY", Method::Other),
        ("M-SEARCH", Method::Other),
    ] {
        let head = format!("{name} / HTTP/1.1\r\nHost: a\r\n\r\n");
        let parsed = parse(head.as_bytes()).unwrap();
        assert_eq!(parsed.method, method, "{name}");
        assert_eq!(parsed.method_name.of(head.as_bytes()), name.as_bytes());
    }
    assert!(Method::Put.is_idempotent() && !Method::Put.is_safe());
    assert!(!Method::Post.is_idempotent() && !Method::Other.is_idempotent());
}

#[test]
fn a_head_beyond_the_limits_is_refused() {
    let head = post_with(b"A: b\r\n");
    let parse = |head: &[u8], bytes, fields| {
        parse_request(head, &HeadLimits { bytes, fields }, &mut RequestHead::default())
    };
    assert_eq!(parse(&head, head.len(), 2), Ok(Some(head.len())));
    assert_eq!(parse(&head, head.len() - 1, 2), Err(HeadError::TooLarge));
    assert_eq!(parse(&head[..head.len() - 1], head.len(), 2), Ok(None));
    assert_eq!(parse(&head[..20], 20, 2), Err(HeadError::TooLarge));
    assert_eq!(parse(&head[..10], 10, 2), Err(HeadError::TargetTooLong));
    assert_eq!(parse(&head, head.len(), 1), Err(HeadError::TooManyFields));
    assert_eq!(parse(&head, head.len(), usize::MAX), Ok(Some(head.len())));
    assert_eq!(HeadError::TooLarge.status(), 431);
    assert_eq!(HeadError::TooManyFields.status(), 431);
    assert_eq!(HeadError::TargetTooLong.status(), 414);
    let crowd = post_with("a:b\r\n".repeat(300).as_bytes());
    assert_eq!(parse(&crowd, 1 << 20, 1000), Err(HeadError::TooManyFields));
}

#[test]
fn a_reused_head_forgets_the_request_before() {
    let rich =
        b"POST http://b/x?y HTTP/1.1\r\nHost: a\r\nConnection: upgrade, close\r\nUpgrade: x\r\n\
                 Expect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let plain = b"GET / HTTP/1.0\r\n\r\n";
    let mut reused = RequestHead::default();
    parse_request(rich, &HeadLimits::default(), &mut reused).unwrap();
    parse_request(plain, &HeadLimits::default(), &mut reused).unwrap();
    assert_eq!(reused, parse(plain).unwrap());
}

#[test]
fn well_known_fields_are_found_in_any_case() {
    let head = post_with(
        b"aUTHORIZATION: Bearer x\r\nSec-WebSocket-Extensions: y\r\nVIA: z\r\nAccepd: no\r\n",
    );
    let parsed = parse(&head).unwrap();
    let value = |id| parsed.field(id).map(|field| field.value.of(&head));
    assert_eq!(value(FieldId::Authorization), Some(&b"Bearer x"[..]));
    assert_eq!(value(FieldId::SecWebsocketExtensions), Some(&b"y"[..]));
    assert_eq!(value(FieldId::Via), Some(&b"z"[..]));
    assert_eq!(value(FieldId::Accept), None);
    assert_eq!(value(FieldId::Other), Some(&b"no"[..]));
}

#[test]
fn a_name_that_differs_in_one_byte_is_another_field() {
    for name in
        ["host", "te", "via", "transfer-encoding", "x-forwarded-host", "proxy-authorization"]
    {
        assert_ne!(FieldId::of(name.as_bytes()), FieldId::Other, "{name}");
        assert_eq!(FieldId::of(name.to_ascii_uppercase().as_bytes()), FieldId::of(name.as_bytes()));
        for at in 0..name.len() {
            let mut other = name.as_bytes().to_vec();
            other[at] = b'q';
            assert_eq!(FieldId::of(&other), FieldId::Other, "{}", other.escape_ascii());
        }
        assert_eq!(FieldId::of(&name.as_bytes()[1..]), FieldId::Other);
    }
    assert_eq!(FieldId::of(b""), FieldId::Other);
}

#[test]
fn a_span_of_another_buffer_is_empty_not_a_panic() {
    let head = get("/long/path");
    let parsed = parse(&head).unwrap();
    assert_eq!(parsed.path.of(b"short"), b"");
    assert_eq!((parsed.path.len(), parsed.path.is_empty()), (10, false));
}
