//! HTTP/2: frames where they must not be, of sizes that they must not have (RFC 9113 sections 3 to 6).

use tidegate_scenario::h2raw::{
    CONTINUATION, DATA, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, fields_block,
    frame, request,
};

use super::two::{End, FLOW_CONTROL, PROTOCOL, Row, begun, passed, play, post, unseen, with};

const PRIORITY: u8 = 2;
const PUSH_PROMISE: u8 = 5;

/// Flags of HEADERS.
const PADDED: u8 = 8;
const PRIORITISED: u8 = 0x20;

/// An error of the connection. The library calls most of them PROTOCOL_ERROR, also where RFC 9113
/// has a code of its own; a frame beyond the size we take is FRAME_SIZE_ERROR.
fn ends(name: &'static str, bytes: Vec<u8>, code: u32) -> Row {
    unseen(name, bytes, End::Goaway(code))
}

/// Frames, then a plain GET that is served.
fn before(name: &'static str, bytes: Vec<u8>) -> Row {
    passed(name, [bytes, with(&[])].concat(), &["GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"])
}

/// One setting.
fn setting(id: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

fn window(stream: u32, more: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

fn block() -> Vec<u8> {
    fields_block(&request("GET", "/x", &[]))
}

pub(super) fn rows() -> Vec<Row> {
    let headers = |flags: u8, stream: u32, payload: &[u8]| frame(HEADERS, flags, stream, payload);
    let padded = |pad: u8, behind: usize| {
        headers(5 | PADDED, 1, &[&[pad][..], &block(), &vec![0; behind]].concat())
    };
    let weighted =
        |on: u32| headers(5 | PRIORITISED, 1, &[&on.to_be_bytes()[..], &[0], &block()].concat());
    let pieces = {
        let block = block();
        let (first, rest) = block.split_at(7);
        [
            headers(1, 1, first),
            frame(CONTINUATION, 0, 1, &rest[..9]),
            frame(CONTINUATION, 4, 1, &rest[9..]),
        ]
        .concat()
    };
    let plain = "GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let begun_by = |more: Vec<u8>| [headers(1, 1, &block()[..7]), more].concat();
    vec![
        passed("h2: a head in three frames", pieces, &[plain]),
        passed("h2: a padded head", padded(9, 9), &[plain]),
        passed("h2: a head with a priority", weighted(0), &[plain]),
        before("h2: a frame that nobody knows", frame(0xbe, 0xff, 0, b"x")),
        before("h2: a setting that nobody knows", setting(0xbeef, 7)),
        before("h2: a ping", frame(PING, 0, 0, &[7; 8])),
        before("h2: a priority of an idle stream", frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 1])),
        before("h2: a frame of 16 KiB", frame(0xbe, 0, 0, &vec![0; 16_384])),
        ends("h2: a frame of more than 16 KiB", frame(0xbe, 0, 0, &vec![0; 16_385]), 6),
        ends(
            "h2: a DATA frame of more than 16 KiB",
            [post(&[]), frame(DATA, 1, 1, &vec![0; 16_385])].concat(),
            6,
        ),
        ends("h2: HEADERS on stream 0", headers(5, 0, &block()), PROTOCOL),
        ends("h2: HEADERS on an even stream", headers(5, 2, &block()), PROTOCOL),
        ends("h2: DATA on stream 0", frame(DATA, 1, 0, b"x"), PROTOCOL),
        ends("h2: DATA on an idle stream", frame(DATA, 1, 1, b"x"), PROTOCOL),
        ends("h2: RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, &[0; 4]), PROTOCOL),
        ends("h2: RST_STREAM on an idle stream", frame(RST_STREAM, 0, 1, &[0; 4]), PROTOCOL),
        ends(
            "h2: RST_STREAM of 3 bytes",
            [post(&[]), frame(RST_STREAM, 0, 1, &[0; 3])].concat(),
            PROTOCOL,
        ),
        ends("h2: CONTINUATION without a head", frame(CONTINUATION, 4, 1, &block()), PROTOCOL),
        ends(
            "h2: CONTINUATION behind a whole head",
            [post(&[]), frame(CONTINUATION, 4, 1, &block())].concat(),
            PROTOCOL,
        ),
        ends(
            "h2: CONTINUATION of another stream",
            begun_by(frame(CONTINUATION, 4, 3, &block()[7..])),
            PROTOCOL,
        ),
        ends("h2: DATA in the middle of a head", begun_by(frame(DATA, 1, 1, b"x")), PROTOCOL),
        ends("h2: PING in the middle of a head", begun_by(frame(PING, 0, 0, &[0; 8])), PROTOCOL),
        ends(
            "h2: another head in the middle of a head",
            begun_by(headers(5, 3, &block())),
            PROTOCOL,
        ),
        ends(
            "h2: an unknown frame in the middle of a head",
            begun_by(frame(0xbe, 0, 0, b"x")),
            PROTOCOL,
        ),
        ends(
            "h2: PUSH_PROMISE of a client",
            frame(PUSH_PROMISE, 4, 1, &[&[0, 0, 0, 2][..], &block()].concat()),
            PROTOCOL,
        ),
        ends("h2: padding longer than its frame", padded(255, 0), PROTOCOL),
        ends(
            "h2: padding of DATA longer than its frame",
            [post(&[]), frame(DATA, 1 | PADDED, 1, &[5, b'x'])].concat(),
            PROTOCOL,
        ),
        ends(
            "h2: DATA without its pad length",
            [post(&[]), frame(DATA, 1 | PADDED, 1, &[])].concat(),
            PROTOCOL,
        ),
        ends("h2: PING on a stream", frame(PING, 0, 1, &[0; 8]), PROTOCOL),
        ends("h2: PING of 7 bytes", frame(PING, 0, 0, &[0; 7]), PROTOCOL),
        ends("h2: SETTINGS on a stream", frame(SETTINGS, 0, 1, &[]), PROTOCOL),
        ends("h2: SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, &[0; 5]), PROTOCOL),
        ends(
            "h2: an acknowledgement with a setting",
            frame(SETTINGS, 1, 0, &[0, 3, 0, 0, 0, 1]),
            PROTOCOL,
        ),
        ends("h2: push neither on nor off", setting(2, 2), PROTOCOL),
        ends("h2: an initial window beyond 31 bits", setting(4, 0x8000_0000), PROTOCOL),
        ends("h2: a frame size below the least", setting(5, 16_383), PROTOCOL),
        ends("h2: a frame size beyond the most", setting(5, 1 << 24), PROTOCOL),
        ends("h2: WINDOW_UPDATE of nothing", window(0, 0), PROTOCOL),
        ends("h2: WINDOW_UPDATE beyond 31 bits", window(0, 0x7fff_ffff), FLOW_CONTROL),
        ends("h2: WINDOW_UPDATE of 3 bytes", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), PROTOCOL),
        ends("h2: WINDOW_UPDATE on an idle stream", window(1, 1), PROTOCOL),
        ends("h2: GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8]), PROTOCOL),
        ends(
            "h2: a stream below one before",
            [headers(5, 5, &fields_block(&[])), with(&[])].concat(),
            PROTOCOL,
        ),
        begun(
            "h2: a stream's window of nothing more",
            [post(&[]), window(1, 0)].concat(),
            End::Goaway(PROTOCOL),
        ),
        begun(
            "h2: a stream's window beyond 31 bits",
            [post(&[]), window(1, 0x7fff_ffff)].concat(),
            End::Reset(FLOW_CONTROL),
        ),
        ends(
            "h2: DATA behind the end of its stream",
            [
                with(&[("host", "evil.example")]),
                frame(DATA, 1, 1, b"GET /y HTTP/1.1\r\nHost: a\r\n\r\n"),
            ]
            .concat(),
            PROTOCOL,
        ),
        unseen("h2: a stream that depends on itself", weighted(1), End::Reset(PROTOCOL)),
    ]
}

#[test]
fn a_frame_out_of_place_ends_its_stream_or_connection() {
    play(&rows());
}
