//! Whether health checks, outliers, breakers, hedges and the resolver make sense.

use super::{Check, is_request_target};
use crate::model::{Breaker, Config, Health, Outlier, Upstream};
use crate::reader::below;

/// Statuses that a probe may expect.
const STATUSES_MAX: usize = 32;

/// Name servers that are asked.
const SERVERS_MAX: usize = 8;

pub(super) fn upstream(check: &mut Check, path: &str, upstream: &Upstream) {
    if let Some(written) = &upstream.health {
        health(check, &below(path, "health"), written);
    }
    outlier(check, &below(path, "outlier"), &upstream.outlier);
    check.within(&below(path, "panic_threshold"), &upstream.panic_threshold, 0..=100);
    if let Some(written) = &upstream.breaker {
        breaker(check, &below(path, "breaker"), written);
    }
}

fn health(check: &mut Check, path: &str, health: &Health) {
    if !health.path.starts_with('/') || !is_request_target(&health.path) {
        check.problem(&below(path, "path"), "must begin with \"/\" and hold no spaces");
    }
    if health.tcp && health.path != Health::default().path {
        check.warning(&below(path, "path"), "is not asked for: a TCP check only connects");
    }
    if health.tcp && !health.status.is_empty() {
        check.warning(&below(path, "status"), "is not looked at: a TCP check only connects");
    }
    check.deadline(&below(path, "interval"), health.interval);
    check.deadline(&below(path, "timeout"), health.timeout);
    if health.timeout > health.interval {
        check.problem(&below(path, "timeout"), "must not be more than the interval");
    }
    check.within(&below(path, "failures"), &health.failures, 1..=1000);
    check.within(&below(path, "successes"), &health.successes, 1..=1000);
    let list = below(path, "status");
    if health.status.len() > STATUSES_MAX {
        check.problem(&list, format!("has more than {STATUSES_MAX} statuses"));
    }
    for (index, status) in health.status.iter().enumerate() {
        check.within(&format!("{list}[{index}]"), status, 200..=599);
    }
}

fn outlier(check: &mut Check, path: &str, outlier: &Outlier) {
    check.within(&below(path, "consecutive_errors"), &outlier.consecutive_errors, 0..=1000);
    check.within(&below(path, "error_percent"), &outlier.error_percent, 0..=100);
    check.within(&below(path, "min_requests"), &outlier.min_requests, 1..=1_000_000);
    check.deadline(&below(path, "interval"), outlier.interval);
    check.deadline(&below(path, "ejection"), outlier.ejection);
    check.deadline(&below(path, "ejection_max"), outlier.ejection_max);
    if outlier.ejection_max < outlier.ejection {
        check.problem(&below(path, "ejection_max"), "must not be less than the first ejection");
    }
    check.within(&below(path, "ejected_percent_max"), &outlier.ejected_percent_max, 0..=100);
}

fn breaker(check: &mut Check, path: &str, breaker: &Breaker) {
    check.within(&below(path, "requests"), &breaker.requests, 1..=1_000_000);
    check.within(&below(path, "errors_percent"), &breaker.errors_percent, 0..=100);
    check.within(&below(path, "min_requests"), &breaker.min_requests, 1..=1_000_000);
    check.deadline(&below(path, "window"), breaker.window);
    check.deadline(&below(path, "open"), breaker.open);
}

pub(super) fn hedges(check: &mut Check, config: &Config) {
    for (index, route) in config.routes.iter().enumerate() {
        let Some(hedge) = &route.hedge else { continue };
        let path = format!("routes[{index}].hedge");
        check.deadline(&below(&path, "after"), hedge.after);
        if route.llm {
            check.problem(&path, "LLM requests have bodies and are not hedged");
        }
    }
}

pub(super) fn resolver(check: &mut Check, config: &Config) {
    let path = "resolver.servers";
    let servers = &config.resolver.servers;
    if servers.len() > SERVERS_MAX {
        check.problem(path, format!("has more than {SERVERS_MAX} servers"));
    }
    let places = servers.iter().enumerate();
    check.unique(places.map(|(index, server)| (format!("{path}[{index}]"), *server)), "server");
}
