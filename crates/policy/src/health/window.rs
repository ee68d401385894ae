//! Requests and errors of the interval in progress, in one machine word.

/// Counts of one interval. A new interval begins at zero: whoever counts first in it starts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    /// Which interval: time divided by its length, the lower bits of it.
    nth: u32,
    requests: u32,
    errors: u32,
}

/// Bits of each count; counts beyond stay at the largest.
const COUNT_BITS: u32 = 20;
const COUNT_MAX: u32 = (1 << COUNT_BITS) - 1;

/// Bits of the interval's number.
const NTH_BITS: u32 = 24;

impl Window {
    /// From its word; 0 is an empty window.
    pub fn from_bits(bits: u64) -> Self {
        Self {
            nth: (bits >> (2 * COUNT_BITS)) as u32,
            requests: (bits >> COUNT_BITS) as u32 & COUNT_MAX,
            errors: bits as u32 & COUNT_MAX,
        }
    }

    /// As one word.
    pub fn to_bits(self) -> u64 {
        u64::from(self.nth) << (2 * COUNT_BITS)
            | u64::from(self.requests) << COUNT_BITS
            | u64::from(self.errors)
    }

    /// Counts a request that ended at `now_ms`; intervals last `interval_ms`.
    pub fn with(self, now_ms: u64, interval_ms: u64, error: bool) -> Self {
        let nth = (now_ms / interval_ms.max(1)) as u32 & ((1 << NTH_BITS) - 1);
        let before = if self.nth == nth { self } else { Self { nth, requests: 0, errors: 0 } };
        // At the top both are halved, so that the share stays what it is.
        let (requests, errors) = if before.requests == COUNT_MAX {
            (before.requests / 2, before.errors / 2)
        } else {
            (before.requests, before.errors)
        };
        Self { nth, requests: requests + 1, errors: errors + u32::from(error) }
    }

    /// Have errors reached `percent` of at least `min_requests`? A percentage of 0 is never reached.
    pub fn is_over(self, percent: u32, min_requests: u32) -> bool {
        percent > 0
            && self.requests >= min_requests
            && u64::from(self.errors) * 100 >= u64::from(self.requests) * u64::from(percent)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counted(errors: u32, requests: u32) -> Window {
        (0..requests).fold(Window::default(), |w, n| w.with(5000, 10_000, n < errors))
    }

    #[test]
    fn a_percentage_needs_enough_requests() {
        assert!(!counted(19, 19).is_over(50, 20));
        assert!(counted(10, 20).is_over(50, 20));
        assert!(!counted(9, 20).is_over(50, 20));
        assert!(!counted(20, 20).is_over(0, 20), "0 switches it off");
    }

    #[test]
    fn a_new_interval_begins_at_zero() {
        let before = counted(20, 20);
        let after = before.with(10_000, 10_000, true);
        assert!(before.is_over(50, 20) && !after.is_over(50, 2));
        assert!(after.with(19_999, 10_000, true).is_over(50, 2));
    }

    proptest! {
        #[test]
        fn a_window_fits_its_word(steps in proptest::collection::vec((0u64..1 << 44, any::<bool>()), 0..50)) {
            let mut window = Window::default();
            for (now, error) in steps {
                window = window.with(now, 1000, error);
                prop_assert_eq!(Window::from_bits(window.to_bits()), window);
                prop_assert!(window.errors <= window.requests);
            }
        }

        #[test]
        fn counts_stay_within_their_bits(requests in 0..=COUNT_MAX, share in 0.0..1.0) {
            let full = Window { nth: 0, requests, errors: (f64::from(requests) * share) as u32 };
            let next = full.with(0, 1000, true);
            prop_assert!(next.requests <= COUNT_MAX && next.errors <= next.requests);
        }
    }
}
