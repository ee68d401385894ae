//! The model of upstreams: endpoints and health checks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::Queue;
use super::balance::{Balance, Hash};
use super::health::{Breaker, Health, Outlier};
use crate::duration::{self, DurationText};

/// A named group of endpoints that give the same service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Upstream {
    /// Addresses, each a URL or an object with more detail.
    pub endpoints: Vec<Endpoint>,
    /// How one is chosen: one name for all traffic, or one for each kind.
    #[serde(default)]
    pub balance: Balance,
    /// What the hashing algorithms hash, and how far they may load one endpoint.
    #[serde(default)]
    pub hash: Hash,
    /// Who waits while every usable endpoint is at its `connections_max`. Absent: nobody, such a
    /// request is refused.
    #[serde(default)]
    pub queue: Option<Queue>,
    /// How long an endpoint that was added or has recovered takes until it gets its full share; 0:
    /// no time at all.
    #[serde(default, serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub slow_start: Duration,
    /// The zone that Tidegate stands in: endpoints of the same zone come first.
    #[serde(default)]
    pub zone: Option<String>,
    /// Probes of the endpoints. Absent: none are sent.
    #[serde(default)]
    pub health: Option<Health>,
    /// When an endpoint that fails its traffic is left alone.
    #[serde(default)]
    pub outlier: Outlier,
    /// Health is ignored while fewer than this percentage of the endpoints admit. 0: while none
    /// does.
    #[serde(default)]
    #[schemars(range(max = 100))]
    pub panic_threshold: u32,
    /// When the whole upstream is given a rest. Absent: never.
    #[serde(default)]
    pub breaker: Option<Breaker>,
    /// PEM file of certificate authorities to trust instead of the system's: the short form of
    /// `tls: { ca }`.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The version of HTTP that the endpoints speak.
    #[serde(default)]
    pub protocol: UpstreamProtocol,
    /// How TLS is spoken to `https://` endpoints.
    #[serde(default)]
    pub tls: Option<UpstreamTls>,
    /// Every connection begins with a PROXY header that names the caller. Such a connection is used
    /// for one request only.
    #[serde(default)]
    pub proxy_protocol: Option<ProxyHeader>,
}

/// The version of HTTP that an upstream's endpoints speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: by ALPN over TLS, with prior knowledge without.
    Http2,
    /// What an `https://` endpoint chooses by ALPN; HTTP/1.1 without TLS.
    Auto,
}

impl UpstreamProtocol {
    /// Every choice, the default first.
    pub const ALL: [Self; 3] = [Self::Http1, Self::Http2, Self::Auto];

    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Auto => "auto",
        }
    }
}

/// How TLS is spoken to an upstream's endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct UpstreamTls {
    /// PEM file of certificate authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// PEM file of our certificate and its chain, for endpoints that ask who we are.
    pub cert: Option<PathBuf>,
    /// PEM file of its key.
    pub key: Option<PathBuf>,
    /// The name to ask for and to verify. Absent: the host of the address.
    pub server_name: Option<String>,
}

/// The version of a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProxyHeader {
    /// One line of text.
    V1,
    /// Binary.
    V2,
}

impl ProxyHeader {
    /// Every version.
    pub const ALL: [Self; 2] = [Self::V1, Self::V2];

    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

impl Upstream {
    /// The authorities to trust, however they are written.
    pub fn ca(&self) -> Option<&Path> {
        self.tls.as_ref().and_then(|tls| tls.ca.as_deref()).or(self.ca_file.as_deref())
    }
}

/// One address of an upstream. Written as a bare URL when nothing differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// A name of its own, unique in its upstream: how the admin API refers to it.
    pub name: Option<String>,
    /// `http://host:port` or `https://host:port` without a path, or `unix:/path/to.sock`.
    pub url: String,
    /// Its share where the balance looks at weights; 0 takes no part.
    pub weight: u32,
    /// Connections to it at most, over all shards.
    pub connections_max: Option<u32>,
    /// Tier: lower numbers first, higher ones when no lower tier has a usable endpoint.
    pub priority: u32,
    /// Where it stands; see the zone of the upstream.
    pub zone: Option<String>,
    /// Takes nothing new; what it has begun it finishes.
    pub draining: bool,
}

impl Endpoint {
    /// An endpoint of weight 1 without a connection limit.
    pub fn url(url: impl Into<String>) -> Self {
        Self {
            name: None,
            url: url.into(),
            weight: 1,
            connections_max: None,
            priority: 0,
            zone: None,
            draining: false,
        }
    }
}
