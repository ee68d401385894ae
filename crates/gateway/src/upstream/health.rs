//! Who of a group may take an attempt: health, trials, and the panic in which health is ignored.

use std::sync::atomic::Ordering::Relaxed;

use tidegate_policy::health::{Entry, is_panic};
use tidegate_snapshot::{Endpoint, Group};

use crate::shard::Shard;

/// The members that may be asked now, as a set of indexes: those that admit, and those whose trial
/// is due. Everybody, while fewer admit than the panic threshold wants.
pub(crate) fn usable(shard: &Shard, group: &Group, now_ms: u64) -> u64 {
    let mut usable = 0;
    let mut admitting = 0;
    let mut able = 0;
    for (index, member) in group.members.iter().enumerate() {
        let live = &member.endpoint.live;
        let standing = live.health.standing();
        // Who gets no traffic anyway says nothing about a panic.
        let weight = live.weight().unwrap_or(member.weight);
        let counts = usize::from(weight > 0 && !member.draining && !live.is_draining());
        able += counts;
        if standing.is_admitting() {
            admitting += counts;
            usable |= 1 << (index & 63);
        } else if standing.may_try(now_ms) {
            usable |= 1 << (index & 63);
        }
    }
    let threshold = group.health.panic_threshold;
    if threshold == 0 {
        return usable;
    }
    let panic = is_panic(admitting, able, threshold);
    if group.live.panicking.load(Relaxed) != panic {
        tell(shard, group, panic, admitting, able);
    }
    if panic { u64::MAX } else { usable }
}

/// Says once that a panic begins or ends.
fn tell(shard: &Shard, group: &Group, panic: bool, admitting: usize, members: usize) {
    let live = &group.live;
    if live.panicking.swap(panic, Relaxed) == panic {
        return;
    }
    let upstream = group.name.as_str();
    if panic {
        shard.cell().panics.add(1);
        tracing::warn!(upstream, admitting, members, "too few endpoints admit: health is ignored");
    } else {
        tracing::info!(upstream, admitting, members, "enough endpoints admit again");
    }
}

/// How an attempt enters the endpoint that was picked. None: its trial has just been taken by
/// another exchange. `forced`: nobody admits, so that health does not count.
pub(crate) fn enter(endpoint: &Endpoint, forced: bool, now_ms: u64) -> Option<Entry> {
    let health = &endpoint.live.health;
    let standing = health.standing();
    if standing.is_admitting() {
        Some(Entry::Admitted)
    } else if standing.may_try(now_ms) && health.begin_trial(now_ms) {
        Some(Entry::Trial)
    } else {
        forced.then_some(Entry::Forced)
    }
}
