//! Admission: the places in flight, the bounded queue before them, and the permit that holds a place.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Poll, Waker};

use crossbeam_utils::CachePadded;
use tidegate_config::Priority;
use tidegate_policy::admission::{Decision, Load, decide};
use tidegate_snapshot::{Reason, Snapshot};
use tokio::sync::Notify;

use crate::client::Client;
use crate::error::ProxyError;
use crate::shard::Shard;
use crate::upstream::queue;

/// How shards wake each other: a place that became free in one is offered to those who wait in
/// another.
#[derive(Debug)]
pub(crate) struct Gates(Box<[CachePadded<Gate>]>);

#[derive(Debug, Default)]
struct Gate {
    waiting: AtomicUsize,
    woken: Notify,
}

impl Gates {
    /// One gate per shard.
    pub(crate) fn new(shards: usize) -> Arc<Self> {
        Arc::new(Self((0..shards).map(|_| CachePadded::default()).collect()))
    }

    /// Tells a shard to look after those who wait there.
    pub(crate) fn wake(&self, shard: usize) {
        if let Some(gate) = self.0.get(shard) {
            gate.woken.notify_one();
        }
    }
}

/// Those who wait in one shard, highest priority first, in order of arrival within one.
#[derive(Debug, Default)]
pub(crate) struct Queue([RefCell<VecDeque<Rc<Waiter>>>; 3]);

#[derive(Debug, Default)]
struct Waiter {
    granted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.0.iter().all(|class| class.borrow().is_empty())
    }

    fn pop(&self) -> Option<Rc<Waiter>> {
        self.0.iter().find_map(|class| class.borrow_mut().pop_front())
    }
}

/// A place in flight; free again when dropped, which is when the reply's body has ended.
#[derive(Debug)]
pub(crate) struct Admitted {
    shard: Rc<Shard>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let gauges = &self.shard.live().gauges;
        gauges.in_flight.fetch_sub(1, SeqCst);
        if gauges.waiting.load(SeqCst) > 0 {
            offer(&self.shard);
        }
    }
}

/// Takes a place if one is free.
fn take_place(shard: &Shard, limit: usize) -> bool {
    let in_flight = &shard.live().gauges.in_flight;
    in_flight.fetch_update(SeqCst, SeqCst, |now| (now < limit).then_some(now + 1)).is_ok()
}

/// Hands free places to those who wait: here first, then in the other shards.
fn offer(shard: &Rc<Shard>) {
    grant(shard);
    for (index, gate) in shard.gates.0.iter().enumerate() {
        // Each that has waiters is told: which of them still finds a place free, only it can know.
        if index != shard.index && gate.waiting.load(SeqCst) > 0 {
            gate.woken.notify_one();
        }
    }
}

/// Hands free places to those who wait in this shard.
pub(crate) fn grant(shard: &Rc<Shard>) {
    let limit = shard.snapshot().limits.admission.in_flight;
    while !shard.queue.is_empty() && take_place(shard, limit) {
        let Some(waiter) = shard.queue.pop() else { return };
        // From here on it is in flight and no longer waits, whenever its task gets to see that.
        leave_queue(shard);
        waiter.granted.set(true);
        if let Some(waker) = waiter.waker.take() {
            waker.wake();
        }
    }
}

/// Takes one off the gauges of those who wait.
fn leave_queue(shard: &Shard) {
    shard.live().gauges.waiting.fetch_sub(1, SeqCst);
    if let Some(gate) = shard.gates.0.get(shard.index) {
        gate.waiting.fetch_sub(1, SeqCst);
    }
}

/// The shard's task that answers other shards' offers.
pub(crate) async fn serve_queue(shard: &Rc<Shard>) {
    loop {
        if let Some(gate) = shard.gates.0.get(shard.index) {
            gate.woken.notified().await;
        }
        grant(shard);
        queue::grant_all(shard);
    }
}

/// Waits for a place in flight, or refuses.
pub(crate) async fn admit(
    shard: &Rc<Shard>,
    snapshot: &Snapshot,
    client: &mut Client,
    priority: Priority,
) -> Result<Admitted, ProxyError> {
    let gauges = &shard.live().gauges;
    let load = Load {
        in_flight: gauges.in_flight.load(SeqCst),
        waiting: gauges.waiting.load(SeqCst),
        memory: gauges.memory.load(std::sync::atomic::Ordering::Relaxed),
    };
    let limits = &snapshot.limits.admission;
    match decide(limits, &load) {
        Decision::Admit if take_place(shard, limits.in_flight) => {
            Ok(Admitted { shard: Rc::clone(shard) })
        }
        Decision::Admit | Decision::Wait => {
            let class = match priority {
                Priority::High => 0,
                Priority::Normal => 1,
                Priority::Low => 2,
            };
            Box::pin(wait(shard, snapshot, client, class)).await
        }
        Decision::RefuseFull => Err(ProxyError::new(Reason::Busy)),
        Decision::RefuseMemory => Err(ProxyError::new(Reason::Memory)),
    }
}

async fn wait(
    shard: &Rc<Shard>,
    snapshot: &Snapshot,
    client: &mut Client,
    class: usize,
) -> Result<Admitted, ProxyError> {
    let place = InQueue::join(shard, class, snapshot.limits.admission.waiting)
        .ok_or_else(|| ProxyError::new(Reason::Busy))?;
    // A place may have become free between the decision and joining.
    grant(shard);
    let deadline = client.now_ms() + snapshot.limits.queue_wait_ms;
    std::future::poll_fn(|cx| {
        if place.waiter.granted.get() {
            return Poll::Ready(Ok(()));
        }
        if let Poll::Ready(gone) = client.poll_gone(cx) {
            return Poll::Ready(Err(gone));
        }
        if client.timer.passed(deadline) {
            return Poll::Ready(Err(ProxyError::new(Reason::QueueTimeout)));
        }
        client.timer.arm(deadline, cx.waker());
        *place.waiter.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    })
    .await?;
    Ok(place.into_admitted())
}

/// A place in the queue. Dropped before it is granted, it leaves; dropped after, the place in
/// flight goes to the next.
struct InQueue {
    shard: Rc<Shard>,
    waiter: Rc<Waiter>,
    class: usize,
    taken: bool,
}

impl InQueue {
    fn join(shard: &Rc<Shard>, class: usize, limit: usize) -> Option<Self> {
        let waiting = &shard.live().gauges.waiting;
        waiting.fetch_update(SeqCst, SeqCst, |now| (now < limit).then_some(now + 1)).ok()?;
        let waiter = Rc::new(Waiter::default());
        shard.queue.0[class].borrow_mut().push_back(Rc::clone(&waiter));
        if let Some(gate) = shard.gates.0.get(shard.index) {
            gate.waiting.fetch_add(1, SeqCst);
        }
        Some(Self { shard: Rc::clone(shard), waiter, class, taken: false })
    }

    fn into_admitted(mut self) -> Admitted {
        self.taken = true;
        Admitted { shard: Rc::clone(&self.shard) }
    }
}

impl Drop for InQueue {
    fn drop(&mut self) {
        if !self.waiter.granted.get() {
            leave_queue(&self.shard);
            self.shard.queue.0[self.class]
                .borrow_mut()
                .retain(|other| !Rc::ptr_eq(other, &self.waiter));
        } else if !self.taken {
            drop(Admitted { shard: Rc::clone(&self.shard) });
        }
    }
}
