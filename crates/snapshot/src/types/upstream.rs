//! Compiled upstreams: groups of endpoints and how each is called.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tidegate_config::HashBy;
use tidegate_policy::balance::slow_start::ramp;
use tidegate_policy::balance::{Algorithm, Candidate, Law, MEMBERS_MAX, MaglevTable};
use tidegate_policy::health::OutlierPolicy;

use super::{Provider, Timeouts};
use crate::live::{EndpointLive, Name, QueueLive, UpstreamLive};
use crate::series::{Counter, PerShard};

/// Endpoints that can take each other's place.
#[derive(Debug)]
pub struct Group {
    /// Name in the configuration: an upstream's, or a model's.
    pub name: String,
    /// How plain requests are spread.
    pub http: Algorithm,
    /// How tunnels are spread: WebSocket and TCP connections.
    pub websocket: Algorithm,
    /// How event streams are spread.
    pub sse: Algorithm,
    /// What is hashed, for the algorithms that hash.
    pub hash_by: HashBy,
    /// Bounded load in hundredths of the fair share, for the algorithms that hash.
    pub bound: Option<u32>,
    /// The table of Maglev, where one of the algorithms is that.
    pub maglev: Option<MaglevTable>,
    /// How long an endpoint takes to get its full share, in ms; 0: no time.
    pub slow_start_ms: u64,
    /// Who waits while every usable member is at its cap.
    pub queue: Option<EndpointQueue>,
    /// Members, at most [`Group::MEMBERS_MAX`].
    pub members: Vec<Member>,
    /// Picks made, per shard: the turns of algorithms that go round.
    pub turns: PerShard<Counter>,
    /// State across snapshots.
    pub live: Arc<UpstreamLive>,
    /// When its health makes it leave out whom.
    pub health: GroupHealth,
}

/// How a group treats members that fail.
#[derive(Debug, Clone)]
pub struct GroupHealth {
    /// When a member is ejected, and for how long.
    pub outlier: OutlierPolicy,
    /// Health is ignored below this percentage of members that admit; 0: when none does.
    pub panic_threshold: u32,
    /// When the whole group rests.
    pub breaker: Option<Breaker>,
}

/// When a whole group rests.
#[derive(Debug, Clone, Copy)]
pub struct Breaker {
    /// Exchanges in flight at most, over all shards.
    pub requests: u32,
    /// When it opens, and for how long.
    pub opens: OutlierPolicy,
}

/// The queue before endpoints that are at their cap.
#[derive(Debug, Clone)]
pub struct EndpointQueue {
    /// Exchanges that may wait, over all shards.
    pub size: usize,
    /// The longest wait, in ms.
    pub wait_ms: u64,
    /// Who waits now; outlives snapshots.
    pub live: Arc<QueueLive>,
}

/// Kinds of traffic that may be balanced in different ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Plain requests.
    Http,
    /// WebSocket connections.
    WebSocket,
    /// Event streams.
    Sse,
}

impl Group {
    /// A set of tried members fits into 64 bits.
    pub const MEMBERS_MAX: usize = MEMBERS_MAX;

    /// How this kind of traffic is spread.
    pub fn law(&self, traffic: Traffic) -> Law<'_> {
        let algorithm = match traffic {
            Traffic::Http => self.http,
            Traffic::WebSocket => self.websocket,
            Traffic::Sse => self.sse,
        };
        Law { algorithm, bound: self.bound, maglev: self.maglev.as_ref() }
    }

    /// What balancing sees of a member at `now_ms`.
    pub fn candidate(&self, algorithm: Algorithm, index: usize, now_ms: u64) -> Candidate {
        let Some(member) = self.members.get(index) else { return Candidate::NOBODY };
        let live = &*member.endpoint.live;
        let in_flight = live.in_flight.load(Relaxed);
        Candidate {
            weight: live.weight().unwrap_or(member.weight),
            ramp: match self.slow_start_ms {
                0 => 100,
                slow_start => ramp(live.since_ms.load(Relaxed), now_ms, slow_start),
            },
            priority: member.priority,
            local: member.local,
            in_flight,
            latency_us: match algorithm {
                Algorithm::PeakEwma => live.latency_us(now_ms),
                _ => 0.0,
            },
            busy: match algorithm {
                Algorithm::Performance => live.busy(now_ms),
                _ => None,
            },
            identity: live.identity,
            draining: member.draining || live.is_draining(),
            full: in_flight >= member.endpoint.connections_max,
            admitting: live.is_admitting(),
        }
    }
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
    /// Stands in our zone.
    pub local: bool,
    /// Takes nothing new, says the configuration.
    pub draining: bool,
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
    /// The Unix socket to connect to instead; an abstract one begins with a zero byte.
    pub unix: Option<Box<Path>>,
    /// Key of the connection pools: endpoints share connections only if these are opened in the
    /// same way. See [`crate::Live::pool`].
    pub pool: u32,
    /// The version of HTTP that it speaks.
    pub protocol: Protocol,
    /// The PROXY header that begins each connection.
    pub proxy_header: Option<ProxyHeader>,
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

/// The version of HTTP that an endpoint speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 on every connection.
    Http2,
    /// Whichever the endpoint chooses by ALPN.
    Negotiated,
}

/// The version of a PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// One line of text.
    V1,
    /// Binary.
    V2,
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
