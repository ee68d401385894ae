//! Refusals: what `httparse` accepts and we do not, and which rule a head that it rejects has
//! broken.
//!
//! Naming the rule costs a second look at the bytes, which only a broken head pays.

use super::HeadError;
use crate::octet::{is_field_value, is_token, trim_blank};

/// Whether a line of `bytes` ends with LF alone.
pub(super) fn has_bare_line_feed(bytes: &[u8]) -> bool {
    let at_start = u8::from(bytes.first() == Some(&b'\n'));
    // Sums without a branch per byte, so that the compiler looks at 16 bytes at a time.
    let pairs = bytes.iter().zip(bytes.iter().skip(1));
    let bare = pairs.fold(at_start, |bare, (&before, &at)| {
        bare | (u8::from(at == b'\n') & u8::from(before != b'\r'))
    });
    bare != 0
}

/// What a start line must look like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    RequestLine,
    StatusLine,
}

/// The rule that `bytes` break, of which `httparse` says `error`.
#[cold]
pub(super) fn name_of(bytes: &[u8], start: Start, error: httparse::Error) -> HeadError {
    if error == httparse::Error::TooManyHeaders {
        return HeadError::TooManyFields;
    }
    let mut rest = bytes;
    let mut fault_of: fn(&[u8]) -> Option<HeadError> = match start {
        Start::RequestLine => request_line_fault,
        Start::StatusLine => status_line_fault,
    };
    loop {
        let line_end = memchr::memchr(b'\n', rest);
        let (line, after) = rest.split_at(line_end.map_or(rest.len(), |at| at + 1));
        if let Some(fault) = match line {
            [content @ .., b'\r', b'\n'] => fault_of(content),
            [.., b'\n'] => Some(HeadError::BareLineFeed),
            cut_off => fault_of(cut_off.strip_suffix(b"\r").unwrap_or(cut_off)),
        } {
            return fault;
        }
        if after.is_empty() {
            return by_kind(start, error);
        }
        rest = after;
        fault_of = field_line_fault;
    }
}

/// For bytes whose lines look sound one by one: the kind of error is all there is to tell.
fn by_kind(start: Start, error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::HeaderName => HeadError::InvalidFieldName,
        httparse::Error::HeaderValue => HeadError::InvalidFieldValue,
        httparse::Error::Version => HeadError::UnsupportedVersion,
        _ if start == Start::StatusLine => HeadError::InvalidStatusLine,
        _ => HeadError::InvalidRequestLine,
    }
}

fn request_line_fault(line: &[u8]) -> Option<HeadError> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (method, target, version) = (parts.next()?, parts.next()?, parts.next()?);
    if method.is_empty() || !method.iter().copied().all(is_token) {
        return Some(HeadError::InvalidRequestLine);
    }
    if target.is_empty() || target.iter().any(u8::is_ascii_control) {
        return Some(HeadError::InvalidRequestLine);
    }
    if !target.is_ascii() {
        return Some(HeadError::InvalidTarget);
    }
    version_fault(version, HeadError::InvalidRequestLine)
        .or_else(|| parts.next().map(|_more| HeadError::InvalidRequestLine))
}

fn status_line_fault(line: &[u8]) -> Option<HeadError> {
    let (version, rest) = line.split_at(line.len().min(8));
    version_fault(version, HeadError::InvalidStatusLine)
        .or_else(|| (rest.first() != Some(&b' ')).then_some(HeadError::InvalidStatusLine))
}

/// Another version than ours is unsupported, anything else is not a start line at all.
///
/// `httparse` refuses at the first byte that is not ours, so that the rest of the line may not have
/// come yet: this looks no further than that byte, or the answer would depend on how the bytes come.
fn version_fault(version: &[u8], malformed: HeadError) -> Option<HeadError> {
    match version.strip_prefix(b"HTTP/") {
        Some(b"1.0" | b"1.1") => None,
        // `HTTP/1`, `HTTP/2` and `HTTP/3`, as some tools write it, are versions too.
        Some(
            b"1" | [b'1', b'\r', ..] | [b'0' | b'2'..=b'9', ..] | [b'1', b'.', b'2'..=b'9', ..],
        ) => Some(HeadError::UnsupportedVersion),
        _ => Some(malformed),
    }
}

fn field_line_fault(line: &[u8]) -> Option<HeadError> {
    if line.is_empty() {
        return None;
    }
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Some(HeadError::FoldedField);
    }
    if line.iter().all(|byte| *byte == b'\r') {
        return Some(HeadError::InvalidFieldName);
    }
    let colon = memchr::memchr(b':', line)?;
    let (name, value) = line.split_at_checked(colon)?;
    if matches!(name.last(), Some(b' ' | b'\t')) && trim_blank(name).iter().copied().all(is_token) {
        return Some(HeadError::SpaceBeforeColon);
    }
    if name.is_empty() || !name.iter().copied().all(is_token) {
        return Some(HeadError::InvalidFieldName);
    }
    if !value.iter().copied().all(is_field_value) {
        return Some(HeadError::InvalidFieldValue);
    }
    None
}
