//! Asking a proxy on the way out for a tunnel: HTTP CONNECT (RFC 9110) and SOCKS5 (RFC 1928, 1929).

use std::io;
use std::net::IpAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tidegate_snapshot::{Egress, EgressKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes of a CONNECT reply's head.
const REPLY_MAX: usize = 8 * 1024;

/// Turns a fresh connection to the proxy into one to `host:port`. Names go to the proxy unresolved.
pub(crate) async fn ask(
    egress: &Egress,
    tcp: &mut TcpStream,
    host: &str,
    port: u16,
) -> io::Result<()> {
    let credentials = egress.credentials.as_ref();
    match egress.kind {
        EgressKind::HttpConnect => http_connect(tcp, host, port, credentials).await,
        EgressKind::Socks5 => socks5(tcp, host, port, credentials).await,
    }
}

async fn http_connect(
    tcp: &mut TcpStream,
    host: &str,
    port: u16,
    credentials: Option<&(String, String)>,
) -> io::Result<()> {
    let host = if host.contains(':') { &format!("[{host}]") } else { host };
    let mut ask = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
    if let Some((user, word)) = credentials {
        ask.push_str("Proxy-Authorization: Basic ");
        ask.push_str(&BASE64_STANDARD.encode(format!("{user}:{word}")));
        ask.push_str("\r\n");
    }
    ask.push_str("\r\n");
    tcp.write_all(ask.as_bytes()).await?;
    // Byte by byte, so that nothing behind the head is taken: it belongs to the tunnel.
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= REPLY_MAX {
            return Err(io::Error::other("the proxy's reply has no end"));
        }
        head.push(tcp.read_u8().await?);
    }
    match head.split(|byte| *byte == b' ').nth(1) {
        Some([b'2', _, _]) => Ok(()),
        _ => {
            let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
            Err(io::Error::other(format!("the proxy said {}", String::from_utf8_lossy(line))))
        }
    }
}

async fn socks5(
    tcp: &mut TcpStream,
    host: &str,
    port: u16,
    credentials: Option<&(String, String)>,
) -> io::Result<()> {
    const NO_AUTH: u8 = 0;
    const USER_PASSWORD: u8 = 2;
    let method = if credentials.is_some() { USER_PASSWORD } else { NO_AUTH };
    tcp.write_all(&[5, 1, method]).await?;
    let mut chosen = [0; 2];
    tcp.read_exact(&mut chosen).await?;
    if chosen != [5, method] {
        return Err(io::Error::other("the proxy does not accept our way of authentication"));
    }
    if let Some((user, word)) = credentials {
        let mut ask = vec![1];
        push_short(&mut ask, user.as_bytes())?;
        push_short(&mut ask, word.as_bytes())?;
        tcp.write_all(&ask).await?;
        let mut answer = [0; 2];
        tcp.read_exact(&mut answer).await?;
        if answer[1] != 0 {
            return Err(io::Error::other("the proxy does not know this user and password"));
        }
    }
    let mut ask = vec![5, 1, 0];
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => {
            ask.push(1);
            ask.extend_from_slice(&v4.octets());
        }
        Ok(IpAddr::V6(v6)) => {
            ask.push(4);
            ask.extend_from_slice(&v6.octets());
        }
        Err(_) => {
            ask.push(3);
            push_short(&mut ask, host.as_bytes())?;
        }
    }
    ask.extend_from_slice(&port.to_be_bytes());
    tcp.write_all(&ask).await?;
    let mut answer = [0; 4];
    tcp.read_exact(&mut answer).await?;
    if answer[1] != 0 {
        return Err(io::Error::other(format!("the proxy said: {}", socks5_refusal(answer[1]))));
    }
    let bound = match answer[3] {
        1 => 4,
        4 => 16,
        3 => usize::from(tcp.read_u8().await?),
        _ => return Err(io::Error::other("the proxy's reply is not SOCKS5")),
    };
    let mut rest = vec![0; bound + 2];
    tcp.read_exact(&mut rest).await?;
    Ok(())
}

/// RFC 1928 section 6.
fn socks5_refusal(code: u8) -> &'static str {
    match code {
        1 => "general failure",
        2 => "not allowed by its rules",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "time to live expired",
        7 => "command not supported",
        8 => "address type not supported",
        _ => "an unknown error",
    }
}

fn push_short(out: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    let length = u8::try_from(bytes.len())
        .map_err(|_| io::Error::other("SOCKS5 carries names of 255 bytes at most"))?;
    out.push(length);
    out.extend_from_slice(bytes);
    Ok(())
}
