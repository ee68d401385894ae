//! The model of health: probes, outlier ejection, breakers, hedging and the resolver.

use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::duration::{self, DurationText};

/// Probes of an upstream's endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Health {
    /// What is asked for with GET.
    pub path: String,
    /// A connection that opens is enough: nothing is asked.
    pub tcp: bool,
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
    /// Good probes in a row before it is used again.
    #[schemars(range(min = 1, max = 1000))]
    pub successes: u32,
    /// Statuses that count as good. Empty: 200 to 399.
    pub status: Vec<u32>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            tcp: false,
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            failures: 3,
            successes: 1,
            status: Vec::new(),
        }
    }
}

/// When an endpoint that fails its traffic is left alone, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Outlier {
    /// Errors in a row that eject; 0: none do.
    #[schemars(range(max = 1000))]
    pub consecutive_errors: u32,
    /// Percentage of errors within the interval that ejects; 0: none does.
    #[schemars(range(max = 100))]
    pub error_percent: u32,
    /// Requests within the interval below which the percentage says nothing.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min_requests: u32,
    /// Over which the percentage is counted.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub interval: Duration,
    /// How long the first ejection lasts; the n-th in a row lasts n times as long.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub ejection: Duration,
    /// How long one lasts at most.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub ejection_max: Duration,
    /// Percentage of the endpoints that may be ejected at once.
    #[schemars(range(max = 100))]
    pub ejected_percent_max: u32,
}

impl Default for Outlier {
    fn default() -> Self {
        Self {
            consecutive_errors: 5,
            error_percent: 0,
            min_requests: 20,
            interval: Duration::from_secs(10),
            ejection: Duration::from_secs(30),
            ejection_max: Duration::from_mins(5),
            ejected_percent_max: 50,
        }
    }
}

/// When a whole upstream is given a rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Breaker {
    /// Requests in flight at most, over all endpoints and shards; further ones are refused.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests: u32,
    /// Percentage of errors within the window that opens the breaker; 0: none does.
    #[schemars(range(max = 100))]
    pub errors_percent: u32,
    /// Requests within the window below which the percentage says nothing.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min_requests: u32,
    /// Over which the percentage is counted.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub window: Duration,
    /// How long it stays open. Then one request tries.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub open: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            requests: 1024,
            errors_percent: 50,
            min_requests: 20,
            window: Duration::from_secs(10),
            open: Duration::from_secs(5),
        }
    }
}

/// A second attempt beside one that is slow to answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Hedge {
    /// How long the first attempt may take before the second one begins.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub after: Duration,
}

/// How names become addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Resolver {
    /// Name servers (IP address and port), instead of those of /etc/resolv.conf.
    #[schemars(with = "Vec<String>")]
    pub servers: Vec<SocketAddr>,
}
