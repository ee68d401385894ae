//! HTTP/2 to endpoints (RFC 9113): connections that exchanges share, as many as their limits demand.

mod connection;
mod driver;
mod message;
mod stream;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use tidegate_snapshot::{Endpoint, Protocol, Reason};

pub(crate) use connection::Connections;
pub(crate) use message::put_last_chunk;
pub(crate) use stream::{Http2Leg, Reading, Refusal};

use super::Leg;
use super::current::Current;
use crate::client::Client;
use crate::error::{ProxyError, Repeatable};
use crate::shard::Shard;
use crate::timer::Timers;
use connection::Waiting;

/// Connections of HTTP/2 by endpoint.
#[derive(Debug, Default)]
pub(crate) struct Http2Pool {
    by_endpoint: RefCell<HashMap<u32, Rc<Connections>>>,
    counts: Rc<Counts>,
}

/// What is open now, over all endpoints.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Connections.
    pub(crate) connections: Cell<u64>,
    /// Streams.
    pub(crate) streams: Cell<u64>,
}

impl Http2Pool {
    fn of(&self, pool: u32, timers: &Rc<Timers>) -> Rc<Connections> {
        let mut by_endpoint = self.by_endpoint.borrow_mut();
        let made = || Rc::new(Connections::new(Rc::clone(&self.counts), Rc::clone(timers)));
        Rc::clone(by_endpoint.entry(pool).or_insert_with(made))
    }

    /// Closes connections that have had no stream for too long, lets no stream begin on those that
    /// lead where nobody wants to go any more, and forgets endpoints without any.
    pub(crate) fn sweep(&self, now_ms: u64, idle_ms: u64, current: &Current) {
        self.by_endpoint.borrow_mut().retain(|pool, connections| {
            connections.close_unwanted(current.addresses(*pool));
            connections.close_idle(now_ms, idle_ms);
            // Whoever waits or opens holds it too.
            !connections.is_empty() || Rc::strong_count(connections) > 1
        });
    }

    /// What is open now.
    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }
}

/// A stream on a connection with room, or a connection of HTTP/1.1 where the endpoint chose that;
/// opens connections as they are needed. Ends early when the caller goes.
pub(super) async fn obtain(
    shard: &Rc<Shard>,
    endpoint: &Arc<Endpoint>,
    client: &mut Client,
) -> Result<(Leg, bool), ProxyError> {
    let connections = shard.http2.of(endpoint.pool, &shard.timers);
    let deadline = client.now_ms() + endpoint.timeouts.connect;
    let waiting = Waiting::new(&connections);
    let cell = endpoint.live.cells.of(shard.index);
    std::future::poll_fn(|cx| {
        let waited = waiting.has_waited();
        if let Some((stream, first)) = connections.stream() {
            if !waited {
                cell.reused.add(1);
            }
            return Poll::Ready(Ok((Leg::Http2(Box::new(stream)), !first)));
        }
        if endpoint.protocol == Protocol::Negotiated
            && let Some(stream) = shard.pool.take(endpoint.pool)
        {
            if !waited {
                cell.reused.add(1);
            }
            return Poll::Ready(Ok((Leg::Http1(stream), !waited)));
        }
        if let Some(error) = waiting.failure() {
            return Poll::Ready(Err(error));
        }
        waiting.wait(cx.waker());
        driver::open_more(shard, &connections, endpoint);
        if let Poll::Ready(gone) = client.poll_gone(cx) {
            return Poll::Ready(Err(gone));
        }
        if client.timer.passed(deadline) {
            let late = ProxyError::new(Reason::ConnectTimeout).repeatable(Repeatable::Anywhere);
            return Poll::Ready(Err(late));
        }
        client.timer.arm(deadline, cx.waker());
        Poll::Pending
    })
    .await
}
