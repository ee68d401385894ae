//! Idle connections to endpoints, kept per shard for reuse.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use tidegate_policy::balance::mix;

use super::current::{Addresses, Current, leads_to};
use crate::stream::Stream;

/// Idle connections kept per endpoint and shard.
const IDLE_MAX: usize = 4096;

#[derive(Debug)]
struct Idle {
    stream: Stream,
    since_ms: u64,
    /// It leads to an address that its endpoint has. Asking the system for it costs a call, so that
    /// it is done once, by the sweep.
    checked: bool,
}

/// The idle connections of one endpoint, the last used one at the end.
#[derive(Debug, Default)]
struct Connections {
    idle: VecDeque<Idle>,
    /// What the sweep has compared them with.
    addresses: Addresses,
}

impl Connections {
    /// Closes those that lead to other addresses.
    fn keep(&mut self, addresses: &Addresses) {
        let same = match (&self.addresses, addresses) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (None, None) => true,
            _ => false,
        };
        if !same {
            self.addresses.clone_from(addresses);
        }
        self.idle.retain_mut(|idle| {
            if !(same && idle.checked) {
                idle.checked = true;
                return leads_to(addresses, idle.stream.peer());
            }
            true
        });
    }
}

/// Numbers of our own need no hash that an attacker cannot foresee.
type Spread = BuildHasherDefault<Spreading>;

#[derive(Debug, Default)]
struct Spreading(u64);

impl Hasher for Spreading {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = mix(self.0 ^ u64::from(number));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Idle connections by endpoint, the last used one first: the others grow old and are closed.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    by_endpoint: RefCell<HashMap<u32, Connections, Spread>>,
    len: Cell<usize>,
}

impl Pool {
    /// Takes a connection that the endpoint has not closed, as far as we have been told.
    pub(crate) fn take(&self, endpoint: u32) -> Option<Stream> {
        let mut pools = self.by_endpoint.borrow_mut();
        let pool = pools.get_mut(&endpoint)?;
        while let Some(mut idle) = pool.idle.pop_back() {
            self.len.set(self.len.get() - 1);
            if idle.stream.is_quiet() {
                return Some(idle.stream);
            }
        }
        None
    }

    /// Keeps a connection whose last reply has been read to its end.
    pub(crate) fn put(&self, endpoint: u32, stream: Stream, now_ms: u64) {
        let mut pools = self.by_endpoint.borrow_mut();
        let pool = &mut pools.entry(endpoint).or_default().idle;
        if pool.len() < IDLE_MAX {
            pool.push_back(Idle { stream, since_ms: now_ms, checked: false });
            self.len.set(self.len.get() + 1);
        }
    }

    /// Closes what has been idle for too long, was closed by the endpoint or leads where nobody wants
    /// to go any more, and forgets endpoints without connections.
    pub(crate) fn sweep(&self, now_ms: u64, idle_ms: u64, current: &Current) {
        let mut pools = self.by_endpoint.borrow_mut();
        let mut len = 0;
        pools.retain(|endpoint, pool| {
            let Some(addresses) = current.addresses(*endpoint) else { return false };
            pool.keep(addresses);
            let idle = &mut pool.idle;
            idle.retain_mut(|idle| idle.since_ms + idle_ms > now_ms && idle.stream.is_quiet());
            len += idle.len();
            !idle.is_empty()
        });
        self.len.set(len);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len.get()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use super::*;

    const POOL: u32 = 7;

    fn current(addresses: &[SocketAddr]) -> Current {
        Current([(POOL, Some(Arc::new(addresses.to_vec())))].into())
    }

    fn with_runtime(test: impl AsyncFnOnce(&Pool, SocketAddr)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let pool = Pool::default();
            for _ in 0..2 {
                let stream = tokio::net::TcpStream::connect(address).await.unwrap();
                pool.put(POOL, Stream::Tcp(stream), 0);
            }
            test(&pool, address).await;
        });
    }

    #[test]
    fn connections_to_an_address_that_the_name_has_lost_are_closed() {
        with_runtime(async |pool, address| {
            let other = SocketAddr::from(([127, 0, 0, 2], address.port()));
            pool.sweep(1, 1000, &current(&[other, address]));
            assert_eq!(pool.len(), 2);
            let kept = pool.take(POOL).unwrap();
            let moved = current(&[other]);
            pool.sweep(2, 1000, &moved);
            assert_eq!(pool.len(), 0);
            // It was in use when the name changed.
            pool.put(POOL, kept, 3);
            pool.sweep(4, 1000, &moved);
            assert_eq!(pool.len(), 0);
        });
    }

    #[test]
    fn connections_of_an_endpoint_that_is_gone_are_closed() {
        with_runtime(async |pool, _| {
            pool.sweep(1, 1000, &Current([(POOL, None)].into()));
            assert_eq!(pool.len(), 2);
            pool.sweep(2, 1000, &Current::default());
            assert_eq!(pool.len(), 0);
            assert!(pool.take(POOL).is_none());
        });
    }
}
