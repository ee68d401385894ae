//! Response heads.

use std::mem::MaybeUninit;

use httparse::{Header, Response, Status};

use super::refusal::{self, Start};
use super::scan::{self, Facts};
use super::{FIELDS_MAX, Field, FieldId, HeadError, HeadLimits, Method, Span, Version};

/// How the body of a response is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ResponseFraming {
    /// There is no body: 1xx, 204, 304, the response to HEAD, and a 2xx to CONNECT (behind it is
    /// the tunnel).
    #[default]
    None,
    /// This many bytes follow the head.
    Length(u64),
    /// Chunks follow the head.
    Chunked,
    /// The body ends with the connection; that it is complete cannot be known.
    UntilClose,
}

/// A response head. Spans are offsets into the buffer given to [`parse_response`]. Keep one and
/// parse into it again: `fields` keeps its memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status, 100 to 999.
    pub status: u16,
    /// The version.
    pub version: Version,
    /// The reason phrase; empty if there is none or it is not ASCII.
    pub reason: Span,
    /// The fields in order.
    pub fields: Vec<Field>,
    /// How the body is delimited.
    pub framing: ResponseFraming,
    /// Whether the connection may carry another exchange after this response.
    pub keep_alive: bool,
    /// The value of Upgrade if the server switches or offers to (HTTP/1.1, `Connection: upgrade`,
    /// one Upgrade).
    pub upgrade: Option<Span>,
}

impl ResponseHead {
    /// The first field of this id.
    pub fn field(&self, id: FieldId) -> Option<&Field> {
        self.fields.iter().find(|field| field.id == id)
    }
}

/// Reads the response head at the start of `buf` into `head`; `request_method` is that of the
/// request it answers.
///
/// `Ok(Some(n))`: the head is the first `n` bytes, blank line included. `Ok(None)`: sound so far,
/// read more and call again with all the bytes. What `head` holds after anything but `Some` is
/// unspecified.
pub fn parse_response(
    buf: &[u8],
    limits: &HeadLimits,
    request_method: Method,
    head: &mut ResponseHead,
) -> Result<Option<usize>, HeadError> {
    let limit = limits.bytes.min(u32::MAX as usize);
    let bytes = buf.get(..limit).unwrap_or(buf);
    if !matches!(bytes.first(), None | Some(b'H')) {
        return Err(HeadError::InvalidStatusLine);
    }

    let mut headers = [const { MaybeUninit::<Header<'_>>::uninit() }; FIELDS_MAX];
    let headers = headers.get_mut(..limits.fields.min(FIELDS_MAX)).unwrap_or_default();
    let mut response = Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        headers,
    );
    let length = match parsed {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if refusal::has_bare_line_feed(bytes) => {
            return Err(HeadError::BareLineFeed);
        }
        Ok(Status::Partial) if buf.len() >= limit => return Err(HeadError::TooLarge),
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(refusal::name_of(bytes, Start::StatusLine, error)),
    };
    if refusal::has_bare_line_feed(bytes.get(..length).unwrap_or(bytes)) {
        return Err(HeadError::BareLineFeed);
    }

    head.status = response.code.unwrap_or_default();
    if head.status < 100 {
        return Err(HeadError::InvalidStatusLine);
    }
    head.version = if response.version == Some(0) { Version::Http10 } else { Version::Http11 };
    head.reason = Span::locate(buf, response.reason.unwrap_or_default().as_bytes());
    let facts = scan::scan(buf, response.headers, &mut head.fields)?;
    head.framing = framing(&facts, head.version, head.status, request_method)?;
    head.upgrade = facts.effective_upgrade(head.version);
    head.keep_alive = facts.persists(head.version)
        && head.framing != ResponseFraming::UntilClose
        // A 204 that announces a body has none, but who wrote it may send one: do not reuse the
        // connection.
        && (head.status != 204 || !announces_body(&facts));
    Ok(Some(length))
}

fn announces_body(facts: &Facts) -> bool {
    facts.chunked || facts.length.is_some_and(|length| length > 0)
}

fn framing(
    facts: &Facts,
    version: Version,
    status: u16,
    method: Method,
) -> Result<ResponseFraming, HeadError> {
    if facts.chunked && version == Version::Http10 {
        return Err(HeadError::TransferEncodingInHttp10);
    }
    // The next response on the connection would begin inside this body, if it were sent.
    if status < 200 && announces_body(facts) {
        return Err(HeadError::BodyNotAllowed);
    }
    let has_none = status < 200
        || matches!(status, 204 | 304)
        || method == Method::Head
        || (method == Method::Connect && (200..300).contains(&status));
    Ok(match facts.length {
        _ if has_none => ResponseFraming::None,
        _ if facts.chunked => ResponseFraming::Chunked,
        Some(length) => ResponseFraming::Length(length),
        None => ResponseFraming::UntilClose,
    })
}
