//! Load: what backends report of theirs, and what this machine's is.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::Admin;
use super::backends::{backends, find};
use super::dispatch::{Call, Outcome};
use crate::process;

/// Reports kept: as many as there can be endpoints with counters.
const REPORTS_MAX: usize = 10_000;

/// Figures of a report, all from 0 on. The first three are percentages.
const FIGURES: [&str; 8] = [
    "cpu_usage",
    "memory_usage",
    "disk_usage",
    "load_avg_1",
    "load_avg_5",
    "load_avg_15",
    "network_in",
    "network_out",
];

/// The last report of each endpoint, by its number.
#[derive(Debug, Default)]
pub(super) struct Reports(Mutex<HashMap<u32, Report>>);

/// What an endpoint has reported.
#[derive(Debug, Clone)]
pub(super) struct Report {
    /// The figures, as sent.
    pub(super) performance: Value,
    /// When it came, in milliseconds since 1970.
    pub(super) at: u64,
}

impl Reports {
    /// The last report of an endpoint.
    pub(super) fn of(&self, endpoint: u32) -> Option<Report> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&endpoint).cloned()
    }

    fn keep(&self, endpoint: u32, report: Report) {
        let mut reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if reports.len() >= REPORTS_MAX && !reports.contains_key(&endpoint) {
            reports.clear();
        }
        reports.insert(endpoint, report);
    }
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// `POST /api/v1/report`.
pub(super) fn take(admin: &Admin, call: &Call) -> Outcome {
    let (upstream, endpoint) = match super::backends::named(call) {
        Ok(named) => named,
        Err(outcome) => return outcome,
    };
    let performance = call.body.get("performance").unwrap_or(&call.body);
    let mut figures = [0.0; FIGURES.len()];
    for (name, place) in FIGURES.iter().zip(&mut figures) {
        match performance.get(name) {
            None | Some(Value::Null) => {}
            Some(value) => match value.as_f64().filter(|figure| *figure >= 0.0) {
                Some(figure) => *place = figure,
                None => return Outcome::bad(&format!("{name} needs a number from 0 on.")),
            },
        }
    }
    let live = match find(admin, upstream, endpoint) {
        Ok(live) => live,
        Err(outcome) => return outcome,
    };
    let [cpu, memory, disk, load, load_5, load_15, received, sent] = figures;
    for (name, percent) in FIGURES.iter().zip([cpu, memory, disk]) {
        if percent > 100.0 {
            return Outcome::bad(&format!("{name} is a percentage: at most 100."));
        }
    }
    // SpeedMimi took a load of 100 for a full machine.
    live.report(cpu, memory, load.min(100.0), admin.shared.live.now_ms());
    let performance = json!({
        "cpu_usage": cpu,
        "memory_usage": memory,
        "disk_usage": disk,
        "load_avg_1": load,
        "load_avg_5": load_5,
        "load_avg_15": load_15,
        "network_in": received,
        "network_out": sent,
        "timestamp": now_ms(),
    });
    admin.reports.keep(live.id, Report { performance, at: now_ms() });
    Outcome::ok(&json!({ "success": true, "message": "Performance data accepted" }))
}

/// `GET /api/v1/stats/server`.
pub(super) fn server(admin: &Admin) -> Outcome {
    let live = &admin.shared.live;
    let load = process::load_averages().unwrap_or_default();
    let (total, available) = process::machine_memory().unwrap_or((0, 0));
    let used = total.saturating_sub(available) as f64 / total.max(1) as f64 * 100.0;
    let requests: u64 = live.shards.iter().map(|cell| cell.requests.value()).sum();
    let errors: u64 = live.shards.iter().map(|cell| cell.errors.value()).sum();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Outcome::ok(&json!({
        "stats": {
            // The share of the processors that wanted to run in the last minute.
            "cpu_usage": (load[0] / cores as f64 * 100.0).min(100.0),
            "memory_usage": used,
            "disk_usage": 0,
            "load_avg_1": load[0],
            "load_avg_5": load[1],
            "load_avg_15": load[2],
            "network_in": 0,
            "network_out": 0,
            "timestamp": now_ms(),
        },
        "connections": live.gauges.connections.load(Relaxed),
        "in_flight": live.gauges.in_flight.load(Relaxed),
        "waiting": live.gauges.waiting.load(Relaxed),
        "requests": requests,
        "errors": errors,
        "memory_bytes": process::resident_bytes(),
        "uptime_ms": live.now_ms(),
    }))
}

/// `GET /api/v1/stats/backend`: of one backend, of an upstream, or of all.
pub(super) fn backend(admin: &Admin, call: &Call) -> Outcome {
    let config = std::sync::Arc::clone(&admin.shared.snapshot.load().config);
    let asked = call.any_text(&["upstream", "upstream_id"]);
    if let Some(upstream) = asked
        && !config.upstreams.contains_key(upstream)
    {
        return Outcome::missing(&format!("There is no upstream {upstream:?}."));
    }
    let id = call.any_text(&["backend_id", "id"]);
    let names = config.upstreams.keys().filter(|name| asked.is_none_or(|asked| asked == *name));
    let found: Vec<Value> = names
        .flat_map(|upstream| {
            let backends = backends(admin, &config, upstream).unwrap_or_default();
            backends.into_iter().map(move |mut backend| {
                backend["upstream"] = upstream.as_str().into();
                backend
            })
        })
        .filter(|backend| id.is_none_or(|id| backend["id"].as_str() == Some(id)))
        .collect();
    if let (Some(id), true) = (id, found.is_empty()) {
        return Outcome::missing(&format!("There is no backend {id:?}."));
    }
    let none: Value = FIGURES
        .iter()
        .map(|name| ((*name).to_owned(), json!(0)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let first = found.iter().map(|backend| &backend["performance"]).find(|p| !p.is_null());
    let stats = first.cloned().unwrap_or(none);
    Outcome::ok(&json!({ "stats": stats, "backends": found }))
}
