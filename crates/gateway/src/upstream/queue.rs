//! The queue before endpoints that are at their cap: who waits, and who gets the next free place.
//!
//! Each shard has its own waiters. A place that becomes free is given to one of the same shard, and
//! the shards where others wait are told. Once a tick every shard looks again: an endpoint that was
//! added by a reload, has recovered or has got a higher cap takes those who wait at once.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use tidegate_config::Priority;
use tidegate_snapshot::live::QueueLive;
use tidegate_snapshot::{EndpointQueue, Group, Reason, Snapshot};

use super::Attempts;
use super::pick::{Lease, Newer, Picked, Want, choose, full, in_force};
use crate::client::Client;
use crate::error::ProxyError;
use crate::shard::Shard;

/// The queues of one shard that have waiters; at most one per upstream.
#[derive(Debug, Default)]
pub(crate) struct EndpointQueues(RefCell<Vec<Rc<Waiters>>>);

/// Those who wait for one upstream, highest priority first, in order of arrival within one.
#[derive(Debug)]
struct Waiters {
    live: Arc<QueueLive>,
    classes: [RefCell<VecDeque<Rc<Waiter>>>; 3],
}

#[derive(Debug)]
#[expect(clippy::redundant_allocation)] // as the shard holds it
struct Waiter {
    want: Want,
    class: usize,
    /// The configuration that the members of `want` are counted in.
    known: Rc<Arc<Snapshot>>,
    /// It must stay with that one.
    pinned: bool,
    granted: RefCell<Option<Grant>>,
    is_granted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// A member with a place in it.
#[derive(Debug)]
#[expect(clippy::redundant_allocation)] // as the shard holds it
struct Grant {
    snapshot: Rc<Arc<Snapshot>>,
    index: usize,
    lease: Lease,
}

impl EndpointQueues {
    fn of(&self, live: &Arc<QueueLive>) -> Option<Rc<Waiters>> {
        self.0.borrow().iter().find(|waiters| Arc::ptr_eq(&waiters.live, live)).cloned()
    }

    fn join(&self, live: &Arc<QueueLive>, waiter: &Rc<Waiter>) -> Rc<Waiters> {
        let waiters = self.of(live).unwrap_or_else(|| {
            let made = Rc::new(Waiters { live: Arc::clone(live), classes: Default::default() });
            self.0.borrow_mut().push(Rc::clone(&made));
            made
        });
        if let Some(class) = waiters.classes.get(waiter.class) {
            class.borrow_mut().push_back(Rc::clone(waiter));
        }
        waiters
    }

    /// Takes a waiter out, and the queue with its last one.
    fn leave(&self, waiters: &Rc<Waiters>, waiter: &Rc<Waiter>) {
        if let Some(class) = waiters.classes.get(waiter.class) {
            class.borrow_mut().retain(|other| !Rc::ptr_eq(other, waiter));
        }
        if waiters.classes.iter().all(|class| class.borrow().is_empty()) {
            self.0.borrow_mut().retain(|other| !Rc::ptr_eq(other, waiters));
        }
    }
}

/// Offers a free place to those who wait: here first, then in the other shards.
pub(super) fn offer(shard: &Rc<Shard>, live: &Arc<QueueLive>) {
    if let Some(waiters) = shard.endpoint_queues.of(live) {
        grant(shard, &waiters);
    }
    for other in 0..shard.live().shard_count() {
        if other != shard.index && live.waiting_in(other) > 0 {
            shard.gates.wake(other);
        }
    }
}

/// Gives whatever has become free to those who wait in this shard.
pub(crate) fn grant_all(shard: &Rc<Shard>) {
    let queues: Vec<_> = shard.endpoint_queues.0.borrow().iter().cloned().collect();
    for waiters in queues {
        grant(shard, &waiters);
    }
}

fn grant(shard: &Rc<Shard>, waiters: &Rc<Waiters>) {
    let newest = shard.snapshot();
    for class in &waiters.classes {
        let mut at = 0;
        loop {
            let Some(waiter) = class.borrow().get(at).cloned() else { break };
            let upstream = &waiters.live.upstream;
            // An upstream that a reload has removed still serves those who wait for it.
            let stays = waiter.pinned || !newest.upstreams.contains_key(upstream);
            let snapshot = if stays { &waiter.known } else { &newest };
            let mut want = waiter.want;
            if snapshot.generation != waiter.known.generation {
                // What was tried is counted in members of another list.
                (want.tried, want.excluded) = (0, 0);
            }
            let Some(group) = snapshot.upstreams.get(upstream) else { return };
            let Ok((index, lease)) = choose(shard, group, &want) else {
                if want.tried | want.excluded == 0 {
                    // Nobody behind it would find one either.
                    return;
                }
                at += 1;
                continue;
            };
            // From here on it is in flight and no longer waits, whenever its task gets to see that.
            shard.endpoint_queues.leave(waiters, &waiter);
            waiters.live.leave(shard.index);
            waiter.is_granted.set(true);
            *waiter.granted.borrow_mut() =
                Some(Grant { snapshot: Rc::clone(snapshot), index, lease });
            if let Some(waker) = waiter.waker.take() {
                waker.wake();
            }
        }
    }
}

/// Waits for a place, or refuses.
pub(super) async fn wait<'p>(
    shard: &Rc<Shard>,
    snapshot: &Snapshot,
    client: &mut Client,
    group: &'p Group,
    limits: &EndpointQueue,
    attempts: &mut Attempts,
    newer: &'p Newer,
) -> Result<Picked<'p>, ProxyError> {
    let cell = limits.live.cells.of(shard.index);
    let pinned = newer.get().map(Rc::clone);
    let known = pinned.clone().unwrap_or_else(|| shard.snapshot());
    let mut want = attempts.want;
    if pinned.is_none() && known.generation != snapshot.generation {
        (want.tried, want.excluded) = (0, 0);
    }
    let class = match want.priority {
        Priority::High => 0,
        Priority::Normal => 1,
        Priority::Low => 2,
    };
    let Some(place) = Place::join(
        shard,
        limits,
        Waiter {
            want,
            class,
            known,
            pinned: pinned.is_some(),
            granted: RefCell::new(None),
            is_granted: Cell::new(false),
            waker: RefCell::new(None),
        },
    ) else {
        cell.refused.add(1);
        return Err(attempts.give_up(full(group)));
    };
    cell.queued.add(1);
    // A place may have become free between the look and joining.
    grant(shard, &place.waiters);
    let deadline = client.now_ms() + limits.wait_ms;
    let waited = std::future::poll_fn(|cx| {
        if place.waiter.is_granted.get() {
            return Poll::Ready(Ok(()));
        }
        if let Poll::Ready(gone) = client.poll_gone(cx) {
            return Poll::Ready(Err(gone));
        }
        if client.timer.passed(deadline) {
            cell.timeouts.add(1);
            return Poll::Ready(Err(ProxyError::text(
                Reason::EndpointQueueTimeout,
                format!("No endpoint of '{}' became free in time.", group.name),
            )));
        }
        client.timer.arm(deadline, cx.waker());
        *place.waiter.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    })
    .await;
    waited?;
    let Some(grant) = place.waiter.granted.take() else { return Err(full(group)) };
    if newer.get().is_none() && grant.snapshot.generation != snapshot.generation {
        (attempts.want.tried, attempts.want.excluded) = (0, 0);
        // It was empty a line ago.
        let _ = newer.set(grant.snapshot);
    }
    Picked::of(in_force(group, newer), grant.index, grant.lease, want.traffic)
}

/// A place in the queue. Dropped before it is granted, it leaves; dropped after, the grant goes to
/// the next with its lease.
struct Place {
    shard: Rc<Shard>,
    waiters: Rc<Waiters>,
    waiter: Rc<Waiter>,
}

impl Place {
    fn join(shard: &Rc<Shard>, limits: &EndpointQueue, waiter: Waiter) -> Option<Self> {
        if !limits.live.join(shard.index, limits.size) {
            return None;
        }
        let waiter = Rc::new(waiter);
        let waiters = shard.endpoint_queues.join(&limits.live, &waiter);
        Some(Self { shard: Rc::clone(shard), waiters, waiter })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.waiter.is_granted.get() {
            self.shard.endpoint_queues.leave(&self.waiters, &self.waiter);
            self.waiters.live.leave(self.shard.index);
        }
    }
}
