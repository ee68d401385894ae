//! Sampling the process: resident memory, the rate at which exchanges end, tasks that leak.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tidegate_snapshot::series::Counter;
use tidegate_snapshot::{Live, Reason};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, warn};

use crate::process;

/// How often memory is sampled: the memory limit is as coarse as this.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);

/// Samples of memory for each one of the rate of exchanges: one second.
const SAMPLES_PER_RATE: u32 = 4;

/// Samples of memory for each look at the number of tasks: 30 seconds.
const SAMPLES_PER_CENSUS: u32 = 120;

/// Tasks beyond what open connections explain: from here on a warning.
const SURPLUS_WARNING: u64 = 2_000;

/// From here on an error.
const SURPLUS_ERROR: u64 = 5_000;

/// What is refused at admission: it ends at once and says nothing of how fast places become free.
const REFUSED: [Reason; 4] = [Reason::Busy, Reason::QueueTimeout, Reason::Memory, Reason::Draining];

/// Samples until the runtime ends.
pub(crate) async fn run(live: Arc<Live>) {
    let mut ticks = interval(SAMPLE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = (Instant::now(), Exchanges::of(&live));
    let mut count: u32 = 0;
    loop {
        ticks.tick().await;
        count = count.wrapping_add(1);
        if let Some(bytes) = process::resident_bytes() {
            live.gauges.memory.store(bytes, Relaxed);
        }
        if count.is_multiple_of(SAMPLES_PER_RATE) {
            let now = (Instant::now(), Exchanges::of(&live));
            let ended = now.1.ended_since(before.1);
            let rate = ended as f64 / now.0.duration_since(before.0).as_secs_f64().max(0.001);
            live.gauges.ended_per_second.store(rate.round() as u64, Relaxed);
            before = now;
        }
        if count.is_multiple_of(SAMPLES_PER_CENSUS) {
            census(&live);
        }
    }
}

/// Tasks of the data plane that are alive, over all shards.
pub(crate) fn tasks(live: &Live) -> u64 {
    live.shards.iter().map(|cell| cell.tasks.load(Relaxed)).sum()
}

/// Every connection has one task. Many more than that are a leak.
fn census(live: &Live) {
    let tasks = tasks(live);
    let connections = live.gauges.connections.load(Relaxed) as u64;
    match tasks.saturating_sub(connections) {
        SURPLUS_ERROR.. => error!(tasks, connections, "far more tasks than connections explain"),
        SURPLUS_WARNING.. => warn!(tasks, connections, "more tasks than connections explain"),
        _ => {}
    }
}

/// Exchanges at a moment, over all shards.
#[derive(Debug, Clone, Copy)]
struct Exchanges {
    /// Begun since the start of the process.
    begun: u64,
    /// Refused at admission since then.
    refused: u64,
    /// Waiting or in flight now.
    present: u64,
}

impl Exchanges {
    fn of(live: &Live) -> Self {
        let gauges = &live.gauges;
        let refused = |reason: &Reason| -> u64 {
            live.shards
                .iter()
                .filter_map(|c| c.ended.get(*reason as usize))
                .map(Counter::value)
                .sum()
        };
        Self {
            begun: live.shards.iter().map(|cell| cell.requests.value()).sum(),
            refused: REFUSED.iter().map(refused).sum(),
            present: (gauges.in_flight.load(Relaxed) + gauges.waiting.load(Relaxed)) as u64,
        }
    }

    /// How many ended in between that had been admitted. The three numbers are not read at one
    /// moment, so that a small negative sum is possible; it counts as none.
    fn ended_since(self, before: Self) -> u64 {
        let added = self.begun.wrapping_sub(before.begun) + before.present;
        added.saturating_sub(self.present + self.refused.wrapping_sub(before.refused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(begun: u64, refused: u64, present: u64) -> Exchanges {
        Exchanges { begun, refused, present }
    }

    #[test]
    fn what_began_and_is_not_there_any_more_has_ended() {
        assert_eq!(at(150, 0, 10).ended_since(at(100, 0, 30)), 70);
        assert_eq!(at(100, 0, 0).ended_since(at(100, 0, 7)), 7);
    }

    #[test]
    fn refusals_do_not_count_as_ended() {
        assert_eq!(at(1_100, 990, 10).ended_since(at(100, 0, 10)), 10);
    }

    #[test]
    fn a_torn_reading_counts_as_none() {
        assert_eq!(at(100, 0, 3).ended_since(at(100, 0, 2)), 0);
    }

    #[test]
    fn counters_are_summed_over_shards() {
        let live = Live::new(3);
        live.shards.of(0).requests.add(5);
        live.shards.of(2).requests.add(6);
        live.shards.of(1).ended[Reason::Busy as usize].add(2);
        live.shards.of(1).ended[Reason::ClientGone as usize].add(1);
        live.gauges.waiting.store(1, Relaxed);
        live.gauges.in_flight.store(2, Relaxed);
        let now = Exchanges::of(&live);
        assert_eq!((now.begun, now.refused, now.present), (11, 2, 3));
    }
}
