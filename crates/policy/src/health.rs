//! Passive health: when an endpoint that keeps failing is left alone for a while.

use std::time::Duration;

/// When an endpoint is given a pause.
#[derive(Debug, Clone, Copy)]
pub struct CooldownPolicy {
    /// Failures in a row that begin a pause.
    pub failures: u32,
    /// How long the pause lasts when the peer does not say.
    pub period: Duration,
}

/// Longest pause that a peer's Retry-After may ask for.
pub const COOLDOWN_MAX: Duration = Duration::from_secs(120);

/// The pause that follows a failure, if any.
///
/// `failures_in_a_row` counts this one. A peer that named a Retry-After (429, 503, 529) is left
/// alone at once for that long.
pub fn pause_after_failure(
    policy: &CooldownPolicy,
    failures_in_a_row: u32,
    retry_after: Option<Duration>,
) -> Option<Duration> {
    if let Some(asked) = retry_after.filter(|asked| !asked.is_zero()) {
        return Some(asked.min(COOLDOWN_MAX));
    }
    (failures_in_a_row >= policy.failures).then_some(policy.period)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: CooldownPolicy = CooldownPolicy { failures: 3, period: Duration::from_secs(10) };

    #[test]
    fn the_third_failure_in_a_row_begins_a_pause() {
        assert_eq!(pause_after_failure(&POLICY, 2, None), None);
        assert_eq!(pause_after_failure(&POLICY, 3, None), Some(POLICY.period));
    }

    #[test]
    fn a_retry_after_begins_a_bounded_pause_at_once() {
        let asked = |s| pause_after_failure(&POLICY, 1, Some(Duration::from_secs(s)));
        assert_eq!(asked(7), Some(Duration::from_secs(7)));
        assert_eq!(asked(86_400), Some(COOLDOWN_MAX));
        assert_eq!(asked(0), None);
    }
}
