//! Where the kernel cannot pass bytes from socket to socket: they are always copied.

use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::net::TcpStream;

/// No pipes.
#[derive(Debug, Default)]
pub(crate) struct Pipes;

impl Pipes {
    /// None.
    pub(crate) fn len(&self) -> usize {
        0
    }

    /// Nothing to do.
    pub(crate) fn sweep(&self) {}
}

/// Never made.
#[derive(Debug)]
pub(super) enum Pipe {}

/// Which side of a transfer failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    /// The one that is read.
    From,
    /// The one that is written.
    To,
}

/// There is no pipe to be had.
pub(super) fn pass(
    _: &mut Context<'_>,
    _: &mut Option<Pipe>,
    _: &Rc<Pipes>,
    _: &TcpStream,
    _: &TcpStream,
) -> Option<Poll<Result<usize, Failed>>> {
    None
}
