//! The framing rules for response heads: an upstream gets no more credit than a client.
#![allow(clippy::unwrap_used)]

use tidegate_wire::http1::head::{
    FieldId, HeadError, HeadLimits, Method, ResponseFraming, ResponseHead, Version, parse_response,
};

fn parse_for(head: &[u8], method: Method) -> Result<ResponseHead, HeadError> {
    let mut parsed = ResponseHead::default();
    match parse_response(head, &HeadLimits::default(), method, &mut parsed)? {
        Some(length) => {
            assert_eq!(length, head.len(), "the head ends elsewhere: {}", head.escape_ascii());
            Ok(parsed)
        }
        None => panic!("taken for incomplete: {}", head.escape_ascii()),
    }
}

fn parse(head: &[u8]) -> Result<ResponseHead, HeadError> {
    parse_for(head, Method::Get)
}

fn ok_with(lines: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n").into_bytes()
}

#[test]
fn rule_01_content_length_with_transfer_encoding_is_refused() {
    for method in [Method::Get, Method::Head] {
        let head = ok_with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n");
        assert_eq!(parse_for(&head, method), Err(HeadError::ConflictingFraming));
    }
}

#[test]
fn rules_02_to_04_hold_for_responses() {
    for (lines, error) in [
        ("Transfer-Encoding: gzip\r\n", HeadError::UnknownTransferEncoding),
        ("Transfer-Encoding: gzip, chunked\r\n", HeadError::UnknownTransferEncoding),
        ("Transfer-Encoding: chunked, gzip\r\n", HeadError::ChunkedNotLast),
        ("Transfer-Encoding: chunked, chunked\r\n", HeadError::RepeatedTransferEncoding),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", HeadError::RepeatedContentLength),
        ("Content-Length: 5, 5\r\n", HeadError::InvalidContentLength),
        ("Content-Length: -1\r\n", HeadError::InvalidContentLength),
    ] {
        assert_eq!(parse(&ok_with(lines)), Err(error), "{lines}");
    }
    let http10 = b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(parse(http10), Err(HeadError::TransferEncodingInHttp10));
}

#[test]
fn the_body_is_delimited_as_rfc_9112_says() {
    use ResponseFraming as F;
    for (status, method, lines, framing) in [
        (200, Method::Get, "Content-Length: 5\r\n", F::Length(5)),
        (200, Method::Get, "Transfer-Encoding: chunked\r\n", F::Chunked),
        (200, Method::Get, "", F::UntilClose),
        (404, Method::Post, "Content-Length: 0\r\n", F::Length(0)),
        (200, Method::Head, "Content-Length: 5\r\n", F::None),
        (200, Method::Head, "Transfer-Encoding: chunked\r\n", F::None),
        (200, Method::Head, "", F::None),
        (204, Method::Get, "", F::None),
        (304, Method::Get, "Content-Length: 5\r\n", F::None),
        (100, Method::Post, "", F::None),
        (101, Method::Get, "Connection: upgrade\r\nUpgrade: websocket\r\n", F::None),
        (200, Method::Connect, "", F::None),
        (200, Method::Connect, "Content-Length: 5\r\n", F::None),
        (407, Method::Connect, "Content-Length: 5\r\n", F::Length(5)),
        (205, Method::Get, "Content-Length: 0\r\n", F::Length(0)),
    ] {
        let head = format!("HTTP/1.1 {status} x\r\n{lines}\r\n");
        let parsed = parse_for(head.as_bytes(), method).unwrap();
        assert_eq!(parsed.framing, framing, "{status} {method:?} {lines}");
        assert_eq!(parsed.status, status);
    }
}

#[test]
fn an_interim_response_with_a_body_is_refused() {
    for lines in ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
        let head = format!("HTTP/1.1 100 Continue\r\n{lines}\r\n");
        assert_eq!(parse(head.as_bytes()), Err(HeadError::BodyNotAllowed));
    }
    assert!(parse(b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n").is_ok());
}

#[test]
fn a_connection_that_may_be_out_of_step_is_not_kept() {
    for (head, keep_alive) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\n\r\n", false),
        ("HTTP/1.1 204 No Content\r\n\r\n", true),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", true),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", false),
        ("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", true),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", false),
    ] {
        assert_eq!(parse(head.as_bytes()).unwrap().keep_alive, keep_alive, "{head}");
    }
}

#[test]
fn an_http10_response_without_length_lasts_until_close() {
    let parsed = parse(b"HTTP/1.0 200 OK\r\n\r\n").unwrap();
    assert_eq!((parsed.version, parsed.framing), (Version::Http10, ResponseFraming::UntilClose));
}

#[test]
fn rules_08_10_and_11_hold_for_responses() {
    for (head, error) in [
        (&b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n"[..], HeadError::SpaceBeforeColon),
        (b"HTTP/1.1 200 OK\r\n: b\r\n\r\n", HeadError::InvalidFieldName),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", HeadError::FoldedField),
        (b"HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n", HeadError::InvalidFieldValue),
        (b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", HeadError::InvalidFieldValue),
        (b"HTTP/1.1 200 OK\nA: b\r\n\r\n", HeadError::BareLineFeed),
        (b"HTTP/1.1 200 OK\r\nA: b\n\r\n", HeadError::BareLineFeed),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n\n", HeadError::BareLineFeed),
        (b"HTTP/1.1 200\nA: b", HeadError::BareLineFeed),
    ] {
        assert_eq!(parse(head), Err(error), "{}", head.escape_ascii());
    }
}

#[test]
fn malformed_status_lines_are_refused() {
    for head in [
        &b"HTTP/1.1 20 OK\r\n\r\n"[..],
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1 +20 OK\r\n\r\n",
        b"HTTP/1.1 099 x\r\n\r\n",
        b"HTTP/1.1 200OK\r\n\r\n",
        b"HTTP/1.1 200 O\0K\r\n\r\n",
        b"HTTP/1.1 200 O\rK\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH_10\r\n",
    ] {
        assert_eq!(parse(head), Err(HeadError::InvalidStatusLine), "{}", head.escape_ascii());
    }
    assert_eq!(parse(b"HTTP/2.0 200 OK\r\n\r\n"), Err(HeadError::UnsupportedVersion));
}

#[test]
fn the_reason_may_be_missing() {
    for (head, reason) in [
        (&b"HTTP/1.1 404 Not Found\r\n\r\n"[..], &b"Not Found"[..]),
        (b"HTTP/1.1 404 \r\n\r\n", b""),
        (b"HTTP/1.1 404\r\n\r\n", b""),
        (b"HTTP/1.1 404 nicht da \xfc\r\n\r\n", b""),
    ] {
        assert_eq!(parse(head).unwrap().reason.of(head), reason);
    }
}

#[test]
fn rule_15_a_switch_of_protocols_is_told() {
    let head =
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let parsed = parse(head).unwrap();
    assert_eq!(parsed.upgrade.unwrap().of(head), b"websocket");
    assert!(parsed.field(FieldId::Upgrade).unwrap().hop);
    let unasked = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(parse(unasked).unwrap().upgrade, None);
}

#[test]
fn a_head_beyond_the_limits_is_refused() {
    let head = ok_with("A: b\r\nC: d\r\n");
    let parse = |head: &[u8], bytes, fields| {
        let limits = HeadLimits { bytes, fields };
        parse_response(head, &limits, Method::Get, &mut ResponseHead::default())
    };
    assert_eq!(parse(&head, head.len(), 2), Ok(Some(head.len())));
    assert_eq!(parse(&head, head.len() - 1, 2), Err(HeadError::TooLarge));
    assert_eq!(parse(&head, head.len(), 1), Err(HeadError::TooManyFields));
    assert_eq!(parse(&head[..10], 10, 2), Err(HeadError::TooLarge));
}

#[test]
fn a_reused_head_forgets_the_response_before() {
    let rich = b"HTTP/1.0 101 x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let plain = b"HTTP/1.1 200 OK\r\n\r\n";
    let mut reused = ResponseHead::default();
    parse_response(rich, &HeadLimits::default(), Method::Get, &mut reused).unwrap();
    parse_response(plain, &HeadLimits::default(), Method::Get, &mut reused).unwrap();
    assert_eq!(reused, parse(plain).unwrap());
}
