//! Opening a connection to an endpoint: address, egress proxy, TLS.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::task::Poll;

use tidegate_snapshot::{Endpoint, ProxyHeader, Reason, unconnected};
use tidegate_wire::proxy_protocol::{write_v1, write_v2, write_v2_local};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::client::Client;
use crate::error::{ProxyError, Repeatable};
use crate::stream::Stream;
use crate::upstream::egress;

/// Addresses of one name that are tried in turn.
const ADDRESSES_MAX: usize = 3;

/// What is offered to an endpoint that chooses its protocol in the TLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alpn {
    /// What `upstreams.*.protocol` says.
    Configured,
    /// HTTP/1.1 alone.
    Http11,
}

/// Opens a connection within the endpoint's connect deadline. Ends early when the caller goes.
pub(crate) async fn connect(
    endpoint: &Endpoint,
    client: &mut Client,
    turn: u64,
    alpn: Alpn,
) -> Result<Stream, ProxyError> {
    let deadline = client.now_ms() + endpoint.timeouts.connect;
    // Boxed, and what is rare in it once more: it would count for every exchange.
    let mut opening = Box::pin(open(endpoint, turn, proxy_header(endpoint, client), alpn));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(opened) = opening.as_mut().poll(cx) {
            return Poll::Ready(opened);
        }
        if let Poll::Ready(gone) = client.poll_gone(cx) {
            return Poll::Ready(Err(gone));
        }
        if client.timer.passed(deadline) {
            let late = ProxyError::new(Reason::ConnectTimeout).repeatable(Repeatable::Anywhere);
            return Poll::Ready(Err(late));
        }
        client.timer.arm(deadline, cx.waker());
        Poll::Pending
    })
    .await
}

/// The PROXY header that begins a connection for this caller; empty where none is wanted.
pub(crate) fn proxy_header(endpoint: &Endpoint, client: &Client) -> Vec<u8> {
    let mut header = Vec::new();
    let Some(version) = endpoint.proxy_header else { return header };
    match (version, client.stream_address()) {
        (ProxyHeader::V1, Some(to)) => write_v1(&mut header, client.peer, to),
        (ProxyHeader::V2, Some(to)) => write_v2(&mut header, client.peer, to),
        (ProxyHeader::V1, None) => header.extend_from_slice(b"PROXY UNKNOWN\r\n"),
        (ProxyHeader::V2, None) => write_v2_local(&mut header),
    }
    header
}

/// Opens a connection; who calls this sets its deadline. `header` goes out before anything else.
pub(crate) async fn open(
    endpoint: &Endpoint,
    turn: u64,
    header: Vec<u8>,
    alpn: Alpn,
) -> Result<Stream, ProxyError> {
    if let Some(path) = &endpoint.unix {
        return Box::pin(unix(path, &header)).await;
    }
    let name = endpoint.egress.as_ref().map_or(&endpoint.name, |egress| &egress.name);
    let addresses = name.addresses.load_full();
    if addresses.is_empty() {
        return Err(ProxyError::text(
            Reason::NameUnresolved,
            format!("The name '{}' has no address.", name.host),
        )
        .repeatable(Repeatable::Elsewhere));
    }
    let mut tcp = tcp(&addresses, turn).await?;
    tcp.set_nodelay(true).map_err(|error| failed(error, None))?;
    if let Some(egress) = &endpoint.egress {
        egress::ask(egress, &mut tcp, &endpoint.name.host, endpoint.name.port).await.map_err(
            |error| ProxyError::io(Reason::EgressFailed, error).repeatable(Repeatable::Anywhere),
        )?;
    }
    if !header.is_empty() {
        tcp.write_all(&header).await.map_err(|error| failed(error, None))?;
    }
    let Some(tls) = &endpoint.tls else { return Ok(Stream::Tcp(tcp)) };
    let connector = TlsConnector::from(std::sync::Arc::clone(&tls.config));
    let name = tls.server_name.clone();
    let handshake = match alpn {
        Alpn::Configured => connector.connect(name, tcp),
        Alpn::Http11 => connector.with_alpn(vec![b"http/1.1".to_vec()]).connect(name, tcp),
    };
    match Box::pin(handshake).await {
        Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
        Err(error) => {
            Err(ProxyError::io(Reason::TlsFailed, error).repeatable(Repeatable::Anywhere))
        }
    }
}

async fn unix(path: &Path, header: &[u8]) -> Result<Stream, ProxyError> {
    let failed = |error| failed(error, None);
    let mut stream = UnixStream::connect(path).await.map_err(failed)?;
    if !header.is_empty() {
        stream.write_all(header).await.map_err(failed)?;
    }
    Ok(Stream::Unix(stream))
}

async fn tcp(addresses: &[SocketAddr], turn: u64) -> Result<TcpStream, ProxyError> {
    let mut last: Option<ProxyError> = None;
    let first = (turn % addresses.len().max(1) as u64) as usize;
    for address in addresses.iter().cycle().skip(first).take(addresses.len().min(ADDRESSES_MAX)) {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            // An address that could not be tried for a shortage of ours might have answered.
            Err(_) if last.as_ref().is_some_and(ProxyError::is_shortage) => {}
            Err(error) => last = Some(failed(error, Some(*address))),
        }
    }
    Err(last.unwrap_or_else(|| failed(io::ErrorKind::AddrNotAvailable.into(), None)))
}

fn failed(error: io::Error, to: Option<SocketAddr>) -> ProxyError {
    let reason = unconnected(&error, to);
    let repeatable = match reason {
        // No endpoint can be connected to, and the retry budget is for better times.
        Reason::NoSocket => Repeatable::No,
        // Ports are scarce towards one address; another has its own.
        Reason::NoPort => Repeatable::Elsewhere,
        _ => Repeatable::Anywhere,
    };
    ProxyError::io(reason, error).repeatable(repeatable)
}
