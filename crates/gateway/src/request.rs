//! A request as it was read: head, what of the body has arrived, and the reading of the rest.

use std::io::IoSlice;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use tidegate_policy::route::FieldCondition;
use tidegate_snapshot::{Live, Reason, Snapshot};
use tidegate_wire::http1::chunked::ChunkedDecoder;
use tidegate_wire::http1::head::{Field, FieldId, Method, RequestFraming, RequestHead, Version};

use crate::buffer::Lent;
use crate::client::Client;
use crate::edge::Origin;
use crate::error::{Cause, ProxyError};
use crate::mirror::{BodyCopy, CopyWriter};
use crate::shard::Shard;

/// A request of the connection.
#[derive(Debug)]
pub(crate) struct Request {
    inbound: Lent,
    /// The method.
    pub(crate) method: Method,
    /// The version of the caller.
    pub(crate) version: Version,
    /// May the connection be used again afterwards, as far as the request says?
    pub(crate) keep_alive: bool,
    /// The body.
    pub(crate) body: Body,
    /// Names this exchange.
    pub(crate) id: RequestId,
    /// It came over HTTP/2: frames delimit both bodies.
    framed: bool,
    /// It is an extended CONNECT (RFC 8441), written as a request for a WebSocket: the caller takes
    /// any 2xx for the beginning of a tunnel.
    connects: bool,
    /// Where the caller is, if a trusted proxy has told it.
    pub(crate) origin: Option<Origin>,
    /// Gets what is read of the body too.
    copy: Option<CopyWriter>,
}

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

#[derive(Debug)]
enum Framing {
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
}

/// Bytes reserved for a body before any of it has come.
const FIRST_RESERVE: u64 = 64 * 1024;

/// Request bytes in memory, counted in the process-wide gauge for as long as they are held.
#[derive(Debug)]
pub(crate) struct Buffered {
    bytes: Vec<u8>,
    counted: u64,
    live: Arc<Live>,
}

impl Buffered {
    fn new(live: &Arc<Live>) -> Self {
        Self { bytes: Vec::new(), counted: 0, live: Arc::clone(live) }
    }

    fn reserve(&mut self, room: usize, budget: u64) -> Result<(), ProxyError> {
        self.bytes.reserve(room);
        let held = self.bytes.capacity() as u64;
        let more = held - self.counted;
        let before = self.live.gauges.buffered.fetch_add(more, Relaxed);
        self.counted = held;
        if before + more > budget {
            return Err(ProxyError::new(Reason::Memory));
        }
        Ok(())
    }
}

impl Drop for Buffered {
    fn drop(&mut self) {
        self.live.gauges.buffered.fetch_sub(self.counted, Relaxed);
    }
}

/// Names an exchange, in replies and to endpoints.
#[derive(Debug)]
pub(crate) enum RequestId {
    /// Ours: sixteen hexadecimal digits.
    Own([u8; 16]),
    /// What a trusted proxy calls it.
    Told(Box<str>),
}

impl RequestId {
    /// Bytes of what a proxy may call it.
    const TOLD_MAX: usize = 128;

    pub(crate) fn new(random: u64) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        Self::Own(std::array::from_fn(|i| DIGITS[(random >> (60 - 4 * i)) as usize & 15]))
    }

    /// What a proxy calls it, if it looks like a name: UUIDs, trace ids and Base64 do. It comes back
    /// in replies of ours.
    pub(crate) fn told(value: &[u8]) -> Option<Self> {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=:;@".contains(byte);
        let fits = (1..=Self::TOLD_MAX).contains(&value.len()) && value.iter().all(is_plain);
        let text = std::str::from_utf8(value).ok().filter(|_| fits)?;
        Some(Self::Told(text.into()))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.as_str().as_bytes()
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Own(digits) => std::str::from_utf8(digits).unwrap_or_default(),
            Self::Told(text) => text,
        }
    }
}

impl Request {
    /// A request whose head of `head_len` bytes has just been parsed in `inbound`. What follows the
    /// request in the buffer is put back.
    pub(crate) fn new(
        inbound: Lent,
        head_len: usize,
        client: &mut Client,
        random: u64,
        body_limit: u64,
    ) -> Self {
        let head = &inbound.head;
        let filled = inbound.filled;
        let incoming = |framing, early| {
            Body::Incoming(Incoming {
                early,
                framing,
                expects_continue: head.expect_continue && head.version == Version::Http11,
                received: 0,
                limit: body_limit,
                touched: false,
                read_ms: client.now_ms(),
                progress_ms: client.now_ms(),
                counted: 0,
            })
        };
        let (body, end) = match head.framing {
            RequestFraming::None => (Body::None, head_len),
            RequestFraming::Length(length) if length <= (filled - head_len) as u64 => {
                let end = head_len + length as usize;
                (Body::Whole(head_len..end), end)
            }
            RequestFraming::Length(length) => {
                (incoming(Framing::Length(length), head_len..filled), filled)
            }
            RequestFraming::Chunked => {
                (incoming(Framing::Chunked(ChunkedDecoder::default()), head_len..filled), filled)
            }
        };
        if let Some(rest) = inbound.bytes.get(end..filled).filter(|rest| !rest.is_empty()) {
            client.unread(rest);
        }
        Self {
            method: head.method,
            version: head.version,
            keep_alive: head.keep_alive,
            body,
            id: RequestId::new(random),
            framed: false,
            connects: false,
            origin: None,
            copy: None,
            inbound,
        }
    }

    /// A request of an HTTP/2 stream, whose head has been written as HTTP/1.1 into `inbound` and
    /// parsed there. Chunked stands for a body of unknown length. `ended`: nothing follows the head.
    /// `connects`: as in the field.
    pub(crate) fn of_stream(
        inbound: Lent,
        ended: bool,
        client: &Client,
        random: u64,
        body_limit: u64,
        connects: bool,
    ) -> Self {
        let head = &inbound.head;
        let incoming = |length| {
            Body::Incoming(Incoming {
                early: 0..0,
                framing: Framing::Frames { length, ended: false },
                expects_continue: head.expect_continue,
                received: 0,
                limit: body_limit,
                touched: false,
                read_ms: client.now_ms(),
                progress_ms: client.now_ms(),
                counted: 0,
            })
        };
        let body = match head.framing {
            RequestFraming::None => Body::None,
            RequestFraming::Length(0) if ended => Body::Whole(0..0),
            RequestFraming::Length(length) => incoming(Some(length)),
            RequestFraming::Chunked => incoming(None),
        };
        Self {
            method: head.method,
            version: head.version,
            keep_alive: true,
            body,
            id: RequestId::new(random),
            framed: true,
            connects,
            origin: None,
            copy: None,
            inbound,
        }
    }

    /// Did it come over HTTP/2?
    pub(crate) fn is_framed(&self) -> bool {
        self.framed
    }

    /// Is it an extended CONNECT, to which no 2xx may be said but for a tunnel?
    pub(crate) fn connects(&self) -> bool {
        self.connects
    }

    /// Gives back what is only needed to send the request again: buffers of head and body.
    pub(crate) fn release(&mut self) {
        if !self.is_read() {
            return;
        }
        self.body = Body::None;
        self.inbound.give_back();
    }

    /// The parsed head.
    pub(crate) fn head(&self) -> &RequestHead {
        &self.inbound.head
    }

    /// The bytes that the head's spans point into.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.inbound.filled()
    }

    /// The value of a field.
    pub(crate) fn field(&self, id: FieldId) -> Option<&[u8]> {
        self.head().field(id).map(|field| field.value.of(self.bytes()))
    }

    /// The value of the only such field; None with any other number of them.
    pub(crate) fn only(&self, id: FieldId) -> Option<&[u8]> {
        let mut found = self.fields().filter(|(.., field)| field.id == id);
        let (_, value, _) = found.next()?;
        found.next().is_none().then_some(value)
    }

    /// The fields that are not hop-by-hop, as name, value and identity.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8], &Field)> + Clone {
        let bytes = self.bytes();
        let end_to_end = self.head().fields.iter().filter(|field| !field.hop);
        end_to_end.map(move |field| (field.name.of(bytes), field.value.of(bytes), field))
    }

    /// The path as written, without the query.
    pub(crate) fn path(&self) -> &[u8] {
        self.head().path.of(self.bytes())
    }

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

    /// Whether it has a field like this, hop-by-hop ones included.
    pub(crate) fn has_field(&self, asked: &FieldCondition) -> bool {
        let bytes = self.bytes();
        self.head().fields.iter().any(|field| {
            field.name.of(bytes).eq_ignore_ascii_case(asked.name.as_bytes())
                && asked
                    .value
                    .as_ref()
                    .is_none_or(|wanted| field.value.of(bytes) == wanted.as_bytes())
        })
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

    /// Reads all of the body into memory, for requests that are routed by what it says.
    pub(crate) async fn buffer_body(
        &mut self,
        shard: &Shard,
        snapshot: &Snapshot,
        client: &mut Client,
        began_ms: u64,
    ) -> Result<(), ProxyError> {
        let deadline = began_ms + snapshot.timeouts.request;
        self.resume(client.now_ms());
        let Body::Incoming(incoming) = &self.body else { return Ok(()) };
        // Half of the memory limit: the other half is for what the process needs besides.
        let budget = snapshot.limits.admission.memory / 2;
        let mut buffered = Buffered::new(&shard.shared.live);
        if let Some(length) = incoming.length() {
            // The announced length is only trusted as the bytes arrive.
            buffered.reserve(length.min(FIRST_RESERVE) as usize, budget)?;
        }
        while !self.is_read() {
            std::future::poll_fn(|cx| {
                let mut scratch = shard.scratch.borrow_mut();
                let space = &mut scratch.read;
                if let Poll::Ready(read) = self.poll_body(cx, client, space) {
                    return Poll::Ready(read.and_then(|piece| {
                        let bytes = space.get(piece).unwrap_or_default();
                        if buffered.bytes.capacity() - buffered.bytes.len() < bytes.len() {
                            let room = bytes.len().max(buffered.bytes.capacity());
                            buffered.reserve(room, budget)?;
                        }
                        buffered.bytes.extend_from_slice(bytes);
                        Ok(())
                    }));
                }
                let quiet = match &self.body {
                    Body::Incoming(incoming) => incoming.progress_ms + snapshot.timeouts.body,
                    _ => u64::MAX,
                };
                let limit = quiet.min(deadline);
                if client.timer.passed(limit) {
                    return Poll::Ready(Err(ProxyError::new(Reason::BodyTimeout)));
                }
                client.timer.arm(limit, cx.waker());
                Poll::Pending
            })
            .await?;
        }
        self.body = Body::Buffered(buffered);
        Ok(())
    }
}

impl Incoming {
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

/// The refusal of a body beyond the limit.
pub(crate) fn too_large(limit: u64) -> ProxyError {
    ProxyError {
        cause: Cause::Text(
            format!("The request body is larger than the limit of {limit} bytes (limits.body).")
                .into(),
        ),
        ..ProxyError::new(Reason::BodyTooLarge)
    }
}
