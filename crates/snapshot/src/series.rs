//! Counters that one shard writes and the metrics page sums: cells, one per shard.

mod tls;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam_utils::CachePadded;

pub use tls::{TlsCell, TlsFailure};

use crate::reason::Reason;

/// A counter with one writer (its shard) and any number of readers.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owning shard may call this: it is a plain load and store, no lock prefix.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The value now.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One counter for each [`Reason`], at the index `reason as usize`.
#[derive(Debug)]
pub struct ByReason([Counter; Reason::COUNT]);

impl Default for ByReason {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl std::ops::Deref for ByReason {
    type Target = [Counter; Reason::COUNT];
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// A number that goes up and down, with one writer (its shard) and any number of readers.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// One more. Only the owning shard may call this.
    pub fn up(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// One less. Only the owning shard may call this.
    pub fn down(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(1), Relaxed);
    }

    /// The value now.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of the latency buckets, in seconds; one more bucket has no bound.
pub const LATENCY_BOUNDS: [f64; 17] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    120.0, 300.0,
];

const LATENCY_BOUNDS_US: [u64; 17] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
];

/// A latency histogram over [`LATENCY_BOUNDS`].
#[derive(Debug, Default)]
pub struct Latency {
    buckets: [Counter; 18],
    sum_us: Counter,
}

impl Latency {
    /// Counts one observation, in microseconds.
    pub fn observe_us(&self, us: u64) {
        let bucket = LATENCY_BOUNDS_US.iter().take_while(|bound| us > **bound).count();
        if let Some(counter) = self.buckets.get(bucket) {
            counter.add(1);
        }
        self.sum_us.add(us);
    }

    /// Counts per bucket (not cumulated) and the sum in seconds.
    pub fn totals(&self) -> ([u64; 18], f64) {
        (std::array::from_fn(|i| self.buckets[i].value()), self.sum_us.value() as f64 / 1e6)
    }
}

/// One cell per shard.
#[derive(Debug)]
pub struct PerShard<T>(Box<[CachePadded<T>]>);

impl<T: Default> PerShard<T> {
    /// Zeroed cells for `shards` shards.
    pub fn new(shards: usize) -> Self {
        Self((0..shards.max(1)).map(|_| CachePadded::new(T::default())).collect())
    }
}

impl<T> PerShard<T> {
    /// The cell of one shard. Shard numbers are 0..shards, so that the fallback is never taken.
    pub fn of(&self, shard: usize) -> &T {
        self.0.get(shard).unwrap_or(&self.0[0])
    }

    /// All cells, for summing.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|padded| &**padded)
    }
}

/// Counters of a route.
#[derive(Debug, Default)]
pub struct RouteCell {
    /// Replies by status class: index 0 is 1xx … 4 is 5xx, 5 is "no reply was possible".
    pub replies: [Counter; 6],
    /// Duration of whole exchanges.
    pub duration: Latency,
    /// Body bytes to callers.
    pub reply_bytes: Counter,
}

/// Counters of a TCP listener.
#[derive(Debug, Default)]
pub struct TcpCell {
    /// Connections that came.
    pub connections: Counter,
    /// Bytes from callers to endpoints.
    pub received_bytes: Counter,
    /// Bytes from endpoints to callers.
    pub sent_bytes: Counter,
}

/// Counters of an endpoint.
#[derive(Debug, Default)]
pub struct EndpointCell {
    /// Attempts begun.
    pub attempts: Counter,
    /// Attempts on a connection that was reused.
    pub reused: Counter,
    /// Connections opened.
    pub connects: Counter,
    /// Failed attempts by reason.
    pub failures: ByReason,
}

/// Counters of the queue before an upstream's endpoints.
#[derive(Debug, Default)]
pub struct QueueCell {
    /// Exchanges that waited because every usable endpoint was at its cap.
    pub queued: Counter,
    /// Those of them that were refused because the wait took too long.
    pub timeouts: Counter,
    /// Exchanges refused at once: no queue, or no place in it.
    pub refused: Counter,
}

/// Counters of a model.
#[derive(Debug, Default)]
pub struct ModelCell {
    /// Exchanges that were routed by this model.
    pub requests: Counter,
    /// Tokens in, cached ones included.
    pub input_tokens: Counter,
    /// Tokens in that the provider had cached.
    pub cached_tokens: Counter,
    /// Tokens out.
    pub output_tokens: Counter,
    /// Exchanges that ended well and whose usage could not be read.
    pub usage_unknown: Counter,
    /// Time to the first byte of the reply body.
    pub first_token: Latency,
}

/// Counters of a shard as a whole.
#[derive(Debug, Default)]
pub struct ShardCell {
    /// Exchanges begun (built-in endpoints not counted).
    pub requests: Counter,
    /// Exchanges that ended with a status of 500 and more, or without a reply through no fault of
    /// the caller.
    pub errors: Counter,
    /// Exchanges that ended, by reason, other than well.
    pub ended: ByReason,
    /// Connections accepted.
    pub accepted: Counter,
    /// Accepts that failed (out of files, mostly).
    pub accept_errors: Counter,
    /// TLS handshakes.
    pub tls: TlsCell,
    /// Connections that did not begin with a usable PROXY protocol header, where one is required.
    pub proxy_protocol_refused: Counter,
    /// Attempts after the first.
    pub retries: Counter,
    /// Retries not made because the budget was empty.
    pub retries_denied: Counter,
    /// Times that too few endpoints of an upstream admitted, so that health was ignored.
    pub panics: Counter,
    /// Second attempts beside one that was slow.
    pub hedges: Counter,
    /// Second attempts that answered first.
    pub hedges_won: Counter,
    /// WebSocket connections that began.
    pub websockets: Counter,
    /// Bytes of WebSocket connections from callers to endpoints.
    pub websocket_received_bytes: Counter,
    /// Bytes of WebSocket connections from endpoints to callers.
    pub websocket_sent_bytes: Counter,
    /// Bytes that went through the kernel's pipes instead of our memory.
    pub spliced_bytes: Counter,
    /// Heartbeats written into silent streams.
    pub heartbeats: Counter,
    /// Replies compressed on their way.
    pub compressed: Counter,
    /// Client connections that speak HTTP/2, now.
    pub h2_connections: Gauge,
    /// Their streams, now.
    pub h2_streams_open: Gauge,
    /// Their streams, begun.
    pub h2_streams: Counter,
    /// Their streams that the caller has reset.
    pub h2_resets: Counter,
    /// GOAWAY sent because a connection was idle or the process drains.
    pub h2_goaways: Counter,
    /// HTTP/2 connections closed because the caller stirred too much (ENHANCE_YOUR_CALM).
    pub h2_calmed: Counter,
    /// Copies of requests that a mirror took.
    pub mirrors_sent: Counter,
    /// Copies not made: too many at once, no endpoint, or a body too long or broken off.
    pub mirrors_dropped: Counter,
    /// Copies that a mirror did not take.
    pub mirrors_failed: Counter,
    /// Tasks alive now (set by the shard, not summed up).
    pub tasks: AtomicU64,
    /// WebSocket connections open now.
    pub websockets_open: AtomicU64,
    /// Pipes in use and in stock now.
    pub pipes: AtomicU64,
    /// Idle pooled upstream connections now.
    pub pool_idle: AtomicU64,
    /// Connections of HTTP/2 to endpoints now.
    pub upstream_http2_connections: AtomicU64,
    /// Streams on them now.
    pub upstream_http2_streams: AtomicU64,
    /// Buffers lent out now.
    pub buffers_lent: AtomicU64,
    /// How late the shard's clock tick was, worst of the last second, in microseconds.
    pub lag_us: AtomicU64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_lands_in_the_bucket_of_its_upper_bound() {
        let latency = Latency::default();
        latency.observe_us(1_000);
        latency.observe_us(1_001);
        latency.observe_us(u64::from(u32::MAX));
        let (buckets, sum) = latency.totals();
        assert_eq!((buckets[0], buckets[1], buckets[17]), (1, 1, 1));
        assert!(sum > 4294.0);
    }

    #[test]
    fn both_bound_tables_say_the_same() {
        for (seconds, us) in LATENCY_BOUNDS.iter().zip(LATENCY_BOUNDS_US) {
            assert!((seconds * 1e6 - us as f64).abs() < 0.5);
        }
    }
}
