//! Whether listeners that pass bytes on make sense, and the endpoints that only they can use.

use super::Check;
use super::route::host_problem;
use crate::model::{Config, Endpoint, Listener, Protocol, Route};
use crate::problem::quote;
use crate::reader::below;
use crate::suggest::nearest;

/// Server names of one listener at most.
const NAMES_MAX: usize = 10_000;

pub(super) fn listeners(check: &mut Check, config: &Config) {
    for (index, listener) in config.listeners.iter().enumerate() {
        let path = format!("listeners[{index}]");
        if check.is_reported(&path) {
            continue;
        }
        match listener.protocol {
            Protocol::Http => http(check, &path, listener),
            Protocol::Tcp => tcp(check, config, &path, listener),
        }
    }
    for (index, route) in config.routes.iter().enumerate() {
        for (key, name) in named_upstreams(route) {
            let upstream = config.upstreams.get(name);
            if upstream.is_some_and(|upstream| upstream.endpoints.iter().any(is_raw)) {
                check.problem(
                    &format!("routes[{index}].{key}"),
                    "has an endpoint with tcp:// or tls://, which only listeners with protocol: tcp can use",
                );
            }
        }
    }
}

/// Every upstream that a route names, and the field that names it.
fn named_upstreams(route: &Route) -> impl Iterator<Item = (String, &str)> {
    let one = route.upstream.iter().map(|name| ("upstream".to_owned(), name.as_str()));
    let split = route.split.iter().enumerate();
    let split = split.map(|(at, share)| (format!("split[{at}].upstream"), share.upstream.as_str()));
    let mirror = route.mirror.iter();
    let mirror = mirror.map(|mirror| ("mirror.upstream".to_owned(), mirror.upstream.as_str()));
    one.chain(split).chain(mirror)
}

fn is_raw(endpoint: &Endpoint) -> bool {
    endpoint.url.starts_with("tcp://") || endpoint.url.starts_with("tls://")
}

fn http(check: &mut Check, path: &str, listener: &Listener) {
    let elsewhere = "is for protocol: tcp; requests are led by routes";
    if listener.upstream.is_some() {
        check.problem(&below(path, "upstream"), elsewhere);
    }
    if !listener.sni.is_empty() {
        check.problem(&below(path, "sni"), elsewhere);
    }
}

fn tcp(check: &mut Check, config: &Config, path: &str, listener: &Listener) {
    let upstream_path = below(path, "upstream");
    let sni_path = below(path, "sni");
    if listener.upstream.is_none()
        && listener.sni.is_empty()
        && !check.is_reported(&upstream_path)
        && !check.is_reported(&sni_path)
    {
        check.problem(path, "leads nowhere: name an upstream, or upstreams by sni");
    }
    if let Some(name) = &listener.upstream {
        exists(check, config, &upstream_path, name);
    }
    if !listener.sni.is_empty() && !listener.tls.is_empty() {
        check.problem(&sni_path, "is for TLS that is passed on: leave out tls, or sni");
    }
    if listener.sni.len() > NAMES_MAX {
        check.problem(&sni_path, format!("has more than {NAMES_MAX} names"));
        return;
    }
    for (name, upstream) in &listener.sni {
        let path = below(&sni_path, name);
        let host = name.strip_prefix("*.").unwrap_or(name);
        // RFC 6066 section 3: a server name is a DNS name, never an address.
        if host.parse::<std::net::IpAddr>().is_ok() || host.starts_with('[') {
            check.problem(&path, "must be a name: callers send no server name for an address");
        } else if let Some(message) = host_problem(host) {
            check.problem(&path, message);
        }
        exists(check, config, &path, upstream);
    }
    let names = listener.sni.keys().map(|name| (below(&sni_path, name), name.to_ascii_lowercase()));
    check.unique(names, "server name");
}

fn exists(check: &mut Check, config: &Config, path: &str, name: &str) {
    if !config.upstreams.contains_key(name) && !check.is_reported("upstreams") {
        check.problem_suggesting(
            path,
            format!("no upstream is named {}", quote(name)),
            nearest(name, config.upstreams.keys().map(String::as_str)),
        );
    }
}
