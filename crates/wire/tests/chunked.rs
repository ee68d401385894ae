//! The rules for chunked bodies, in one piece and in any pieces.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use tidegate_wire::http1::chunked::{
    CHUNK_END, ChunkError, ChunkedDecoder, EXTENSION_EXCESS_MAX, LAST_CHUNK, TRAILER_FIELDS_MAX,
    TRAILER_MAX, chunk_head,
};

/// The payload, and how many bytes of `body` were consumed when it was done (if it was).
fn decode(body: &[u8], piece: usize) -> Result<(Vec<u8>, Option<usize>), ChunkError> {
    decode_pieces(body.chunks(piece.max(1)))
}

fn decode_pieces<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Result<(Vec<u8>, Option<usize>), ChunkError> {
    let mut decoder = ChunkedDecoder::default();
    let mut payload = Vec::new();
    let mut consumed = 0;
    for piece in pieces {
        let mut buf = piece.to_vec();
        let decoded = decoder.decode(&mut buf)?;
        payload.extend_from_slice(&buf[decoded.data]);
        consumed += decoded.consumed;
        assert_eq!(decoded.done, decoder.is_done());
        if decoded.done {
            return Ok((payload, Some(consumed)));
        }
        assert_eq!(decoded.consumed, piece.len(), "bytes were left over without an end");
    }
    Ok((payload, None))
}

fn assert_refused(body: &[u8], error: ChunkError) {
    for piece in [body.len(), 1, 2, 3] {
        let decoded = decode(body, piece);
        assert_eq!(decoded, Err(error), "{} in pieces of {piece}", body.escape_ascii());
    }
}

fn assert_decodes(body: &[u8], payload: &[u8]) {
    for piece in [body.len(), 1, 2, 3] {
        let decoded = decode(body, piece);
        assert_eq!(decoded, Ok((payload.to_vec(), Some(body.len()))), "{}", body.escape_ascii());
    }
}

fn encode(payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::new();
    for payload in payloads.iter().filter(|payload| !payload.is_empty()) {
        body.extend_from_slice(chunk_head(payload.len(), &mut [0; 20]));
        body.extend_from_slice(payload);
        body.extend_from_slice(CHUNK_END);
    }
    body.extend_from_slice(LAST_CHUNK);
    body
}

#[test]
fn chunks_are_put_together_in_place() {
    let mut body = *b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\nGET /";
    let decoded = ChunkedDecoder::default().decode(&mut body).unwrap();
    assert_eq!(&body[decoded.data.clone()], b"abcdefg");
    assert_eq!(decoded.data.start, 3);
    assert_eq!(&body[decoded.consumed..], b"GET /");
    assert!(decoded.done);
}

#[test]
fn the_payload_of_one_chunk_is_not_moved() {
    let sent = *b"5\r\nabcde\r\n";
    let mut body = sent;
    let decoded = ChunkedDecoder::default().decode(&mut body).unwrap();
    assert_eq!((decoded.data, decoded.consumed, decoded.done), (3..8, 10, false));
    assert_eq!(body, sent);
}

#[test]
fn after_the_end_nothing_more_is_consumed() {
    let mut decoder = ChunkedDecoder::default();
    assert!(decoder.decode(&mut LAST_CHUNK.to_vec()).unwrap().done);
    let more = decoder.decode(&mut b"5\r\n".to_vec()).unwrap();
    assert_eq!((more.consumed, more.done, more.data.len()), (0, true, 0));
}

#[test]
fn the_decoder_is_small() {
    assert!(size_of::<ChunkedDecoder>() <= 32);
}

#[test]
fn sound_bodies_decode() {
    for (body, payload) in [
        (&b"0\r\n\r\n"[..], &b""[..]),
        (b"000\r\n\r\n", b""),
        (b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"0000000000000001\r\nx\r\n0\r\n\r\n", b"x"),
        (b"1;name=value\r\nx\r\n0;last\r\n\r\n", b"x"),
        (b"1;q=\"a;b\"\r\nx\r\n0\r\n\r\n", b"x"),
        (b"1 \t;a\r\nx\r\n0\r\n\r\n", b"x"),
        (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
        (b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n"),
        (b"1\r\nx\r\n0\r\nDigest: y\r\nEmpty:\r\n\r\n", b"x"),
    ] {
        assert_decodes(body, payload);
    }
}

#[test]
fn rule_05_sizes_that_are_not_hex_digits_are_refused() {
    for body in [
        &b"\r\n"[..],
        b";a\r\n",
        b"0x5\r\nabcde\r\n",
        b"+5\r\nabcde\r\n",
        b"-5\r\nabcde\r\n",
        b"1_0\r\n",
        b" 5\r\nabcde\r\n",
        b"g\r\n",
        b"5,\r\n",
        b"5\0\r\n",
        b"\xd9\xa5\r\n",
        b"3\r\nabc\r\n\r\n",
        b"5\rabcde",
        b"10000000000000000\r\n",
        b"ffffffffffffffff0\r\n",
        b"00000000000000001\r\nx\r\n",
    ] {
        assert_refused(body, ChunkError::InvalidSize);
    }
}

#[test]
fn rule_05_the_largest_size_does_not_overflow() {
    let (payload, done) = decode(b"ffffffffffffffff\r\nabc", 1).unwrap();
    assert_eq!((payload, done), (b"abc".to_vec(), None));
}

#[test]
fn rule_06_control_bytes_in_extensions_are_refused() {
    for byte in (0..=0x1f).chain([0x7f]).filter(|&byte| !matches!(byte, b'\t' | b'\r' | b'\n')) {
        assert_refused(
            &[b"5;a", &[byte][..], b"\r\nabcde\r\n"].concat(),
            ChunkError::InvalidExtension,
        );
    }
    assert_refused(b"5;a\rb\r\nabcde\r\n", ChunkError::InvalidExtension);
    assert_refused(b"5;a\nabcde\r\n", ChunkError::BareLineFeed);
    assert_refused(b"5 \r\nabcde\r\n", ChunkError::InvalidExtension);
    assert_refused(b"5 a\r\nabcde\r\n", ChunkError::InvalidExtension);
}

#[test]
fn rule_06_extensions_are_bounded_in_each_chunk() {
    let body = |length: usize| [b"1;", &vec![b'a'; length][..], b"\r\nx\r\n0\r\n\r\n"].concat();
    assert_decodes(&body(256), b"x");
    assert_refused(&body(257), ChunkError::ExtensionTooLong);
    assert_refused(&[b"1", &[b' '; 257][..]].concat(), ChunkError::ExtensionTooLong);
}

#[test]
fn rule_06_extensions_are_bounded_in_a_body_that_is_little_else() {
    let chunk = |payload: usize| {
        let head = format!("{payload:x};{}\r\n", "a".repeat(200));
        [head.as_bytes(), &vec![b'x'; payload], b"\r\n"].concat()
    };
    let chunks = EXTENSION_EXCESS_MAX as usize / 200 * 2;
    assert_refused(&chunk(1).repeat(chunks), ChunkError::ExtensionTooLong);
    let weighty = decode(&chunk(200).repeat(chunks), usize::MAX).unwrap();
    assert_eq!(weighty.0.len(), chunks * 200);
}

#[test]
fn rule_07_anything_but_crlf_behind_the_data_is_refused() {
    for body in [
        &b"3\r\nabcd\r\n"[..],
        b"3\r\nabcXX",
        b"3\r\nabc\n",
        b"3\r\nabc\r\r",
        b"3\r\nabc\rX",
        b"3\r\nabc0\r\n\r\n",
        b"3\r\nabc \r\n",
    ] {
        assert_refused(body, ChunkError::MissingDataEnd);
    }
}

#[test]
fn rule_10_malformed_trailers_are_refused() {
    for trailer in [
        &b" a: b\r\n"[..],
        b"\ta: b\r\n",
        b": b\r\n",
        b"a : b\r\n",
        b"a\r\n",
        b"a\0: b\r\n",
        b"a: b\0\r\n",
        b"a: b\rc\r\n",
        b"a: b\x7f\r\n",
        b"a: b\r\n c\r\n",
        b"\rX",
    ] {
        assert_refused(&[b"0\r\n", trailer].concat(), ChunkError::InvalidTrailer);
    }
}

#[test]
fn rule_11_a_bare_line_feed_is_refused_in_every_line() {
    for body in [
        &b"5\nabcde\r\n"[..],
        b"0\n\n",
        b"0\r\n\n",
        b"0\r\na: b\n\r\n",
        b"0\r\na: b\r\n\n",
        b"0\r\na\n",
    ] {
        assert_refused(body, ChunkError::BareLineFeed);
    }
    assert_refused(b"\n", ChunkError::InvalidSize);
}

#[test]
fn rule_13_trailers_are_dropped_whatever_they_are_called() {
    let body =
        b"1\r\nx\r\n0\r\nContent-Length: 5\r\nAuthorization: x\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n";
    assert_decodes(body, b"x");
}

#[test]
fn the_trailer_section_is_bounded() {
    let fields = |count: usize| [b"0\r\n", "a:b\r\n".repeat(count).as_bytes(), b"\r\n"].concat();
    assert_decodes(&fields(TRAILER_FIELDS_MAX.into()), b"");
    assert_refused(&fields(usize::from(TRAILER_FIELDS_MAX) + 1), ChunkError::TrailerTooLarge);
    let long = |length: usize| [b"0\r\n", &vec![b'a'; length][..], b":\r\n\r\n"].concat();
    assert_decodes(&long(usize::from(TRAILER_MAX) - 3), b"");
    assert_refused(&long(usize::from(TRAILER_MAX) - 2), ChunkError::TrailerTooLarge);
    assert_eq!(ChunkError::TrailerTooLarge.status(), 431);
}

#[test]
fn a_refused_body_stays_refused() {
    let mut decoder = ChunkedDecoder::default();
    assert_eq!(decoder.decode(&mut b"x".to_vec()), Err(ChunkError::InvalidSize));
    assert_eq!(decoder.decode(&mut LAST_CHUNK.to_vec()), Err(ChunkError::AfterError));
    assert!(!decoder.is_done());
}

#[test]
fn chunk_heads_are_hex_and_crlf() {
    for (length, head) in [
        (1, "1\r\n"),
        (10, "a\r\n"),
        (255, "ff\r\n"),
        (4096, "1000\r\n"),
        (usize::MAX, "ffffffffffffffff\r\n"),
    ] {
        assert_eq!(chunk_head(length, &mut [0; 20]), head.as_bytes());
    }
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_in_any_pieces(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        tail in prop::collection::vec(any::<u8>(), 0..8),
    ) {
        let body = encode(&payloads);
        let message = [&body[..], &tail].concat();
        let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(message.len() + 1)).collect();
        at.extend([0, message.len()]);
        at.sort_unstable();
        let pieces = at.windows(2).map(|ends| &message[ends[0]..ends[1]]);
        prop_assert_eq!(decode_pieces(pieces), Ok((payloads.concat(), Some(body.len()))));
    }

    #[test]
    fn any_bytes_decode_the_same_in_any_pieces(
        body in prop::collection::vec(
            prop::sample::select(&b"\r\r\r\n\n\n0123;: aZ\"\0"[..]), 0..64),
        piece in 1usize..9,
    ) {
        prop_assert_eq!(decode(&body, piece), decode(&body, body.len()));
    }
}
