//! The located tree to the model: the top level, listeners, limits and deadlines. Only shapes are
//! looked at here; whether values make sense is the matter of `check`, which imports go through
//! too.

mod admin;
mod balance;
mod edge;
mod health;
mod listener;
mod llm;
mod route;
mod upstream;

use crate::model::{Config, Limits, Log, LogFormat, LogLevel, Queue, Timeouts};
use crate::reader::{Reader, Value, set};
use crate::tree::Node;

/// Builds the model from the root of a file, which is absent if the file is empty. What cannot be
/// read keeps its default and the reader has the problem; `None` if there is nothing to build from.
pub(crate) fn config(reader: &mut Reader, root: Option<&Node>) -> Option<Config> {
    let mut config = Config::default();
    let Some(node) = root.filter(|root| !root.is_null()) else {
        return Some(config);
    };
    let value = Value { node, path: String::new() };
    let mut fields = reader.fields(&value, "Config")?;
    if let Some(value) = fields.section(reader, "listeners") {
        config.listeners = listener::listeners(reader, &value);
    }
    if let Some(value) = fields.section(reader, "admin") {
        config.admin = admin::admin(reader, &value);
    }
    if let Some(value) = fields.section(reader, "limits") {
        limits(reader, &value, &mut config.limits);
    }
    if let Some(value) = fields.section(reader, "timeouts") {
        timeouts(reader, &value, &mut config.timeouts);
    }
    if let Some(value) = fields.take(reader, "shards") {
        config.shards = reader.number(&value).map(|count| count as usize);
    }
    if let Some(value) = fields.take(reader, "allow_anonymous") {
        set(&mut config.allow_anonymous, reader.boolean(&value));
    }
    if let Some(value) = fields.section(reader, "callers") {
        config.callers = llm::callers(reader, &value);
    }
    if let Some(value) = fields.section(reader, "providers") {
        config.providers = llm::providers(reader, &value);
    }
    if let Some(value) = fields.section(reader, "models") {
        config.models = llm::models(reader, &value);
    }
    if let Some(value) = fields.section(reader, "upstreams") {
        config.upstreams = upstream::upstreams(reader, &value);
    }
    if let Some(value) = fields.section(reader, "routes") {
        config.routes = route::routes(reader, &value);
    }
    if let Some(value) = fields.section(reader, "retry") {
        llm::retry(reader, &value, &mut config.retry);
    }
    if let Some(value) = fields.section(reader, "resolver") {
        health::resolver(reader, &value, &mut config.resolver);
    }
    if let Some(value) = fields.section(reader, "log") {
        log(reader, &value, &mut config.log);
    }
    reader.finish(fields);
    Some(config)
}

fn limits(reader: &mut Reader, value: &Value, limits: &mut Limits) {
    let Some(mut fields) = reader.fields(value, "Limits") else {
        return;
    };
    for (key, place) in
        [("connections", &mut limits.connections), ("requests", &mut limits.requests)]
    {
        if let Some(value) = fields.take(reader, key) {
            set(place, reader.number(&value));
        }
    }
    if let Some(value) = fields.section(reader, "queue") {
        queue(reader, &value, &mut limits.queue);
    }
    for (key, place) in [
        ("memory", &mut limits.memory),
        ("head", &mut limits.head),
        ("body", &mut limits.body),
        ("stream_buffer", &mut limits.stream_buffer),
    ] {
        if let Some(value) = fields.take(reader, key) {
            set(place, reader.size(&value));
        }
    }
    reader.finish(fields);
}

fn queue(reader: &mut Reader, value: &Value, queue: &mut Queue) {
    let Some(mut fields) = reader.fields(value, "Queue") else {
        return;
    };
    if let Some(value) = fields.take(reader, "size") {
        set(&mut queue.size, reader.number(&value));
    }
    if let Some(value) = fields.take(reader, "wait") {
        set(&mut queue.wait, reader.duration(&value));
    }
    reader.finish(fields);
}

fn timeouts(reader: &mut Reader, value: &Value, timeouts: &mut Timeouts) {
    let Some(mut fields) = reader.fields(value, "Timeouts") else {
        return;
    };
    for (key, place) in [
        ("head", &mut timeouts.head),
        ("body", &mut timeouts.body),
        ("keep_alive", &mut timeouts.keep_alive),
        ("tls_handshake", &mut timeouts.tls_handshake),
        ("connect", &mut timeouts.connect),
        ("first_token", &mut timeouts.first_token),
        ("between_tokens", &mut timeouts.between_tokens),
        ("request", &mut timeouts.request),
        ("stream", &mut timeouts.stream),
        ("write_stall", &mut timeouts.write_stall),
        ("heartbeat", &mut timeouts.heartbeat),
        ("drain", &mut timeouts.drain),
        ("tunnel", &mut timeouts.tunnel),
        ("upstream_idle", &mut timeouts.upstream_idle),
        ("upgrade", &mut timeouts.upgrade),
    ] {
        if let Some(value) = fields.take(reader, key) {
            set(place, reader.duration(&value));
        }
    }
    reader.finish(fields);
}

fn log(reader: &mut Reader, value: &Value, log: &mut Log) {
    let Some(mut fields) = reader.fields(value, "Log") else {
        return;
    };
    if let Some(value) = fields.take(reader, "level") {
        let level = reader.one_of(&value, &LogLevel::ALL.map(|level| (level.as_str(), level)));
        set(&mut log.level, level);
    }
    if let Some(value) = fields.take(reader, "format") {
        let format = reader.one_of(&value, &LogFormat::ALL.map(|format| (format.as_str(), format)));
        set(&mut log.format, format);
    }
    reader.finish(fields);
}
