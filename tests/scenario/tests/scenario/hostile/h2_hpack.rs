//! HTTP/2: field blocks that are none, and those that grow (RFC 7541).

use tidegate_scenario::h2raw::{CALM, CONTINUATION, HEADERS, fields_block, frame, request};

use super::HEAD_MAX;
use super::two::{End, PROTOCOL, Row, passed, play, unseen, with};

/// A head of these bytes, which cannot be read. RFC 9113 section 4.3 would have COMPRESSION_ERROR;
/// the library says PROTOCOL_ERROR, and the connection ends as it must.
fn unreadable(name: &'static str, block: &[u8]) -> Row {
    unseen(name, frame(HEADERS, 5, 1, block), End::Goaway(PROTOCOL))
}

/// A GET and these representations behind it.
fn and(more: &[u8]) -> Vec<u8> {
    [fields_block(&request("GET", "/x", &[])), more.to_vec()].concat()
}

pub(super) fn rows() -> Vec<Row> {
    let plain = "GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n";
    // One field of 4 KB in the dynamic table, and references to it.
    let bomb = |references: usize| {
        let mut block = and(&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
        block.extend(vec![b'y'; 4000]);
        block.extend(vec![0xbe; references]);
        block
    };
    let crumbs = vec![("cookie", "a=b"); 220];
    let many: Vec<_> = (0..110).map(|_| ("x", "y")).collect();
    let long = "y".repeat(HEAD_MAX);
    let spread = {
        let block = fields_block(&request("GET", "/x", &[("x", &"y".repeat(3 * HEAD_MAX))]));
        let mut frames = Vec::new();
        let last = block.len().div_ceil(1000) - 1;
        for (index, piece) in block.chunks(1000).enumerate() {
            let kind = if index == 0 { HEADERS } else { CONTINUATION };
            let flags = u8::from(index == 0) | if index == last { 4 } else { 0 };
            frames.extend(frame(kind, flags, 1, piece));
        }
        frames
    };
    let too_large = End::Told(431, "");
    vec![
        passed(
            "h2: fields from the table of RFC 7541",
            frame(HEADERS, 5, 1, &[&[0x82, 0x86, 0x84, 0x41, 9][..], b"localhost"].concat()),
            &["GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"],
        ),
        passed(
            "h2: a table size within what is allowed",
            frame(HEADERS, 5, 1, &[&[0x20][..], &and(&[])].concat()),
            &[plain],
        ),
        unreadable("h2: an index of nothing", &and(&[0x80])),
        unreadable("h2: an index beyond the tables", &and(&[0xff, 0x80, 0x01])),
        unreadable("h2: an index that never ends", &and(&[0xff; 20])),
        unreadable("h2: a name at an index beyond the tables", &and(&[0x7f, 0x40, 1, b'y'])),
        unreadable("h2: a string longer than its block", &and(&[0, 1, b'x', 100, b'y'])),
        unreadable(
            "h2: a string length that never ends",
            &and(&[0, 1, b'x', 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ),
        unreadable("h2: a block that ends in a name", &and(&[0, 5, b'x'])),
        unreadable(
            "h2: Huffman code with EOS in it",
            &and(&[0, 1, b'x', 0x84, 0xff, 0xff, 0xff, 0xff]),
        ),
        unreadable(
            "h2: Huffman padding of more than 7 bits",
            &and(&[0, 1, b'x', 0x82, 0x1f, 0xff]),
        ),
        unreadable("h2: Huffman padding of zeros", &and(&[0, 1, b'x', 0x81, 0x18])),
        unreadable(
            "h2: a table size beyond what is allowed",
            &[&[0x3f, 0xe2, 0x1f][..], &and(&[])].concat(),
        ),
        unreadable("h2: a table size behind a field", &and(&[0x20])),
        unseen("h2: one field of 8 KiB", with(&[("x", &long)]), too_large),
        unseen("h2: a head of 24 KiB in many frames", spread, End::Goaway(CALM)),
        unseen(
            "h2: one stored field named 3000 times",
            frame(HEADERS, 5, 1, &bomb(3000)),
            End::Goaway(CALM),
        ),
        unseen("h2: 220 cookie crumbs", with(&crumbs), too_large),
        unseen("h2: 110 fields", with(&many), End::Told(431, "too_many_fields")),
    ]
}

#[test]
fn a_field_block_is_readable_and_of_limited_size() {
    play(&rows());
}
