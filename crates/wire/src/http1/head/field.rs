//! Field lines: where they lie in the buffer, which well-known field each one is, and which of them
//! are hop-by-hop.

/// A range of the buffer that was parsed, as offsets from its start. Half the size of a slice and
/// free of lifetimes, so a head can live beside its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset behind the last byte.
    pub end: u32,
}

impl Span {
    /// The bytes of `buf` in this span; empty if `buf` is not the buffer it came from and too
    /// short.
    pub fn of(self, buf: &[u8]) -> &[u8] {
        buf.get(self.start as usize..self.end as usize).unwrap_or(&[])
    }

    /// Number of bytes.
    pub const fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    /// Whether the span holds no byte.
    pub const fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// The span of `part` in `buf`; empty if `part` is not a slice of `buf`.
    pub(super) fn locate(buf: &[u8], part: &[u8]) -> Self {
        let start = part.as_ptr().addr().wrapping_sub(buf.as_ptr().addr());
        match start.checked_add(part.len()) {
            // Heads are cut at `u32::MAX` bytes before they are parsed, so both casts keep the
            // value.
            Some(end) if end <= buf.len() => Self { start: start as u32, end: end as u32 },
            _ => Self::default(),
        }
    }
}

/// One field line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name as it was written.
    pub name: Span,
    /// The value without the blanks and tabs around it.
    pub value: Span,
    /// Which well-known field it is.
    pub id: FieldId,
    /// Whether it concerns this connection only and must not be forwarded: the fields of RFC 9110
    /// §7.6.1, proxy credentials, Trailer (trailers are dropped), what Connection nominates, and
    /// names that are trusted or frame a body but for underscores (`X_Forwarded_For`).
    /// Connection can nominate only fields that are [`FieldId::Other`] and not named
    /// `X-Forwarded-…`: everything else is either ours to set or needed by the far end, and a
    /// client must not be able to make us drop it.
    pub hop: bool,
}

/// The well-known fields, by case-insensitive name.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs, reason = "each variant is the name of the field")]
pub enum FieldId {
    #[default]
    Other,
    Host,
    Connection,
    KeepAlive,
    ProxyConnection,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    ContentLength,
    ContentType,
    ContentEncoding,
    Expect,
    Authorization,
    ProxyAuthorization,
    ProxyAuthenticate,
    WwwAuthenticate,
    XApiKey,
    ApiKey,
    XGoogApiKey,
    AcceptEncoding,
    AcceptLanguage,
    Accept,
    UserAgent,
    Date,
    Server,
    Via,
    XForwardedFor,
    XForwardedProto,
    XForwardedHost,
    XForwardedPort,
    Forwarded,
    XRealIp,
    TrueClientIp,
    CfConnectingIp,
    XRequestId,
    RetryAfter,
    RetryAfterMs,
    AnthropicVersion,
    AnthropicBeta,
    OpenaiOrganization,
    OpenaiProject,
    IdempotencyKey,
    Cookie,
    SetCookie,
    Location,
    Origin,
    Referer,
    CacheControl,
    Range,
    ContentRange,
    LastEventId,
    Traceparent,
    Tracestate,
    SecWebsocketKey,
    SecWebsocketAccept,
    SecWebsocketVersion,
    SecWebsocketProtocol,
    SecWebsocketExtensions,
}

/// Lower-case name of every well-known field.
const NAMES: [(&[u8], FieldId); 58] = [
    (b"host", FieldId::Host),
    (b"connection", FieldId::Connection),
    (b"keep-alive", FieldId::KeepAlive),
    (b"proxy-connection", FieldId::ProxyConnection),
    (b"te", FieldId::Te),
    (b"trailer", FieldId::Trailer),
    (b"transfer-encoding", FieldId::TransferEncoding),
    (b"upgrade", FieldId::Upgrade),
    (b"content-length", FieldId::ContentLength),
    (b"content-type", FieldId::ContentType),
    (b"content-encoding", FieldId::ContentEncoding),
    (b"expect", FieldId::Expect),
    (b"authorization", FieldId::Authorization),
    (b"proxy-authorization", FieldId::ProxyAuthorization),
    (b"proxy-authenticate", FieldId::ProxyAuthenticate),
    (b"www-authenticate", FieldId::WwwAuthenticate),
    (b"x-api-key", FieldId::XApiKey),
    (b"api-key", FieldId::ApiKey),
    (b"x-goog-api-key", FieldId::XGoogApiKey),
    (b"accept-encoding", FieldId::AcceptEncoding),
    (b"accept-language", FieldId::AcceptLanguage),
    (b"accept", FieldId::Accept),
    (b"user-agent", FieldId::UserAgent),
    (b"date", FieldId::Date),
    (b"server", FieldId::Server),
    (b"via", FieldId::Via),
    (b"x-forwarded-for", FieldId::XForwardedFor),
    (b"x-forwarded-proto", FieldId::XForwardedProto),
    (b"x-forwarded-host", FieldId::XForwardedHost),
    (b"x-forwarded-port", FieldId::XForwardedPort),
    (b"forwarded", FieldId::Forwarded),
    (b"x-real-ip", FieldId::XRealIp),
    (b"true-client-ip", FieldId::TrueClientIp),
    (b"cf-connecting-ip", FieldId::CfConnectingIp),
    (b"x-request-id", FieldId::XRequestId),
    (b"retry-after", FieldId::RetryAfter),
    (b"retry-after-ms", FieldId::RetryAfterMs),
    (b"anthropic-version", FieldId::AnthropicVersion),
    (b"anthropic-beta", FieldId::AnthropicBeta),
    (b"openai-organization", FieldId::OpenaiOrganization),
    (b"openai-project", FieldId::OpenaiProject),
    (b"idempotency-key", FieldId::IdempotencyKey),
    (b"cookie", FieldId::Cookie),
    (b"set-cookie", FieldId::SetCookie),
    (b"location", FieldId::Location),
    (b"origin", FieldId::Origin),
    (b"referer", FieldId::Referer),
    (b"cache-control", FieldId::CacheControl),
    (b"range", FieldId::Range),
    (b"content-range", FieldId::ContentRange),
    (b"last-event-id", FieldId::LastEventId),
    (b"traceparent", FieldId::Traceparent),
    (b"tracestate", FieldId::Tracestate),
    (b"sec-websocket-key", FieldId::SecWebsocketKey),
    (b"sec-websocket-accept", FieldId::SecWebsocketAccept),
    (b"sec-websocket-version", FieldId::SecWebsocketVersion),
    (b"sec-websocket-protocol", FieldId::SecWebsocketProtocol),
    (b"sec-websocket-extensions", FieldId::SecWebsocketExtensions),
];

/// `NAMES` by slot: a perfect hash, so finding a name costs one comparison. Checked when it is
/// compiled: a new name that collides fails the build; then choose other factors in [`slot`].
static SLOTS: [(&[u8], FieldId); 256] = slots();

const fn slots() -> [(&'static [u8], FieldId); 256] {
    let mut table: [(&[u8], FieldId); 256] = [(b"", FieldId::Other); 256];
    let mut at = 0;
    while at < NAMES.len() {
        let name = NAMES[at].0;
        assert!(name.len() >= 2 && name.len() <= 24, "`is_same_name` compares 2 to 24 bytes");
        let here = slot(name.len(), name[0], name[name.len() - 2]);
        assert!(matches!(table[here].1, FieldId::Other), "two field names share a slot");
        table[here] = NAMES[at];
        at += 1;
    }
    table
}

/// Slot of a name, from its length, first byte and last byte but one. Setting bit 0x20 makes
/// letters lower case and leaves `-` and digits alone.
const fn slot(len: usize, first: u8, last_but_one: u8) -> usize {
    (len + (first | 0x20) as usize * 6 + (last_but_one | 0x20) as usize * 8) & 0xff
}

/// Whether `name` is `known` (lower case, of the same length, 2 to 24 bytes) in any case. Two or
/// three overlapping words instead of a loop over bytes: this runs for every field of every head.
/// Setting bit 0x20 makes letters lower case and maps no other token byte onto one of `known`.
fn is_same_name(name: &[u8], known: &[u8]) -> bool {
    const LOWER: u64 = 0x2020_2020_2020_2020;
    let differ8 =
        |a: &[u8; 8], b: &[u8; 8]| (u64::from_ne_bytes(*a) | LOWER) ^ u64::from_ne_bytes(*b);
    let differ4 =
        |a: &[u8; 4], b: &[u8; 4]| (u32::from_ne_bytes(*a) | LOWER as u32) ^ u32::from_ne_bytes(*b);
    if let (Some(a), Some(b), Some(y), Some(z)) =
        (name.first_chunk(), known.first_chunk(), name.last_chunk(), known.last_chunk())
    {
        let mut differ = differ8(a, b) | differ8(y, z);
        if let (Some(a), Some(b)) = (name.get(8..16), known.get(8..16))
            && let (Some(a), Some(b)) = (a.first_chunk(), b.first_chunk())
        {
            differ |= differ8(a, b);
        }
        return differ == 0;
    }
    if let (Some(a), Some(b), Some(y), Some(z)) =
        (name.first_chunk(), known.first_chunk(), name.last_chunk(), known.last_chunk())
    {
        return differ4(a, b) | differ4(y, z) == 0;
    }
    name.eq_ignore_ascii_case(known)
}

impl FieldId {
    /// The well-known field that is called `name`, in any case. `name` must be a token.
    #[inline]
    pub fn of(name: &[u8]) -> Self {
        let ([first, ..], [.., last_but_one, _]) = (name, name) else { return Self::Other };
        let (known, id) = SLOTS[slot(name.len(), *first, *last_but_one)];
        if name.len() == known.len() && is_same_name(name, known) { id } else { Self::Other }
    }

    /// Whether the field is hop-by-hop whatever Connection says.
    pub const fn is_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::KeepAlive
                | Self::ProxyConnection
                | Self::Te
                | Self::Trailer
                | Self::TransferEncoding
                | Self::Upgrade
                | Self::ProxyAuthorization
                | Self::ProxyAuthenticate
        )
    }
}
