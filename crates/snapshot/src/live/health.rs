//! Health of one endpoint as all shards and the control plane see it: two words and a counter.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed},
};

pub use tidegate_policy::health::Phase;
use tidegate_policy::health::{Entry, OutlierPolicy, Standing, Window};

/// Whether an endpoint takes traffic. Changed by compare-and-swap only, so that every shard and the
/// health checks agree on one order of events.
#[derive(Debug)]
pub struct EndpointHealth {
    standing: AtomicU64,
    window: AtomicU64,
    ejections: AtomicU64,
}

impl EndpointHealth {
    /// An endpoint that admits since now.
    pub fn new(now_ms: u64) -> Self {
        let fresh = Standing::from_bits(0).checked(true, now_ms).checked(false, now_ms);
        Self {
            standing: AtomicU64::new(fresh.to_bits()),
            window: AtomicU64::new(0),
            ejections: AtomicU64::new(0),
        }
    }

    /// Where it stands now.
    pub fn standing(&self) -> Standing {
        Standing::from_bits(self.standing.load(Relaxed))
    }

    /// Ejections since the process began, rests that were asked for not counted.
    pub fn ejections(&self) -> u64 {
        self.ejections.load(Relaxed)
    }

    /// Changes the standing; gives what it was and what it is.
    fn change(&self, step: impl Fn(Standing) -> Standing) -> (Standing, Standing) {
        let mut bits = self.standing.load(Acquire);
        loop {
            let before = Standing::from_bits(bits);
            let after = step(before);
            if after == before {
                return (before, after);
            }
            match self.standing.compare_exchange_weak(bits, after.to_bits(), AcqRel, Acquire) {
                Ok(_) => return (before, after),
                Err(now) => bits = now,
            }
        }
    }

    /// Begins the trial of an ejected endpoint; true for one taker only.
    pub fn begin_trial(&self, now_ms: u64) -> bool {
        let (before, after) = self.change(|standing| standing.trying(now_ms).unwrap_or(standing));
        before != after
    }

    /// The trial ended without saying anything.
    pub fn give_up_trial(&self, now_ms: u64) {
        self.change(|standing| standing.untried(now_ms));
    }

    /// The verdict of the active health check. True when it is another one than before.
    pub fn checked(&self, down: bool, now_ms: u64) -> bool {
        let (before, after) = self.change(|standing| standing.checked(down, now_ms));
        before.is_down() != after.is_down()
    }

    /// The peer asked to be left alone until then.
    pub fn rest(&self, until_ms: u64) {
        self.change(|standing| standing.resting(until_ms));
    }

    /// Notes an attempt that went well. True when the endpoint came back by it.
    pub fn succeeded(&self, policy: &OutlierPolicy, entry: Entry, now_ms: u64) -> bool {
        if policy.error_percent > 0 {
            self.count(policy, false, now_ms);
        }
        if self.standing().is_spotless() {
            return false;
        }
        let (before, after) = self.change(|standing| standing.succeeded(entry, now_ms));
        let back = before.is_out() && !after.is_out();
        if back {
            self.window.store(0, Relaxed);
        }
        back
    }

    /// Notes an attempt that went wrong. `room` is asked only where the endpoint would be ejected.
    /// How long it is left alone now (ms), when this error ejected it.
    pub fn failed(
        &self,
        policy: &OutlierPolicy,
        entry: Entry,
        now_ms: u64,
        room: impl Fn() -> bool,
    ) -> Option<u64> {
        let over = policy.error_percent > 0 && self.count(policy, true, now_ms);
        let (before, after) = self.change(|standing| {
            let out = standing.failed(policy, entry, over, true, now_ms);
            if standing.is_out() || !out.is_out() || room() {
                out
            } else {
                standing.failed(policy, entry, over, false, now_ms)
            }
        });
        let left = after.left_ms(now_ms);
        let ejected = after != before && after.is_out();
        if ejected {
            self.ejections.fetch_add(1, Relaxed);
        }
        ejected.then_some(left)
    }

    /// Counts a request; true when the window has too many errors.
    fn count(&self, policy: &OutlierPolicy, error: bool, now_ms: u64) -> bool {
        let mut bits = self.window.load(Relaxed);
        loop {
            let window = Window::from_bits(bits).with(now_ms, policy.interval_ms, error);
            match self.window.compare_exchange_weak(bits, window.to_bits(), Relaxed, Relaxed) {
                Ok(_) => return window.is_over(policy.error_percent, policy.min_requests),
                Err(now) => bits = now,
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::SeqCst;

    use super::*;

    const POLICY: OutlierPolicy = OutlierPolicy {
        consecutive_errors: 5,
        error_percent: 50,
        min_requests: 20,
        interval_ms: 10_000,
        ejection_ms: 1000,
        ejection_max_ms: 5000,
        ejected_percent_max: 50,
    };

    #[test]
    fn one_of_many_threads_takes_the_trial() {
        let health = EndpointHealth::new(0);
        health.rest(1000);
        let takers = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    if health.begin_trial(1000) {
                        takers.fetch_add(1, SeqCst);
                    }
                });
            }
        });
        assert_eq!(takers.load(SeqCst), 1);
    }

    #[test]
    fn errors_of_all_threads_count_together_and_eject_once() {
        let health = EndpointHealth::new(0);
        let policy = OutlierPolicy { error_percent: 0, ..POLICY };
        std::thread::scope(|scope| {
            for _ in 0..5 {
                scope.spawn(|| health.failed(&policy, Entry::Admitted, 7, || true));
            }
        });
        assert_eq!(health.standing().phase(), Phase::Ejected);
        assert_eq!((health.ejections(), health.standing().left_ms(7)), (1, 1000));
    }

    #[test]
    fn half_of_twenty_requests_eject_although_no_five_in_a_row_failed() {
        let health = EndpointHealth::new(0);
        for _ in 0..10 {
            assert!(health.standing().is_admitting());
            health.succeeded(&POLICY, Entry::Admitted, 1);
            health.failed(&POLICY, Entry::Admitted, 1, || true);
        }
        assert_eq!(health.standing().phase(), Phase::Ejected);
        assert!(health.begin_trial(1001));
        assert!(health.succeeded(&POLICY, Entry::Trial, 1001));
        // The old window is forgotten.
        assert_eq!(health.failed(&POLICY, Entry::Admitted, 1002, || true), None);
        assert!(health.standing().is_admitting());
    }

    #[test]
    fn without_room_the_error_is_counted_and_the_endpoint_stays() {
        let health = EndpointHealth::new(0);
        for _ in 0..30 {
            assert_eq!(health.failed(&POLICY, Entry::Admitted, 1, || false), None);
        }
        assert_eq!(health.failed(&POLICY, Entry::Admitted, 1, || true), Some(1000));
    }
}
