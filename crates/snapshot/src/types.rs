//! The compiled configuration: what the data plane reads per request, with every name resolved.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use memchr::memmem::Finder;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tidegate_config::Config;
use tidegate_dialect::Dialect;
use tidegate_policy::admission::AdmissionLimits;
use tidegate_policy::balance::Algorithm;
use tidegate_policy::health::CooldownPolicy;
use tidegate_policy::retry::{BudgetLimits, RetryPolicy};
use tidegate_policy::route::RouteTable;

use crate::callers::Callers;
use crate::live::{EndpointLive, ModelSeries, Name, RouteSeries};
use crate::series::{Counter, PerShard};

/// The configuration in force. Immutable; swapped whole.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts up with every reload, from 1.
    pub generation: u64,
    /// What it was compiled from.
    pub config: Arc<Config>,
    /// Addresses to listen on.
    pub binds: Vec<SocketAddr>,
    /// What may be held at once.
    pub limits: Limits,
    /// Deadlines, where an endpoint has none of its own.
    pub timeouts: Timeouts,
    /// Static keys.
    pub callers: Callers,
    /// May LLM routes be used without a key?
    pub allow_anonymous: bool,
    /// Host and path to an index of `routes`.
    pub route_table: RouteTable,
    /// Routes as written.
    pub routes: Vec<Arc<Route>>,
    /// Model names to groups of providers.
    pub models: Models,
    /// How often and how patiently an attempt is repeated.
    pub retry: RetryPolicy,
    /// How many repeats the traffic allows.
    pub retry_budget: BudgetLimits,
    /// When a failing endpoint is left alone.
    pub cooldown: CooldownPolicy,
}

/// Limits in the units of the gauges that they bound.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Client connections.
    pub connections: usize,
    /// Exchanges in flight, waiting, and memory of the process.
    pub admission: AdmissionLimits,
    /// Longest wait for admission, in ms.
    pub queue_wait_ms: u64,
    /// Bytes of a request or reply head.
    pub head: usize,
    /// Bytes of a request body.
    pub body: u64,
    /// Bytes held back per stream at most.
    pub stream_buffer: usize,
}

/// Deadlines in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// First to last byte of a request head.
    pub head: u64,
    /// Between two reads of a request body.
    pub body: u64,
    /// Idle client connection.
    pub keep_alive: u64,
    /// TCP, egress and TLS handshakes together.
    pub connect: u64,
    /// Request sent to first byte of a streamed reply.
    pub first_token: u64,
    /// Between two reads of a reply.
    pub between_tokens: u64,
    /// A whole exchange that is not a stream.
    pub request: u64,
    /// A whole streamed exchange.
    pub stream: u64,
    /// A reply that the caller does not take.
    pub write_stall: u64,
    /// Silence before a heartbeat; 0 = none.
    pub heartbeat: u64,
    /// Shutdown grace.
    pub drain: u64,
    /// Idle pooled connection.
    pub upstream_idle: u64,
}

/// A match and where it leads.
#[derive(Debug)]
pub struct Route {
    /// Where requests go.
    pub to: Destination,
    /// Counters.
    pub series: Arc<RouteSeries>,
}

/// Where a route leads.
#[derive(Debug)]
pub enum Destination {
    /// The LLM relay: the model in the body picks the group.
    Llm,
    /// A group of web endpoints.
    Upstream(Arc<Group>),
}

/// Endpoints that can take each other's place.
#[derive(Debug)]
pub struct Group {
    /// Name in the configuration: an upstream's, or a model's.
    pub name: String,
    /// How plain requests are spread.
    pub http: Algorithm,
    /// How event streams are spread.
    pub sse: Algorithm,
    /// Members, at most [`Group::MEMBERS_MAX`].
    pub members: Vec<Member>,
    /// Picks made, per shard: the turns of algorithms that go round.
    pub turns: PerShard<Counter>,
}

impl Group {
    /// A set of tried members fits into 64 bits.
    pub const MEMBERS_MAX: usize = 64;
}

/// One endpoint in a group.
#[derive(Debug)]
pub struct Member {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Share of the traffic.
    pub weight: u32,
    /// Tier, lower first.
    pub priority: u32,
    /// The model's name there, where it differs from the caller's.
    pub model: Option<String>,
}

/// One address that we call.
#[derive(Debug)]
pub struct Endpoint {
    /// State across snapshots.
    pub live: Arc<EndpointLive>,
    /// Where to connect, unless an egress proxy does it for us.
    pub name: Arc<Name>,
    /// TLS, for https.
    pub tls: Option<TlsTarget>,
    /// Value of the Host field: authority without the scheme's default port.
    pub authority: String,
    /// Egress proxy.
    pub egress: Option<Egress>,
    /// Attempts in flight at most, over all shards.
    pub connections_max: u32,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// What only LLM providers have.
    pub provider: Option<Provider>,
}

/// How to speak TLS to an endpoint.
#[derive(Clone)]
pub struct TlsTarget {
    /// Roots, versions, session cache.
    pub config: Arc<ClientConfig>,
    /// Name to verify and to send as SNI.
    pub server_name: ServerName<'static>,
}

impl std::fmt::Debug for TlsTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TlsTarget").field(&self.server_name).finish()
    }
}

/// A proxy on the way out.
#[derive(Clone)]
pub struct Egress {
    /// The protocol it speaks.
    pub kind: EgressKind,
    /// Where it is.
    pub name: Arc<Name>,
    /// User and password.
    pub credentials: Option<(String, String)>,
}

impl std::fmt::Debug for Egress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Egress").field("kind", &self.kind).field("name", &self.name).finish()
    }
}

/// Protocols of egress proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EgressKind {
    /// HTTP CONNECT (RFC 9110 section 9.3.6).
    HttpConnect,
    /// SOCKS version 5 (RFC 1928); names are resolved by the proxy.
    Socks5,
}

/// What an endpoint needs to be an LLM provider.
pub struct Provider {
    /// Name in the configuration.
    pub name: String,
    /// What it speaks.
    pub dialect: Dialect,
    /// Path part of the base URL, without a slash at the end.
    pub base_path: String,
    /// The key field of every request, ready to send (`Authorization: Bearer …\r\n`); empty without a key.
    pub key_field: Vec<u8>,
    /// Finds the key in what comes back, where it is masked. None for keys under
    /// [`Provider::MASKED_KEY_MIN`] bytes.
    pub key: Option<Finder<'static>>,
    /// Additional fields, ready to send, each line ending in CRLF.
    pub fields: Vec<u8>,
    /// Lower-case names of those fields: the caller's own of that name are not forwarded.
    pub field_names: Vec<String>,
}

impl Provider {
    /// Shorter keys are placeholders for local servers; words of a reply might equal them.
    pub const MASKED_KEY_MIN: usize = 8;
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider")
            .field("name", &self.name)
            .field("dialect", &self.dialect)
            .finish()
    }
}

/// A model name and the providers behind it.
#[derive(Debug)]
pub struct Model {
    /// Name or pattern as written.
    pub name: String,
    /// The group of providers for each dialect that callers may use.
    pub groups: Vec<(Dialect, Arc<Group>)>,
    /// Counters.
    pub series: Arc<ModelSeries>,
}

impl Model {
    /// The providers that can serve callers of this dialect.
    pub fn group(&self, dialect: Dialect) -> Option<&Arc<Group>> {
        self.groups.iter().find(|(d, _)| *d == dialect).map(|(_, group)| group)
    }
}

/// Model names: exact ones, then prefixes (longest first), then the wildcard (a prefix of length 0).
#[derive(Debug, Default)]
pub struct Models {
    /// Exact names.
    pub exact: HashMap<String, Arc<Model>>,
    /// `(prefix, model)`, longest first.
    pub prefixes: Vec<(String, Arc<Model>)>,
    /// Exact names in the order written, for `GET /v1/models`.
    pub listed: Vec<Arc<Model>>,
    /// Where calls without a model go (files, batches, …): the wildcard, or all providers.
    pub default: Option<Arc<Model>>,
}

impl Models {
    /// The model that a name selects.
    pub fn find(&self, name: &str) -> Option<&Arc<Model>> {
        self.exact.get(name).or_else(|| {
            self.prefixes
                .iter()
                .find(|(prefix, _)| name.starts_with(prefix.as_str()))
                .map(|(_, m)| m)
        })
    }
}
