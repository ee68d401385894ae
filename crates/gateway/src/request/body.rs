//! The body of a request: what of it has arrived, how the rest is read, and how fast it must come.

use std::io::IoSlice;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tidegate_snapshot::Reason;
use tidegate_wire::http1::chunked::ChunkedDecoder;

use super::Request;
use super::buffered::Buffered;
use crate::client::Client;
use crate::error::{Cause, ProxyError};
use crate::mirror::{BodyCopy, CopyWriter};

/// The body of a request.
#[derive(Debug)]
pub(crate) enum Body {
    /// There is none.
    None,
    /// Whole, in the head's buffer.
    Whole(Range<usize>),
    /// Whole, in memory of its own.
    Buffered(Buffered),
    /// On its way.
    Incoming(Incoming),
}

/// A body that is still being read from the caller.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// Bytes that came with the head, not yet looked at.
    early: Range<usize>,
    framing: Framing,
    /// The caller waits for a 100 before it sends.
    expects_continue: bool,
    received: u64,
    limit: u64,
    /// Something of it has been taken: it cannot be sent a second time.
    touched: bool,
    /// When the last byte came (ms).
    pub(crate) read_ms: u64,
    /// Until when (ms) it has come along well enough, and how much of it was there then.
    pub(crate) progress_ms: u64,
    counted: u64,
}

/// Bytes of a body of known length that must come within `timeouts.body`: one that trickles holds a
/// place that others wait for. What has no length may be a conversation, and only falls silent.
const PROGRESS_MIN: u64 = 1024;

/// How the end of a body is told.
#[derive(Debug)]
pub(super) enum Framing {
    /// Bytes that are still to come.
    Length(u64),
    Chunked(ChunkedDecoder),
    /// The end of an HTTP/2 stream is seen when it is read, or with the frame before it; the length is
    /// what was announced.
    Frames {
        length: Option<u64>,
        ended: bool,
    },
}

impl Incoming {
    /// Nothing of it has been looked at; `early` came with the head.
    pub(super) fn new(
        framing: Framing,
        early: Range<usize>,
        expects_continue: bool,
        limit: u64,
        now_ms: u64,
    ) -> Self {
        Self {
            early,
            framing,
            expects_continue,
            received: 0,
            limit,
            touched: false,
            read_ms: now_ms,
            progress_ms: now_ms,
            counted: 0,
        }
    }

    /// Has all of it been read?
    pub(crate) fn is_done(&self) -> bool {
        match &self.framing {
            Framing::Length(left) => *left == 0,
            Framing::Chunked(decoder) => decoder.is_done(),
            Framing::Frames { length, ended } => *ended || *length == Some(self.received),
        }
    }

    /// Has its end been seen? Until then fields may follow a body that is there.
    fn has_ended(&self) -> bool {
        match &self.framing {
            Framing::Frames { ended, .. } => *ended,
            Framing::Length(_) | Framing::Chunked(_) => self.is_done(),
        }
    }

    /// The length that the caller announced.
    pub(crate) fn length(&self) -> Option<u64> {
        match &self.framing {
            Framing::Length(left) => Some(*left + self.received),
            Framing::Chunked(_) => None,
            Framing::Frames { length, .. } => *length,
        }
    }

    fn note_progress(&mut self) {
        let enough = self.received - self.counted >= PROGRESS_MIN;
        if self.length().is_none() || self.is_done() || enough {
            self.progress_ms = self.read_ms;
            self.counted = self.received;
        }
    }

    /// Takes the payload out of freshly read bytes; what follows the body is carried over.
    fn take(&mut self, bytes: &mut [u8], client: &mut Client) -> Result<Range<usize>, ProxyError> {
        let (piece, used) = match &mut self.framing {
            Framing::Length(left) => {
                let taken = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= taken as u64;
                (0..taken, taken)
            }
            Framing::Chunked(decoder) => {
                let decoded = decoder
                    .decode(bytes)
                    .map_err(|error| ProxyError::text(Reason::BadRequest, error.to_string()))?;
                (decoded.data, decoded.consumed)
            }
            Framing::Frames { .. } => (0..bytes.len(), bytes.len()),
        };
        if let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            client.unread(rest);
        }
        self.received += piece.len() as u64;
        if self.received > self.limit {
            return Err(too_large(self.limit));
        }
        Ok(piece)
    }
}

impl Request {
    /// The body, once it is whole.
    pub(crate) fn whole_body(&self) -> &[u8] {
        match &self.body {
            Body::Whole(range) => self.inbound.bytes.get(range.clone()).unwrap_or_default(),
            Body::Buffered(buffered) => &buffered.bytes,
            Body::None | Body::Incoming(_) => &[],
        }
    }

    /// Keeps a copy, of at most `limit` bytes, of what will be read of the body.
    pub(crate) fn keep_copy(&mut self, limit: usize) -> Rc<BodyCopy> {
        let (writer, copy) = CopyWriter::new(limit);
        self.copy = Some(writer);
        copy
    }

    /// From here on (ms) it is the caller that is waited for: not while it waited for a place.
    pub(crate) fn resume(&mut self, now_ms: u64) {
        if let Body::Incoming(incoming) = &mut self.body {
            incoming.read_ms = now_ms;
            incoming.progress_ms = now_ms;
        }
    }

    /// Has the caller sent all of its body?
    pub(crate) fn is_read(&self) -> bool {
        match &self.body {
            Body::Incoming(incoming) => incoming.is_done(),
            _ => true,
        }
    }

    /// Is the end of its body seen too, so that all fields behind it are known?
    pub(crate) fn has_ended(&self) -> bool {
        match &self.body {
            Body::Incoming(incoming) => incoming.has_ended(),
            _ => true,
        }
    }

    /// Bounds the body. Err: more than that is announced or there already; then it is refused before
    /// it is asked for.
    pub(crate) fn bound_body(&mut self, limit: u64) -> Result<(), ProxyError> {
        let length = match &mut self.body {
            Body::Incoming(incoming) => {
                incoming.limit = limit;
                incoming.length().unwrap_or(0)
            }
            Body::Whole(range) => range.len() as u64,
            Body::None | Body::Buffered(_) => 0,
        };
        if length > limit { Err(too_large(limit)) } else { Ok(()) }
    }

    /// Is there no body at all?
    pub(crate) fn has_no_body(&self) -> bool {
        matches!(self.body, Body::None)
    }

    /// Can it be sent again, should an attempt fail?
    pub(crate) fn is_replayable(&self) -> bool {
        !matches!(&self.body, Body::Incoming(incoming) if incoming.touched)
    }

    /// Reads the next piece of the body into `space` (or takes it from what came with the head).
    /// Ready with the range of `space` that holds it; an empty range when the body has ended. Who has
    /// no use for fields behind a body stops as soon as it is read.
    pub(crate) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        space: &mut [u8],
    ) -> Poll<Result<Range<usize>, ProxyError>> {
        let Body::Incoming(incoming) = &mut self.body else { return Poll::Ready(Ok(0..0)) };
        loop {
            if incoming.has_ended() {
                return Poll::Ready(Ok(0..0));
            }
            let early = self.inbound.bytes.get(incoming.early.clone()).unwrap_or_default();
            let filled = if early.is_empty() {
                if std::mem::take(&mut incoming.expects_continue) {
                    client.send(cx, &mut [IoSlice::new(b"HTTP/1.1 100 Continue\r\n\r\n")])?;
                }
                if !client.is_framed() {
                    ready!(client.poll_flush(cx))?;
                }
                match ready!(client.poll_read(cx, space)) {
                    Ok(0) => {
                        return Poll::Ready(match &mut incoming.framing {
                            Framing::Frames { ended, .. } => {
                                *ended = true;
                                if let Some(copy) = &self.copy {
                                    copy.add(b"", true);
                                }
                                Ok(0..0)
                            }
                            _ => Err(ProxyError::new(Reason::ClientGone)),
                        });
                    }
                    Ok(n) => n,
                    Err(error) => {
                        return Poll::Ready(Err(ProxyError::io(Reason::ClientGone, error)));
                    }
                }
            } else {
                let taken = early.len().min(space.len());
                if let (Some(to), Some(from)) = (space.get_mut(..taken), early.get(..taken)) {
                    to.copy_from_slice(from);
                }
                incoming.early.start += taken;
                taken
            };
            incoming.touched = true;
            incoming.read_ms = client.timer.now_ms();
            let piece = incoming.take(space.get_mut(..filled).unwrap_or_default(), client)?;
            if let Framing::Frames { ended, .. } = &mut incoming.framing {
                *ended = client.is_at_end();
            }
            incoming.note_progress();
            if let Some(copy) = &self.copy {
                copy.add(space.get(piece.clone()).unwrap_or_default(), incoming.is_done());
            }
            if !piece.is_empty() {
                return Poll::Ready(Ok(piece));
            }
        }
    }
}

/// The refusal of a body beyond the limit.
fn too_large(limit: u64) -> ProxyError {
    ProxyError {
        cause: Cause::Text(
            format!("The request body is larger than the limit of {limit} bytes (limits.body).")
                .into(),
        ),
        ..ProxyError::new(Reason::BodyTooLarge)
    }
}
