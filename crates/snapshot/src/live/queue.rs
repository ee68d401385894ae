//! The queue before the endpoints of an upstream, as far as all shards share it.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crossbeam_utils::CachePadded;

use crate::series::{PerShard, QueueCell};

/// Who waits because every usable endpoint is at its `connections_max`.
#[derive(Debug)]
pub struct QueueLive {
    /// The upstream.
    pub upstream: String,
    waiting: CachePadded<AtomicUsize>,
    waiting_in: PerShard<AtomicUsize>,
    /// Counters per shard.
    pub cells: PerShard<QueueCell>,
}

impl QueueLive {
    pub(super) fn new(upstream: &str, shards: usize) -> Self {
        Self {
            upstream: upstream.to_owned(),
            waiting: CachePadded::default(),
            waiting_in: PerShard::new(shards),
            cells: PerShard::new(shards),
        }
    }

    /// Exchanges that wait, over all shards.
    pub fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// Exchanges that wait in one shard.
    pub fn waiting_in(&self, shard: usize) -> usize {
        self.waiting_in.of(shard).load(SeqCst)
    }

    /// One more waits in this shard, unless `size` do already.
    pub fn join(&self, shard: usize, size: usize) -> bool {
        let more = |now| (now < size).then_some(now + 1);
        let joined = self.waiting.fetch_update(SeqCst, SeqCst, more).is_ok();
        if joined {
            self.waiting_in.of(shard).fetch_add(1, SeqCst);
        }
        joined
    }

    /// One of this shard waits no longer.
    pub fn leave(&self, shard: usize) {
        self.waiting.fetch_sub(1, SeqCst);
        self.waiting_in.of(shard).fetch_sub(1, SeqCst);
    }
}
