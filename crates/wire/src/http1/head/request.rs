//! Request heads.

use std::mem::MaybeUninit;

use httparse::{Header, Request, Status};

use super::refusal::{self, Start};
use super::scan::{self, Facts};
use super::{FIELDS_MAX, Field, FieldId, HeadError, HeadLimits, Method, Span, Version, target};

/// How the body of a request is delimited. Never by the end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RequestFraming {
    /// There is no body.
    #[default]
    None,
    /// This many bytes follow the head.
    Length(u64),
    /// Chunks follow the head.
    Chunked,
}

/// A request head. Spans are offsets into the buffer given to [`parse_request`]. Keep one per
/// connection (or thread) and parse into it again: `fields` keeps its memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The method as written.
    pub method_name: Span,
    /// The request target as written.
    pub target: Span,
    /// The path without the query, not normalised; `*` for the asterisk form, empty for CONNECT.
    /// The path of an absolute form without one is `/`.
    pub path: Span,
    /// The query without `?`; `Some` and empty if there is a `?` alone.
    pub query: Option<Span>,
    /// The host (and port) that is asked for, valid: the authority of the target if it has one,
    /// else Host. Empty only if an HTTP/1.0 request has neither.
    pub authority: Span,
    /// The version.
    pub version: Version,
    /// The fields in order.
    pub fields: Vec<Field>,
    /// How the body is delimited.
    pub framing: RequestFraming,
    /// Whether the connection may serve another request after this one.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    /// The value of Upgrade if the client offers to switch protocols (HTTP/1.1, `Connection:
    /// upgrade`, one Upgrade).
    pub upgrade: Option<Span>,
}

impl RequestHead {
    /// The first field of this id.
    pub fn field(&self, id: FieldId) -> Option<&Field> {
        self.fields.iter().find(|field| field.id == id)
    }
}

/// Reads the request head at the start of `buf` into `head`.
///
/// `Ok(Some(n))`: the head is the first `n` bytes, blank line included. `Ok(None)`: sound so far,
/// read more and call again with all the bytes. What `head` holds after anything but `Some` is
/// unspecified. One empty line in front of the request line is skipped and counted (RFC 9112 §2.2).
pub fn parse_request(
    buf: &[u8],
    limits: &HeadLimits,
    head: &mut RequestHead,
) -> Result<Option<usize>, HeadError> {
    let limit = limits.bytes.min(u32::MAX as usize);
    let seen = buf.get(..limit).unwrap_or(buf);
    let skipped = match seen {
        [b'\r', b'\n', ..] => 2,
        [b'\r', other, ..] if *other != b'\n' => return Err(HeadError::InvalidRequestLine),
        [b'\n', ..] => return Err(HeadError::BareLineFeed),
        _ => 0,
    };
    let bytes = seen.get(skipped..).unwrap_or(&[]);
    if skipped > 0 && matches!(bytes.first(), Some(b'\r' | b'\n')) {
        return Err(HeadError::InvalidRequestLine);
    }

    let mut headers = [const { MaybeUninit::<Header<'_>>::uninit() }; FIELDS_MAX];
    let headers = headers.get_mut(..limits.fields.min(FIELDS_MAX)).unwrap_or_default();
    let mut request = Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, headers) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if refusal::has_bare_line_feed(bytes) => {
            return Err(HeadError::BareLineFeed);
        }
        Ok(Status::Partial) if buf.len() >= limit => {
            let cut_in_first_line = memchr::memchr(b'\n', bytes).is_none();
            return Err(if cut_in_first_line {
                HeadError::TargetTooLong
            } else {
                HeadError::TooLarge
            });
        }
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(refusal::name_of(bytes, Start::RequestLine, error)),
    };
    if refusal::has_bare_line_feed(bytes.get(..length).unwrap_or(bytes)) {
        return Err(HeadError::BareLineFeed);
    }

    let method_name = request.method.unwrap_or_default().as_bytes();
    head.method = Method::of(method_name);
    head.method_name = Span::locate(buf, method_name);
    head.target = Span::locate(buf, request.path.unwrap_or_default().as_bytes());
    head.version = if request.version == Some(0) { Version::Http10 } else { Version::Http11 };
    let target = target::split(buf, head.target, head.method)?;
    head.path = target.path;
    head.query = target.query;

    let facts = scan::scan(buf, request.headers, &mut head.fields)?;
    head.authority = authority(buf, target.authority, &facts, head.version)?;
    head.framing = framing(&facts, head.version, head.method)?;
    head.keep_alive = facts.persists(head.version);
    head.upgrade = facts.effective_upgrade(head.version);
    head.expect_continue = match facts.expect {
        // RFC 9110 §10.1.1: an HTTP/1.0 client cannot wait for an interim response.
        Some(value) if head.version == Version::Http11 => {
            if !value.of(buf).eq_ignore_ascii_case(b"100-continue") {
                return Err(HeadError::UnknownExpectation);
            }
            true
        }
        _ => false,
    };
    Ok(Some(skipped + length))
}

/// The authority in force. Host must be valid even where the target overrides it.
fn authority(
    buf: &[u8],
    target: Option<Span>,
    facts: &Facts,
    version: Version,
) -> Result<Span, HeadError> {
    match facts.host {
        Some(host) if target::is_valid_authority(host.of(buf)) => Ok(target.unwrap_or(host)),
        Some(_) => Err(HeadError::InvalidHost),
        None if version == Version::Http10 => Ok(target.unwrap_or_default()),
        None => Err(HeadError::MissingHost),
    }
}

fn framing(facts: &Facts, version: Version, method: Method) -> Result<RequestFraming, HeadError> {
    let framing = match facts.length {
        _ if facts.chunked && version == Version::Http10 => {
            return Err(HeadError::TransferEncodingInHttp10);
        }
        _ if facts.chunked => RequestFraming::Chunked,
        Some(length) => RequestFraming::Length(length),
        None => RequestFraming::None,
    };
    // What follows a CONNECT is the tunnel's: a body would be read as its first bytes by one side
    // and not by the other.
    if method == Method::Connect
        && !matches!(framing, RequestFraming::None | RequestFraming::Length(0))
    {
        return Err(HeadError::BodyNotAllowed);
    }
    Ok(framing)
}
