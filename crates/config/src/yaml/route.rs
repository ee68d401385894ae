//! Routes as YAML.

use indexmap::IndexMap;

use super::edge::edge;
use super::{Fields, Yaml, add, add_list, add_map, add_optional, health, literal, named};
use crate::duration::format_duration;
use crate::model::{HeaderEdits, Route, RouteTimeouts, StaticReply};

pub(super) fn route(route: &Route) -> Yaml {
    let mut fields = Vec::new();
    add_optional(&mut fields, "name", route.name.as_ref());
    add_optional(&mut fields, "host", route.host.as_ref());
    add_optional(&mut fields, "path_exact", route.path_exact.as_ref());
    add_optional(&mut fields, "path_pattern", route.path_pattern.as_ref());
    if route.path_exact.is_none() && route.path_pattern.is_none() {
        fields.push(literal("path", &route.path));
    }
    add_list(&mut fields, "methods", route.methods.iter().cloned().map(Yaml::Literal));
    add_map(&mut fields, "headers", texts(&route.headers));
    if route.llm {
        fields.push(literal("llm", &true));
    }
    add_optional(&mut fields, "upstream", route.upstream.as_ref());
    let shares = route.split.iter().map(|share| {
        let mut fields = vec![literal("upstream", &share.upstream)];
        add(&mut fields, "weight", &share.weight, &1, u32::to_string);
        Yaml::Map(fields)
    });
    add_list(&mut fields, "split", shares);
    if let Some(redirect) = &route.redirect {
        let inner = vec![literal("to", &redirect.to), literal("status", &redirect.status)];
        fields.push(("redirect".to_owned(), Yaml::Map(inner)));
    }
    if let Some(reply) = &route.reply {
        fields.push(("reply".to_owned(), Yaml::Map(static_reply(reply))));
    }
    if let Some(rewrite) = &route.rewrite {
        let mut inner = Vec::new();
        add_optional(&mut inner, "prefix", rewrite.prefix.as_ref());
        add_optional(&mut inner, "pattern", rewrite.pattern.as_ref());
        add_optional(&mut inner, "to", rewrite.to.as_ref());
        fields.push(("rewrite".to_owned(), Yaml::Map(inner)));
    }
    add_map(&mut fields, "request_headers", header_edits(&route.request_headers));
    add_map(&mut fields, "reply_headers", header_edits(&route.reply_headers));
    if let Some(mirror) = &route.mirror {
        let inner =
            vec![literal("upstream", &mirror.upstream), literal("percent", &mirror.percent)];
        fields.push(("mirror".to_owned(), Yaml::Map(inner)));
    }
    edge(&mut fields, route);
    if let Some(limits) = &route.limits {
        let mut inner = Vec::new();
        add_optional(&mut inner, "body", limits.body);
        fields.push(("limits".to_owned(), Yaml::Map(inner)));
    }
    if let Some(timeouts) = &route.timeouts {
        fields.push(("timeouts".to_owned(), Yaml::Map(route_timeouts(timeouts))));
    }
    health::hedge(&mut fields, route.hedge.as_ref());
    Yaml::Map(fields)
}

fn texts(texts: &IndexMap<String, String>) -> Fields {
    named(texts, |text| Yaml::Literal(text.clone()))
}

fn static_reply(reply: &StaticReply) -> Fields {
    let mut fields = vec![literal("status", &reply.status)];
    if !reply.body.is_empty() {
        fields.push(literal("body", &reply.body));
    }
    add_map(&mut fields, "headers", texts(&reply.headers));
    fields
}

fn header_edits(edits: &HeaderEdits) -> Fields {
    let mut fields = Vec::new();
    add_map(&mut fields, "set", texts(&edits.set));
    add_map(&mut fields, "add", texts(&edits.add));
    add_list(&mut fields, "remove", edits.remove.iter().cloned().map(Yaml::Literal));
    fields
}

fn route_timeouts(timeouts: &RouteTimeouts) -> Fields {
    let mut fields = Vec::new();
    for (key, value) in [
        ("body", timeouts.body),
        ("first_token", timeouts.first_token),
        ("between_tokens", timeouts.between_tokens),
        ("request", timeouts.request),
        ("stream", timeouts.stream),
    ] {
        add_optional(&mut fields, key, value.map(format_duration));
    }
    fields
}
