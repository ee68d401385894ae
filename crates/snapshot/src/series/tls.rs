//! Counters of TLS handshakes with callers.

use super::Counter;

/// Why a connection to a TLS listener came to no handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum TlsFailure {
    /// Plain HTTP was spoken.
    PlainHttp,
    /// What was spoken is neither TLS nor HTTP.
    NotTls,
    /// The handshake did not end in time (timeouts.tls_handshake).
    Timeout,
    /// The client went away.
    Closed,
    /// The client's certificate is missing or not accepted.
    ClientCertificate,
    /// The client does not accept us, or told so: mostly a certificate that it does not trust.
    Alert,
    /// No version, cipher suite or protocol in common.
    Incompatible,
    /// The client breaks the protocol.
    Protocol,
    /// More connections than the limit: refused before the handshake.
    Full,
}

impl TlsFailure {
    /// How many there are.
    pub const COUNT: usize = Self::Full as usize + 1;

    /// Every kind, in order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::PlainHttp,
        Self::NotTls,
        Self::Timeout,
        Self::Closed,
        Self::ClientCertificate,
        Self::Alert,
        Self::Incompatible,
        Self::Protocol,
        Self::Full,
    ];

    /// The metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PlainHttp => "plain_http",
            Self::NotTls => "not_tls",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::ClientCertificate => "client_certificate",
            Self::Alert => "alert",
            Self::Incompatible => "incompatible",
            Self::Protocol => "protocol",
            Self::Full => "connections_full",
        }
    }
}

/// Handshakes of one shard.
#[derive(Debug, Default)]
pub struct TlsCell {
    /// Full handshakes that ended well.
    pub full: Counter,
    /// Resumed sessions.
    pub resumed: Counter,
    /// Connections that came to no handshake, by [`TlsFailure`].
    pub failures: [Counter; TlsFailure::COUNT],
}
