//! HTTP/1.1 and HTTP/1.0 (RFC 9112): heads, framing and the chunked coding.

pub mod chunked;
pub mod head;
pub mod write;
