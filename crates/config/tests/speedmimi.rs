//! SpeedMimi's files and documents in our vocabulary.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use tidegate_config::speedmimi::{
    Backend, BackendChange, backend_patch, import_speedmimi, patch, view,
};
use tidegate_config::{Algorithm, Config, edited, load};

fn env(name: &str) -> Option<String> {
    (name == "TIDEGATE_ADMIN_TOKEN").then(|| "admin-token-of-the-test".to_owned())
}

fn no_env(_: &str) -> Option<String> {
    None
}

fn config(text: &str) -> Config {
    load(text, "t.yaml", &env).unwrap_or_else(|problems| panic!("{problems}\n{text}")).config
}

const OLD: &str = r#"
server:
  host: "0.0.0.0"
  port: 8080
  read_timeout: 30s
  write_timeout: 1m30s
  max_conn: 20000
backends:
  default:
    - id: "backend1"
      name: "Backend Server 1"
      host: "127.0.0.1"
      port: 8081
      weight: 100
      scheme: "http"
      active: true
      max_conn: 500
      health_check: { path: "/health", interval: 30s, timeout: 5s, failures: 3 }
    - id: "backend2"
      host: "127.0.0.1"
      port: 8082
      weight: 50
      health_check: { path: "/health", interval: 30s, timeout: 5s, failures: 3 }
  api:
    - { host: api.internal, port: 8443, scheme: https }
routing:
  default:
    path: "/"
    upstream: "default"
    load_balancer: "least_connections_weight"
    protocols: { websocket: ip_hash, sse: ip_hash, http: least_connections_weight, https: least_connections_weight }
  api: { path: /api/, upstream: api, load_balancer: weight }
grpc: { enabled: true, host: "127.0.0.1", port: 9091 }
"#;

fn imported(text: &str) -> (Config, Vec<String>) {
    let imported = import_speedmimi(text, "old.yaml", &no_env).unwrap_or_else(|p| panic!("{p}"));
    let warnings = imported.warnings.iter().map(ToString::to_string).collect();
    (config(&imported.yaml), warnings)
}

#[test]
fn a_file_becomes_a_configuration_that_does_the_same() {
    let (config, warnings) = imported(OLD);
    assert_eq!(config.listeners[0].bind, "0.0.0.0:8080".parse().unwrap());
    assert_eq!((config.limits.connections, config.limits.requests), (20_000, 20_000));
    assert_eq!(config.timeouts.head.as_secs(), 30);
    assert_eq!(config.timeouts.body.as_secs(), 30);
    assert_eq!(config.timeouts.write_stall.as_secs(), 90);
    let admin = config.admin.as_ref().unwrap();
    assert_eq!(admin.token.as_ref().unwrap().reference(), Some("${TIDEGATE_ADMIN_TOKEN}"));
    let app = &config.upstreams["default"];
    let seen: Vec<_> = app
        .endpoints
        .iter()
        .map(|e| (e.name.as_deref(), e.url.as_str(), e.weight, e.connections_max))
        .collect();
    assert_eq!(
        seen,
        [
            (Some("backend1"), "http://127.0.0.1:8081", 100, Some(500)),
            (Some("backend2"), "http://127.0.0.1:8082", 50, Some(1000)),
        ]
    );
    let health = app.health.as_ref().unwrap();
    assert_eq!(
        (health.path.as_str(), health.interval.as_secs(), health.failures),
        ("/health", 30, 3)
    );
    assert_eq!(app.balance.http, Algorithm::LeastConnections);
    assert_eq!(app.balance.websocket, Algorithm::IpHash);
    assert_eq!(config.upstreams["api"].endpoints[0].url, "https://api.internal:8443");
    assert_eq!(config.upstreams["api"].balance.sse, Algorithm::WeightedRoundRobin);
    let names: Vec<_> =
        config.routes.iter().map(|r| (r.name.as_deref(), r.path.as_str())).collect();
    assert_eq!(names, [(Some("api"), "/api/"), (Some("default"), "/")]);
    assert!(warnings.iter().any(|w| w.contains("Backend Server 1")), "{warnings:?}");
}

#[test]
fn what_has_no_counterpart_is_said() {
    let text = OLD
        .replace("  port: 8080", "  port: 8080\n  real_ip_header: X-Real-IP\n  colour: red")
        .replace("https: least_connections_weight }", "https: weight }");
    let (_, warnings) = imported(&text);
    for words in ["old.yaml:5:", "server.colour", "server.real_ip_header", "protocols.https"] {
        assert!(warnings.iter().any(|w| w.contains(words)), "{words} in {warnings:#?}");
    }
}

#[test]
fn trusted_proxies_and_certificates_belong_to_the_listener() {
    let text = OLD.replace(
        "  max_conn: 20000",
        "  real_ip_header: X-Real-IP\n  trusted_proxies: [127.0.0.1/32, 10.0.0.0/8]\nssl: { enabled: true, cert_file: a.crt, key_file: a.key }",
    );
    let (config, _) = imported(&text);
    assert_eq!(config.listeners[0].trusted_proxies.len(), 2);
    assert_eq!(config.listeners[0].tls.len(), 1);
    assert_eq!(config.limits.connections, 10_000);
    let performance =
        OLD.replace("load_balancer: weight", "load_balancer: performance_least_connections_weight");
    assert_eq!(imported(&performance).0.upstreams["api"].balance.http, Algorithm::Performance);
    let inactive = OLD.replace("active: true", "active: false");
    assert!(imported(&inactive).0.upstreams["default"].endpoints[0].draining);
}

#[test]
fn two_ways_to_balance_one_upstream_make_two() {
    let text = OLD.replace("upstream: api,", "upstream: default,");
    let (config, warnings) = imported(&text);
    assert_eq!(config.upstreams.len(), 3);
    assert_eq!(config.routes[1].upstream.as_deref(), Some("default-default"));
    assert!(warnings.iter().any(|w| w.contains("default-default")), "{warnings:?}");
}

#[test]
fn weights_stay_out_where_nothing_looked_at_them() {
    let text = OLD.replace("least_connections_weight", "least_connections");
    let (config, _) = imported(&text);
    assert!(config.upstreams["default"].endpoints.iter().all(|endpoint| endpoint.weight == 1));
}

#[test]
fn every_problem_of_a_file_is_told_with_its_place() {
    let text = "\
server: { port: 0 }
backends:
  a: [{ port: 99999, scheme: ftp }]
routing:
  r: { path: /, upstream: b, load_balancer: guess }
";
    let problems = import_speedmimi(text, "old.yaml", &no_env).unwrap_err().to_string();
    for words in [
        "old.yaml:1:",
        "server.port",
        "old.yaml:3:",
        "backends.a[0].host",
        "backends.a[0].port",
        "backends.a[0].scheme",
        "routing.r.upstream",
    ] {
        assert!(problems.contains(words), "{words} in\n{problems}");
    }
    assert!(import_speedmimi("a: [", "old.yaml", &no_env).is_err());
}

/// Applies a SpeedMimi document to an imported file; the configuration and the text after it.
fn put(text: &str, document: &Value) -> (Config, String) {
    let before = config(text);
    let patched = patch(&before, document).unwrap_or_else(|problems| panic!("{problems:?}"));
    let after = edited(text, &before, &patched.patch).unwrap();
    (config(&after), after)
}

fn ours() -> String {
    import_speedmimi(OLD, "old.yaml", &no_env).unwrap().yaml
}

#[test]
fn the_documented_partial_document_changes_the_balance() {
    let (config, text) =
        put(&ours(), &json!({ "routing": { "default": { "load_balancer": "weight" } } }));
    let balance = config.upstreams["default"].balance;
    assert_eq!(balance.http, Algorithm::WeightedRoundRobin);
    assert_eq!((balance.websocket, balance.sse), (Algorithm::IpHash, Algorithm::IpHash));
    assert!(text.contains("${TIDEGATE_ADMIN_TOKEN}"));
    let named =
        json!({ "routing": { "default": { "protocols": { "sse": "least_connections" } } } });
    assert_eq!(
        put(&ours(), &named).0.upstreams["default"].balance.sse,
        Algorithm::LeastConnections
    );
}

#[test]
fn what_get_shows_put_takes_and_changes_nothing() {
    let text = ours();
    let shown = view(&config(&text));
    assert_eq!(put(&text, &shown).1, text);
    assert_eq!(put(&text, &json!({ "config": shown })).1, text);
    assert_eq!(shown["routing"]["default"]["load_balancer"], "least_connections_weight");
    assert_eq!(shown["backends"]["default"][0]["id"], "backend1");
    assert_eq!(shown["backends"]["api"][0]["id"], "api-api.internal-8443");
    assert_eq!(shown["grpc"], json!({ "enabled": true, "host": "127.0.0.1", "port": 9091 }));
}

#[test]
fn sections_of_both_vocabularies_are_merged() {
    let document = json!({
        "server": { "max_conn": 30000, "read_timeout": "20s", "port": 8090 },
        "limits": { "requests": 77 },
        "routing": { "extra": { "path": "/extra/", "upstream": "api" }, "api": null },
    });
    let (config, _) = put(&ours(), &document);
    assert_eq!((config.limits.connections, config.limits.requests), (30_000, 77));
    assert_eq!(config.timeouts.body.as_secs(), 20);
    assert_eq!(config.listeners[0].bind.port(), 8090);
    let names: Vec<_> = config.routes.iter().filter_map(|r| r.name.as_deref()).collect();
    assert_eq!(names, ["default", "extra"]);
}

#[test]
fn a_wrong_document_is_refused_with_every_problem() {
    let config = config(&ours());
    let document = json!({
        "server": { "read_timeout": "soon" },
        "backends": { "default": [] },
        "routing": { "default": { "load_balancer": "guess" } },
        "grpc": { "enabled": false },
    });
    let problems = patch(&config, &document).unwrap_err();
    let paths: Vec<&str> = problems.iter().map(|(path, _)| path.as_str()).collect();
    for path in
        ["server.read_timeout", "backends.default", "routing.default.load_balancer", "grpc.enabled"]
    {
        assert!(paths.contains(&path), "{path} in {problems:?}");
    }
}

fn change(action: Backend) -> Result<Config, Vec<(String, String)>> {
    let text = ours();
    let before = config(&text);
    let patch = backend_patch(&before, &BackendChange { upstream: "default".to_owned(), action })?;
    Ok(config(&edited(&text, &before, &patch).unwrap()))
}

#[test]
fn backends_are_added_updated_and_removed() {
    let added =
        change(Backend::Add(json!({ "id": "b3", "host": "127.0.0.1", "port": 8083 }))).unwrap();
    let urls: Vec<_> =
        added.upstreams["default"].endpoints.iter().map(|e| e.url.as_str()).collect();
    assert_eq!(urls.len(), 3);
    assert_eq!(urls[2], "http://127.0.0.1:8083");
    let updated = change(Backend::Update("backend2".to_owned(), json!({ "max_conn": 7 }))).unwrap();
    let endpoint = &updated.upstreams["default"].endpoints[1];
    assert_eq!((endpoint.connections_max, endpoint.weight), (Some(7), 50));
    let removed = change(Backend::Remove("127.0.0.1:8081".to_owned())).unwrap();
    assert_eq!(removed.upstreams["default"].endpoints.len(), 1);
    for wrong in [
        Backend::Remove("nobody".to_owned()),
        Backend::Update("nobody".to_owned(), json!({ "weight": 1 })),
        Backend::Add(json!({ "id": "backend1", "host": "h", "port": 1 })),
        Backend::Add(json!({ "id": "b3" })),
    ] {
        assert!(change(wrong.clone()).is_err(), "{wrong:?}");
    }
}

/// Three upstreams: one of them only in a split, one only as a mirror.
const SHARED: &str = "\
upstreams:
  old: { endpoints: [http://127.0.0.1:1], balance: ip_hash }
  new: { endpoints: [http://127.0.0.1:2] }
  copy: { endpoints: [http://127.0.0.1:3] }
admin: { token: \"${TIDEGATE_ADMIN_TOKEN}\" }
routes:
  - name: shared
    split: [{ upstream: new, weight: 10 }, { upstream: old, weight: 90 }]
    mirror: { upstream: copy, percent: 5 }
";

#[test]
fn a_split_is_shown_by_its_greatest_share_and_comes_back_unchanged() {
    let shown = view(&config(SHARED));
    insta::assert_snapshot!(shown["routing"]["shared"], @r#"{"load_balancer":"ip_hash","mirror":{"percent":5,"upstream":"copy"},"path":"/","protocols":{"http":"ip_hash","https":"ip_hash","sse":"ip_hash","websocket":"ip_hash"},"split":[{"upstream":"new","weight":10},{"upstream":"old","weight":90}],"upstream":"old"}"#);
    assert_eq!(put(SHARED, &shown).1, SHARED);
    let path = json!({ "routing": { "shared": { "path": "/x/" } } });
    let route = put(SHARED, &path).0.routes.remove(0);
    assert_eq!((route.path.as_str(), route.split.len()), ("/x/", 2));
    assert!(route.mirror.is_some());
}

#[test]
fn a_rule_that_names_another_upstream_ends_its_split() {
    let document = json!({ "routing": { "shared": { "upstream": "new" } } });
    let warnings = patch(&config(SHARED), &document).unwrap().warnings;
    assert!(warnings.iter().any(|(path, _)| path == "routing.shared.upstream"), "{warnings:?}");
    let route = put(SHARED, &document).0.routes.remove(0);
    assert_eq!((route.upstream.as_deref(), route.split.len()), (Some("new"), 0));
    assert!(route.mirror.is_some());
    for key in ["split", "mirror"] {
        let document = json!({ "routing": { "shared": { key: null } } });
        let problems = patch(&config(SHARED), &document).unwrap_err();
        assert_eq!(problems[0].0, format!("routing.shared.{key}"));
    }
}

#[test]
fn an_upstream_that_a_split_or_a_mirror_uses_cannot_be_removed() {
    for name in ["old", "new", "copy"] {
        let removed = json!({ "backends": { name: null } });
        let problems = patch(&config(SHARED), &removed).unwrap_err();
        assert_eq!(
            problems,
            [(format!("backends.{name}"), "cannot go: the route shared leads there".to_owned())]
        );
    }
    let (after, _) = put(
        SHARED,
        &json!({ "backends": { "copy": null, "old": null }, "routing": {
            "shared": null, "all": { "path": "/", "upstream": "new" },
        } }),
    );
    assert_eq!(after.upstreams.len(), 1);
}

#[test]
fn balancing_changed_by_a_split_s_rule_is_that_of_the_upstream_shown() {
    let document = json!({ "routing": { "shared": { "load_balancer": "weight" } } });
    let warnings = patch(&config(SHARED), &document).unwrap().warnings;
    assert!(warnings.iter().any(|(_, text)| text.contains("old alone")), "{warnings:?}");
    let config = put(SHARED, &document).0;
    assert_eq!(config.upstreams["old"].balance.http, Algorithm::WeightedRoundRobin);
    assert_eq!(config.upstreams["new"].balance.http, Algorithm::RoundRobin);
}
