//! A client connection: read a head, hand the request to the pipeline, keep alive or close.

pub(crate) mod h2;
pub(crate) mod handshake;
pub(crate) mod tcp;

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::Poll;

use tidegate_policy::balance::mix;
use tidegate_snapshot::{Reason, Snapshot};
use tidegate_wire::http1::head::{HeadLimits, parse_request};
use tidegate_wire::http2::begins_like_preface;

use crate::buffer::Lent;
use crate::client::Client;
use crate::error::{Cause, ProxyError};
use crate::pipeline;
use crate::reply;
use crate::request::Request;
use crate::shard::Shard;

/// Fields of a request head.
const FIELDS_MAX: usize = 100;

/// Bytes read and thrown away so that a caller sees our reply and not a reset; more are not read.
const LINGER_BYTES: usize = 1024 * 1024;

/// How long a caller has to see it, in ms.
const LINGER_MS: u64 = 2_000;

/// How long a connection beyond the limit may take to say what it wants, in ms.
const OVER_LIMIT_MS: u64 = 1_000;

/// Serves a connection until it ends. `over`: the connection limit was reached before it, so that
/// only the built-in endpoints answer. `http2`: it may be spoken here. Some: it is spoken; these are
/// its first bytes, and [`h2::serve`] goes on.
///
/// This future is what an idle connection costs, so that nothing large lives in it: the client is
/// its task's (a parameter would be stored twice), a buffer comes with the first byte of a request,
/// and everything from then on is boxed.
pub(crate) async fn serve(
    shard: &Rc<Shard>,
    client: &mut Client,
    http2: bool,
    over: bool,
) -> Option<Vec<u8>> {
    let mut first = true;
    while let Some(mut inbound) = first_bytes(shard, client, first, over).await {
        if first && http2 && begins_like_preface(inbound.filled()) {
            let snapshot = shard.snapshot();
            if Box::pin(h2::is_spoken(&snapshot, client, &mut inbound)).await {
                return Some(inbound.filled().to_vec());
            }
        }
        first = false;
        match Box::pin(exchange(shard, client, inbound, over)).await {
            After::KeepAlive => {}
            After::Close => return None,
            After::Linger => {
                Box::pin(linger(shard, client)).await;
                return None;
            }
        }
    }
    client.say_goodbye();
    None
}

/// What becomes of the connection after an exchange.
pub(crate) enum After {
    /// It waits for the next request.
    KeepAlive,
    /// It is closed at once.
    Close,
    /// It is closed once the caller has had time to read the reply.
    Linger,
}

/// Waits for the first bytes of a request, without holding a buffer. None: the connection has
/// ended, was idle for too long, or the process is shutting down.
async fn first_bytes(
    shard: &Rc<Shard>,
    client: &mut Client,
    first: bool,
    over: bool,
) -> Option<Lent> {
    let began = client.now_ms();
    std::future::poll_fn(|cx| {
        let mut inbound = shard.buffers.lend();
        match client.poll_read(cx, &mut inbound.bytes) {
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(None),
            Poll::Ready(Ok(n)) => {
                inbound.filled = n;
                return Poll::Ready(Some(inbound));
            }
            Poll::Pending => {}
        }
        let snapshot = shard.snapshot();
        let timeouts = &snapshot.timeouts;
        let patience = match (over, first) {
            (true, _) => OVER_LIMIT_MS,
            (false, true) => timeouts.head.max(timeouts.keep_alive),
            (false, false) => timeouts.keep_alive,
        };
        let mut until = began + patience;
        if !first && let Some(end) = shard.live().idle_ends_at(mark(client.peer)) {
            until = until.min(end);
        }
        if client.timer.passed(until) {
            return Poll::Ready(None);
        }
        client.timer.arm(until, cx.waker());
        Poll::Pending
    })
    .await
}

/// A number that spreads connections evenly and costs no memory.
fn mark(peer: SocketAddr) -> u64 {
    let ip = match peer.ip() {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits() as u64,
    };
    mix(mix(ip) ^ u64::from(peer.port()))
}

/// Reads the rest of a head and answers the request.
async fn exchange(shard: &Rc<Shard>, client: &mut Client, mut inbound: Lent, over: bool) -> After {
    let snapshot = shard.snapshot();
    client.begin_reply();
    let head_len = match whole_head(&snapshot, client, &mut inbound).await {
        Ok(Some(length)) => length,
        Ok(None) => return After::Close,
        Err(error) => {
            refuse_unparsed(shard, client, &error).await;
            return After::Linger;
        }
    };
    let mut request = Request::new(inbound, head_len, client, shard.random(), snapshot.limits.body);
    pipeline::handle(shard, &snapshot, client, &mut request, over).await
}

/// Reads until the head is whole and gives its length; None when the connection broke.
async fn whole_head(
    snapshot: &Snapshot,
    client: &mut Client,
    inbound: &mut Lent,
) -> Result<Option<usize>, ProxyError> {
    let deadline = client.now_ms() + snapshot.timeouts.head;
    std::future::poll_fn(|cx| {
        loop {
            if let Some(length) = parse(inbound, snapshot)? {
                return Poll::Ready(Ok(Some(length)));
            }
            let filled = inbound.filled;
            if filled == inbound.bytes.len() {
                inbound.grow(snapshot.limits.head);
            }
            let space = inbound.bytes.get_mut(filled..).unwrap_or_default();
            match client.poll_read(cx, space) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(ProxyError::text(
                        Reason::BadRequest,
                        "The connection ended in the middle of a request head.",
                    )));
                }
                Poll::Ready(Ok(n)) => inbound.filled += n,
                Poll::Ready(Err(_)) => return Poll::Ready(Ok(None)),
                Poll::Pending if client.timer.passed(deadline) => {
                    return Poll::Ready(Err(ProxyError::text(
                        Reason::HeadTimeout,
                        "The request head did not arrive in time (timeouts.head).",
                    )));
                }
                Poll::Pending => {
                    client.timer.arm(deadline, cx.waker());
                    return Poll::Pending;
                }
            }
        }
    })
    .await
}

fn parse(inbound: &mut Lent, snapshot: &Snapshot) -> Result<Option<usize>, ProxyError> {
    let limits = head_limits(snapshot);
    let inbound = &mut **inbound;
    let filled = inbound.bytes.get(..inbound.filled).unwrap_or_default();
    parse_request(filled, &limits, &mut inbound.head).map_err(|error| {
        let kind = match error.status() {
            414 | 431 => Reason::HeadTooLarge,
            _ => Reason::BadRequest,
        };
        ProxyError { cause: Cause::Head(error), ..ProxyError::new(kind) }
    })
}

async fn refuse_unparsed(shard: &Rc<Shard>, client: &mut Client, error: &ProxyError) {
    shard.cell().ended[error.kind as usize].add(1);
    client.reply.close = true;
    let snapshot = shard.snapshot();
    let message = reply::unparsed(error, &head_limits(&snapshot), shard.random());
    reply::deliver(client, &message, snapshot.timeouts.write_stall).await;
}

fn head_limits(snapshot: &Snapshot) -> HeadLimits {
    HeadLimits { bytes: snapshot.limits.head, fields: FIELDS_MAX }
}

/// Ends our side and gives the caller a moment to read what we sent: closing a socket with unread
/// bytes resets it, and the reply would be lost (RFC 9112 section 9.6). A stream of HTTP/2 is reset
/// then, and callers exist that forget a reply when its reset comes with it.
async fn linger(shard: &Rc<Shard>, client: &mut Client) {
    let deadline = client.now_ms() + LINGER_MS;
    let mut left = LINGER_BYTES;
    let mut ended = false;
    std::future::poll_fn(|cx| {
        if !ended {
            match client.poll_shutdown(cx) {
                Poll::Ready(Ok(())) => ended = true,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
        }
        let mut scratch = shard.scratch.borrow_mut();
        while left > 0
            && let Poll::Ready(read) = client.poll_read(cx, &mut scratch.read)
        {
            match read {
                Ok(n) if n > 0 => left = left.saturating_sub(n),
                _ => return Poll::Ready(()),
            }
        }
        // Who has sent more waits for us, and finds the reply: to close would be a reset.
        if client.timer.passed(deadline) {
            return Poll::Ready(());
        }
        client.timer.arm(deadline, cx.waker());
        Poll::Pending
    })
    .await;
}
