//! The compiled configuration: what the data plane reads per request, with every name resolved.

mod edge;
mod listener;
mod llm;
mod route;
mod tcp;
mod upstream;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_config::Config;
use tidegate_policy::admission::AdmissionLimits;
use tidegate_policy::retry::{BudgetLimits, RetryPolicy};
use tidegate_policy::route::RouteTable;

pub use edge::{Edge, Limit};
pub use listener::Listener;
pub use llm::{Model, Models, Provider};
pub use route::{
    Changes, Destination, FieldEdits, Mirror, Redirect, Route, RouteTimeouts, Split, StaticReply,
};
pub use tcp::{ServerNames, TcpTarget};
pub use upstream::{
    Breaker, Egress, EgressKind, Endpoint, EndpointQueue, Group, GroupHealth, Member, TlsTarget,
    Traffic,
};
pub use upstream::{Protocol, ProxyHeader};

use crate::callers::Callers;

/// The configuration in force. Immutable; swapped whole.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts up with every reload, from 1.
    pub generation: u64,
    /// What it was compiled from.
    pub config: Arc<Config>,
    /// Addresses to listen on and what is spoken there.
    pub listeners: Vec<Arc<Listener>>,
    /// Files that could not be read anew, so that what they held before stays. For the log.
    pub complaints: Vec<String>,
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
    /// Upstreams by name.
    pub upstreams: HashMap<String, Arc<Group>>,
    /// Model names to groups of providers.
    pub models: Models,
    /// How often and how patiently an attempt is repeated.
    pub retry: RetryPolicy,
    /// Statuses of an upstream's reply after which another endpoint is asked.
    pub retry_on: Vec<u16>,
    /// How many repeats the traffic allows.
    pub retry_budget: BudgetLimits,
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
    /// A client's TLS handshake.
    pub tls_handshake: u64,
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
    /// Silence in both directions of a tunnel.
    pub tunnel: u64,
    /// Idle pooled connection.
    pub upstream_idle: u64,
    /// What is in flight in the old process after a binary upgrade.
    pub upgrade: u64,
}

impl Snapshot {
    /// The listener with this configured address.
    pub fn listener(&self, bind: SocketAddr) -> Option<&Arc<Listener>> {
        self.listeners.iter().find(|listener| listener.bind == bind)
    }
}
