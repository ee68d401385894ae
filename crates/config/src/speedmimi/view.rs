//! A configuration of ours as SpeedMimi's users know it.

use serde_json::{Map, Value, json};

use super::{backend, their_algorithm};
use crate::mask::masked_json;
use crate::model::{Config, Route};

/// The sections of SpeedMimi's document that say what `config` says, as far as they can. Routes
/// that lead elsewhere than to upstreams are not in it.
pub fn view(config: &Config) -> Value {
    let ours = masked_json(config);
    let listener = ours.pointer("/listeners/0").cloned().unwrap_or_default();
    let field = |key: &str| listener.get(key).cloned().unwrap_or_default();
    let bind = config.listeners.first().map(|listener| listener.bind);
    let certificate = listener.pointer("/tls/0").cloned().unwrap_or_default();
    let text = |pointer: &str| ours.pointer(pointer).cloned().unwrap_or_default();
    let mut view = json!({
        "server": {
            "host": bind.map(|bind| bind.ip().to_string()),
            "port": bind.map(|bind| bind.port()),
            "read_timeout": text("/timeouts/head"),
            "write_timeout": text("/timeouts/write_stall"),
            "max_conn": config.limits.connections,
            "real_ip_header": field("real_ip_header"),
            "trusted_proxies": field("trusted_proxies"),
        },
        "ssl": {
            "enabled": certificate.is_object(),
            "cert_file": certificate.get("cert").cloned().unwrap_or_default(),
            "key_file": certificate.get("key").cloned().unwrap_or_default(),
        },
        "grpc": match &config.admin {
            Some(admin) => json!({
                "enabled": true,
                "host": admin.bind.ip().to_string(),
                "port": admin.bind.port(),
            }),
            None => json!({ "enabled": false }),
        },
    });
    let mut backends = Map::new();
    for (name, upstream) in &config.upstreams {
        let shown = ours.pointer(&format!("/upstreams/{name}/endpoints"));
        let health = upstream.health.as_ref().and_then(|_| {
            let health = ours.pointer(&format!("/upstreams/{name}/health"))?;
            let field = |key: &str| health.get(key).cloned().unwrap_or_default();
            Some(json!({
                "path": field("path"),
                "interval": field("interval"),
                "timeout": field("timeout"),
                "failures": field("failures"),
            }))
        });
        let list: Vec<Value> = upstream
            .endpoints
            .iter()
            .enumerate()
            .map(|(index, endpoint)| {
                let shown = shown.and_then(|list| list.get(index)).unwrap_or(&Value::Null);
                let mut backend = backend::theirs(name, endpoint, shown);
                if let Some(fields) = backend.as_object_mut() {
                    fields.insert("health_check".to_owned(), health.clone().unwrap_or_default());
                }
                backend
            })
            .collect();
        backends.insert(name.clone(), list.into());
    }
    let mut routing = Map::new();
    for (index, route) in config.routes.iter().enumerate() {
        let Some(upstream) = shown_upstream(route) else { continue };
        let Some(balance) = config.upstreams.get(upstream).map(|upstream| upstream.balance) else {
            continue;
        };
        let [http, websocket, sse] = [balance.http, balance.websocket, balance.sse]
            .map(|algorithm| their_algorithm(algorithm.as_str()).to_owned());
        let mut rule = json!({
            "path": route.path,
            "upstream": upstream,
            "load_balancer": http.clone(),
            "protocols": { "websocket": websocket, "sse": sse, "http": http.clone(), "https": http },
        });
        for key in SHOWN_ONLY {
            let ours = ours.pointer(&format!("/routes/{index}/{key}"));
            if let Some(value) = ours.filter(|value| !value.is_null() && **value != json!([])) {
                rule[key] = value.clone();
            }
        }
        routing.insert(route_id(index, route), rule);
    }
    if let Some(view) = view.as_object_mut() {
        view.insert("backends".to_owned(), backends.into());
        view.insert("routing".to_owned(), routing.into());
    }
    view
}

/// What SpeedMimi's rules had no counterpart for; a rule shows it as it stands in our route.
pub(super) const SHOWN_ONLY: [&str; 2] = ["split", "mirror"];

/// The upstream that a rule of SpeedMimi's can name: of a split the one that gets the most.
fn shown_upstream(route: &Route) -> Option<&str> {
    // Of equal ones the first: `max_by_key` would take the last.
    let most = route.split.iter().rev().max_by_key(|share| share.weight);
    route.upstream.as_deref().or(most.map(|share| share.upstream.as_str()))
}

/// What a route is called in SpeedMimi's documents: its name, else its place.
pub(super) fn route_id(index: usize, route: &Route) -> String {
    route.name.clone().unwrap_or_else(|| format!("route-{index}"))
}
