//! The model of balancing: the algorithms and what they hash.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::problem::shorten;

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

    /// Does any kind of traffic use one of these?
    pub fn uses(self, algorithms: &[Algorithm]) -> bool {
        [self.http, self.websocket, self.sse].iter().any(|used| algorithms.contains(used))
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
    /// By chance, in proportion to the weights.
    Random,
    /// The one with the fewest requests in flight for its weight.
    LeastConnections,
    /// Of two taken by chance, the one with fewer requests in flight for its weight.
    P2c,
    /// Of two taken by chance, the one that answers sooner for what it has in flight.
    PeakEwma,
    /// By the client's address: the same client keeps its endpoint.
    IpHash,
    /// By what `hash.by` says: the same value keeps its endpoint.
    ConsistentHash,
    /// As consistent_hash, by a table that is looked up in one step.
    Maglev,
    /// By the load that endpoints report, their requests in flight and their weights.
    Performance,
}

impl Algorithm {
    /// Every way, the default first.
    pub const ALL: [Self; 10] = [
        Self::RoundRobin,
        Self::WeightedRoundRobin,
        Self::Random,
        Self::LeastConnections,
        Self::P2c,
        Self::PeakEwma,
        Self::IpHash,
        Self::ConsistentHash,
        Self::Maglev,
        Self::Performance,
    ];

    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::WeightedRoundRobin => "weighted_round_robin",
            Self::Random => "random",
            Self::LeastConnections => "least_connections",
            Self::P2c => "p2c",
            Self::PeakEwma => "peak_ewma",
            Self::IpHash => "ip_hash",
            Self::ConsistentHash => "consistent_hash",
            Self::Maglev => "maglev",
            Self::Performance => "performance",
        }
    }
}

/// What the hashing algorithms hash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Hash {
    /// `client` (its address), `path`, `key` (the key that the caller sends), `header:NAME` or
    /// `cookie:NAME`. Where a request has none, its client's address counts. ip_hash always takes
    /// the address.
    pub by: HashBy,
    /// How much more than its fair share of the requests in flight an endpoint may have before the
    /// next one takes over, such as 1.25. Absent: no bound but its `connections_max`.
    pub bound: Option<Bound>,
}

/// What of a request is hashed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HashBy {
    /// The client's address.
    #[default]
    Client,
    /// The path, without the query.
    Path,
    /// The key that the caller sends.
    Key,
    /// The value of this field; its name in lower case.
    Header(String),
    /// The value of this cookie.
    Cookie(String),
}

/// A text that is not what can be hashed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of client, path, key, header:NAME, cookie:NAME")]
pub struct UnknownHashBy(String);

impl FromStr for HashBy {
    type Err = UnknownHashBy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = |name: &str| is_token(name).then(|| name.to_owned());
        match text.split_once(':') {
            None if text == "client" => Some(Self::Client),
            None if text == "path" => Some(Self::Path),
            None if text == "key" => Some(Self::Key),
            Some(("header", name)) => named(&name.to_ascii_lowercase()).map(Self::Header),
            Some(("cookie", name)) => named(name).map(Self::Cookie),
            _ => None,
        }
        .ok_or_else(|| UnknownHashBy(shorten(text)))
    }
}

/// A token (RFC 9110 section 5.6.2): what names of fields and cookies are made of.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

impl fmt::Display for HashBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => f.write_str("client"),
            Self::Path => f.write_str("path"),
            Self::Key => f.write_str("key"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
        }
    }
}

impl Serialize for HashBy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for HashBy {
    fn schema_name() -> Cow<'static, str> {
        "HashBy".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(client|path|key|(header|cookie):[!-9;-~]+)$|^\\$\\{",
            "description": "client, path, key, header:NAME or cookie:NAME."
        })
    }
}

/// A factor of at least 1, in hundredths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bound(u32);

impl Bound {
    /// The factor in hundredths.
    pub const fn hundredths(self) -> u32 {
        self.0
    }

    /// A factor in hundredths.
    pub const fn from_hundredths(hundredths: u32) -> Self {
        Self(hundredths)
    }
}

/// A text that is not such a factor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a factor with at most two decimals, such as 1.25")]
pub struct NotABound(String);

impl FromStr for Bound {
    type Err = NotABound;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = |text: &str| {
            let plain = !text.is_empty() && text.len() <= 6;
            (plain && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse::<u32>().ok())?
        };
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let hundredths = match part.len() {
            1 => digits(part).map(|tenths| tenths * 10),
            2 => digits(part),
            _ => None,
        };
        match (digits(whole), hundredths) {
            (Some(whole), Some(hundredths)) => Ok(Self(whole * 100 + hundredths)),
            _ => Err(NotABound(shorten(text))),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

impl Serialize for Bound {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0) / 100.0)
    }
}

impl JsonSchema for Bound {
    fn schema_name() -> Cow<'static, str> {
        "Bound".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["number", "string"],
            "minimum": 1,
            "pattern": "^[0-9]+(\\.[0-9]{1,2})?$|^\\$\\{",
            "description": "A factor of at least 1 with at most two decimals, such as 1.25."
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hashed_prints_as_it_is_read() {
        for text in ["client", "path", "key", "header:x-tenant", "cookie:Session"] {
            assert_eq!(text.parse::<HashBy>().unwrap().to_string(), text);
        }
        assert_eq!("header:X-A".parse::<HashBy>().unwrap(), HashBy::Header("x-a".to_owned()));
        for text in ["", "ip", "header", "header:", "header:a b", "cookie:a=b", "client:x"] {
            assert!(text.parse::<HashBy>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_bound_has_two_decimals_at_most() {
        for (text, hundredths) in [("1", 100), ("1.2", 120), ("1.25", 125), ("10.05", 1005)] {
            assert_eq!(text.parse::<Bound>().unwrap().hundredths(), hundredths, "{text}");
        }
        for text in ["", ".5", "1.", "1.255", "-1", "1e3", "x", "1234567"] {
            assert!(text.parse::<Bound>().is_err(), "{text}");
        }
        assert_eq!(Bound::from_hundredths(105).to_string(), "1.05");
    }
}
