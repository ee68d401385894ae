//! The located tree to the model: upstreams.

use std::time::Duration;

use indexmap::IndexMap;

use super::{balance, health};
use crate::model::{
    Balance, Endpoint, Hash, Outlier, ProxyHeader, Upstream, UpstreamProtocol, UpstreamTls,
};
use crate::reader::{Reader, Value, set};
use crate::tree::Kind;

pub(super) fn upstreams(reader: &mut Reader, value: &Value) -> IndexMap<String, Upstream> {
    let items = reader.named(value);
    items.iter().map(|(name, value)| ((*name).to_owned(), upstream(reader, value))).collect()
}

fn upstream(reader: &mut Reader, value: &Value) -> Upstream {
    let mut upstream = Upstream {
        endpoints: Vec::new(),
        balance: Balance::default(),
        hash: Hash::default(),
        queue: None,
        slow_start: Duration::ZERO,
        zone: None,
        health: None,
        outlier: Outlier::default(),
        panic_threshold: 0,
        breaker: None,
        ca_file: None,
        protocol: UpstreamProtocol::default(),
        tls: None,
        proxy_protocol: None,
    };
    let Some(mut fields) = reader.fields(value, "Upstream") else {
        return upstream;
    };
    if let Some(value) = fields.required(reader, "endpoints") {
        let items = reader.list(&value);
        upstream.endpoints = items.iter().map(|value| endpoint(reader, value)).collect();
    }
    if let Some(value) = fields.take(reader, "balance") {
        set(&mut upstream.balance, balance::balance(reader, &value));
    }
    if let Some(value) = fields.section(reader, "hash") {
        set(&mut upstream.hash, balance::hash(reader, &value));
    }
    if let Some(value) = fields.section(reader, "queue") {
        super::queue(reader, &value, upstream.queue.get_or_insert_default());
    }
    if let Some(value) = fields.take(reader, "slow_start") {
        set(&mut upstream.slow_start, reader.duration(&value));
    }
    if let Some(value) = fields.take(reader, "zone") {
        upstream.zone = reader.text(&value);
    }
    if let Some(value) = fields.section(reader, "health") {
        upstream.health = health::health(reader, &value);
    }
    if let Some(value) = fields.section(reader, "outlier") {
        health::outlier(reader, &value, &mut upstream.outlier);
    }
    if let Some(value) = fields.take(reader, "panic_threshold") {
        set(&mut upstream.panic_threshold, reader.number(&value));
    }
    if let Some(value) = fields.section(reader, "breaker") {
        upstream.breaker = health::breaker(reader, &value);
    }
    if let Some(value) = fields.take(reader, "ca_file") {
        upstream.ca_file = reader.text(&value).map(Into::into);
    }
    if let Some(value) = fields.take(reader, "protocol") {
        let names = UpstreamProtocol::ALL.map(|protocol| (protocol.as_str(), protocol));
        set(&mut upstream.protocol, reader.one_of(&value, &names));
    }
    if let Some(value) = fields.section(reader, "tls") {
        upstream.tls = tls(reader, &value);
    }
    if let Some(value) = fields.take(reader, "proxy_protocol") {
        let names = ProxyHeader::ALL.map(|version| (version.as_str(), version));
        upstream.proxy_protocol = reader.one_of(&value, &names);
    }
    reader.finish(fields);
    upstream
}

fn tls(reader: &mut Reader, value: &Value) -> Option<UpstreamTls> {
    let mut tls = UpstreamTls::default();
    let mut fields = reader.fields(value, "UpstreamTls")?;
    for (key, place) in [("ca", &mut tls.ca), ("cert", &mut tls.cert), ("key", &mut tls.key)] {
        if let Some(value) = fields.take(reader, key) {
            *place = reader.text(&value).map(Into::into);
        }
    }
    if let Some(value) = fields.take(reader, "server_name") {
        tls.server_name = reader.text(&value);
    }
    reader.finish(fields);
    // An empty section says nothing.
    Some(tls).filter(|tls| *tls != UpstreamTls::default())
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
    if let Some(value) = fields.take(reader, "name") {
        endpoint.name = reader.text(&value);
    }
    if let Some(value) = fields.required(reader, "url") {
        set(&mut endpoint.url, reader.text(&value));
    }
    if let Some(value) = fields.take(reader, "weight") {
        set(&mut endpoint.weight, reader.number(&value));
    }
    if let Some(value) = fields.take(reader, "connections_max") {
        endpoint.connections_max = reader.number(&value);
    }
    if let Some(value) = fields.take(reader, "priority") {
        set(&mut endpoint.priority, reader.number(&value));
    }
    if let Some(value) = fields.take(reader, "zone") {
        endpoint.zone = reader.text(&value);
    }
    if let Some(value) = fields.take(reader, "draining") {
        set(&mut endpoint.draining, reader.boolean(&value));
    }
    reader.finish(fields);
    endpoint
}
