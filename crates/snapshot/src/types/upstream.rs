//! Compiled upstreams: groups of endpoints and how each is called.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tidegate_policy::balance::Algorithm;

use super::{Provider, Timeouts};
use crate::live::{EndpointLive, Name};
use crate::series::{Counter, PerShard};

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
