//! Frame boundaries and events, in one piece and in any pieces.
#![allow(clippy::unwrap_used)]

use std::borrow::Cow;

use proptest::prelude::*;
use tidegate_wire::sse::{Event, FrameScanner, SseDecoder, SseError, frames, parse_frame};

/// The length of the complete part of `stream`, read line by line: the plain way to say it.
fn complete_by_lines(stream: &[u8]) -> usize {
    let (mut at, mut complete, mut line_is_empty) = (0, 0, true);
    while at < stream.len() {
        let end = match (stream[at], stream.get(at + 1)) {
            (b'\r', Some(b'\n')) => 2,
            (b'\r' | b'\n', _) => 1,
            _ => 0,
        };
        at += end.max(1);
        if end > 0 && line_is_empty {
            complete = at;
        }
        line_is_empty = end > 0;
    }
    complete
}

/// The complete part that a scanner has seen after all of `pieces`.
fn complete_by_scanner<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (usize, bool) {
    let mut scanner = FrameScanner::default();
    let (mut seen, mut complete) = (0, 0);
    for piece in pieces {
        let here = scanner.complete(piece);
        assert!(here <= piece.len());
        if here > 0 {
            complete = seen + here;
        }
        seen += piece.len();
        assert_eq!(scanner.at_boundary(), complete == seen);
    }
    (complete, scanner.at_boundary())
}

#[test]
fn a_frame_ends_with_a_blank_line_of_any_line_end() {
    for (stream, complete) in [
        (&b""[..], 0),
        (b"data: x", 0),
        (b"data: x\n", 0),
        (b"data: x\n\n", 9),
        (b"data: x\r\n\r\n", 11),
        (b"data: x\r\r", 9),
        (b"data: x\r\n", 0),
        (b"data: x\n\r\n", 10),
        (b"data: x\r\n\n", 10),
        (b"data: x\n\ndata: y", 9),
        (b"data: x\n\ndata: y\n", 9),
        (b"\n", 1),
        (b"\r\n", 2),
        (b"\n\n\n", 3),
        (b": comment\n\n", 11),
        (b"data: x\n\r", 9),
    ] {
        let found = FrameScanner::default().complete(stream);
        assert_eq!(found, complete, "{}", stream.escape_ascii());
        assert_eq!(complete_by_lines(stream), complete, "{}", stream.escape_ascii());
    }
}

#[test]
fn a_boundary_between_cr_and_lf_takes_the_lf_along() {
    let mut scanner = FrameScanner::default();
    assert_eq!(scanner.complete(b"data: x\r\n\r"), 10);
    assert!(scanner.at_boundary());
    assert_eq!(scanner.complete(b"\nid: 1"), 1);
    assert!(!scanner.at_boundary());
    assert_eq!(scanner.complete(b"\r"), 0);
    assert_eq!(scanner.complete(b"\n"), 0);
    assert_eq!(scanner.complete(b"\r\n"), 2);
}

#[test]
fn nothing_changes_nothing() {
    let mut scanner = FrameScanner::default();
    assert!(scanner.at_boundary());
    scanner.complete(b"data");
    assert_eq!(scanner.complete(b""), 0);
    assert!(!scanner.at_boundary());
    assert!(size_of::<FrameScanner>() <= 8);
}

#[test]
fn frames_put_together_are_the_complete_part() {
    let stream = b"data: x\n\n: ping\r\n\r\n\ndata: y\rdata: z\r\rdata: cut";
    let found: Vec<_> = frames(stream).collect();
    assert_eq!(found, [&b"data: x\n\n"[..], b": ping\r\n\r\n", b"\n", b"data: y\rdata: z\r\r"]);
}

#[test]
fn fields_are_read_as_whatwg_says() {
    let nothing =
        Event { event: b"", id: None, retry: None, data: Cow::Borrowed(b""), has_data: false };
    let data = |data: &'static [u8]| Event { data: data.into(), has_data: true, ..nothing.clone() };
    for (frame, event) in [
        (&b"\n"[..], nothing.clone()),
        (b": comment\n\n", nothing.clone()),
        (b"unknown: x\n\n", nothing.clone()),
        (b"Data: x\n\n", nothing.clone()),
        (b"data:x\n\n", data(b"x")),
        (b"data: x\n\n", data(b"x")),
        (b"data:  x\n\n", data(b" x")),
        (b"data:\tx\n\n", data(b"\tx")),
        (b"data: a:b\n\n", data(b"a:b")),
        (b"data\n\n", data(b"")),
        (b"data:\n\n", data(b"")),
        (b"data\ndata\n\n", data(b"\n")),
        (b"data: x\r\ndata: y\rdata: z\n\n", data(b"x\ny\nz")),
        (b"data: x\n: between\ndata: y\n\n", data(b"x\ny")),
        (b"\xef\xbb\xbfdata: x\n\n", data(b"x")),
        (b"event: a\nevent: b\ndata: x\n\n", Event { event: b"b", ..data(b"x") }),
        (b"id: 7\ndata: x\n\n", Event { id: Some(b"7"), ..data(b"x") }),
        (b"id\ndata: x\n\n", Event { id: Some(b""), ..data(b"x") }),
        (b"id: a\0b\ndata: x\n\n", data(b"x")),
        (b"retry: 3000\n\n", Event { retry: Some(3000), ..nothing.clone() }),
        (b"retry: 3s\nretry:\nretry: -1\n\n", nothing.clone()),
        (b"retry: 99999999999999999999\n\n", nothing.clone()),
    ] {
        assert_eq!(parse_frame(frame), event, "{}", frame.escape_ascii());
    }
}

#[test]
fn one_line_of_data_is_not_copied() {
    assert!(matches!(parse_frame(b"data: x\n\n").data, Cow::Borrowed(_)));
}

#[test]
fn the_decoder_leaves_out_frames_without_data() {
    let mut decoder = SseDecoder::new(1024);
    let stream = b": ping\n\n\nretry: 5\n\nevent: delta\ndata: x\n\ndata: [DONE]\n\n";
    let events: Vec<_> = decoder.push(stream).unwrap().collect();
    let said: Vec<_> = events.iter().map(|event| (event.event, &*event.data)).collect();
    assert_eq!(said, [(&b"delta"[..], &b"x"[..]), (b"", b"[DONE]")]);
}

#[test]
fn a_frame_beyond_the_limit_is_refused() {
    let mut decoder = SseDecoder::new(10);
    assert_eq!(decoder.push(b"data: x\n\ndata: 1234").unwrap().count(), 1);
    assert_eq!(decoder.push(b"5").err(), Some(SseError::FrameTooLarge { limit: 10 }));
}

/// Type and data of every event, from pushes of `piece` bytes.
fn events(stream: &[u8], piece: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut decoder = SseDecoder::new(1 << 20);
    let mut events = Vec::new();
    for bytes in stream.chunks(piece.max(1)) {
        let found = decoder.push(bytes).unwrap();
        events.extend(found.map(|event| (event.event.to_vec(), event.data.into_owned())));
    }
    events
}

/// Streams that are mostly line ends, where the decisions are.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let part = prop::sample::select(vec![
        &b"\n"[..],
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\r\n\r\n",
        b"data: x",
        b"data:",
        b"event: e",
        b": c",
        b"y",
    ]);
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn any_pieces_have_the_same_complete_part(
        stream in stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        at.extend([0, stream.len()]);
        at.sort_unstable();
        let pieces = at.windows(2).map(|ends| &stream[ends[0]..ends[1]]);
        let complete = complete_by_lines(&stream);
        prop_assert_eq!(complete_by_scanner(pieces), (complete, complete == stream.len()));
        prop_assert_eq!(frames(&stream).map(<[u8]>::len).sum::<usize>(), complete);
    }

    #[test]
    fn any_pieces_have_the_same_events(stream in stream(), piece in 1usize..12) {
        prop_assert_eq!(events(&stream, piece), events(&stream, stream.len()));
    }
}
