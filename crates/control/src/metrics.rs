//! The metrics page: the cells that shards write, summed and named when somebody asks.

mod family;
mod names;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;
use tidegate_snapshot::live::{Live, Phase};
use tidegate_snapshot::series::{Counter, Gauge, Latency, PerShard, ShardCell, TlsFailure};
use tidegate_snapshot::{Reason, Shared, Snapshot};

use crate::process;
use family::{Row, Value, put};

/// The media type of the page: OpenMetrics 1.0, which Prometheus reads since 2.5.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Status classes in the order of `RouteCell::replies`.
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];

/// Writes the page.
pub(crate) struct MetricsPage {
    registry: Registry,
}

impl MetricsPage {
    /// The page of these counters.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Cells { shared }));
        Self { registry }
    }

    /// The page as of now.
    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut page = String::with_capacity(32 * 1024);
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

#[derive(Debug)]
struct Cells {
    shared: Arc<Shared>,
}

impl Collector for Cells {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let live = &self.shared.live;
        let snapshot = self.shared.snapshot.load_full();
        exchanges(&mut encoder, live)?;
        routes(&mut encoder, live)?;
        tunnels(&mut encoder, live)?;
        models(&mut encoder, live)?;
        endpoints(&mut encoder, live)?;
        gauges(&mut encoder, live, &snapshot)?;
        shards(&mut encoder, live)?;
        process(&mut encoder, live, &snapshot)
    }
}

fn sum<T>(cells: &PerShard<T>, read: impl Fn(&T) -> &Counter) -> u64 {
    cells.iter().map(|cell| read(cell).value()).sum()
}

fn latency<T>(cells: &PerShard<T>, read: impl Fn(&T) -> &Latency) -> Value {
    let zero = Value::Latency { counts: [0; 18], sum: 0.0 };
    cells.iter().fold(zero, |total, cell| {
        let (counts, sum) = read(cell).totals();
        total.plus(&Value::Latency { counts, sum })
    })
}

fn exchanges(encoder: &mut DescriptorEncoder<'_>, live: &Live) -> fmt::Result {
    let total = |read: fn(&ShardCell) -> &Counter| Row::alone(sum(&live.shards, read));
    let ended = Reason::ALL.map(|reason| {
        let count = live.shards.iter().filter_map(|cell| cell.ended.get(reason as usize));
        Row::of(reason.as_str(), count.map(Counter::value).sum::<u64>())
    });
    put(encoder, &names::ENDED, ended)?;
    put(encoder, &names::ACCEPTED, [total(|cell| &cell.accepted)])?;
    put(encoder, &names::ACCEPT_ERRORS, [total(|cell| &cell.accept_errors)])?;
    put(
        encoder,
        &names::TLS_HANDSHAKES,
        [
            Row::of("full", sum(&live.shards, |cell| &cell.tls.full)),
            Row::of("resumed", sum(&live.shards, |cell| &cell.tls.resumed)),
        ],
    )?;
    let failures = TlsFailure::ALL.map(|failure| {
        let count = live.shards.iter().filter_map(|cell| cell.tls.failures.get(failure as usize));
        Row::of(failure.as_str(), count.map(Counter::value).sum::<u64>())
    });
    put(encoder, &names::TLS_FAILURES, failures)?;
    put(encoder, &names::PROXY_PROTOCOL_REFUSED, [total(|cell| &cell.proxy_protocol_refused)])?;
    put(encoder, &names::RETRIES, [total(|cell| &cell.retries)])?;
    put(encoder, &names::RETRIES_DENIED, [total(|cell| &cell.retries_denied)])?;
    put(encoder, &names::HEDGES, [total(|cell| &cell.hedges)])?;
    put(encoder, &names::HEDGES_WON, [total(|cell| &cell.hedges_won)])?;
    put(encoder, &names::PANICS, [total(|cell| &cell.panics)])?;
    put(encoder, &names::HEARTBEATS, [total(|cell| &cell.heartbeats)])?;
    put(encoder, &names::COMPRESSED, [total(|cell| &cell.compressed)])?;
    let now = |read: fn(&ShardCell) -> &Gauge| {
        Row::alone(live.shards.iter().map(|cell| read(cell).value()).sum::<u64>())
    };
    put(encoder, &names::H2_CONNECTIONS, [now(|cell| &cell.h2_connections)])?;
    put(encoder, &names::H2_STREAMS_OPEN, [now(|cell| &cell.h2_streams_open)])?;
    put(encoder, &names::H2_STREAMS, [total(|cell| &cell.h2_streams)])?;
    put(encoder, &names::H2_RESETS, [total(|cell| &cell.h2_resets)])?;
    put(encoder, &names::H2_GOAWAYS, [total(|cell| &cell.h2_goaways)])?;
    put(encoder, &names::H2_CALMED, [total(|cell| &cell.h2_calmed)])?;
    let mirrored =
        |result, read: fn(&ShardCell) -> &Counter| Row::of(result, sum(&live.shards, read));
    let mirrored = [
        mirrored("sent", |cell| &cell.mirrors_sent),
        mirrored("dropped", |cell| &cell.mirrors_dropped),
        mirrored("failed", |cell| &cell.mirrors_failed),
    ];
    put(encoder, &names::MIRRORED, mirrored)
}

fn routes(encoder: &mut DescriptorEncoder<'_>, live: &Live) -> fmt::Result {
    let routes = live.routes();
    let replies = routes.iter().flat_map(|route| {
        CLASSES.iter().enumerate().map(|(index, class)| {
            let count = route.cells.iter().filter_map(|cell| cell.replies.get(index));
            Row::of_both(&route.name, class, count.map(Counter::value).sum::<u64>())
        })
    });
    put(encoder, &names::REQUESTS, replies)?;
    let durations =
        routes.iter().map(|route| Row::of(&route.name, latency(&route.cells, |c| &c.duration)));
    put(encoder, &names::REQUEST_DURATION, durations)?;
    let bytes =
        routes.iter().map(|route| Row::of(&route.name, sum(&route.cells, |c| &c.reply_bytes)));
    put(encoder, &names::REPLY_BYTES, bytes)
}

fn tunnels(encoder: &mut DescriptorEncoder<'_>, live: &Live) -> fmt::Result {
    let total = |read: fn(&ShardCell) -> &Counter| sum(&live.shards, read);
    put(encoder, &names::WEBSOCKETS, [Row::alone(total(|cell| &cell.websockets))])?;
    let open: u64 = live.shards.iter().map(|cell| cell.websockets_open.load(Relaxed)).sum();
    put(encoder, &names::WEBSOCKETS_OPEN, [Row::alone(open)])?;
    let bytes = [
        Row::of("received", total(|cell| &cell.websocket_received_bytes)),
        Row::of("sent", total(|cell| &cell.websocket_sent_bytes)),
    ];
    put(encoder, &names::WEBSOCKET_BYTES, bytes)?;
    let listeners = live.tcp_listeners();
    let connections =
        listeners.iter().map(|tcp| Row::of(&tcp.name, sum(&tcp.cells, |c| &c.connections)));
    put(encoder, &names::TCP_CONNECTIONS, connections)?;
    let open = live.gauges.tcp.load(Relaxed) as u64;
    put(encoder, &names::TCP_OPEN, [Row::alone(open)])?;
    let bytes = listeners.iter().flat_map(|tcp| {
        [
            Row::of_both(&tcp.name, "received", sum(&tcp.cells, |c| &c.received_bytes)),
            Row::of_both(&tcp.name, "sent", sum(&tcp.cells, |c| &c.sent_bytes)),
        ]
    });
    put(encoder, &names::TCP_BYTES, bytes)?;
    put(encoder, &names::SPLICED_BYTES, [Row::alone(total(|cell| &cell.spliced_bytes))])?;
    let pipes = live.shards.iter().enumerate();
    let pipes = pipes.map(|(shard, cell)| Row::numbered(shard, cell.pipes.load(Relaxed).into()));
    put(encoder, &names::PIPES, pipes)
}

fn models(encoder: &mut DescriptorEncoder<'_>, live: &Live) -> fmt::Result {
    let models = live.models();
    let requests =
        models.iter().map(|model| Row::of(&model.name, sum(&model.cells, |c| &c.requests)));
    put(encoder, &names::MODEL_REQUESTS, requests)?;
    let tokens = models.iter().flat_map(|model| {
        [
            Row::of_both(&model.name, "input", sum(&model.cells, |c| &c.input_tokens)),
            Row::of_both(&model.name, "cached", sum(&model.cells, |c| &c.cached_tokens)),
            Row::of_both(&model.name, "output", sum(&model.cells, |c| &c.output_tokens)),
        ]
    });
    put(encoder, &names::TOKENS, tokens)?;
    let unknown =
        models.iter().map(|model| Row::of(&model.name, sum(&model.cells, |c| &c.usage_unknown)));
    put(encoder, &names::USAGE_UNKNOWN, unknown)?;
    let first =
        models.iter().map(|model| Row::of(&model.name, latency(&model.cells, |c| &c.first_token)));
    put(encoder, &names::FIRST_TOKEN, first)
}

fn endpoints(encoder: &mut DescriptorEncoder<'_>, live: &Live) -> fmt::Result {
    let endpoints = live.endpoints();
    let attempts = endpoints.iter().map(|e| Row::of(&e.key, sum(&e.cells, |c| &c.attempts)));
    put(encoder, &names::UPSTREAM_ATTEMPTS, attempts)?;
    // Only those that happened: all reasons for each endpoint would fill the family with zeros.
    let failures = endpoints.iter().flat_map(|endpoint| {
        Reason::ALL.into_iter().filter_map(|reason| {
            let count = endpoint.cells.iter().filter_map(|cell| cell.failures.get(reason as usize));
            let count: u64 = count.map(Counter::value).sum();
            (count > 0).then(|| Row::of_both(&endpoint.key, reason.as_str(), count))
        })
    });
    put(encoder, &names::UPSTREAM_FAILURES, failures)?;
    let reused: u64 = endpoints.iter().map(|e| sum(&e.cells, |c| &c.reused)).sum();
    put(encoder, &names::UPSTREAM_REUSED, [Row::alone(reused)])?;
    let connects: u64 = endpoints.iter().map(|e| sum(&e.cells, |c| &c.connects)).sum();
    put(encoder, &names::UPSTREAM_CONNECTS, [Row::alone(connects)])?;
    let in_flight = endpoints.iter().map(|e| Row::of(&e.key, e.in_flight.load(Relaxed)));
    put(encoder, &names::UPSTREAM_IN_FLIGHT, in_flight)?;
    let admitting = endpoints.iter().map(|e| Row::of(&e.key, e.is_admitting()));
    put(encoder, &names::UPSTREAM_ADMITTING, admitting)?;
    let states = endpoints.iter().flat_map(|e| phases(&e.key, e.health.standing().phase(), STATES));
    put(encoder, &names::UPSTREAM_STATE, states)?;
    let ejections = endpoints.iter().map(|e| Row::of(&e.key, e.health.ejections()));
    put(encoder, &names::EJECTIONS, ejections)?;
    endpoint_queues(encoder, live)?;
    let upstreams = live.upstreams();
    let breakers =
        upstreams.iter().flat_map(|u| phases(&u.name, u.breaker.standing().phase(), BREAKER));
    put(encoder, &names::BREAKER_STATE, breakers)?;
    let opened = upstreams.iter().map(|u| Row::of(&u.name, u.breaker.ejections()));
    put(encoder, &names::BREAKER_OPENED, opened)?;
    let panicking = upstreams.iter().map(|u| Row::of(&u.name, u.panicking.load(Relaxed)));
    put(encoder, &names::PANICKING, panicking)?;
    let names = live.names_in_use().into_iter().map(|n| (format!("{}:{}", n.host, n.port), n));
    let names: Vec<_> = names.collect();
    let addresses = names.iter().map(|(name, n)| Row::of(name, n.addresses.load().len()));
    put(encoder, &names::NAME_ADDRESSES, addresses)?;
    let failures = names.iter().map(|(name, n)| Row::of(name, n.failures.load(Relaxed)));
    put(encoder, &names::NAME_FAILURES, failures)
}

/// What the phases of an endpoint are called, and those of a breaker.
const STATES: [&str; 3] = ["admitting", "probing", "ejected"];
const BREAKER: [&str; 3] = ["closed", "half_open", "open"];

/// One row for each phase: 1 for the one that is.
fn phases<'n>(name: &'n str, phase: Phase, words: [&'static str; 3]) -> [Row<'n>; 3] {
    let at = [Phase::Admitting, Phase::Probing, Phase::Ejected];
    std::array::from_fn(|n| Row::of_both(name, words[n], at[n] == phase))
}

fn endpoint_queues(encoder: &mut DescriptorEncoder<'_>, live: &Live) -> fmt::Result {
    let queues = live.queues();
    let outcomes = queues.iter().flat_map(|queue| {
        let of = |outcome, count| Row::of_both(&queue.upstream, outcome, count);
        [
            of("queued", sum(&queue.cells, |c| &c.queued)),
            of("timeout", sum(&queue.cells, |c| &c.timeouts)),
            of("refused", sum(&queue.cells, |c| &c.refused)),
        ]
    });
    put(encoder, &names::ENDPOINT_QUEUE, outcomes)?;
    let waiting = queues.iter().map(|queue| Row::of(&queue.upstream, queue.waiting()));
    put(encoder, &names::ENDPOINT_QUEUE_WAITING, waiting)
}

fn gauges(encoder: &mut DescriptorEncoder<'_>, live: &Live, snapshot: &Snapshot) -> fmt::Result {
    let gauges = &live.gauges;
    let limits = &snapshot.limits;
    let admission = &limits.admission;
    let mut one = |metric, value: Value| put(encoder, metric, [Row::alone(value)]);
    one(&names::CONNECTIONS, gauges.connections.load(Relaxed).into())?;
    one(&names::CONNECTIONS_LIMIT, limits.connections.into())?;
    one(&names::IN_FLIGHT, gauges.in_flight.load(Relaxed).into())?;
    one(&names::IN_FLIGHT_LIMIT, admission.in_flight.into())?;
    one(&names::WAITING, gauges.waiting.load(Relaxed).into())?;
    one(&names::WAITING_LIMIT, admission.waiting.into())?;
    one(&names::BUFFERED, gauges.buffered.load(Relaxed).into())?;
    one(&names::MEMORY, gauges.memory.load(Relaxed).into())?;
    one(&names::MEMORY_LIMIT, admission.memory.into())
}

fn shards(encoder: &mut DescriptorEncoder<'_>, live: &Live) -> fmt::Result {
    let per_shard = |read: fn(&ShardCell) -> Value| {
        live.shards.iter().enumerate().map(move |(shard, cell)| Row::numbered(shard, read(cell)))
    };
    put(encoder, &names::TASKS, per_shard(|c| c.tasks.load(Relaxed).into()))?;
    put(encoder, &names::POOL_IDLE, per_shard(|c| c.pool_idle.load(Relaxed).into()))?;
    let connections = per_shard(|c| c.upstream_http2_connections.load(Relaxed).into());
    put(encoder, &names::UPSTREAM_HTTP2_CONNECTIONS, connections)?;
    let streams = per_shard(|c| c.upstream_http2_streams.load(Relaxed).into());
    put(encoder, &names::UPSTREAM_HTTP2_STREAMS, streams)?;
    put(encoder, &names::BUFFERS_LENT, per_shard(|c| c.buffers_lent.load(Relaxed).into()))?;
    let lag = per_shard(|c| Value::Real(c.lag_us.load(Relaxed) as f64 / 1e6));
    put(encoder, &names::SHARD_LAG, lag)
}

fn process(encoder: &mut DescriptorEncoder<'_>, live: &Live, snapshot: &Snapshot) -> fmt::Result {
    put(encoder, &names::OPEN_FILES, process::open_files().map(Row::alone))?;
    put(encoder, &names::OPEN_FILES_LIMIT, process::open_files_limit().map(Row::alone))?;
    put(encoder, &names::CONFIG_GENERATION, [Row::alone(snapshot.generation)])?;
    put(encoder, &names::DRAINING, [Row::alone(live.is_draining())])?;
    put(encoder, &names::BUILD_INFO, [Row::of(env!("CARGO_PKG_VERSION"), true)])?;
    let uptime = Value::Real(live.epoch().elapsed().as_secs_f64());
    put(encoder, &names::UPTIME, [Row::alone(uptime)])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tidegate_config::Config;
    use tidegate_snapshot::compile;

    use super::*;

    #[test]
    fn the_page_has_what_the_table_of_names_has() {
        let live = Live::new(2);
        let snapshot = compile(Arc::new(Config::default()), &live, 1).unwrap();
        let _held = (
            live.route("/v1/"),
            live.model("m"),
            live.endpoint("http://127.0.0.1:1"),
            live.upstream("app"),
            live.name("a.example", 80),
        );
        let _held_too = (live.queue("app"), live.tcp("0.0.0.0:5432"));
        live.endpoint("http://127.0.0.1:1").cells.of(1).failures[0].add(1);
        let page = MetricsPage::new(Arc::new(Shared::new(snapshot, live))).text().unwrap();
        let typed = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let on_page: BTreeSet<String> = typed
            .map(|line| match line.split_once(' ').unwrap() {
                (name, "counter") => format!("{name}_total"),
                (name, _) => name.to_owned(),
            })
            .collect();
        let in_table: BTreeSet<String> =
            names::ALL.iter().map(|metric| metric.name.to_owned()).collect();
        assert_eq!(on_page, in_table);
    }
}
