//! Which endpoint takes the next attempt.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::time::Instant;

use tidegate_config::Priority;
use tidegate_policy::balance::{self, Algorithm, Candidate, Turn};
use tidegate_policy::health::Entry;
use tidegate_snapshot::live::{EndpointLive, QueueLive};
use tidegate_snapshot::{Endpoint, Group, Member, Reason, Snapshot, Traffic};

use super::{Attempts, health, queue};
use crate::client::Client;
use crate::error::ProxyError;
use crate::route::Call;
use crate::shard::Shard;

/// What a failed attempt counts for at least in an endpoint's latency: one that refuses at once is
/// not a fast one.
const FAILURE_US: u64 = 1_000_000;

/// The endpoint of an attempt, with the lease that counts it.
#[derive(Debug)]
pub(crate) struct Picked<'p> {
    /// The endpoint.
    pub(crate) endpoint: &'p Endpoint,
    /// The member of the group.
    pub(crate) member: &'p Member,
    /// When it was picked, where the balance looks at latencies.
    pub(crate) timed: Option<Instant>,
    index: usize,
    pub(super) lease: Lease,
}

/// What an exchange asks of balancing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Want {
    /// The kind of traffic.
    pub(crate) traffic: Traffic,
    /// Hash of what the request is hashed by; 0 where nothing is.
    pub(crate) key: u64,
    /// Who leaves the queue first.
    pub(crate) priority: Priority,
    /// Members tried, as a set of indexes.
    pub(super) tried: u64,
    /// Members that would fail again.
    pub(super) excluded: u64,
}

impl Want {
    /// Of a fresh exchange.
    pub(crate) fn new(traffic: Traffic, key: u64, priority: Priority) -> Self {
        Self { traffic, key, priority, tried: 0, excluded: 0 }
    }
}

/// A configuration that came into force while an exchange waited for an endpoint: it is held for as
/// long as the exchange uses an endpoint out of it.
pub(crate) type Newer = OnceCell<Rc<Arc<Snapshot>>>;

/// One attempt in flight on an endpoint; it ends when dropped, and the endpoint is then offered to
/// those who wait for one.
#[derive(Debug)]
pub(crate) struct Lease {
    live: Arc<EndpointLive>,
    offers: Option<(Rc<Shard>, Arc<QueueLive>)>,
    /// What the outcome will say about the endpoint.
    pub(super) entry: Entry,
    /// The endpoint's health knows how it went.
    pub(super) told: Cell<bool>,
}

impl Lease {
    /// Counts one more in flight; None when the endpoint is at its cap, which holds over all
    /// shards.
    pub(crate) fn take(shard: &Rc<Shard>, group: &Group, endpoint: &Endpoint) -> Option<Self> {
        let in_flight = &endpoint.live.in_flight;
        match endpoint.connections_max {
            u32::MAX => {
                in_flight.fetch_add(1, AcqRel);
            }
            max => {
                let more = |now| (now < max).then_some(now + 1);
                in_flight.fetch_update(AcqRel, Acquire, more).ok()?;
            }
        }
        let queue = group.queue.as_ref();
        let offers = queue.map(|queue| (Rc::clone(shard), Arc::clone(&queue.live)));
        let told = Cell::new(false);
        Some(Self { live: Arc::clone(&endpoint.live), offers, entry: Entry::Admitted, told })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.live.in_flight.fetch_sub(1, AcqRel);
        if self.entry == Entry::Trial && !self.told.get() {
            // The trial ended without a verdict: the next one may try at once.
            self.live.health.give_up_trial(0);
        }
        if let Some((shard, queue)) = &self.offers
            && queue.waiting() > 0
        {
            queue::offer(shard, queue);
        }
    }
}

/// Why no endpoint was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missed {
    /// Those that could take it are at their cap.
    Full,
    /// There is none.
    Nobody,
}

/// Finds a member and counts the attempt.
///
/// First among those that are healthy, below their cap and not tried yet; then among all of those
/// not tried (a group where everything rests is better tried than refused); then again among those
/// that may be asked twice. While a healthy one is only full, no unhealthy one takes its place.
pub(super) fn choose(
    shard: &Rc<Shard>,
    group: &Group,
    want: &Want,
) -> Result<(usize, Lease), Missed> {
    let now = shard.timers.now_ms();
    let law = group.law(want.traffic);
    let turns = group.turns.of(shard.index);
    let turn =
        Turn { cursor: turns.value(), random: shard.random(), key: want.key, ..Turn::default() };
    turns.add(1);
    let count = group.members.len();
    let mut usable = health::usable(shard, group, now);
    // Members that another shard filled while we looked.
    let mut filled = 0u64;
    loop {
        let member = |index: usize| Candidate {
            admitting: usable & (1 << (index & 63)) != 0,
            ..group.candidate(law.algorithm, index, now)
        };
        let pass = |avoided: u64, ignore_health: bool| {
            let turn = Turn { avoided: avoided | filled, ignore_health, ..turn };
            balance::pick(&law, count, &turn, member)
        };
        let is_full = |avoided: u64, ignore_health: bool| {
            (0..count).any(|index| {
                let bit = 1 << (index & 63);
                let member = member(index);
                (member.full || filled & bit != 0)
                    && avoided & bit == 0
                    && member.weight > 0
                    && !member.draining
                    && (member.admitting || ignore_health)
            })
        };
        let untried = want.tried | want.excluded;
        let (index, forced) = match pass(untried, false) {
            Some(index) => (index, usable == u64::MAX),
            None if is_full(untried, false) => return Err(Missed::Full),
            None => match pass(untried, true).or_else(|| pass(want.excluded, true)) {
                Some(index) => (index, true),
                None if is_full(want.excluded, true) => return Err(Missed::Full),
                None => return Err(Missed::Nobody),
            },
        };
        let Some(chosen) = group.members.get(index) else { return Err(Missed::Nobody) };
        let bit = 1 << (index & 63);
        let Some(mut lease) = Lease::take(shard, group, &chosen.endpoint) else {
            filled |= bit;
            continue;
        };
        match health::enter(&chosen.endpoint, forced, now) {
            Some(entry) => {
                lease.entry = entry;
                return Ok((index, lease));
            }
            // Another exchange has just begun its trial.
            None => usable &= !bit,
        }
    }
}

/// Picks the endpoint of the next attempt; waits where all of them are full and the upstream has a
/// queue.
pub(crate) async fn pick<'p>(
    shard: &Rc<Shard>,
    snapshot: &Snapshot,
    client: &mut Client,
    call: &Call<'p>,
    attempts: &mut Attempts,
    newer: &'p Newer,
) -> Result<Picked<'p>, ProxyError> {
    let group = in_force(call.group, newer);
    // Nobody overtakes those who wait.
    let crowded = group.queue.as_ref().is_some_and(|queue| queue.live.waiting() > 0);
    let missed = if crowded {
        Missed::Full
    } else {
        match choose(shard, group, &attempts.want) {
            Ok((index, lease)) => return Picked::of(group, index, lease, attempts.want.traffic),
            Err(missed) => missed,
        }
    };
    match (missed, &group.queue) {
        (Missed::Full, Some(limits)) => {
            Box::pin(queue::wait(shard, snapshot, client, group, limits, attempts, newer)).await
        }
        (Missed::Full, None) => Err(attempts.give_up(full(group))),
        (Missed::Nobody, _) => Err(attempts.give_up(nobody(group))),
    }
}

/// Picks an endpoint that has not been tried, for an attempt beside another one. Nobody waits for it.
pub(crate) fn beside<'p>(
    shard: &Rc<Shard>,
    group: &'p Group,
    attempts: &Attempts,
    newer: &'p Newer,
) -> Option<Picked<'p>> {
    let group = in_force(group, newer);
    let (index, lease) = choose(shard, group, &attempts.want).ok()?;
    if attempts.want.tried & (1 << (index & 63)) != 0 {
        return None;
    }
    Picked::of(group, index, lease, attempts.want.traffic).ok()
}

/// The group, as of the configuration that the exchange has moved on to.
pub(super) fn in_force<'p>(group: &'p Group, newer: &'p Newer) -> &'p Group {
    let moved = newer.get().and_then(|snapshot| snapshot.upstreams.get(&group.name));
    moved.map_or(group, |moved| moved)
}

fn nobody(group: &Group) -> ProxyError {
    ProxyError::text(
        Reason::NoEndpoint,
        format!("No endpoint of '{}' can take this request now.", group.name),
    )
}

/// The refusal where nobody may wait, or nobody more.
pub(super) fn full(group: &Group) -> ProxyError {
    ProxyError::text(
        Reason::EndpointsFull,
        format!("Every endpoint of '{}' has as many requests as it may have at once.", group.name),
    )
}

impl<'p> Picked<'p> {
    pub(super) fn of(
        group: &'p Group,
        index: usize,
        lease: Lease,
        traffic: Traffic,
    ) -> Result<Self, ProxyError> {
        let member = group.members.get(index).ok_or_else(|| nobody(group))?;
        let timed = group.law(traffic).algorithm == Algorithm::PeakEwma;
        Ok(Self {
            endpoint: &member.endpoint,
            member,
            timed: timed.then(Instant::now),
            index,
            lease,
        })
    }
}

impl Picked<'_> {
    /// Its index in the group.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// The attempt failed through the endpoint's fault.
    pub(super) fn observe_failure(&self, shard: &Shard) {
        if let Some(began) = self.timed {
            let sample = (began.elapsed().as_micros() as u64).max(FAILURE_US);
            self.endpoint.live.observe_latency(sample, shard.timers.now_ms());
        }
    }
}
