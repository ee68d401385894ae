//! Every metric: name, kind, labels, meaning. Base units: `_seconds`, `_bytes`, `_total`.

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Observations by size.
    Histogram,
}

/// One metric.
#[derive(Debug)]
pub(super) struct Metric {
    /// As written on the page; that of a counter ends in `_total`.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Label names in the order of a row's values.
    pub(super) labels: &'static [&'static str],
    /// One sentence.
    pub(super) help: &'static str,
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Histogram, labels, help }
}

// Exchanges.
pub(super) const REQUESTS: Metric = counter(
    "tidegate_requests_total",
    &["route", "class"],
    "Exchanges by route and status class; class none is without a reply.",
);
pub(super) const REQUEST_DURATION: Metric = histogram(
    "tidegate_request_duration_seconds",
    &["route"],
    "Duration of whole exchanges, the body included.",
);
pub(super) const REPLY_BYTES: Metric =
    counter("tidegate_reply_bytes_total", &["route"], "Bytes of replies sent to callers.");
pub(super) const ENDED: Metric = counter(
    "tidegate_ended_total",
    &["reason"],
    "Exchanges that ended otherwise than well, by reason.",
);
pub(super) const ACCEPTED: Metric =
    counter("tidegate_accepted_total", &[], "Client connections accepted.");
pub(super) const ACCEPT_ERRORS: Metric = counter(
    "tidegate_accept_errors_total",
    &[],
    "Accepts that failed, mostly because no file descriptor was left.",
);
pub(super) const TLS_HANDSHAKES: Metric = counter(
    "tidegate_tls_handshakes_total",
    &["kind"],
    "TLS handshakes with callers; kind resumed continues a session by its ticket.",
);
pub(super) const TLS_FAILURES: Metric = counter(
    "tidegate_tls_failures_total",
    &["reason"],
    "Connections to TLS listeners that came to no handshake, by reason.",
);
pub(super) const PROXY_PROTOCOL_REFUSED: Metric = counter(
    "tidegate_proxy_protocol_refused_total",
    &[],
    "Connections closed because their PROXY protocol header is missing, malformed or not trusted.",
);
pub(super) const RETRIES: Metric =
    counter("tidegate_retries_total", &[], "Attempts after the first one of an exchange.");
pub(super) const RETRIES_DENIED: Metric = counter(
    "tidegate_retries_denied_total",
    &[],
    "Retries that were not made because the retry budget was empty.",
);
pub(super) const HEDGES: Metric = counter(
    "tidegate_hedges_total",
    &[],
    "Second attempts that were begun beside one that was slow to answer.",
);
pub(super) const HEDGES_WON: Metric = counter(
    "tidegate_hedges_won_total",
    &[],
    "Second attempts that answered before the first one.",
);
pub(super) const PANICS: Metric = counter(
    "tidegate_upstream_panics_total",
    &[],
    "Times that too few endpoints of an upstream admitted, so that health was ignored.",
);
pub(super) const HEARTBEATS: Metric =
    counter("tidegate_heartbeats_total", &[], "Heartbeats written into silent event streams.");
pub(super) const COMPRESSED: Metric =
    counter("tidegate_compressed_total", &[], "Replies compressed on their way to the caller.");
pub(super) const MIRRORED: Metric = counter(
    "tidegate_mirrored_total",
    &["result"],
    "Copies of requests for mirrors: sent, dropped (no room, no endpoint, body too long or broken off), failed.",
);

// HTTP/2 towards callers.
pub(super) const H2_CONNECTIONS: Metric =
    gauge("tidegate_h2_connections", &[], "Client connections that speak HTTP/2.");
pub(super) const H2_STREAMS_OPEN: Metric =
    gauge("tidegate_h2_streams_open", &[], "Their streams that are open.");
pub(super) const H2_STREAMS: Metric =
    counter("tidegate_h2_streams_total", &[], "Streams that callers began.");
pub(super) const H2_RESETS: Metric =
    counter("tidegate_h2_resets_total", &[], "Streams that callers reset.");
pub(super) const H2_GOAWAYS: Metric = counter(
    "tidegate_h2_goaways_total",
    &[],
    "HTTP/2 connections told to go because they were idle or the process drains.",
);
pub(super) const H2_CALMED: Metric = counter(
    "tidegate_h2_calmed_total",
    &[],
    "HTTP/2 connections closed with ENHANCE_YOUR_CALM: resets, pings, settings or empty frames in floods.",
);

// Tunnels.
pub(super) const WEBSOCKETS: Metric =
    counter("tidegate_websockets_total", &[], "WebSocket connections that began.");
pub(super) const WEBSOCKETS_OPEN: Metric =
    gauge("tidegate_websockets_open", &[], "WebSocket connections open.");
pub(super) const WEBSOCKET_BYTES: Metric = counter(
    "tidegate_websocket_bytes_total",
    &["direction"],
    "Bytes of WebSocket connections; received from callers, sent to callers.",
);
pub(super) const TCP_CONNECTIONS: Metric = counter(
    "tidegate_tcp_connections_total",
    &["listener"],
    "Connections accepted by a listener with protocol tcp.",
);
pub(super) const TCP_OPEN: Metric =
    gauge("tidegate_tcp_open", &[], "Connections open at listeners with protocol tcp.");
pub(super) const TCP_BYTES: Metric = counter(
    "tidegate_tcp_bytes_total",
    &["listener", "direction"],
    "Bytes of TCP connections; received from callers, sent to callers.",
);
pub(super) const SPLICED_BYTES: Metric = counter(
    "tidegate_spliced_bytes_total",
    &[],
    "Bytes of tunnels that the kernel moved without a copy to this process.",
);
pub(super) const PIPES: Metric =
    gauge("tidegate_pipes", &["shard"], "Pipes held for that: two files and up to 64 KiB each.");

// Models.
pub(super) const MODEL_REQUESTS: Metric = counter(
    "tidegate_model_requests_total",
    &["model"],
    "Exchanges by the configured model that routed them.",
);
pub(super) const TOKENS: Metric = counter(
    "tidegate_tokens_total",
    &["model", "kind"],
    "Tokens as providers counted them; kind input has those of kind cached in it.",
);
pub(super) const USAGE_UNKNOWN: Metric = counter(
    "tidegate_usage_unknown_total",
    &["model"],
    "Exchanges that ended well and whose token count could not be read.",
);
pub(super) const FIRST_TOKEN: Metric = histogram(
    "tidegate_first_token_seconds",
    &["model"],
    "From the beginning of an exchange to the first byte of the reply body.",
);

// Endpoints.
pub(super) const UPSTREAM_ATTEMPTS: Metric =
    counter("tidegate_upstream_attempts_total", &["endpoint"], "Attempts at an endpoint.");
pub(super) const UPSTREAM_FAILURES: Metric = counter(
    "tidegate_upstream_failures_total",
    &["endpoint", "reason"],
    "Attempts that failed, by reason; only reasons that happened.",
);
pub(super) const UPSTREAM_REUSED: Metric = counter(
    "tidegate_upstream_reused_total",
    &[],
    "Attempts on a connection from the connection pool.",
);
pub(super) const UPSTREAM_CONNECTS: Metric =
    counter("tidegate_upstream_connects_total", &[], "Connections to endpoints that were begun.");
pub(super) const UPSTREAM_IN_FLIGHT: Metric =
    gauge("tidegate_upstream_in_flight", &["endpoint"], "Attempts in flight at an endpoint.");
pub(super) const UPSTREAM_ADMITTING: Metric = gauge(
    "tidegate_upstream_admitting",
    &["endpoint"],
    "1: the endpoint takes traffic; 0: it rests after failures, or its health check fails.",
);
pub(super) const ENDPOINT_QUEUE: Metric = counter(
    "tidegate_endpoint_queue_total",
    &["upstream", "outcome"],
    "Exchanges that found every endpoint at connections_max: queued, of those timeout, or refused at once.",
);
pub(super) const ENDPOINT_QUEUE_WAITING: Metric = gauge(
    "tidegate_endpoint_queue_waiting",
    &["upstream"],
    "Exchanges that wait for an endpoint below its connections_max.",
);
pub(super) const UPSTREAM_STATE: Metric = gauge(
    "tidegate_upstream_state",
    &["endpoint", "state"],
    "1 for the state that the endpoint is in: admitting, probing or ejected.",
);
pub(super) const EJECTIONS: Metric = counter(
    "tidegate_upstream_ejections_total",
    &["endpoint"],
    "Times that an endpoint was ejected for its errors.",
);
pub(super) const BREAKER_STATE: Metric = gauge(
    "tidegate_breaker_state",
    &["upstream", "state"],
    "1 for the state that the breaker is in: closed, half_open or open.",
);
pub(super) const BREAKER_OPENED: Metric = counter(
    "tidegate_breaker_opened_total",
    &["upstream"],
    "Times that the breaker of an upstream opened.",
);
pub(super) const PANICKING: Metric = gauge(
    "tidegate_upstream_panicking",
    &["upstream"],
    "1: too few endpoints admit, so that health is ignored.",
);
pub(super) const NAME_ADDRESSES: Metric =
    gauge("tidegate_name_addresses", &["name"], "Addresses that a name has.");
pub(super) const NAME_FAILURES: Metric = counter(
    "tidegate_name_failures_total",
    &["name"],
    "Look-ups of a name that failed; its last good answer stays in use.",
);

// What is held now, and how much of it may be.
pub(super) const CONNECTIONS: Metric =
    gauge("tidegate_connections", &[], "Client connections open.");
pub(super) const CONNECTIONS_LIMIT: Metric =
    gauge("tidegate_connections_limit", &[], "limits.connections.");
pub(super) const IN_FLIGHT: Metric =
    gauge("tidegate_requests_in_flight", &[], "Exchanges in flight.");
pub(super) const IN_FLIGHT_LIMIT: Metric =
    gauge("tidegate_requests_in_flight_limit", &[], "limits.requests.");
pub(super) const WAITING: Metric =
    gauge("tidegate_requests_waiting", &[], "Exchanges that wait for admission.");
pub(super) const WAITING_LIMIT: Metric =
    gauge("tidegate_requests_waiting_limit", &[], "limits.queue.size.");
pub(super) const BUFFERED: Metric = gauge(
    "tidegate_buffered_bytes",
    &[],
    "Bytes of request bodies that are held for routing and for retries.",
);
pub(super) const MEMORY: Metric =
    gauge("tidegate_memory_bytes", &[], "Resident memory of the process.");
pub(super) const MEMORY_LIMIT: Metric = gauge("tidegate_memory_limit_bytes", &[], "limits.memory.");

// Shards.
pub(super) const TASKS: Metric = gauge("tidegate_tasks", &["shard"], "Tasks alive.");
pub(super) const POOL_IDLE: Metric = gauge(
    "tidegate_pool_idle_connections",
    &["shard"],
    "Idle connections to endpoints in the connection pool.",
);
pub(super) const UPSTREAM_HTTP2_CONNECTIONS: Metric =
    gauge("tidegate_upstream_http2_connections", &["shard"], "Connections of HTTP/2 to endpoints.");
pub(super) const UPSTREAM_HTTP2_STREAMS: Metric = gauge(
    "tidegate_upstream_http2_streams",
    &["shard"],
    "Streams open on connections of HTTP/2 to endpoints.",
);
pub(super) const BUFFERS_LENT: Metric =
    gauge("tidegate_buffers_lent", &["shard"], "Buffers lent out to connections.");
pub(super) const SHARD_LAG: Metric = gauge(
    "tidegate_shard_lag_seconds",
    &["shard"],
    "How late the clock tick of a shard was, worst of the last second.",
);

// The process.
pub(super) const OPEN_FILES: Metric =
    gauge("tidegate_open_files", &[], "Open file descriptors, sockets included.");
pub(super) const OPEN_FILES_LIMIT: Metric =
    gauge("tidegate_open_files_limit", &[], "File descriptors that may be open (RLIMIT_NOFILE).");
pub(super) const CONFIG_GENERATION: Metric = gauge(
    "tidegate_config_generation",
    &[],
    "Number of the configuration in force; every reload adds one.",
);
pub(super) const DRAINING: Metric =
    gauge("tidegate_draining", &[], "1: the process is shutting down.");
pub(super) const BUILD_INFO: Metric =
    gauge("tidegate_build_info", &["version"], "Always 1; the label tells the version.");
pub(super) const UPTIME: Metric =
    gauge("tidegate_uptime_seconds", &[], "Time since the process began.");

/// All of them, in the order of the page.
#[cfg(test)]
pub(super) const ALL: [&Metric; 71] = [
    &REQUESTS,
    &REQUEST_DURATION,
    &REPLY_BYTES,
    &ENDED,
    &ACCEPTED,
    &ACCEPT_ERRORS,
    &TLS_HANDSHAKES,
    &TLS_FAILURES,
    &PROXY_PROTOCOL_REFUSED,
    &RETRIES,
    &RETRIES_DENIED,
    &HEDGES,
    &HEDGES_WON,
    &PANICS,
    &HEARTBEATS,
    &COMPRESSED,
    &H2_CONNECTIONS,
    &H2_STREAMS_OPEN,
    &H2_STREAMS,
    &H2_RESETS,
    &H2_GOAWAYS,
    &H2_CALMED,
    &MIRRORED,
    &WEBSOCKETS,
    &WEBSOCKETS_OPEN,
    &WEBSOCKET_BYTES,
    &TCP_CONNECTIONS,
    &TCP_OPEN,
    &TCP_BYTES,
    &SPLICED_BYTES,
    &PIPES,
    &MODEL_REQUESTS,
    &TOKENS,
    &USAGE_UNKNOWN,
    &FIRST_TOKEN,
    &UPSTREAM_ATTEMPTS,
    &UPSTREAM_FAILURES,
    &UPSTREAM_REUSED,
    &UPSTREAM_CONNECTS,
    &UPSTREAM_IN_FLIGHT,
    &UPSTREAM_ADMITTING,
    &ENDPOINT_QUEUE,
    &ENDPOINT_QUEUE_WAITING,
    &UPSTREAM_STATE,
    &EJECTIONS,
    &BREAKER_STATE,
    &BREAKER_OPENED,
    &PANICKING,
    &NAME_ADDRESSES,
    &NAME_FAILURES,
    &CONNECTIONS,
    &CONNECTIONS_LIMIT,
    &IN_FLIGHT,
    &IN_FLIGHT_LIMIT,
    &WAITING,
    &WAITING_LIMIT,
    &BUFFERED,
    &MEMORY,
    &MEMORY_LIMIT,
    &TASKS,
    &POOL_IDLE,
    &UPSTREAM_HTTP2_CONNECTIONS,
    &UPSTREAM_HTTP2_STREAMS,
    &BUFFERS_LENT,
    &SHARD_LAG,
    &OPEN_FILES,
    &OPEN_FILES_LIMIT,
    &CONFIG_GENERATION,
    &DRAINING,
    &BUILD_INFO,
    &UPTIME,
];

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// The page of the documentation that lists them.
    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");

    const HEAD: &str = "\
# Metrics

`GET /metrics` on the admin listener, with the admin token, in the OpenMetrics text format. Base units: `_seconds`,
`_bytes`, `_total`. The shards count in cells of their own; they are summed when somebody asks.

A metric has at most 1,000 label sets: what is beyond is summed up under the label `other`. The label `endpoint` is
scheme, host and port, with the provider's name in front and the egress proxy behind; it holds no credential.

| name | kind | labels | means |
|---|---|---|---|
";

    fn page() -> String {
        let mut page = HEAD.to_owned();
        for metric in ALL {
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let _ = writeln!(
                page,
                "| `{}` | {kind} | {} | {} |",
                metric.name,
                labels.join(", "),
                metric.help
            );
        }
        page
    }

    #[test]
    fn the_documentation_lists_every_metric() {
        if std::env::var_os("WRITE_DOCS").is_some() {
            std::fs::write(PAGE, page()).unwrap();
        }
        let written = std::fs::read_to_string(PAGE).unwrap();
        assert_eq!(written, page(), "docs/metrics.md is stale: run this test with WRITE_DOCS=1");
    }

    #[test]
    fn names_tell_kind_and_unit() {
        for Metric { name, kind, labels, help } in ALL {
            assert!(name.starts_with("tidegate_"), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert!(*kind != Kind::Histogram || name.ends_with("_seconds"), "{name}");
            assert!(labels.len() <= 2 && help.ends_with('.') && !help.contains('\n'), "{name}");
        }
    }
}
