//! Health of endpoints: when one that fails is left alone, and how it comes back.
//!
//! - [`Standing`] is the state machine of one endpoint (and of a breaker): admitting, ejected,
//!   probing. It fits one machine word, so that shards change it by compare-and-swap.
//! - [`Window`] counts requests and errors, for ejection by percentage. One word as well.
//! - [`may_eject`] keeps enough of a group in use; [`is_panic`] says when health is ignored.

mod cooldown;
mod standing;
mod window;

pub use cooldown::{CooldownPolicy, bounded_pause};
pub use standing::{Entry, OutlierPolicy, Phase, Standing};
pub use window::Window;

/// May one more member be ejected, where `out` of `members` are?
pub fn may_eject(out: usize, members: usize, percent_max: u32) -> bool {
    (out + 1) * 100 <= members * percent_max as usize
}

/// Is health ignored, because fewer than `threshold` percent of the members admit?
pub fn is_panic(admitting: usize, members: usize, threshold: u32) -> bool {
    admitting * 100 < members * threshold as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_percentage_of_a_group_is_ejected() {
        for (out, members, percent, may) in [
            (0, 1, 50, false),
            (0, 1, 100, true),
            (0, 2, 50, true),
            (1, 2, 50, false),
            (0, 3, 50, true),
            (1, 3, 50, false),
            (1, 4, 50, true),
            (0, 10, 0, false),
        ] {
            assert_eq!(may_eject(out, members, percent), may, "{out} of {members}, {percent} %");
        }
    }

    #[test]
    fn health_is_ignored_below_the_threshold_only() {
        for (admitting, members, threshold, panic) in [
            (0, 3, 0, false),
            (0, 3, 1, true),
            (1, 3, 50, true),
            (2, 3, 50, false),
            (1, 2, 50, false),
            (3, 3, 100, false),
            (2, 3, 100, true),
        ] {
            assert_eq!(is_panic(admitting, members, threshold), panic, "{admitting} of {members}");
        }
    }
}
