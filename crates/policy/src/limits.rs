//! How often something may happen: the generic cell rate algorithm over a table of fixed size.
//!
//! Each key has a theoretical arrival time (TAT): when all that it has used is made up for. Time is
//! counted in ticks of 100 ns. A slot is one word, so that it changes as a whole: 12 bits of the
//! key's hash above 52 bits of TAT (14 years).

/// Ticks per second.
pub const TICKS_PER_SECOND: u64 = 10_000_000;

/// Slots of a bucket: one cache line.
pub const WAYS: usize = 8;

const TAT_BITS: u32 = 52;
const TAT_MASK: u64 = (1 << TAT_BITS) - 1;

/// A rate and how much may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Ticks from one to the next.
    interval: u64,
    /// Ticks that a TAT may lie ahead of now, before one more is taken.
    tolerance: u64,
}

/// What a bucket says to one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may, once this slot has been changed from `before` to `after`; if it holds something else
    /// by then, the bucket has to be asked again.
    Take {
        /// Which slot.
        way: usize,
        /// What it holds.
        before: u64,
        /// What it will hold.
        after: u64,
    },
    /// It may not, for this many ticks.
    Wait(u64),
}

impl Rate {
    /// `requests` in `per` (nanoseconds), `burst` of them at once. Fewer than one is one.
    ///
    /// The interval is rounded up: at 100,000 a second the rate is at most 1 % too low.
    pub fn new(requests: u64, per_ns: u64, burst: u64) -> Self {
        let interval = (per_ns / 100).div_ceil(requests.max(1)).clamp(1, TAT_MASK >> 2);
        let tolerance = interval.saturating_mul(burst.max(1) - 1).min(TAT_MASK >> 1);
        Self { interval, tolerance }
    }

    /// Decides about one more request of the key with this hash.
    ///
    /// A slot whose TAT has passed is free: forgetting it loses nothing. When all are in use, the
    /// one with the earliest TAT is taken over with what was used there. So a key can be charged
    /// for others in a full bucket, but never comes more often than it may: all slots of a bucket
    /// have TATs at or behind the one that was taken over, from then on until it has passed.
    pub fn ask(&self, bucket: &[u64; WAYS], hash: u64, now: u64) -> Verdict {
        let tag = hash >> TAT_BITS;
        let mut way = 0;
        let mut best = (3, u64::MAX);
        for (index, word) in bucket.iter().enumerate() {
            let tat = word & TAT_MASK;
            let rank = if tat > now && word >> TAT_BITS == tag {
                (0, 0)
            } else if tat <= now {
                (1, 0)
            } else {
                (2, tat)
            };
            if rank < best {
                best = rank;
                way = index;
            }
        }
        let before = bucket[way];
        let tat = (before & TAT_MASK).max(now);
        let ahead = tat - now;
        if ahead > self.tolerance {
            return Verdict::Wait(ahead - self.tolerance);
        }
        let after = (tag << TAT_BITS) | ((tat + self.interval) & TAT_MASK);
        Verdict::Take { way, before, after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const SECOND: u64 = 1_000_000_000;

    fn came(rate: &Rate, bucket: &mut [u64; WAYS], hash: u64, now: u64) -> Result<(), u64> {
        match rate.ask(bucket, hash, now) {
            Verdict::Take { way, before, after } => {
                assert_eq!(bucket[way], before);
                bucket[way] = after;
                Ok(())
            }
            Verdict::Wait(ticks) => Err(ticks),
        }
    }

    #[test]
    fn a_burst_comes_at_once_and_the_rest_at_its_rate() {
        let rate = Rate::new(10, SECOND, 3);
        let mut bucket = [0; WAYS];
        let now = 5 * TICKS_PER_SECOND;
        for _ in 0..3 {
            came(&rate, &mut bucket, 7, now).unwrap();
        }
        let wait = came(&rate, &mut bucket, 7, now).unwrap_err();
        assert_eq!(wait, TICKS_PER_SECOND / 10);
        assert!(came(&rate, &mut bucket, 7, now + wait - 1).is_err());
        came(&rate, &mut bucket, 7, now + wait).unwrap();
        assert!(came(&rate, &mut bucket, 7, now + wait).is_err());
    }

    #[test]
    fn keys_do_not_disturb_each_other() {
        let rate = Rate::new(1, SECOND, 1);
        let mut bucket = [0; WAYS];
        for key in 0..WAYS as u64 {
            came(&rate, &mut bucket, key << TAT_BITS, 1).unwrap();
        }
        for key in 0..WAYS as u64 {
            assert!(came(&rate, &mut bucket, key << TAT_BITS, 2).is_err());
        }
    }

    proptest! {
        /// With more keys than slots too, and whatever the times: no key ever gets more than its
        /// burst and what its rate gives in the time since.
        #[test]
        fn nobody_gets_more_than_burst_and_rate(
            requests in 1_u64..1000, per_ms in 1_u64..10_000, burst in 1_u64..20,
            steps in prop::collection::vec((0_u64..24, 0_u64..3_000_000), 1..400),
        ) {
            let per = per_ms * 1_000_000;
            let rate = Rate::new(requests, per, burst);
            let mut bucket = [0; WAYS];
            let mut now = TICKS_PER_SECOND;
            let mut taken: HashMap<u64, Vec<u64>> = HashMap::new();
            for (key, step) in steps {
                now += step;
                if came(&rate, &mut bucket, key << TAT_BITS, now).is_ok() {
                    taken.entry(key).or_default().push(now);
                }
            }
            for times in taken.values() {
                for (first, start) in times.iter().enumerate() {
                    for (last, end) in times.iter().enumerate().skip(first) {
                        let count = (last - first + 1) as u128;
                        let earned = u128::from(end - start) * 100 * u128::from(requests)
                            / u128::from(per);
                        prop_assert!(count <= u128::from(burst) + earned, "{count} {earned}");
                    }
                }
            }
        }

        /// Who waits as long as told may come.
        #[test]
        fn the_wait_that_is_told_is_enough(
            requests in 1_u64..1_000_000, per_ms in 1_u64..86_400_000, burst in 1_u64..100,
            held in prop::collection::vec(0_u64..u64::MAX, WAYS), hash: u64, now in 0_u64..1 << 50,
        ) {
            let rate = Rate::new(requests, per_ms * 1_000_000, burst);
            let bucket: [u64; WAYS] = std::array::from_fn(|way| held[way]);
            if let Verdict::Wait(ticks) = rate.ask(&bucket, hash, now) {
                let later = rate.ask(&bucket, hash, now + ticks);
                prop_assert!(matches!(later, Verdict::Take { .. }), "{:?}", later);
            }
        }
    }
}
