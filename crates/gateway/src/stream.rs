//! A byte stream to a peer: TCP, or TLS over it. The narrow interface behind which all I/O sits.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{client, server};

/// A connection to a peer.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// TLS, as its client.
    Tls(Box<client::TlsStream<TcpStream>>),
    /// TLS, as its server.
    TlsServer(Box<server::TlsStream<TcpStream>>),
    /// A Unix socket.
    Unix(UnixStream),
}

impl Stream {
    /// Who is connected, where it has an address and TCP still knows it. Costs a system call.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        let tcp = match self {
            Self::Tcp(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
            Self::TlsServer(tls) => tls.get_ref().0,
            Self::Unix(_) => return None,
        };
        tcp.peer_addr().ok()
    }

    /// Reads what is there; 0 is the end. Registers the task when there is nothing.
    ///
    /// A read that does not fill `space` marks the socket as drained, so that the next call costs
    /// no system call until the peer has sent more.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        space: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut into = ReadBuf::new(space);
        let polled = match self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, &mut into),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_read(cx, &mut into),
            Self::TlsServer(tls) => Pin::new(&mut **tls).poll_read(cx, &mut into),
            Self::Unix(unix) => Pin::new(unix).poll_read(cx, &mut into),
        };
        polled.map_ok(|()| into.filled().len())
    }

    /// Has the peer said nothing since all was read? Anything it says while nothing is expected of
    /// it ends a connection: a close, or bytes that belong to no request. Costs no system call
    /// while nothing has happened.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut byte = [0u8; 1];
        match self {
            // Without a waker: the task that would be woken is not known yet.
            Self::Tcp(tcp) => {
                matches!(tcp.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            _ => self.poll_read(&mut Context::from_waker(Waker::noop()), &mut byte).is_pending(),
        }
    }

    /// As [`Stream::poll_read`], into space that need not be initialised.
    pub(crate) fn poll_read_into(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, into),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_read(cx, into),
            Self::TlsServer(tls) => Pin::new(&mut **tls).poll_read(cx, into),
            Self::Unix(unix) => Pin::new(unix).poll_read(cx, into),
        }
    }

    /// Writes as much as the peer takes now.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match (self, slices) {
            (Self::Tcp(tcp), [one]) => Pin::new(tcp).poll_write(cx, one),
            (Self::Tcp(tcp), _) => Pin::new(tcp).poll_write_vectored(cx, slices),
            (Self::Tls(tls), _) => Pin::new(&mut **tls).poll_write_vectored(cx, slices),
            (Self::TlsServer(tls), _) => Pin::new(&mut **tls).poll_write_vectored(cx, slices),
            (Self::Unix(unix), _) => Pin::new(unix).poll_write_vectored(cx, slices),
        }
    }

    /// Pushes out what TLS holds back; nothing to do for TCP.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_flush(cx),
            Self::TlsServer(tls) => Pin::new(&mut **tls).poll_flush(cx),
        }
    }

    /// Makes the close a reset, so that the peer cannot take it for a clean end.
    pub(crate) fn reset_on_close(&self) {
        let tcp = match self {
            Self::Tcp(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
            Self::TlsServer(tls) => tls.get_ref().0,
            // Has no reset: the close is all there is.
            Self::Unix(_) => return,
        };
        // Without it the close is an ordinary one, which is all that is left then.
        let _ = socket2::SockRef::from(tcp).set_linger(Some(std::time::Duration::ZERO));
    }

    /// Ends our direction.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_shutdown(cx),
            Self::TlsServer(tls) => Pin::new(&mut **tls).poll_shutdown(cx),
            Self::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
        }
    }

    /// Tells a TLS peer that this is the end, if the socket takes it at once, before the connection
    /// is closed (RFC 8446 section 6.1). Nothing to do for TCP.
    pub(crate) fn say_goodbye(&mut self) {
        if !matches!(self, Self::Tcp(_) | Self::Unix(_)) {
            let _ = self.poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }

    /// Our own address.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(tcp) => tcp.local_addr().ok(),
            Self::Tls(tls) => tls.get_ref().0.local_addr().ok(),
            Self::TlsServer(tls) => tls.get_ref().0.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// Did the endpoint choose HTTP/2 by ALPN (RFC 9113 section 3.2)?
    pub(crate) fn chose_http2(&self) -> bool {
        match self {
            Self::Tls(tls) => tls.get_ref().1.alpn_protocol() == Some(b"h2"),
            _ => false,
        }
    }
}
