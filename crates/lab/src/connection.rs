//! The server's side of one HTTP/1.1 connection: requests in, bytes out, and noticing at once that the client has gone.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tidegate_wire::http1::chunked::ChunkedDecoder;
use tidegate_wire::http1::head::{
    Field, FieldId, HeadLimits, Method, RequestFraming, RequestHead, Version, parse_request,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::reply::{Length, put_head};

/// Largest request body taken, in bytes.
const BODY_MAX: usize = 64 << 20;

/// While a reply is under way, at most this many bytes of following requests are taken in.
const PIPELINED_MAX: usize = 64 << 10;

/// An idle connection keeps an input buffer of at most this many bytes.
const IDLE_INPUT_MAX: usize = 4 << 10;

/// How much a refused client may still send before the connection is reset, and for how long.
const LINGER_BYTES_MAX: usize = 1 << 20;
const LINGER_TIME: Duration = Duration::from_secs(2);

const SCRATCH_BYTES: usize = 64 << 10;

thread_local! {
    /// One read buffer for all connections of a thread: a waiting connection holds none.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_BYTES]);
}

/// The client closed or reset the connection before it had its answer.
#[derive(Debug)]
pub(crate) struct Gone;

/// Why there is no request body to work on.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// The client went while sending.
    Gone,
    /// Too big or badly framed: the status to refuse it with.
    Refused(u16, &'static str),
}

/// A connection and the request at its front.
pub(crate) struct Connection {
    stream: TcpStream,
    /// Bytes read: the front request's head and decoded body, then what follows it.
    input: Vec<u8>,
    head: RequestHead,
    /// The request's head is `input[..head_end]`.
    head_end: usize,
    /// Its decoded body is `input[head_end..body_end]`.
    body_end: usize,
    /// Bytes from here on belong to the next request.
    next: usize,
}

/// The request at the front of a connection, whole.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    /// The parsed head; its spans are offsets into `raw_head`.
    pub(crate) head: &'a RequestHead,
    /// The head's bytes including the blank line.
    pub(crate) raw_head: &'a [u8],
    /// The body's bytes, without transfer coding.
    pub(crate) body: &'a [u8],
}

impl<'a> Request<'a> {
    /// The method as written.
    pub(crate) fn method(&self) -> &'a str {
        text(self.head.method_name.of(self.raw_head))
    }

    /// The path as written, without the query.
    pub(crate) fn path(&self) -> &'a str {
        text(self.head.path.of(self.raw_head))
    }

    /// The value of `name` in the query (as written, not percent-decoded).
    pub(crate) fn query(&self, name: &str) -> Option<&'a str> {
        let query = text(self.head.query?.of(self.raw_head));
        query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then_some(value)
        })
    }

    /// The value of the first field `name` (in lower case).
    pub(crate) fn field(&self, name: &str) -> Option<&'a str> {
        let named =
            |field: &&Field| field.name.of(self.raw_head).eq_ignore_ascii_case(name.as_bytes());
        let field = self.head.fields.iter().find(named)?;
        Some(text(field.value.of(self.raw_head)))
    }

    /// The value of a field that the parser knows.
    pub(crate) fn known_field(&self, id: FieldId) -> Option<&'a str> {
        Some(text(self.head.field(id)?.value.of(self.raw_head)))
    }

    /// The first of query parameter and field called `name`.
    pub(crate) fn knob(&self, name: &str) -> Option<&'a str> {
        self.query(name).or_else(|| self.field(name))
    }
}

/// Bytes of a head as text; what is not UTF-8 counts as absent, for nothing here can match it.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Connection {
            stream,
            input: Vec::new(),
            head: RequestHead::default(),
            head_end: 0,
            body_end: 0,
            next: 0,
        }
    }

    /// Reads the next request's head. `None` when the client closed, or sent a bad head (it is told so).
    pub(crate) async fn receive_head(&mut self) -> Option<()> {
        let limits = HeadLimits::default();
        loop {
            if !self.input.is_empty() {
                match parse_request(&self.input, &limits, &mut self.head) {
                    Ok(Some(end)) => {
                        self.head_end = end;
                        self.body_end = end;
                        self.next = end;
                        return Some(());
                    }
                    Ok(None) => {}
                    Err(error) => {
                        self.refuse(error.status(), &error.to_string()).await;
                        return None;
                    }
                }
            }
            let read = poll_fn(|context| self.poll_fill(context)).await;
            if !matches!(read, Ok(1..)) {
                return None;
            }
        }
    }

    /// Reads the body of the request whose head has been received, answering `Expect: 100-continue` first.
    pub(crate) async fn receive_body(&mut self) -> Result<(), BodyError> {
        match self.head.framing {
            RequestFraming::None => Ok(()),
            RequestFraming::Length(bytes) => {
                let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                if bytes > BODY_MAX {
                    return Err(BodyError::Refused(413, "the body is larger than 64 MiB"));
                }
                let end = self.head_end + bytes;
                if self.input.len() < end {
                    self.say_continue().await?;
                    self.input.reserve_exact(end - self.input.len());
                }
                while self.input.len() < end {
                    self.fill().await?;
                }
                self.body_end = end;
                self.next = end;
                Ok(())
            }
            RequestFraming::Chunked => self.receive_chunks().await,
        }
    }

    async fn receive_chunks(&mut self) -> Result<(), BodyError> {
        let mut decoder = ChunkedDecoder::default();
        let mut asked = false;
        loop {
            let rest = self.input.get_mut(self.next..).unwrap_or_default();
            let decoded = decoder
                .decode(rest)
                .map_err(|_| BodyError::Refused(400, "the chunked coding of the body is broken"))?;
            let data = self.next + decoded.data.start..self.next + decoded.data.end;
            let bytes = data.len();
            self.input.copy_within(data, self.body_end);
            self.body_end += bytes;
            self.next += decoded.consumed;
            if self.body_end - self.head_end > BODY_MAX {
                return Err(BodyError::Refused(413, "the body is larger than 64 MiB"));
            }
            if decoded.done {
                return Ok(());
            }
            // Payload has moved forward: what lies between it and the unread bytes is free.
            self.input.drain(self.body_end..self.next);
            self.next = self.body_end;
            if !asked {
                asked = true;
                self.say_continue().await?;
            }
            self.fill().await?;
        }
    }

    async fn say_continue(&mut self) -> Result<(), BodyError> {
        if !self.head.expect_continue || self.input.len() > self.next {
            return Ok(());
        }
        self.send(b"HTTP/1.1 100 Continue\r\n\r\n").await.map_err(|Gone| BodyError::Gone)
    }

    async fn fill(&mut self) -> Result<(), BodyError> {
        match poll_fn(|context| self.poll_fill(context)).await {
            Ok(1..) => Ok(()),
            _ => Err(BodyError::Gone),
        }
    }

    /// The request received last; meaningful until `finish_request`.
    pub(crate) fn request(&self) -> Request<'_> {
        Request {
            head: &self.head,
            raw_head: self.input.get(..self.head_end).unwrap_or_default(),
            body: self.input.get(self.head_end..self.body_end).unwrap_or_default(),
        }
    }

    /// Whether the client takes another reply on this connection.
    pub(crate) fn keep_alive(&self) -> bool {
        self.head.keep_alive
    }

    /// How a body of unknown length is framed for this client.
    pub(crate) fn open_ended(&self) -> Length {
        if self.head.version == Version::Http11 { Length::Chunked } else { Length::UntilClose }
    }

    /// Whether the reply goes without a body.
    pub(crate) fn is_head_request(&self) -> bool {
        self.head.method == Method::Head
    }

    /// Forgets the front request's bytes, so that the reply can be written while the next request comes in.
    pub(crate) fn finish_request(&mut self) {
        self.input.drain(..self.next.min(self.input.len()));
        (self.head_end, self.body_end, self.next) = (0, 0, 0);
        if self.input.is_empty() && self.input.capacity() > IDLE_INPUT_MAX {
            self.input = Vec::new();
        }
    }

    /// The bytes read behind the requests that are finished.
    pub(crate) fn input(&mut self) -> &mut Vec<u8> {
        &mut self.input
    }

    /// Reads more of them.
    pub(crate) async fn more(&mut self) -> Result<(), Gone> {
        match poll_fn(|context| self.poll_fill(context)).await {
            Ok(1..) => Ok(()),
            _ => Err(Gone),
        }
    }

    /// Writes all of `bytes`, noticing meanwhile when the client goes.
    pub(crate) async fn send(&mut self, mut bytes: &[u8]) -> Result<(), Gone> {
        poll_fn(|context| {
            while !bytes.is_empty() {
                match Pin::new(&mut self.stream).poll_write(context, bytes) {
                    Poll::Ready(Ok(written @ 1..)) => bytes = bytes.get(written..).unwrap_or(&[]),
                    Poll::Ready(_) => return Poll::Ready(Err(Gone)),
                    Poll::Pending => return self.poll_gone(context).map(Err),
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Waits until `deadline`, noticing meanwhile when the client goes.
    pub(crate) async fn pause_until(&mut self, deadline: Instant) -> Result<(), Gone> {
        let mut timer = pin!(tokio::time::sleep_until(deadline));
        poll_fn(|context| {
            if let Poll::Ready(gone) = self.poll_gone(context) {
                return Poll::Ready(Err(gone));
            }
            timer.as_mut().poll(context).map(Ok)
        })
        .await
    }

    /// Whether the client has gone, as far as is known now.
    pub(crate) async fn check_gone(&mut self) -> Result<(), Gone> {
        poll_fn(|context| match self.poll_gone(context) {
            Poll::Ready(gone) => Poll::Ready(Err(gone)),
            Poll::Pending => Poll::Ready(Ok(())),
        })
        .await
    }

    /// Waits until the client goes, discarding what it still sends.
    pub(crate) async fn gone(mut self) {
        while matches!(poll_fn(|context| self.poll_fill(context)).await, Ok(1..)) {
            self.input.clear();
        }
    }

    /// Answers `status` with a line of plain text, then closes without losing the reply.
    pub(crate) async fn refuse(&mut self, status: u16, message: &str) {
        let mut out = Vec::with_capacity(256);
        let body = format!("{message}\n");
        let length = Length::Exactly(body.len() as u64);
        put_head(&mut out, status, "text/plain; charset=utf-8", &[], length, false);
        out.extend_from_slice(body.as_bytes());
        if self.send(&out).await.is_ok() {
            self.linger().await;
        }
    }

    /// Closes the writing side and lets the client finish (bounded): closing with unread bytes would reset the
    /// connection and could take the reply with it.
    pub(crate) async fn linger(&mut self) {
        if self.stream.shutdown().await.is_err() {
            return;
        }
        let drained = async {
            let mut total = 0;
            while total < LINGER_BYTES_MAX {
                self.input.clear();
                match poll_fn(|context| self.poll_fill(context)).await {
                    Ok(bytes @ 1..) => total += bytes,
                    _ => return,
                }
            }
        };
        // Over the time: the connection closes either way.
        let _ = tokio::time::timeout(LINGER_TIME, drained).await;
    }

    /// Closes with a reset: the client sees "connection reset" and may lose bytes still under way.
    pub(crate) fn reset(self) {
        // Where the option cannot be set the socket closes normally.
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    /// Ready when the client closed or reset. Bytes that arrive are kept for the next request, up to a bound: past it
    /// nothing is read, and only a failing write tells that the client has gone.
    fn poll_gone(&mut self, context: &mut Context) -> Poll<Gone> {
        while self.input.len() < PIPELINED_MAX {
            if !matches!(ready!(self.poll_fill(context)), Ok(1..)) {
                return Poll::Ready(Gone);
            }
        }
        Poll::Pending
    }

    /// One read, appended to the input. 0 means the client closed.
    fn poll_fill(&mut self, context: &mut Context) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut read))?;
            self.input.extend_from_slice(read.filled());
            Poll::Ready(Ok(read.filled().len()))
        })
    }
}
