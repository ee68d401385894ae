//! The socket of an HTTP/2 connection as the protocol library sees it, with the meter in between.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tidegate_wire::http2::PREFACE;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::link::Link;
use crate::stream::Stream;

/// The socket, and what was read of it before it was known what it speaks.
#[derive(Debug)]
pub(super) struct Io {
    stream: Stream,
    early: Vec<u8>,
    /// Bytes of the preface that the meter does not see.
    preface: usize,
    link: Rc<Link>,
}

impl Io {
    pub(super) fn new(stream: Stream, early: Vec<u8>, link: &Rc<Link>) -> Self {
        Self { stream, early, preface: PREFACE.len(), link: Rc::clone(link) }
    }

    fn note(&mut self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Ready(Ok(bytes)) => self.link.sent(*bytes),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.link.blocked(),
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.link.is_noisy() {
            // The connection's task sees to its end.
            return Poll::Pending;
        }
        let before = into.filled().len();
        if this.early.is_empty() {
            std::task::ready!(this.stream.poll_read_into(cx, into))?;
        } else {
            let taken = this.early.len().min(into.remaining());
            into.put_slice(this.early.get(..taken).unwrap_or_default());
            this.early.drain(..taken);
            if this.early.is_empty() {
                this.early = Vec::new();
            }
        }
        let fresh = into.filled().get(before..).unwrap_or_default();
        let preface = fresh.len().min(this.preface);
        this.preface -= preface;
        this.link.received(fresh.get(preface..).unwrap_or_default());
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
        let this = self.get_mut();
        let written = this.stream.poll_write(cx, slices);
        this.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = this.stream.poll_flush(cx);
        match &flushed {
            Poll::Ready(_) => this.link.flushed(),
            Poll::Pending => this.link.blocked(),
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream.poll_shutdown(cx)
    }
}
