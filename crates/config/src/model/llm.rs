//! The LLM relay's part of the model: callers, providers, models and retries.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;
use tidegate_dialect::Dialect;

use crate::duration::{self, DurationText};
use crate::mask;
use crate::secret::Secret;

/// One static key and who holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Caller {
    /// The name in logs and metrics.
    pub name: String,
    /// The key, 8 characters or more.
    pub key: Secret,
    /// Who goes first when the gateway is full.
    #[serde(default)]
    pub priority: Priority,
}

/// Who goes first when the gateway is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Refused first.
    Low,
    /// Waits in the queue.
    #[default]
    Normal,
    /// Enters as long as there is a place.
    High,
}

impl Priority {
    /// Every priority, lowest first.
    pub const ALL: [Self; 3] = [Self::Low, Self::Normal, Self::High];

    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}

/// One LLM provider.
#[derive(Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Provider {
    /// A vendor of the built-in table; gives dialect and address. Absent: the provider's own name,
    /// if that is a vendor.
    pub vendor: Option<String>,
    /// The wire format it speaks. Absent: the vendor's.
    #[schemars(with = "Option<DialectName>")]
    pub dialect: Option<Dialect>,
    /// Where its API lives, such as http://127.0.0.1:9000/v1. Absent: the vendor's.
    pub base_url: Option<String>,
    /// Its key; `none` sends no key.
    pub api_key: Option<Secret>,
    /// Its share among providers of the same priority; 0 takes no part.
    #[schemars(range(max = 1_000_000))]
    pub weight: u32,
    /// Lower numbers are tried first.
    pub priority: u32,
    /// A proxy on the way to it: `http://[user:pass@]host:port` (CONNECT) or
    /// `socks5://[user:pass@]host:port` (names are resolved by the proxy).
    #[serde(serialize_with = "mask::serialize_url")]
    pub egress: Option<String>,
    /// PEM file of certificate authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Header fields added to each request to it.
    #[serde(serialize_with = "mask::serialize_headers")]
    pub headers: IndexMap<String, String>,
    /// Connections to it at most, over all shards. Absent: bounded by the requests in flight.
    #[schemars(range(min = 1))]
    pub connections_max: Option<u32>,
    /// Deadlines that differ for this provider.
    pub timeouts: Option<ProviderTimeouts>,
}

impl Default for Provider {
    fn default() -> Self {
        Self {
            vendor: None,
            dialect: None,
            base_url: None,
            api_key: None,
            weight: 1,
            priority: 0,
            egress: None,
            ca_file: None,
            headers: IndexMap::new(),
            connections_max: None,
            timeouts: None,
        }
    }
}

impl fmt::Debug for Provider {
    /// By hand, because an egress URL and header fields may hold passwords and keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("vendor", &self.vendor)
            .field("dialect", &self.dialect)
            .field("base_url", &self.base_url)
            .field("api_key", &self.api_key)
            .field("weight", &self.weight)
            .field("priority", &self.priority)
            .field("egress", &self.egress.as_deref().map(mask::url))
            .field("ca_file", &self.ca_file)
            .field("headers", &mask::headers(&self.headers))
            .field("connections_max", &self.connections_max)
            .field("timeouts", &self.timeouts)
            .finish()
    }
}

/// Stands for [`Dialect`] in the JSON Schema; a test keeps the two alike.
#[derive(JsonSchema)]
#[schemars(rename = "Dialect", rename_all = "lowercase")]
#[allow(dead_code, missing_docs)] // only its schema is used
pub(crate) enum DialectName {
    OpenAi,
    Anthropic,
}

/// Deadlines of one provider; what is absent is inherited from `timeouts`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct ProviderTimeouts {
    /// As `timeouts.connect`.
    #[serde(serialize_with = "duration::serialize_optional")]
    #[schemars(with = "Option<DurationText>")]
    pub connect: Option<Duration>,
    /// As `timeouts.first_token`.
    #[serde(serialize_with = "duration::serialize_optional")]
    #[schemars(with = "Option<DurationText>")]
    pub first_token: Option<Duration>,
    /// As `timeouts.between_tokens`.
    #[serde(serialize_with = "duration::serialize_optional")]
    #[schemars(with = "Option<DurationText>")]
    pub between_tokens: Option<Duration>,
    /// As `timeouts.request`.
    #[serde(serialize_with = "duration::serialize_optional")]
    #[schemars(with = "Option<DurationText>")]
    pub request: Option<Duration>,
    /// As `timeouts.stream`.
    #[serde(serialize_with = "duration::serialize_optional")]
    #[schemars(with = "Option<DurationText>")]
    pub stream: Option<Duration>,
}

/// Model names and the providers that serve them. An exact name beats a prefix, a longer prefix a
/// shorter one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Model {
    /// The name callers ask for: exact, a prefix with a `*` at its end, or `*` for any.
    pub name: String,
    /// Providers, each a name or an object with more detail.
    pub to: Vec<Target>,
    /// How one is chosen.
    #[serde(default)]
    pub balance: ModelBalance,
}

/// One provider of a model. Written as a bare provider name when nothing differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Target {
    /// The provider's name.
    pub provider: String,
    /// The model's name there. Absent: the name that the caller asked for.
    pub model: Option<String>,
    /// Overrides the provider's weight.
    pub weight: Option<u32>,
    /// Overrides the provider's priority.
    pub priority: Option<u32>,
}

impl Target {
    /// The provider as it stands.
    pub fn provider(name: impl Into<String>) -> Self {
        Self { provider: name.into(), model: None, weight: None, priority: None }
    }
}

/// How one of a model's providers is chosen. The others are what a failed attempt falls back to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelBalance {
    /// Lowest priority number first; among equals, by chance in proportion to the weights.
    #[default]
    Weighted,
    /// Lowest priority number first; among equals, in the order written.
    Priority,
    /// Lowest priority number first; among equals, each in turn.
    RoundRobin,
}

impl ModelBalance {
    /// Every way, the default first.
    pub const ALL: [Self; 3] = [Self::Weighted, Self::Priority, Self::RoundRobin];

    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Weighted => "weighted",
            Self::Priority => "priority",
            Self::RoundRobin => "round_robin",
        }
    }
}

/// Repeating failed attempts before the first byte has reached the caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Retry {
    /// Attempts in all, the first included, 1 to 10.
    #[schemars(range(min = 1, max = 10))]
    pub attempts: u32,
    /// The first pause; it doubles with each attempt and is jittered.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub delay: Duration,
    /// The longest pause.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub delay_max: Duration,
    /// Statuses (502, 503, 504) of an upstream's reply after which another endpoint is asked, if the
    /// request may be repeated. Empty: a reply is passed on whatever it says. For LLM providers it
    /// is built in.
    pub on: Vec<u32>,
    /// Repeats allowed per 100 requests, 0 to 100.
    #[schemars(range(max = 100))]
    pub budget_percent: u32,
    /// Repeats per second that are allowed whatever the percentage says.
    #[schemars(range(max = 100_000))]
    pub budget_min_per_second: u32,
    /// When a failing provider rests.
    pub cooldown: Cooldown,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 3,
            delay: Duration::from_secs(1),
            delay_max: Duration::from_secs(5),
            on: Vec::new(),
            budget_percent: 20,
            budget_min_per_second: 10,
            cooldown: Cooldown::default(),
        }
    }
}

/// When a failing provider rests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Cooldown {
    /// Failures in a row that start a rest.
    #[schemars(range(min = 1, max = 1000))]
    pub failures: u32,
    /// How long it lasts.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub period: Duration,
}

impl Default for Cooldown {
    fn default() -> Self {
        Self { failures: 3, period: Duration::from_secs(10) }
    }
}
