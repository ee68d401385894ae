//! What an attempt is made on: a connection of its own, or a stream of a shared one.

use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll};

use tidegate_snapshot::Protocol;

use super::Picked;
use super::connect::connect;
use super::http2::{self, Http2Leg};
use crate::client::Client;
use crate::error::ProxyError;
use crate::shard::Shard;
use crate::stream::Stream;

/// The way to an endpoint for the length of one attempt.
#[derive(Debug)]
pub(crate) enum Leg {
    /// A connection of HTTP/1.1.
    Http1(Stream),
    /// A stream of HTTP/2.
    Http2(Box<Http2Leg>),
}

impl Leg {
    /// Takes an idle connection or a stream, or opens a connection within the endpoint's connect
    /// deadline. True: the connection has served others before, and may turn out to be closed.
    pub(crate) async fn obtain(
        shard: &Rc<Shard>,
        picked: &Picked<'_>,
        client: &mut Client,
    ) -> Result<(Self, bool), ProxyError> {
        let endpoint = picked.endpoint;
        if endpoint.protocol != Protocol::Http1 {
            // Boxed: it would count for every exchange.
            return Box::pin(http2::obtain(shard, &picked.member.endpoint, client)).await;
        }
        let cell = endpoint.live.cells.of(shard.index);
        // A connection with a PROXY header is one caller's.
        if endpoint.proxy_header.is_none()
            && let Some(stream) = shard.pool.take(endpoint.pool)
        {
            cell.reused.add(1);
            return Ok((Self::Http1(stream), true));
        }
        cell.connects.add(1);
        let turn = shard.random();
        Ok((Self::Http1(connect(endpoint, client, turn).await?), false))
    }

    /// As [`Stream::poll_read`]; HTTP/1.1 only.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        space: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Http1(stream) => stream.poll_read(cx, space),
            Self::Http2(_) => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        }
    }

    /// As [`Stream::poll_write`]; HTTP/1.1 only.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Http1(stream) => stream.poll_write(cx, slices),
            Self::Http2(_) => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        }
    }

    /// As [`Stream::poll_flush`]; a connection of HTTP/2 flushes itself.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Http1(stream) => stream.poll_flush(cx),
            Self::Http2(_) => Poll::Ready(Ok(())),
        }
    }
}
