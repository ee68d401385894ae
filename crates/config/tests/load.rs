//! What a configuration file may say, and that the example of the documentation loads as meant.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tidegate_config::{
    Algorithm, Balance, ByteSize, Config, Endpoint, ModelBalance, Priority, Target, load,
    load_bytes,
};
use tidegate_dialect::Dialect;

fn env(name: &str) -> Option<String> {
    match name {
        "TIDEGATE_ADMIN_TOKEN" => Some("admin-token".to_owned()),
        "TIDEGATE_KEY" => Some("sk-dev-0001".to_owned()),
        "OPENAI_API_KEY" => Some("sk-openai".to_owned()),
        "ANTHROPIC_API_KEY" => Some("sk-ant".to_owned()),
        "COUNT" => Some("7".to_owned()),
        _ => None,
    }
}

fn loaded(text: &str) -> Config {
    load(text, "t.yaml", &env).unwrap().config
}

/// A minimal configuration that serves something, and more lines.
fn with(lines: &str) -> String {
    format!(
        "upstreams: {{ app: {{ endpoints: [http://127.0.0.1:1] }} }}\nroutes: [{{ upstream: app }}]\n{lines}\n"
    )
}

#[test]
fn the_documented_example_loads() {
    let loaded = load(include_str!("example.yaml"), "tidegate.yaml", &env).unwrap();
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, ["tidegate.yaml:15:13: providers.claude: no model leads to it"]);
    let config = loaded.config;
    assert_eq!(config.listeners[0].bind, "0.0.0.0:8080".parse().unwrap());
    let admin = config.admin.unwrap();
    assert_eq!(admin.token.as_ref().unwrap().expose(), "admin-token");
    assert_eq!(admin.token.as_ref().unwrap().reference(), Some("${TIDEGATE_ADMIN_TOKEN}"));
    assert_eq!(config.limits.queue.wait, Duration::from_secs(2));
    assert_eq!(config.limits.memory, ByteSize::gib(2));
    assert_eq!(config.timeouts.stream, Duration::from_mins(15));
    assert_eq!(config.timeouts.heartbeat, Duration::from_secs(15), "the default");
    assert_eq!(config.callers[0].key.expose(), "sk-dev-0001");
    assert_eq!(config.callers[0].priority, Priority::Normal);
    let claude = &config.providers["claude"];
    assert_eq!(claude.dialect, Some(Dialect::Anthropic));
    assert_eq!(claude.egress.as_deref(), Some("socks5://127.0.0.1:40000"));
    assert!(config.providers["local"].resolve("local").unwrap().key.is_none());
    let openai = config.providers["openai"].resolve("openai").unwrap();
    assert_eq!(openai.base_url.host, "api.openai.com");
    assert_eq!(openai.base_url.path, "/v1");
    let gpt = &config.models[0];
    assert_eq!(gpt.balance, ModelBalance::Priority);
    assert_eq!(gpt.to[0], Target::provider("openai"));
    assert_eq!(gpt.to[1].model.as_deref(), Some("lab-echo"));
    let app = &config.upstreams["app"];
    assert_eq!(app.endpoints[0], Endpoint::url("http://127.0.0.1:8081"));
    assert_eq!(app.endpoints[1].weight, 2);
    assert_eq!(app.endpoints[1].connections_max, Some(1000));
    assert_eq!(
        app.balance,
        Balance {
            http: Algorithm::LeastConnections,
            websocket: Algorithm::IpHash,
            sse: Algorithm::IpHash
        }
    );
    assert_eq!(app.health.as_ref().unwrap().path, "/health");
    assert!(config.routes[0].llm);
    assert_eq!(config.routes[1].host.as_deref(), Some("app.example.com"));
}

#[test]
fn providers_alone_serve_any_model_under_v1() {
    let config =
        loaded("callers: [{ name: a, key: sk-a-00001 }]\nproviders: { ollama: , vllm: {} }\n");
    assert_eq!(config.models.len(), 1);
    assert_eq!(config.models[0].name, "*");
    assert_eq!(config.models[0].to, [Target::provider("ollama"), Target::provider("vllm")]);
    assert_eq!(config.routes.len(), 1);
    assert_eq!(config.routes[0].path, "/v1/");
    assert!(config.routes[0].llm);
}

#[test]
fn one_balance_name_stands_for_all_traffic() {
    let config = loaded(
        "upstreams: { app: { endpoints: [http://127.0.0.1:1], balance: ip_hash } }\nroutes: [{ upstream: app }]",
    );
    assert_eq!(config.upstreams["app"].balance, Balance::all(Algorithm::IpHash));
}

#[test]
fn references_stand_anywhere_and_have_defaults() {
    let config = loaded(&with(
        "limits: { requests: \"${COUNT}\", queue: { size: \"${NONE:-9}\" } }\nlog: { level: \"${NONE:-debug}\" }",
    ));
    assert_eq!(config.limits.requests, 7);
    assert_eq!(config.limits.queue.size, 9);
    assert_eq!(config.log.level.as_str(), "debug");
}

#[test]
fn sections_without_a_value_are_sections_not_written() {
    let config = loaded(&with("admin:\nlimits:\ncallers: ~\nretry: null"));
    assert_eq!(config, loaded(&with("")));
}

#[test]
fn aliases_repeat_values() {
    let config = loaded(
        "upstreams:\n  a: &app { endpoints: [http://127.0.0.1:1] }\n  b: *app\nroutes: [{ upstream: a }, { path: /b, upstream: b }]",
    );
    assert_eq!(config.upstreams["a"], config.upstreams["b"]);
}

#[test]
fn a_byte_order_mark_is_no_content() {
    assert_eq!(loaded(&format!("\u{feff}{}", with(""))), loaded(&with("")));
}

#[test]
fn bytes_that_are_not_utf8_are_located() {
    let problems = load_bytes(b"log: {}\nname: \xc3\xa9\xff\n", "t.yaml", &env).unwrap_err();
    assert_eq!(problems.to_string(), "t.yaml:2:8: this byte is not UTF-8 text");
    assert!(load_bytes(with("").as_bytes(), "t.yaml", &env).is_ok());
}

#[test]
fn printed_configurations_hold_no_secrets() {
    let config = loaded(include_str!("full.yaml"));
    let shown = format!("{config:?} {}", tidegate_config::masked_json(&config));
    for secret in ["sk-ann-0001", "sk-openai", "p%40ss", "hidden", "\"secret\""] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    let json = tidegate_config::masked_json(&config);
    let openai = &json["providers"]["openai"];
    assert_eq!(openai["egress"], "http://user:***@proxy.example:3128");
    assert_eq!(openai["headers"]["OpenAI-Organization"], "org-1");
    assert_eq!(openai["headers"]["X-Api-Key-Extra"], "***");
    assert_eq!(openai["dialect"], "openai");
    assert_eq!(json["admin"]["token"], "***");
    assert_eq!(json["callers"][0]["key"], "***");
    assert_eq!(json["limits"]["memory"], "4GiB");
    assert_eq!(json["timeouts"]["stream"], "16m");
}

#[test]
fn the_budget_adds_up_and_says_what_is_short() {
    let loaded = load(
        &with("shards: 2\nlimits: { connections: 1000, requests: 100, memory: 64MiB, stream_buffer: 1MiB }"),
        "t.yaml",
        &env,
    )
    .unwrap();
    let budget = loaded.budget;
    assert!(budget.files > 1000 + 2 * 100);
    insta::assert_snapshot!(budget.to_string(), @r"
    memory  process                                 1 ×  32.0 MiB =   32.0 MiB
    memory  shards                                  2 ×   2.0 MiB =    4.0 MiB
    memory  client connections, HTTP/2           1000 ×  18.0 KiB =   17.6 MiB
    memory  requests in flight                    100 ×   1.0 MiB =  100.4 MiB
    memory  their bodies, 32 KiB as usual         100 ×  32.0 KiB =    3.1 MiB
    memory  requests waiting                      500 ×   1.0 KiB =  500.0 KiB
    files   process                                64
    files   listeners on every shard                2
    files   client connections                   1000
    files   connections to endpoints              200
    memory needed 157.6 MiB of 64.0 MiB
    files  needed 1266
    ");
    insta::assert_snapshot!(
        loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        @"t.yaml:4:53: limits.memory: the other limits can need 157.6 MiB, more than these 64.0 MiB: requests are refused before they are reached"
    );
    assert!(budget.file_shortage(1_000_000).is_none());
    insta::assert_snapshot!(budget.file_shortage(1024).unwrap(), @r#"the limits can need 1266 open files, but this process may open 1024: raise it with "ulimit -n 2048" or lower limits.connections"#);
}

#[test]
fn the_budget_counts_the_dearest_kind_of_connection_and_the_tables_of_rate_limits() {
    let lines = |listener: &str, routes: &str| {
        let text = format!(
            "upstreams: {{ app: {{ endpoints: [http://127.0.0.1:1] }} }}\n\
             routes: [{{ upstream: app }}{routes}]\nlisteners: [{listener}]"
        );
        let lines = load(&text, "t.yaml", &env).unwrap().budget.lines;
        let told = |line: &&String| line.contains("memory  client") || line.contains("rate limits");
        lines.iter().filter(told).cloned().collect::<Vec<_>>().join("\n")
    };
    let tls = "tls: [{ cert: a.pem, key: a.key }]";
    let plain = "{ bind: 127.0.0.1:1, http2: false }";
    insta::assert_snapshot!(lines(plain, ""), @"memory  client connections                  10000 ×   1.5 KiB =   14.6 MiB");
    insta::assert_snapshot!(lines("{ bind: 127.0.0.1:1 }", ""), @"memory  client connections, HTTP/2          10000 ×  18.0 KiB =  175.8 MiB");
    insta::assert_snapshot!(lines(&format!("{{ bind: 127.0.0.1:2, {tls} }}, {plain}"), ""), @"memory  client connections, HTTP/2, TLS     10000 ×  26.0 KiB =  253.9 MiB");
    let limited = ", { path: /a, upstream: app, rate_limit: { requests: 1, per: 1s } }\
        , { path: /b, upstream: app, rate_limit: { requests: 1, per: 1s, by: route } }\
        , { path: /c, upstream: app, rate_limit: { requests: 1, per: 1s, by: \"header:x\" } }";
    let secure = format!("{plain}, {{ bind: 127.0.0.1:2, http2: false, {tls} }}");
    insta::assert_snapshot!(lines(&secure, limited), @r"
    memory  client connections, TLS             10000 ×   9.5 KiB =   92.8 MiB
    memory  tables of rate limits                   2 × 512.0 KiB =    1.0 MiB
    ");
}
