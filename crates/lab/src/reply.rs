//! Reply heads: status line, fields and framing, appended to the buffer that the body follows in.

use tidegate_wire::http1::write::{put_field, put_number_field, put_status_line};

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// Content-Length, in bytes.
    Exactly(u64),
    /// Chunked coding.
    Chunked,
    /// The end of the connection.
    UntilClose,
}

/// Appends a whole head including the blank line. There is no Date: the same input must give the same bytes.
pub(crate) fn put_head(
    out: &mut Vec<u8>,
    status: u16,
    content_type: &str,
    fields: &[(&str, &str)],
    length: Length,
    keep_alive: bool,
) {
    put_status_line(out, status);
    put_field(out, b"content-type", content_type.as_bytes());
    for (name, value) in fields {
        put_field(out, name.as_bytes(), value.as_bytes());
    }
    match length {
        Length::Exactly(bytes) => put_number_field(out, b"content-length", bytes),
        Length::Chunked => put_field(out, b"transfer-encoding", b"chunked"),
        Length::UntilClose => {}
    }
    if !keep_alive {
        put_field(out, b"connection", b"close");
    }
    out.extend_from_slice(b"\r\n");
}
