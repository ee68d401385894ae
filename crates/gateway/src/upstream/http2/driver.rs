//! The task of one connection: opening it, moving its frames, asking a silent endpoint whether it
//! still lives.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::{Ping, PingPong};
use tidegate_snapshot::{Endpoint, Protocol, Reason};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::{Connection, Connections, STREAMS_MAX};
use super::stream::STREAM_WINDOW;
use crate::error::{ProxyError, Repeatable};
use crate::shard::{Shard, TaskGuard};
use crate::stream::Stream;
use crate::timer::{Timer, Timers};
use crate::upstream::connect::{self, Alpn};

/// What an endpoint may send on one connection before we have passed any of it on: the windows of
/// all streams together, so that callers who read slowly never hold up the others.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS_MAX as u32;

/// Bytes that one stream hands to the connection before the endpoint takes them.
const SEND_BUFFER: usize = 64 * 1024;

/// After so long a silence of an endpoint that owes us replies it is asked whether it lives, in ms.
const PING_AFTER_MS: u64 = 20_000;

/// While it answers and says nothing else, it is asked four times less often each time, down to
/// this interval in ms: servers of gRPC close connections on which they are asked more than twice
/// within five minutes.
const PING_AFTER_MAX_MS: u64 = 320_000;

/// How long it may take to say so, in ms.
const PING_PATIENCE_MS: u64 = 10_000;

/// How long a connection may take to end after its last stream, in ms.
const CLOSE_MS: u64 = 5_000;

/// Streams that we reset and whose late frames are still tolerated, and for how long.
const RESET_STREAMS_MAX: usize = 50;

/// Opens as many connections as those who wait need.
pub(super) fn open_more(
    shard: &Rc<Shard>,
    connections: &Rc<Connections>,
    endpoint: &Arc<Endpoint>,
) {
    for _ in 0..connections.wanted() {
        let opening = Opening::begin(connections);
        let (own, endpoint) = (Rc::clone(shard), Arc::clone(endpoint));
        shard.spawn(|counted| run(counted, own, opening, endpoint));
    }
}

/// Counts a connection that is being opened.
struct Opening {
    connections: Rc<Connections>,
    done: Cell<bool>,
}

impl Opening {
    fn begin(connections: &Rc<Connections>) -> Self {
        connections.opening.set(connections.opening.get() + 1);
        Self { connections: Rc::clone(connections), done: Cell::new(false) }
    }

    /// It is open, or has failed.
    fn end(&self) {
        if !self.done.replace(true) {
            self.connections.opening.set(self.connections.opening.get() - 1);
        }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.end();
    }
}

async fn run(counted: TaskGuard, shard: Rc<Shard>, opening: Opening, endpoint: Arc<Endpoint>) {
    let _counted = counted;
    let timer = Timer::new(&shard.timers);
    let deadline = timer.now_ms() + endpoint.timeouts.connect;
    endpoint.live.cells.of(shard.index).connects.add(1);
    let connections = Rc::clone(&opening.connections);
    let turn = shard.random();
    let opened = {
        let mut connecting = Box::pin(connect::open(&endpoint, turn, Vec::new(), Alpn::Configured));
        std::future::poll_fn(|cx| {
            if let Poll::Ready(opened) = connecting.as_mut().poll(cx) {
                return Poll::Ready(opened);
            }
            if timer.passed(deadline) {
                let late = ProxyError::new(Reason::ConnectTimeout).repeatable(Repeatable::Anywhere);
                return Poll::Ready(Err(late));
            }
            timer.arm(deadline, cx.waker());
            Poll::Pending
        })
        .await
    };
    let stream = match opened {
        Ok(stream) => stream,
        Err(error) => {
            opening.end();
            connections.fail(|| {
                ProxyError::io(error.kind, io::Error::other(error.to_string()))
                    .repeatable(error.repeatable)
            });
            return;
        }
    };
    match (endpoint.protocol, endpoint.tls.is_some(), stream.chose_http2()) {
        (Protocol::Negotiated, _, false) => {
            connections.streams_each.set(1);
            shard.pool.put(endpoint.pool, stream, timer.now_ms());
            opening.end();
            connections.wake(1);
        }
        (_, true, false) => {
            opening.end();
            connections.fail(|| {
                ProxyError::io(
                    Reason::TlsFailed,
                    io::Error::other("the endpoint refused h2 (ALPN)"),
                )
                .repeatable(Repeatable::Anywhere)
            });
        }
        _ => Box::pin(drive(&shard, stream, &opening, &timer, deadline)).await,
    }
}

/// Serves a connection until it has ended.
async fn drive(shard: &Rc<Shard>, stream: Stream, opening: &Opening, timer: &Timer, deadline: u64) {
    let connections = &opening.connections;
    let read_ms = Rc::new(Cell::new(timer.now_ms()));
    let peer = stream.peer();
    let socket = Socket { stream, read_ms: Rc::clone(&read_ms), timers: Rc::clone(&shard.timers) };
    let head_max = shard.snapshot().limits.head;
    let shaken = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(head_max as u32)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(RESET_STREAMS_MAX)
        .enable_push(false)
        // None before the endpoint has said how many: until its SETTINGS have come, nobody knows
        // whether it speaks HTTP/2 at all.
        .initial_max_send_streams(0)
        .handshake::<_, Bytes>(socket)
        .await;
    let (sender, mut wire) = match shaken {
        Ok(shaken) => shaken,
        Err(error) => return failed(opening, &error),
    };
    let connection = Connection::new(sender, peer, timer.now_ms());
    let open = connections.count();
    let mut pings = wire.ping_pong();
    let mut pulse = Pulse::default();
    let mut closing_ms = None;
    let ended = std::future::poll_fn(|cx| {
        loop {
            let ended = Pin::new(&mut wire).poll(cx);
            connection.refresh();
            if let Poll::Ready(ended) = ended {
                return Poll::Ready(ended.map_err(Some));
            }
            if connection.limit.get() == 0 && !opening.done.get() {
                if timer.passed(deadline) {
                    return Poll::Ready(Err(None));
                }
                timer.arm(deadline, cx.waker());
                return Poll::Pending;
            }
            if !opening.done.get() {
                connections.streams_each.set(connection.limit.get());
                opening.end();
                connections.opened(&connection);
            }
            if connection.streams() == 0 {
                if connection.is_closing() {
                    let since = *closing_ms.get_or_insert(timer.now_ms());
                    if timer.passed(since + CLOSE_MS) {
                        return Poll::Ready(Ok(()));
                    }
                    timer.arm(since + CLOSE_MS, cx.waker());
                }
                return Poll::Pending;
            }
            match pulse.keep(cx, pings.as_mut(), timer, read_ms.get()) {
                Alive::Waiting => return Poll::Pending,
                Alive::Asked => {}
                Alive::Silent => return Poll::Ready(Err(None)),
            }
        }
    })
    .await;
    // What is still open on it ends with an error when the connection is dropped.
    drop(wire);
    drop(open);
    connection.close();
    if opening.done.get() {
        connections.closed(&connection);
        return;
    }
    match ended {
        Err(Some(error)) => failed(opening, &error),
        Ok(()) => failed(opening, &io::Error::from(io::ErrorKind::UnexpectedEof)),
        Err(None) => {
            opening.end();
            connections
                .fail(|| ProxyError::new(Reason::ConnectTimeout).repeatable(Repeatable::Anywhere));
        }
    }
}

fn failed(opening: &Opening, error: &dyn std::fmt::Display) {
    opening.end();
    opening.connections.fail(|| {
        let cause = io::Error::other(format!("no connection of HTTP/2: {error}"));
        ProxyError::io(Reason::ConnectFailed, cause).repeatable(Repeatable::Anywhere)
    });
}

enum Alive {
    /// Nothing to do before the armed deadline.
    Waiting,
    /// A PING goes out with the next poll of the connection.
    Asked,
    /// The endpoint did not answer in time.
    Silent,
}

/// What is known of a silent endpoint.
#[expect(clippy::struct_field_names, reason = "each says its unit")]
#[derive(Debug, Default)]
struct Pulse {
    /// When it was asked (ms), until it answers.
    asked_ms: Option<u64>,
    /// When it last answered (ms), and how long it is left alone since then.
    answered_ms: u64,
    interval_ms: u64,
}

impl Pulse {
    /// While streams are open and nothing comes: asks, and judges the silence that follows.
    fn keep(
        &mut self,
        cx: &mut Context<'_>,
        pings: Option<&mut PingPong>,
        timer: &Timer,
        read_ms: u64,
    ) -> Alive {
        let Some(pings) = pings else { return Alive::Waiting };
        if let Some(asked) = self.asked_ms {
            if pings.poll_pong(cx).is_pending() {
                if timer.passed(asked + PING_PATIENCE_MS) {
                    return Alive::Silent;
                }
                timer.arm(asked + PING_PATIENCE_MS, cx.waker());
                return Alive::Waiting;
            }
            self.asked_ms = None;
            self.answered_ms = timer.now_ms();
        }
        if read_ms > self.answered_ms {
            self.interval_ms = PING_AFTER_MS;
        }
        let due = read_ms.max(self.answered_ms) + self.interval_ms.max(PING_AFTER_MS);
        if !timer.passed(due) {
            timer.arm(due, cx.waker());
            return Alive::Waiting;
        }
        if pings.send_ping(Ping::opaque()).is_err() {
            return Alive::Waiting;
        }
        self.interval_ms = (self.interval_ms * 4).clamp(PING_AFTER_MS, PING_AFTER_MAX_MS);
        self.asked_ms = Some(timer.now_ms());
        Alive::Asked
    }
}

/// The socket under a connection; notes when the endpoint last said something.
struct Socket {
    stream: Stream,
    read_ms: Rc<Cell<u64>>,
    timers: Rc<Timers>,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = self.stream.poll_read_into(cx, into);
        if into.filled().len() > before {
            self.read_ms.set(self.timers.now_ms());
        }
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream.poll_write(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_shutdown(cx)
    }
}
