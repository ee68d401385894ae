//! The URL of a load: where to connect, what to ask for, and whether we may.

use std::net::SocketAddr;

use super::LoadError;

/// What the URL's scheme asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scheme {
    /// `https` or `wss`.
    pub(super) tls: bool,
    /// `ws` or `wss`: messages that come back, instead of requests.
    pub(super) websocket: bool,
}

impl Scheme {
    fn of(name: &str) -> Option<Scheme> {
        let (tls, websocket) = match name.to_ascii_lowercase().as_str() {
            "http" => (false, false),
            "https" => (true, false),
            "ws" => (false, true),
            "wss" => (true, true),
            _ => return None,
        };
        Some(Scheme { tls, websocket })
    }
}

/// Where the load goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) scheme: Scheme,
    /// Resolved once: all connections go to the same address.
    pub(super) addr: SocketAddr,
    /// Host and port as the URL has them, for the Host field.
    pub(super) authority: String,
    /// Path and query.
    pub(super) path: String,
}

/// Finds the target of `url`; refuses one that is not loopback unless `owned`.
pub(super) async fn find(url: &str, owned: bool) -> Result<Target, LoadError> {
    let refused = |problem| LoadError::Url { url: url.to_owned(), problem };
    let (name, rest) = url.split_once("://").ok_or_else(|| refused("the scheme is missing"))?;
    let scheme = Scheme::of(name)
        .ok_or_else(|| refused("the schemes spoken here are http, https, ws and wss"))?;
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() || authority.contains('@') {
        return Err(refused("host and port are missing or hold a user name"));
    }
    if url.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(refused("it holds blanks or control characters"));
    }
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let port = if scheme.tls { 443 } else { 80 };
    let host = if has_port { authority.to_owned() } else { format!("{authority}:{port}") };
    let failed = |cause| LoadError::Resolve { host: host.clone(), cause };
    let mut found = tokio::net::lookup_host(&host).await.map_err(failed)?;
    let addr = found.next().ok_or_else(|| refused("the host has no address"))?;
    if !owned && !addr.ip().is_loopback() {
        return Err(LoadError::NotLoopback { addr });
    }
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(Target { scheme, addr, authority: authority.to_owned(), path })
}
