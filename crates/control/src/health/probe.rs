//! One health probe: connect, GET, read the head of the reply, the way that traffic takes.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::Request;
use tidegate_config::Health;
use tidegate_snapshot::{Endpoint, Protocol, ProxyHeader, Reason, unconnected};
use tidegate_wire::http1::head::{HeadError, HeadLimits, Method, ResponseHead, parse_response};
use tidegate_wire::http1::write::put_field;
use tidegate_wire::proxy_protocol::write_v2_local;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Interim replies (1xx) before the real one.
const INTERIM_MAX: usize = 8;

/// What probes call themselves.
const AGENT: &str = "tidegate-health";

/// Bytes read at once.
const READ_BYTES: usize = 2048;

/// Why an endpoint does not count as well, or was not asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error("its name has no address")]
    NoAddress,
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// Nobody was asked: it says nothing of the endpoint.
    #[error("cannot connect for a shortage of ours: {0}")]
    Shortage(io::Error),
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error("connection: {0}")]
    Connection(io::Error),
    #[error("closed without a reply")]
    Closed,
    #[error("bad reply: {0}")]
    Reply(#[from] HeadError),
    #[error("too many interim replies")]
    Interim,
    #[error("HTTP/2: {0}")]
    Http2(#[from] h2::Error),
    #[error("no request can be made for it: {0}")]
    Request(#[from] http::Error),
    #[error("answered with status {0}")]
    Status(u16),
    #[error("no reply within {0:?}")]
    Timeout(Duration),
}

/// Asks an endpoint whether it is well: a status that is expected (2xx and 3xx, where none is
/// named), or, for a TCP check, a connection that opens.
pub(super) async fn probe(endpoint: &Endpoint, settings: &Health) -> Result<(), ProbeError> {
    let within = settings.timeout;
    timeout(within, ask(endpoint, settings)).await.map_err(|_| ProbeError::Timeout(within))?
}

impl ProbeError {
    fn unconnected(error: io::Error, to: Option<SocketAddr>) -> Self {
        match unconnected(&error, to) {
            Reason::ConnectFailed => Self::Connect(error),
            _ => Self::Shortage(error),
        }
    }
}

fn judge(settings: &Health, status: u16) -> Result<(), ProbeError> {
    let expected = if settings.status.is_empty() {
        (200..400).contains(&status)
    } else {
        settings.status.contains(&u32::from(status))
    };
    if expected { Ok(()) } else { Err(ProbeError::Status(status)) }
}

async fn ask(endpoint: &Endpoint, settings: &Health) -> Result<(), ProbeError> {
    match &endpoint.unix {
        Some(path) => {
            let opened = UnixStream::connect(path).await;
            let stream = opened.map_err(|error| ProbeError::unconnected(error, None))?;
            over(stream, endpoint, settings).await
        }
        None => {
            let addresses = endpoint.name.addresses.load_full();
            over(connect(&addresses, settings.timeout).await?, endpoint, settings).await
        }
    }
}

/// Asks over a connection that has opened, in the way that traffic takes.
async fn over(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    endpoint: &Endpoint,
    settings: &Health,
) -> Result<(), ProbeError> {
    if settings.tcp {
        return Ok(());
    }
    // A probe comes from nobody but us.
    let mut header = Vec::new();
    match endpoint.proxy_header {
        None => {}
        Some(ProxyHeader::V1) => header.extend_from_slice(b"PROXY UNKNOWN\r\n"),
        Some(ProxyHeader::V2) => write_v2_local(&mut header),
    }
    if !header.is_empty() {
        stream.write_all(&header).await.map_err(ProbeError::Connection)?;
    }
    let path = settings.path.as_str();
    let status = match &endpoint.tls {
        None if endpoint.protocol == Protocol::Http2 => http2(stream, endpoint, path).await?,
        None => http1(stream, endpoint, path).await?,
        Some(tls) => {
            let connector = TlsConnector::from(tls.config.clone());
            let stream = connector
                .connect(tls.server_name.clone(), stream)
                .await
                .map_err(ProbeError::Tls)?;
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                http2(stream, endpoint, path).await?
            } else {
                http1(stream, endpoint, path).await?
            }
        }
    };
    judge(settings, status)
}

async fn http1(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    endpoint: &Endpoint,
    path: &str,
) -> Result<u16, ProbeError> {
    let mut request = format!("GET {path} HTTP/1.1\r\n").into_bytes();
    put_field(&mut request, b"Host", endpoint.authority.as_bytes());
    put_field(&mut request, b"User-Agent", AGENT.as_bytes());
    put_field(&mut request, b"Accept", b"*/*");
    put_field(&mut request, b"Connection", b"close");
    request.extend_from_slice(b"\r\n");
    status_of(stream, &request).await
}

async fn http2(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    endpoint: &Endpoint,
    path: &str,
) -> Result<u16, ProbeError> {
    let scheme = if endpoint.tls.is_some() { "https" } else { "http" };
    let request = Request::get(format!("{scheme}://{}{path}", endpoint.authority))
        .header("user-agent", AGENT)
        .header("accept", "*/*")
        .body(())?;
    let (sender, connection) = h2::client::handshake(stream).await?;
    let asking = async {
        let (reply, _) = sender.ready().await?.send_request(request, true)?;
        Ok(reply.await?.status().as_u16())
    };
    tokio::select! {
        status = asking => status,
        // It only ends before the reply where there will be none.
        _ = connection => Err(ProbeError::Closed),
    }
}

/// The first address that accepts; each has an equal share of the time.
async fn connect(addresses: &[SocketAddr], within: Duration) -> Result<TcpStream, ProbeError> {
    let share = within / (addresses.len().max(1) as u32);
    let mut failure = ProbeError::NoAddress;
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            // An address that could not be tried might have answered.
            _ if matches!(failure, ProbeError::Shortage(_)) => {}
            Ok(Err(error)) => failure = ProbeError::unconnected(error, Some(*address)),
            Err(_) => failure = ProbeError::Connect(io::ErrorKind::TimedOut.into()),
        }
    }
    Err(failure)
}

async fn status_of(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &[u8],
) -> Result<u16, ProbeError> {
    stream.write_all(request).await.map_err(ProbeError::Connection)?;
    stream.flush().await.map_err(ProbeError::Connection)?;
    let limits = HeadLimits::default();
    let mut head = ResponseHead::default();
    let mut received: Vec<u8> = Vec::with_capacity(READ_BYTES);
    let mut interim = 0;
    loop {
        while let Some(length) = parse_response(&received, &limits, Method::Get, &mut head)? {
            // 101 is final: nothing was asked to be upgraded, so that it is no good answer either.
            if head.status >= 200 || head.status == 101 {
                return Ok(head.status);
            }
            interim += 1;
            if interim > INTERIM_MAX {
                return Err(ProbeError::Interim);
            }
            received.drain(..length);
        }
        // The parser refuses a head that outgrows its limit, so that this buffer is bounded.
        match stream.read_buf(&mut received).await.map_err(ProbeError::Connection)? {
            0 => return Err(ProbeError::Closed),
            _ => received.reserve(READ_BYTES),
        }
    }
}
