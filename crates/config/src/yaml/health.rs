//! Prints health checks, outliers, breakers, hedges and the resolver.

use super::{Fields, Yaml, add, add_map, literal};
use crate::duration::format_duration;
use crate::model::{Breaker, Health, Hedge, Outlier, Resolver, Upstream};

pub(super) fn upstream(fields: &mut Fields, upstream: &Upstream) {
    if let Some(written) = &upstream.health {
        fields.push(("health".to_owned(), Yaml::Map(health(written))));
    }
    add_map(fields, "outlier", outlier(&upstream.outlier));
    add(fields, "panic_threshold", &upstream.panic_threshold, &0, u32::to_string);
    if let Some(written) = &upstream.breaker {
        fields.push(("breaker".to_owned(), Yaml::Map(breaker(written))));
    }
}

fn health(health: &Health) -> Fields {
    let default = Health::default();
    let mut fields = vec![literal("path", &health.path)];
    add(&mut fields, "tcp", &health.tcp, &default.tcp, bool::to_string);
    fields.push(literal("interval", &format_duration(health.interval)));
    fields.push(literal("timeout", &format_duration(health.timeout)));
    fields.push(literal("failures", &health.failures));
    add(&mut fields, "successes", &health.successes, &default.successes, u32::to_string);
    if !health.status.is_empty() {
        let statuses = health.status.iter().map(|status| Yaml::Literal(status.to_string()));
        fields.push(("status".to_owned(), Yaml::List(statuses.collect())));
    }
    fields
}

fn outlier(outlier: &Outlier) -> Fields {
    let default = Outlier::default();
    let mut fields = Vec::new();
    for (key, value, default) in [
        ("consecutive_errors", outlier.consecutive_errors, default.consecutive_errors),
        ("error_percent", outlier.error_percent, default.error_percent),
        ("min_requests", outlier.min_requests, default.min_requests),
        ("ejected_percent_max", outlier.ejected_percent_max, default.ejected_percent_max),
    ] {
        add(&mut fields, key, &value, &default, u32::to_string);
    }
    for (key, value, default) in [
        ("interval", outlier.interval, default.interval),
        ("ejection", outlier.ejection, default.ejection),
        ("ejection_max", outlier.ejection_max, default.ejection_max),
    ] {
        add(&mut fields, key, &value, &default, |value| format_duration(*value));
    }
    fields
}

fn breaker(breaker: &Breaker) -> Fields {
    vec![
        literal("requests", &breaker.requests),
        literal("errors_percent", &breaker.errors_percent),
        literal("min_requests", &breaker.min_requests),
        literal("window", &format_duration(breaker.window)),
        literal("open", &format_duration(breaker.open)),
    ]
}

pub(super) fn hedge(fields: &mut Fields, hedge: Option<&Hedge>) {
    if let Some(hedge) = hedge {
        let after = literal("after", &format_duration(hedge.after));
        fields.push(("hedge".to_owned(), Yaml::Map(vec![after])));
    }
}

pub(super) fn resolver(resolver: &Resolver) -> Fields {
    if resolver.servers.is_empty() {
        return Vec::new();
    }
    let servers = resolver.servers.iter().map(|server| Yaml::Literal(server.to_string()));
    vec![("servers".to_owned(), Yaml::List(servers.collect()))]
}
