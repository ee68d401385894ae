//! The results of a load: plain numbers that serialise to JSON, and a page of HTML that needs nothing else.

mod html;

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Everything a run found out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    /// The URL as given.
    pub url: String,
    /// `requests`, `streams` or `idle`.
    pub mode: String,
    /// The request's method.
    pub method: String,
    /// Connections asked for.
    pub connections: usize,
    /// Threads asked for.
    pub threads: usize,
    /// How long the run took.
    pub seconds: f64,
    /// Exchanges begun = `finished` + `failed` + `unfinished`.
    pub started: u64,
    /// Exchanges with a whole reply, whatever its status.
    pub finished: u64,
    /// Exchanges without a whole reply: see `errors`.
    pub failed: u64,
    /// Streams that the end of the run broke off.
    pub unfinished: u64,
    /// Whole replies by status. A WebSocket message that came back counts as 101.
    pub by_status: BTreeMap<u16, u64>,
    /// Failures by kind: `connect`, `handshake` (of TLS), `timeout`, `closed` (before the reply began), `cut` (in its middle), `reset`,
    /// `bad_reply`.
    pub errors: BTreeMap<String, u64>,
    /// Connections made; more than `connections` when some had to be replaced.
    pub connections_made: u64,
    /// Whole replies per second.
    pub requests_per_second: f64,
    /// Bytes of replies' bodies, without transfer coding; of WebSocket messages with their frames.
    pub body_bytes: u64,
    /// The same per second.
    pub body_bytes_per_second: f64,
    /// From the start of a request to the end of its reply.
    pub latency: Distribution,
    /// Only for streams.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub streams: Option<StreamReport>,
    /// Only for idle connections.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub idle: Option<IdleReport>,
    /// Only over TLS.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub handshakes: Option<HandshakeReport>,
}

/// TLS handshakes that came to their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandshakeReport {
    /// With a new session.
    pub full: u64,
    /// With the session of the connection before.
    pub resumed: u64,
}

/// What is measured of streams only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamReport {
    /// Events with data, `[DONE]` included.
    pub events: u64,
    /// The same per second.
    pub events_per_second: f64,
    /// From the start of a request to the first event.
    pub first_event: Distribution,
    /// Between two arrivals of events in one stream; events that came in one read are one arrival.
    pub gap: Distribution,
}

/// What is measured of idle connections only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IdleReport {
    /// How long the connections were held.
    pub hold_seconds: f64,
    /// Connections open at the end of the hold.
    pub held: u64,
    /// Connections that the other side closed during it.
    pub lost: u64,
    /// Exchanges on connections that were woken.
    pub awakened: Distribution,
}

/// How a time is distributed. All times are microseconds; all are 0 when `count` is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// How many times were measured.
    pub count: u64,
    /// The average.
    pub mean_us: f64,
    /// The shortest.
    pub min_us: u64,
    /// Half were not longer.
    pub p50_us: u64,
    /// 90 % were not longer.
    pub p90_us: u64,
    /// 99 % were not longer.
    pub p99_us: u64,
    /// 99.9 % were not longer.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
    /// `[quantile, time]` pairs in rising order, denser towards 1: the curve to draw.
    pub curve: Vec<(f64, u64)>,
}

impl Distribution {
    /// What `histogram` (of microseconds) holds, to three digits.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Distribution {
        if histogram.is_empty() {
            return Distribution::default();
        }
        let at = |quantile| histogram.value_at_quantile(quantile);
        // Six digits: 0.4 shall not read 0.4000000000000000222.
        let point = |quantile: f64| ((quantile * 1e6).round() / 1e6, at(quantile));
        // Ten steps for each further nine: 0 … 0.9, 0.91 … 0.99, 0.991 … 0.999 and so on.
        let decade = |nines: i32| {
            (0..9).map(move |step| 1.0 - 10_f64.powi(-nines) * (1.0 - f64::from(step) / 10.0))
        };
        let mut curve: Vec<_> = (0..5).flat_map(decade).map(point).collect();
        curve.dedup_by_key(|(_, time)| *time);
        curve.push((1.0, histogram.max()));
        Distribution {
            count: histogram.len(),
            mean_us: histogram.mean(),
            min_us: histogram.min(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max(),
            curve,
        }
    }
}

impl LoadReport {
    /// The report as indented JSON.
    pub fn to_json(&self) -> String {
        // Plain numbers, strings and maps with integer or string keys always serialise.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// The report as a page of HTML that loads nothing: numbers and the distribution of latency as a drawing.
    pub fn to_html(&self) -> String {
        html::page(self)
    }
}
