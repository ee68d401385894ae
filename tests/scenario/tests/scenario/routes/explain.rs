//! `tidegate explain`: the decision that the gateway makes, told without asking it.

use std::process::Command;

use tidegate_scenario::gateway::binary;

const CONFIG: &str = r#"
upstreams:
  app: { endpoints: [http://127.0.0.1:8081, { url: "http://127.0.0.1:8082", weight: 0 }], balance: least_connections }
  new: { endpoints: [http://127.0.0.1:8083] }
routes:
  - { host: app.example.com, path: /api/, upstream: app, rewrite: { prefix: / } }
  - { host: app.example.com, path: /api/, methods: [POST], headers: { X-Canary: "1" }, upstream: new }
  - { host: app.example.com, path: /split/, split: [{ upstream: app, weight: 3 }, { upstream: new }] }
  - { path: /away, redirect: { to: "https://{host}{path}" } }
  - { path: /put/, methods: [PUT], upstream: app }
  - { host: other.example.com, upstream: app }
retry: { attempts: 4, on: [503, 502] }
"#;

/// Exit code, standard output and standard error.
fn explain(name: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let file = std::env::temp_dir().join(format!("tidegate-explain-{}-{name}", std::process::id()));
    std::fs::write(&file, CONFIG).unwrap();
    let out =
        Command::new(binary()).arg("explain").args(arguments).arg("--config").arg(&file).output();
    let _ = std::fs::remove_file(&file);
    let out = out.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code(), text(out.stdout), text(out.stderr))
}

#[test]
fn explain_tells_the_whole_decision() {
    let url = "https://app.example.com/api/x/../y?q=1";
    let (code, out, _) = explain("text", &["GET", url, "--from", "192.0.2.1"]);
    assert_eq!(code, Some(0));
    for words in [
        "/api/y, as it is matched",
        "* routes[0]",
        "needs the field X-Canary: 1",
        "is for another path",
        "is for another host",
        "rewritten  /y",
        "upstream   app",
        "least_connections",
        "+ http://127.0.0.1:8081",
        "- http://127.0.0.1:8082",
        "its weight is 0",
        "attempts   4 at most, another one after 503, 502 too",
    ] {
        assert!(out.contains(words), "{words:?} in\n{out}");
    }
}

#[test]
fn explain_speaks_json_and_knows_fields_and_shares() {
    let url = "http://app.example.com/api/x";
    let (_, out, _) = explain("json", &["post", url, "--header", "x-canary: 1", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&told["route"], &told["outcome"]["kind"]), (&1.into(), &"forwarded".into()));
    assert_eq!(told["upstreams"][0]["endpoints"][0]["candidate"], true);
    assert_eq!(told["retry"], serde_json::json!({ "attempts": 4, "on": [] }), "of a POST");
    let (_, out, _) = explain("split", &["GET", "http://app.example.com/split/", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["upstreams"][0]["percent"], 75.0);
    assert_eq!(told["upstreams"][1]["percent"], 25.0);
    let (code, out, _) = explain("away", &["GET", "http://x.test/away/1?q=2"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("308 to https://x.test/away/1?q=2"), "{out}");
}

#[test]
fn explain_of_a_request_that_is_refused_is_exit_code_1_and_the_reason() {
    for (name, method, url, reason) in [
        ("none", "GET", "http://x.test/none", "404: no route"),
        (
            "method",
            "GET",
            "http://x.test/put/",
            "405: the routes for this host and path are for PUT",
        ),
        ("path", "GET", "http://x.test/..%2fx", "400: the path hides"),
        ("url", "GET", "x.test", "is no URL"),
    ] {
        let (code, _, err) = explain(name, &[method, url]);
        assert_eq!(code, Some(1), "{url}");
        assert!(err.contains(reason), "{reason:?} in {err}");
    }
}
