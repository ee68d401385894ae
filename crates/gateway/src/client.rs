//! The caller's side of an exchange: what was read ahead, what is still to be written.

pub(crate) mod frames;

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::HeaderMap;
use tidegate_snapshot::{Listener, Reason};
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

use self::frames::Frames;
use crate::error::ProxyError;
use crate::observe::Observed;
use crate::stream::Stream;
use crate::timer::Timer;

/// Bytes read ahead of the exchange in progress (pipelined requests). A caller that sends more is
/// no longer watched for going away until the exchange ends.
const READ_AHEAD: usize = 16 * 1024;

/// Bytes that a blocked HTTP/2 stream must move before its write deadline moves: a caller that
/// grants single bytes of window does not hold a place for ever.
const PROGRESS_MIN: usize = 1024;

/// A client connection, or one stream of it.
#[derive(Debug)]
pub(crate) struct Client {
    /// What carries the exchange.
    pub(crate) wire: Wire,
    /// Where the caller is.
    pub(crate) peer: SocketAddr,
    /// It came by TLS.
    pub(crate) secure: bool,
    /// The listener that believes `peer` when it says where a caller is; None: nobody does.
    pub(crate) trust: Option<Arc<Listener>>,
    /// The connection's one deadline.
    pub(crate) timer: Timer,
    /// Bytes of the next request.
    pub(crate) carry: Vec<u8>,
    /// The reply in progress.
    pub(crate) reply: Outgoing,
    /// The caller may end its direction and still wait for what comes back (TCP): such an end is
    /// no going away.
    pub(crate) half_closes: bool,
    /// It has ended its direction.
    ended: bool,
}

/// What carries an exchange.
#[derive(Debug)]
pub(crate) enum Wire {
    /// HTTP/1.1: the whole connection.
    Http1(Stream),
    /// HTTP/2: one of the connection's streams.
    Http2(Box<Frames>),
}

/// What has been written of the reply in progress.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// Accepted from the endpoint and not yet taken by the caller: at most one read's worth.
    pending: Vec<u8>,
    /// How much of `pending` is written.
    written: usize,
    /// A head has been sent: the status can no longer change.
    pub(crate) head_sent: bool,
    /// That head begins an event stream, which the stream of any endpoint can continue.
    pub(crate) stream_head: bool,
    /// Body bytes of an endpoint have been sent: no other endpoint can take over.
    pub(crate) content_sent: bool,
    /// How the body is delimited.
    pub(crate) framing: Delimited,
    /// Body and head bytes handed over.
    pub(crate) bytes: u64,
    /// When the caller last took something, or there was nothing to take (ms).
    pub(crate) progress_ms: u64,
    /// When something was last sent (ms), for heartbeats.
    pub(crate) sent_ms: u64,
    /// A frame of an event stream has been passed on in part.
    pub(crate) inside_frame: bool,
    /// What was seen of a reply that broke off: an error event continues its count.
    pub(crate) broke_off: Option<Box<Observed>>,
    /// What is sent next is the last of the message. HTTP/1.1 says so by its framing; an HTTP/2
    /// stream ends with it.
    pub(crate) last: bool,
    /// The connection must not be used for another request.
    pub(crate) close: bool,
    /// The connection is closed at once: nobody reads, or nobody may take this for an end.
    pub(crate) broken: bool,
}

/// How a reply's body is delimited towards the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Delimited {
    /// There is none, or Content-Length says.
    #[default]
    Length,
    /// Chunked.
    Chunked,
    /// By the end of the connection (HTTP/1.0 callers).
    Close,
    /// By the frames of HTTP/2.
    Frames,
}

impl Delimited {
    /// Can something else still be said instead of the rest, and be told from the proper end?
    pub(crate) fn is_open_ended(self) -> bool {
        matches!(self, Self::Chunked | Self::Frames)
    }
}

impl Outgoing {
    /// Has the caller seen something that another attempt could contradict?
    pub(crate) fn is_committed(&self) -> bool {
        self.content_sent || (self.head_sent && !self.stream_head)
    }
}

impl Client {
    /// A fresh connection, in clear.
    pub(crate) fn new(stream: Stream, peer: SocketAddr, timer: Timer) -> Self {
        Self::over(Wire::Http1(stream), peer, timer)
    }

    /// One stream of an HTTP/2 connection.
    pub(crate) fn of_stream(frames: Frames, peer: SocketAddr, timer: Timer) -> Self {
        Self::over(Wire::Http2(Box::new(frames)), peer, timer)
    }

    fn over(wire: Wire, peer: SocketAddr, timer: Timer) -> Self {
        Self {
            wire,
            peer,
            secure: false,
            trust: None,
            timer,
            carry: Vec::new(),
            reply: Outgoing::default(),
            half_closes: false,
            ended: false,
        }
    }

    /// Does the caller speak HTTP/2? Then the end of a body is seen, not counted, and that it has
    /// gone is seen without reading.
    pub(crate) fn is_framed(&self) -> bool {
        matches!(self.wire, Wire::Http2(_))
    }

    /// The address that the caller connected to, as far as the socket tells.
    pub(crate) fn stream_address(&self) -> Option<SocketAddr> {
        match &self.wire {
            Wire::Http1(stream) => stream.local_address(),
            Wire::Http2(frames) => frames.local_address(),
        }
    }

    /// The shard's clock.
    pub(crate) fn now_ms(&self) -> u64 {
        self.timer.now_ms()
    }

    /// Begins a new reply, keeping the allocation of the last one only if it is small.
    pub(crate) fn begin_reply(&mut self) {
        let now = self.now_ms();
        self.reply = Outgoing { progress_ms: now, sent_ms: now, ..Outgoing::default() };
    }

    /// Reads what the caller has sent: first what was read ahead, then from the socket.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        space: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.carry.is_empty() {
            if self.ended {
                return Poll::Ready(Ok(0));
            }
            return match &mut self.wire {
                Wire::Http1(stream) => stream.poll_read(cx, space),
                Wire::Http2(frames) => frames.poll_read(cx, space),
            };
        }
        let taken = self.carry.len().min(space.len());
        if let (Some(to), Some(from)) = (space.get_mut(..taken), self.carry.get(..taken)) {
            to.copy_from_slice(from);
        }
        self.carry.drain(..taken);
        if self.carry.is_empty() {
            self.carry = Vec::new();
        }
        Poll::Ready(Ok(taken))
    }

    /// Puts bytes back that belong to what comes next.
    pub(crate) fn unread(&mut self, bytes: &[u8]) {
        self.carry.splice(0..0, bytes.iter().copied());
    }

    /// Writes as much of `slices` as the caller takes now and keeps the rest.
    ///
    /// The first of a reply begins with its whole head, as HTTP/1.1 writes it. Callers wait for
    /// [`Client::poll_flush`] before they send more, which bounds what is kept.
    pub(crate) fn send(
        &mut self,
        cx: &mut Context<'_>,
        slices: &mut [IoSlice<'_>],
    ) -> Result<(), ProxyError> {
        let now = self.now_ms();
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        let stream = match &mut self.wire {
            Wire::Http1(stream) => stream,
            Wire::Http2(frames) => {
                return frames.send(cx, slices, total, now, &mut self.reply).map_err(gone);
            }
        };
        if total == 0 {
            // Writing nothing would look like a caller that takes nothing.
            return Ok(());
        }
        self.reply.bytes += total as u64;
        self.reply.sent_ms = now;
        let mut rest = slices;
        if self.reply.pending.is_empty() {
            self.reply.progress_ms = now;
            while !rest.is_empty() {
                match stream.poll_write(cx, rest) {
                    Poll::Ready(Ok(0)) => return Err(gone(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(n)) => IoSlice::advance_slices(&mut rest, n),
                    Poll::Ready(Err(error)) => return Err(gone(error)),
                    Poll::Pending => break,
                }
            }
        }
        for slice in rest.iter() {
            self.reply.pending.extend_from_slice(slice);
        }
        Ok(())
    }

    /// Fields that follow the body (RFC 9113 section 8.1), to be given before the last piece is
    /// sent. For HTTP/1.1 they are dropped: there the exchange writes them, if anybody asked.
    pub(crate) fn set_trailers(&mut self, trailers: HeaderMap) {
        if let Wire::Http2(frames) = &mut self.wire {
            frames.set_trailers(trailers);
        }
    }

    /// The fields behind the request's body, once its end has been read (HTTP/2 only). They are as the
    /// caller sent them.
    pub(crate) fn trailers(&self) -> Option<&HeaderMap> {
        match &self.wire {
            Wire::Http1(_) => None,
            Wire::Http2(frames) => frames.trailers(),
        }
    }

    /// Is it known that nothing follows what has been read of the request (HTTP/2 only)?
    pub(crate) fn is_at_end(&self) -> bool {
        matches!(&self.wire, Wire::Http2(frames) if frames.is_at_end())
    }

    /// Ready once nothing is left to write.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        while self.reply.written < self.reply.pending.len() {
            let rest = self.reply.pending.get(self.reply.written..).unwrap_or_default();
            let slices = &[IoSlice::new(rest)];
            let written = match &mut self.wire {
                Wire::Http1(stream) => stream.poll_write(cx, slices),
                Wire::Http2(frames) => frames.poll_write(cx, slices, self.reply.last),
            };
            match ready!(written) {
                Ok(0) => return Poll::Ready(Err(gone(io::ErrorKind::WriteZero.into()))),
                Ok(n) => {
                    self.reply.written += n;
                    if self.wire.moved(n) {
                        self.reply.progress_ms = self.timer.now_ms();
                    }
                }
                Err(error) => return Poll::Ready(Err(gone(error))),
            }
        }
        if !self.reply.pending.is_empty() {
            // Freed, not kept: a stream that stalled once should not hold memory for good.
            self.reply.pending = Vec::new();
            self.reply.written = 0;
        }
        match &mut self.wire {
            Wire::Http1(stream) => stream.poll_flush(cx).map_err(gone),
            Wire::Http2(_) => Poll::Ready(Ok(())),
        }
    }

    /// Tells a TLS peer that an idle connection ends here.
    pub(crate) fn say_goodbye(&mut self) {
        if let Wire::Http1(stream) = &mut self.wire {
            stream.say_goodbye();
        }
    }

    /// Ends our direction: what was sent before is all there is.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Http1(stream) => stream.poll_shutdown(cx),
            Wire::Http2(frames) => Poll::Ready(frames.end()),
        }
    }

    /// What was sent is not the whole reply, and nobody may take it for that.
    pub(crate) fn break_off(&mut self) {
        self.reply.broken = true;
        match &self.wire {
            Wire::Http1(stream) if self.reply.framing == Delimited::Close => {
                stream.reset_on_close();
            }
            // The length is not reached, the last chunk is missing, the stream is reset when its
            // task ends.
            _ => {}
        }
    }

    /// Makes the end of the connection a reset, so that the caller cannot take it for an end.
    pub(crate) fn reset_on_close(&mut self) {
        self.reply.broken = true;
        // A stream of HTTP/2 is reset when its task ends.
        if let Wire::Http1(stream) = &self.wire {
            stream.reset_on_close();
        }
    }

    /// The socket, where bytes can be taken from it without our looking at them: nothing of the
    /// caller's is held here.
    pub(crate) fn bare_source(&self) -> Option<&TcpStream> {
        match &self.wire {
            Wire::Http1(Stream::Tcp(tcp)) if self.carry.is_empty() && !self.ended => Some(tcp),
            _ => None,
        }
    }

    /// The socket, where bytes can be given to it without our looking at them: nothing for the
    /// caller is held here.
    pub(crate) fn bare_sink(&self) -> Option<&TcpStream> {
        match &self.wire {
            Wire::Http1(Stream::Tcp(tcp)) if !self.is_blocked() => Some(tcp),
            _ => None,
        }
    }

    /// Is something left to write?
    pub(crate) fn is_blocked(&self) -> bool {
        !self.reply.pending.is_empty()
    }

    /// Ready when the caller has gone. Bytes that it sends meanwhile belong to its next request and
    /// are kept.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<ProxyError> {
        let stream = match &mut self.wire {
            Wire::Http1(stream) => stream,
            Wire::Http2(frames) => return frames.poll_gone(cx).map(gone),
        };
        loop {
            let room = READ_AHEAD.saturating_sub(self.carry.len());
            if room == 0 || self.ended {
                return Poll::Pending;
            }
            let mut space = [const { MaybeUninit::<u8>::uninit() }; 512];
            let mut into = ReadBuf::uninit(&mut space);
            match ready!(stream.poll_read_into(cx, &mut into)) {
                Ok(()) if into.filled().is_empty() && self.half_closes => self.ended = true,
                Ok(()) if into.filled().is_empty() => {
                    return Poll::Ready(gone(io::ErrorKind::UnexpectedEof.into()));
                }
                Ok(()) => self.carry.extend_from_slice(into.filled()),
                Err(error) => return Poll::Ready(gone(error)),
            }
        }
    }
}

impl Wire {
    /// Bytes were taken. Is that enough to count as progress?
    fn moved(&mut self, bytes: usize) -> bool {
        match self {
            Self::Http1(_) => true,
            Self::Http2(frames) => frames.moved(bytes, PROGRESS_MIN),
        }
    }
}

fn gone(error: io::Error) -> ProxyError {
    ProxyError::io(Reason::ClientGone, error)
}
