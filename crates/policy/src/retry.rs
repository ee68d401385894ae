//! Whether, when and how often an attempt is repeated: backoff, Retry-After and the retry budget.

use std::time::Duration;

/// How one exchange may repeat its attempts.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Attempts in all, the first one included; at least 1.
    pub attempts: u32,
    /// Backoff before the second attempt on the same endpoint; doubles with each further one.
    pub delay: Duration,
    /// Upper bound of one backoff, and of a Retry-After that is worth waiting for.
    pub delay_max: Duration,
}

/// How long to wait before repeating on an endpoint that has been tried `repeats` times already.
///
/// None: the peer asked for a longer pause (`retry_after`) than the policy would wait, so that the
/// caller is better served by the reply it would otherwise lose. `random` is uniform; the jitter
/// takes off up to half of the backoff, never of what the peer asked for.
pub fn backoff(
    policy: &RetryPolicy,
    repeats: u32,
    retry_after: Option<Duration>,
    random: u64,
) -> Option<Duration> {
    let asked = retry_after.unwrap_or_default();
    if asked > policy.delay_max {
        return None;
    }
    let full =
        policy.delay.saturating_mul(1 << repeats.saturating_sub(1).min(16)).min(policy.delay_max);
    let unit = (random >> 11) as f64 / (1u64 << 53) as f64;
    Some(full.mul_f64(0.5 + unit / 2.0).max(asked))
}

/// A token bucket that keeps retries to a share of the traffic, so that a failing upstream is not
/// buried under repeats. In thousandths of a retry, so that it stays an integer.
#[derive(Debug, Clone, Copy)]
pub struct RetryBudget {
    milli: u64,
    refilled_ms: u64,
}

/// The size of a [`RetryBudget`].
#[derive(Debug, Clone, Copy)]
pub struct BudgetLimits {
    /// Retries allowed per 100 exchanges.
    pub percent: u32,
    /// Retries allowed each second whatever the traffic, so that quiet services can retry at all.
    pub floor_per_second: u32,
}

impl RetryBudget {
    /// The bucket holds at most this many seconds' worth of the floor plus 100 retries.
    const BURST_SECONDS: u64 = 10;

    /// A full bucket.
    pub fn full(limits: &BudgetLimits, now_ms: u64) -> Self {
        Self { milli: Self::cap(limits), refilled_ms: now_ms }
    }

    /// What is left, in thousandths of a retry, and when it was last refilled (ms).
    pub fn parts(self) -> (u64, u64) {
        (self.milli, self.refilled_ms)
    }

    /// From its [`RetryBudget::parts`].
    pub fn from_parts(milli: u64, refilled_ms: u64) -> Self {
        Self { milli, refilled_ms }
    }

    fn cap(limits: &BudgetLimits) -> u64 {
        u64::from(limits.floor_per_second) * 1000 * Self::BURST_SECONDS + 100_000
    }

    /// Counts an exchange that begins.
    pub fn deposit(&mut self, limits: &BudgetLimits) {
        self.milli = (self.milli + u64::from(limits.percent) * 10).min(Self::cap(limits));
    }

    /// Takes one retry out of the bucket; false when it is empty.
    pub fn withdraw(&mut self, limits: &BudgetLimits, now_ms: u64) -> bool {
        let elapsed = now_ms.saturating_sub(self.refilled_ms);
        self.refilled_ms = now_ms;
        let refill = elapsed.saturating_mul(u64::from(limits.floor_per_second));
        self.milli = self.milli.saturating_add(refill).min(Self::cap(limits));
        if self.milli < 1000 {
            return false;
        }
        self.milli -= 1000;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        attempts: 3,
        delay: Duration::from_millis(1000),
        delay_max: Duration::from_secs(5),
    };

    #[test]
    fn backoff_doubles_is_jittered_and_bounded() {
        let at = |repeats, random| backoff(&POLICY, repeats, None, random).unwrap_or_default();
        assert_eq!(at(1, 0), Duration::from_millis(500));
        assert!(at(1, u64::MAX) <= Duration::from_millis(1000));
        assert_eq!(at(2, 0), Duration::from_millis(1000));
        assert!(at(30, u64::MAX) <= POLICY.delay_max);
    }

    #[test]
    fn retry_after_is_honoured_up_to_the_bound_and_not_waited_for_beyond() {
        let asked = |s| backoff(&POLICY, 1, Some(Duration::from_secs(s)), 0);
        assert_eq!(asked(2), Some(Duration::from_secs(2)));
        assert_eq!(asked(6), None);
    }

    #[test]
    fn the_budget_limits_retries_to_its_share_of_the_traffic() {
        let limits = BudgetLimits { percent: 20, floor_per_second: 0 };
        let mut budget = RetryBudget::full(&limits, 0);
        let mut granted = 0;
        for _ in 0..10_000 {
            budget.deposit(&limits);
            granted += u32::from(budget.withdraw(&limits, 0));
        }
        assert!((2000..=2100).contains(&granted), "{granted}");
    }

    #[test]
    fn a_quiet_service_still_has_its_floor() {
        let limits = BudgetLimits { percent: 0, floor_per_second: 10 };
        let mut budget = RetryBudget::full(&limits, 0);
        while budget.withdraw(&limits, 0) {}
        assert!(budget.withdraw(&limits, 100));
        assert!(!budget.withdraw(&limits, 100));
    }
}
