//! What the provider counts: every exchange ends in exactly one of the outcomes, whatever happens to its task.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// Model names counted one by one; the rest is counted under [`OTHER`].
const MODELS_MAX: usize = 256;
const OTHER: &str = "(other)";

/// Live counters, shared by the provider's threads and whoever watches.
#[derive(Debug, Default)]
pub struct Stats {
    connections: AtomicU64,
    connections_open: AtomicU64,
    requests: AtomicU64,
    open: AtomicU64,
    completed: AtomicU64,
    cancelled: AtomicU64,
    cut: AtomicU64,
    errors: AtomicU64,
    last_cancel_unix_ms: AtomicU64,
    /// Requests to `lab-flaky-N`: every N-th fails.
    flaky: AtomicU64,
    by_model: Mutex<BTreeMap<String, u64>>,
}

/// The counters at one moment; the JSON of `GET /lab/stats`. `requests` = `open` + `completed` + `cancelled` + `cut`.
/// Requests to `/lab/…` itself are not counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StatsPage {
    /// Connections accepted.
    pub connections: u64,
    /// Connections open now.
    pub connections_open: u64,
    /// Requests whose head has arrived.
    pub requests: u64,
    /// Exchanges under way.
    pub open: u64,
    /// Replies written to their end, whatever their status.
    pub completed: u64,
    /// Exchanges whose client went before their end.
    pub cancelled: u64,
    /// Replies broken off on purpose (`lab-cut`).
    pub cut: u64,
    /// Replies with a status of 400 or more.
    pub errors: u64,
    /// When a client last went early, in milliseconds since 1970; 0 for never.
    pub last_cancel_unix_ms: u64,
    /// Requests by the model's name, at most 256 names; the rest is `(other)`.
    pub by_model: BTreeMap<String, u64>,
}

impl Stats {
    /// The counters now.
    pub fn page(&self) -> StatsPage {
        StatsPage {
            connections: self.connections.load(Relaxed),
            connections_open: self.connections_open.load(Relaxed),
            requests: self.requests.load(Relaxed),
            open: self.open.load(Relaxed),
            completed: self.completed.load(Relaxed),
            cancelled: self.cancelled.load(Relaxed),
            cut: self.cut.load(Relaxed),
            errors: self.errors.load(Relaxed),
            last_cancel_unix_ms: self.last_cancel_unix_ms.load(Relaxed),
            by_model: self.by_model.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Back to zero, except what is open: that stays true.
    pub fn reset(&self) {
        let open = self.open.load(Relaxed);
        let zeroed = [
            &self.completed,
            &self.cancelled,
            &self.cut,
            &self.errors,
            &self.last_cancel_unix_ms,
            &self.flaky,
        ];
        for counter in zeroed {
            counter.store(0, Relaxed);
        }
        self.requests.store(open, Relaxed);
        self.connections.store(self.connections_open.load(Relaxed), Relaxed);
        self.by_model.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn connected(self: &Arc<Self>) -> Connected {
        self.connections.fetch_add(1, Relaxed);
        self.connections_open.fetch_add(1, Relaxed);
        Connected(Arc::clone(self))
    }

    pub(super) fn begin(self: &Arc<Self>) -> Exchange {
        self.requests.fetch_add(1, Relaxed);
        self.open.fetch_add(1, Relaxed);
        Exchange { stats: Arc::clone(self), outcome: Outcome::Cancelled }
    }

    pub(super) fn count_model(&self, name: &str) {
        let mut models = self.by_model.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = models.get_mut(name) {
            *count += 1;
        } else {
            let name = if models.len() < MODELS_MAX { name } else { OTHER };
            *models.entry(name.to_owned()).or_default() += 1;
        }
    }

    pub(super) fn count_error(&self) {
        self.errors.fetch_add(1, Relaxed);
    }

    /// The number of this flaky request, from 1.
    pub(super) fn next_flaky(&self) -> u64 {
        self.flaky.fetch_add(1, Relaxed) + 1
    }
}

/// An accepted connection, counted while it lives.
pub(super) struct Connected(Arc<Stats>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections_open.fetch_sub(1, Relaxed);
    }
}

#[derive(Clone, Copy)]
enum Outcome {
    Completed,
    Cancelled,
    Cut,
}

/// A request under way. It settles on drop: as cancelled, unless one of its methods says otherwise.
pub(super) struct Exchange {
    stats: Arc<Stats>,
    outcome: Outcome,
}

impl Exchange {
    pub(super) fn complete(mut self) {
        self.outcome = Outcome::Completed;
    }

    pub(super) fn cut(mut self) {
        self.outcome = Outcome::Cut;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let stats = &self.stats;
        match self.outcome {
            Outcome::Completed => stats.completed.fetch_add(1, Relaxed),
            Outcome::Cut => stats.cut.fetch_add(1, Relaxed),
            Outcome::Cancelled => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                stats.last_cancel_unix_ms.store(now.as_millis() as u64, Relaxed);
                stats.cancelled.fetch_add(1, Relaxed)
            }
        };
        stats.open.fetch_sub(1, Relaxed);
    }
}
