//! The load that endpoints report about themselves, as one number.

/// Reports older than this no longer count: the member is then taken for average.
pub const REPORT_STALE_MS: u64 = 30_000;

/// What a group counts for in which nobody reports; all members alike.
pub const UNKNOWN: u16 = 500;

/// How much each part of a report counts, in hundredths.
const CPU: f64 = 0.5;
const MEMORY: f64 = 0.2;
const LOAD: f64 = 0.3;

/// A report as permille of what the endpoint can do, 0 to 1000.
///
/// Each part is in percent of its capacity, 0 to 100; what is beyond, or no number, counts as 100.
pub fn busy(cpu_percent: f64, memory_percent: f64, load_percent: f64) -> u16 {
    let part = |value: f64| if value.is_finite() { value.clamp(0.0, 100.0) } else { 100.0 };
    let percent =
        CPU * part(cpu_percent) + MEMORY * part(memory_percent) + LOAD * part(load_percent);
    (percent * 10.0).round() as u16
}

/// What is left of a member, 50 to 1050: never nothing, so that one at its limit is not starved of
/// the requests by which its recovery would show.
pub fn headroom(busy: u16) -> u32 {
    1050 - u32::from(busy.min(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_becomes_permille() {
        assert_eq!(busy(0.0, 0.0, 0.0), 0);
        assert_eq!(busy(100.0, 100.0, 100.0), 1000);
        assert_eq!(busy(40.0, 50.0, 20.0), 360);
        assert_eq!(busy(f64::NAN, 900.0, -3.0), 700);
    }

    #[test]
    fn the_busiest_keeps_a_little() {
        assert_eq!((headroom(0), headroom(1000), headroom(u16::MAX)), (1050, 50, 50));
    }
}
