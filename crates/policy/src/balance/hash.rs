//! The algorithms that keep a key at its member: rendezvous hashing, bounded load, Maglev.

use super::{Algorithm, Candidate, Law, Members, Turn, mix};

/// The member of a key. One that is at its bound is passed over for the key's next one.
pub(super) fn pick(
    law: &Law<'_>,
    members: Members,
    turn: &Turn,
    candidate: &impl Fn(usize) -> Candidate,
) -> Option<usize> {
    let bound = law.bound.map(|hundredths| Bound::of(hundredths, members, candidate));
    let has_room = |index: usize| bound.is_none_or(|bound| bound.admits(&candidate(index)));
    if law.algorithm == Algorithm::Maglev
        && let Some(table) = law.maglev
        && let Some(index) =
            table.walk(turn.key).find(|index| members.contains(*index) && has_room(*index))
    {
        return Some(index);
    }
    best(members, turn.key, candidate, has_room)
        // What is in flight changes while we look: then the bound gives way, not the request.
        .or_else(|| best(members, turn.key, candidate, |_| true))
}

fn best(
    members: Members,
    key: u64,
    candidate: &impl Fn(usize) -> Candidate,
    has_room: impl Fn(usize) -> bool,
) -> Option<usize> {
    let mut best = None;
    for index in members {
        let member = candidate(index);
        let score = rendezvous_score(key, member.identity, member.weight);
        if best.is_none_or(|(highest, _)| score > highest) && has_room(index) {
            best = Some((score, index));
        }
    }
    best.map(|(_, index)| index)
}

/// Weighted rendezvous hashing: -weight / ln(hash mapped to (0,1)). A slow start does not count:
/// a key should move once.
pub(super) fn rendezvous_score(key: u64, identity: u64, weight: u32) -> f64 {
    let mixed = mix(key ^ mix(identity));
    let unit = ((mixed >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -f64::from(weight) / unit.ln()
}

/// Bounded load (Mirrokni, Thorup, Zadimoghaddam 2018): no member takes more than its share of the
/// exchanges in flight, this one included, times the bound.
#[derive(Clone, Copy)]
pub(super) struct Bound {
    hundredths: u32,
    in_flight: u64,
    weight: u64,
}

impl Bound {
    pub(super) fn of(
        hundredths: u32,
        members: Members,
        candidate: &impl Fn(usize) -> Candidate,
    ) -> Self {
        let (mut in_flight, mut weight) = (1, 0);
        for member in members.into_iter().map(candidate) {
            in_flight += u64::from(member.in_flight);
            weight += u64::from(member.weight);
        }
        Self { hundredths: hundredths.max(100), in_flight, weight }
    }

    /// May it take one more? By the pigeonhole principle one of the members may.
    pub(super) fn admits(&self, member: &Candidate) -> bool {
        let share =
            u128::from(self.hundredths) * u128::from(self.in_flight) * u128::from(member.weight);
        u128::from(member.in_flight) < share.div_ceil(100 * u128::from(self.weight.max(1)))
    }
}
