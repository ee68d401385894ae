//! The located tree to the model: health checks, outliers, breakers, hedging and the resolver.

use std::net::SocketAddr;

use crate::model::{Breaker, Health, Hedge, Outlier, Resolver};
use crate::reader::{Reader, Value, set};

pub(super) fn health(reader: &mut Reader, value: &Value) -> Option<Health> {
    let mut health = Health::default();
    let mut fields = reader.fields(value, "Health")?;
    if let Some(value) = fields.take(reader, "path") {
        set(&mut health.path, reader.text(&value));
    }
    if let Some(value) = fields.take(reader, "tcp") {
        set(&mut health.tcp, reader.boolean(&value));
    }
    for (key, place) in [("interval", &mut health.interval), ("timeout", &mut health.timeout)] {
        if let Some(value) = fields.take(reader, key) {
            set(place, reader.duration(&value));
        }
    }
    for (key, place) in [("failures", &mut health.failures), ("successes", &mut health.successes)] {
        if let Some(value) = fields.take(reader, key) {
            set(place, reader.number(&value));
        }
    }
    if let Some(value) = fields.section(reader, "status") {
        let items = reader.list(&value);
        // A bad one keeps its place, so that the others keep theirs.
        let status = |value| reader.number(value).unwrap_or(200);
        health.status = items.iter().map(status).collect();
    }
    reader.finish(fields);
    Some(health)
}

pub(super) fn outlier(reader: &mut Reader, value: &Value, outlier: &mut Outlier) {
    let Some(mut fields) = reader.fields(value, "Outlier") else { return };
    for (key, place) in [
        ("consecutive_errors", &mut outlier.consecutive_errors),
        ("error_percent", &mut outlier.error_percent),
        ("min_requests", &mut outlier.min_requests),
        ("ejected_percent_max", &mut outlier.ejected_percent_max),
    ] {
        if let Some(value) = fields.take(reader, key) {
            set(place, reader.number(&value));
        }
    }
    for (key, place) in [
        ("interval", &mut outlier.interval),
        ("ejection", &mut outlier.ejection),
        ("ejection_max", &mut outlier.ejection_max),
    ] {
        if let Some(value) = fields.take(reader, key) {
            set(place, reader.duration(&value));
        }
    }
    reader.finish(fields);
}

pub(super) fn breaker(reader: &mut Reader, value: &Value) -> Option<Breaker> {
    let mut breaker = Breaker::default();
    let mut fields = reader.fields(value, "Breaker")?;
    for (key, place) in [
        ("requests", &mut breaker.requests),
        ("errors_percent", &mut breaker.errors_percent),
        ("min_requests", &mut breaker.min_requests),
    ] {
        if let Some(value) = fields.take(reader, key) {
            set(place, reader.number(&value));
        }
    }
    for (key, place) in [("window", &mut breaker.window), ("open", &mut breaker.open)] {
        if let Some(value) = fields.take(reader, key) {
            set(place, reader.duration(&value));
        }
    }
    reader.finish(fields);
    Some(breaker)
}

pub(super) fn hedge(reader: &mut Reader, value: &Value) -> Option<Hedge> {
    let mut fields = reader.fields(value, "Hedge")?;
    let after = fields.required(reader, "after").and_then(|value| reader.duration(&value));
    reader.finish(fields);
    after.map(|after| Hedge { after })
}

pub(super) fn resolver(reader: &mut Reader, value: &Value, resolver: &mut Resolver) {
    let Some(mut fields) = reader.fields(value, "Resolver") else { return };
    if let Some(value) = fields.section(reader, "servers") {
        let items = reader.list(&value);
        let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
        let server = |value| reader.socket_address(value).unwrap_or(nobody);
        resolver.servers = items.iter().map(server).collect();
    }
    reader.finish(fields);
}
