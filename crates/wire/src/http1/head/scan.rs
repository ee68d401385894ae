//! One pass over the fields of a head: spans, ids, and the facts that decide framing and the
//! connection's fate.

use httparse::Header;

use super::{Field, FieldId, HeadError, Span, Version, framing};
use crate::octet::trim_blank;

/// Connection options other than the usual ones that are looked up among the fields. Each costs a
/// pass over the fields, so a head full of them must not become a way to burn time.
const NOMINATIONS_MAX: usize = 32;

/// What the fields of one head say, before the start line gives it meaning.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) host: Option<Span>,
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
    /// Connection: close
    pub(super) close: bool,
    /// Connection: keep-alive
    pub(super) keep_alive: bool,
    /// Connection: upgrade
    upgrade_option: bool,
    /// Connection has an option that may be the name of a field.
    nominates: bool,
    upgrade: Option<Span>,
    upgrade_repeated: bool,
    pub(super) expect: Option<Span>,
}

impl Facts {
    /// Whether the connection outlives the message (RFC 9112 §9.3).
    pub(super) fn persists(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }

    /// The Upgrade value if it counts: HTTP/1.1, nominated by Connection, and there is one.
    pub(super) fn effective_upgrade(&self, version: Version) -> Option<Span> {
        let counts = self.upgrade_option && !self.upgrade_repeated && version == Version::Http11;
        self.upgrade.filter(|_| counts)
    }
}

/// Puts `headers`, which are slices of `buf`, into `fields` and returns what they say.
pub(super) fn scan(
    buf: &[u8],
    headers: &[Header<'_>],
    fields: &mut Vec<Field>,
) -> Result<Facts, HeadError> {
    fields.clear();
    fields.reserve(headers.len());
    let mut facts = Facts::default();
    for header in headers {
        let name = header.name.as_bytes();
        let id = FieldId::of(name);
        let value = Span::locate(buf, header.value);
        let hop = id.is_hop() || (id == FieldId::Other && is_disguised(name));
        fields.push(Field { name: Span::locate(buf, name), value, id, hop });
        match id {
            FieldId::Host => set_once(&mut facts.host, value, HeadError::RepeatedHost)?,
            FieldId::ContentLength => {
                let length = framing::content_length(header.value)?;
                set_once(&mut facts.length, length, HeadError::RepeatedContentLength)?;
            }
            FieldId::TransferEncoding => {
                if facts.chunked {
                    return Err(HeadError::RepeatedTransferEncoding);
                }
                framing::only_chunked(header.value)?;
                facts.chunked = true;
            }
            FieldId::Connection => connection_options(header.value, &mut facts),
            FieldId::Upgrade => facts.upgrade_repeated |= facts.upgrade.replace(value).is_some(),
            // Any but the first is one expectation more than we know.
            FieldId::Expect if facts.expect.is_some() => facts.expect = Some(Span::default()),
            FieldId::Expect => facts.expect = Some(value),
            _ => {}
        }
    }
    if facts.length.is_some() && facts.chunked {
        return Err(HeadError::ConflictingFraming);
    }
    if facts.nominates {
        mark_nominated(buf, fields)?;
    }
    Ok(facts)
}

fn set_once<T>(fact: &mut Option<T>, value: T, repeated: HeadError) -> Result<(), HeadError> {
    if fact.replace(value).is_some() { Err(repeated) } else { Ok(()) }
}

fn connection_options(value: &[u8], facts: &mut Facts) {
    if value.eq_ignore_ascii_case(b"keep-alive") {
        facts.keep_alive = true;
        return;
    }
    for option in value.split(|&byte| byte == b',').map(trim_blank) {
        if option.eq_ignore_ascii_case(b"close") {
            facts.close = true;
        } else if option.eq_ignore_ascii_case(b"keep-alive") {
            facts.keep_alive = true;
        } else if option.eq_ignore_ascii_case(b"upgrade") {
            facts.upgrade_option = true;
        } else if !option.is_empty() {
            facts.nominates = true;
        }
    }
}

/// Marks the fields that Connection names as hop-by-hop, where it may (see [`Field::hop`]).
#[cold]
fn mark_nominated(buf: &[u8], fields: &mut [Field]) -> Result<(), HeadError> {
    let mut nominations = 0usize;
    for at in 0..fields.len() {
        let Some(&Field { id: FieldId::Connection, value, .. }) = fields.get(at) else { continue };
        for option in value.of(buf).split(|&byte| byte == b',').map(trim_blank) {
            if option.is_empty()
                || FieldId::of(option) != FieldId::Other
                || is_forwarded_family(option)
            {
                continue;
            }
            nominations += 1;
            if nominations > NOMINATIONS_MAX {
                return Err(HeadError::TooManyConnectionOptions);
            }
            for field in fields.iter_mut().filter(|field| field.id == FieldId::Other) {
                field.hop |= field.name.of(buf).eq_ignore_ascii_case(option);
            }
        }
    }
    Ok(())
}

/// Whether `name` is one that framing or trust hang on, but for underscores in place of hyphens:
/// CGI, WSGI and their kin give both names to applications as one.
fn is_disguised(name: &[u8]) -> bool {
    memchr::memchr(b'_', name).is_some() && is_disguise(name)
}

#[cold]
fn is_disguise(name: &[u8]) -> bool {
    // Longer than any name below; of the family only the beginning counts.
    let mut plain = [0; 20];
    let length = name.len().min(plain.len());
    for (to, byte) in plain.iter_mut().zip(name) {
        *to = if *byte == b'_' { b'-' } else { *byte };
    }
    let plain = plain.get(..length).unwrap_or_default();
    let id = if name.len() == length { FieldId::of(plain) } else { FieldId::Other };
    is_forwarded_family(plain)
        || matches!(
            id,
            FieldId::ContentLength
                | FieldId::TransferEncoding
                | FieldId::XRealIp
                | FieldId::TrueClientIp
                | FieldId::CfConnectingIp
                | FieldId::XRequestId
        )
}

/// Whether `name` is of the `X-Forwarded-…` family, which proxies set and far ends trust.
fn is_forwarded_family(name: &[u8]) -> bool {
    name.get(..12).is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"x-forwarded-"))
}
