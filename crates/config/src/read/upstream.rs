//! The located tree to the model: upstreams.

use indexmap::IndexMap;

use crate::model::{Algorithm, Balance, Endpoint, Health, Upstream};
use crate::reader::{Reader, Value, set};
use crate::tree::Kind;

fn algorithm(reader: &mut Reader, value: &Value) -> Option<Algorithm> {
    reader.one_of(value, &Algorithm::ALL.map(|algorithm| (algorithm.as_str(), algorithm)))
}

pub(super) fn upstreams(reader: &mut Reader, value: &Value) -> IndexMap<String, Upstream> {
    let items = reader.named(value);
    items.iter().map(|(name, value)| ((*name).to_owned(), upstream(reader, value))).collect()
}

fn upstream(reader: &mut Reader, value: &Value) -> Upstream {
    let mut upstream = Upstream {
        endpoints: Vec::new(),
        balance: Balance::default(),
        health: None,
        ca_file: None,
    };
    let Some(mut fields) = reader.fields(value, "Upstream") else {
        return upstream;
    };
    if let Some(value) = fields.required(reader, "endpoints") {
        let items = reader.list(&value);
        upstream.endpoints = items.iter().map(|value| endpoint(reader, value)).collect();
    }
    if let Some(value) = fields.take(reader, "balance") {
        set(&mut upstream.balance, balance(reader, &value));
    }
    if let Some(value) = fields.section(reader, "health") {
        upstream.health = health(reader, &value);
    }
    if let Some(value) = fields.take(reader, "ca_file") {
        upstream.ca_file = reader.text(&value).map(Into::into);
    }
    reader.finish(fields);
    upstream
}

fn endpoint(reader: &mut Reader, value: &Value) -> Endpoint {
    let mut endpoint = Endpoint::url("");
    if !matches!(value.node.kind, Kind::Map(_)) {
        set(&mut endpoint.url, reader.text(value));
        return endpoint;
    }
    let Some(mut fields) = reader.fields(value, "EndpointDetail") else {
        return endpoint;
    };
    if let Some(value) = fields.required(reader, "url") {
        set(&mut endpoint.url, reader.text(&value));
    }
    if let Some(value) = fields.take(reader, "weight") {
        set(&mut endpoint.weight, reader.number(&value));
    }
    if let Some(value) = fields.take(reader, "connections_max") {
        endpoint.connections_max = reader.number(&value);
    }
    reader.finish(fields);
    endpoint
}

fn balance(reader: &mut Reader, value: &Value) -> Option<Balance> {
    if !matches!(value.node.kind, Kind::Map(_)) {
        return algorithm(reader, value).map(Balance::all);
    }
    let mut balance = Balance::default();
    let mut fields = reader.fields(value, "BalanceDetail")?;
    for (key, place) in [
        ("http", &mut balance.http),
        ("websocket", &mut balance.websocket),
        ("sse", &mut balance.sse),
    ] {
        if let Some(value) = fields.take(reader, key) {
            set(place, algorithm(reader, &value));
        }
    }
    reader.finish(fields);
    Some(balance)
}

fn health(reader: &mut Reader, value: &Value) -> Option<Health> {
    let mut health = Health::default();
    let mut fields = reader.fields(value, "Health")?;
    if let Some(value) = fields.take(reader, "path") {
        set(&mut health.path, reader.text(&value));
    }
    for (key, place) in [("interval", &mut health.interval), ("timeout", &mut health.timeout)] {
        if let Some(value) = fields.take(reader, key) {
            set(place, reader.duration(&value));
        }
    }
    if let Some(value) = fields.take(reader, "failures") {
        set(&mut health.failures, reader.number(&value));
    }
    reader.finish(fields);
    Some(health)
}
