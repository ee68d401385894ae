//! What rate limits have counted: tables of fixed size that all shards share without a lock.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use tidegate_policy::limits::{Rate, TICKS_PER_SECOND, Verdict, WAYS};

/// Buckets of a table that counts by client or field: 65,536 slots, 512 KiB. A slot is in use until
/// what it has counted is made up for. More keys than that at once share slots: then the limit is
/// stricter than it should be, never laxer.
const BUCKETS: usize = 8 * 1024;

/// Times that a bucket is looked at again because another shard has changed it. Each change is
/// somebody's success, so that this ends long before.
const LOOKS_MAX: usize = 1_000;

/// One cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket([AtomicU64; WAYS]);

/// What has been used of a rate limit, by key.
#[derive(Debug)]
pub struct RateTable {
    buckets: Box<[Bucket]>,
    // Random: nobody can choose keys that fall into the bucket of another.
    hasher: RandomState,
    epoch: Instant,
}

impl RateTable {
    /// An empty table. `one`: there is only one key.
    pub fn new(one: bool, epoch: Instant) -> Self {
        let buckets = if one { 1 } else { BUCKETS };
        Self {
            buckets: (0..buckets).map(|_| Bucket::default()).collect(),
            hasher: RandomState::new(),
            epoch,
        }
    }

    /// Takes one request of this key, now. Err: the milliseconds after which there is one again.
    pub fn take(&self, rate: &Rate, key: &impl Hash) -> Result<(), u64> {
        // From 1: a slot that was never used lies in the past.
        let now = 1 + (self.epoch.elapsed().as_nanos() / 100) as u64;
        self.take_at(rate, key, now)
    }

    fn take_at(&self, rate: &Rate, key: &impl Hash, now: u64) -> Result<(), u64> {
        let hash = self.hasher.hash_one(key);
        let index = hash as usize % self.buckets.len();
        let Some(Bucket(slots)) = self.buckets.get(index) else { return Ok(()) };
        for _ in 0..LOOKS_MAX {
            let words = std::array::from_fn(|way| slots[way].load(Relaxed));
            match rate.ask(&words, hash, now) {
                Verdict::Wait(ticks) => return Err(ticks.div_ceil(TICKS_PER_SECOND / 1000)),
                Verdict::Take { way, before, after } => {
                    let Some(slot) = slots.get(way) else { return Ok(()) };
                    if slot.compare_exchange(before, after, Relaxed, Relaxed).is_ok() {
                        return Ok(());
                    }
                }
            }
        }
        Err(1)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn threads_together_get_no_more_than_the_burst() {
        let table = RateTable::new(false, Instant::now());
        let rate = Rate::new(1, 3_600_000_000_000, 100);
        let taken = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        if table.take_at(&rate, &"key", 1).is_ok() {
                            taken.fetch_add(1, Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(taken.load(Relaxed), 100);
    }

    #[test]
    fn keys_are_counted_apart_and_told_how_long_to_wait() {
        let table = RateTable::new(false, Instant::now());
        let rate = Rate::new(1, 2_000_000_000, 1);
        for key in 0..1000 {
            table.take_at(&rate, &key, 1).unwrap();
        }
        assert_eq!(table.take_at(&rate, &7, 1), Err(2000));
        table.take_at(&rate, &7, 1 + 2 * TICKS_PER_SECOND).unwrap();
    }
}
