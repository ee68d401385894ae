//! The model of listeners: addresses that clients connect to, and what is spoken there.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use tidegate_policy::cidr::Cidr;

/// One bound address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Listener {
    /// IP address and port, such as `0.0.0.0:8080` or `[::]:8080`.
    #[schemars(with = "String")]
    pub bind: SocketAddr,
    /// Speak HTTP/2 too: by ALPN where there is TLS, by prior knowledge where there is none.
    #[serde(default = "yes")]
    pub http2: bool,
    /// Certificates: the client's SNI picks one by its names; the first is the default. Empty: no TLS.
    #[serde(default)]
    pub tls: Vec<Certificate>,
    /// Authorities (PEM) that client certificates must come from. Absent: clients need none.
    pub client_ca: Option<PathBuf>,
    /// Whether clients may come without a certificate; only with `client_ca`.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// The oldest TLS version that is spoken.
    #[serde(default)]
    pub tls_min: TlsVersion,
    /// Proxies in front of us whose word counts for where a client is. Nobody by default.
    #[serde(default, serialize_with = "texts")]
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<Cidr>,
    /// The field in which they tell it.
    #[serde(default)]
    pub real_ip_header: RealIpHeader,
    /// Each connection begins with a PROXY protocol header, v1 or v2, which names the client. Only
    /// `trusted_proxies` may connect then, if there are any.
    #[serde(default)]
    pub proxy_protocol: bool,
    /// What is spoken there.
    #[serde(default)]
    pub protocol: Protocol,
    /// `tcp` only: the upstream that every connection goes to, or with `sni` those that no name
    /// there matches.
    #[serde(default)]
    pub upstream: Option<String>,
    /// `tcp` only: upstreams by the server name in the caller's TLS ClientHello, which is read and
    /// passed on, not terminated. `*.example.com` stands for any name below it.
    #[serde(default)]
    pub sni: IndexMap<String, String>,
}

impl Default for Listener {
    /// Loopback only: a gateway is opened to a network by writing so.
    fn default() -> Self {
        Self::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)))
    }
}

impl Listener {
    /// Plain HTTP at this address.
    pub fn at(bind: SocketAddr) -> Self {
        Self {
            bind,
            http2: true,
            tls: Vec::new(),
            client_ca: None,
            client_auth: ClientAuth::default(),
            tls_min: TlsVersion::default(),
            trusted_proxies: Vec::new(),
            real_ip_header: RealIpHeader::default(),
            proxy_protocol: false,
            protocol: Protocol::Http,
            upstream: None,
            sni: IndexMap::new(),
        }
    }
}

fn yes() -> bool {
    true
}

/// A list of things that have a text.
pub(super) fn texts<S: Serializer, T: ToString>(
    items: &[T],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(items.iter().map(ToString::to_string))
}

/// The field in which trusted proxies tell where a client is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, JsonSchema)]
pub enum RealIpHeader {
    /// A list; the rightmost address that is not a trusted proxy's is the client.
    #[default]
    #[serde(rename = "X-Forwarded-For")]
    XForwardedFor,
    /// The same with parameters (RFC 7239).
    Forwarded,
    /// One address.
    #[serde(rename = "X-Real-IP")]
    XRealIp,
    /// One address.
    #[serde(rename = "CF-Connecting-IP")]
    CfConnectingIp,
    /// One address.
    #[serde(rename = "True-Client-IP")]
    TrueClientIp,
}

impl RealIpHeader {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::XForwardedFor,
        Self::Forwarded,
        Self::XRealIp,
        Self::CfConnectingIp,
        Self::TrueClientIp,
    ];

    /// The name in the configuration and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::XForwardedFor => "X-Forwarded-For",
            Self::Forwarded => "Forwarded",
            Self::XRealIp => "X-Real-IP",
            Self::CfConnectingIp => "CF-Connecting-IP",
            Self::TrueClientIp => "True-Client-IP",
        }
    }
}

/// A certificate and its key.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Certificate {
    /// PEM file with the certificate and those between it and its authority, in this order.
    pub cert: PathBuf,
    /// PEM file with the private key, not encrypted.
    pub key: PathBuf,
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// Without a valid one there is no connection.
    #[default]
    Required,
    /// None is fine; one that is shown must be valid.
    Optional,
}

impl ClientAuth {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Required, Self::Optional];

    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Optional => "optional",
        }
    }
}

/// A version of TLS. Older ones than these are not spoken at all (RFC 8996).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246), with forward secrecy and authenticated encryption only.
    #[default]
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    V13,
}

impl TlsVersion {
    /// Both, oldest first.
    pub const ALL: [Self; 2] = [Self::V12, Self::V13];

    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V12 => "1.2",
            Self::V13 => "1.3",
        }
    }
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP: requests are routed.
    #[default]
    Http,
    /// Bytes: connections are passed on to an upstream.
    Tcp,
}

impl Protocol {
    /// Both protocols.
    pub const ALL: [Self; 2] = [Self::Http, Self::Tcp];

    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
        }
    }
}
