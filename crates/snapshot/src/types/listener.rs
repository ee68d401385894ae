//! A compiled listener.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use tidegate_config::RealIpHeader;
use tidegate_policy::cidr::Cidr;

use super::TcpTarget;

/// An address that clients connect to.
#[derive(Debug)]
pub struct Listener {
    /// The address as configured: the listener's identity.
    pub bind: SocketAddr,
    /// HTTP/2 may be spoken here.
    pub http2: bool,
    /// How TLS is spoken; None: it is not.
    pub tls: Option<Arc<ServerConfig>>,
    /// Proxies that are believed when they say where a client is.
    pub trusted_proxies: Vec<Cidr>,
    /// The field in which they say it.
    pub real_ip_header: RealIpHeader,
    /// Each connection begins with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// Where connections are passed on to; None: HTTP is spoken.
    pub tcp: Option<TcpTarget>,
}
