//! What is known of a group of endpoints across snapshots: its breaker and its retry budget.

use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use crossbeam_utils::CachePadded;
use tidegate_policy::retry::{BudgetLimits, RetryBudget};

use super::EndpointHealth;
use crate::series::PerShard;

/// The live state of an upstream, or of a model's group of providers.
#[derive(Debug)]
pub struct UpstreamLive {
    /// Its name in the configuration; a model's has `model:` before it.
    pub name: String,
    /// Exchanges in flight over all shards; counted where there is a breaker only.
    pub in_flight: CachePadded<AtomicU32>,
    /// The breaker: closed is admitting, open is ejected, half-open is probing.
    pub breaker: EndpointHealth,
    /// Too few endpoints admit: health is ignored.
    pub panicking: AtomicBool,
    /// Somebody decides about an ejection: the share of the group must hold over all shards.
    ejecting: AtomicBool,
    budgets: PerShard<BudgetCell>,
}

/// A shard's retry budget. Only its shard writes it.
#[derive(Debug, Default)]
struct BudgetCell {
    milli: AtomicU64,
    /// Refilled at this time plus 1; 0: not used yet.
    refilled: AtomicU64,
}

impl UpstreamLive {
    pub(super) fn new(name: &str, shards: usize) -> Self {
        Self {
            name: name.to_owned(),
            in_flight: CachePadded::default(),
            breaker: EndpointHealth::new(0),
            panicking: AtomicBool::new(false),
            ejecting: AtomicBool::new(false),
            budgets: PerShard::new(shards),
        }
    }

    /// Takes a place among `max` in flight; false when there is none. The places of all shards are
    /// counted exactly.
    pub fn enter(&self, max: u32) -> bool {
        self.in_flight.fetch_update(AcqRel, Acquire, |now| (now < max).then_some(now + 1)).is_ok()
    }

    /// Gives the place back.
    pub fn leave(&self) {
        self.in_flight.fetch_sub(1, AcqRel);
    }

    /// Makes a decision about an ejection, unless another one is being made.
    pub fn alone<T>(&self, decide: impl FnOnce() -> T) -> Option<T> {
        if self.ejecting.swap(true, Acquire) {
            return None;
        }
        let decided = decide();
        self.ejecting.store(false, Release);
        Some(decided)
    }

    /// Changes the retry budget of a shard, which only that shard may do.
    pub fn budget<T>(
        &self,
        shard: usize,
        limits: &BudgetLimits,
        now_ms: u64,
        change: impl FnOnce(&mut RetryBudget) -> T,
    ) -> T {
        let cell = self.budgets.of(shard);
        let mut budget = match cell.refilled.load(Relaxed) {
            0 => RetryBudget::full(limits, now_ms),
            refilled => RetryBudget::from_parts(cell.milli.load(Relaxed), refilled - 1),
        };
        let given = change(&mut budget);
        let (milli, refilled_ms) = budget.parts();
        cell.milli.store(milli, Relaxed);
        cell.refilled.store(refilled_ms + 1, Relaxed);
        given
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_exact_over_threads() {
        let upstream = UpstreamLive::new("app", 1);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).filter(|_| upstream.enter(50)).count());
            }
        });
        assert_eq!(upstream.in_flight.load(Relaxed), 50);
        assert!(!upstream.enter(50));
        upstream.leave();
        assert!(upstream.enter(50));
    }

    #[test]
    fn a_retry_budget_keeps_what_is_left_of_it() {
        let upstream = UpstreamLive::new("app", 2);
        let limits = BudgetLimits { percent: 20, floor_per_second: 0 };
        let take = |shard| upstream.budget(shard, &limits, 5, |b| b.withdraw(&limits, 5));
        assert_eq!((0..200).filter(|_| take(0)).count(), 100);
        assert!(take(1), "each shard has its own");
    }
}
