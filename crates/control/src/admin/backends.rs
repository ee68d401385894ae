//! Endpoints one by one: SpeedMimi's backends, and draining.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_config::speedmimi::{Backend, BackendChange, backend_id, view};
use tidegate_config::{Config, HttpUrl, parse_duration};
use tidegate_snapshot::live::EndpointLive;

use super::Admin;
use super::changes::{make, wake};
use super::dispatch::{Call, Outcome};
use crate::change::Change;

/// What a drained endpoint's exchanges get before they are ended, where `force` names no grace.
const GRACE: Duration = Duration::from_secs(30);

/// The longest grace.
const GRACE_MAX: Duration = Duration::from_hours(24);

/// Upstream and endpoint that a request names, in SpeedMimi's fields or ours.
pub(super) fn named(call: &Call) -> Result<(&str, &str), Outcome> {
    let upstream = call.any_text(&["upstream", "upstream_id"]);
    let endpoint = call.any_text(&["endpoint", "backend_id", "id"]);
    match (upstream, endpoint) {
        (Some(upstream), Some(endpoint)) => Ok((upstream, endpoint)),
        _ => Err(Outcome::bad(
            "Name the upstream (upstream or upstream_id) and the endpoint (endpoint or backend_id).",
        )),
    }
}

/// A change of some fields of one endpoint.
pub(super) fn changed(upstream: &str, endpoint: &str, fields: Value) -> Change {
    let action = Backend::Update(endpoint.to_owned(), fields);
    Change::Backend(BackendChange { upstream: upstream.to_owned(), action })
}

/// The live state of one endpoint, by name, address or URL.
pub(super) fn find(
    admin: &Admin,
    upstream: &str,
    endpoint: &str,
) -> Result<Arc<EndpointLive>, Outcome> {
    let snapshot = admin.shared.snapshot.load();
    let Some(known) = snapshot.config.upstreams.get(upstream) else {
        return Err(Outcome::missing(&format!("There is no upstream {upstream:?}.")));
    };
    let found = known.endpoints.iter().find(|one| {
        let address = one.url.split_once("://").map(|(_, address)| address);
        backend_id(upstream, one) == endpoint || one.url == endpoint || address == Some(endpoint)
    });
    found.and_then(|found| live(admin, &found.url)).ok_or_else(|| {
        Outcome::missing(&format!("The upstream {upstream:?} has no endpoint {endpoint:?} in use."))
    })
}

/// The live state behind an endpoint's URL.
pub(super) fn live(admin: &Admin, url: &str) -> Option<Arc<EndpointLive>> {
    let parsed: HttpUrl = url.parse().ok()?;
    let scheme = if parsed.tls { "https" } else { "http" };
    let key = format!("{scheme}://{}:{}", parsed.host, parsed.port);
    admin.shared.live.endpoints().into_iter().find(|live| live.key == key || live.key == url)
}

/// `GET /api/v1/backends?upstream=`.
pub(super) fn list(admin: &Admin, call: &Call) -> Outcome {
    let Some(upstream) = call.any_text(&["upstream", "upstream_id"]) else {
        return Outcome::bad("upstream parameter required");
    };
    let config = Arc::clone(&admin.shared.snapshot.load().config);
    match backends(admin, &config, upstream) {
        Some(backends) => Outcome::ok(&json!({ "backends": backends })),
        None => Outcome::missing(&format!("There is no upstream {upstream:?}.")),
    }
}

/// SpeedMimi's backends of an upstream, with what is known of each now.
pub(super) fn backends(admin: &Admin, config: &Config, upstream: &str) -> Option<Vec<Value>> {
    let known = config.upstreams.get(upstream)?;
    let view = view(config);
    let mut backends = view.get("backends")?.get(upstream)?.as_array()?.clone();
    for (backend, endpoint) in backends.iter_mut().zip(&known.endpoints) {
        let Some(live) = live(admin, &endpoint.url) else { continue };
        let report = admin.reports.of(live.id);
        backend["connections"] = live.in_flight.load(Relaxed).into();
        backend["performance"] = report.as_ref().map(|report| report.performance.clone()).into();
        backend["last_report"] = report.map(|report| report.at).into();
        let active = backend["active"].as_bool().unwrap_or(true) && !live.is_draining();
        backend["active"] = active.into();
    }
    Some(backends)
}

/// `POST /api/v1/backends/add`: the backend under `backend`, or its fields beside the upstream.
pub(super) async fn add(admin: &Admin, call: &Call) -> Outcome {
    let Some(upstream) = call.any_text(&["upstream_id", "upstream"]) else {
        return Outcome::bad("Name the upstream (upstream_id) and the backend.");
    };
    let mut backend = call.body.get("backend").cloned().unwrap_or_else(|| call.body.clone());
    if let Some(fields) = backend.as_object_mut() {
        fields.retain(|key, _| !matches!(key.as_str(), "upstream_id" | "upstream"));
        if let Some(id) = fields.remove("backend_id") {
            fields.entry("id").or_insert(id);
        }
    }
    let change = BackendChange { upstream: upstream.to_owned(), action: Backend::Add(backend) };
    make(admin, call, Change::Backend(change), "Backend added successfully").await
}

/// `DELETE /api/v1/backends/remove`.
pub(super) async fn remove(admin: &Admin, call: &Call) -> Outcome {
    let (upstream, endpoint) = match named(call) {
        Ok(named) => named,
        Err(outcome) => return outcome,
    };
    let action = Backend::Remove(endpoint.to_owned());
    let change = BackendChange { upstream: upstream.to_owned(), action };
    make(admin, call, Change::Backend(change), "Backend removed successfully").await
}

/// `PUT /api/v1/backends/update`: the fields under `backend`, or beside the names.
pub(super) async fn update(admin: &Admin, call: &Call) -> Outcome {
    let nested = call.body.get("backend").and_then(|backend| backend.get("id")?.as_str());
    let upstream = call.any_text(&["upstream_id", "upstream"]);
    let endpoint = call.any_text(&["backend_id", "endpoint", "id"]).or(nested);
    let (Some(upstream), Some(endpoint)) = (upstream, endpoint) else {
        return Outcome::bad("Name the upstream (upstream_id) and the backend (backend_id).");
    };
    let mut fields = call.body.get("backend").cloned().unwrap_or_else(|| call.body.clone());
    if let Some(fields) = fields.as_object_mut() {
        let names = ["upstream_id", "upstream", "backend_id", "endpoint"];
        fields.retain(|key, _| !names.contains(&key.as_str()));
    }
    make(admin, call, changed(upstream, endpoint, fields), "Backend updated successfully").await
}

/// `POST /api/v1/backends/disconnect` and `/endpoints/drain`: nothing new goes there from now on.
/// With `force`, what is left after the grace is ended.
pub(super) fn drain(admin: &Admin, call: &Call) -> Outcome {
    let (upstream, endpoint) = match named(call) {
        Ok(named) => named,
        Err(outcome) => return outcome,
    };
    let force = match call.body.get("force").unwrap_or(&Value::Null) {
        Value::Null => call.parameter("force") == Some("true"),
        Value::Bool(force) => *force,
        _ => return Outcome::bad("force is true or false."),
    };
    let grace = match call.text("grace").map(parse_duration) {
        None => GRACE,
        Some(Ok(grace)) if grace <= GRACE_MAX => grace,
        Some(Ok(_)) => return Outcome::bad("grace is at most 24h."),
        Some(Err(error)) => return Outcome::bad(&format!("grace: {error}")),
    };
    let live = match find(admin, upstream, endpoint) {
        Ok(live) => live,
        Err(outcome) => return outcome,
    };
    live.set_draining(true);
    if force {
        let at = admin.shared.live.now_ms() + grace.as_millis() as u64;
        live.close_at_ms.store(at.max(1), Relaxed);
        if let Err(refused) = wake(admin) {
            return refused;
        }
    }
    let mut outcome = Outcome::ok(&json!({
        "success": true,
        "message": "Backend disconnect request accepted",
        "endpoint": live.key,
        "in_flight": live.in_flight.load(Relaxed),
        "force": force,
        "grace_ms": if force { grace.as_millis() as u64 } else { 0 },
    }));
    outcome.fields.push(format!("force={force}"));
    outcome
}

/// `POST /api/v1/endpoints/undrain`.
pub(super) fn undrain(admin: &Admin, call: &Call) -> Outcome {
    let (upstream, endpoint) = match named(call) {
        Ok(named) => named,
        Err(outcome) => return outcome,
    };
    match find(admin, upstream, endpoint) {
        Ok(live) => {
            live.close_at_ms.store(0, Relaxed);
            live.set_draining(false);
            Outcome::ok(&json!({
                "success": true,
                "message": "The endpoint takes requests again",
                "endpoint": live.key,
            }))
        }
        Err(outcome) => outcome,
    }
}
