//! The configuration as plain values: the top level, limits and deadlines.
//!
//! Doc comments of fields become the descriptions of the JSON Schema; `Default` values are the
//! documented defaults.

mod admin;
mod balance;
mod edge;
mod health;
mod listener;
mod llm;
mod route;
mod upstream;

use std::time::Duration;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;

pub(crate) use admin::default_admin_bind;
pub use admin::{Admin, AdminToken, Role};
pub use balance::{Algorithm, Balance, Bound, Hash, HashBy};
pub use edge::{Access, Compression, LimitBy, RateLimit};
pub use health::{Breaker, Health, Hedge, Outlier, Resolver};
pub use listener::{Certificate, ClientAuth, Listener, Protocol, RealIpHeader, TlsVersion};
pub use llm::{
    Caller, Cooldown, Model, ModelBalance, Priority, Provider, ProviderTimeouts, Retry, Target,
};
pub use route::{
    HeaderEdits, Mirror, Redirect, Rewrite, Route, RouteLimits, RouteTimeouts, Share, StaticReply,
};
pub(crate) use route::{all_of_a_mirror, permanent_redirect};
pub use upstream::{Endpoint, ProxyHeader, Upstream, UpstreamProtocol, UpstreamTls};

use crate::duration::{self, DurationText};
use crate::size::ByteSize;

/// The whole configuration of one Tidegate process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields, title = "Tidegate configuration")]
pub struct Config {
    /// Addresses that clients connect to.
    pub listeners: Vec<Listener>,
    /// The admin listener: metrics and the admin API. Absent: there is none.
    pub admin: Option<Admin>,
    /// What one process may hold at once.
    pub limits: Limits,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// Threads that carry traffic, 1 to 1024. Absent: one for each core.
    #[schemars(range(min = 1, max = 1024))]
    pub shards: Option<usize>,
    /// Serve LLM routes to callers without a key. Off unless asked for.
    pub allow_anonymous: bool,
    /// Static keys of those who call LLM routes.
    pub callers: Vec<Caller>,
    /// LLM providers by name.
    pub providers: IndexMap<String, Provider>,
    /// Which providers serve which model names. Empty: every provider serves any model.
    pub models: Vec<Model>,
    /// Named groups of endpoints for plain proxy routes.
    pub upstreams: IndexMap<String, Upstream>,
    /// Where requests go. Empty, with providers: `/v1/` goes to the LLM relay.
    pub routes: Vec<Route>,
    /// Repeating failed attempts at LLM providers.
    pub retry: Retry,
    /// How names become addresses.
    pub resolver: Resolver,
    /// What is logged and how.
    pub log: Log,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listeners: vec![Listener::default()],
            admin: None,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            shards: None,
            allow_anonymous: false,
            callers: Vec::new(),
            providers: IndexMap::new(),
            models: Vec::new(),
            upstreams: IndexMap::new(),
            routes: Vec::new(),
            retry: Retry::default(),
            resolver: Resolver::default(),
            log: Log::default(),
        }
    }
}

/// What one process may hold at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Limits {
    /// Client connections.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub connections: u32,
    /// Requests in flight.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests: u32,
    /// Those who wait for a place among the requests in flight.
    pub queue: Queue,
    /// Memory of the process, 64MiB to 16TiB.
    pub memory: ByteSize,
    /// A request's or reply's head, 4KiB to 64KiB.
    pub head: ByteSize,
    /// A request's body, up to 16GiB.
    pub body: ByteSize,
    /// Bytes held for one stream at most, 1KiB to 16MiB.
    pub stream_buffer: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            requests: 1_000,
            queue: Queue::default(),
            memory: ByteSize::gib(2),
            head: ByteSize::kib(16),
            body: ByteSize::mib(64),
            stream_buffer: ByteSize::kib(16),
        }
    }
}

/// The bounded queue before the requests in flight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Queue {
    /// Waiters at most; 0 refuses at once.
    #[schemars(range(max = 1_000_000))]
    pub size: u32,
    /// The longest wait before a polite refusal.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub wait: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Self { size: 500, wait: Duration::from_secs(2) }
    }
}

/// Deadlines. Each is at most 24h; all but `heartbeat` and `drain` are more than zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Timeouts {
    /// From the first byte of a request's head to its last.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub head: Duration,
    /// Between two reads of a request's body.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub body: Duration,
    /// How long an idle client connection is kept.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub keep_alive: Duration,
    /// A client's TLS handshake, from its first byte to its end.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub tls_handshake: Duration,
    /// Connecting to an endpoint, TLS and egress proxy included.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub connect: Duration,
    /// From a request sent upstream to the first byte of its streamed reply.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub first_token: Duration,
    /// Between two reads of a streamed reply.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub between_tokens: Duration,
    /// A whole exchange that is not a stream.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub request: Duration,
    /// A whole streamed exchange.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub stream: Duration,
    /// How long a client may take nothing of a reply that is ready for it.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub write_stall: Duration,
    /// Silence in an event stream before a heartbeat is sent to the client; 0 sends none.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub heartbeat: Duration,
    /// How long exchanges in flight may take to end after a stop was asked for.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub drain: Duration,
    /// Silence in both directions of a WebSocket or TCP connection before it is closed.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub tunnel: Duration,
    /// How long an idle connection to an endpoint is kept for reuse.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub upstream_idle: Duration,
    /// How long exchanges in flight may go on in the old process after a binary upgrade.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub upgrade: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            body: Duration::from_mins(1),
            keep_alive: Duration::from_secs(75),
            tls_handshake: Duration::from_secs(10),
            connect: Duration::from_secs(5),
            first_token: Duration::from_mins(1),
            between_tokens: Duration::from_mins(1),
            request: Duration::from_mins(2),
            stream: Duration::from_mins(15),
            write_stall: Duration::from_secs(30),
            heartbeat: Duration::from_secs(15),
            drain: Duration::from_secs(30),
            tunnel: Duration::from_hours(1),
            upstream_idle: Duration::from_mins(1),
            upgrade: Duration::from_hours(1),
        }
    }
}

/// What is logged and how. Bodies are never logged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Log {
    /// The least important level that is written.
    pub level: LogLevel,
    /// One line of text or one JSON object for each record.
    pub format: LogFormat,
}

/// Importance of a log record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Something failed that should not.
    Error,
    /// Something an operator should look at.
    Warn,
    /// Starts, stops, reloads.
    #[default]
    Info,
    /// Decisions.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// Every level, most important first.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Shape of a log record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object on a line.
    Json,
}

impl LogFormat {
    /// Both formats.
    pub const ALL: [Self; 2] = [Self::Text, Self::Json];

    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}
