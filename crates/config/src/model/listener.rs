//! The model of listeners: addresses that clients connect to.

use std::net::{Ipv4Addr, SocketAddr};

use schemars::JsonSchema;
use serde::Serialize;

/// One bound address, HTTP/1.1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Listener {
    /// IP address and port, such as `0.0.0.0:8080` or `[::]:8080`.
    #[schemars(with = "String")]
    pub bind: SocketAddr,
}

impl Default for Listener {
    /// Loopback only: a gateway is opened to a network by writing so.
    fn default() -> Self {
        Self { bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)) }
    }
}
