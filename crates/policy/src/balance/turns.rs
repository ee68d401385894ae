//! The algorithms that go round or throw dice.

use super::{Candidate, GOLDEN, Members, Turn, scaled};

/// Equal turns; where a member is in its slow start, turns in proportion to how far it is.
pub(super) fn equal(
    members: Members,
    turn: &Turn,
    candidate: &impl Fn(usize) -> Candidate,
) -> Option<usize> {
    if !members.ramping {
        return members.nth(turn.cursor % members.count().max(1));
    }
    let ramp = |member: &Candidate| u64::from(member.ramp);
    random(members, turn.cursor.wrapping_mul(GOLDEN), ramp, candidate)
}

/// Turns in proportion to the weights.
pub(super) fn weighted(
    members: Members,
    turn: &Turn,
    candidate: &impl Fn(usize) -> Candidate,
) -> Option<usize> {
    random(members, turn.cursor.wrapping_mul(GOLDEN), Candidate::share, candidate)
}

/// The member at a uniformly random point, each as wide as `share` says.
pub(super) fn random(
    members: Members,
    uniform: u64,
    share: impl Fn(&Candidate) -> u64,
    candidate: &impl Fn(usize) -> Candidate,
) -> Option<usize> {
    let mut left = scaled(uniform, members.sum(&share, candidate));
    let mut last = None;
    for index in members {
        last = Some(index);
        let width = share(&candidate(index));
        if left < width {
            break;
        }
        left -= width;
    }
    // A weight may have changed between the two looks: then the last one takes what is left.
    last
}
