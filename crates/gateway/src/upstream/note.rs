//! How an attempt went: what the endpoint's health, its latency and the log learn of it.

use std::sync::atomic::Ordering::{AcqRel, Relaxed};

use tidegate_policy::health::pause_after_failure;
use tidegate_snapshot::Snapshot;

use super::Picked;
use crate::error::ProxyError;
use crate::shard::Shard;

impl Picked<'_> {
    /// Notes how the attempt went: failures in a row make the endpoint rest.
    pub(crate) fn note(&self, shard: &Shard, snapshot: &Snapshot, error: Option<&ProxyError>) {
        let live = &self.endpoint.live;
        let Some(error) = error else {
            if live.failures.load(Relaxed) != 0 {
                live.failures.store(0, Relaxed);
                live.cooling_until_ms.store(0, Relaxed);
            }
            return;
        };
        if error.side == tidegate_snapshot::Side::Upstream {
            live.cells.of(shard.index).failures[error.kind as usize].add(1);
        }
        if !error.blames_endpoint() {
            return;
        }
        self.observe_failure(shard);
        if let Some(left_out) = shard.log_line() {
            tracing::warn!(endpoint = live.key, left_out, "attempt failed: {error}");
        }
        let failures = live.failures.fetch_add(1, AcqRel) + 1;
        if let Some(pause) = pause_after_failure(&snapshot.cooldown, failures, error.retry_after())
        {
            let until = shard.timers.now_ms() + pause.as_millis() as u64;
            live.cooling_until_ms.fetch_max(until, AcqRel);
        }
    }
}
