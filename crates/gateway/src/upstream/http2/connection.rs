//! The connections to one endpoint: who has room for a stream, who waits for one.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::SendRequest;

use super::Counts;
use super::stream::Http2Leg;
use crate::error::ProxyError;
use crate::timer::Timers;
use crate::upstream::current::{Addresses, leads_to};

/// Streams that we open on one connection at most, whatever the endpoint allows.
pub(super) const STREAMS_MAX: usize = 100;

/// Connections to one endpoint and shard at most. Who finds all of them full waits for a stream,
/// within the connect deadline.
pub(super) const CONNECTIONS_MAX: usize = 256;

/// The connections of a shard to one endpoint.
#[derive(Debug)]
pub(crate) struct Connections {
    open: RefCell<Vec<Rc<Connection>>>,
    /// How many are being opened.
    pub(super) opening: Cell<usize>,
    /// In the order of their coming. Bounded by the exchanges in flight.
    waiting: RefCell<VecDeque<Rc<Waiter>>>,
    /// Streams that a new connection will probably take: what the last one did.
    pub(super) streams_each: Cell<usize>,
    counts: Rc<Counts>,
    timers: Rc<Timers>,
}

#[derive(Debug, Default)]
struct Waiter {
    waker: RefCell<Option<Waker>>,
    woken: Cell<bool>,
    failed: RefCell<Option<ProxyError>>,
}

impl Connections {
    pub(super) fn new(counts: Rc<Counts>, timers: Rc<Timers>) -> Self {
        Self {
            open: RefCell::default(),
            opening: Cell::new(0),
            waiting: RefCell::default(),
            streams_each: Cell::new(STREAMS_MAX),
            counts,
            timers,
        }
    }

    /// Begins a stream on the first connection that has room: the others grow idle and are closed.
    /// True: the first stream of that connection.
    pub(super) fn stream(self: &Rc<Self>) -> Option<(Http2Leg, bool)> {
        let mut open = self.open.borrow_mut();
        let mut at = 0;
        while let Some(connection) = open.get(at) {
            if connection.is_closing() {
                open.remove(at);
                continue;
            }
            if connection.has_room() {
                let first = !connection.used.replace(true);
                return Some((Http2Leg::new(Lease::take(connection, self)), first));
            }
            at += 1;
        }
        None
    }

    /// Counts a connection until it is dropped.
    pub(super) fn count(&self) -> Counted {
        self.counts.connections.set(self.counts.connections.get() + 1);
        Counted(Rc::clone(&self.counts))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.borrow().is_empty() && self.opening.get() == 0
    }

    /// How many more connections those who wait need.
    pub(super) fn wanted(&self) -> usize {
        let waiting = self.waiting.borrow().len();
        let needed = waiting.div_ceil(self.streams_each.get().max(1));
        let room = CONNECTIONS_MAX.saturating_sub(self.open.borrow().len() + self.opening.get());
        needed.saturating_sub(self.opening.get()).min(room)
    }

    pub(super) fn opened(&self, connection: &Rc<Connection>) {
        self.open.borrow_mut().push(Rc::clone(connection));
        // All of them: who finds no room there sees now how many more are needed.
        self.wake(usize::MAX);
    }

    pub(super) fn closed(&self, connection: &Rc<Connection>) {
        self.open.borrow_mut().retain(|other| !Rc::ptr_eq(other, connection));
        // Those who waited for a stream of it may need another connection.
        self.wake(usize::MAX);
    }

    /// Wakes the next `count` of those who wait.
    pub(super) fn wake(&self, count: usize) {
        let waiting = self.waiting.borrow();
        for waiter in waiting.iter().filter(|waiter| !waiter.woken.get()).take(count) {
            waiter.woken.set(true);
            if let Some(waker) = waiter.waker.borrow().as_ref() {
                waker.wake_by_ref();
            }
        }
    }

    /// A connection could not be opened: those for whom it was opened are told.
    pub(super) fn fail(&self, mut error: impl FnMut() -> ProxyError) {
        let count = self.streams_each.get().max(1);
        let waiting = self.waiting.borrow();
        let untold = waiting.iter().filter(|waiter| waiter.failed.borrow().is_none());
        for waiter in untold.take(count) {
            waiter.failed.replace(Some(error()));
        }
        drop(waiting);
        // The others see whether they need one more.
        self.wake(usize::MAX);
    }

    /// No new streams on those that lead elsewhere than to these addresses; None: on none of them.
    pub(super) fn close_unwanted(&self, addresses: Option<&Addresses>) {
        for connection in self.open.borrow().iter() {
            if !addresses.is_some_and(|wanted| leads_to(wanted, connection.peer)) {
                connection.close();
            }
        }
    }

    pub(super) fn close_idle(&self, now_ms: u64, idle_ms: u64) {
        self.open.borrow_mut().retain(|connection| {
            let idle =
                connection.streams.get() == 0 && connection.idle_since_ms.get() + idle_ms <= now_ms;
            if idle {
                connection.close();
            }
            !connection.is_closing()
        });
    }
}

/// A connection in the count.
pub(super) struct Counted(Rc<Counts>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
    }
}

/// One who waits for a stream; no longer when dropped.
pub(super) struct Waiting<'c> {
    connections: &'c Rc<Connections>,
    waiter: Rc<Waiter>,
    queued: Cell<bool>,
}

impl<'c> Waiting<'c> {
    pub(super) fn new(connections: &'c Rc<Connections>) -> Self {
        Self { connections, waiter: Rc::default(), queued: Cell::new(false) }
    }

    pub(super) fn has_waited(&self) -> bool {
        self.queued.get()
    }

    /// Why the connection that it waits for was not opened.
    pub(super) fn failure(&self) -> Option<ProxyError> {
        self.waiter.failed.take()
    }

    pub(super) fn wait(&self, waker: &Waker) {
        self.waiter.woken.set(false);
        self.waiter.waker.replace(Some(waker.clone()));
        if !self.queued.replace(true) {
            self.connections.waiting.borrow_mut().push_back(Rc::clone(&self.waiter));
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.queued.get() {
            let waiter = &self.waiter;
            self.connections.waiting.borrow_mut().retain(|other| !Rc::ptr_eq(other, waiter));
            if waiter.woken.get() {
                // Whatever it was woken for may be another one's.
                self.connections.wake(1);
            }
        }
    }
}

/// One connection. Its driver holds it, and the streams on it.
#[derive(Debug)]
pub(crate) struct Connection {
    /// None: no stream can begin any more, and the connection ends with the last one.
    sender: RefCell<Option<SendRequest<Bytes>>>,
    streams: Cell<usize>,
    /// Streams that may be open: what the endpoint says, at most [`STREAMS_MAX`]. 0 until it has
    /// said something.
    pub(super) limit: Cell<usize>,
    used: Cell<bool>,
    idle_since_ms: Cell<u64>,
    peer: Option<SocketAddr>,
}

impl Connection {
    pub(super) fn new(
        sender: SendRequest<Bytes>,
        peer: Option<SocketAddr>,
        now_ms: u64,
    ) -> Rc<Self> {
        Rc::new(Self {
            sender: RefCell::new(Some(sender)),
            streams: Cell::new(0),
            limit: Cell::new(0),
            used: Cell::new(false),
            idle_since_ms: Cell::new(now_ms),
            peer,
        })
    }

    pub(super) fn streams(&self) -> usize {
        self.streams.get()
    }

    pub(super) fn is_closing(&self) -> bool {
        self.sender.borrow().is_none()
    }

    /// No new streams; those that are open go on.
    pub(super) fn close(&self) {
        self.sender.replace(None);
    }

    /// Takes over what the endpoint has said: its limit, or that it wants no new streams.
    pub(super) fn refresh(&self) {
        let mut sender = self.sender.borrow_mut();
        let Some(open) = sender.as_mut() else { return };
        self.limit.set(open.current_max_send_streams().min(STREAMS_MAX));
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(Err(_)) = open.poll_ready(&mut context) {
            *sender = None;
        }
    }

    fn has_room(&self) -> bool {
        if self.streams.get() >= self.limit.get() {
            return false;
        }
        let mut sender = self.sender.borrow_mut();
        let mut context = Context::from_waker(Waker::noop());
        match sender.as_mut().map(|sender| sender.poll_ready(&mut context)) {
            Some(Poll::Ready(Ok(()))) => true,
            Some(Poll::Ready(Err(_))) => {
                *sender = None;
                false
            }
            Some(Poll::Pending) | None => false,
        }
    }

    /// Has the endpoint said that it takes tunnels (RFC 8441 section 3)?
    pub(super) fn may_connect(&self) -> bool {
        let sender = self.sender.borrow();
        sender.as_ref().is_some_and(SendRequest::is_extended_connect_protocol_enabled)
    }

    /// Begins a stream. None: the connection takes none any more.
    pub(super) fn send(
        &self,
        request: http::Request<()>,
        end: bool,
    ) -> Option<Result<(h2::client::ResponseFuture, h2::SendStream<Bytes>), h2::Error>> {
        let mut sender = self.sender.borrow_mut();
        sender.as_mut().map(|sender| sender.send_request(request, end))
    }
}

/// A place on a connection, counted until it is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) connection: Rc<Connection>,
    connections: Rc<Connections>,
}

impl Lease {
    fn take(connection: &Rc<Connection>, connections: &Rc<Connections>) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        let counts = &connections.counts;
        counts.streams.set(counts.streams.get() + 1);
        Self { connection: Rc::clone(connection), connections: Rc::clone(connections) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let left = self.connection.streams.get() - 1;
        self.connection.streams.set(left);
        let counts = &self.connections.counts;
        counts.streams.set(counts.streams.get() - 1);
        if left == 0 {
            self.connection.idle_since_ms.set(self.connections.timers.now_ms());
        }
        self.connections.wake(1);
    }
}
