//! Listeners.

use std::sync::Arc;

use tidegate_config::Config;

use super::CompileError;
use crate::live::Live;
use crate::tls::server::server_config;
use crate::types::Listener;

/// `complaints`: files that could not be read anew, so that what they held before stays.
pub(super) fn listeners(
    config: &Config,
    live: &Live,
    complaints: &mut Vec<String>,
) -> Result<Vec<Arc<Listener>>, CompileError> {
    let listeners = config.listeners.iter().enumerate().map(|(index, listener)| {
        let place = format!("listeners[{index}]");
        let tls = if listener.tls.is_empty() {
            None
        } else {
            Some(server_config(listener, &place, live, complaints)?)
        };
        Ok(Arc::new(Listener {
            bind: listener.bind,
            http2: listener.http2,
            tls,
            trusted_proxies: listener.trusted_proxies.clone(),
            proxy_protocol: listener.proxy_protocol,
        }))
    });
    listeners.collect()
}
