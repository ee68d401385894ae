//! What comes before the first request where a listener asks for it: a PROXY protocol header, then a
//! TLS handshake.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use tidegate_policy::cidr;
use tidegate_snapshot::Listener;
use tidegate_snapshot::series::TlsFailure;
use tidegate_wire::proxy_protocol::{self, Parsed, Told};
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{Error, HandshakeKind, ServerConfig};
use tokio_rustls::server::TlsStream;

use super::linger;
use crate::client::Client;
use crate::reply;
use crate::shard::Shard;
use crate::stream::Stream;
use crate::timer::Timer;

/// The first byte of a TLS handshake record (RFC 8446 section 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// Bytes that TLS holds for a connection in each direction at most: one record.
const TLS_BUFFER: usize = 16 * 1024;

/// Does a connection to this listener begin with something else than a request?
pub(crate) fn is_needed(listener: &Listener) -> bool {
    listener.tls.is_some() || listener.proxy_protocol
}

/// Takes a connection to where its first request can be read. None: it came to nothing, which is
/// counted, and it is closed.
pub(crate) async fn open(
    shard: &Rc<Shard>,
    listener: &Listener,
    tcp: TcpStream,
    peer: SocketAddr,
) -> Option<Client> {
    let timer = Timer::new(&shard.timers);
    let peer = proxied_peer(shard, listener, &tcp, peer, &timer).await?;
    let Some(config) = &listener.tls else {
        return Some(Client::new(Stream::Tcp(tcp), peer, timer));
    };
    let deadline = timer.now_ms() + shard.snapshot().timeouts.tls_handshake;
    let opened = match first_byte(&tcp, &timer, deadline).await {
        Ok(HANDSHAKE_RECORD) => shake_hands(config, tcp, &timer, deadline).await,
        // Every method begins with a letter (RFC 9110 section 9.1).
        Ok(byte) if byte.is_ascii_alphabetic() => {
            let mut client = Client::new(Stream::Tcp(tcp), peer, timer);
            let stall = shard.snapshot().timeouts.write_stall;
            reply::deliver(&mut client, reply::PLAIN_HTTP, stall).await;
            linger(shard, &mut client).await;
            return failed(shard, peer, TlsFailure::PlainHttp);
        }
        Ok(_) => Err(TlsFailure::NotTls),
        Err(failure) => Err(failure),
    };
    match opened {
        Ok(tls) => {
            let cell = &shard.cell().tls;
            match tls.get_ref().1.handshake_kind() {
                Some(HandshakeKind::Resumed) => cell.resumed.add(1),
                _ => cell.full.add(1),
            }
            let mut client = Client::new(Stream::TlsServer(Box::new(tls)), peer, timer);
            client.secure = true;
            Some(client)
        }
        Err(failure) => failed(shard, peer, failure),
    }
}

fn failed(shard: &Shard, peer: SocketAddr, failure: TlsFailure) -> Option<Client> {
    count(shard, failure);
    tracing::debug!(%peer, reason = failure.as_str(), "no TLS handshake");
    None
}

/// Counts a connection that came to no handshake.
pub(crate) fn count(shard: &Shard, failure: TlsFailure) {
    if let Some(counter) = shard.cell().tls.failures.get(failure as usize) {
        counter.add(1);
    }
}

async fn shake_hands(
    config: &Arc<ServerConfig>,
    tcp: TcpStream,
    timer: &Timer,
    deadline: u64,
) -> Result<TlsStream<TcpStream>, TlsFailure> {
    let acceptor = TlsAcceptor::from(Arc::clone(config));
    let accepted = acceptor.accept_with(tcp, |tls| tls.set_buffer_limit(Some(TLS_BUFFER)));
    let mut accepted = pin!(accepted);
    std::future::poll_fn(|cx| match accepted.as_mut().poll(cx) {
        Poll::Ready(Ok(tls)) => Poll::Ready(Ok(tls)),
        Poll::Ready(Err(error)) => Poll::Ready(Err(failure_of(&error))),
        Poll::Pending => wait(cx, timer, deadline),
    })
    .await
}

/// What an error of the handshake means.
fn failure_of(error: &io::Error) -> TlsFailure {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    match cause {
        None => TlsFailure::Closed,
        Some(Error::AlertReceived(_)) => TlsFailure::Alert,
        Some(Error::NoCertificatesPresented | Error::InvalidCertificate(_)) => {
            TlsFailure::ClientCertificate
        }
        Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => TlsFailure::Incompatible,
        Some(_) => TlsFailure::Protocol,
    }
}

/// Waits for the connection's first byte, without taking it. Until it comes, no memory of TLS is
/// held.
async fn first_byte(tcp: &TcpStream, timer: &Timer, deadline: u64) -> Result<u8, TlsFailure> {
    std::future::poll_fn(|cx| {
        let mut space = [0; 1];
        let mut into = ReadBuf::new(&mut space);
        match tcp.poll_peek(cx, &mut into) {
            Poll::Ready(Ok(_)) => {
                Poll::Ready(into.filled().first().copied().ok_or(TlsFailure::Closed))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(TlsFailure::Closed)),
            Poll::Pending => wait(cx, timer, deadline),
        }
    })
    .await
}

fn wait<T>(cx: &mut Context<'_>, timer: &Timer, deadline: u64) -> Poll<Result<T, TlsFailure>> {
    if timer.passed(deadline) {
        return Poll::Ready(Err(TlsFailure::Timeout));
    }
    timer.arm(deadline, cx.waker());
    Poll::Pending
}

/// Where the client of a new connection is: what the PROXY protocol header says, if the listener
/// asks for one, and `peer` otherwise. None: there is no usable header, or who sent it is not
/// trusted. Nothing behind the header is read.
pub(crate) async fn proxied_peer(
    shard: &Shard,
    listener: &Listener,
    tcp: &TcpStream,
    peer: SocketAddr,
    timer: &Timer,
) -> Option<SocketAddr> {
    if !listener.proxy_protocol {
        return Some(peer);
    }
    let trusted = &listener.trusted_proxies;
    let told = if trusted.is_empty() || cidr::contains(trusted, peer.ip()) {
        header(tcp, timer, timer.now_ms() + shard.snapshot().timeouts.head).await
    } else {
        None
    };
    match told {
        Some(Told::Proxied { source, .. }) => Some(source),
        Some(Told::Unknown | Told::Local) => Some(peer),
        None => {
            shard.cell().proxy_protocol_refused.add(1);
            tracing::debug!(%peer, "no usable PROXY protocol header");
            None
        }
    }
}

async fn header(tcp: &TcpStream, timer: &Timer, deadline: u64) -> Option<Told> {
    let mut seen: Vec<u8> = Vec::new();
    std::future::poll_fn(|cx| {
        loop {
            let mut space = [0; proxy_protocol::BYTES_MAX];
            let before = seen.len();
            let room = space.get_mut(before..).unwrap_or_default();
            let mut into = ReadBuf::new(room);
            match tcp.poll_peek(cx, &mut into) {
                Poll::Ready(Ok(n)) if n > 0 => seen.extend_from_slice(into.filled()),
                Poll::Ready(_) => return Poll::Ready(None),
                Poll::Pending => {
                    let waited: Poll<Result<(), TlsFailure>> = wait(cx, timer, deadline);
                    return waited.map(|_| None);
                }
            }
            // What was looked at is taken only as far as it belongs to the header.
            let (told, length) = match proxy_protocol::parse(&seen) {
                Ok(Parsed::Whole(told, length)) => (Some(told), length),
                Ok(Parsed::Incomplete) => (None, seen.len()),
                Err(_) => return Poll::Ready(None),
            };
            let piece = space.get_mut(..length.saturating_sub(before)).unwrap_or_default();
            match tcp.try_read(piece) {
                Ok(n) if n == length - before => {}
                _ => return Poll::Ready(None),
            }
            if told.is_some() {
                return Poll::Ready(told);
            }
        }
    })
    .await
}
