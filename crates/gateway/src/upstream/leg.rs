//! What an attempt is made on, and a tunnel runs over: a connection of its own, or a stream of a
//! shared one.

use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll};

use tidegate_snapshot::{Protocol, Reason};
use tokio::net::TcpStream;

use super::Picked;
use super::connect::{Alpn, connect};
use super::http2::{self, Http2Leg};
use crate::client::Client;
use crate::error::{ProxyError, Repeatable};
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
    /// `tunnels`: a WebSocket is asked for.
    pub(crate) async fn obtain(
        shard: &Rc<Shard>,
        picked: &Picked<'_>,
        client: &mut Client,
        tunnels: bool,
    ) -> Result<(Self, bool), ProxyError> {
        let endpoint = picked.endpoint;
        if endpoint.protocol != Protocol::Http1 {
            // Boxed: it would count for every exchange.
            let obtaining = Box::pin(http2::obtain(shard, &picked.member.endpoint, client));
            let (leg, reused) = obtaining.await?;
            return match &leg {
                Self::Http2(stream) if tunnels && !stream.may_connect() => {
                    drop(leg);
                    Self::instead(shard, picked, client).await
                }
                _ => Ok((leg, reused)),
            };
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
        Ok((Self::Http1(connect(endpoint, client, turn, Alpn::Configured).await?), false))
    }

    /// A connection of HTTP/1.1 for a WebSocket to an endpoint that takes none over HTTP/2, where it
    /// has the choice.
    async fn instead(
        shard: &Rc<Shard>,
        picked: &Picked<'_>,
        client: &mut Client,
    ) -> Result<(Self, bool), ProxyError> {
        let endpoint = picked.endpoint;
        if endpoint.protocol != Protocol::Negotiated {
            return Err(ProxyError::text(
                Reason::NoWebSocket,
                "The endpoint is spoken to in HTTP/2 and takes no WebSocket over it (RFC 8441).",
            )
            .repeatable(Repeatable::Elsewhere));
        }
        let cell = endpoint.live.cells.of(shard.index);
        if let Some(stream) = shard.pool.take(endpoint.pool) {
            cell.reused.add(1);
            return Ok((Self::Http1(stream), true));
        }
        cell.connects.add(1);
        let turn = shard.random();
        // Boxed: it would count for every exchange.
        let stream = Box::pin(connect(endpoint, client, turn, Alpn::Http11)).await?;
        Ok((Self::Http1(stream), false))
    }

    /// As [`Stream::poll_read`]; a stream of HTTP/2 must be a tunnel's.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        space: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Http1(stream) => stream.poll_read(cx, space),
            Self::Http2(stream) => stream.poll_read(cx, space),
        }
    }

    /// As [`Stream::poll_write`]; a stream of HTTP/2 must be a tunnel's.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Http1(stream) => stream.poll_write(cx, slices),
            Self::Http2(stream) => stream.poll_write(cx, slices),
        }
    }

    /// As [`Stream::poll_flush`]; a connection of HTTP/2 flushes itself.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Http1(stream) => stream.poll_flush(cx),
            Self::Http2(_) => Poll::Ready(Ok(())),
        }
    }

    /// Ends our direction of a tunnel.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Http1(stream) => stream.poll_shutdown(cx),
            Self::Http2(stream) => Poll::Ready(stream.end()),
        }
    }

    /// Makes the end of a tunnel a reset. A stream of HTTP/2 that is dropped before both sides have
    /// ended is reset in any case.
    pub(crate) fn reset_on_close(&self) {
        if let Self::Http1(stream) = self {
            stream.reset_on_close();
        }
    }

    /// The socket, where bytes can pass without our looking at them.
    pub(crate) fn bare(&self) -> Option<&TcpStream> {
        match self {
            Self::Http1(Stream::Tcp(tcp)) => Some(tcp),
            _ => None,
        }
    }
}
