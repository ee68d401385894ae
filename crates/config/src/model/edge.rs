//! The model of what stands before a route: who may come in, how often, and which replies are compressed.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use tidegate_policy::cidr::Cidr;
use tidegate_policy::compress::Coding;

use super::listener::texts;
use crate::duration::{self, DurationText};
use crate::problem::shorten;

/// Who may come in, by address. The narrowest range that has the address decides; of equal ones the
/// denied one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Access {
    /// These may. Empty: all but those denied.
    #[serde(serialize_with = "texts")]
    #[schemars(with = "Vec<String>")]
    pub allow: Vec<Cidr>,
    /// These may not.
    #[serde(serialize_with = "texts")]
    #[schemars(with = "Vec<String>")]
    pub deny: Vec<Cidr>,
}

/// How often requests may come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RateLimit {
    /// So many.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests: u32,
    /// In so much time.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub per: Duration,
    /// So many at once, after a quiet time. Absent: as many as `requests`.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<u32>,
    /// Whose requests are counted together.
    #[serde(default)]
    pub by: LimitBy,
}

/// Whose requests are counted together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LimitBy {
    /// Those of one client: an IPv4 address, or the first 64 bits of an IPv6 address.
    #[default]
    Client,
    /// All of the route.
    Route,
    /// Those with the same value in this field; its name in lower case.
    Header(String),
}

/// A text that is not by what can be counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of client, route, header:NAME")]
pub struct UnknownLimitBy(String);

impl FromStr for LimitBy {
    type Err = UnknownLimitBy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "client" => Ok(Self::Client),
            None if text == "route" => Ok(Self::Route),
            Some(("header", name)) if super::balance::is_token(name) => {
                Ok(Self::Header(name.to_ascii_lowercase()))
            }
            _ => Err(UnknownLimitBy(shorten(text))),
        }
    }
}

impl fmt::Display for LimitBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => f.write_str("client"),
            Self::Route => f.write_str("route"),
            Self::Header(name) => write!(f, "header:{name}"),
        }
    }
}

impl Serialize for LimitBy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for LimitBy {
    fn schema_name() -> Cow<'static, str> {
        "LimitBy".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(client|route|header:[!-9;-~]+)$|^\\$\\{",
            "description": "client, route or header:NAME. A request without the field counts by its client."
        })
    }
}

/// A coding for replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Zstandard (RFC 8878).
    Zstd,
    /// Brotli (RFC 7932).
    Br,
    /// gzip (RFC 1952).
    Gzip,
}

impl Compression {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Br, Self::Gzip];

    /// The coding.
    pub fn coding(self) -> Coding {
        match self {
            Self::Zstd => Coding::Zstd,
            Self::Br => Coding::Brotli,
            Self::Gzip => Coding::Gzip,
        }
    }

    /// The name in the configuration, which is the registered one.
    pub fn as_str(self) -> &'static str {
        self.coding().as_str()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn by_what_is_counted_prints_as_it_is_read() {
        for text in ["client", "route", "header:x-key"] {
            assert_eq!(text.parse::<LimitBy>().unwrap().to_string(), text);
        }
        for text in ["", "ip", "header:", "header:a b", "client:x"] {
            assert!(text.parse::<LimitBy>().is_err(), "{text}");
        }
    }
}
