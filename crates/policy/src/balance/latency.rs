//! Peak EWMA: a latency that rises at once and falls slowly, and is forgotten when nothing is heard.

/// Time constant of the decay. Long enough to bridge a quiet spell, short enough that a slow member
/// is tried again soon.
pub const DECAY_MS: u64 = 10_000;

/// The average after a sample, both in µs, `elapsed_ms` after the one before.
///
/// A sample above the average replaces it: a member that turns slow is felt with its first reply.
pub fn observed(average_us: f32, elapsed_ms: u64, sample_us: f32) -> f32 {
    let average = decayed(average_us, elapsed_ms);
    if !sample_us.is_finite() || sample_us < 0.0 {
        return average;
    }
    if sample_us >= average {
        return sample_us;
    }
    // Replies in quick succession count less each, so that the constant is one of time.
    let keep = (-(elapsed_ms.max(1) as f32) / DECAY_MS as f32).exp();
    average.mul_add(keep, sample_us * (1.0 - keep)).max(sample_us)
}

/// The average, `elapsed_ms` after the last sample.
pub fn decayed(average_us: f32, elapsed_ms: u64) -> f32 {
    if elapsed_ms == 0 {
        return average_us;
    }
    average_us * (-(elapsed_ms as f32) / DECAY_MS as f32).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_counts_at_once_and_is_forgotten_slowly() {
        let peak = observed(1_000.0, 10, 50_000.0);
        assert!((peak - 50_000.0).abs() < 0.1);
        let after = (0..100).fold(peak, |average, _| observed(average, 100, 1_000.0));
        assert!((1_000.0..20_000.0).contains(&after), "{after}");
        let later = (0..1000).fold(peak, |average, _| observed(average, 100, 1_000.0));
        assert!((900.0..1_100.0).contains(&later), "{later}");
    }

    #[test]
    fn silence_lets_a_slow_member_be_tried_again() {
        assert!(decayed(1_000_000.0, 10 * DECAY_MS) < 100.0);
        assert!((decayed(5.0, 0) - 5.0).abs() < f32::EPSILON);
    }

    #[test]
    fn what_is_no_number_changes_nothing() {
        assert!((observed(10.0, 0, f32::NAN) - 10.0).abs() < f32::EPSILON);
        assert!((observed(10.0, 0, -1.0) - 10.0).abs() < f32::EPSILON);
    }
}
