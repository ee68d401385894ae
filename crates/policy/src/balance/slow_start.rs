//! Slow start: an endpoint that was added or has recovered warms up before it gets its full share.

/// What it gets from the first moment on, in percent.
pub const FIRST_PERCENT: u8 = 10;

/// Percent of its share at `now_ms` for an endpoint that takes traffic since `since_ms`; it rises
/// evenly over `slow_start_ms`, of which 0 means no slow start.
pub fn ramp(since_ms: u64, now_ms: u64, slow_start_ms: u64) -> u8 {
    let elapsed = now_ms.saturating_sub(since_ms);
    if elapsed >= slow_start_ms {
        return 100;
    }
    let rest = u64::from(100 - FIRST_PERCENT);
    FIRST_PERCENT + (rest * elapsed / slow_start_ms) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_rises_evenly_from_a_tenth() {
        let at = |now| ramp(1_000, now, 30_000);
        assert_eq!((at(0), at(1_000), at(16_000), at(30_999), at(31_000)), (10, 10, 55, 99, 100));
        assert_eq!(ramp(5, 5, 0), 100);
        assert_eq!(ramp(0, u64::MAX, u64::MAX), 100);
    }
}
