//! Whether upstreams make sense.

use super::{Check, MEMBERS_MAX, balance, connections_max, http_url, is_name, is_request_target};
use crate::model::{Config, Upstream};
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
        let used = config.routes.iter().any(|route| route.upstream.as_deref() == Some(name));
        if !used {
            check.warning(&path, "no route leads to it");
        }
    }
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
        if !check.is_reported(&path)
            && !check.is_reported(&below(&path, "url"))
            && let Some(url) = http_url(check, &url_path, &endpoint.url)
        {
            if url.path.is_empty() {
                addresses.push((url_path, (url.tls, url.host, url.port)));
            } else {
                check.problem(&url_path, "an endpoint has no path: the request's own path is sent");
            }
        }
        check.within(&below(&path, "weight"), &endpoint.weight, 0..=WEIGHT_MAX);
        connections_max(check, &path, endpoint.connections_max);
        balance::zone(check, &path, endpoint.zone.as_deref());
    }
    check.unique(addresses, "endpoint");
    balance::balance(check, path, upstream);
    if let Some(health) = &upstream.health {
        let path = below(path, "health");
        if !health.path.starts_with('/') || !is_request_target(&health.path) {
            check.problem(&below(&path, "path"), "must begin with \"/\" and hold no spaces");
        }
        check.deadline(&below(&path, "interval"), health.interval);
        check.deadline(&below(&path, "timeout"), health.timeout);
        if health.timeout > health.interval {
            check.problem(&below(&path, "timeout"), "must not be more than the interval");
        }
        check.within(&below(&path, "failures"), &health.failures, 1..=1000);
    }
}
