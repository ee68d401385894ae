//! Idle connections to endpoints, kept per shard for reuse.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::task::{Context, Poll, Waker};

use crate::stream::Stream;

/// Idle connections kept per endpoint and shard.
const IDLE_MAX: usize = 4096;

#[derive(Debug)]
struct Idle {
    stream: Stream,
    since_ms: u64,
}

/// Idle connections by endpoint, the last used one first: the others grow old and are closed.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    by_endpoint: RefCell<HashMap<u32, VecDeque<Idle>>>,
    len: Cell<usize>,
}

impl Pool {
    /// Takes a connection that the endpoint has not closed, as far as we have been told.
    pub(crate) fn take(&self, endpoint: u32) -> Option<Stream> {
        let mut pools = self.by_endpoint.borrow_mut();
        let pool = pools.get_mut(&endpoint)?;
        while let Some(mut idle) = pool.pop_back() {
            self.len.set(self.len.get() - 1);
            if is_quiet(&mut idle.stream) {
                return Some(idle.stream);
            }
        }
        None
    }

    /// Keeps a connection whose last reply has been read to its end.
    pub(crate) fn put(&self, endpoint: u32, stream: Stream, now_ms: u64) {
        let mut pools = self.by_endpoint.borrow_mut();
        let pool = pools.entry(endpoint).or_default();
        if pool.len() < IDLE_MAX {
            pool.push_back(Idle { stream, since_ms: now_ms });
            self.len.set(self.len.get() + 1);
        }
    }

    /// Closes what has been idle for too long or was closed by the endpoint, and forgets endpoints
    /// without connections.
    pub(crate) fn sweep(&self, now_ms: u64, idle_ms: u64) {
        let mut pools = self.by_endpoint.borrow_mut();
        let mut len = 0;
        pools.retain(|_, pool| {
            pool.retain_mut(|idle| idle.since_ms + idle_ms > now_ms && is_quiet(&mut idle.stream));
            len += pool.len();
            !pool.is_empty()
        });
        self.len.set(len);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len.get()
    }
}

/// Has the peer said nothing since? Anything it says on an idle connection ends it: a close, or
/// bytes that belong to no request. Costs no system call while nothing has happened.
fn is_quiet(stream: &mut Stream) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    let mut byte = [0u8; 1];
    matches!(stream.poll_read(&mut context, &mut byte), Poll::Pending)
}
