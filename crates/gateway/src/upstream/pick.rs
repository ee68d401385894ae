//! Which endpoint takes the next attempt, and what the attempts before say about another one.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::task::Poll;
use std::time::Duration;

use tidegate_policy::balance::{self, Candidate, Turn, mix};
use tidegate_policy::health::pause_after_failure;
use tidegate_policy::retry::backoff;
use tidegate_snapshot::live::EndpointLive;
use tidegate_snapshot::{Endpoint, Member, Reason, Snapshot};

use crate::client::Client;
use crate::error::{ProxyError, Repeatable};
use crate::route::Call;
use crate::shard::Shard;

/// Attempts beyond the policy's on connections that turned out to be closed already.
const STALE_MAX: u32 = 3;

/// The endpoint of an attempt, with the lease that counts it.
#[derive(Debug)]
pub(crate) struct Picked<'s> {
    /// The endpoint.
    pub(crate) endpoint: &'s Endpoint,
    /// The member of the group.
    pub(crate) member: &'s Member,
    index: usize,
    _lease: Lease,
}

/// One attempt in flight on an endpoint; it ends when dropped.
#[derive(Debug)]
struct Lease(Arc<EndpointLive>);

impl Lease {
    fn take(endpoint: &Endpoint) -> Self {
        endpoint.live.in_flight.fetch_add(1, AcqRel);
        Self(Arc::clone(&endpoint.live))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, AcqRel);
    }
}

/// The attempts of one exchange.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    count: u32,
    stale: u32,
    /// Members tried, as a set of indexes.
    tried: u64,
    /// Members that would fail again.
    excluded: u64,
    last: Option<ProxyError>,
}

impl Attempts {
    /// Notes a failed attempt. Ok when it may be made again; the error to answer with otherwise.
    /// `committed`: the caller has seen a reply, or the body cannot be sent a second time.
    pub(crate) fn may_repeat(
        &mut self,
        shard: &Shard,
        snapshot: &Snapshot,
        index: usize,
        committed: bool,
        error: ProxyError,
    ) -> Result<(), ProxyError> {
        let set = 1u64 << (index as u64 & 63);
        if committed {
            return Err(error);
        }
        match error.repeatable {
            Repeatable::No => return Err(error),
            Repeatable::Stale if self.stale < STALE_MAX => {
                self.stale += 1;
                return Ok(());
            }
            Repeatable::Elsewhere => self.excluded |= set,
            // So many dead connections are a failing endpoint: from here on they count.
            Repeatable::Stale | Repeatable::Anywhere => {}
        }
        self.tried |= set;
        self.count += 1;
        if self.count >= snapshot.retry.attempts {
            return Err(error);
        }
        let now = shard.timers.now_ms();
        if !shard.retry_budget.borrow_mut().withdraw(&snapshot.retry_budget, now) {
            shard.cell().retries_denied.add(1);
            return Err(error);
        }
        self.last = Some(error);
        Ok(())
    }

    /// Waits where the next attempt asks an endpoint again that has failed before.
    pub(crate) async fn pause(
        &mut self,
        shard: &Shard,
        snapshot: &Snapshot,
        client: &mut Client,
        picked: &Picked<'_>,
    ) -> Result<(), ProxyError> {
        let Some(last) = &self.last else { return Ok(()) };
        shard.cell().retries.add(1);
        if self.tried & (1 << picked.index) == 0 {
            return Ok(());
        }
        let wait = backoff(&snapshot.retry, self.count, last.retry_after(), shard.random());
        let Some(wait) = wait else {
            return Err(self.last.take().unwrap_or_else(|| ProxyError::new(Reason::NoEndpoint)));
        };
        sleep(client, wait).await
    }

    /// What to answer with when nothing more can be picked.
    fn give_up(&mut self, error: ProxyError) -> ProxyError {
        self.last.take().unwrap_or(error)
    }
}

async fn sleep(client: &mut Client, wait: Duration) -> Result<(), ProxyError> {
    let deadline = client.now_ms() + wait.as_millis() as u64;
    std::future::poll_fn(|cx| {
        if let Poll::Ready(gone) = client.poll_gone(cx) {
            return Poll::Ready(Err(gone));
        }
        if client.timer.passed(deadline) {
            return Poll::Ready(Ok(()));
        }
        client.timer.arm(deadline, cx.waker());
        Poll::Pending
    })
    .await
}

/// Picks the endpoint of the next attempt.
///
/// First among those that are healthy, below their cap and not tried yet; then among all of those
/// not tried (a group where everything rests is better tried than refused); then again among those
/// that may be asked twice.
pub(crate) fn pick<'s>(
    shard: &Shard,
    call: &Call<'s>,
    attempts: &mut Attempts,
    peer: SocketAddr,
) -> Result<Picked<'s>, ProxyError> {
    let group = call.group;
    let algorithm = if call.streams { group.sse } else { group.http };
    let now = shard.timers.now_ms();
    let turn = Turn {
        cursor: group.turns.of(shard.index).value(),
        random: shard.random(),
        client: client_hash(peer.ip()),
    };
    group.turns.of(shard.index).add(1);
    let choose = |avoided: u64, only_admitting: bool| {
        balance::pick(algorithm, group.members.len(), turn, |index| {
            let Some(member) = group.members.get(index) else { return NOBODY };
            let live = &member.endpoint.live;
            let in_flight = live.in_flight.load(Relaxed);
            Candidate {
                weight: member.weight,
                priority: member.priority,
                in_flight,
                identity: live.identity,
                usable: avoided & (1 << (index & 63)) == 0
                    && in_flight < member.endpoint.connections_max
                    && (!only_admitting || live.is_admitting(now)),
            }
        })
    };
    let index = choose(attempts.tried | attempts.excluded, true)
        .or_else(|| choose(attempts.tried | attempts.excluded, false))
        .or_else(|| choose(attempts.excluded, false));
    match index.and_then(|index| Some((index, group.members.get(index)?))) {
        Some((index, member)) => Ok(Picked {
            endpoint: &member.endpoint,
            member,
            index,
            _lease: Lease::take(&member.endpoint),
        }),
        None => Err(attempts.give_up(ProxyError::text(
            Reason::NoEndpoint,
            format!("No endpoint of '{}' can take this request now.", group.name),
        ))),
    }
}

const NOBODY: Candidate =
    Candidate { weight: 0, priority: u32::MAX, in_flight: 0, identity: 0, usable: false };

fn client_hash(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) => mix(u64::from(v4.to_bits())),
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            mix((bits >> 64) as u64 ^ mix(bits as u64))
        }
    }
}

impl Picked<'_> {
    /// Its index in the group.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Notes how the attempt went: failures in a row make the endpoint rest.
    pub(crate) fn note(&self, shard: &Shard, snapshot: &Snapshot, error: Option<&ProxyError>) {
        let live = &self.endpoint.live;
        let Some(error) = error else {
            if live.failures.load(Relaxed) != 0 {
                live.failures.store(0, Relaxed);
                live.cooling_until_ms.store(0, Relaxed);
            }
            return;
        };
        if error.side == tidegate_snapshot::Side::Upstream {
            live.cells.of(shard.index).failures[error.kind as usize].add(1);
        }
        if !error.blames_endpoint() {
            return;
        }
        if let Some(left_out) = shard.log_line() {
            tracing::warn!(endpoint = live.key, left_out, "attempt failed: {error}");
        }
        let failures = live.failures.fetch_add(1, AcqRel) + 1;
        if let Some(pause) = pause_after_failure(&snapshot.cooldown, failures, error.retry_after())
        {
            let until = shard.timers.now_ms() + pause.as_millis() as u64;
            live.cooling_until_ms.fetch_max(until, AcqRel);
        }
    }
}
