//! Bytes to values and back: HTTP/1.1 heads and framing, chunked coding, SSE. No I/O, no clock.
//!
//! - [`http1::head`]: request and response heads, their fields and how their body is delimited.
//! - [`http1::chunked`]: the chunked transfer coding, both ways.
//! - [`http1::write`]: appending status lines and fields to a buffer.
//! - [`http2`]: the preface, and what a peer may stir on a connection.
//! - [`proxy_protocol`]: where a proxy says the client is.
//! - [`client_hello`]: where a TLS connection that is passed on wants to go.
//! - [`websocket`]: the key of its handshake and the answer to it.
//! - [`sse`]: where the frames of a `text/event-stream` end and what they say.
//!
//! Everything here takes bytes that a peer chose. Nothing panics on them, everything is bounded,
//! and what is ambiguous is refused, not repaired: two parties that read one message differently
//! are how requests are smuggled.

pub mod client_hello;
pub mod http1;
pub mod http2;
pub mod proxy_protocol;
pub mod sse;
pub mod websocket;

mod octet;
