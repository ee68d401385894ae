//! A compiled listener.

use std::net::SocketAddr;

/// An address that clients connect to.
#[derive(Debug)]
pub struct Listener {
    /// The address as configured: the listener's identity.
    pub bind: SocketAddr,
}
