//! One connection of the load: connects when needed, sends the request, reads the reply to its end.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWriteExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::plan::Plan;
use super::reply_reader::{BadReply, ReplyReader};
use super::stream::Stream;
use super::websocket::{self, EchoReader};

/// The status that a WebSocket message's return is counted as: that of the upgrade.
const SWITCHING_PROTOCOLS: u16 = 101;

const SCRATCH_BYTES: usize = 64 << 10;

thread_local! {
    /// One read buffer for all connections of a thread.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_BYTES]);
}

/// Why an exchange failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Failure {
    /// No connection could be made.
    Connect,
    /// The TLS handshake failed.
    Handshake,
    /// It took too long.
    Timeout,
    /// The connection ended before the reply began.
    Closed,
    /// The connection ended in the middle of the reply.
    Cut,
    /// The connection was reset.
    Reset,
    /// The reply was not valid HTTP.
    BadReply,
}

impl Failure {
    /// The name in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Failure::Connect => "connect",
            Failure::Handshake => "handshake",
            Failure::Timeout => "timeout",
            Failure::Closed => "closed",
            Failure::Cut => "cut",
            Failure::Reset => "reset",
            Failure::BadReply => "bad_reply",
        }
    }
}

/// Connections made, and how their TLS handshakes went.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Made {
    pub(super) connections: u64,
    pub(super) full_handshakes: u64,
    pub(super) resumed_handshakes: u64,
}

impl Made {
    pub(super) fn add(&mut self, other: Made) {
        self.connections += other.connections;
        self.full_handshakes += other.full_handshakes;
        self.resumed_handshakes += other.resumed_handshakes;
    }
}

/// A connection that lives as long as both sides keep it.
pub(super) struct Client {
    plan: Arc<Plan>,
    source: Option<Ipv4Addr>,
    tls: Option<TlsConnector>,
    stream: Option<Stream>,
    reader: ReplyReader,
    echo: EchoReader,
    /// What has been made so far.
    pub(super) made: Made,
}

impl Client {
    /// Connection `number` of the plan, not yet open.
    pub(super) fn new(plan: &Arc<Plan>, number: usize) -> Client {
        Client {
            plan: Arc::clone(plan),
            source: plan.source(number),
            tls: plan.tls.as_ref().map(super::tls::TlsPlan::connector),
            stream: None,
            reader: ReplyReader::new(),
            echo: EchoReader::default(),
            made: Made::default(),
        }
    }

    /// Sends the plan's request or message and reads the reply; gives its status. `on_body` sees the body's bytes as they come.
    /// After a failure the connection is closed; the next exchange makes a new one. The exchange is over at `until` or
    /// after the plan's timeout, whichever is first.
    pub(super) async fn exchange(
        &mut self,
        until: Option<Instant>,
        mut on_body: impl FnMut(&[u8]),
    ) -> Result<u16, Failure> {
        let deadline = Instant::now() + self.plan.timeout;
        let deadline = until.map_or(deadline, |until| until.min(deadline));
        let outcome = match timeout_at(deadline, self.attempt(&mut on_body)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::Timeout),
        };
        if outcome.is_err() || !self.stays_open() {
            self.stream = None;
        } else if self.plan.close {
            // Who closes first keeps the connection's remains: that is the target's part of it, and counts as its work.
            let _ = timeout_at(deadline, self.closed()).await;
            self.stream = None;
        }
        outcome
    }

    fn stays_open(&self) -> bool {
        self.plan.close || self.plan.message.is_some() || self.reader.keep_alive()
    }

    async fn attempt(&mut self, on_body: &mut impl FnMut(&[u8])) -> Result<u16, Failure> {
        if self.stream.is_none() {
            self.stream = Some(self.open().await?);
        }
        let Some(stream) = &mut self.stream else { return Err(Failure::Connect) };
        self.reader.start();
        self.echo.start();
        let mut reply =
            Reply { reader: &mut self.reader, echo: &mut self.echo, plan: &self.plan, on_body };
        let mut unsent = match &self.plan.message {
            None => self.plan.request.as_slice(),
            Some(message) => message.sent.as_slice(),
        };
        let (mut deaf, mut flushed) = (false, false);
        poll_fn(|context| {
            // A peer that replies early may stop reading: its reply still counts.
            while !unsent.is_empty() && !deaf {
                match Pin::new(&mut *stream).poll_write(context, unsent) {
                    Poll::Ready(Ok(sent)) => unsent = unsent.get(sent..).unwrap_or_default(),
                    Poll::Ready(Err(_)) => deaf = true,
                    Poll::Pending => break,
                }
            }
            if unsent.is_empty() && !deaf && !flushed {
                // TLS may hold back what it has taken.
                flushed = match Pin::new(&mut *stream).poll_flush(context) {
                    Poll::Ready(Ok(())) => true,
                    Poll::Ready(Err(_)) => {
                        deaf = true;
                        true
                    }
                    Poll::Pending => false,
                };
            }
            reply.poll(stream, context)
        })
        .await?;
        if !unsent.is_empty() {
            // The rest of the request was never sent: no further request can follow it.
            self.stream = None;
        }
        let message = self.plan.message.is_some();
        Ok(if message { SWITCHING_PROTOCOLS } else { self.reader.status() })
    }

    /// A connection that is ready for the first exchange.
    async fn open(&mut self) -> Result<Stream, Failure> {
        let tcp = connect(&self.plan, self.source).await.map_err(|_| Failure::Connect)?;
        self.made.connections += 1;
        let mut stream = match (&self.plan.tls, &self.tls) {
            (Some(plan), Some(connector)) => {
                let (stream, resumed) =
                    plan.connect(connector, tcp).await.map_err(|_| Failure::Handshake)?;
                let kind = if resumed {
                    &mut self.made.resumed_handshakes
                } else {
                    &mut self.made.full_handshakes
                };
                *kind += 1;
                stream
            }
            _ => Stream::Plain(tcp),
        };
        if self.plan.message.is_some() {
            stream.write_all(&self.plan.request).await.map_err(|_| Failure::Reset)?;
            stream.flush().await.map_err(|_| Failure::Reset)?;
            websocket::upgraded(&mut stream).await?;
        }
        Ok(stream)
    }

    /// Waits until the peer closes the open connection (or sends what nobody asked for).
    pub(super) async fn closed(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        poll_fn(|context| {
            SCRATCH.with_borrow_mut(|scratch| {
                Pin::new(&mut *stream).poll_read(context, &mut ReadBuf::new(scratch)).map(|_| ())
            })
        })
        .await;
    }
}

/// The reply under way: to a request, or a message that comes back.
struct Reply<'a, OnBody> {
    reader: &'a mut ReplyReader,
    echo: &'a mut EchoReader,
    plan: &'a Plan,
    on_body: &'a mut OnBody,
}

impl<OnBody: FnMut(&[u8])> Reply<'_, OnBody> {
    /// Reads until the reply is whole.
    fn poll(&mut self, stream: &mut Stream, context: &mut Context) -> Poll<Result<(), Failure>> {
        SCRATCH.with_borrow_mut(|scratch| {
            while !self.is_done() {
                let mut read = ReadBuf::new(scratch);
                let polled = ready!(Pin::new(&mut *stream).poll_read(context, &mut read));
                let filled = read.filled_mut();
                match polled {
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                        return Poll::Ready(Err(Failure::Reset));
                    }
                    Err(_) => return Poll::Ready(Err(Failure::Closed)),
                    Ok(()) if filled.is_empty() && self.end() => {}
                    Ok(()) if filled.is_empty() => {
                        let cut = if self.has_begun() { Failure::Cut } else { Failure::Closed };
                        return Poll::Ready(Err(cut));
                    }
                    Ok(()) => self.feed(filled).map_err(|BadReply| Failure::BadReply)?,
                }
            }
            Poll::Ready(Ok(()))
        })
    }

    fn is_done(&self) -> bool {
        match &self.plan.message {
            None => self.reader.is_done(),
            Some(message) => self.echo.is_done(message),
        }
    }

    fn has_begun(&self) -> bool {
        self.reader.has_begun() || self.echo.has_begun()
    }

    /// The connection has ended. Whether that ends the reply as it should.
    fn end(&mut self) -> bool {
        self.plan.message.is_none() && self.reader.end()
    }

    fn feed(&mut self, bytes: &mut [u8]) -> Result<(), BadReply> {
        match &self.plan.message {
            None => self.reader.feed(self.plan.method, bytes, self.on_body),
            Some(message) => {
                (self.on_body)(bytes);
                self.echo.feed(message, bytes)
            }
        }
    }
}

async fn connect(plan: &Plan, source: Option<Ipv4Addr>) -> io::Result<TcpStream> {
    let socket = if plan.addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        socket.bind((source, 0).into())?;
    }
    let stream = socket.connect(plan.addr).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
