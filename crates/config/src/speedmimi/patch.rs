//! A partial document of SpeedMimi's as a merge patch of ours.

use serde_json::{Map, Value, json};

use super::value::Notes;
use super::view::{SHOWN_ONLY, route_id, view};
use super::{SECTIONS, algorithm, backend};
use crate::mask::masked_json;
use crate::model::{Config, Route};

/// What a document of SpeedMimi's means here.
#[derive(Clone, Debug)]
pub struct Patched {
    /// The merge patch of our configuration.
    pub patch: Value,
    /// What it means beyond what was written: path and message.
    pub warnings: Vec<(String, String)>,
}

/// What changes and how it was shown before.
struct Change<'c> {
    config: &'c Config,
    ours: Value,
    /// SpeedMimi's view of what is in force.
    before: Value,
    /// That view with the document merged into it.
    after: Value,
    /// The document.
    document: &'c Value,
    notes: Notes,
    patch: Map<String, Value>,
}

/// The merge patch that makes `config` say what `document` says, which may have sections of
/// SpeedMimi's and of ours; what it does not name stays. Else what is wrong: paths and messages.
pub fn patch(config: &Config, document: &Value) -> Result<Patched, Vec<(String, String)>> {
    let Value::Object(sections) = document else {
        return Err(vec![(String::new(), "a configuration is an object of sections".to_owned())]);
    };
    // SpeedMimi's clients send what its GET answered: the document in an envelope.
    if let (Some(inner), 1) = (sections.get("config"), sections.len()) {
        return patch(config, inner);
    }
    let before = without_nulls(&view(config));
    let mut after = before.clone();
    let theirs = sections.iter().filter(|(key, _)| SECTIONS.contains(&key.as_str()));
    let theirs: Map<String, Value> = theirs.map(|(k, v)| (k.clone(), v.clone())).collect();
    backend::merge(&mut after, &Value::Object(theirs));
    let after = without_nulls(&after);
    let mut change = Change {
        config,
        ours: masked_json(config),
        before,
        after,
        document,
        notes: Notes::default(),
        patch: Map::new(),
    };
    change.server();
    change.backends();
    change.routing();
    change.removals();
    change.grpc();
    if !change.notes.problems.is_empty() {
        return Err(change.notes.problems);
    }
    let mut patch = Value::Object(change.patch);
    let own = sections.iter().filter(|(key, _)| !SECTIONS.contains(&key.as_str()));
    for (key, value) in own {
        // `null` must stay one: it takes a section away.
        let mut section = patch.get(key).cloned().unwrap_or_else(|| json!({}));
        if value.is_object() {
            combine(&mut section, value);
        } else {
            section = value.clone();
        }
        if let Some(patch) = patch.as_object_mut() {
            patch.insert(key.clone(), section);
        }
    }
    Ok(Patched { patch, warnings: change.notes.warnings })
}

/// A field that is null is one that is not there.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key.clone(), without_nulls(value)))
                .collect(),
        ),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        single => single.clone(),
    }
}

/// One merge patch over another: nulls are kept.
fn combine(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                combine(under.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over.clone(),
    }
}

impl Change<'_> {
    /// The value of a field when it changes, else None.
    fn changed(&self, pointer: &str) -> Option<Value> {
        let before = self.before.pointer(pointer).unwrap_or(&Value::Null);
        let after = self.after.pointer(pointer).unwrap_or(&Value::Null);
        (before != after).then(|| after.clone())
    }

    /// Puts a value into the patch.
    fn put(&mut self, section: &str, key: &str, value: Value) {
        let section = self.patch.entry(section).or_insert_with(|| json!({}));
        if let Some(fields) = section.as_object_mut() {
            fields.insert(key.to_owned(), value);
        }
    }

    fn server(&mut self) {
        let server = self.after.get("server").cloned().unwrap_or_default();
        let keys = [
            "host",
            "port",
            "read_timeout",
            "write_timeout",
            "max_conn",
            "real_ip_header",
            "trusted_proxies",
        ];
        self.notes.known(&server, "server", &keys);
        let ssl = self.after.get("ssl").cloned().unwrap_or_default();
        self.notes.known(&ssl, "ssl", &["enabled", "cert_file", "key_file"]);
        for (theirs, ours) in
            [("read_timeout", &["head", "body"][..]), ("write_timeout", &["write_stall"][..])]
        {
            let Some(value) = self.changed(&format!("/server/{theirs}")) else { continue };
            let written = self.notes.duration(&value, &format!("server.{theirs}"));
            for key in ours {
                self.put("timeouts", key, json!(written));
            }
        }
        if let Some(value) = self.changed("/server/max_conn") {
            let number = self.notes.number(&value, "server.max_conn");
            self.put("limits", "connections", json!(number));
        }
        let mut fields = Map::new();
        if self.changed("/server/host").is_some() || self.changed("/server/port").is_some() {
            let host = self.notes.text(&server["host"], "server.host");
            let port = self.notes.number(&server["port"], "server.port");
            match bind(host.as_deref(), port) {
                Ok(bind) => {
                    fields.insert("bind".to_owned(), bind.into());
                }
                Err(message) => self.notes.problem("server.host", message),
            }
        }
        for key in ["real_ip_header", "trusted_proxies"] {
            if let Some(value) = self.changed(&format!("/server/{key}")) {
                fields.insert(key.to_owned(), value);
            }
        }
        if self.changed("/ssl").is_some() {
            let enabled = self.notes.truth(&ssl["enabled"], "ssl.enabled").unwrap_or(false);
            let tls = if enabled {
                json!([{ "cert": ssl["cert_file"], "key": ssl["key_file"] }])
            } else {
                json!([])
            };
            fields.insert("tls".to_owned(), tls);
        }
        if fields.is_empty() {
            return;
        }
        let mut listeners = self.ours["listeners"].as_array().cloned().unwrap_or_default();
        match listeners.first_mut().and_then(Value::as_object_mut) {
            Some(first) => first.extend(fields),
            None => listeners.push(Value::Object(fields)),
        }
        self.patch.insert("listeners".to_owned(), listeners.into());
    }

    fn backends(&mut self) {
        let empty = Map::new();
        let after = self.after["backends"].clone();
        let Some(after) = after.as_object() else {
            return self.notes.problem("backends", "needs a mapping of upstreams");
        };
        let before = self.before["backends"].as_object().unwrap_or(&empty).clone();
        for name in before.keys().filter(|name| !after.contains_key(*name)) {
            self.put("upstreams", name, Value::Null);
        }
        for (name, backends) in after.iter().filter(|(name, list)| before.get(*name) != Some(list))
        {
            let path = format!("backends.{name}");
            let Some(list) = backends.as_array() else {
                self.notes.problem(&path, "needs a list of backends");
                continue;
            };
            if list.is_empty() {
                self.notes.problem(&path, "needs at least one backend");
            }
            let known = self.config.upstreams.get(name);
            let shown = self.ours.pointer(&format!("/upstreams/{name}/endpoints")).cloned();
            let mut endpoints = Vec::with_capacity(list.len());
            for (index, backend) in list.iter().enumerate() {
                let id = backend.get("id").and_then(Value::as_str);
                let before = known.and_then(|known| {
                    known
                        .endpoints
                        .iter()
                        .position(|e| Some(super::backend_id(name, e).as_str()) == id)
                });
                let before = before.and_then(|index| shown.as_ref()?.get(index));
                let path = format!("{path}[{index}]");
                endpoints.push(backend::endpoint(&mut self.notes, name, backend, before, &path));
            }
            let mut section = Map::new();
            section.insert("endpoints".to_owned(), endpoints.into());
            let was = before.get(name).and_then(|list| list.get(0)).map(|b| &b["health_check"]);
            let is = list.first().map(|backend| &backend["health_check"]);
            if is.is_some() && is != Some(was.unwrap_or(&Value::Null)) {
                let health = list
                    .first()
                    .and_then(|b| backend::health(&mut self.notes, b, &format!("{path}[0]")));
                section.insert("health".to_owned(), health.unwrap_or_default());
            }
            self.put("upstreams", name, Value::Object(section));
        }
    }

    fn routing(&mut self) {
        if self.changed("/routing").is_none() {
            return;
        }
        let after = self.after["routing"].clone();
        let Some(after) = after.as_object() else {
            return self.notes.problem("routing", "needs a mapping of rules");
        };
        let shown = self.ours["routes"].as_array().cloned().unwrap_or_default();
        let before = self.before["routing"].clone();
        let mut routes = Vec::with_capacity(shown.len());
        let mut changed = false;
        for (index, (route, shown)) in self.config.routes.iter().zip(shown).enumerate() {
            let id = route_id(index, route);
            match (before.get(&id), after.get(&id)) {
                (Some(before), Some(rule)) if before != rule => {
                    let mut shown = shown;
                    for key in ["path", "upstream"] {
                        if rule.get(key) != before.get(key) {
                            shown[key] = rule.get(key).cloned().unwrap_or_default();
                            changed = true;
                        }
                    }
                    let path = format!("routing.{id}");
                    if !route.split.is_empty() && rule.get("upstream") != before.get("upstream") {
                        shown["split"] = json!([]);
                        let message = "takes all that the split of this route has shared out";
                        self.notes.warning(&format!("{path}.upstream"), message);
                    }
                    for key in SHOWN_ONLY.iter().filter(|key| rule.get(key) != before.get(key)) {
                        let message = format!("is only shown here: change {key} in `routes`");
                        self.notes.problem(&format!("{path}.{key}"), message);
                    }
                    routes.push(shown);
                    self.balance(&id, rule, Some(before));
                }
                (Some(_), None) => changed = true,
                _ => routes.push(shown),
            }
        }
        for (id, rule) in after.iter().filter(|(id, _)| before.get(id.as_str()).is_none()) {
            changed = true;
            let path = format!("routing.{id}");
            let upstream = self.notes.text(&rule["upstream"], &format!("{path}.upstream"));
            if upstream.is_none() {
                self.notes.problem(&format!("{path}.upstream"), "is missing");
            }
            let prefix = self.notes.text(&rule["path"], &format!("{path}.path"));
            routes.push(json!({
                "name": super::value::plain_name(id),
                "path": prefix.unwrap_or_else(|| "/".to_owned()),
                "upstream": upstream,
            }));
            self.balance(id, rule, None);
        }
        if changed {
            self.patch.insert("routes".to_owned(), routes.into());
        }
    }

    /// An upstream that goes while a route leads to it: alone, in a split or as a mirror.
    fn removals(&mut self) {
        // Who writes the routes in our own words hears from the check.
        if self.document.get("routes").is_some() {
            return;
        }
        let gone = |(name, section): (&String, &Value)| section.is_null().then(|| name.clone());
        let upstreams = self.patch.get("upstreams").and_then(Value::as_object);
        let removed: Vec<String> = upstreams.into_iter().flatten().filter_map(gone).collect();
        let routes = self.patch.get("routes").unwrap_or(&self.ours["routes"]);
        let routes = routes.as_array().cloned().unwrap_or_default();
        for name in removed {
            let leads_there = |route: &&Value| {
                let shares = route["split"].as_array().into_iter().flatten();
                let places = [&route["upstream"], &route["mirror"]["upstream"]];
                places.into_iter().chain(shares.map(|s| &s["upstream"])).any(|to| *to == *name)
            };
            if let Some(route) = routes.iter().find(leads_there) {
                let id = route["name"].as_str().or(route["path"].as_str()).unwrap_or_default();
                let message = format!("cannot go: the route {id} leads there");
                self.notes.problem(&format!("backends.{name}"), message);
            }
        }
    }

    /// What a rule says of balancing, put into its upstream. `load_balancer` is for the kinds of
    /// traffic that `protocols` does not name; when it changes, so do those that followed it.
    fn balance(&mut self, id: &str, rule: &Value, before: Option<&Value>) {
        let path = format!("routing.{id}");
        let keys = ["path", "upstream", "load_balancer", "protocols", "split", "mirror"];
        self.notes.known(rule, &path, &keys);
        let Some(upstream) = rule.get("upstream").and_then(Value::as_str) else { return };
        let named = self.document.pointer(&format!("/routing/{id}/protocols"));
        let named =
            named.or_else(|| self.document.pointer(&format!("/config/routing/{id}/protocols")));
        let was = before.map(|before| before["load_balancer"].clone());
        let general = &rule["load_balancer"];
        let mut balance = Map::new();
        for kind in ["http", "websocket", "sse"] {
            let follows = named.and_then(|named| named.get(kind)).is_none()
                && before.is_none_or(|before| Some(&before["protocols"][kind]) == was.as_ref());
            let own = rule.pointer(&format!("/protocols/{kind}")).unwrap_or(&Value::Null);
            let (value, field) = if (follows && !general.is_null()) || own.is_null() {
                (general, "load_balancer".to_owned())
            } else {
                (own, format!("protocols.{kind}"))
            };
            let field = format!("{path}.{field}");
            let Some(name) = self.notes.text(value, &field) else { continue };
            match algorithm(&name) {
                Some(ours) => {
                    balance.insert(kind.to_owned(), ours.into());
                }
                None => self.notes.problem(&field, format!("{name} is no way to balance")),
            }
        }
        let https = rule.pointer("/protocols/https");
        let http = rule.pointer("/protocols/http");
        if named.and_then(|named| named.get("https")).is_some() && https != http {
            let path = format!("{path}.protocols.https");
            self.notes.warning(&path, "has no effect: https is balanced as http");
        }
        let now = self.ours.pointer(&format!("/upstreams/{upstream}/balance"));
        if balance.is_empty() || now == Some(&Value::Object(balance.clone())) {
            return;
        }
        let leads_there = |route: &&Route| route.upstreams().any(|name| name == upstream);
        if self.config.routes.iter().filter(leads_there).count() > 1 {
            let message = format!("changes how every route to {upstream} is balanced");
            self.notes.warning(&path, message);
        }
        if rule.get("split").is_some_and(|split| before.is_some_and(|b| b["split"] == *split)) {
            let message = format!("changes {upstream} alone, not the others of the split");
            self.notes.warning(&path, message);
        }
        let mut section = self.patch.get("upstreams").and_then(|u| u.get(upstream)).cloned();
        let section = section.get_or_insert_with(|| json!({}));
        section["balance"] = Value::Object(balance);
        self.put("upstreams", upstream, section.clone());
    }

    fn grpc(&mut self) {
        if self.changed("/grpc").is_none() {
            return;
        }
        let grpc = self.after["grpc"].clone();
        self.notes.known(&grpc, "grpc", &["enabled", "host", "port"]);
        if grpc["enabled"] != json!(true) {
            return self.notes.problem(
                "grpc.enabled",
                "would close the listener that this came over: take `admin` out of the file instead",
            );
        }
        let host = self.notes.text(&grpc["host"], "grpc.host");
        let port = self.notes.number(&grpc["port"], "grpc.port");
        match bind(host.as_deref(), port) {
            Ok(bind) => self.put("admin", "bind", bind.into()),
            Err(message) => self.notes.problem("grpc.host", message),
        }
    }
}

/// Host and port of SpeedMimi's as an address to bind.
pub(super) fn bind(host: Option<&str>, port: Option<u64>) -> Result<String, String> {
    let port = port
        .filter(|port| *port <= 65_535)
        .ok_or_else(|| "needs a port from 1 to 65535 beside it".to_owned())?;
    let host = match host {
        None => "0.0.0.0",
        Some("localhost") => "127.0.0.1",
        Some(host) => host.trim_matches(['[', ']']),
    };
    match host.parse::<std::net::IpAddr>() {
        Ok(ip) => Ok(std::net::SocketAddr::new(ip, port as u16).to_string()),
        Err(_) => Err("needs an IP address of this machine".to_owned()),
    }
}
