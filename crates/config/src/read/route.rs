//! The located tree to the model: routes.

use indexmap::IndexMap;

use super::edge;
use super::health;
use crate::model::{
    HeaderEdits, Mirror, Redirect, Rewrite, Route, RouteLimits, RouteTimeouts, Share, StaticReply,
    all_of_a_mirror, permanent_redirect,
};
use crate::reader::{Reader, Value, set};

pub(super) fn routes(reader: &mut Reader, value: &Value) -> Vec<Route> {
    let items = reader.list(value);
    items.iter().map(|value| route(reader, value)).collect()
}

fn route(reader: &mut Reader, value: &Value) -> Route {
    let mut route = Route::default();
    let Some(mut fields) = reader.fields(value, "Route") else {
        return route;
    };
    if let Some(value) = fields.take(reader, "path") {
        set(&mut route.path, reader.text(&value));
    }
    for (key, place) in [
        ("name", &mut route.name),
        ("host", &mut route.host),
        ("path_exact", &mut route.path_exact),
        ("path_pattern", &mut route.path_pattern),
        ("upstream", &mut route.upstream),
    ] {
        if let Some(value) = fields.take(reader, key) {
            *place = reader.text(&value);
        }
    }
    if let Some(value) = fields.section(reader, "methods") {
        route.methods = texts(reader, &value);
    }
    if let Some(value) = fields.section(reader, "headers") {
        route.headers = named_texts(reader, &value);
    }
    if let Some(value) = fields.take(reader, "llm") {
        set(&mut route.llm, reader.boolean(&value));
    }
    if let Some(value) = fields.section(reader, "split") {
        let items = reader.list(&value);
        route.split = items.iter().map(|value| share(reader, value)).collect();
    }
    if let Some(value) = fields.section(reader, "redirect") {
        route.redirect = redirect(reader, &value);
    }
    if let Some(value) = fields.section(reader, "reply") {
        route.reply = reply(reader, &value);
    }
    if let Some(value) = fields.section(reader, "rewrite") {
        route.rewrite = rewrite(reader, &value);
    }
    for (key, place) in [
        ("request_headers", &mut route.request_headers),
        ("reply_headers", &mut route.reply_headers),
    ] {
        if let Some(value) = fields.section(reader, key) {
            set(place, header_edits(reader, &value));
        }
    }
    if let Some(value) = fields.section(reader, "mirror") {
        route.mirror = mirror(reader, &value);
    }
    if let Some(value) = fields.section(reader, "access") {
        route.access = edge::access(reader, &value);
    }
    if let Some(value) = fields.section(reader, "rate_limit") {
        route.rate_limit = edge::rate_limit(reader, &value);
    }
    if let Some(value) = fields.section(reader, "compress") {
        route.compress = edge::compress(reader, &value);
    }
    if let Some(value) = fields.section(reader, "limits") {
        route.limits = limits(reader, &value);
    }
    if let Some(value) = fields.section(reader, "timeouts") {
        route.timeouts = timeouts(reader, &value);
    }
    if let Some(value) = fields.section(reader, "hedge") {
        route.hedge = health::hedge(reader, &value);
    }
    reader.finish(fields);
    route
}

fn texts(reader: &mut Reader, value: &Value) -> Vec<String> {
    let items = reader.list(value);
    items.iter().filter_map(|value| reader.text(value)).collect()
}

fn named_texts(reader: &mut Reader, value: &Value) -> IndexMap<String, String> {
    let items = reader.named(value);
    let text = |(name, value): &(&str, Value)| Some(((*name).to_owned(), reader.text(value)?));
    items.iter().filter_map(text).collect()
}

fn share(reader: &mut Reader, value: &Value) -> Share {
    let mut share = Share { upstream: String::new(), weight: 1 };
    let Some(mut fields) = reader.fields(value, "Share") else {
        return share;
    };
    if let Some(value) = fields.required(reader, "upstream") {
        set(&mut share.upstream, reader.text(&value));
    }
    if let Some(value) = fields.take(reader, "weight") {
        set(&mut share.weight, reader.number(&value));
    }
    reader.finish(fields);
    share
}

fn redirect(reader: &mut Reader, value: &Value) -> Option<Redirect> {
    let mut redirect = Redirect { to: String::new(), status: permanent_redirect() };
    let mut fields = reader.fields(value, "Redirect")?;
    if let Some(value) = fields.required(reader, "to") {
        set(&mut redirect.to, reader.text(&value));
    }
    if let Some(value) = fields.take(reader, "status") {
        set(&mut redirect.status, reader.number(&value));
    }
    reader.finish(fields);
    Some(redirect)
}

fn reply(reader: &mut Reader, value: &Value) -> Option<StaticReply> {
    let mut reply = StaticReply::default();
    let mut fields = reader.fields(value, "StaticReply")?;
    if let Some(value) = fields.take(reader, "status") {
        set(&mut reply.status, reader.number(&value));
    }
    if let Some(value) = fields.take(reader, "body") {
        set(&mut reply.body, reader.text(&value));
    }
    if let Some(value) = fields.section(reader, "headers") {
        reply.headers = named_texts(reader, &value);
    }
    reader.finish(fields);
    Some(reply)
}

fn rewrite(reader: &mut Reader, value: &Value) -> Option<Rewrite> {
    let mut rewrite = Rewrite::default();
    let mut fields = reader.fields(value, "Rewrite")?;
    for (key, place) in [
        ("prefix", &mut rewrite.prefix),
        ("pattern", &mut rewrite.pattern),
        ("to", &mut rewrite.to),
    ] {
        if let Some(value) = fields.take(reader, key) {
            *place = reader.text(&value);
        }
    }
    reader.finish(fields);
    Some(rewrite)
}

fn header_edits(reader: &mut Reader, value: &Value) -> Option<HeaderEdits> {
    let mut edits = HeaderEdits::default();
    let mut fields = reader.fields(value, "HeaderEdits")?;
    for (key, place) in [("set", &mut edits.set), ("add", &mut edits.add)] {
        if let Some(value) = fields.section(reader, key) {
            *place = named_texts(reader, &value);
        }
    }
    if let Some(value) = fields.section(reader, "remove") {
        edits.remove = texts(reader, &value);
    }
    reader.finish(fields);
    Some(edits)
}

fn mirror(reader: &mut Reader, value: &Value) -> Option<Mirror> {
    let mut mirror = Mirror { upstream: String::new(), percent: all_of_a_mirror() };
    let mut fields = reader.fields(value, "Mirror")?;
    if let Some(value) = fields.required(reader, "upstream") {
        set(&mut mirror.upstream, reader.text(&value));
    }
    if let Some(value) = fields.take(reader, "percent") {
        set(&mut mirror.percent, reader.number(&value));
    }
    reader.finish(fields);
    Some(mirror)
}

fn limits(reader: &mut Reader, value: &Value) -> Option<RouteLimits> {
    let mut limits = RouteLimits::default();
    let mut fields = reader.fields(value, "RouteLimits")?;
    if let Some(value) = fields.take(reader, "body") {
        limits.body = reader.size(&value);
    }
    reader.finish(fields);
    Some(limits)
}

fn timeouts(reader: &mut Reader, value: &Value) -> Option<RouteTimeouts> {
    let mut timeouts = RouteTimeouts::default();
    let mut fields = reader.fields(value, "RouteTimeouts")?;
    for (key, place) in [
        ("body", &mut timeouts.body),
        ("first_token", &mut timeouts.first_token),
        ("between_tokens", &mut timeouts.between_tokens),
        ("request", &mut timeouts.request),
        ("stream", &mut timeouts.stream),
    ] {
        if let Some(value) = fields.take(reader, key) {
            *place = reader.duration(&value);
        }
    }
    reader.finish(fields);
    Some(timeouts)
}
