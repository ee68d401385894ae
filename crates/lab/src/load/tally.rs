//! What one thread of the load counts and measures; threads' tallies add up.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

use super::client::{Failure, Made};
use super::plan::Plan;
use super::{LoadMode, LoadOptions};
use crate::report::{Distribution, HandshakeReport, IdleReport, LoadReport, StreamReport};

/// Longest time a histogram tells apart, in µs: ten minutes. Longer ones count as this.
const LONGEST_US: u64 = 600_000_000;

/// Counts and times of one thread.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) started: u64,
    /// Broken off because the run was over.
    pub(super) unfinished: u64,
    pub(super) by_status: BTreeMap<u16, u64>,
    pub(super) errors: BTreeMap<&'static str, u64>,
    pub(super) made: Made,
    pub(super) body_bytes: u64,
    pub(super) events: u64,
    /// Connections that the other side closed while they were held.
    pub(super) lost: u64,
    /// Connections that were open when the hold ended.
    pub(super) held: u64,
    /// Whole exchanges, µs.
    pub(super) latency: Histogram<u64>,
    /// From the request to the first event, µs.
    pub(super) first_event: Histogram<u64>,
    /// Between arrivals of events of one stream, µs.
    pub(super) gap: Histogram<u64>,
    /// Exchanges on connections that had been idle, µs.
    pub(super) awakened: Histogram<u64>,
}

impl Tally {
    pub(super) fn new() -> io::Result<Tally> {
        let histogram = || Histogram::new_with_bounds(1, LONGEST_US, 3).map_err(io::Error::other);
        Ok(Tally {
            started: 0,
            unfinished: 0,
            by_status: BTreeMap::new(),
            errors: BTreeMap::new(),
            made: Made::default(),
            body_bytes: 0,
            events: 0,
            lost: 0,
            held: 0,
            latency: histogram()?,
            first_event: histogram()?,
            gap: histogram()?,
            awakened: histogram()?,
        })
    }

    /// Counts an exchange that began at `begun` and has just ended. Only whole replies have a latency.
    pub(super) fn settle(&mut self, begun: Instant, outcome: Result<u16, Failure>) {
        match outcome {
            Ok(status) => {
                *self.by_status.entry(status).or_default() += 1;
                self.latency.saturating_record(microseconds(begun.elapsed()));
            }
            Err(failure) => *self.errors.entry(failure.name()).or_default() += 1,
        }
    }

    pub(super) fn add(&mut self, other: &Tally) {
        self.started += other.started;
        self.unfinished += other.unfinished;
        self.made.add(other.made);
        self.body_bytes += other.body_bytes;
        self.events += other.events;
        self.lost += other.lost;
        self.held += other.held;
        for (status, count) in &other.by_status {
            *self.by_status.entry(*status).or_default() += count;
        }
        for (kind, count) in &other.errors {
            *self.errors.entry(kind).or_default() += count;
        }
        for (ours, theirs) in [
            (&mut self.latency, &other.latency),
            (&mut self.first_event, &other.first_event),
            (&mut self.gap, &other.gap),
            (&mut self.awakened, &other.awakened),
        ] {
            // All have the same bounds, the only thing that could be wrong.
            let _ = ours.add(theirs);
        }
    }

    /// The run's report, its end being now.
    pub(super) fn report(&self, options: &LoadOptions, plan: &Plan) -> LoadReport {
        let seconds = plan.begun.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        let finished: u64 = self.by_status.values().sum();
        let (mode, streams, idle) = match options.mode {
            LoadMode::Requests => ("requests", None, None),
            LoadMode::Streams => {
                let streams = StreamReport {
                    events: self.events,
                    events_per_second: self.events as f64 / seconds,
                    first_event: Distribution::of(&self.first_event),
                    gap: Distribution::of(&self.gap),
                };
                ("streams", Some(streams), None)
            }
            LoadMode::Idle { hold } => {
                let idle = IdleReport {
                    hold_seconds: hold.as_secs_f64(),
                    held: self.held,
                    lost: self.lost,
                    awakened: Distribution::of(&self.awakened),
                };
                ("idle", None, Some(idle))
            }
        };
        LoadReport {
            url: options.url.clone(),
            mode: mode.to_owned(),
            method: options.method.clone(),
            connections: options.connections,
            threads: options.threads,
            seconds,
            started: self.started,
            finished,
            failed: self.errors.values().sum(),
            unfinished: self.unfinished,
            by_status: self.by_status.clone(),
            errors: self.errors.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect(),
            connections_made: self.made.connections,
            requests_per_second: finished as f64 / seconds,
            body_bytes: self.body_bytes,
            body_bytes_per_second: self.body_bytes as f64 / seconds,
            latency: Distribution::of(&self.latency),
            streams,
            idle,
            handshakes: plan.tls.as_ref().map(|_| HandshakeReport {
                full: self.made.full_handshakes,
                resumed: self.made.resumed_handshakes,
            }),
        }
    }
}

/// Whole microseconds, at least 1: what the histograms hold.
pub(super) fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1)
}
