//! May this exchange start now, wait, or be refused: the arithmetic, without the queue itself.

/// The limits that admission holds.
#[derive(Debug, Clone, Copy)]
pub struct AdmissionLimits {
    /// Exchanges in flight at once.
    pub in_flight: usize,
    /// Exchanges that may wait beyond that.
    pub waiting: usize,
    /// Bytes that the process may use.
    pub memory: u64,
}

/// What the gauges say now.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Exchanges in flight.
    pub in_flight: usize,
    /// Exchanges waiting.
    pub waiting: usize,
    /// Bytes that the process uses.
    pub memory: u64,
}

/// The answer of admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Start.
    Admit,
    /// Wait in the queue until a place is free or the wait has lasted too long.
    Wait,
    /// No: in flight and queue are both full.
    RefuseFull,
    /// No: the process is at its memory limit.
    RefuseMemory,
}

/// Share of the memory limit from which on nothing new starts.
pub const MEMORY_REFUSE_PERCENT: u64 = 95;

/// Decides on one exchange.
pub fn decide(limits: &AdmissionLimits, load: &Load) -> Decision {
    if load.memory.saturating_mul(100) >= limits.memory.saturating_mul(MEMORY_REFUSE_PERCENT) {
        Decision::RefuseMemory
    } else if load.in_flight < limits.in_flight && load.waiting == 0 {
        Decision::Admit
    } else if load.waiting < limits.waiting {
        Decision::Wait
    } else {
        Decision::RefuseFull
    }
}

/// Whole seconds for a Retry-After: how long the work ahead takes at the rate it drains, within
/// 1..=60. A rate of 0 (nothing has ended lately) gives `fallback`.
pub fn retry_after_seconds(ahead: usize, ended_per_second: f64, fallback: u64) -> u64 {
    let seconds = if ended_per_second > 0.0 {
        (ahead as f64 / ended_per_second).ceil() as u64
    } else {
        fallback
    };
    seconds.clamp(1, 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: AdmissionLimits = AdmissionLimits { in_flight: 10, waiting: 5, memory: 1000 };

    fn with(in_flight: usize, waiting: usize, memory: u64) -> Decision {
        decide(&LIMITS, &Load { in_flight, waiting, memory })
    }

    #[test]
    fn starts_below_the_limit_waits_at_it_and_refuses_beyond_the_queue() {
        assert_eq!(with(9, 0, 0), Decision::Admit);
        assert_eq!(with(10, 0, 0), Decision::Wait);
        assert_eq!(with(10, 5, 0), Decision::RefuseFull);
    }

    #[test]
    fn nobody_overtakes_the_queue() {
        assert_eq!(with(9, 1, 0), Decision::Wait);
    }

    #[test]
    fn memory_refuses_before_anything_else() {
        assert_eq!(with(0, 0, 949), Decision::Admit);
        assert_eq!(with(0, 0, 950), Decision::RefuseMemory);
    }

    #[test]
    fn retry_after_follows_the_drain_rate() {
        assert_eq!(retry_after_seconds(1500, 500.0, 2), 3);
        assert_eq!(retry_after_seconds(1500, 0.0, 2), 2);
        assert_eq!(retry_after_seconds(1, 1000.0, 2), 1);
        assert_eq!(retry_after_seconds(100_000, 1.0, 2), 60);
    }
}
