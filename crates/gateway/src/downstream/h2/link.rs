//! What the streams of one HTTP/2 connection have in common: bounds, bookkeeping, the meter.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tidegate_wire::http2::calm::Calm;

use crate::shard::Shard;

/// Bytes of replies that the connection holds before its socket has taken them. More streams than
/// one cannot add up to more.
const QUEUED_MAX: usize = 256 * 1024;

/// One connection, as its streams and its socket see it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(super) shard: Rc<Shard>,
    /// The address that the caller connected to, as far as the socket tells.
    pub(crate) local: Option<SocketAddr>,
    calm: RefCell<Calm>,
    /// The peer stirs too much; nothing more is read from it.
    noisy: Cell<bool>,
    /// Handed over since the socket last took everything.
    queued: Cell<usize>,
    /// Streams that wait for that.
    parked: RefCell<Vec<Waker>>,
    streams: Cell<usize>,
    /// Since when no stream is open (ms).
    idle_since: Cell<u64>,
    /// Since when the socket takes nothing (ms).
    blocked_since: Cell<Option<u64>>,
}

impl Link {
    pub(super) fn new(shard: &Rc<Shard>, local: Option<SocketAddr>) -> Rc<Self> {
        let now = shard.timers.now_ms();
        let gauge = &shard.cell().h2_connections;
        gauge.up();
        Rc::new(Self {
            shard: Rc::clone(shard),
            local,
            calm: RefCell::new(Calm::new(now / 1000)),
            noisy: Cell::new(false),
            queued: Cell::new(0),
            parked: RefCell::default(),
            streams: Cell::new(0),
            idle_since: Cell::new(now),
            blocked_since: Cell::new(None),
        })
    }

    fn now_ms(&self) -> u64 {
        self.shard.timers.now_ms()
    }

    /// Ready when more of replies may be handed over.
    pub(crate) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if self.queued.get() < QUEUED_MAX {
            return Poll::Ready(());
        }
        let mut parked = self.parked.borrow_mut();
        if !parked.iter().any(|waker| waker.will_wake(cx.waker())) {
            parked.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Bytes of a reply were handed over, as one DATA frame at least.
    pub(crate) fn queued(&self, bytes: usize) {
        self.calm.borrow_mut().framed();
        self.queued.set(self.queued.get() + bytes);
    }

    /// A stream is open.
    pub(crate) fn stream_opened(&self) {
        self.calm.borrow_mut().stream_opened();
        self.streams.set(self.streams.get() + 1);
        let cell = self.shard.cell();
        cell.h2_streams.add(1);
        cell.h2_streams_open.up();
    }

    /// A stream is closed. `ended`: with the whole reply.
    pub(crate) fn stream_closed(&self, ended: bool) {
        if ended {
            self.calm.borrow_mut().stream_ended();
        }
        self.streams.set(self.streams.get().saturating_sub(1));
        self.shard.cell().h2_streams_open.down();
        self.idle_since.set(self.now_ms());
    }

    /// The connection has done what it can: what it was handed has gone out, unless the socket
    /// takes nothing.
    pub(super) fn settle(&self) {
        if self.blocked_since.get().is_none() && self.queued.replace(0) >= QUEUED_MAX {
            let parked = std::mem::take(&mut *self.parked.borrow_mut());
            parked.into_iter().for_each(Waker::wake);
        }
    }

    /// Since when no stream is open; None while one is.
    pub(super) fn idle_since(&self) -> Option<u64> {
        (self.streams.get() == 0).then(|| self.idle_since.get())
    }

    /// Since when the socket takes nothing of what is there to write.
    pub(super) fn blocked_since(&self) -> Option<u64> {
        self.blocked_since.get()
    }

    /// Does the peer stir too much?
    pub(super) fn is_noisy(&self) -> bool {
        self.noisy.get()
    }

    /// The peer has sent these bytes.
    pub(super) fn received(&self, bytes: &[u8]) {
        let mut calm = self.calm.borrow_mut();
        let before = calm.resets();
        if !calm.observe(bytes, self.now_ms() / 1000) {
            self.noisy.set(true);
        }
        let resets = calm.resets() - before;
        if resets > 0 {
            self.shard.cell().h2_resets.add(resets);
        }
    }

    /// The socket took so many bytes.
    pub(super) fn sent(&self, bytes: usize) {
        self.blocked_since.set(None);
        self.calm.borrow_mut().sent(bytes);
    }

    /// The socket takes nothing now.
    pub(super) fn blocked(&self) {
        if self.blocked_since.get().is_none() {
            self.blocked_since.set(Some(self.now_ms()));
        }
    }

    /// There is nothing to write.
    pub(super) fn flushed(&self) {
        self.blocked_since.set(None);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shard.cell().h2_connections.down();
    }
}
