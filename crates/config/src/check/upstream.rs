//! Whether upstreams make sense.

use super::{Check, MEMBERS_MAX, balance, connections_max, health, is_name, unique_names};
use crate::address::EndpointAddress;
use crate::model::{Config, Upstream, UpstreamProtocol};
use crate::reader::below;

/// Weights stay far from overflow when they are added up.
const WEIGHT_MAX: u32 = 1_000_000;

pub(super) fn upstreams(check: &mut Check, config: &Config) {
    for (name, upstream) in &config.upstreams {
        let path = below("upstreams", name);
        if check.is_reported(&path) {
            continue;
        }
        if !is_name(name) {
            check.problem(&path, "a name has 1 to 64 letters, digits, \".\", \"_\" or \"-\"");
        }
        self::upstream(check, &path, upstream);
        let used = config.routes.iter().any(|route| route.upstreams().any(|used| used == name))
            || config.listeners.iter().any(|listener| {
                listener.upstream.as_ref() == Some(name)
                    || listener.sni.values().any(|to| to == name)
            });
        if !used {
            check.warning(&path, "no route leads to it");
        }
    }
}

/// How connections are opened: TLS, HTTP version, PROXY header.
fn connections(check: &mut Check, path: &str, upstream: &Upstream, any_tls: bool) {
    if let Some(tls) = &upstream.tls {
        let place = below(path, "tls");
        if tls.ca.is_some() && upstream.ca_file.is_some() {
            check.problem(&below(path, "ca_file"), "is the same as tls.ca: write one of them");
        }
        match (&tls.cert, &tls.key) {
            (Some(_), None) => {
                check.problem(&below(&place, "cert"), "needs its key: add tls.key");
            }
            (None, Some(_)) => {
                check.problem(&below(&place, "key"), "needs its certificate: add tls.cert");
            }
            _ => {}
        }
        if tls.server_name.as_ref().is_some_and(|name| !is_host(name)) {
            check.problem(&below(&place, "server_name"), "is a host name or an IP address");
        }
        if !any_tls {
            check.warning(&place, "no endpoint has an https:// address: TLS is not spoken");
        }
    }
    if upstream.proxy_protocol.is_some() && upstream.protocol != UpstreamProtocol::Http1 {
        check.problem(
            &below(path, "proxy_protocol"),
            "goes with protocol http1 only: a connection of HTTP/2 carries many callers",
        );
    }
    if upstream.protocol == UpstreamProtocol::Auto && !any_tls {
        let message = "means http1 here: without TLS nothing can be negotiated; write http2 if the \
                       endpoints speak it";
        check.warning(&below(path, "protocol"), message);
    }
}

fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    text.parse::<std::net::IpAddr>().is_ok() || (text.len() < 254 && text.split('.').all(is_label))
}

fn upstream(check: &mut Check, path: &str, upstream: &Upstream) {
    let list = below(path, "endpoints");
    if upstream.endpoints.is_empty() {
        check.problem(&list, "needs at least one endpoint");
    }
    if upstream.endpoints.len() > MEMBERS_MAX {
        check.problem(&list, format!("has more than {MEMBERS_MAX} endpoints"));
        return;
    }
    let mut addresses = Vec::new();
    for (index, endpoint) in upstream.endpoints.iter().enumerate() {
        let path = format!("{list}[{index}]");
        // A bare URL has no keys below it.
        let url_path = below(&path, "url");
        let url_path = if check.places.contains_key(&url_path) { url_path } else { path.clone() };
        if !check.is_reported(&path) && !check.is_reported(&below(&path, "url")) {
            match endpoint.url.parse() {
                Err(error) => {
                    let error: crate::address::AddressError = error;
                    check.problem(&url_path, error.to_string());
                }
                Ok(EndpointAddress::Http(url) | EndpointAddress::Raw(url))
                    if !url.path.is_empty() =>
                {
                    let message = "an endpoint has no path: the request's own path is sent";
                    check.problem(&url_path, message);
                }
                Ok(address) => addresses.push((url_path, address)),
            }
        }
        check.within(&below(&path, "weight"), &endpoint.weight, 0..=WEIGHT_MAX);
        connections_max(check, &path, endpoint.connections_max);
        balance::zone(check, &path, endpoint.zone.as_deref());
    }
    let secure = |address: &EndpointAddress| matches!(address, EndpointAddress::Http(url) | EndpointAddress::Raw(url) if url.tls);
    let any_tls = addresses.iter().any(|(_, address)| secure(address));
    let all_read = addresses.len() == upstream.endpoints.len();
    connections(check, path, upstream, any_tls || !all_read);
    check.unique(addresses, "endpoint");
    let names = upstream.endpoints.iter().enumerate().filter_map(|(index, endpoint)| {
        Some((below(&format!("{list}[{index}]"), "name"), endpoint.name.as_deref()?))
    });
    unique_names(check, names);
    balance::balance(check, path, upstream);
    health::upstream(check, path, upstream);
}
