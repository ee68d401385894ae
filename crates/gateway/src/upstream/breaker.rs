//! The breaker of an upstream: how many exchanges may be in flight, and a rest when too many fail.

use tidegate_policy::health::Entry;
use tidegate_snapshot::{Group, Reason};

use crate::error::ProxyError;
use crate::shard::Shard;

/// An exchange that the breaker let through; its place is given back on drop.
#[derive(Debug)]
pub(crate) struct Passed<'s> {
    pub(super) group: &'s Group,
    entry: Entry,
    counted: bool,
    told: bool,
}

/// Lets an exchange through, or refuses it. One branch where there is no breaker.
pub(crate) fn pass<'s>(shard: &Shard, group: &'s Group) -> Result<Passed<'s>, ProxyError> {
    let mut passed = Passed { group, entry: Entry::Admitted, counted: false, told: true };
    let Some(breaker) = &group.health.breaker else { return Ok(passed) };
    let now_ms = shard.timers.now_ms();
    if !group.live.enter(breaker.requests) {
        return Err(ProxyError::text(
            Reason::BreakerOpen,
            format!("'{}' has as many requests as it may have at once.", group.name),
        ));
    }
    passed.counted = true;
    passed.told = false;
    if !group.live.breaker.standing().is_admitting() {
        if !group.live.breaker.begin_trial(now_ms) {
            return Err(ProxyError::text(
                Reason::BreakerOpen,
                format!("'{}' rests after too many errors.", group.name),
            ));
        }
        passed.entry = Entry::Trial;
    }
    Ok(passed)
}

impl Passed<'_> {
    /// Notes how an attempt went.
    pub(super) fn note(&mut self, well: bool, now_ms: u64) {
        let Some(breaker) = &self.group.health.breaker else { return };
        let live = &self.group.live;
        self.told = true;
        if well {
            if live.breaker.succeeded(&breaker.opens, self.entry, now_ms) {
                tracing::info!(upstream = self.group.name, "breaker closes");
            }
        } else if let Some(open_ms) =
            live.breaker.failed(&breaker.opens, self.entry, now_ms, || true)
        {
            tracing::warn!(upstream = self.group.name, open_ms, "breaker opens");
        }
    }
}

impl Drop for Passed<'_> {
    fn drop(&mut self) {
        if self.counted {
            self.group.live.leave();
        }
        if !self.told && self.entry == Entry::Trial {
            // It ended without saying anything: the next one may try at once.
            self.group.live.breaker.give_up_trial(0);
        }
    }
}
