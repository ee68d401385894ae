//! The four forms of a request target (RFC 9112 §3.2) and what counts as an authority.

use std::net::Ipv6Addr;

use super::{HeadError, Method, Span};

/// A target taken apart; spans are offsets into the whole buffer.
#[derive(Default)]
pub(super) struct Target {
    pub(super) path: Span,
    pub(super) query: Option<Span>,
    /// The authority if the target has one (absolute form, CONNECT).
    pub(super) authority: Option<Span>,
}

/// Takes apart the target of a request with `method`.
pub(super) fn split(buf: &[u8], target: Span, method: Method) -> Result<Target, HeadError> {
    let bytes = target.of(buf);
    // Sums without a branch per byte, so that the compiler looks at 16 bytes at a time.
    let bad = bytes.iter().fold(0u8, |bad, &byte| {
        bad | u8::from(byte.wrapping_sub(0x21) > 0x7e - 0x21) | u8::from(byte == b'#')
    });
    if bad != 0 {
        let has_fragment = bytes.contains(&b'#');
        return Err(if has_fragment {
            HeadError::FragmentInTarget
        } else {
            HeadError::InvalidTarget
        });
    }
    match (bytes.first(), method) {
        (_, Method::Connect) => {
            if !is_valid_authority(bytes) || !has_valid_port(bytes) {
                return Err(HeadError::InvalidTarget);
            }
            let path = Span { start: target.end, end: target.end };
            Ok(Target { path, query: None, authority: Some(target) })
        }
        (Some(b'/'), _) => {
            let (path, query) = path_and_query(buf, target);
            Ok(Target { path, query, authority: None })
        }
        (Some(b'*'), Method::Options) if bytes.len() == 1 => {
            Ok(Target { path: target, query: None, authority: None })
        }
        _ => absolute(buf, target),
    }
}

fn absolute(buf: &[u8], target: Span) -> Result<Target, HeadError> {
    let bytes = target.of(buf);
    let has_scheme = |scheme: &[u8]| {
        bytes.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme))
    };
    let scheme = match () {
        () if has_scheme(b"http://") => 7,
        () if has_scheme(b"https://") => 8,
        () => return Err(HeadError::InvalidTarget),
    };
    let start = target.start + scheme;
    let after = Span { start, end: target.end }.of(buf);
    let length = memchr::memchr2(b'/', b'?', after).unwrap_or(after.len());
    let authority = Span { start, end: start + length as u32 };
    if !is_valid_authority(authority.of(buf)) {
        return Err(HeadError::InvalidTarget);
    }
    let (mut path, query) = path_and_query(buf, Span { start: authority.end, end: target.end });
    if path.is_empty() {
        // An empty path means `/`, and the slash in front of the authority is one.
        path = Span { start: start - 1, end: start };
    }
    Ok(Target { path, query, authority: Some(authority) })
}

fn path_and_query(buf: &[u8], span: Span) -> (Span, Option<Span>) {
    match memchr::memchr(b'?', span.of(buf)) {
        Some(at) => {
            let mark = span.start + at as u32;
            (Span { start: span.start, end: mark }, Some(Span { start: mark + 1, end: span.end }))
        }
        None => (span, None),
    }
}

/// Whether `bytes` is `host [":" port]`: a name of letters, digits, `-`, `.`, `_` and `~`, an IPv4
/// address, or an IPv6 address in brackets; the port 0 to 65535. RFC 3986 allows more in a name
/// (percent escapes, `,`, `;`, `=` …): no resolvable name has it, and its only use is to be read
/// differently by the next parser.
pub fn is_valid_authority(bytes: &[u8]) -> bool {
    let host = host_length(bytes);
    let port = bytes.get(host..).unwrap_or(&[]);
    // 255 octets is the longest name DNS has (RFC 1035 §2.3.4).
    (1..=255).contains(&host) && (port.is_empty() || is_valid_port(port))
}

/// Whether `bytes` is an authority as CONNECT needs it: valid, and with a port.
fn has_valid_port(bytes: &[u8]) -> bool {
    bytes.get(host_length(bytes)..).is_some_and(is_valid_port)
}

/// How many bytes at the start of `bytes` are a host; 0 if it does not begin with one.
fn host_length(bytes: &[u8]) -> usize {
    if bytes.first() != Some(&b'[') {
        return bytes.iter().position(|&byte| !NAME[byte as usize]).unwrap_or(bytes.len());
    }
    let close = memchr::memchr(b']', bytes).unwrap_or(0);
    let address = bytes.get(1..close).and_then(|inner| std::str::from_utf8(inner).ok());
    let is_address = address.is_some_and(|text| text.parse::<Ipv6Addr>().is_ok());
    if is_address { close + 1 } else { 0 }
}

/// Bytes of a host name; an IPv4 address is made of them too.
static NAME: [bool; 256] = name_table();

const fn name_table() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0usize;
    while byte < 256 {
        table[byte] =
            (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'-' | b'.' | b'_' | b'~');
        byte += 1;
    }
    table
}

/// Whether `bytes` is a colon and a port from 0 to 65535.
fn is_valid_port(bytes: &[u8]) -> bool {
    let [b':', digits @ ..] = bytes else { return false };
    let all_digits = (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    all_digits
        && digits.iter().fold(0u32, |port, &digit| port * 10 + u32::from(digit - b'0')) <= 65535
}
