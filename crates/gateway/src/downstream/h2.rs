//! A client connection that speaks HTTP/2: one task for the connection, one for each stream.
//!
//! The protocol itself is the `h2` crate's. Here are the bounds around it, and the way from a stream
//! into the pipeline, which is that of every request.

pub(crate) mod head;
mod io;
pub(crate) mod link;

use std::future::Future as _;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason as Code, RecvStream};
use tidegate_snapshot::{Listener, Snapshot};
use tidegate_wire::http2::{PREFACE, begins_like_preface};

use self::io::{Io, Socket};
use self::link::Link;
use super::{After, OVER_LIMIT_MS, linger, mark, parse, refuse_unparsed};
use crate::buffer::Lent;
use crate::client::frames::Frames;
use crate::client::{Client, Wire};
use crate::error::ProxyError;
use crate::pipeline;
use crate::request::Request;
use crate::shard::Shard;
use crate::timer::Timer;

/// Streams of one connection at once. Each counts as a request in flight besides.
const STREAMS_MAX: u32 = 128;

/// Bytes of a request body that a stream may send ahead of the endpoint.
const STREAM_WINDOW: u32 = 64 * 1024;

/// The same for all streams of a connection together.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Bytes of a frame that we take: the least that there is (RFC 9113 section 4.2).
const FRAME_MAX: u32 = 16 * 1024;

/// Bytes of a reply that a stream hands over before the socket has taken them.
const SEND_BUFFER: usize = 64 * 1024;

/// Streams that we have reset and whose late frames are still known, and for how long.
const RESET_REMEMBERED: usize = 32;
const RESET_REMEMBERED_FOR: Duration = Duration::from_secs(1);

/// Streams that the peer has reset before we have looked at them (CVE-2023-44487).
const RESET_UNSEEN_MAX: usize = 32;

/// Streams that the peer has made us reset by its errors (CVE-2025-8671).
const RESET_PROVOKED_MAX: usize = 128;

/// How long a connection may take to end after its last GOAWAY, in ms.
const GOODBYE_MS: u64 = 1_000;

/// Is this the beginning of a connection that speaks HTTP/2 by prior knowledge? Reads on while it
/// can still become one.
pub(super) async fn is_spoken(
    snapshot: &Snapshot,
    client: &mut Client,
    inbound: &mut Lent,
) -> bool {
    let deadline = client.now_ms() + snapshot.timeouts.head;
    std::future::poll_fn(|cx| {
        while begins_like_preface(inbound.filled()) {
            let filled = inbound.filled;
            if filled >= PREFACE.len() {
                return Poll::Ready(true);
            }
            let space = inbound.bytes.get_mut(filled..).unwrap_or_default();
            match client.poll_read(cx, space) {
                Poll::Ready(Ok(n)) if n > 0 => inbound.filled += n,
                // The reading of the head tells what is wrong.
                Poll::Ready(_) => return Poll::Ready(false),
                Poll::Pending if client.timer.passed(deadline) => return Poll::Ready(false),
                Poll::Pending => {
                    client.timer.arm(deadline, cx.waker());
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(false)
    })
    .await
}

/// Serves a connection until it ends. `early`: what was read of it already. `over`: only the
/// built-in endpoints answer.
pub(crate) async fn serve(shard: &Rc<Shard>, client: Client, early: Vec<u8>, over: bool) {
    let Client { wire: Wire::Http1(stream), peer, secure, trust, timer, .. } = client else {
        return;
    };
    let link = Link::new(shard, stream.local_address());
    let io = Io::new(stream, early, &link);
    let socket = io.socket();
    let Some(connection) = handshake(shard, io, &timer).await else { return };
    socket.begin_gathering();
    let mut speaking =
        Speaking { connection, socket, link, peer, secure, trust, timer, over, goodbye: None };
    std::future::poll_fn(|cx| speaking.poll(cx)).await;
}

/// Exchanges settings; None when the peer does not do that in time.
async fn handshake(shard: &Rc<Shard>, io: Io, timer: &Timer) -> Option<Connection<Io, Bytes>> {
    let snapshot = shard.snapshot();
    let head = u32::try_from(snapshot.limits.head).unwrap_or(u32::MAX);
    let mut shaken = pin!(
        Builder::new()
            .max_concurrent_streams(STREAMS_MAX)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME_MAX)
            .max_header_list_size(head)
            .max_send_buffer_size(SEND_BUFFER)
            .max_concurrent_reset_streams(RESET_REMEMBERED)
            .reset_stream_duration(RESET_REMEMBERED_FOR)
            .max_pending_accept_reset_streams(RESET_UNSEEN_MAX)
            .max_local_error_reset_streams(Some(RESET_PROVOKED_MAX))
            .enable_connect_protocol()
            .handshake(io)
    );
    let deadline = timer.now_ms() + snapshot.timeouts.head;
    std::future::poll_fn(|cx| {
        if let Poll::Ready(connection) = shaken.as_mut().poll(cx) {
            return Poll::Ready(connection.ok());
        }
        if timer.passed(deadline) {
            return Poll::Ready(None);
        }
        timer.arm(deadline, cx.waker());
        Poll::Pending
    })
    .await
}

/// A connection in use.
struct Speaking {
    connection: Connection<Io, Bytes>,
    socket: Rc<Socket>,
    link: Rc<Link>,
    peer: SocketAddr,
    /// It came by TLS.
    secure: bool,
    /// As [`Client::trust`].
    trust: Option<Arc<Listener>>,
    timer: Timer,
    over: bool,
    /// A GOAWAY has been asked for: streams end, then the connection, at this time (ms) at the
    /// latest once there are none.
    goodbye: Option<u64>,
}

impl Speaking {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.socket.begin_turn() {
            return Poll::Pending;
        }
        loop {
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => self.open(request, respond),
                Poll::Ready(Some(Err(error))) => {
                    if error.reason() == Some(Code::ENHANCE_YOUR_CALM) {
                        self.link.shard.cell().h2_calmed.add(1);
                    }
                    return Poll::Ready(());
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => {
                    if let Poll::Ready(Err(_)) = self.socket.poll_send(cx) {
                        return Poll::Ready(());
                    }
                    self.link.settle();
                    if !self.say_goodbye() {
                        return self.wait(cx);
                    }
                }
            }
        }
    }

    /// Sends a GOAWAY if it is time for one.
    fn say_goodbye(&mut self) -> bool {
        let shard = &self.link.shard;
        let now = self.timer.now_ms();
        if self.link.is_noisy() && self.goodbye != Some(0) {
            shard.cell().h2_calmed.add(1);
            self.goodbye = Some(0);
            self.connection.abrupt_shutdown(Code::ENHANCE_YOUR_CALM);
            return true;
        }
        let over = |at: Option<u64>| at.is_some_and(|at| self.timer.passed(at));
        if self.goodbye.is_none() && (over(self.idle_until()) || over(self.drained_at())) {
            // Two steps: the peer is told, and told again with the last stream that was taken once
            // it has had time to hear it (RFC 9113 section 6.8).
            shard.cell().h2_goaways.add(1);
            self.goodbye = Some(now + GOODBYE_MS);
            self.connection.graceful_shutdown();
            return true;
        }
        false
    }

    /// When the peer of a process that drains is told to go (ms): not all at once.
    fn drained_at(&self) -> Option<u64> {
        self.link.shard.live().idle_ends_at(mark(self.peer))
    }

    /// When an idle connection is closed (ms).
    fn idle_until(&self) -> Option<u64> {
        let patience =
            if self.over { OVER_LIMIT_MS } else { self.link.shard.snapshot().timeouts.keep_alive };
        self.link.idle_since().map(|since| since + patience)
    }

    /// Nothing can be done now: has a deadline passed?
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timeouts = &self.link.shard.snapshot().timeouts;
        let now = self.timer.now_ms();
        let stalled = self.link.blocked_since().map(|since| since + timeouts.write_stall);
        let ends = match (self.goodbye, self.link.idle_since()) {
            (Some(0), _) => Some(0),
            (Some(at), Some(since)) => Some(at.max(since + GOODBYE_MS)),
            _ => None,
        };
        if stalled.into_iter().chain(ends).any(|at| self.timer.passed(at)) {
            return Poll::Ready(());
        }
        // A stream that ends does not wake this task: it looks again after a while.
        let goodbye = [self.idle_until(), self.drained_at()].into_iter().flatten();
        let goodbye = goodbye.filter(|_| self.goodbye.is_none());
        let patience = if self.goodbye.is_some() { GOODBYE_MS } else { u64::MAX };
        let look = now + timeouts.keep_alive.min(patience);
        let next = stalled.into_iter().chain(ends).chain(goodbye).fold(look, u64::min);
        self.timer.arm(next, cx.waker());
        Poll::Pending
    }

    /// Begins the exchange of a stream.
    fn open(&self, request: http::Request<RecvStream>, respond: SendResponse<Bytes>) {
        let (parts, receive) = request.into_parts();
        let ended = receive.is_end_stream();
        let shard = Rc::clone(&self.link.shard);
        let connects = head::is_extended_connect(&parts);
        let frames = Frames::new(&self.link, receive, respond, connects);
        let mut client = Client::of_stream(frames, self.peer, Timer::new(&shard.timers));
        client.secure = self.secure;
        client.trust.clone_from(&self.trust);
        let over = self.over;
        self.link.shard.spawn(|task| async move {
            exchange(&shard, &mut client, &parts, ended, over).await;
            // The stream is closed before its task is uncounted.
            drop((client, task));
        });
    }
}

/// Answers the request of one stream.
async fn exchange(
    shard: &Rc<Shard>,
    client: &mut Client,
    parts: &http::request::Parts,
    ended: bool,
    over: bool,
) {
    let snapshot = shard.snapshot();
    client.begin_reply();
    let inbound = match downgraded(shard, &snapshot, parts, ended) {
        Ok(inbound) => inbound,
        Err(error) => return refuse_unparsed(shard, client, &error).await,
    };
    let limit = snapshot.limits.body;
    let connects = head::is_extended_connect(parts);
    let mut request = Request::of_stream(inbound, ended, client, shard.random(), limit, connects);
    let after = pipeline::handle(shard, &snapshot, client, &mut request, over).await;
    if matches!(after, After::Linger) && !request.is_read() {
        Box::pin(linger(shard, client)).await;
    }
    if client.reply.broken {
        // The reset that follows throws away what is queued: the connection's task, which has been
        // woken by it, goes first. If it has had its turn, that is in the next round.
        shard.rounds.next().await;
        tokio::task::yield_now().await;
    }
}

/// The request's head in HTTP/1.1, parsed by the rules of HTTP/1.1.
fn downgraded(
    shard: &Shard,
    snapshot: &Snapshot,
    parts: &http::request::Parts,
    ended: bool,
) -> Result<Lent, ProxyError> {
    let mut scratch = shard.scratch.borrow_mut();
    let written = &mut scratch.head;
    written.clear();
    head::request(parts, ended, [shard.random(), shard.random()], written)?;
    let mut inbound = shard.buffers.lend();
    if written.len() > inbound.bytes.len() {
        inbound.grow(written.len());
    }
    if let Some(space) = inbound.bytes.get_mut(..written.len()) {
        space.copy_from_slice(written);
    }
    inbound.filled = written.len();
    match parse(&mut inbound, snapshot)? {
        Some(length) if length == inbound.filled => Ok(inbound),
        _ => Err(ProxyError::new(tidegate_snapshot::Reason::BadRequest)),
    }
}
