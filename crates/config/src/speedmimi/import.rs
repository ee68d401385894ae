//! A SpeedMimi file as a YAML text of ours.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::backend::{self, endpoint};
use super::patch::bind;
use super::value::{Notes, plain_name};
use super::{SECTIONS, algorithm, is_weighted};
use crate::edit::{Document, document_text};
use crate::expand::Environment;
use crate::load::load;
use crate::mask::masked_json;
use crate::model::{Config, Listener};
use crate::problem::{Collector, Position, Problem, Problems};
use crate::tree::{self, Kind, Node};

/// Connections where nothing is written: SpeedMimi's default.
const CONNECTIONS: u64 = 10_000;

/// The most that `limits.connections` and `limits.requests` take.
const CONNECTIONS_MAX: u64 = 10_000_000;
const REQUESTS_MAX: u64 = 1_000_000;

/// Stands for the admin token while the result is checked, where the environment has none.
const ANY_TOKEN: &str = "any-token-will-do-here";

/// What an import gives.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The configuration, with what has no counterpart in comments at its top.
    pub yaml: String,
    /// What has no counterpart, and what the result still needs.
    pub warnings: Vec<Problem>,
}

/// Reads the text of a SpeedMimi configuration and writes one of ours that does the same.
/// `file_name` is what problems are reported under; `env` answers `${TIDEGATE_ADMIN_TOKEN}` while
/// the result is checked.
pub fn import_speedmimi(
    text: &str,
    file_name: &str,
    env: &Environment,
) -> Result<Imported, Problems> {
    let mut collector = Collector::new(file_name);
    let root = match tree::parse(text, &mut collector) {
        Ok(root) => root,
        Err(unreadable) => {
            collector.problem(unreadable.at, "", &unreadable.message, None);
            return Err(collector.into_problems());
        }
    };
    let mut places = BTreeMap::new();
    let document = root.as_ref().map_or(Value::Null, |node| plain(node, "", &mut places));
    let mut notes = Notes::default();
    let sections = translated(&document, &mut notes);
    for (path, message) in &notes.problems {
        collector.problem(place(&places, path), path, message, None);
    }
    for (path, message) in &notes.warnings {
        collector.warning(place(&places, path), path, message);
    }
    let mut warnings = collector.finish()?;
    let mut yaml = String::from(
        "# Imported from SpeedMimi. TIDEGATE_ADMIN_TOKEN is read from the environment.\n",
    );
    for warning in &warnings {
        yaml.extend(["# ", &warning.path, ": ", &warning.message, "\n"]);
    }
    yaml.push_str(&document_text(&sections));
    let with_token = |name: &str| {
        env(name).or_else(|| (name == "TIDEGATE_ADMIN_TOKEN").then(|| ANY_TOKEN.to_owned()))
    };
    match load(&yaml, "the imported configuration", &with_token) {
        Ok(loaded) => warnings.extend(loaded.warnings),
        Err(problems) => warnings.extend(problems.0),
    }
    Ok(Imported { yaml, warnings })
}

/// The tree as JSON, and where everything stands.
fn plain(node: &Node, path: &str, places: &mut BTreeMap<String, Position>) -> Value {
    places.insert(path.to_owned(), node.at);
    match &node.kind {
        Kind::Scalar { .. } if node.is_null() => Value::Null,
        Kind::Scalar { text, plain: true } if matches!(text.as_str(), "true" | "false") => {
            Value::Bool(text == "true")
        }
        Kind::Scalar { text, plain: true } => {
            text.parse::<u64>().map_or_else(|_| Value::from(text.as_str()), Value::from)
        }
        Kind::Scalar { text, .. } => Value::from(text.as_str()),
        Kind::Seq(items) => items
            .iter()
            .enumerate()
            .map(|(index, item)| plain(item, &format!("{path}[{index}]"), places))
            .collect(),
        Kind::Map(entries) => Value::Object(
            entries
                .iter()
                .map(|entry| {
                    let path = crate::reader::below(path, &entry.key);
                    (entry.key.clone(), plain(&entry.value, &path, places))
                })
                .collect(),
        ),
    }
}

/// Where a field stands, or the nearest thing around it.
fn place(places: &BTreeMap<String, Position>, path: &str) -> Position {
    let mut path = path;
    loop {
        if let Some(at) = places.get(path) {
            return *at;
        }
        match path.rfind(['.', '[']) {
            Some(end) => path = path.get(..end).unwrap_or(""),
            None => return Position::default(),
        }
    }
}

/// Our sections in the order in which they are printed.
fn translated(document: &Value, notes: &mut Notes) -> Vec<(String, Document)> {
    notes.known(document, "", &SECTIONS);
    let section = |key: &str| document.get(key).cloned().unwrap_or_default();
    let mut sections = Vec::new();
    let mut put = |key: &str, value: &Value| {
        let empty = value.as_object().is_some_and(Map::is_empty)
            || value.as_array().is_some_and(Vec::is_empty);
        if !empty && !value.is_null() {
            sections.push((key.to_owned(), Document::from_json(value)));
        }
    };
    let (listener, limits, timeouts) = server(&section("server"), &section("ssl"), notes);
    put("listeners", &json!([listener]));
    put("admin", &admin(&section("grpc"), notes));
    put("limits", &limits);
    put("timeouts", &timeouts);
    let mut upstreams = upstreams(&section("backends"), notes);
    let routes = routes(&section("routing"), &mut upstreams, notes);
    put("upstreams", &Value::Object(upstreams));
    put("routes", &routes);
    sections
}

fn server(server: &Value, ssl: &Value, notes: &mut Notes) -> (Value, Value, Value) {
    let keys = [
        "host",
        "port",
        "read_timeout",
        "write_timeout",
        "max_conn",
        "real_ip_header",
        "trusted_proxies",
    ];
    notes.known(server, "server", &keys);
    notes.known(ssl, "ssl", &["enabled", "cert_file", "key_file"]);
    let field = |key: &str| server.get(key).unwrap_or(&Value::Null);
    let mut listener = Map::new();
    let host = notes.text(field("host"), "server.host");
    let port = notes.number(field("port"), "server.port");
    match bind(host.as_deref(), port) {
        Ok(bind) => {
            listener.insert("bind".to_owned(), bind.into());
        }
        Err(message) if port.is_none() => notes.problem("server.port", message),
        Err(message) => notes.problem("server.host", message),
    }
    let ssl_field = |key: &str| ssl.get(key).unwrap_or(&Value::Null);
    if notes.truth(ssl_field("enabled"), "ssl.enabled").unwrap_or(false) {
        let mut pair = Map::new();
        for (theirs, ours) in [("cert_file", "cert"), ("key_file", "key")] {
            let path = format!("ssl.{theirs}");
            match notes.text(ssl_field(theirs), &path) {
                Some(file) => {
                    pair.insert(ours.to_owned(), file.into());
                }
                None => notes.problem(&path, "is missing"),
            }
        }
        listener.insert("tls".to_owned(), json!([pair]));
    }
    let proxies = field("trusted_proxies");
    let trusted = proxies.as_array().is_some_and(|proxies| !proxies.is_empty());
    if trusted {
        listener.insert("trusted_proxies".to_owned(), proxies.clone());
        let header = notes.text(field("real_ip_header"), "server.real_ip_header");
        let header = header.unwrap_or_else(|| "X-Real-IP".to_owned());
        if has_real_ip_header() {
            listener.insert("real_ip_header".to_owned(), header.into());
        } else {
            let message = format!("{header} is not read: callers are known by PROXY headers only");
            notes.warning("server.real_ip_header", message);
        }
    } else if !proxies.is_null() && !proxies.is_array() {
        notes.problem("server.trusted_proxies", "needs a list of networks");
    } else if notes.text(field("real_ip_header"), "server.real_ip_header").is_some() {
        notes.warning("server.real_ip_header", "has no effect without trusted_proxies: left out");
    }
    let connections = notes.number(field("max_conn"), "server.max_conn").unwrap_or(CONNECTIONS);
    // There was one limit: requests are bounded by the connections that they come over.
    let limits = json!({
        "connections": connections.min(CONNECTIONS_MAX),
        "requests": connections.min(REQUESTS_MAX),
    });
    if connections > CONNECTIONS_MAX {
        notes.warning("server.max_conn", format!("is {CONNECTIONS_MAX} here, the most there is"));
    }
    if connections > REQUESTS_MAX {
        let message =
            format!("requests in flight are bounded at {REQUESTS_MAX}, the most there is");
        notes.warning("server.max_conn", message);
    }
    let mut timeouts = Map::new();
    if let Some(read) = notes.duration(field("read_timeout"), "server.read_timeout") {
        timeouts.insert("head".to_owned(), read.clone().into());
        timeouts.insert("body".to_owned(), read.into());
    }
    if let Some(write) = notes.duration(field("write_timeout"), "server.write_timeout") {
        timeouts.insert("write_stall".to_owned(), write.into());
    }
    (Value::Object(listener), limits, Value::Object(timeouts))
}

/// Do listeners have that key? What is printed must load.
fn has_real_ip_header() -> bool {
    let shown = masked_json(&Config { listeners: vec![Listener::default()], ..Config::default() });
    shown.pointer("/listeners/0/real_ip_header").is_some()
}

/// The admin listener, never without a token.
fn admin(grpc: &Value, notes: &mut Notes) -> Value {
    notes.known(grpc, "grpc", &["enabled", "host", "port"]);
    let field = |key: &str| grpc.get(key).unwrap_or(&Value::Null);
    if !notes.truth(field("enabled"), "grpc.enabled").unwrap_or(false) {
        return Value::Null;
    }
    let host = notes.text(field("host"), "grpc.host");
    let port = notes.number(field("port"), "grpc.port").unwrap_or(9091);
    match bind(host.as_deref(), Some(port)) {
        Ok(bind) => json!({ "bind": bind, "token": "${TIDEGATE_ADMIN_TOKEN}" }),
        Err(message) => {
            notes.problem("grpc.host", message);
            Value::Null
        }
    }
}

fn upstreams(backends: &Value, notes: &mut Notes) -> Map<String, Value> {
    let mut upstreams = Map::new();
    let Some(lists) = backends.as_object() else {
        notes.problem("backends", "needs a mapping of upstreams");
        return upstreams;
    };
    for (written, list) in lists {
        let path = format!("backends.{written}");
        let name = plain_name(written);
        if name != *written {
            notes.warning(&path, format!("is called \"{name}\" here"));
        }
        let Some(list) = list.as_array().filter(|list| !list.is_empty()) else {
            notes.problem(&path, "needs a list of at least one backend");
            continue;
        };
        let mut endpoints = Vec::with_capacity(list.len());
        let mut check: Option<Value> = None;
        let mut differs = false;
        for (index, backend) in list.iter().enumerate() {
            let path = format!("{path}[{index}]");
            endpoints.push(endpoint(notes, &name, backend, None, &path));
            let shown = backend.get("name").and_then(Value::as_str);
            if let Some(shown) = shown.filter(|shown| backend["id"].as_str() != Some(shown)) {
                let message = format!("\"{shown}\" is shown nowhere: an endpoint's name is its id");
                notes.warning(&format!("{path}.name"), message);
            }
            let health = backend::health(notes, backend, &path);
            differs |= index > 0 && health != check;
            check = check.or(health);
        }
        if differs {
            let message =
                "the backends are checked in different ways: here all are, in the first way";
            notes.warning(&path, message);
        }
        let mut upstream = Map::new();
        upstream.insert("endpoints".to_owned(), endpoints.into());
        if let Some(health) = check {
            upstream.insert("health".to_owned(), bounded(health, &path, notes));
        }
        upstreams.insert(name, Value::Object(upstream));
    }
    upstreams
}

/// A probe that takes longer than the time to the next is none that could be kept.
fn bounded(mut health: Value, path: &str, notes: &mut Notes) -> Value {
    let read = |value: &Value| crate::duration::parse_duration(value.as_str().unwrap_or("")).ok();
    if let (Some(timeout), Some(interval)) = (read(&health["timeout"]), read(&health["interval"]))
        && timeout > interval
    {
        notes
            .warning(path, "health_check.timeout is more than the interval: the interval is taken");
        health["timeout"] = health["interval"].clone();
    }
    health
}

fn routes(routing: &Value, upstreams: &mut Map<String, Value>, notes: &mut Notes) -> Value {
    let Some(rules) = routing.as_object() else {
        notes.problem("routing", "needs a mapping of rules");
        return Value::Null;
    };
    let mut routes: Vec<Value> = Vec::with_capacity(rules.len());
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    for (written, rule) in rules {
        let path = format!("routing.{written}");
        notes.known(rule, &path, &["path", "upstream", "load_balancer", "protocols"]);
        let name = plain_name(written);
        if name != *written {
            notes.warning(&path, format!("is called \"{name}\" here"));
        }
        let field = |key: &str| rule.get(key).unwrap_or(&Value::Null);
        let prefix = notes.text(field("path"), &format!("{path}.path"));
        let prefix = prefix.unwrap_or_else(|| "/".to_owned());
        if let Some(other) = taken.get(&prefix) {
            let message = format!("the same path as routing.{other}, which is taken: left out");
            notes.warning(&path, message);
            continue;
        }
        taken.insert(prefix.clone(), written.clone());
        let upstream_path = format!("{path}.upstream");
        let Some(upstream) = notes.text(field("upstream"), &upstream_path) else {
            notes.problem(&upstream_path, "is missing");
            continue;
        };
        let upstream = plain_name(&upstream);
        let Some(known) = upstreams.get(&upstream).cloned() else {
            let message = format!("there is no upstream {upstream} among the backends");
            notes.problem(&upstream_path, message);
            continue;
        };
        let (balance, weighted) = balance(rule, &path, notes);
        let target = match known.get("balance") {
            None => {
                put_balance(upstreams, &upstream, balance, weighted);
                upstream
            }
            Some(other) if *other == balance => upstream,
            // Balance belongs to the upstream here: another way needs another upstream.
            Some(_) => {
                let copy = plain_name(&format!("{upstream}-{name}"));
                let message = format!(
                    "balances {upstream} in its own way: it leads to {copy}, which has the same endpoints"
                );
                notes.warning(&path, message);
                upstreams.insert(copy.clone(), known);
                put_balance(upstreams, &copy, balance, weighted);
                copy
            }
        };
        routes.push(json!({ "name": name, "path": prefix, "upstream": target }));
    }
    routes.into()
}

fn put_balance(upstreams: &mut Map<String, Value>, name: &str, balance: Value, weighted: bool) {
    let Some(upstream) = upstreams.get_mut(name).and_then(Value::as_object_mut) else { return };
    // Ways that did not look at weights must not begin to.
    if !weighted
        && let Some(endpoints) = upstream.get_mut("endpoints").and_then(Value::as_array_mut)
    {
        for endpoint in endpoints.iter_mut().filter_map(Value::as_object_mut) {
            endpoint.remove("weight");
        }
    }
    upstream.insert("balance".to_owned(), balance);
}

/// How a rule balances each kind of traffic, and whether it looked at weights there.
fn balance(rule: &Value, path: &str, notes: &mut Notes) -> (Value, bool) {
    let protocols = rule.get("protocols").cloned().unwrap_or_default();
    notes.known(&protocols, &format!("{path}.protocols"), &["websocket", "sse", "http", "https"]);
    let mut kinds = Map::new();
    let mut weighted = false;
    let mut unweighted = None;
    for kind in ["http", "websocket", "sse", "https"] {
        let own = protocols.get(kind).filter(|value| !value.is_null());
        let (value, field) = match own {
            Some(own) => (own, format!("{path}.protocols.{kind}")),
            None => {
                (rule.get("load_balancer").unwrap_or(&Value::Null), format!("{path}.load_balancer"))
            }
        };
        let name =
            notes.text(value, &field).unwrap_or_else(|| "least_connections_weight".to_owned());
        let Some(ours) = algorithm(&name) else {
            notes.problem(&field, format!("{name} is no way to balance"));
            continue;
        };
        if kind == "https" {
            if kinds.get("http").is_some_and(|http| *http != ours) {
                notes.warning(&field, "differs from http: both are balanced as http here");
            }
            continue;
        }
        if name == "least_connections" {
            unweighted = Some(field);
        }
        weighted |= name != "least_connections" && is_weighted(ours);
        kinds.insert(kind.to_owned(), ours.into());
    }
    if let (true, Some(field)) = (weighted, unweighted) {
        let message = "least_connections counts in proportion to the weights here";
        notes.warning(&field, message);
    }
    (Value::Object(kinds), weighted)
}
