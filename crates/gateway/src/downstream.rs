//! A client connection: read a head, hand the request to the pipeline, keep alive or close.

use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;

use tidegate_snapshot::{Reason, Snapshot};
use tidegate_wire::http1::head::{HeadLimits, parse_request};
use tokio::net::TcpStream;

use crate::buffer::Lent;
use crate::client::Client;
use crate::error::{Cause, ProxyError};
use crate::pipeline;
use crate::reply;
use crate::request::Request;
use crate::shard::Shard;
use crate::stream::Stream;
use crate::timer::Timer;

/// Fields of a request head.
const FIELDS_MAX: usize = 100;

/// Bytes read and thrown away so that a caller sees our reply and not a reset.
const LINGER_BYTES: usize = 1024 * 1024;

/// How long that may take, in ms.
const LINGER_MS: u64 = 2_000;

/// How long a connection beyond the limit may take to say what it wants, in ms.
const OVER_LIMIT_MS: u64 = 1_000;

/// What came of waiting for a request.
enum Arrival {
    Request(Lent, usize),
    /// Closed, idle for too long, or draining: nothing to answer.
    Nothing,
    Refused(ProxyError),
}

/// Serves a connection until it ends. `over`: the connection limit was reached before it, so that
/// only the built-in endpoints answer.
pub(crate) async fn serve(shard: &Rc<Shard>, stream: TcpStream, peer: SocketAddr, over: bool) {
    let mut client = Client::new(Stream::Tcp(stream), peer, Timer::new(&shard.timers));
    let mut first = true;
    loop {
        match arrive(shard, &mut client, first, over).await {
            Arrival::Nothing => return,
            Arrival::Refused(error) => {
                refuse_unparsed(shard, &mut client, &error).await;
                return linger(shard, &mut client).await;
            }
            Arrival::Request(inbound, head_len) => {
                first = false;
                // Boxed: an idle connection then does not carry the room of an exchange.
                let exchange = Box::pin(exchange(shard, &mut client, inbound, head_len, over));
                match exchange.await {
                    After::KeepAlive => {}
                    After::Close => return,
                    After::Linger => return linger(shard, &mut client).await,
                }
            }
        }
    }
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

async fn exchange(
    shard: &Rc<Shard>,
    client: &mut Client,
    inbound: Lent,
    head_len: usize,
    over: bool,
) -> After {
    let snapshot = shard.snapshot();
    let request = Request::new(
        inbound,
        head_len,
        &mut client.carry,
        shard.random(),
        client.timer.now_ms(),
        snapshot.limits.body,
    );
    client.begin_reply();
    pipeline::handle(shard, &snapshot, client, request, over).await
}

/// Waits for a request head. No buffer is held before its first byte.
async fn arrive(shard: &Rc<Shard>, client: &mut Client, first: bool, over: bool) -> Arrival {
    let mut inbound: Option<Lent> = None;
    let began = client.now_ms();
    let mut head_began = None;
    std::future::poll_fn(|cx| {
        let snapshot = shard.snapshot();
        loop {
            let buffer = match &mut inbound {
                Some(buffer) => buffer,
                None => {
                    let mut fresh = shard.buffers.lend(snapshot.limits.head);
                    fill_from_carry(client, &mut fresh);
                    inbound.insert(fresh)
                }
            };
            if buffer.filled > 0 {
                head_began.get_or_insert(client.timer.now_ms());
                match parse(buffer, &snapshot) {
                    Ok(Some(len)) => {
                        if let Some(complete) = inbound.take() {
                            return Poll::Ready(Arrival::Request(complete, len));
                        }
                    }
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Arrival::Refused(error)),
                }
            }
            let Some(buffer) = &mut inbound else { continue };
            let filled = buffer.filled;
            let space = buffer.bytes.get_mut(filled..).unwrap_or_default();
            match client.stream.poll_read(cx, space) {
                Poll::Ready(Ok(0)) if filled > 0 => {
                    return Poll::Ready(Arrival::Refused(ProxyError::text(
                        Reason::BadRequest,
                        "The connection ended in the middle of a request head.",
                    )));
                }
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Arrival::Nothing),
                Poll::Ready(Ok(n)) => {
                    buffer.filled += n;
                    continue;
                }
                Poll::Pending => {}
            }
            if filled == 0 {
                inbound = None;
            }
            let limit = match head_began {
                Some(began) => began + snapshot.timeouts.head,
                None if over => began + OVER_LIMIT_MS,
                None if first => began + snapshot.timeouts.head.max(snapshot.timeouts.keep_alive),
                None => began + snapshot.timeouts.keep_alive,
            };
            if client.timer.passed(limit) {
                return Poll::Ready(match head_began {
                    Some(_) => Arrival::Refused(ProxyError::text(
                        Reason::HeadTimeout,
                        "The request head did not arrive in time (timeouts.head).",
                    )),
                    None => Arrival::Nothing,
                });
            }
            if head_began.is_none() && !first && shard.live().is_draining() {
                return Poll::Ready(Arrival::Nothing);
            }
            client.timer.arm(limit, cx.waker());
            return Poll::Pending;
        }
    })
    .await
}

/// Begins a head with the bytes that came behind the request before.
fn fill_from_carry(client: &mut Client, inbound: &mut Lent) {
    if client.carry.is_empty() {
        return;
    }
    let taken = client.carry.len().min(inbound.bytes.len());
    if let (Some(to), Some(from)) = (inbound.bytes.get_mut(..taken), client.carry.get(..taken)) {
        to.copy_from_slice(from);
    }
    inbound.filled = taken;
    client.carry.drain(..taken);
    if client.carry.is_empty() {
        client.carry = Vec::new();
    }
}

fn parse(inbound: &mut Lent, snapshot: &Snapshot) -> Result<Option<usize>, ProxyError> {
    let limits = HeadLimits { bytes: snapshot.limits.head, fields: FIELDS_MAX };
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
    client.begin_reply();
    client.reply.close = true;
    let message = reply::unparsed(error, shard.random());
    reply::deliver(client, &message, shard.snapshot().timeouts.write_stall).await;
}

/// Ends our side and gives the caller a moment to read what we sent: closing a socket with unread
/// bytes resets it, and the reply would be lost (RFC 9112 section 9.6).
async fn linger(shard: &Rc<Shard>, client: &mut Client) {
    let deadline = client.now_ms() + LINGER_MS;
    let mut left = LINGER_BYTES;
    let mut ended = false;
    std::future::poll_fn(|cx| {
        if !ended {
            match client.stream.poll_shutdown(cx) {
                Poll::Ready(Ok(())) => ended = true,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
        }
        let mut scratch = shard.scratch.borrow_mut();
        while let Poll::Ready(read) = client.stream.poll_read(cx, &mut scratch.read) {
            match read {
                Ok(n) if n > 0 && n < left => left -= n,
                _ => return Poll::Ready(()),
            }
        }
        if client.timer.passed(deadline) {
            return Poll::Ready(());
        }
        client.timer.arm(deadline, cx.waker());
        Poll::Pending
    })
    .await;
}
