//! The socket of an HTTP/2 connection as the protocol library sees it, with the meter in between.
//!
//! The library writes and flushes frame by frame. Frames are gathered here until the connection's
//! task has nothing more to do: many replies then leave in one write, and in one record of TLS.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tidegate_wire::http2::PREFACE;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::link::Link;
use crate::stream::Stream;

/// Bytes that are gathered before they are written: what a TLS record holds (RFC 8446 section 5.1).
const GATHERED_MAX: usize = 16 * 1024;

/// After so many bytes others have their turn. A head of 600 bytes can stand for 500 fields, so that a
/// full socket is milliseconds of work.
const TURN: usize = 4 * 1024;

/// Bytes that are read at once.
const READ_MAX: usize = 8 * 1024;

/// The socket, and the frames that are on their way to it.
#[derive(Debug)]
pub(super) struct Socket {
    stream: RefCell<Stream>,
    gathered: RefCell<Vec<u8>>,
    /// How much of that is written.
    written: Cell<usize>,
    /// Flushing, and counting turns, is the connection's task's business. Not before it has begun.
    gathers: Cell<bool>,
    /// Bytes read in this turn.
    taken: Cell<usize>,
    /// The round of the shard in which the last turn was over.
    over_in: Cell<Option<u64>>,
    link: Rc<Link>,
}

impl Socket {
    /// From here on [`Socket::poll_send`] is called whenever there may be something to send.
    pub(super) fn begin_gathering(&self) {
        self.gathers.set(true);
    }

    /// The connection's task has a turn. False: it has had one in this round, and is woken for the
    /// next; the library wakes it sooner, whenever it has something to send.
    pub(super) fn begin_turn(&self) -> bool {
        if self.over_in.get() == Some(self.link.shard.rounds.number()) {
            return false;
        }
        self.over_in.set(None);
        self.taken.set(0);
        true
    }

    /// Has it read as much as it may in one turn?
    fn is_over(&self, cx: &Context<'_>) -> bool {
        let over = self.gathers.get() && self.taken.get() >= TURN;
        if over {
            let rounds = &self.link.shard.rounds;
            rounds.wait(cx.waker());
            self.over_in.set(Some(rounds.number()));
        }
        over
    }

    /// Sends what has gathered. Ready once nothing is left to write.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = match self.poll_drain(cx) {
            Poll::Ready(Ok(())) => self.stream.borrow_mut().poll_flush(cx),
            other => other,
        };
        match &flushed {
            Poll::Ready(_) => self.link.flushed(),
            Poll::Pending => self.link.blocked(),
        }
        flushed
    }

    fn poll_drain(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.gathered.borrow_mut();
        while let Some(rest) = gathered.get(self.written.get()..).filter(|rest| !rest.is_empty()) {
            let written = ready!(self.poll_write(cx, &[IoSlice::new(rest)]))?;
            self.written.set(self.written.get() + written);
        }
        // Freed, not kept: most connections are silent most of the time.
        *gathered = Vec::new();
        self.written.set(0);
        Poll::Ready(Ok(()))
    }

    fn poll_write(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = self.stream.borrow_mut().poll_write(cx, slices);
        match &written {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(bytes)) => self.link.sent(*bytes),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.link.blocked(),
        }
        written
    }

    /// Takes as much of `slices` as there is room for.
    fn gather(&self, slices: &[IoSlice<'_>]) -> usize {
        let mut gathered = self.gathered.borrow_mut();
        let before = gathered.len();
        for slice in slices {
            let room = GATHERED_MAX.saturating_sub(gathered.len());
            gathered.extend_from_slice(slice.get(..room.min(slice.len())).unwrap_or_default());
        }
        gathered.len() - before
    }
}

/// The library's end of the socket, and what was read of it before it was known what it speaks.
#[derive(Debug)]
pub(super) struct Io {
    socket: Rc<Socket>,
    early: Vec<u8>,
    /// Bytes of the preface that the meter does not see.
    preface: usize,
}

impl Io {
    pub(super) fn new(stream: Stream, early: Vec<u8>, link: &Rc<Link>) -> Self {
        let socket = Socket {
            stream: RefCell::new(stream),
            gathered: RefCell::default(),
            written: Cell::new(0),
            gathers: Cell::new(false),
            taken: Cell::new(0),
            over_in: Cell::new(None),
            link: Rc::clone(link),
        };
        Self { socket: Rc::new(socket), early, preface: PREFACE.len() }
    }

    /// What both ends share.
    pub(super) fn socket(&self) -> Rc<Socket> {
        Rc::clone(&self.socket)
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let link = &this.socket.link;
        if link.is_noisy() {
            // The connection's task sees to its end.
            return Poll::Pending;
        }
        if this.socket.is_over(cx) {
            return Poll::Pending;
        }
        let before = into.filled().len();
        if this.early.is_empty() {
            let mut stream = this.socket.stream.borrow_mut();
            if into.remaining() > READ_MAX {
                // The library's buffer grows to 64 KiB, which can be a hundred of such heads.
                let read = ready!(stream.poll_read(cx, into.initialize_unfilled_to(READ_MAX)))?;
                into.advance(read);
            } else {
                ready!(stream.poll_read_into(cx, into))?;
            }
        } else {
            let taken = this.early.len().min(into.remaining());
            into.put_slice(this.early.get(..taken).unwrap_or_default());
            this.early.drain(..taken);
            if this.early.is_empty() {
                this.early = Vec::new();
            }
        }
        let fresh = into.filled().get(before..).unwrap_or_default();
        this.socket.taken.set(this.socket.taken.get() + fresh.len());
        let preface = fresh.len().min(this.preface);
        this.preface -= preface;
        link.received(fresh.get(preface..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let socket = &self.get_mut().socket;
        let held = socket.gathered.borrow().len();
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        if held >= GATHERED_MAX {
            ready!(socket.poll_drain(cx))?;
        } else if held == 0
            && (total >= GATHERED_MAX || !socket.gathers.get())
            && let Poll::Ready(written) = socket.poll_write(cx, slices)
        {
            return Poll::Ready(written);
        }
        // What the socket does not take is gathered as well, so that it counts as blocked.
        Poll::Ready(Ok(socket.gather(slices)))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = &self.get_mut().socket;
        if socket.gathers.get() { Poll::Ready(Ok(())) } else { socket.poll_send(cx) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = &self.get_mut().socket;
        ready!(socket.poll_drain(cx))?;
        socket.stream.borrow_mut().poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Waker;

    use tidegate_config::Config;
    use tidegate_snapshot::{Live, Shared, compile};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::admission::Gates;
    use crate::shard::Shard;

    /// A connection whose peer reads nothing, and whose socket is full.
    async fn full() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (ours, _) = listener.accept().await.unwrap();
        ours.writable().await.unwrap();
        while ours.try_write(&[0; GATHERED_MAX]).is_ok() {}
        (ours, theirs)
    }

    #[test]
    fn a_socket_that_does_not_take_a_large_frame_is_blocked() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let (ours, _theirs) = full().await;
            let live = Live::new(1);
            let snapshot = compile(Config::default().into(), &live, 1).unwrap();
            let shard = Shard::new(0, Arc::new(Shared::new(snapshot, live)), Gates::new(1));
            let link = Link::new(&shard, None);
            let mut io = Io::new(Stream::Tcp(ours), Vec::new(), &link);
            let socket = io.socket();
            socket.begin_gathering();
            let cx = &mut Context::from_waker(Waker::noop());
            while Pin::new(&mut io).poll_write(cx, &[0; GATHERED_MAX]).is_ready() {}
            assert!(socket.poll_send(cx).is_pending());
            assert!(link.blocked_since().is_some());
        });
    }
}
