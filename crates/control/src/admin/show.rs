//! What is only looked at: the configuration in force and the live state.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use tidegate_config::{masked_json, speedmimi};
use tidegate_snapshot::Question;
use tidegate_snapshot::live::EndpointLive;
use tidegate_snapshot::series::{Counter, EndpointCell};

use super::backends::live;
use super::dispatch::{Call, Outcome};
use super::{Admin, answer};
use crate::{monitor, process};

const MIB: u64 = 1024 * 1024;

/// Audit entries that are shown unless more are asked for.
const AUDIT_SHOWN: usize = 100;

/// `GET /health` of the admin listener.
pub(super) fn health(admin: &Admin) -> Outcome {
    if !admin.shared.live.is_draining() {
        return Outcome::ok(&json!({ "status": "ok" }));
    }
    let response = answer(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": "draining" }));
    Outcome { response: response.into(), fields: Vec::new(), refused: None }
}

/// The fields that operators of the older relay have in their scripts: `goroutines` is the old name
/// of `tasks`.
pub(super) fn monitor_health(admin: &Admin) -> Outcome {
    let live = &admin.shared.live;
    let control_tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks() as u64;
    let tasks = monitor::tasks(live) + control_tasks;
    let resident = process::resident_bytes().unwrap_or_else(|| live.gauges.memory.load(Relaxed));
    let allocated = process::anonymous_bytes().unwrap_or(resident);
    Outcome::ok(&json!({
        "status": "ok",
        "goroutines": tasks,
        "tasks": tasks,
        "memory": {
            "alloc_mb": allocated / MIB,
            "sys_mb": resident / MIB,
            // Memory is given back by the allocator as it goes: there is nothing to count.
            "num_gc": 0,
        },
    }))
}

/// `GET /api/v1/config`: our sections and SpeedMimi's side by side; no name is in both.
pub(super) fn config(admin: &Admin) -> Outcome {
    let snapshot = admin.shared.snapshot.load_full();
    let mut config = masked_json(&snapshot.config);
    if let (Some(ours), Value::Object(theirs)) =
        (config.as_object_mut(), speedmimi::view(&snapshot.config))
    {
        ours.extend(theirs);
    }
    Outcome::ok(&json!({ "generation": snapshot.generation, "config": config }))
}

/// One section of the configuration in force.
fn section(admin: &Admin, key: &str) -> Value {
    masked_json(&admin.shared.snapshot.load().config).get(key).cloned().unwrap_or_default()
}

/// `GET /api/v1/listeners`.
pub(super) fn listeners(admin: &Admin) -> Outcome {
    Outcome::ok(&json!({ "listeners": section(admin, "listeners") }))
}

/// `GET /api/v1/routes`: as configured, each with what it has answered by status class.
pub(super) fn routes(admin: &Admin) -> Outcome {
    let snapshot = admin.shared.snapshot.load_full();
    let mut routes = section(admin, "routes").as_array().cloned().unwrap_or_default();
    for (shown, route) in routes.iter_mut().zip(&snapshot.routes) {
        let classes = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];
        let counts = classes.iter().enumerate().map(|(class, name)| {
            let cells = route.series.cells.iter();
            let count: u64 =
                cells.filter_map(|cell| cell.replies.get(class)).map(Counter::value).sum();
            ((*name).to_owned(), count.into())
        });
        let replies: Map<String, Value> = counts.collect();
        if let Some(fields) = shown.as_object_mut() {
            fields.insert("replies".to_owned(), replies.into());
        }
    }
    Outcome::ok(&json!({ "routes": routes }))
}

/// `GET /api/v1/upstreams`: as configured, the endpoints with their state.
pub(super) fn upstreams(admin: &Admin) -> Outcome {
    let mut upstreams = section(admin, "upstreams");
    if let Some(named) = upstreams.as_object_mut() {
        for upstream in named.values_mut() {
            let Some(list) = upstream.get_mut("endpoints").and_then(Value::as_array_mut) else {
                continue;
            };
            for endpoint in list {
                with_state(admin, endpoint);
            }
        }
    }
    Outcome::ok(&json!({ "upstreams": upstreams }))
}

/// `GET /api/v1/endpoints`: all endpoints in one list.
pub(super) fn endpoints(admin: &Admin, call: &Call) -> Outcome {
    let upstreams = section(admin, "upstreams");
    let empty = Map::new();
    let named = upstreams.as_object().unwrap_or(&empty);
    let asked = call.parameter("upstream");
    if let Some(name) = asked.filter(|name| !named.contains_key(*name)) {
        return Outcome::missing(&format!("There is no upstream {name:?}."));
    }
    let mut found = Vec::new();
    for (name, upstream) in named.iter().filter(|(name, _)| asked.is_none_or(|a| a == *name)) {
        let list = upstream.get("endpoints").and_then(Value::as_array).cloned();
        for mut endpoint in list.unwrap_or_default() {
            with_state(admin, &mut endpoint);
            endpoint["upstream"] = name.as_str().into();
            found.push(endpoint);
        }
    }
    Outcome::ok(&json!({ "endpoints": found }))
}

/// Adds to an endpoint as configured what is known of it now, under `state`.
fn with_state(admin: &Admin, endpoint: &mut Value) {
    let state = endpoint.get("url").and_then(Value::as_str).and_then(|url| live(admin, url));
    if let (Some(fields), Some(live)) = (endpoint.as_object_mut(), state) {
        fields.insert("state".to_owned(), state_of(admin, &live));
    }
}

fn state_of(admin: &Admin, live: &Arc<EndpointLive>) -> Value {
    let now = admin.shared.live.now_ms();
    let sum = |count: &dyn Fn(&EndpointCell) -> u64| -> u64 { live.cells.iter().map(count).sum() };
    let closes = live.close_at_ms.load(Relaxed);
    json!({
        "admitting": live.is_admitting() && !live.is_draining(),
        "draining": live.is_draining(),
        "closes_in_ms": (closes > 0).then(|| closes.saturating_sub(now)),
        "in_flight": live.in_flight.load(Relaxed),
        "attempts": sum(&|cell| cell.attempts.value()),
        "reused": sum(&|cell| cell.reused.value()),
        "connects": sum(&|cell| cell.connects.value()),
        "failures": sum(&|cell| cell.failures.iter().map(Counter::value).sum()),
        "report": admin.reports.of(live.id).map(|report| report.performance),
    })
}

/// `GET /api/v1/explain`: the way of a request through what is in force now.
pub(super) fn explain(admin: &Admin, call: &Call) -> Outcome {
    let Some(url) = call.parameter("url") else {
        return Outcome::bad("Name the request's URL in the parameter url.");
    };
    let Ok(from) = call.parameter("from").map(str::parse).transpose() else {
        return Outcome::bad("The parameter from is not an IP address.");
    };
    let method = call.parameter("method").unwrap_or("GET");
    let question = match Question::parse(method, url, from, &call.parameters("header")) {
        Ok(question) => question,
        Err(error) => return Outcome::bad(&error.to_string()),
    };
    let snapshot = admin.shared.snapshot.load_full();
    let told = tidegate_snapshot::explain(&snapshot, &question, admin.shared.live.now_ms());
    Outcome::ok(&json!(told))
}

/// `GET /api/v1/snapshot`.
pub(super) fn snapshot(admin: &Admin) -> Outcome {
    let snapshot = admin.shared.snapshot.load_full();
    let live = &admin.shared.live;
    let gauges = &live.gauges;
    Outcome::ok(&json!({
        "generation": snapshot.generation,
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_ms": live.now_ms(),
        "draining": live.is_draining(),
        "shards": live.shard_count(),
        "listeners": snapshot.listeners.len(),
        "routes": snapshot.routes.len(),
        "upstreams": snapshot.config.upstreams.len(),
        "providers": snapshot.config.providers.len(),
        "connections": { "open": gauges.connections.load(Relaxed), "limit": snapshot.limits.connections },
        "requests": {
            "in_flight": gauges.in_flight.load(Relaxed),
            "waiting": gauges.waiting.load(Relaxed),
            "limit": snapshot.limits.admission.in_flight,
        },
        "memory": {
            "bytes": gauges.memory.load(Relaxed),
            "limit_bytes": snapshot.limits.admission.memory,
        },
    }))
}

/// `GET /api/v1/audit`.
pub(super) fn audit(admin: &Admin, call: &Call) -> Outcome {
    let limit = match call.parameter("limit").map(str::parse::<usize>) {
        None => AUDIT_SHOWN,
        Some(Ok(limit)) => limit.min(super::audit::ENTRIES_MAX),
        Some(Err(_)) => return Outcome::bad("limit needs a whole number."),
    };
    Outcome::ok(&json!({ "entries": admin.audit.newest(limit) }))
}
