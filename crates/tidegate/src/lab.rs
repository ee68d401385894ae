//! `tidegate lab`: the deterministic provider and origin as processes of their own.

use std::net::SocketAddr;

use tidegate_lab::origin::serve_origin;
use tidegate_lab::provider::{ProviderOptions, serve_provider};
use tidegate_lab::server::{listen, local_runtime};

use crate::{Failure, import};

/// Serves the lab provider until it is stopped.
pub(crate) fn provider(bind: SocketAddr, key: Option<String>) -> Result<(), Failure> {
    let listener = bound(bind)?;
    announce("provider", &listener)?;
    let options = ProviderOptions { key, ..ProviderOptions::default() };
    let runtime = local_runtime().map_err(anyhow::Error::from)?;
    Ok(runtime.block_on(serve_provider(listener, options)).map_err(anyhow::Error::from)?)
}

/// Serves the lab origin until it is stopped.
pub(crate) fn origin(bind: SocketAddr) -> Result<(), Failure> {
    let listener = bound(bind)?;
    announce("origin", &listener)?;
    let runtime = local_runtime().map_err(anyhow::Error::from)?;
    Ok(runtime.block_on(serve_origin(listener)).map_err(anyhow::Error::from)?)
}

fn bound(bind: SocketAddr) -> Result<std::net::TcpListener, Failure> {
    listen(bind).map_err(|error| Failure::User(format!("cannot listen on {bind}: {error}")))
}

fn announce(what: &str, listener: &std::net::TcpListener) -> Result<(), Failure> {
    let address = listener.local_addr().map_err(anyhow::Error::from)?;
    import::print(&format!("lab {what} on http://{address}"))
}
