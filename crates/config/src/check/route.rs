//! Whether routes make sense: what they match, where they lead, and whether they can be reached.

mod edits;

use tidegate_policy::route::{Location, Pattern, RouteKey, hidden};

use super::{Check, edge, is_request_target, is_token, unique_names};
use crate::model::{Config, Protocol, Route, UpstreamProtocol};
use crate::problem::quote;
use crate::reader::below;
use crate::suggest::nearest;

/// Longest path or host of a route in bytes.
const MATCH_MAX: usize = 2048;

/// Routes of a configuration at most.
const ROUTES_MAX: usize = 10_000;

/// Weights stay far from overflow when they are added up.
const WEIGHT_MAX: u32 = 1_000_000;

/// Longest body of a fixed reply in bytes: it is held in memory and written in one piece.
const REPLY_MAX: usize = 64 * 1024;

pub(super) fn routes(check: &mut Check, config: &Config) {
    let unread = ["providers", "upstreams"].iter().any(|path| check.is_reported(path));
    let tcp = config.listeners.iter().any(|listener| listener.protocol == Protocol::Tcp);
    if config.routes.is_empty() && !tcp && !unread {
        check.problem(
            "routes",
            "nothing to serve: add providers for LLM traffic, or upstreams and routes to them",
        );
    }
    if config.routes.len() > ROUTES_MAX {
        check.problem("routes", format!("has more than {ROUTES_MAX} routes"));
        return;
    }
    edge::limited_routes(check, config);
    let mut keys: Vec<(usize, RouteKey)> = Vec::with_capacity(config.routes.len());
    for (index, route) in config.routes.iter().enumerate() {
        let path = format!("routes[{index}]");
        if check.is_reported(&path) {
            continue;
        }
        matching(check, &path, route);
        destination(check, config, &path, route);
        edits::edits(check, &path, route);
        edge::edge(check, &path, route);
        if let Some(mirror) = &route.mirror {
            let path = below(&path, "mirror");
            named_upstream(check, config, &below(&path, "upstream"), &mirror.upstream);
            check.within(&below(&path, "percent"), &mirror.percent, 1..=100);
            let upstream = config.upstreams.get(&mirror.upstream);
            if upstream.is_some_and(|upstream| upstream.protocol != UpstreamProtocol::Http1) {
                let message = "a mirror speaks HTTP/1.1: the upstream's protocol must be http1";
                check.problem(&below(&path, "upstream"), message);
            }
        }
        let sound = ["host", "path", "path_exact", "path_pattern"]
            .iter()
            .all(|key| !check.is_reported(&below(&path, key)));
        if let (true, Ok(key)) = (sound, route.key()) {
            keys.push((index, key));
        }
    }
    let only_keys: Vec<RouteKey> = keys.iter().map(|(_, key)| key.clone()).collect();
    for found in hidden(&only_keys) {
        let place = |at: usize| keys.get(at).map_or(0, |(index, _)| *index);
        let (path, by) = (format!("routes[{}]", place(found.route)), place(found.by));
        if !found.same {
            check.warning(&path, format!("is never reached: routes[{by}] takes all that it would"));
        } else if only_keys.get(found.by).is_some_and(RouteKey::is_bare) {
            check.problem(&path, format!("the same host and path as routes[{by}]"));
        } else {
            check.problem(&path, format!("asks for the same as routes[{by}]"));
        }
    }
    let names = config.routes.iter().enumerate().filter_map(|(index, route)| {
        Some((format!("routes[{index}].name"), route.name.as_deref()?))
    });
    unique_names(check, names);
}

fn matching(check: &mut Check, path: &str, route: &Route) {
    if let Some(host) = &route.host
        && let Some(message) = host_problem(host)
    {
        check.problem(&below(path, "host"), message);
    }
    let written = |key: &str| check.places.contains_key(&below(path, key));
    let kinds = [
        written("path") || route.path != "/",
        route.path_exact.is_some(),
        route.path_pattern.is_some(),
    ];
    if kinds.iter().filter(|kind| **kind).count() > 1 {
        check.problem(path, "keep one of path, path_exact and path_pattern");
    }
    for (key, written) in [("path", Some(&route.path)), ("path_exact", route.path_exact.as_ref())] {
        let path = below(path, key);
        let Some(written) = written else { continue };
        if !written.starts_with('/') {
            check.problem(&path, "must begin with \"/\"");
        } else if !is_plain_path(written) {
            check.problem(&path, "must be a plain path: visible ASCII without ?, #, /./ and /../");
        }
    }
    if let Some(Err(error)) = route.path_pattern.as_deref().map(Pattern::new) {
        check.problem(&below(path, "path_pattern"), format!("is no pattern: {error}"));
    }
    for (index, method) in route.methods.iter().enumerate() {
        let place = format!("{path}.methods[{index}]");
        if !is_token(method) || matches!(method.as_str(), "CONNECT" | "TRACE") {
            check.problem(&place, format!("{} is no method that is served", quote(method)));
        } else if method.bytes().any(|byte| byte.is_ascii_lowercase()) {
            let upper = method.to_ascii_uppercase();
            check.problem_suggesting(&place, "methods are in upper case", Some(upper));
        }
    }
    for (name, value) in &route.headers {
        let path = format!("{path}.headers.{name}");
        if !is_token(name) {
            check.problem(&path, "this is not the name of a header field");
        } else if edits::is_bad_value(value) {
            check.problem(&path, edits::BAD_VALUE);
        }
    }
}

fn is_plain_path(path: &str) -> bool {
    path.len() <= MATCH_MAX
        && is_request_target(path)
        && !path.contains(['?', '#', '\\'])
        && !path.split('/').any(|segment| matches!(segment, "." | ".."))
}

fn destination(check: &mut Check, config: &Config, path: &str, route: &Route) {
    let unread = ["llm", "upstream", "split", "redirect", "reply"]
        .iter()
        .any(|key| check.is_reported(&below(path, key)));
    let destinations = [
        (route.llm, "llm: true"),
        (route.upstream.is_some(), "the upstream"),
        (!route.split.is_empty(), "the split"),
        (route.redirect.is_some(), "the redirect"),
        (route.reply.is_some(), "the reply"),
    ];
    let written: Vec<&str> =
        destinations.into_iter().filter_map(|(there, name)| there.then_some(name)).collect();
    match written.as_slice() {
        [] if !unread => check.problem(
            path,
            "leads nowhere: write llm: true or name an upstream, a split, a redirect or a reply",
        ),
        [] | [_] => {}
        [first, second] => {
            check.problem(path, format!("leads to both: keep {first} or {second}"));
        }
        more => check.problem(path, format!("leads to several: keep one of {}", more.join(", "))),
    }
    if written == ["llm: true"] {
        llm(check, config, path, route);
    }
    if let Some(name) = &route.upstream {
        named_upstream(check, config, &below(path, "upstream"), name);
    }
    split(check, config, &below(path, "split"), route);
    if let Some(redirect) = &route.redirect {
        let path = below(path, "redirect");
        if !matches!(redirect.status, 301 | 302 | 303 | 307 | 308) {
            check.problem(&below(&path, "status"), "must be 301, 302, 303, 307 or 308");
        }
        if let Err(error) = Location::parse(&redirect.to) {
            check.problem(&below(&path, "to"), error.to_string());
        }
    }
    if let Some(reply) = &route.reply {
        let path = below(path, "reply");
        check.within(&below(&path, "status"), &reply.status, 200..=599);
        if reply.body.len() > REPLY_MAX {
            check.problem(&below(&path, "body"), format!("has more than {REPLY_MAX} bytes"));
        }
        if matches!(reply.status, 204 | 205 | 304) && !reply.body.is_empty() {
            check.problem(&below(&path, "body"), "a reply with this status has no body");
        }
    }
}

fn llm(check: &mut Check, config: &Config, path: &str, route: &Route) {
    if config.providers.is_empty() && !check.is_reported("providers") {
        check.problem(&below(path, "llm"), "there are no providers that it could lead to");
    }
    // The LLM API lives under /v1/ whatever the route says.
    let (key, written) = match &route.path_exact {
        Some(exact) => ("path_exact", exact),
        None => ("path", &route.path),
    };
    let leads_there = written.starts_with("/v1/") || (key == "path" && "/v1/".starts_with(written));
    if !leads_there {
        check.problem(
            &below(path, key),
            "must be the beginning of a path under /v1/, where the LLM API lives",
        );
    }
    for (there, key) in [
        (route.rewrite.is_some(), "rewrite"),
        (route.mirror.is_some(), "mirror"),
        (route.request_headers != crate::model::HeaderEdits::default(), "request_headers"),
    ] {
        if there {
            let message = "is for routes to upstreams; fields for a provider are its headers";
            check.problem(&below(path, key), message);
        }
    }
}

fn split(check: &mut Check, config: &Config, path: &str, route: &Route) {
    for (index, share) in route.split.iter().enumerate() {
        let path = format!("{path}[{index}]");
        named_upstream(check, config, &below(&path, "upstream"), &share.upstream);
        check.within(&below(&path, "weight"), &share.weight, 0..=WEIGHT_MAX);
    }
    if !route.split.is_empty() && route.split.iter().all(|share| share.weight == 0) {
        check.problem(path, "every share has weight 0: none could ever be chosen");
    }
    let names = route.split.iter().enumerate();
    let names = names.map(|(index, share)| (format!("{path}[{index}]"), share.upstream.as_str()));
    check.unique(names, "upstream");
}

fn named_upstream(check: &mut Check, config: &Config, path: &str, name: &str) {
    if !config.upstreams.contains_key(name) && !check.is_reported("upstreams") {
        check.problem_suggesting(
            path,
            format!("no upstream is named {}", quote(name)),
            nearest(name, config.upstreams.keys().map(String::as_str)),
        );
    }
}

pub(super) fn host_problem(host: &str) -> Option<&'static str> {
    if host.is_empty() || host.len() > MATCH_MAX {
        return Some("must be a host name");
    }
    let wildcard = host.strip_prefix("*.");
    let host = wildcard.unwrap_or(host);
    if host.contains('*') {
        return Some("must be one host name or *. and a domain: leave it out to match any host");
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
        let ok = wildcard.is_none() && address.parse::<std::net::Ipv6Addr>().is_ok();
        return (!ok).then_some("must be a host name or an IP address");
    }
    if host.contains(':') {
        return Some("must be a host name without a port");
    }
    let ok = !host.is_empty()
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    (!ok).then_some("must be a host name or an IP address")
}
