//! The model of upstreams: endpoints, balance and health checks.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

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
    /// Probes of the endpoints. Absent: none are sent.
    #[serde(default)]
    pub health: Option<Health>,
    /// PEM file of certificate authorities to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// One address of an upstream. Written as a bare URL when nothing differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// `http://host:port` or `https://host:port`, without a path.
    pub url: String,
    /// Its share where the balance looks at weights; 0 takes no part.
    pub weight: u32,
    /// Connections to it at most, over all shards.
    pub connections_max: Option<u32>,
}

impl Endpoint {
    /// An endpoint of weight 1 without a connection limit.
    pub fn url(url: impl Into<String>) -> Self {
        Self { url: url.into(), weight: 1, connections_max: None }
    }
}

/// How an endpoint is chosen, for each kind of traffic. Written as one name when all three are the
/// same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Balance {
    /// Plain requests.
    pub http: Algorithm,
    /// WebSocket connections.
    pub websocket: Algorithm,
    /// Event streams.
    pub sse: Algorithm,
}

impl Balance {
    /// The same for all traffic.
    pub fn all(algorithm: Algorithm) -> Self {
        Self { http: algorithm, websocket: algorithm, sse: algorithm }
    }
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// Each in turn.
    #[default]
    RoundRobin,
    /// Each in turn, in proportion to the weights.
    WeightedRoundRobin,
    /// By chance.
    Random,
    /// The one with the fewest requests in flight.
    LeastConnections,
    /// By the client's address: the same client keeps its endpoint.
    IpHash,
}

impl Algorithm {
    /// Every way, the default first.
    pub const ALL: [Self; 5] = [
        Self::RoundRobin,
        Self::WeightedRoundRobin,
        Self::Random,
        Self::LeastConnections,
        Self::IpHash,
    ];

    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::WeightedRoundRobin => "weighted_round_robin",
            Self::Random => "random",
            Self::LeastConnections => "least_connections",
            Self::IpHash => "ip_hash",
        }
    }
}

/// Probes of an upstream's endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Health {
    /// What is asked for with GET.
    pub path: String,
    /// Between two probes.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub interval: Duration,
    /// One probe's deadline.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub timeout: Duration,
    /// Failed probes in a row before the endpoint is left out.
    #[schemars(range(min = 1, max = 1000))]
    pub failures: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            failures: 3,
        }
    }
}
