//! What balancing knows of an endpoint: reported load, latency, a weight or a drain of the moment.

use std::sync::atomic::Ordering::Relaxed;

use tidegate_policy::balance::performance::REPORT_STALE_MS;
use tidegate_policy::balance::{latency, performance};

use super::EndpointLive;

/// Bits of the load in a packed report; the time stands above them.
const BUSY_BITS: u32 = 16;

impl EndpointLive {
    /// Stands for "no weight of the moment".
    pub const NO_WEIGHT: u32 = u32::MAX;

    /// Takes in what the endpoint reports of itself: CPU, memory and load, each in percent of its
    /// capacity (0 to 100), at `now_ms` ([`super::Live::now_ms`]).
    pub fn report(&self, cpu_percent: f64, memory_percent: f64, load_percent: f64, now_ms: u64) {
        let busy = performance::busy(cpu_percent, memory_percent, load_percent);
        // One more than it is, so that no report is 0.
        self.reported.store(now_ms << BUSY_BITS | u64::from(busy + 1), Relaxed);
    }

    /// What it reported last, in permille of its capacity; None when it never did or too long ago.
    pub fn busy(&self, now_ms: u64) -> Option<u16> {
        let packed = self.reported.load(Relaxed);
        let busy = (packed as u16).checked_sub(1)?;
        (now_ms.saturating_sub(packed >> BUSY_BITS) <= REPORT_STALE_MS).then_some(busy)
    }

    /// From now on it takes nothing new (true), or takes its part again.
    pub fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Relaxed);
    }

    /// Has somebody said that it should take nothing new?
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Replaces the configured weight until the process ends; None brings it back.
    pub fn set_weight(&self, weight: Option<u32>) {
        self.weight.store(weight.unwrap_or(Self::NO_WEIGHT), Relaxed);
    }

    /// The weight that replaces the configured one.
    pub fn weight(&self) -> Option<u32> {
        Some(self.weight.load(Relaxed)).filter(|weight| *weight != Self::NO_WEIGHT)
    }

    /// Takes in the time to the first byte of a reply, or to a failure.
    pub fn observe_latency(&self, sample_us: u64, now_ms: u64) {
        let fold = |packed| {
            let (average, at) = unpack(packed);
            let elapsed = u64::from((now_ms as u32).wrapping_sub(at));
            Some(pack(latency::observed(average, elapsed, sample_us as f32), now_ms))
        };
        // The closure never refuses, so that there is nothing to handle.
        let _ = self.latency.fetch_update(Relaxed, Relaxed, fold);
    }

    /// Its peak latency in µs as of `now_ms`; 0 when nothing was measured.
    pub fn latency_us(&self, now_ms: u64) -> f32 {
        let (average, at) = unpack(self.latency.load(Relaxed));
        latency::decayed(average, u64::from((now_ms as u32).wrapping_sub(at)))
    }
}

/// The average in µs above the time, of which the lower half is enough.
fn pack(average: f32, now_ms: u64) -> u64 {
    u64::from(average.to_bits()) << 32 | u64::from(now_ms as u32)
}

fn unpack(packed: u64) -> (f32, u32) {
    (f32::from_bits((packed >> 32) as u32), packed as u32)
}

#[cfg(test)]
mod tests {
    use crate::Live;

    #[test]
    fn a_report_counts_until_it_is_stale() {
        let endpoint = Live::new(1).endpoint("http://a:1");
        assert_eq!(endpoint.busy(5), None);
        endpoint.report(0.0, 0.0, 0.0, 0);
        assert_eq!((endpoint.busy(30_000), endpoint.busy(30_001)), (Some(0), None));
        endpoint.report(100.0, 100.0, 100.0, 40_000);
        assert_eq!(endpoint.busy(40_000), Some(1000));
    }

    #[test]
    fn a_weight_of_the_moment_can_be_zero() {
        let endpoint = Live::new(1).endpoint("http://a:1");
        assert_eq!(endpoint.weight(), None);
        endpoint.set_weight(Some(0));
        assert_eq!(endpoint.weight(), Some(0));
        endpoint.set_weight(None);
        assert_eq!(endpoint.weight(), None);
    }

    #[test]
    fn the_latency_is_a_peak_that_decays() {
        let endpoint = Live::new(1).endpoint("http://a:1");
        assert!(endpoint.latency_us(1_000) < f32::EPSILON);
        endpoint.observe_latency(800, 1_000);
        endpoint.observe_latency(100, 1_001);
        let now = endpoint.latency_us(1_001);
        assert!((700.0..=800.0).contains(&now), "{now}");
        assert!(endpoint.latency_us(31_001) < 50.0);
    }
}
