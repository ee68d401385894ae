//! Whether routes make sense.

use super::{Check, is_request_target, unique_names};
use crate::model::{Config, Route};
use crate::problem::quote;
use crate::reader::below;
use crate::suggest::nearest;

/// Longest path or host of a route in bytes.
const MATCH_MAX: usize = 2048;

pub(super) fn routes(check: &mut Check, config: &Config) {
    let unread = ["providers", "upstreams"].iter().any(|path| check.is_reported(path));
    if config.routes.is_empty() && !unread {
        check.problem(
            "routes",
            "nothing to serve: add providers for LLM traffic, or upstreams and routes to them",
        );
    }
    for (index, route) in config.routes.iter().enumerate() {
        let path = format!("routes[{index}]");
        if !check.is_reported(&path) {
            self::route(check, config, &path, route);
        }
    }
    let matches = config.routes.iter().enumerate().map(|(index, route)| {
        let host = route.host.as_deref().map(str::to_ascii_lowercase);
        (format!("routes[{index}]"), (host, route.path.as_str()))
    });
    check.unique(matches, "host and path");
    let names = config.routes.iter().enumerate().filter_map(|(index, route)| {
        Some((format!("routes[{index}].name"), route.name.as_deref()?))
    });
    unique_names(check, names);
}

fn route(check: &mut Check, config: &Config, path: &str, route: &Route) {
    if let Some(host) = &route.host
        && let Some(message) = host_problem(host)
    {
        check.problem(&below(path, "host"), message);
    }
    let path_path = below(path, "path");
    if !route.path.starts_with('/') {
        check.problem(&path_path, "must begin with \"/\"");
    } else if route.path.len() > MATCH_MAX
        || !is_request_target(&route.path)
        || route.path.contains(['?', '#'])
        || route.path.split('/').any(|segment| matches!(segment, "." | ".."))
    {
        check.problem(&path_path, "must be a plain path: visible ASCII without ?, #, /./ and /../");
    }
    let unread =
        check.is_reported(&below(path, "llm")) || check.is_reported(&below(path, "upstream"));
    match (route.llm, &route.upstream) {
        (true, Some(_)) => check.problem(path, "leads to both: keep llm: true or the upstream"),
        (false, None) if !unread => {
            check.problem(path, "leads nowhere: write llm: true or name an upstream");
        }
        (false, None) => {}
        (true, None) => {
            if config.providers.is_empty() && !check.is_reported("providers") {
                check.problem(&below(path, "llm"), "there are no providers that it could lead to");
            }
            // The LLM API lives under /v1/ whatever the route says.
            if !"/v1/".starts_with(&route.path) && !route.path.starts_with("/v1/") {
                check.problem(
                    &path_path,
                    "must be the beginning of a path under /v1/, where the LLM API lives",
                );
            }
        }
        (false, Some(name)) => {
            if !config.upstreams.contains_key(name) && !check.is_reported("upstreams") {
                check.problem_suggesting(
                    &below(path, "upstream"),
                    format!("no upstream is named {}", quote(name)),
                    nearest(name, config.upstreams.keys().map(String::as_str)),
                );
            }
        }
    }
}

fn host_problem(host: &str) -> Option<&'static str> {
    if host.is_empty() || host.len() > MATCH_MAX {
        return Some("must be a host name");
    }
    if host.contains('*') {
        return Some("must be one host name: leave it out to match any host");
    }
    if host.contains("://") || host.contains('/') {
        return Some("must be a host name alone, without scheme and path");
    }
    if !host.is_ascii() {
        return Some("must be ASCII: write an international name in its xn-- form");
    }
    // An IPv6 address stands in brackets, as in a request.
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if let Some(address) = bracketed {
        let ok = address.parse::<std::net::Ipv6Addr>().is_ok();
        return (!ok).then_some("must be a host name or an IP address");
    }
    if host.contains(':') {
        return Some("must be a host name without a port");
    }
    let ok = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    (!ok).then_some("must be a host name or an IP address")
}
