//! The algorithms that look at what members have in flight.

use super::{Candidate, GOLDEN, Members, Turn, mix, performance, scaled, turns};

/// Has `a` less in flight for its share than `b`?
fn is_lighter(a: (u32, u64), b: (u32, u64)) -> std::cmp::Ordering {
    let of = |in_flight: u32, share: u64| u128::from(in_flight) * u128::from(share);
    of(a.0, b.1).cmp(&of(b.0, a.1))
}

/// The fewest in flight per share; those that are equal take turns by weight, so that an idle
/// group still spreads.
pub(super) fn least(
    members: Members,
    turn: &Turn,
    candidate: &impl Fn(usize) -> Candidate,
) -> Option<usize> {
    let mut best = None;
    let (mut ties, mut total) = (0u64, 0u64);
    for index in members {
        let member = candidate(index);
        let mine = (member.in_flight, member.share());
        let order = best.map_or(std::cmp::Ordering::Less, |best| is_lighter(mine, best));
        if order.is_lt() {
            best = Some(mine);
            (ties, total) = (0, 0);
        }
        if order.is_le() {
            ties |= 1 << index;
            total += mine.1;
        }
    }
    let mut left = scaled(turn.cursor.wrapping_mul(GOLDEN), total);
    let mut last = None;
    for index in members.only(ties) {
        last = Some(index);
        let width = candidate(index).share();
        if left < width {
            break;
        }
        left -= width;
    }
    last
}

/// Two different members by chance; one where there is no second.
fn two(
    members: Members,
    turn: &Turn,
    share: impl Fn(&Candidate) -> u64 + Copy,
    candidate: &impl Fn(usize) -> Candidate,
) -> Option<(usize, Option<usize>)> {
    let first = turns::random(members, turn.random, share, candidate)?;
    let second = members
        .without(first)
        .and_then(|rest| turns::random(rest, mix(turn.random), share, candidate));
    Some((first, second))
}

/// Of two, the one with fewer in flight per share; the first when they are equal, so that an idle
/// group is spread by weight.
fn lighter_of_two(
    members: Members,
    turn: &Turn,
    share: impl Fn(&Candidate) -> u64 + Copy,
    candidate: &impl Fn(usize) -> Candidate,
) -> Option<usize> {
    let (first, second) = two(members, turn, share, candidate)?;
    let Some(second) = second else { return Some(first) };
    let load = |index| {
        let member = candidate(index);
        (member.in_flight, share(&member))
    };
    Some(if is_lighter(load(second), load(first)).is_lt() { second } else { first })
}

/// The power of two choices (Mitzenmacher 2001).
pub(super) fn p2c(
    members: Members,
    turn: &Turn,
    candidate: &impl Fn(usize) -> Candidate,
) -> Option<usize> {
    lighter_of_two(members, turn, Candidate::share, candidate)
}

/// Two by chance, the lower cost of them: peak latency times what would then be in flight.
pub(super) fn peak_ewma(
    members: Members,
    turn: &Turn,
    candidate: &impl Fn(usize) -> Candidate,
) -> Option<usize> {
    let (first, second) = two(members, turn, Candidate::share, candidate)?;
    let Some(second) = second else { return Some(first) };
    let (a, b) = (candidate(first), candidate(second));
    // One that has not been measured is as fast as the other: its load decides.
    let known = |own: f32, other: f32| f64::from(if own > 0.0 { own } else { other.max(1.0) });
    let mean = (a.share() + b.share()) as f64 / 2.0;
    let cost = |member: &Candidate, latency: f64| {
        latency * (1.0 + f64::from(member.in_flight) * mean / member.share().max(1) as f64)
    };
    let (of_a, of_b) = (known(a.latency_us, b.latency_us), known(b.latency_us, a.latency_us));
    Some(if cost(&b, of_b) < cost(&a, of_a) { second } else { first })
}

/// Two by weight and reported headroom, the one with fewer in flight for these.
pub(super) fn performance(
    members: Members,
    turn: &Turn,
    candidate: &impl Fn(usize) -> Candidate,
) -> Option<usize> {
    let average = average_busy(members, candidate);
    let share = |member: &Candidate| effective_share(member, average);
    lighter_of_two(members, turn, share, candidate)
}

/// Weight, ramp and reported headroom in one number.
pub(super) fn effective_share(member: &Candidate, average_busy: u16) -> u64 {
    member.share() * u64::from(performance::headroom(member.busy.unwrap_or(average_busy)))
}

/// The average of those who report, which counts for those who do not.
pub(super) fn average_busy(members: Members, candidate: &impl Fn(usize) -> Candidate) -> u16 {
    let (mut sum, mut count) = (0u32, 0u32);
    for busy in members.into_iter().filter_map(|index| candidate(index).busy) {
        sum += u32::from(busy);
        count += 1;
    }
    sum.checked_div(count).map_or(performance::UNKNOWN, |average| average as u16)
}
