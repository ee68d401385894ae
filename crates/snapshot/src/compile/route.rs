//! Routes.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_config as config;
use tidegate_config::Config;
use tidegate_policy::route::{Location, PathMatch, Rewrite, RouteKey, RouteTable};

use super::edge::edge;
use super::{CompileError, ms};
use crate::live::Live;
use crate::types::{
    Changes, Destination, FieldEdits, Group, Mirror, Redirect, Route, RouteTimeouts, Split,
    StaticReply,
};

type Groups = HashMap<String, Arc<Group>>;

pub(super) fn routes(
    config: &Config,
    live: &Live,
    upstreams: &Groups,
) -> Result<(RouteTable, Vec<Arc<Route>>), CompileError> {
    let implicit = [config::Route { path: "/v1/".to_owned(), llm: true, ..Default::default() }];
    let written: &[config::Route] = if config.routes.is_empty() && !config.providers.is_empty() {
        &implicit
    } else {
        &config.routes
    };
    let mut keys = Vec::with_capacity(written.len());
    let mut routes = Vec::with_capacity(written.len());
    for (index, route) in written.iter().enumerate() {
        let place = format!("routes[{index}]");
        let key = route.key().map_err(|error| wrong(&place, "path_pattern", &error))?;
        let mirror = route.mirror.as_ref().map(|mirror| {
            let group = group(upstreams, &format!("{place}.mirror"), &mirror.upstream)?;
            Ok(Box::new(Mirror { group, percent: mirror.percent }))
        });
        routes.push(Arc::new(Route {
            to: destination(&place, route, upstreams)?,
            series: live.route(&name(&key)),
            edge: edge(route, &name(&key), live),
            body_max: route
                .limits
                .as_ref()
                .and_then(|limits| limits.body)
                .map(config::ByteSize::as_u64),
            timeouts: route.timeouts.as_ref().map(|timeouts| Box::new(route_timeouts(timeouts))),
            changes: changes(&place, route)?,
            mirror: mirror.transpose()?,
            hedge_ms: route.hedge.as_ref().map(|hedge| ms(hedge.after)),
        }));
        keys.push(key);
    }
    Ok((RouteTable::build(keys), routes))
}

fn wrong(place: &str, key: &str, error: &dyn std::fmt::Display) -> CompileError {
    CompileError::Route { place: format!("{place}.{key}"), message: error.to_string() }
}

fn group(upstreams: &Groups, place: &str, name: &str) -> Result<Arc<Group>, CompileError> {
    upstreams.get(name).map(Arc::clone).ok_or_else(|| CompileError::Dangling {
        place: format!("{place}.upstream"),
        what: "upstream",
        name: name.to_owned(),
    })
}

/// What a route is called in metrics and logs: host and path, `=` before an exact path and `~`
/// before a pattern as in nginx, then methods and fields.
pub(crate) fn name(key: &RouteKey) -> String {
    use tidegate_policy::route::HostMatch;
    let mut name = match &key.host {
        HostMatch::Any => String::new(),
        HostMatch::Name(name) => name.clone(),
        HostMatch::Below(domain) => format!("*.{domain}"),
    };
    match &key.path {
        PathMatch::Prefix(path) => name.push_str(path),
        PathMatch::Exact(path) => name.extend(["=", path]),
        PathMatch::Pattern(pattern) => name.extend(["~", pattern.as_str()]),
    }
    if !key.methods.is_empty() {
        name.extend([" ", &key.methods.join(",")]);
    }
    for field in &key.fields {
        name.extend([" ", &field.name, "=", field.value.as_deref().unwrap_or("*")]);
    }
    name
}

fn destination(
    place: &str,
    route: &config::Route,
    upstreams: &Groups,
) -> Result<Destination, CompileError> {
    if let Some(name) = &route.upstream {
        return Ok(Destination::Upstream(group(upstreams, place, name)?));
    }
    if !route.split.is_empty() {
        let mut until = 0;
        let mut shares = Vec::with_capacity(route.split.len());
        for (index, share) in route.split.iter().enumerate() {
            let group = group(upstreams, &format!("{place}.split[{index}]"), &share.upstream)?;
            until += u64::from(share.weight);
            if share.weight > 0 {
                shares.push((until, group));
            }
        }
        return Ok(Destination::Split(Box::new(Split { shares })));
    }
    if let Some(redirect) = &route.redirect {
        let to =
            Location::parse(&redirect.to).map_err(|error| wrong(place, "redirect.to", &error))?;
        return Ok(Destination::Redirect(Box::new(Redirect {
            status: status(redirect.status),
            to,
        })));
    }
    if let Some(reply) = &route.reply {
        let mut fields = Vec::new();
        let typed = reply.headers.keys().any(|name| name.eq_ignore_ascii_case("content-type"));
        if !typed && !reply.body.is_empty() {
            put(&mut fields, "Content-Type", "text/plain; charset=utf-8");
        }
        for (name, value) in &reply.headers {
            put(&mut fields, name, value);
        }
        return Ok(Destination::Reply(Box::new(StaticReply {
            status: status(reply.status),
            fields,
            body: reply.body.clone().into_bytes(),
        })));
    }
    Ok(Destination::Llm)
}

/// The check has seen that it is one.
fn status(written: u32) -> u16 {
    u16::try_from(written).unwrap_or(500)
}

fn changes(place: &str, route: &config::Route) -> Result<Option<Box<Changes>>, CompileError> {
    let plain = config::HeaderEdits::default();
    let same =
        route.rewrite.is_none() && route.request_headers == plain && route.reply_headers == plain;
    if same {
        return Ok(None);
    }
    let rewrite = route.rewrite.as_ref().and_then(|rewrite| {
        let place = format!("{place}.rewrite");
        if let Some(by) = &rewrite.prefix {
            let matched = route.path_exact.as_ref().unwrap_or(&route.path).len();
            return Some(Ok(Rewrite::Prefix { matched, by: by.clone().into_bytes() }));
        }
        let (pattern, to) = (rewrite.pattern.as_ref()?, rewrite.to.as_ref()?);
        Some(Rewrite::pattern(pattern, to).map_err(|error| wrong(&place, "pattern", &error)))
    });
    let is_host = |name: &str| name.eq_ignore_ascii_case("host");
    let host = route.request_headers.set.iter().find(|(name, _)| is_host(name));
    Ok(Some(Box::new(Changes {
        rewrite: rewrite.transpose()?,
        host: host.map(|(_, value)| value.clone().into_bytes()),
        request: field_edits(&route.request_headers),
        reply: field_edits(&route.reply_headers),
    })))
}

fn field_edits(written: &config::HeaderEdits) -> FieldEdits {
    let mut edits = FieldEdits::default();
    // Host is written by its own rule.
    let set = written.set.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host"));
    for (name, value) in set.clone().chain(&written.add) {
        put(&mut edits.put, name, value);
    }
    edits.dropped = written
        .remove
        .iter()
        .chain(set.map(|(name, _)| name))
        .map(|name| name.clone().into_bytes())
        .collect();
    edits
}

/// Names and values hold no line breaks: the check refuses them.
fn put(out: &mut Vec<u8>, name: &str, value: &str) {
    for part in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

fn route_timeouts(written: &config::RouteTimeouts) -> RouteTimeouts {
    RouteTimeouts {
        body: written.body.map(ms),
        first_token: written.first_token.map(ms),
        between_tokens: written.between_tokens.map(ms),
        request: written.request.map(ms),
        stream: written.stream.map(ms),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn groups() -> Groups {
        let text = "upstreams:\n  a: { endpoints: [http://127.0.0.1:1] }\n  \
                    b: { endpoints: [http://127.0.0.1:2] }\nroutes: [{ upstream: a }, { path: /b, upstream: b }]";
        let config = config::load(text, "t.yaml", &|_| None).unwrap().config;
        let live = Live::new(1);
        let snapshot = crate::compile(Arc::new(config), &live, 1).unwrap();
        let routes = snapshot.routes.iter().filter_map(|route| match &route.to {
            Destination::Upstream(group) => Some((group.name.clone(), Arc::clone(group))),
            _ => None,
        });
        routes.collect()
    }

    #[test]
    fn a_split_takes_each_in_proportion_to_its_weight() {
        let groups = groups();
        let shares = vec![(90, Arc::clone(&groups["a"])), (100, Arc::clone(&groups["b"]))];
        let split = Split { shares };
        let picked = |random| split.pick(random).unwrap().name.as_str();
        assert_eq!((0..1000).filter(|random| picked(*random) == "b").count(), 100);
        assert_eq!((picked(89), picked(90), picked(99), picked(100)), ("a", "b", "b", "a"));
        assert!(Split { shares: Vec::new() }.pick(7).is_none());
    }

    #[test]
    fn edits_are_ready_to_send() {
        let text = |list: &[(&str, &str)]| {
            list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
        };
        let edits = field_edits(&config::HeaderEdits {
            set: text(&[("X-A", "1"), ("Host", "h")]),
            add: text(&[("X-B", "2")]),
            remove: vec!["X-C".to_owned()],
        });
        assert_eq!(edits.put, b"X-A: 1\r\nX-B: 2\r\n");
        assert!(edits.drops(b"x-a") && edits.drops(b"x-c"));
        assert!(!edits.drops(b"x-b") && !edits.drops(b"host"));
    }
}
