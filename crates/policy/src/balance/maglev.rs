//! The table of Maglev hashing (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load
//! Balancer", NSDI 2016, section 3.4): built once per configuration, looked up in one step.

use super::{MEMBERS_MAX, mix};

/// Slots of the table, primes: for small groups and for all others. With at least 1,000 slots per
/// member every share is within 0.1 % of its law.
const SLOTS_SMALL: u32 = 16_381;
const SLOTS: u32 = 65_537;
const SMALL: usize = 16;

/// Nobody has this slot yet.
const FREE: u8 = u8::MAX;

/// Slots to members.
#[derive(Debug, Clone)]
pub struct MaglevTable(Box<[u8]>);

impl MaglevTable {
    /// The table of members given as identity and weight, of which the first [`MEMBERS_MAX`] count;
    /// None when none has a weight.
    pub fn build(members: &[(u64, u32)]) -> Option<Self> {
        let members = members.get(..MEMBERS_MAX).unwrap_or(members);
        let heaviest = f64::from(members.iter().map(|(_, weight)| *weight).max()?);
        if heaviest <= 0.0 {
            return None;
        }
        let slots = if members.len() <= SMALL { SLOTS_SMALL } else { SLOTS };
        let mut table = vec![FREE; slots as usize].into_boxed_slice();
        let mut takers: Vec<Taker> = members
            .iter()
            .map(|(identity, weight)| Taker::new(*identity, *weight, slots))
            .collect();
        let mut left = slots;
        while left > 0 {
            for (index, taker) in takers.iter_mut().enumerate() {
                // The heaviest takes a slot each round, the others as often as their weight says.
                taker.credit += f64::from(taker.weight) / heaviest;
                if taker.credit < 1.0 || left == 0 {
                    continue;
                }
                taker.credit -= 1.0;
                if taker.take(&mut table, slots, index as u8) {
                    left -= 1;
                }
            }
        }
        Some(Self(table))
    }

    /// The members of a key in the order of its preference; members may come more than once.
    ///
    /// Ends after a bounded number of slots.
    pub(super) fn walk(&self, key: u64) -> impl Iterator<Item = usize> {
        let slots = self.0.len() as u64;
        // Each key goes on with a step of its own, so that the keys of a member that is not usable
        // are spread over all others.
        let step = mix(key ^ 0x5bd1_e995) % (slots - 1) + 1;
        let mut slot = mix(key) % slots;
        (0..WALK_MAX).filter_map(move |_| {
            let member = self.0.get(slot as usize).copied();
            slot = (slot + step) % slots;
            member.map(usize::from)
        })
    }
}

/// Slots looked at for one key. Far more than it takes unless next to no member is usable.
const WALK_MAX: u32 = 4 * MEMBERS_MAX as u32;

/// A member's own order of the slots.
struct Taker {
    slot: u64,
    step: u64,
    weight: u32,
    credit: f64,
}

impl Taker {
    fn new(identity: u64, weight: u32, slots: u32) -> Self {
        let slots = u64::from(slots);
        Self {
            slot: mix(identity) % slots,
            step: mix(identity ^ 0x2545_f491_4f6c_dd1d) % (slots - 1) + 1,
            weight,
            credit: 0.0,
        }
    }

    /// Takes the next free slot in its order; false when there is none.
    fn take(&mut self, table: &mut [u8], slots: u32, index: u8) -> bool {
        for _ in 0..slots {
            let place = table.get_mut(self.slot as usize);
            self.slot = (self.slot + self.step) % u64::from(slots);
            if let Some(place) = place
                && *place == FREE
            {
                *place = index;
                return true;
            }
        }
        false
    }
}
