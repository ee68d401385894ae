//! Backends, as SpeedMimi called endpoints: one of them read, named and changed.

use serde_json::{Map, Value, json};

use super::value::{Notes, plain_name};
use crate::address::HttpUrl;
use crate::mask::masked_json;
use crate::model::{Config, Endpoint};

/// Connections to a backend at most, where nothing is written: SpeedMimi's default.
const CONNECTIONS_MAX: u64 = 1000;

/// A backend's weight, where nothing is written: SpeedMimi's default.
const WEIGHT: u64 = 100;

/// Keys of a backend. The last three were only ever shown.
const KEYS: [&str; 12] = [
    "id",
    "name",
    "host",
    "port",
    "weight",
    "scheme",
    "active",
    "max_conn",
    "health_check",
    "connections",
    "performance",
    "last_report",
];

/// A change of one backend of an upstream.
#[derive(Clone, Debug)]
pub struct BackendChange {
    /// The upstream's name.
    pub upstream: String,
    /// What is done.
    pub action: Backend,
}

/// What is done with a backend.
#[derive(Clone, Debug)]
pub enum Backend {
    /// One more, in SpeedMimi's fields; the upstream is made if there is none.
    Add(Value),
    /// The one with this id goes.
    Remove(String),
    /// The one with this id gets these fields; the others stay.
    Update(String, Value),
}

/// The id of an endpoint towards SpeedMimi's users: its name, else what SpeedMimi made of host and
/// port.
pub fn backend_id(upstream: &str, endpoint: &Endpoint) -> String {
    endpoint.name.clone().unwrap_or_else(|| match endpoint.url.parse::<HttpUrl>() {
        Ok(url) => format!("{upstream}-{}-{}", url.host, url.port),
        Err(_) => endpoint.url.clone(),
    })
}

/// A backend of a document as an endpoint of ours, without what is the default. `before` is the
/// endpoint that it changes, as it is shown; fields that SpeedMimi did not know stay.
pub(super) fn endpoint(
    notes: &mut Notes,
    upstream: &str,
    backend: &Value,
    before: Option<&Value>,
    path: &str,
) -> Value {
    notes.known(backend, path, &KEYS);
    let field = |key: &str| (backend.get(key).unwrap_or(&Value::Null), format!("{path}.{key}"));
    let (host, host_path) = field("host");
    let (port, port_path) = field("port");
    let (scheme, scheme_path) = field("scheme");
    let (id, id_path) = field("id");
    let (weight, weight_path) = field("weight");
    let (connections, connections_path) = field("max_conn");
    let (active, active_path) = field("active");

    let host = notes.text(host, &host_path);
    let port = notes.number(port, &port_path);
    let scheme = notes.text(scheme, &scheme_path).unwrap_or_else(|| "http".to_owned());
    // An endpoint that has neither, such as a socket file, keeps its address.
    let elsewhere = before.is_some() && host.is_none() && port.is_none();
    if host.is_none() && !elsewhere {
        notes.problem(&host_path, "is missing");
    }
    if !elsewhere && port.is_none_or(|port| port > 65_535) {
        notes.problem(&port_path, "needs a port from 1 to 65535");
    }
    if !matches!(scheme.as_str(), "http" | "https") {
        notes.problem(&scheme_path, "needs http or https");
    }
    let (host, port) = (host.unwrap_or_default(), port.unwrap_or_default());
    let host =
        if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };

    let mut fields = before.and_then(Value::as_object).cloned().unwrap_or_default();
    // What SpeedMimi made up for a backend without an id needs not be written down.
    let made_up = format!("{upstream}-{}-{port}", host.trim_matches(['[', ']']));
    let shown = before.and_then(|before| before.get("url")?.as_str());
    if let Some(id) =
        notes.text(id, &id_path).filter(|id| *id != made_up && Some(id.as_str()) != shown)
    {
        let name = plain_name(&id);
        if name != id {
            notes.warning(&id_path, format!("is called \"{name}\" here"));
        }
        fields.insert("name".to_owned(), name.into());
    }
    if !elsewhere {
        fields.insert("url".to_owned(), format!("{scheme}://{host}:{port}").into());
    }
    // In a file 0 meant the default; in a change of what is there it means 0.
    let changed = before.is_some();
    let none = changed && weight.as_u64() == Some(0);
    let weight = if none { Some(0) } else { notes.number(weight, &weight_path) };
    let connections = notes.number(connections, &connections_path);
    for (key, value, default) in
        [("weight", weight, WEIGHT), ("connections_max", connections, CONNECTIONS_MAX)]
    {
        if value.is_some() || !changed {
            fields.insert(key.to_owned(), value.unwrap_or(default).into());
        }
    }
    let active = notes.truth(active, &active_path).unwrap_or(true);
    if !active || fields.contains_key("draining") {
        fields.insert("draining".to_owned(), (!active).into());
    }
    Value::Object(fields)
}

/// The merge patch that changes one backend; else what is wrong with the change: path and message.
pub fn backend_patch(
    config: &Config,
    change: &BackendChange,
) -> Result<Value, Vec<(String, String)>> {
    let mut notes = Notes::default();
    let upstream = change.upstream.as_str();
    let all = masked_json(config);
    let shown = all.pointer(&format!("/upstreams/{upstream}/endpoints"));
    let mut endpoints: Vec<Value> = shown.and_then(Value::as_array).cloned().unwrap_or_default();
    let known = config.upstreams.get(upstream);
    let index_of = |id: &str| {
        let known = known?;
        known.endpoints.iter().position(|endpoint| {
            backend_id(upstream, endpoint) == id || endpoint.url == id || is_address(endpoint, id)
        })
    };
    let missing = |notes: &mut Notes, id: &str| match known {
        Some(_) => notes.problem("backend_id", format!("upstream {upstream} has no backend {id}")),
        None => notes.problem("upstream_id", format!("there is no upstream {upstream}")),
    };
    let mut section = Map::new();
    match &change.action {
        Backend::Add(backend) => {
            let made = endpoint(&mut notes, upstream, backend, None, "backend");
            let id = made.get("name").and_then(Value::as_str).unwrap_or_default();
            if !id.is_empty() && index_of(id).is_some() {
                let message = format!("upstream {upstream} has a backend {id} already: update it");
                notes.problem("backend.id", message);
            }
            if let Some(health) = health(&mut notes, backend, "backend")
                && known.is_none_or(|known| known.health.is_none())
            {
                section.insert("health".to_owned(), health);
            }
            endpoints.push(made);
        }
        Backend::Remove(id) => match index_of(id) {
            Some(index) if endpoints.len() > 1 => {
                endpoints.remove(index);
            }
            Some(_) => notes.problem(
                "backend_id",
                format!(
                    "{id} is the last backend of {upstream}: disconnect it, or remove the upstream"
                ),
            ),
            None => missing(&mut notes, id),
        },
        Backend::Update(id, changes) => match (index_of(id), known) {
            (Some(index), Some(known)) => {
                let shown = endpoints.get(index).cloned().unwrap_or_default();
                let mut whole =
                    known.endpoints.get(index).map_or(Value::Null, |e| theirs(upstream, e, &shown));
                merge(&mut whole, changes);
                let made = endpoint(&mut notes, upstream, &whole, Some(&shown), "backend");
                if let Some(place) = endpoints.get_mut(index) {
                    *place = made;
                }
                if changes.get("health_check").is_some() {
                    let health = health(&mut notes, &whole, "backend").unwrap_or(Value::Null);
                    section.insert("health".to_owned(), health);
                }
            }
            _ => missing(&mut notes, id),
        },
    }
    if !notes.problems.is_empty() {
        return Err(notes.problems);
    }
    section.insert("endpoints".to_owned(), endpoints.into());
    Ok(json!({ "upstreams": { upstream: section } }))
}

/// `host:port` is a name for an endpoint too.
fn is_address(endpoint: &Endpoint, id: &str) -> bool {
    endpoint.url.split_once("://").is_some_and(|(_, address)| address == id)
}

/// An endpoint in SpeedMimi's fields; `shown` is the endpoint as it is shown by us.
pub(super) fn theirs(upstream: &str, endpoint: &Endpoint, shown: &Value) -> Value {
    let url = endpoint.url.parse::<HttpUrl>().ok();
    let id = backend_id(upstream, endpoint);
    let draining = shown.get("draining").and_then(Value::as_bool).unwrap_or(false);
    json!({
        "id": id,
        "name": id,
        "host": url.as_ref().map(|url| url.host.clone()),
        "port": url.as_ref().map(|url| url.port),
        "scheme": url.as_ref().map(|url| if url.tls { "https" } else { "http" }),
        "weight": endpoint.weight,
        "active": !draining,
        "max_conn": endpoint.connections_max,
    })
}

/// A backend's health check as the check of its upstream.
pub(super) fn health(notes: &mut Notes, backend: &Value, path: &str) -> Option<Value> {
    let written = backend.get("health_check").filter(|value| !value.is_null())?;
    let path = format!("{path}.health_check");
    notes.known(written, &path, &["path", "interval", "timeout", "failures"]);
    let field = |key: &str| written.get(key).unwrap_or(&Value::Null);
    let url = notes.text(field("path"), &format!("{path}.path"));
    let interval = notes.duration(field("interval"), &format!("{path}.interval"));
    let timeout = notes.duration(field("timeout"), &format!("{path}.timeout"));
    let failures = notes.number(field("failures"), &format!("{path}.failures"));
    Some(json!({
        "path": url.unwrap_or_else(|| "/".to_owned()),
        "interval": interval.unwrap_or_else(|| "30s".to_owned()),
        "timeout": timeout.unwrap_or_else(|| "5s".to_owned()),
        "failures": failures.unwrap_or(3),
    }))
}

/// JSON Merge Patch (RFC 7396) of plain values.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in fields {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}
