//! The set of members that a pick chooses among.

use super::{Candidate, LOCAL_USABLE_PERCENT, MEMBERS_MAX, Turn};

/// Members that may be used; at least one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Members {
    set: u64,
    /// One of them is in its slow start.
    pub(super) ramping: bool,
}

impl Members {
    pub(super) fn count(self) -> u64 {
        u64::from(self.set.count_ones())
    }

    pub(super) fn contains(self, index: usize) -> bool {
        index < MEMBERS_MAX && self.set & (1 << index) != 0
    }

    /// The same without one; None when nobody is left.
    pub(super) fn without(self, index: usize) -> Option<Self> {
        let set = self.set & !(1 << (index & 63));
        (set != 0).then_some(Self { set, ..self })
    }

    /// A subset.
    pub(super) fn only(self, set: u64) -> Self {
        Self { set: self.set & set, ..self }
    }

    /// The member at this place of the set, counted from 0.
    pub(super) fn nth(self, place: u64) -> Option<usize> {
        self.into_iter().nth(usize::try_from(place).ok()?)
    }

    /// The sum of what `of` says of each.
    pub(super) fn sum(
        self,
        of: impl Fn(&Candidate) -> u64,
        candidate: &impl Fn(usize) -> Candidate,
    ) -> u64 {
        self.into_iter().map(|index| of(&candidate(index))).sum()
    }
}

impl IntoIterator for Members {
    type Item = usize;
    type IntoIter = Indexes;

    fn into_iter(self) -> Indexes {
        Indexes(self.set)
    }
}

/// The indexes of a set, in order.
pub(super) struct Indexes(u64);

impl Iterator for Indexes {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        (self.0 != 0).then(|| {
            let index = self.0.trailing_zeros() as usize;
            self.0 &= self.0 - 1;
            index
        })
    }
}

/// May this candidate be used, whatever its tier and zone?
pub(super) fn is_usable(index: usize, candidate: &Candidate, turn: &Turn) -> bool {
    candidate.weight > 0
        && turn.avoided & (1 << (index & 63)) == 0
        && !candidate.draining
        && !candidate.full
        && (candidate.admitting || turn.ignore_health)
}

/// The usable members of the lowest tier that has any, those of our own zone if enough of them are.
pub(super) fn usable(
    count: usize,
    turn: &Turn,
    candidate: &impl Fn(usize) -> Candidate,
) -> Option<Members> {
    let (mut set, mut local, mut tier, mut ramping) = (0u64, 0u64, u32::MAX, false);
    for index in 0..count.min(MEMBERS_MAX) {
        let member = candidate(index);
        if !is_usable(index, &member, turn) || member.priority > tier {
            continue;
        }
        if member.priority < tier {
            (set, local, tier) = (0, 0, member.priority);
        }
        set |= 1 << index;
        local |= u64::from(member.local) << index;
        ramping |= member.ramp < 100;
    }
    if local != 0 && local != set {
        let here = (0..count.min(MEMBERS_MAX))
            .map(candidate)
            .filter(|member| member.local && member.weight > 0 && member.priority == tier)
            .count() as u32;
        if local.count_ones() * 100 >= here * LOCAL_USABLE_PERCENT {
            set = local;
        }
    }
    (set != 0).then_some(Members { set, ramping })
}
