//! One coarse timer wheel per shard: a connection has one entry, moved lazily, and no timer of its own.
//!
//! A deadline that moves into the future (the usual case: another byte arrived) is one write into
//! the entry. The entry stays in the slot where it is and is carried on when that slot comes up.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

use slab::Slab;

/// Length of a tick in milliseconds: how late a deadline may be noticed.
pub(crate) const TICK_MS: u64 = 20;

/// Slots of the wheel. Deadlines beyond `SLOTS * TICK_MS` (20 s) go round more than once.
const SLOTS: usize = 1024;

const UNQUEUED: u64 = u64::MAX;

#[derive(Debug)]
struct Entry {
    /// Milliseconds; `u64::MAX` when nothing is waited for.
    deadline: u64,
    /// The tick whose slot holds this entry.
    queued: u64,
    waker: Option<Waker>,
}

/// The wheel of one shard.
#[derive(Debug)]
pub(crate) struct Timers {
    entries: RefCell<Slab<Entry>>,
    slots: RefCell<Vec<Vec<u32>>>,
    now_ms: Cell<u64>,
    tick: Cell<u64>,
}

impl Timers {
    /// A wheel that begins at `now_ms`.
    pub(crate) fn new(now_ms: u64) -> Rc<Self> {
        Rc::new(Self {
            entries: RefCell::new(Slab::new()),
            slots: RefCell::new(vec![Vec::new(); SLOTS]),
            now_ms: Cell::new(now_ms),
            tick: Cell::new(now_ms / TICK_MS),
        })
    }

    /// The time of the last tick, in milliseconds: the clock for deadlines and idleness.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// How many entries there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    /// Advances to `now_ms` and wakes every task whose deadline has come.
    pub(crate) fn advance(&self, now_ms: u64) {
        self.now_ms.set(now_ms);
        let target = now_ms / TICK_MS;
        // After a long stop one turn of the wheel visits every slot; more would visit them again.
        let first = (self.tick.get() + 1).max(target.saturating_sub(SLOTS as u64 - 1));
        for tick in first..=target {
            self.tick.set(tick);
            let slot = (tick % SLOTS as u64) as usize;
            let due = std::mem::take(&mut self.slots.borrow_mut()[slot]);
            for id in &due {
                self.visit(*id, tick, now_ms);
            }
            self.keep_allocation(slot, due);
        }
        self.tick.set(target.max(self.tick.get()));
    }

    /// Wakes every task that waits for a deadline: something changed that they should look at.
    pub(crate) fn wake_all(&self) {
        let wakers: Vec<Waker> =
            self.entries.borrow().iter().filter_map(|(_, entry)| entry.waker.clone()).collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Gives a slot its emptied vector back, unless a burst made it large.
    fn keep_allocation(&self, slot: usize, mut emptied: Vec<u32>) {
        let mut slots = self.slots.borrow_mut();
        if slots[slot].is_empty() && emptied.capacity() <= 1024 {
            emptied.clear();
            slots[slot] = emptied;
        }
    }

    fn visit(&self, id: u32, tick: u64, now_ms: u64) {
        let mut entries = self.entries.borrow_mut();
        let Some(entry) = entries.get_mut(id as usize) else { return };
        // The entry was queued again elsewhere, or its place in the slab has a new owner.
        if entry.queued % SLOTS as u64 != tick % SLOTS as u64 || entry.queued > tick {
            return;
        }
        entry.queued = UNQUEUED;
        if entry.deadline == u64::MAX {
            return;
        }
        if entry.deadline <= now_ms {
            entry.deadline = u64::MAX;
            if let Some(waker) = entry.waker.take() {
                drop(entries);
                waker.wake();
            }
            return;
        }
        let queued = self.enqueue(id, entry.deadline);
        entry.queued = queued;
    }

    /// Puts an id into the slot of its deadline, or into the furthest one.
    fn enqueue(&self, id: u32, deadline: u64) -> u64 {
        let now = self.tick.get();
        let wanted = deadline.div_ceil(TICK_MS);
        let queued = wanted.clamp(now + 1, now + SLOTS as u64 - 1);
        self.slots.borrow_mut()[(queued % SLOTS as u64) as usize].push(id);
        queued
    }
}

/// One task's entry in the wheel; gone when dropped.
#[derive(Debug)]
pub(crate) struct Timer {
    timers: Rc<Timers>,
    id: u32,
}

impl Timer {
    /// A new entry without a deadline.
    pub(crate) fn new(timers: &Rc<Timers>) -> Self {
        let entry = Entry { deadline: u64::MAX, queued: UNQUEUED, waker: None };
        let id = timers.entries.borrow_mut().insert(entry) as u32;
        Self { timers: Rc::clone(timers), id }
    }

    /// The wheel's clock.
    pub(crate) fn now_ms(&self) -> u64 {
        self.timers.now_ms()
    }

    /// Wakes `waker` at `deadline` (milliseconds); replaces the deadline before.
    pub(crate) fn arm(&self, deadline: u64, waker: &Waker) {
        let mut entries = self.timers.entries.borrow_mut();
        let Some(entry) = entries.get_mut(self.id as usize) else { return };
        entry.deadline = deadline;
        if deadline == u64::MAX {
            return;
        }
        match &entry.waker {
            Some(known) if known.will_wake(waker) => {}
            _ => entry.waker = Some(waker.clone()),
        }
        if entry.queued == UNQUEUED || deadline.div_ceil(TICK_MS) < entry.queued {
            entry.queued = self.timers.enqueue(self.id, deadline);
        }
    }

    /// Has this time come?
    pub(crate) fn passed(&self, deadline: u64) -> bool {
        deadline <= self.timers.now_ms()
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let mut entries = self.timers.entries.borrow_mut();
        if entries.contains(self.id as usize) {
            entries.remove(self.id as usize);
        }
        // A burst's memory is given back once the wheel is quiet.
        if entries.is_empty() && entries.capacity() > 4096 {
            entries.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    struct Count(AtomicU32);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counter() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count(AtomicU32::new(0)));
        (Arc::clone(&count), Waker::from(count))
    }

    #[test]
    fn wakes_at_the_deadline_and_not_before() {
        let timers = Timers::new(1000);
        let timer = Timer::new(&timers);
        let (count, waker) = counter();
        timer.arm(1500, &waker);
        for now in (1000..1500).step_by(7) {
            timers.advance(now);
        }
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        timers.advance(1520);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        timers.advance(60_000);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_deadline_moves_both_ways_and_fires_once() {
        let timers = Timers::new(0);
        let timer = Timer::new(&timers);
        let (count, waker) = counter();
        timer.arm(100, &waker);
        timer.arm(50_000, &waker);
        timers.advance(200);
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        timer.arm(300, &waker);
        timers.advance(320);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        timers.advance(100_000);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn deadlines_beyond_one_turn_of_the_wheel_are_carried_on() {
        let timers = Timers::new(0);
        let timer = Timer::new(&timers);
        let (count, waker) = counter();
        timer.arm(3_600_000, &waker);
        for now in (0..3_600_000).step_by(500) {
            timers.advance(now);
        }
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        timers.advance(3_600_020);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn every_deadline_of_a_random_schedule_fires_within_a_tick() {
        let mut seed = 42u64;
        let mut next = |bound: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % bound
        };
        let timers = Timers::new(0);
        let all: Vec<_> = (0..500)
            .map(|_| {
                let timer = Timer::new(&timers);
                let (count, waker) = counter();
                timer.arm(next(40_000), &waker);
                let deadline = next(40_000);
                timer.arm(deadline, &waker);
                (timer, count, deadline)
            })
            .collect();
        let mut now = 0;
        while now < 45_000 {
            now += next(90);
            timers.advance(now);
            for (_, count, deadline) in &all {
                let fired = count.0.load(Ordering::Relaxed) == 1;
                assert!(!fired || *deadline <= now, "{deadline} fired at {now}");
                assert!(fired || deadline + 2 * TICK_MS >= now, "{deadline} late at {now}");
            }
        }
    }

    #[test]
    fn a_dropped_timer_leaves_nothing_behind() {
        let timers = Timers::new(0);
        let (count, waker) = counter();
        let timer = Timer::new(&timers);
        timer.arm(100, &waker);
        drop(timer);
        timers.advance(1000);
        assert_eq!((timers.len(), count.0.load(Ordering::Relaxed)), (0, 0));
    }
}
