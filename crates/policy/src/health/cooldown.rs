//! The rest of LLM providers: after failures in a row, or for as long as they ask.

use std::time::Duration;

use super::OutlierPolicy;

/// When a provider is given a pause.
#[derive(Debug, Clone, Copy)]
pub struct CooldownPolicy {
    /// Failures in a row that begin a pause.
    pub failures: u32,
    /// How long the pause lasts when the peer does not say.
    pub period: Duration,
}

impl CooldownPolicy {
    /// The same as an ejection that does not grow and that may take every member of the group.
    pub fn outlier(&self) -> OutlierPolicy {
        let period_ms = self.period.as_millis() as u64;
        OutlierPolicy {
            consecutive_errors: self.failures,
            error_percent: 0,
            min_requests: 1,
            interval_ms: 1000,
            ejection_ms: period_ms,
            ejection_max_ms: period_ms,
            ejected_percent_max: 100,
        }
    }
}

/// Longest pause that a peer's Retry-After may ask for.
const PAUSE_MAX: Duration = Duration::from_secs(120);

/// The pause that a peer asked for by Retry-After (429, 503, 529), as far as it is granted.
pub fn bounded_pause(retry_after: Option<Duration>) -> Option<Duration> {
    retry_after.filter(|asked| !asked.is_zero()).map(|asked| asked.min(PAUSE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_after_begins_a_bounded_pause() {
        let asked = |s| bounded_pause(Some(Duration::from_secs(s)));
        assert_eq!(asked(7), Some(Duration::from_secs(7)));
        assert_eq!(asked(86_400), Some(PAUSE_MAX));
        assert_eq!(asked(0), None);
        assert_eq!(bounded_pause(None), None);
    }
}
