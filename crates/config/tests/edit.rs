//! Changes of a file's text: only what is changed is written anew.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_config::{Config, EditError, differences, edited, load, masked_json};

fn env(name: &str) -> Option<String> {
    matches!(name, "TOKEN" | "KEY").then(|| format!("the-secret-of-{name}"))
}

fn config(text: &str) -> Config {
    load(text, "t.yaml", &env).unwrap_or_else(|problems| panic!("{problems}\n{text}")).config
}

fn edit(text: &str, patch: &Value) -> String {
    let changed = edited(text, &config(text), patch).unwrap();
    config(&changed);
    changed
}

const FILE: &str = "\
# Who may look.
admin: { bind: 127.0.0.1:9091, token: \"${TOKEN}\" }   # keep me
limits:
  connections: 100 # few
  requests: 10

callers: # static ones
  - name: dev
    key: ${KEY}
    priority: high # first
  - { name: ops, key: \"${KEY}2\" }

upstreams:
  app:
    # Both in rack 7.
    endpoints:
      - http://127.0.0.1:8081 # old
      - url: http://127.0.0.1:8082
        weight: 2
    balance: { http: least_connections, websocket: ip_hash, sse: ip_hash }
  other: { endpoints: [http://127.0.0.1:8083, http://127.0.0.1:8084] }
routes:
  - { path: /v1/other, upstream: other }
  - path: /
    upstream: app
";

/// The lines that differ, `-` before and `+` after.
fn diff(patch: &Value) -> String {
    let after = edit(FILE, patch);
    let old: Vec<&str> = FILE.lines().collect();
    let new: Vec<&str> = after.lines().collect();
    let start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let end = old[start..]
        .iter()
        .rev()
        .zip(new[start..].iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let mut lines: Vec<String> = Vec::new();
    lines.extend(old[start..old.len() - end].iter().map(|line| format!("-{line}")));
    lines.extend(new[start..new.len() - end].iter().map(|line| format!("+{line}")));
    lines.join("\n")
}

#[test]
fn a_single_value_is_replaced_where_it_stands() {
    assert_eq!(
        diff(&json!({ "limits": { "connections": 200 } })),
        "-  connections: 100 # few\n+  connections: 200 # few"
    );
    assert_eq!(
        diff(&json!({ "upstreams": { "app": { "balance": { "http": "random" } } } })),
        "-    balance: { http: least_connections, websocket: ip_hash, sse: ip_hash }\n\
         +    balance: { http: random, websocket: ip_hash, sse: ip_hash }"
    );
}

#[test]
fn a_field_is_added_and_taken_away() {
    assert_eq!(diff(&json!({ "limits": { "memory": "1GiB" } })), "+  memory: 1GiB",);
    assert_eq!(diff(&json!({ "limits": { "requests": null } })), "-  requests: 10");
    assert_eq!(diff(&json!({ "timeouts": { "drain": "5s" } })), "+timeouts: { drain: 5s }");
}

#[test]
fn items_of_lists_come_change_and_go_one_by_one() {
    let endpoints = |list: Value| json!({ "upstreams": { "app": { "endpoints": list } } });
    let one = json!("http://127.0.0.1:8081");
    let two = json!({ "url": "http://127.0.0.1:8082", "weight": 2 });
    let three = json!({ "url": "http://127.0.0.1:8085", "weight": 3 });
    assert_eq!(
        diff(&endpoints(json!([one, two, three]))),
        "+      - { url: http://127.0.0.1:8085, weight: 3 }"
    );
    assert_eq!(
        diff(&endpoints(json!([three, one, two]))),
        "+      - { url: http://127.0.0.1:8085, weight: 3 }"
    );
    assert_eq!(diff(&endpoints(json!([two]))), "-      - http://127.0.0.1:8081 # old");
    assert_eq!(
        diff(&endpoints(json!([one]))),
        "-      - url: http://127.0.0.1:8082\n-        weight: 2"
    );
    let heavier = json!({ "url": "http://127.0.0.1:8082", "weight": 5 });
    assert_eq!(diff(&endpoints(json!([one, heavier]))), "-        weight: 2\n+        weight: 5");
    let flow = json!({ "upstreams": { "other": { "endpoints": ["http://127.0.0.1:8084"] } } });
    assert_eq!(
        diff(&flow),
        "-  other: { endpoints: [http://127.0.0.1:8083, http://127.0.0.1:8084] }\n\
         +  other: { endpoints: [http://127.0.0.1:8084] }"
    );
}

#[test]
fn what_is_shown_can_be_sent_back_and_changes_nothing() {
    let shown = masked_json(&config(FILE));
    assert_eq!(edit(FILE, &shown), FILE);
    let mut changed = shown.clone();
    changed["limits"]["connections"] = json!(7000);
    assert_eq!(edit(FILE, &changed), FILE.replace("connections: 100", "connections: 7000"));
}

#[test]
fn references_and_comments_outlive_every_change() {
    let mut shown = masked_json(&config(FILE));
    shown["callers"].as_array_mut().unwrap().remove(1);
    shown["callers"][0]["priority"] = json!("low");
    shown["admin"]["bind"] = json!("127.0.0.1:9092");
    let text = edit(FILE, &shown);
    for kept in ["token: \"${TOKEN}\"", "key: ${KEY}", "# keep me", "# first", "# static ones"] {
        assert!(text.contains(kept), "{kept} in\n{text}");
    }
    assert!(!text.contains("the-secret-of"), "{text}");
    assert!(!text.contains("ops"), "{text}");
    assert_eq!(config(&text).callers[0].key.expose(), "the-secret-of-KEY");
}

#[test]
fn a_secret_that_is_not_there_cannot_be_left_as_it_is() {
    let patch = json!({ "callers": [{ "name": "new", "key": "***" }] });
    let error = edited(FILE, &config(FILE), &patch).unwrap_err();
    assert!(matches!(error, EditError::Patch { path, .. } if path == "callers[0].key"));
}

#[test]
fn anchors_are_left_to_people() {
    let text = "\
upstreams:
  a: &a { endpoints: [http://127.0.0.1:1] }
  b: *a
  c: { endpoints: [http://127.0.0.1:2] }
routes: [{ path: /a, upstream: a }, { path: /b, upstream: b }, { path: /, upstream: c }]
";
    for name in ["a", "b"] {
        let patch = json!({ "upstreams": { name: { "balance": "random" } } });
        let error = edited(text, &config(text), &patch).unwrap_err();
        assert!(matches!(error, EditError::Text(_)), "{error}");
    }
    let free = json!({ "upstreams": { "c": { "balance": "random" } } });
    assert!(edit(text, &free).contains("b: *a"));
}

#[test]
fn awkward_texts_are_changed_too() {
    for (text, patch, expected) in [
        (
            "routes: [{path: /,upstream: a}]\nupstreams: {a: {endpoints: [http://h:1]}}\n",
            json!({ "upstreams": { "a": { "endpoints": ["http://h:1", "http://h:2"] } } }),
            "routes: [{path: /,upstream: a}]\nupstreams: {a: {endpoints: [http://h:1, http://h:2]}}\n",
        ),
        (
            "upstreams:\n  a:\n    endpoints:\n    - http://h:1\nroutes:\n- path: /\n  upstream: a",
            json!({ "limits": { "requests": 5 } }),
            "upstreams:\n  a:\n    endpoints:\n    - http://h:1\nroutes:\n- path: /\n  upstream: a\nlimits: { requests: 5 }",
        ),
        (
            "limits:\nupstreams: { a: { endpoints: [http://h:1] } }\nroutes: [{ path: /, upstream: a }]\n",
            json!({ "limits": { "requests": 5 } }),
            "limits: { requests: 5 }\nupstreams: { a: { endpoints: [http://h:1] } }\nroutes: [{ path: /, upstream: a }]\n",
        ),
    ] {
        assert_eq!(edit(text, &patch), expected);
    }
}

#[test]
fn differences_name_the_field_and_hide_secrets() {
    let before = config(FILE);
    let after = config(
        &FILE
            .replace("weight: 2", "weight: 9")
            .replace("${KEY}2", "another-secret-1")
            .replace("path: /v1/other", "path: /o"),
    );
    let found = differences(&before, &after);
    let paths: Vec<&str> = found.iter().map(|difference| difference.path.as_str()).collect();
    assert!(paths.contains(&"upstreams.app.endpoints[http://127.0.0.1:8082].weight"), "{paths:?}");
    assert!(paths.contains(&"callers[ops].key"), "{paths:?}");
    assert!(paths.iter().any(|path| path.starts_with("routes[")), "{paths:?}");
    assert!(!format!("{found:?}").contains("another-secret"));
    assert!(differences(&before, &before).is_empty());
}

proptest! {
    #[test]
    fn any_change_of_numbers_and_lists_reads_back_as_asked(
        requests in 1_u32..1000,
        ports in proptest::collection::btree_set(1_u16..50, 1..8),
        weights in proptest::collection::vec(1_u32..9, 8),
        shuffle in any::<bool>(),
        drop_caller in any::<bool>(),
    ) {
        let mut list: Vec<Value> = ports.iter().zip(&weights).map(|(port, weight)| {
            json!({ "url": format!("http://127.0.0.1:{}", 8070 + port), "weight": weight })
        }).collect();
        if shuffle {
            list.reverse();
        }
        let mut wanted = masked_json(&config(FILE));
        wanted["limits"]["requests"] = json!(requests);
        wanted["upstreams"]["app"]["endpoints"] = list.clone().into();
        if drop_caller {
            wanted["callers"].as_array_mut().unwrap().remove(0);
        }
        let text = edit(FILE, &wanted);
        let after = config(&text);
        prop_assert_eq!(after.limits.requests, requests);
        prop_assert_eq!(after.callers.len(), if drop_caller { 1 } else { 2 });
        let urls: Vec<String> = after.upstreams["app"].endpoints.iter().map(|e| format!("{} {}", e.url, e.weight)).collect();
        let asked: Vec<String> = list.iter().map(|e| format!("{} {}", e["url"].as_str().unwrap(), e["weight"])).collect();
        prop_assert_eq!(urls, asked);
        prop_assert!(!text.contains("the-secret-of"));
        prop_assert!(text.contains("# Who may look."));
    }
}
