//! Transfer-Encoding is `chunked`, once, without a length beside it (RFC 9112 section 6.1).

use super::one::{Row, passed, play, post, refused};

/// Behind each head: a body in chunks, empty for who reads chunks.
const CHUNKS: &str = "0\r\n\r\n";

fn coded(name: &'static str, value: &str, code: &'static str) -> Row {
    refused(name, post(format!("Transfer-Encoding: {value}\r\n"), CHUNKS), 400, code)
}

fn lines(name: &'static str, lines: &str, code: &'static str) -> Row {
    refused(name, post(lines, CHUNKS), 400, code)
}

pub(super) fn rows() -> Vec<Row> {
    const CONFLICT: &str = "conflicting_framing";
    const UNKNOWN: &str = "unknown_transfer_encoding";
    const REPEATED: &str = "repeated_transfer_encoding";
    vec![
        lines("CL.TE", "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", CONFLICT),
        lines("TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", CONFLICT),
        lines(
            "TE and a length of nothing",
            "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
            CONFLICT,
        ),
        lines(
            "CL.TE with a field between",
            "Content-Length: 6\r\nX: y\r\nTransfer-Encoding: chunked\r\n",
            CONFLICT,
        ),
        lines(
            "CL.TE with both nominated",
            "Connection: content-length, transfer-encoding\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n",
            CONFLICT,
        ),
        lines(
            "an unknown coding and a length",
            "Content-Length: 5\r\nTransfer-Encoding: x\r\n",
            UNKNOWN,
        ),
        lines(
            "a bad length and chunked",
            "Content-Length: x\r\nTransfer-Encoding: chunked\r\n",
            "invalid_content_length",
        ),
        lines("TE.TE", "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", REPEATED),
        lines(
            "TE.TE the other way round",
            "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n",
            UNKNOWN,
        ),
        lines(
            "chunked in two fields",
            "Transfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            REPEATED,
        ),
        lines(
            "chunked and identity in two fields",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            REPEATED,
        ),
        lines(
            "a blank before chunked's colon",
            "Transfer-Encoding : chunked\r\n",
            "space_before_colon",
        ),
        lines(
            "a tab before chunked's colon",
            "Transfer-Encoding\t: chunked\r\n",
            "space_before_colon",
        ),
        lines(
            "a blank before Transfer-Encoding",
            " Transfer-Encoding: chunked\r\n",
            "folded_field",
        ),
        lines("chunked in a fold", "Transfer-Encoding: x,\r\n chunked\r\n", "folded_field"),
        lines("chunked behind a bare LF", "X: y\nTransfer-Encoding: chunked\r\n", "bare_line_feed"),
        lines(
            "chunked behind a bare CR",
            "X: y\rTransfer-Encoding: chunked\r\n",
            "invalid_field_value",
        ),
        lines(
            "Transfer-Encoding with NUL",
            "Transfer-Encoding\0: chunked\r\n",
            "invalid_field_name",
        ),
        lines(
            "Transfer-Encoding without a colon",
            "Transfer-Encoding chunked\r\n",
            "invalid_field_name",
        ),
        lines(
            "Transfer-Encoding with the long s",
            "Tran\u{17f}fer-Encoding: chunked\r\n",
            "invalid_field_name",
        ),
        coded("an empty coding", "", REPEATED),
        coded("identity", "identity", UNKNOWN),
        coded("gzip", "gzip", UNKNOWN),
        coded("a coding that ends in chunked", "xchunked", UNKNOWN),
        coded("a coding that begins with chunked", "chunkedx", UNKNOWN),
        coded("chunked in quotes", "\"chunked\"", UNKNOWN),
        coded("chunked in single quotes", "'chunked'", UNKNOWN),
        coded("chunked with a parameter", "chunked;a=b", UNKNOWN),
        coded("chunked with a semicolon", "chunked;", UNKNOWN),
        coded("chunked with a weight", "chunked;q=0", UNKNOWN),
        coded("chunked with the Kelvin sign", "chun\u{212a}ed", UNKNOWN),
        coded("chunked behind another word", "x chunked", UNKNOWN),
        coded("gzip, then chunked", "gzip, chunked", UNKNOWN),
        coded("chunked, then gzip", "chunked, gzip", "chunked_not_last"),
        coded("chunked, then identity", "chunked, identity", "chunked_not_last"),
        coded("chunked twice", "chunked, chunked", REPEATED),
        coded("chunked around gzip", "chunked, gzip, chunked", REPEATED),
        coded("a comma before chunked", ",chunked", REPEATED),
        coded("a comma behind chunked", "chunked,", REPEATED),
        coded("a vertical tab before chunked", "\u{b}chunked", "invalid_field_value"),
        coded("a form feed behind chunked", "chunked\u{c}", "invalid_field_value"),
        coded("NUL behind chunked", "chunked\0", "invalid_field_value"),
        coded("a CR behind chunked", "chunked\r", "invalid_field_value"),
        coded("a no-break space before chunked", "\u{a0}chunked", UNKNOWN),
        refused(
            "chunked in HTTP/1.0",
            "POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "transfer_encoding_in_http10",
        ),
        refused(
            "chunked in HTTP/1.0 with keep-alive",
            "POST /x HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "transfer_encoding_in_http10",
        ),
        passed(
            "chunked in capitals",
            post("Transfer-Encoding: CHUNKED\r\n", CHUNKS),
            &["POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"],
        ),
        passed(
            "chunked between blanks",
            post("Transfer-Encoding:\t chunked \t\r\n", CHUNKS),
            &["POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"],
        ),
        passed(
            "Transfer-Encoding among the options of Connection",
            post("Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n", CHUNKS),
            &["POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"],
        ),
        passed(
            "Content-Encoding is no framing",
            post("Content-Encoding: chunked\r\nContent-Length: 2\r\n", "hi"),
            &[
                "POST /x HTTP/1.1\r\nHost: a\r\nContent-Encoding: chunked\r\nContent-Length: 2\r\n\r\nhi",
            ],
        ),
    ]
}

#[test]
fn a_body_is_framed_in_one_way_or_refused() {
    play(&rows());
}
