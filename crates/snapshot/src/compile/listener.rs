//! Listeners.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_config as config;
use tidegate_config::{Config, Protocol};

use super::CompileError;
use crate::live::Live;
use crate::tls::server::server_config;
use crate::types::{Group, Listener, ServerNames, TcpTarget};

/// `complaints`: files that could not be read anew, so that what they held before stays.
pub(super) fn listeners(
    config: &Config,
    live: &Live,
    upstreams: &HashMap<String, Arc<Group>>,
    complaints: &mut Vec<String>,
) -> Result<Vec<Arc<Listener>>, CompileError> {
    let listeners = config.listeners.iter().enumerate().map(|(index, listener)| {
        let place = format!("listeners[{index}]");
        let tls = if listener.tls.is_empty() {
            None
        } else {
            Some(server_config(listener, &place, live, complaints)?)
        };
        let tcp = match listener.protocol {
            Protocol::Http => None,
            Protocol::Tcp => Some(tcp(&place, listener, live, upstreams)?),
        };
        Ok(Arc::new(Listener {
            bind: listener.bind,
            http2: listener.http2,
            tls,
            trusted_proxies: listener.trusted_proxies.clone(),
            real_ip_header: listener.real_ip_header,
            proxy_protocol: listener.proxy_protocol,
            tcp,
        }))
    });
    listeners.collect()
}

fn tcp(
    place: &str,
    written: &config::Listener,
    live: &Live,
    upstreams: &HashMap<String, Arc<Group>>,
) -> Result<TcpTarget, CompileError> {
    let group = |key: &str, name: &String| {
        upstreams.get(name).cloned().ok_or_else(|| CompileError::Dangling {
            place: format!("{place}.{key}"),
            what: "upstream",
            name: name.clone(),
        })
    };
    let mut names = ServerNames::default();
    for (name, upstream) in &written.sni {
        names.insert(&name.to_ascii_lowercase(), group("sni", upstream)?);
    }
    let upstream = written.upstream.as_ref().map(|name| group("upstream", name)).transpose()?;
    Ok(TcpTarget { names, upstream, series: live.tcp(&written.bind.to_string()) })
}
