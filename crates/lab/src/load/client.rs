//! One connection of the load: connects when needed, sends the request, reads the reply to its end.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};

use super::plan::Plan;
use super::reply_reader::ReplyReader;

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
            Failure::Timeout => "timeout",
            Failure::Closed => "closed",
            Failure::Cut => "cut",
            Failure::Reset => "reset",
            Failure::BadReply => "bad_reply",
        }
    }
}

/// A connection that lives as long as both sides keep it.
pub(super) struct Client {
    plan: Arc<Plan>,
    source: Option<Ipv4Addr>,
    stream: Option<TcpStream>,
    reader: ReplyReader,
    /// Connections made so far.
    pub(super) connected: u64,
}

impl Client {
    /// Connection `number` of the plan, not yet open.
    pub(super) fn new(plan: &Arc<Plan>, number: usize) -> Client {
        Client {
            plan: Arc::clone(plan),
            source: plan.source(number),
            stream: None,
            reader: ReplyReader::new(),
            connected: 0,
        }
    }

    /// Sends the plan's request and reads the reply; gives its status. `on_body` sees the body's bytes as they come.
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
        if outcome.is_err() || !self.reader.keep_alive() {
            self.stream = None;
        }
        outcome
    }

    async fn attempt(&mut self, on_body: &mut impl FnMut(&[u8])) -> Result<u16, Failure> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let made = connect(&self.plan, self.source).await.map_err(|_| Failure::Connect)?;
                self.connected += 1;
                none.insert(made)
            }
        };
        self.reader.start();
        let (reader, plan) = (&mut self.reader, &self.plan);
        let mut unsent = plan.request.as_slice();
        let mut deaf = false;
        poll_fn(|context| {
            // A peer that replies early may stop reading: its reply still counts.
            while !unsent.is_empty() && !deaf {
                match Pin::new(&mut *stream).poll_write(context, unsent) {
                    Poll::Ready(Ok(sent)) => unsent = unsent.get(sent..).unwrap_or_default(),
                    Poll::Ready(Err(_)) => deaf = true,
                    Poll::Pending => break,
                }
            }
            poll_reply(stream, reader, plan, on_body, context)
        })
        .await?;
        if !unsent.is_empty() {
            // The rest of the request was never sent: no further request can follow it.
            self.stream = None;
        }
        Ok(self.reader.status())
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

/// Reads until the reply is whole.
fn poll_reply(
    stream: &mut TcpStream,
    reader: &mut ReplyReader,
    plan: &Plan,
    on_body: &mut impl FnMut(&[u8]),
    context: &mut Context,
) -> Poll<Result<(), Failure>> {
    SCRATCH.with_borrow_mut(|scratch| {
        while !reader.is_done() {
            let mut read = ReadBuf::new(scratch);
            let polled = ready!(Pin::new(&mut *stream).poll_read(context, &mut read));
            let filled = read.filled_mut();
            match polled {
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Poll::Ready(Err(Failure::Reset));
                }
                Err(_) => return Poll::Ready(Err(Failure::Closed)),
                Ok(()) if filled.is_empty() && reader.end() => {}
                Ok(()) if filled.is_empty() => {
                    let cut = if reader.has_begun() { Failure::Cut } else { Failure::Closed };
                    return Poll::Ready(Err(cut));
                }
                Ok(()) => {
                    reader.feed(plan.method, filled, on_body).map_err(|_| Failure::BadReply)?;
                }
            }
        }
        Poll::Ready(Ok(()))
    })
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
