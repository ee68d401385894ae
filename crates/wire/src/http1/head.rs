//! Heads: request line or status line, fields, and what they say about body, connection and target.
//!
//! `httparse` cuts the bytes into lines and tokens; this module refuses what it lets through (bare
//! line feeds, more than one leading empty line, bytes outside ASCII in a target) and decides what
//! the fields mean. A head that two recipients could frame differently is an error, for requests
//! and responses alike.

mod error;
mod field;
mod framing;
mod refusal;
mod request;
mod response;
mod scan;
mod target;

pub use error::HeadError;
pub use field::{Field, FieldId, Span};
pub use request::{RequestFraming, RequestHead, parse_request};
pub use response::{ResponseFraming, ResponseHead, parse_response};
pub use target::is_valid_authority;

/// The most fields any limit can allow: `httparse` fills an array on the stack (32 bytes a field).
pub const FIELDS_MAX: usize = 256;

/// How much of a peer's head is read before it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of a head, from the first byte to the end of the blank line.
    pub bytes: usize,
    /// Field lines of a head; more than [`FIELDS_MAX`] counts as [`FIELDS_MAX`].
    pub fields: usize,
}

impl Default for HeadLimits {
    /// 16 KiB and 100 fields: what browsers, SDKs and common servers stay below.
    fn default() -> Self {
        Self { bytes: 16 * 1024, fields: 100 }
    }
}

/// The protocol version of a message. Anything but these two is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Version {
    /// `HTTP/1.0`: closes unless told otherwise, knows no transfer coding.
    Http10,
    /// `HTTP/1.1`.
    #[default]
    Http11,
}

/// A request method (RFC 9110 §9). Methods are case-sensitive: `get` is [`Method::Other`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Method {
    /// `GET`
    #[default]
    Get,
    /// `HEAD`: as GET, and the response has no body.
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `DELETE`
    Delete,
    /// `CONNECT`: the target is an authority; a 2xx response turns the connection into a tunnel.
    Connect,
    /// `OPTIONS`: the only method whose target may be `*`.
    Options,
    /// `TRACE`
    Trace,
    /// `PATCH` (RFC 5789)
    Patch,
    /// Any other token; [`RequestHead::method_name`] has it.
    Other,
}

impl Method {
    /// The method that is written `name`.
    pub fn of(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            _ => Self::Other,
        }
    }

    /// Whether the method asks for nothing to change (RFC 9110 §9.2.1).
    pub const fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options | Self::Trace)
    }

    /// Whether sending the request twice has the effect of sending it once (RFC 9110 §9.2.2), so
    /// that it may be repeated on another connection.
    pub const fn is_idempotent(self) -> bool {
        self.is_safe() || matches!(self, Self::Put | Self::Delete)
    }
}
