//! Passing bytes from socket to socket through a pipe, inside the kernel: no copy to this process.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll};

use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Pipes of a shard at most, in use and in stock: two files each, and up to 64 KiB of kernel memory
/// while bytes are in them. Who finds none left copies.
const PIPES_MAX: usize = 64;

/// Bytes asked for at once: what a pipe holds unless told otherwise.
const PIECE: usize = 64 * 1024;

/// The shard's pipes.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    free: RefCell<Vec<(OwnedFd, OwnedFd)>>,
    made: Cell<usize>,
}

impl Pipes {
    /// A pipe with nothing in it; None when there are as many as there may be.
    fn take(self: &Rc<Self>) -> Option<Pipe> {
        let ends = self.free.borrow_mut().pop().or_else(|| self.make())?;
        Some(Pipe { ends: Some(ends), held: 0, stock: Rc::clone(self) })
    }

    fn make(&self) -> Option<(OwnedFd, OwnedFd)> {
        if self.made.get() >= PIPES_MAX {
            return None;
        }
        // Out of files: the bytes are copied instead.
        let ends = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).ok()?;
        self.made.set(self.made.get() + 1);
        Some(ends)
    }

    /// How many there are, in use and in stock.
    pub(crate) fn len(&self) -> usize {
        self.made.get()
    }

    /// Closes one that nobody uses. Called once a second, it empties the stock of a burst.
    pub(crate) fn sweep(&self) {
        if self.free.borrow_mut().pop().is_some() {
            self.made.set(self.made.get() - 1);
        }
    }
}

/// A pipe in use; empty, it goes back when dropped.
#[derive(Debug)]
pub(super) struct Pipe {
    ends: Option<(OwnedFd, OwnedFd)>,
    /// Bytes in it.
    held: usize,
    stock: Rc<Pipes>,
}

impl Drop for Pipe {
    fn drop(&mut self) {
        match self.ends.take() {
            Some(ends) if self.held == 0 => self.stock.free.borrow_mut().push(ends),
            // What it holds is of a connection that has ended.
            _ => self.stock.made.set(self.stock.made.get().saturating_sub(1)),
        }
    }
}

/// Which side of a transfer failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    /// The one that is read.
    From,
    /// The one that is written.
    To,
}

/// Passes on one piece. Ready with how many bytes went into the pipe; 0 is the end of `from`.
/// None: there is no pipe to be had. A pipe is held only for as long as bytes are in it.
pub(super) fn pass(
    cx: &mut Context<'_>,
    held: &mut Option<Pipe>,
    stock: &Rc<Pipes>,
    from: &TcpStream,
    to: &TcpStream,
) -> Option<Poll<Result<usize, Failed>>> {
    if held.is_none() {
        *held = Some(stock.take()?);
    }
    let pipe = held.as_mut()?;
    let mut filled = 0;
    if pipe.held == 0 {
        match fill(cx, pipe, from) {
            Poll::Ready(Ok(0)) => {
                *held = None;
                return Some(Poll::Ready(Ok(0)));
            }
            Poll::Ready(Ok(n)) => filled = n,
            Poll::Ready(Err(_)) => return Some(Poll::Ready(Err(Failed::From))),
            Poll::Pending => {
                *held = None;
                return Some(Poll::Pending);
            }
        }
    }
    match drain(cx, pipe, to) {
        Poll::Ready(Err(_)) => Some(Poll::Ready(Err(Failed::To))),
        Poll::Pending if filled == 0 => Some(Poll::Pending),
        // What was filled is counted now, and the rest drained when `to` takes it.
        Poll::Pending => Some(Poll::Ready(Ok(filled))),
        Poll::Ready(Ok(())) => {
            *held = None;
            if filled > 0 { Some(Poll::Ready(Ok(filled))) } else { pass(cx, held, stock, from, to) }
        }
    }
}

fn fill(cx: &mut Context<'_>, pipe: &mut Pipe, from: &TcpStream) -> Poll<io::Result<usize>> {
    let Some((_, write)) = &pipe.ends else { return Poll::Ready(Ok(0)) };
    loop {
        std::task::ready!(from.poll_read_ready(cx))?;
        match from.try_io(Interest::READABLE, || moved(from, write, PIECE)) {
            Ok(n) => {
                pipe.held = n;
                return Poll::Ready(Ok(n));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

fn drain(cx: &mut Context<'_>, pipe: &mut Pipe, to: &TcpStream) -> Poll<io::Result<()>> {
    let Some((read, _)) = &pipe.ends else { return Poll::Ready(Ok(())) };
    while pipe.held > 0 {
        std::task::ready!(to.poll_write_ready(cx))?;
        match to.try_io(Interest::WRITABLE, || moved(read, to, pipe.held)) {
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Ok(n) => pipe.held -= n.min(pipe.held),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
    Poll::Ready(Ok(()))
}

fn moved(from: impl AsFd, to: impl AsFd, length: usize) -> io::Result<usize> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    loop {
        match splice(&from, None, &to, None, length, flags) {
            Ok(n) => return Ok(n),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn pipes_are_bounded_and_come_again() {
        let stock = Rc::new(Pipes::default());
        let all: Vec<_> = (0..PIPES_MAX).map(|_| stock.take().unwrap()).collect();
        assert!(stock.take().is_none());
        assert_eq!(stock.len(), PIPES_MAX);
        drop(all);
        assert!(stock.take().is_some());
        stock.sweep();
        assert_eq!(stock.len(), PIPES_MAX - 1);
    }

    #[test]
    fn a_pipe_with_bytes_in_it_never_comes_again() {
        let stock = Rc::new(Pipes::default());
        let mut pipe = stock.take().unwrap();
        pipe.held = 1;
        drop(pipe);
        assert_eq!(stock.len(), 0);
        assert!(stock.free.borrow().is_empty());
    }
}
