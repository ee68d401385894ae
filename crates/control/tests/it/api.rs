//! The admin API as a whole: its table, its document, roles, and what it says without a binary behind it.

use std::net::SocketAddr;

use crate::stand::{PLAIN, Reply, TOKEN, send, shared, start};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");

const ROLES: &str = "\
admin:
  bind: 127.0.0.1:0
  token: admin-token-of-the-test
  tokens:
    - { name: looker, token: token-of-the-looker, role: read }
    - { name: hand, token: token-of-the-hand, role: operate }
upstreams: { app: { endpoints: [{ url: http://127.0.0.1:9, name: one }] } }
routes: [{ name: all, path: /, upstream: app }]
";

fn ask(address: SocketAddr, token: &str, method: &str, path: &str, body: &str) -> Reply {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    send(address, request.as_bytes())
}

#[test]
fn the_committed_document_is_the_one_that_is_served() {
    let document = serde_json::to_string_pretty(&tidegate_control::openapi()).unwrap() + "\n";
    if std::env::var_os("WRITE_DOCS").is_some() {
        std::fs::write(DOCUMENT, &document).unwrap();
    }
    let written = std::fs::read_to_string(DOCUMENT).unwrap_or_default();
    assert!(written == document, "docs/openapi.json is stale: run this test with WRITE_DOCS=1");
    let (control, admin) = start(&shared(PLAIN));
    let served = ask(admin, TOKEN, "GET", "/api/v1/openapi.json", "").json();
    assert_eq!(served, tidegate_control::openapi());
    control.stop();
}

#[test]
fn every_path_of_the_document_exists_and_keeps_to_its_role() {
    let (control, admin) = start(&shared(ROLES));
    let document = tidegate_control::openapi();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 20);
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().unwrap() {
            let method = method.to_ascii_uppercase();
            let role = operation["x-role"].as_str().unwrap();
            for (token, may) in [
                ("token-of-the-looker", role == "read"),
                ("token-of-the-hand", role != "admin"),
                (TOKEN, true),
            ] {
                let reply = ask(admin, token, &method, path, "{}");
                assert_ne!(reply.status, 404, "{method} {path}: {}", reply.body);
                assert_ne!(reply.status, 405, "{method} {path}");
                assert_eq!(reply.status != 403, may, "{method} {path} {token}: {}", reply.body);
            }
        }
    }
    control.stop();
}

#[test]
fn what_a_role_may_not_do_is_refused_and_written_down() {
    let (control, admin) = start(&shared(ROLES));
    let reply = ask(
        admin,
        "token-of-the-looker",
        "PATCH",
        "/api/v1/config",
        r#"{"limits":{"requests":5}}"#,
    );
    assert_eq!(reply.status, 403);
    assert!(reply.json()["message"].as_str().unwrap().contains("needs the role admin"));
    let entries = ask(admin, TOKEN, "GET", "/api/v1/audit", "").json()["entries"].clone();
    assert_eq!(entries[0]["who"], "looker");
    assert_eq!(entries[0]["what"], "PATCH /api/v1/config");
    assert_eq!(entries[0]["status"], 403);
    assert_eq!(entries.as_array().unwrap().len(), 1, "looking is not written down");
    control.stop();
}

#[test]
fn without_a_binary_behind_it_nothing_can_be_changed() {
    let (control, admin) = start(&shared(ROLES));
    let reply = ask(admin, TOKEN, "PUT", "/api/v1/config", "{}");
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (503, &"no_changes".into()));
    for (body, status) in [("[1]", 400), ("{", 400), ("", 400)] {
        assert_eq!(ask(admin, TOKEN, "PATCH", "/api/v1/config", body).status, status, "{body}");
    }
    let long = format!("{{\"x\":\"{}\"}}", "y".repeat(1 << 20));
    assert_eq!(ask(admin, TOKEN, "PATCH", "/api/v1/config", &long).status, 413);
    control.stop();
}

#[test]
fn an_endpoint_is_drained_by_any_of_its_names_and_shown_so() {
    let shared = shared(ROLES);
    let (control, admin) = start(&shared);
    let state = || {
        ask(admin, TOKEN, "GET", "/api/v1/endpoints?upstream=app", "").json()["endpoints"][0]["state"]
            .clone()
    };
    assert_eq!(state()["draining"], false);
    for name in ["one", "127.0.0.1:9", "http://127.0.0.1:9"] {
        let body = format!(r#"{{"upstream":"app","endpoint":"{name}"}}"#);
        assert_eq!(
            ask(admin, "token-of-the-hand", "POST", "/api/v1/endpoints/drain", &body).status,
            200
        );
        assert_eq!((&state()["draining"], &state()["admitting"]), (&true.into(), &false.into()));
        assert_eq!(
            ask(admin, "token-of-the-hand", "POST", "/api/v1/endpoints/undrain", &body).status,
            200
        );
        assert_eq!(state()["draining"], false, "{name}");
    }
    let nobody = r#"{"upstream_id":"app","backend_id":"nobody"}"#;
    assert_eq!(ask(admin, TOKEN, "POST", "/api/v1/backends/disconnect", nobody).status, 404);
    control.stop();
}

#[test]
fn a_report_is_kept_shown_and_counted() {
    let shared = shared(ROLES);
    let (control, admin) = start(&shared);
    let report = r#"{"upstream":"app","backend_id":"one","performance":{"cpu_usage":50,"memory_usage":50,"load_avg_1":50}}"#;
    assert_eq!(ask(admin, TOKEN, "POST", "/api/v1/report", report).status, 200);
    let live = shared.live.endpoint("http://127.0.0.1:9");
    assert_eq!(live.busy(shared.live.now_ms()), Some(500));
    let backends = ask(admin, TOKEN, "GET", "/api/v1/backends?upstream=app", "").json();
    assert_eq!(backends["backends"][0]["performance"]["cpu_usage"], 50.0);
    let stats = ask(admin, TOKEN, "GET", "/api/v1/stats/backend?upstream=app&backend_id=one", "");
    assert_eq!(stats.json()["stats"]["memory_usage"], 50.0);
    for wrong in ["101", "-1", "\"much\""] {
        let report = report.replace("\"cpu_usage\":50", &format!("\"cpu_usage\":{wrong}"));
        assert_eq!(ask(admin, TOKEN, "POST", "/api/v1/report", &report).status, 400, "{wrong}");
    }
    let server = ask(admin, TOKEN, "GET", "/api/v1/stats/server", "").json();
    assert!(server["stats"]["memory_usage"].as_f64().unwrap() > 0.0);
    control.stop();
}

#[test]
fn the_configuration_is_shown_in_both_vocabularies() {
    let (control, admin) = start(&shared(ROLES));
    let config = ask(admin, TOKEN, "GET", "/api/v1/config", "").json()["config"].clone();
    assert_eq!(config["routing"]["all"]["upstream"], "app");
    assert_eq!(config["backends"]["app"][0]["id"], "one");
    assert_eq!(config["routes"][0]["name"], "all");
    assert_eq!(config["admin"]["tokens"][0]["token"], "***");
    control.stop();
}
