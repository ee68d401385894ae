//! One health probe: connect, GET, read the head of the reply.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tidegate_config::Health;
use tidegate_snapshot::Endpoint;
use tidegate_wire::http1::head::{HeadError, HeadLimits, Method, ResponseHead, parse_response};
use tidegate_wire::http1::write::put_field;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Interim replies (1xx) before the real one.
const INTERIM_MAX: usize = 8;

/// Bytes read at once.
const READ_BYTES: usize = 2048;

/// Why an endpoint does not count as well.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error("its name has no address")]
    NoAddress,
    #[error("cannot connect: {0}")]
    Connect(io::Error),
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

fn judge(settings: &Health, status: u16) -> Result<(), ProbeError> {
    let expected = if settings.status.is_empty() {
        (200..400).contains(&status)
    } else {
        settings.status.contains(&u32::from(status))
    };
    if expected { Ok(()) } else { Err(ProbeError::Status(status)) }
}

async fn ask(endpoint: &Endpoint, settings: &Health) -> Result<(), ProbeError> {
    let addresses = endpoint.name.addresses.load_full();
    let stream = connect(&addresses, settings.timeout).await?;
    if settings.tcp {
        return Ok(());
    }
    let path = settings.path.as_str();
    let mut request = format!("GET {path} HTTP/1.1\r\n").into_bytes();
    put_field(&mut request, b"Host", endpoint.authority.as_bytes());
    put_field(&mut request, b"User-Agent", b"tidegate-health");
    put_field(&mut request, b"Accept", b"*/*");
    put_field(&mut request, b"Connection", b"close");
    request.extend_from_slice(b"\r\n");
    let status = match &endpoint.tls {
        None => status_of(stream, &request).await?,
        Some(tls) => {
            let connector = TlsConnector::from(tls.config.clone());
            let stream = connector
                .connect(tls.server_name.clone(), stream)
                .await
                .map_err(ProbeError::Tls)?;
            status_of(stream, &request).await?
        }
    };
    judge(settings, status)
}

/// The first address that accepts; each has an equal share of the time.
async fn connect(addresses: &[SocketAddr], within: Duration) -> Result<TcpStream, ProbeError> {
    let share = within / (addresses.len().max(1) as u32);
    let mut failure = ProbeError::NoAddress;
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = ProbeError::Connect(error),
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
