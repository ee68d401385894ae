//! Live state that outlives snapshots: gauges, endpoint health, resolved names, series by identity.

mod balancing;
mod health;
mod queue;
mod rates;
mod upstream;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_utils::CachePadded;

pub use health::{EndpointHealth, Phase};
pub use queue::QueueLive;
pub use rates::RateTable;
pub use upstream::UpstreamLive;

use crate::series::{EndpointCell, ModelCell, PerShard, RouteCell, ShardCell, TcpCell};
use crate::tls::TlsKept;

/// What an identity-keyed table holds at most, so that reloads cannot grow it without bound.
pub const SERIES_MAX: usize = 10_000;

/// Process-wide gauges. Each sits on its own cache line: shards write them per request.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Client connections open.
    pub connections: CachePadded<AtomicUsize>,
    /// Exchanges in flight.
    pub in_flight: CachePadded<AtomicUsize>,
    /// TCP connections open. They take no place among the exchanges.
    pub tcp: CachePadded<AtomicUsize>,
    /// Exchanges waiting for admission.
    pub waiting: CachePadded<AtomicUsize>,
    /// Request-body bytes held for routing and replay.
    pub buffered: CachePadded<AtomicU64>,
    /// Resident bytes of the process, sampled by the control plane.
    pub memory: CachePadded<AtomicU64>,
    /// Exchanges that ended in the last second, sampled by the control plane.
    pub ended_per_second: AtomicU64,
    /// Shutting down: no new work is wanted.
    pub draining: AtomicBool,
    /// When idle connections begin to close ([`Live::now_ms`]) and how long they take (ms).
    drain: (AtomicU64, AtomicU64),
}

/// Idle connections that a shutdown closes per second: all at once, their clients would come back
/// all at once, to whoever is left.
const CLOSED_PER_SECOND: u64 = 10_000;

/// A host name and its addresses of the moment; the control plane keeps them fresh.
#[derive(Debug)]
pub struct Name {
    /// Host name or address literal.
    pub host: String,
    /// Port of the addresses.
    pub port: u16,
    /// Last good answer; empty until there was one.
    pub addresses: ArcSwap<Vec<SocketAddr>>,
    /// Look-ups that failed.
    pub failures: AtomicU64,
}

/// What is known of an endpoint across snapshots.
#[derive(Debug)]
pub struct EndpointLive {
    /// Identity: scheme, authority and egress.
    pub key: String,
    /// Small number for per-shard tables, unique in the process.
    pub id: u32,
    /// Stable hash of the key, for hashing algorithms.
    pub identity: u64,
    /// Attempts in flight over all shards.
    pub in_flight: CachePadded<AtomicU32>,
    /// Whether it takes traffic.
    pub health: EndpointHealth,
    /// Takes nothing new, because somebody said so.
    draining: AtomicBool,
    /// Takes traffic since this time ([`Live::now_ms`]): when it was added or has recovered. A slow
    /// start counts from here.
    pub since_ms: AtomicU64,
    /// Weight in place of the configured one; [`EndpointLive::NO_WEIGHT`] = none.
    weight: AtomicU32,
    /// The last report of its load; 0 = none.
    reported: AtomicU64,
    /// Its peak latency.
    latency: AtomicU64,
    /// Attempts are ended from this time on ([`Live::now_ms`]), because somebody said so; 0 = not.
    pub close_at_ms: AtomicU64,
    /// Counters per shard.
    pub cells: PerShard<EndpointCell>,
}

impl EndpointLive {
    /// Neither ejected, nor probing, nor failing its health check.
    pub fn is_admitting(&self) -> bool {
        self.health.standing().is_admitting()
    }
}

/// Counters of a route, by its identity (host and path).
#[derive(Debug)]
pub struct RouteSeries {
    /// Host and path as written.
    pub name: String,
    /// Counters per shard.
    pub cells: PerShard<RouteCell>,
}

/// Counters of a model, by its configured name.
#[derive(Debug)]
pub struct ModelSeries {
    /// The name in the configuration (patterns count as one).
    pub name: String,
    /// Counters per shard.
    pub cells: PerShard<ModelCell>,
}

/// Counters of a TCP listener, by its configured address.
#[derive(Debug)]
pub struct TcpSeries {
    /// The address as written.
    pub name: String,
    /// Counters per shard.
    pub cells: PerShard<TcpCell>,
}

#[derive(Debug, Default)]
struct Tables {
    endpoints: HashMap<String, Arc<EndpointLive>>,
    names: HashMap<(String, u16), Arc<Name>>,
    routes: HashMap<String, Arc<RouteSeries>>,
    models: HashMap<String, Arc<ModelSeries>>,
    queues: HashMap<String, Arc<QueueLive>>,
    rates: HashMap<String, Arc<RateTable>>,
    pools: HashMap<String, u32>,
    upstreams: HashMap<String, Arc<UpstreamLive>>,
    tcp: HashMap<String, Arc<TcpSeries>>,
    next_id: u32,
}

/// The live state of the process.
#[derive(Debug)]
pub struct Live {
    /// Process-wide gauges.
    pub gauges: Gauges,
    /// Counters of each shard.
    pub shards: PerShard<ShardCell>,
    /// What TLS keeps across reloads.
    pub tls: TlsKept,
    shard_count: usize,
    epoch: Instant,
    // Taken when a snapshot is compiled and when metrics are read, never on the request path.
    tables: Mutex<Tables>,
}

impl Live {
    /// Empty state for `shards` shards.
    pub fn new(shards: usize) -> Arc<Self> {
        Arc::new(Self {
            gauges: Gauges::default(),
            shards: PerShard::new(shards),
            tls: TlsKept::default(),
            shard_count: shards.max(1),
            epoch: Instant::now(),
            tables: Mutex::default(),
        })
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> usize {
        self.shard_count
    }

    /// Milliseconds since the process began: the clock of every deadline.
    pub fn now_ms(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64
    }

    /// When the process began.
    pub fn epoch(&self) -> Instant {
        self.epoch
    }

    /// Begins the shutdown: health turns to 503, connections close after their exchange. Those that
    /// are still idle after `grace` close at a bounded pace: until then each that asks for something
    /// gets its answer and is told to close, and no request crosses a close on its way.
    pub fn begin_drain(&self, grace: Duration) {
        let open = self.gauges.connections.load(Relaxed) as u64;
        let (began, spread) = &self.gauges.drain;
        began.store(self.now_ms() + grace.as_millis() as u64, Relaxed);
        spread.store(open * 1000 / CLOSED_PER_SECOND, Relaxed);
        self.gauges.draining.store(true, Release);
    }

    /// When an idle connection closes in a shutdown ([`Live::now_ms`]); `mark` is a uniformly
    /// random number of that connection. None while there is no shutdown.
    pub fn idle_ends_at(&self, mark: u64) -> Option<u64> {
        let (began, spread) = &self.gauges.drain;
        self.is_draining().then(|| {
            let spread = u128::from(spread.load(Relaxed));
            began.load(Relaxed) + ((u128::from(mark) * spread) >> 64) as u64
        })
    }

    /// Has each idle connection had its turn to close?
    pub fn has_closed_idle(&self) -> bool {
        self.gauges.connections.load(Relaxed) == 0
            || self.idle_ends_at(u64::MAX).is_some_and(|last| last <= self.now_ms())
    }

    /// Is the process shutting down?
    pub fn is_draining(&self) -> bool {
        self.gauges.draining.load(Acquire)
    }

    fn tables(&self) -> std::sync::MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The live state of the endpoint with this identity, made on first use.
    pub fn endpoint(&self, key: &str) -> Arc<EndpointLive> {
        let mut tables = self.tables();
        if let Some(known) = tables.endpoints.get(key) {
            if Arc::strong_count(known) == 1 {
                // No configuration had it any more: it comes back as a new one.
                known.since_ms.store(self.now_ms(), Relaxed);
            }
            return Arc::clone(known);
        }
        tables.next_id += 1;
        let made = Arc::new(EndpointLive {
            key: key.to_owned(),
            id: tables.next_id,
            identity: fnv1a(key.as_bytes()),
            in_flight: CachePadded::default(),
            health: EndpointHealth::new(self.now_ms()),
            draining: AtomicBool::new(false),
            since_ms: AtomicU64::new(self.now_ms()),
            weight: AtomicU32::new(EndpointLive::NO_WEIGHT),
            reported: AtomicU64::new(0),
            latency: AtomicU64::new(0),
            close_at_ms: AtomicU64::new(0),
            cells: PerShard::new(self.shard_count),
        });
        tables.endpoints.insert(key.to_owned(), Arc::clone(&made));
        made
    }

    /// The number of the connection pools with this key; a number is never given twice.
    pub fn pool(&self, key: &str) -> u32 {
        let mut tables = self.tables();
        if let Some(known) = tables.pools.get(key) {
            return *known;
        }
        if tables.pools.len() >= SERIES_MAX {
            // Who comes back gets another number: its old connections grow idle and are closed.
            tables.pools.clear();
        }
        tables.next_id += 1;
        let id = tables.next_id;
        tables.pools.insert(key.to_owned(), id);
        id
    }

    /// The name with this host and port, made on first use; an address literal is its own answer.
    pub fn name(&self, host: &str, port: u16) -> Arc<Name> {
        let mut tables = self.tables();
        let entry = tables.names.entry((host.to_owned(), port)).or_insert_with(|| {
            let literal = host.trim_start_matches('[').trim_end_matches(']').parse();
            let addresses = literal.map(|ip| vec![SocketAddr::new(ip, port)]).unwrap_or_default();
            Arc::new(Name {
                host: host.to_owned(),
                port,
                addresses: ArcSwap::from_pointee(addresses),
                failures: AtomicU64::new(0),
            })
        });
        Arc::clone(entry)
    }

    /// Counters of the route with this identity.
    pub fn route(&self, name: &str) -> Arc<RouteSeries> {
        let mut tables = self.tables();
        let cells = || PerShard::new(self.shard_count);
        let entry = tables
            .routes
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(RouteSeries { name: name.to_owned(), cells: cells() }));
        Arc::clone(entry)
    }

    /// The queue before the endpoints of the upstream with this name.
    pub fn queue(&self, upstream: &str) -> Arc<QueueLive> {
        let mut tables = self.tables();
        let made = || Arc::new(QueueLive::new(upstream, self.shard_count));
        Arc::clone(tables.queues.entry(upstream.to_owned()).or_insert_with(made))
    }

    /// What has been used of the rate limit with this identity. `one`: there is only one key.
    pub fn rates(&self, limit: &str, one: bool) -> Arc<RateTable> {
        let mut tables = self.tables();
        let made = || Arc::new(RateTable::new(one, self.epoch));
        Arc::clone(tables.rates.entry(limit.to_owned()).or_insert_with(made))
    }

    /// Counters of the model with this name.
    pub fn model(&self, name: &str) -> Arc<ModelSeries> {
        let mut tables = self.tables();
        let cells = || PerShard::new(self.shard_count);
        let entry = tables
            .models
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(ModelSeries { name: name.to_owned(), cells: cells() }));
        Arc::clone(entry)
    }

    /// What is known of the upstream with this name; a model's group has `model:` before its own.
    pub fn upstream(&self, name: &str) -> Arc<UpstreamLive> {
        let mut tables = self.tables();
        let entry = tables
            .upstreams
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(UpstreamLive::new(name, self.shard_count)));
        Arc::clone(entry)
    }

    /// Counters of the TCP listener with this configured address.
    pub fn tcp(&self, name: &str) -> Arc<TcpSeries> {
        let mut tables = self.tables();
        let cells = || PerShard::new(self.shard_count);
        let entry = tables
            .tcp
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(TcpSeries { name: name.to_owned(), cells: cells() }));
        Arc::clone(entry)
    }

    /// Forgets what no snapshot or exchange refers to, once a table holds more than [`SERIES_MAX`].
    pub fn forget_unused(&self) {
        let mut tables = self.tables();
        // Each is half a MiB.
        tables.rates.retain(|_, table| Arc::strong_count(table) > 1);
        if tables.endpoints.len() > SERIES_MAX {
            tables.endpoints.retain(|_, e| Arc::strong_count(e) > 1);
        }
        if tables.names.len() > SERIES_MAX {
            tables.names.retain(|_, n| Arc::strong_count(n) > 1);
        }
        if tables.routes.len() > SERIES_MAX {
            tables.routes.retain(|_, r| Arc::strong_count(r) > 1);
        }
        if tables.queues.len() > SERIES_MAX {
            tables.queues.retain(|_, q| Arc::strong_count(q) > 1);
        }
        if tables.models.len() > SERIES_MAX {
            tables.models.retain(|_, m| Arc::strong_count(m) > 1);
        }
        if tables.upstreams.len() > SERIES_MAX {
            tables.upstreams.retain(|_, u| Arc::strong_count(u) > 1);
        }
        if tables.tcp.len() > SERIES_MAX {
            tables.tcp.retain(|_, t| Arc::strong_count(t) > 1);
        }
    }

    /// Endpoints in use, for metrics and health checks.
    pub fn endpoints(&self) -> Vec<Arc<EndpointLive>> {
        sorted(self.tables().endpoints.values(), |e| e.key.clone())
    }

    /// Names to be kept resolved: those in use that are not address literals.
    pub fn names_in_use(&self) -> Vec<Arc<Name>> {
        let tables = self.tables();
        let in_use = tables.names.values().filter(|n| {
            Arc::strong_count(n) > 1
                && n.host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_err()
        });
        sorted(in_use, |n| (n.host.clone(), n.port))
    }

    /// Routes with counters.
    pub fn routes(&self) -> Vec<Arc<RouteSeries>> {
        sorted(self.tables().routes.values(), |r| r.name.clone())
    }

    /// Queues before endpoints.
    pub fn queues(&self) -> Vec<Arc<QueueLive>> {
        sorted(self.tables().queues.values(), |q| q.upstream.clone())
    }

    /// Upstreams in use.
    pub fn upstreams(&self) -> Vec<Arc<UpstreamLive>> {
        let tables = self.tables();
        let in_use = tables.upstreams.values().filter(|u| Arc::strong_count(u) > 1);
        sorted(in_use, |u| u.name.clone())
    }

    /// TCP listeners with counters.
    pub fn tcp_listeners(&self) -> Vec<Arc<TcpSeries>> {
        sorted(self.tables().tcp.values(), |t| t.name.clone())
    }

    /// Models with counters.
    pub fn models(&self) -> Vec<Arc<ModelSeries>> {
        sorted(self.tables().models.values(), |m| m.name.clone())
    }
}

fn sorted<'t, T: 't, K: Ord>(
    items: impl Iterator<Item = &'t Arc<T>>,
    key: impl Fn(&T) -> K,
) -> Vec<Arc<T>> {
    let mut items: Vec<_> = items.cloned().collect();
    items.sort_by_key(|item| key(item));
    items
}

/// FNV-1a: a small stable hash, for identities only.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_keeps_its_counters_by_identity() {
        let live = Live::new(2);
        live.endpoint("http://a:1").in_flight.store(2, Relaxed);
        assert_eq!(live.endpoint("http://a:1").in_flight.load(Relaxed), 2);
        assert_ne!(live.endpoint("http://b:1").id, live.endpoint("http://a:1").id);
    }

    #[test]
    fn an_address_literal_is_resolved_at_once_and_never_looked_up() {
        let live = Live::new(1);
        let v4 = live.name("127.0.0.1", 80);
        let v6 = live.name("[::1]", 443);
        assert_eq!(v4.addresses.load()[0], "127.0.0.1:80".parse().unwrap());
        assert_eq!(v6.addresses.load()[0], "[::1]:443".parse().unwrap());
        assert!(live.names_in_use().is_empty());
        let _held = live.name("example.com", 443);
        assert_eq!(live.names_in_use().len(), 1);
    }
}
