//! Environment files of the service before: each variable means what it meant, and the YAML printed
//! means the same.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use proptest::prelude::*;
use tidegate_config::{
    ByteSize, Config, EnvVariable, Preset, Problems, import_env, load, parse_env_file, to_yaml,
};

fn variables(text: &str) -> Vec<EnvVariable> {
    parse_env_file(text, ".env").unwrap().0
}

fn import(text: &str) -> (Config, String) {
    let (config, warnings) = import_env(&variables(text), ".env", None).unwrap();
    (config, Problems(warnings).to_string())
}

/// With the one variable that must be set.
fn imported(lines: &str) -> Config {
    import(&format!("VALID_API_KEYS=sk-client-1\n{lines}")).0
}

fn warned(lines: &str) -> String {
    import(&format!("VALID_API_KEYS=sk-client-1\n{lines}")).1
}

fn refused(text: &str) -> String {
    import_env(&variables(text), ".env", None).unwrap_err().to_string()
}

#[test]
fn the_defaults_are_those_of_the_service_before() {
    let config = imported("");
    assert_eq!(config.listeners[0].bind, "0.0.0.0:8001".parse().unwrap());
    assert_eq!(config.limits.requests, 1000);
    assert_eq!(config.limits.queue.size, 500);
    assert_eq!(config.limits.stream_buffer, ByteSize::kib(16));
    assert_eq!(config.limits.memory, ByteSize::gib(2));
    assert_eq!(config.timeouts.request, Duration::from_mins(2));
    assert_eq!(config.timeouts.stream, Duration::from_mins(5));
    assert_eq!(config.retry.attempts, 4);
    assert_eq!(config.retry.delay, Duration::from_secs(1));
    assert!(!config.allow_anonymous);
    assert_eq!(config.admin, None);
    assert_eq!(config.providers.len(), 1);
    let deepinfra = config.providers["deepinfra"].resolve("deepinfra").unwrap();
    assert_eq!(deepinfra.base_url.host, "api.deepinfra.com");
    assert!(deepinfra.key.is_none(), "no key was given, so none is sent");
    assert!(config.routes[0].llm);
    assert_eq!(warned(""), "");
}

#[test]
fn each_variable_sets_its_field() {
    let config = imported(
        "PORT=9000\nMAX_CONCURRENT_CONNECTIONS=8000\nCONNECTION_QUEUE_SIZE=7\nSTREAM_BUFFER_SIZE=32768\nMEMORY_LIMIT_MB=512\nREQUEST_TIMEOUT=90000\nSTREAM_TIMEOUT=240000\nMAX_RETRIES=0\nRETRY_DELAY=7000\nTIDEGATE_ADMIN_TOKEN=admin-token\n",
    );
    assert_eq!(config.listeners[0].bind.port(), 9000);
    assert_eq!(config.limits.requests, 8000);
    assert!(config.limits.connections >= 16_000);
    assert_eq!(config.limits.queue.size, 7);
    assert_eq!(config.limits.stream_buffer, ByteSize::kib(32));
    assert_eq!(config.limits.memory, ByteSize::mib(512));
    assert_eq!(config.timeouts.request, Duration::from_secs(90));
    assert_eq!(config.timeouts.stream, Duration::from_mins(4));
    assert_eq!(config.retry.attempts, 1);
    assert_eq!(config.retry.delay, Duration::from_secs(7));
    assert_eq!(config.retry.delay_max, Duration::from_secs(7));
    let admin = config.admin.unwrap();
    assert!(admin.bind.ip().is_loopback());
    assert_eq!(admin.token.as_ref().unwrap().expose(), "admin-token");
}

#[test]
fn no_exchange_outlives_its_hard_cap() {
    let config = imported("MAX_CONNECTION_TIME=100000");
    assert_eq!(config.timeouts.request, Duration::from_secs(100));
    assert_eq!(config.timeouts.stream, Duration::from_secs(100));
    let config = imported("STREAM_TIMEOUT=900000");
    assert_eq!(config.timeouts.stream, Duration::from_mins(10));
}

#[test]
fn modes_set_retries_and_timeouts() {
    for (mode, attempts, delay, request, stream) in
        [("fast", 2, 200, 10, 60), ("balanced", 4, 1000, 120, 300), ("SECURE", 6, 2000, 60, 600)]
    {
        let config = imported(&format!("PERFORMANCE_MODE={mode}"));
        assert_eq!(config.retry.attempts, attempts, "{mode}");
        assert_eq!(config.retry.delay, Duration::from_millis(delay), "{mode}");
        assert_eq!(config.timeouts.request, Duration::from_secs(request), "{mode}");
        assert_eq!(config.timeouts.stream, Duration::from_secs(stream), "{mode}");
    }
    let config =
        imported("PERFORMANCE_MODE=fast\nMAX_RETRIES=4\nRETRY_DELAY=50\nREQUEST_TIMEOUT=1000");
    assert_eq!(config.retry.attempts, 5);
    assert_eq!(config.retry.delay, Duration::from_millis(50));
    assert_eq!(config.timeouts.request, Duration::from_secs(1));
}

#[test]
fn what_a_variable_says_wins_over_the_preset() {
    let import = |lines: &str, preset| {
        let text = format!("VALID_API_KEYS=sk-client-1\n{lines}");
        import_env(&variables(&text), ".env", Some(preset)).unwrap().0
    };
    let config = import("MAX_CONCURRENT_CONNECTIONS=77\nSTREAM_TIMEOUT=1000", Preset::High);
    assert_eq!(config.limits.requests, 77);
    assert_eq!(config.limits.memory, ByteSize::gib(8));
    assert_eq!(config.timeouts.request, Duration::from_mins(1));
    assert_eq!(config.timeouts.stream, Duration::from_secs(1));
    assert_eq!(import("PERFORMANCE_MODE=fast", Preset::Full).timeouts.request.as_secs(), 10);
    assert_eq!(import("", Preset::Full).timeouts.request.as_secs(), 60);
    let egress = |config: &Config| config.providers["deepinfra"].egress.clone().unwrap();
    assert_eq!(egress(&import("", Preset::Warp)), "socks5://127.0.0.1:40000");
    assert_eq!(egress(&import("HTTP_PROXY=http://p:1", Preset::Warp)), "http://p:1");
}

#[test]
fn spaces_around_a_key_are_no_part_of_it() {
    let config = imported("OPENAI_API_KEY=' sk-openai '");
    let key = config.providers["openai"].api_key.clone().unwrap();
    assert_eq!((key.expose(), key.reference()), ("sk-openai", None));
    assert_same_meaning("VALID_API_KEYS=' sk-client-1 '\nOPENAI_API_KEY=' sk-openai '");
}

#[test]
fn keys_become_callers() {
    let config = imported("TIDEGATE_KEY=sk-mine-001");
    let keys: Vec<_> = config.callers.iter().map(|caller| caller.key.expose()).collect();
    assert_eq!(keys, ["sk-client-1", "sk-mine-001"]);
    let (config, warnings) = import("VALID_API_KEYS= sk-aaaaaa , sk-bbbbbb,,sk-aaaaaa ,k");
    let keys: Vec<_> = config.callers.iter().map(|caller| caller.key.expose()).collect();
    assert_eq!(keys, ["sk-aaaaaa", "sk-bbbbbb", "k"]);
    assert_eq!(
        warnings,
        ".env:1:1: VALID_API_KEYS: holds a key a second time: it counts once\n.env:1:1: callers[2].key: has fewer than 8 characters: it can be found by trying"
    );
}

#[test]
fn without_keys_nothing_starts() {
    for text in ["", "VALID_API_KEYS=", "VALID_API_KEYS=' , '"] {
        let report = refused(text);
        assert_eq!(report.lines().count(), 1, "{report}");
        assert!(
            report.contains("VALID_API_KEYS: holds no keys: set the keys that clients may use, separated by commas"),
            "{report}"
        );
    }
}

#[test]
fn mirrors_replace_the_vendors_url_and_share_the_load() {
    let config = imported(
        "DEEPINFRA_MIRRORS=https://one.example/v1/openai/chat/completions, http://127.0.0.1:9000/v1/chat/completions/",
    );
    let urls: Vec<_> = config
        .providers
        .iter()
        .map(|(name, provider)| {
            (name.as_str(), provider.base_url.as_deref().unwrap(), provider.priority)
        })
        .collect();
    assert_eq!(
        urls,
        [
            ("mirror-1", "https://one.example/v1/openai", 1),
            ("mirror-2", "http://127.0.0.1:9000/v1", 1)
        ]
    );
    assert_eq!(config.models.len(), 1);
    assert_eq!(config.models[0].to.len(), 2);
    for (name, provider) in &config.providers {
        assert!(provider.resolve(name).unwrap().key.is_none());
    }
}

#[test]
fn the_strategy_orders_official_and_workers() {
    for (strategy, official, worker) in
        [("", 0, 1), ("official_first", 0, 1), ("balanced", 0, 0), ("workers_first", 1, 0)]
    {
        let config = imported(&format!(
            "ENDPOINT_STRATEGY={strategy}\nDEEPINFRA_MIRRORS=https://w.example/chat/completions,https://api.deepinfra.com/v1/openai/chat/completions"
        ));
        assert_eq!(config.providers["deepinfra"].priority, official, "{strategy}");
        assert_eq!(config.providers["mirror-1"].priority, worker, "{strategy}");
        let official = config.providers["deepinfra"].resolve("deepinfra").unwrap();
        assert_eq!(official.base_url.path, "/v1/openai");
    }
}

#[test]
fn other_vendors_keys_add_their_own_models() {
    let config = imported("DEEPINFRA_API_KEY=di-key\nANTHROPIC_API_KEY=sk-ant");
    let names: Vec<_> = config.providers.keys().map(String::as_str).collect();
    assert_eq!(names, ["deepinfra", "anthropic"]);
    assert_eq!(config.providers["deepinfra"].api_key.as_ref().unwrap().expose(), "di-key");
    let models: Vec<_> = config
        .models
        .iter()
        .map(|model| (model.name.as_str(), model.to[0].provider.as_str()))
        .collect();
    assert_eq!(models, [("claude-*", "anthropic"), ("*", "deepinfra")]);
    let config = imported("OPENAI_API_KEY=sk-openai");
    let names: Vec<_> = config.providers.keys().map(String::as_str).collect();
    assert_eq!(names, ["openai"], "nothing speaks of DeepInfra");
}

#[test]
fn proxies_carry_all_upstream_traffic() {
    let egress = |lines: &str| {
        let config = imported(&format!(
            "DEEPINFRA_MIRRORS=http://a.example/chat/completions,https://b.example/chat/completions\n{lines}"
        ));
        config
            .providers
            .values()
            .map(|provider| provider.egress.clone().unwrap_or_default())
            .collect::<Vec<_>>()
    };
    assert_eq!(egress(""), ["", ""]);
    assert_eq!(egress("WARP_ENABLED=false"), ["", ""]);
    assert_eq!(egress("WARP_ENABLED=true"), ["socks5://127.0.0.1:40000"; 2]);
    assert_eq!(egress("WARP_ENABLED=1\nHTTP_PROXY=p:3128"), ["http://p:3128"; 2]);
    assert_eq!(egress("HTTPS_PROXY=socks5h://p:1080/"), ["socks5://p:1080"; 2]);
    assert_eq!(
        egress("HTTP_PROXY=http://a:1\nHTTPS_PROXY=http://b:2"),
        ["http://a:1", "http://b:2"]
    );
}

#[test]
fn what_changes_nothing_is_said() {
    insta::assert_snapshot!(warned("\
DISABLE_CONNECTION_CHECK=true
CONNECTION_CHECK_INTERVAL=1000
ALERT_MEMORY_THRESHOLD=80
ALERT_CONNECTION_THRESHOLD=90
LOG_USER_MESSAGES=true
LOG_RESPONSE_CONTENT=false
SOMETHING_API_KEY=x
OPNAI_API_KEY=x
MAX_RETRIES=99
REQUEST_TIMEOUTS=1
RANDOM_USER_AGENT=1
DEEPINFRA_API_KEY=k
DEEPINFRA_MIRRORS=http://127.0.0.1:1/chat/completions,http://127.0.0.1:1/chat/completions/
"), @r#"
.env:2:1: DISABLE_CONNECTION_CHECK: has no effect: a client that goes away is noticed at once
.env:3:1: CONNECTION_CHECK_INTERVAL: has no effect: a client that goes away is noticed at once
.env:4:1: ALERT_MEMORY_THRESHOLD: has no effect: alert on the gateway's metrics instead
.env:5:1: ALERT_CONNECTION_THRESHOLD: has no effect: alert on the gateway's metrics instead
.env:6:1: LOG_USER_MESSAGES: has no effect: content is never logged
.env:8:1: SOMETHING_API_KEY: no vendor known here has this key, not used: write a provider in YAML
.env:9:1: OPNAI_API_KEY: unknown variable, not used; did you mean "OPENAI_API_KEY"?
.env:10:1: MAX_RETRIES: is more than 9, which is used
.env:11:1: REQUEST_TIMEOUTS: unknown variable, not used; did you mean "REQUEST_TIMEOUT"?
.env:12:1: RANDOM_USER_AGENT: unknown variable, not used
.env:13:1: DEEPINFRA_API_KEY: is sent to every URL of DEEPINFRA_MIRRORS
.env:14:1: DEEPINFRA_MIRRORS: holds a URL a second time: it counts once
"#);
}

#[test]
fn every_bad_value_is_reported() {
    insta::assert_snapshot!(refused("\
PORT=0
VALID_API_KEYS=has space
MAX_CONCURRENT_CONNECTIONS=many
CONNECTION_QUEUE_SIZE=-1
STREAM_BUFFER_SIZE=1
MEMORY_LIMIT_MB=1
REQUEST_TIMEOUT=0
STREAM_TIMEOUT=1s
MAX_CONNECTION_TIME=999999999
MAX_RETRIES=many
RETRY_DELAY=x
PERFORMANCE_MODE=fastest
ENDPOINT_STRATEGY=worker_first
DEEPINFRA_MIRRORS=ftp://secret@x/chat/completions
HTTP_PROXY=socks4://secret@x:1
HTTPS_PROXY=http://x
WARP_ENABLED=maybe
ALERT_MEMORY_THRESHOLD=101
LOG_USER_MESSAGES=perhaps
"), @r#"
    .env:1:1: PORT: "0" is not a whole number from 1 to 65535
    .env:2:1: callers[0].key: must be visible ASCII characters without spaces
    .env:3:1: MAX_CONCURRENT_CONNECTIONS: "many" is not a whole number from 1 to 1000000
    .env:4:1: CONNECTION_QUEUE_SIZE: "-1" is not a whole number from 0 to 1000000
    .env:5:1: STREAM_BUFFER_SIZE: "1" is not a whole number from 1024 to 16777216
    .env:6:1: MEMORY_LIMIT_MB: "1" is not a whole number from 64 to 16777216
    .env:7:1: REQUEST_TIMEOUT: "0" is not a whole number from 1 to 86400000
    .env:8:1: STREAM_TIMEOUT: "1s" is not a whole number from 1 to 86400000
    .env:9:1: MAX_CONNECTION_TIME: "999999999" is not a whole number from 1 to 86400000
    .env:10:1: MAX_RETRIES: "many" is not a whole number from 0 to 4294967295
    .env:11:1: RETRY_DELAY: "x" is not a whole number from 0 to 86400000
    .env:12:1: PERFORMANCE_MODE: "fastest" is none of fast, balanced, secure
    .env:13:1: ENDPOINT_STRATEGY: "worker_first" is none of official_first, balanced, workers_first; did you mean "workers_first"?
    .env:14:1: DEEPINFRA_MIRRORS: an address begins with http:// or https://
    .env:15:1: HTTP_PROXY: an egress proxy begins with http:// or socks5://
    .env:16:1: HTTPS_PROXY: an egress proxy needs its port, such as socks5://127.0.0.1:1080
    .env:17:1: WARP_ENABLED: "maybe" is neither true nor false
    .env:18:1: ALERT_MEMORY_THRESHOLD: "101" is not a whole number from 1 to 100
    .env:19:1: LOG_USER_MESSAGES: "perhaps" is neither true nor false
    "#);
}

const RICH: &str = "\
PORT=9001
VALID_API_KEYS=sk-client-1,sk-${client}-2
PERFORMANCE_MODE=secure
STREAM_BUFFER_SIZE=65536
DEEPINFRA_MIRRORS=https://w.example/v1/chat/completions,https://api.deepinfra.com/v1/openai/chat/completions
DEEPINFRA_API_KEY=di-key
OPENAI_API_KEY=sk-openai
HTTPS_PROXY=socks5://user:pass@127.0.0.1:1080
TIDEGATE_ADMIN_TOKEN=admin-token
";

#[test]
fn the_printed_yaml_is_readable_and_holds_no_vendor_key() {
    let config = import(RICH).0;
    let yaml = to_yaml(&config);
    assert!(
        !yaml.contains("di-key") && !yaml.contains("sk-openai") && !yaml.contains("admin-token")
    );
    insta::assert_snapshot!(yaml, @r#"
    # Reads from the environment: TIDEGATE_ADMIN_TOKEN, DEEPINFRA_API_KEY, OPENAI_API_KEY
    listeners:
      - { bind: 0.0.0.0:9001 }
    admin:
      bind: 127.0.0.1:9091
      token: "${TIDEGATE_ADMIN_TOKEN}"
    limits:
      stream_buffer: 64KiB
    timeouts:
      request: 1m
      stream: 10m
    callers:
      - { name: caller-1, key: sk-client-1 }
      - { name: caller-2, key: "sk-$${client}-2" }
    providers:
      mirror-1: { dialect: openai, base_url: https://w.example/v1, api_key: "${DEEPINFRA_API_KEY}", priority: 1, egress: socks5://user:pass@127.0.0.1:1080 }
      deepinfra: { api_key: "${DEEPINFRA_API_KEY}", egress: socks5://user:pass@127.0.0.1:1080 }
      openai: { api_key: "${OPENAI_API_KEY}", egress: socks5://user:pass@127.0.0.1:1080 }
    models:
      - { name: "gpt-*", to: [openai] }
      - { name: "chatgpt-*", to: [openai] }
      - { name: "o1*", to: [openai] }
      - { name: "o3*", to: [openai] }
      - { name: "o4*", to: [openai] }
      - { name: "codex-*", to: [openai] }
      - { name: "text-embedding-*", to: [openai] }
      - { name: "omni-moderation-*", to: [openai] }
      - { name: "dall-e-*", to: [openai] }
      - { name: "tts-*", to: [openai] }
      - { name: "whisper-*", to: [openai] }
      - { name: "*", to: [mirror-1, deepinfra] }
    routes:
      - { path: /v1/, llm: true }
    retry:
      attempts: 6
      delay: 2s
    "#);
    insta::assert_snapshot!(to_yaml(&imported("")), @r#"
    # Reads from the environment: VALID_API_KEYS
    # admin: { bind: 127.0.0.1:9091, token: "${TIDEGATE_ADMIN_TOKEN}" }
    listeners:
      - { bind: 0.0.0.0:8001 }
    timeouts:
      stream: 5m
    callers:
      - { name: caller-1, key: "${VALID_API_KEYS}" }
    providers:
      deepinfra: { api_key: none }
    models:
      - { name: "*", to: [deepinfra] }
    routes:
      - { path: /v1/, llm: true }
    retry:
      attempts: 4
    "#);
}

fn assert_same_meaning(text: &str) {
    let variables = variables(text);
    let (config, _) = import_env(&variables, ".env", None).unwrap();
    let env = |name: &str| {
        variables
            .iter()
            .find(|variable| variable.name == name)
            .map(|variable| variable.value.clone())
    };
    let yaml = to_yaml(&config);
    let loaded =
        load(&yaml, "printed.yaml", &env).unwrap_or_else(|problems| panic!("{problems}\n{yaml}"));
    assert_eq!(loaded.config, config, "{yaml}");
}

#[test]
fn the_printed_yaml_means_the_same() {
    assert_same_meaning(RICH);
    assert_same_meaning("VALID_API_KEYS=sk-client-1");
    assert_same_meaning(
        "VALID_API_KEYS=k1,k2\nANTHROPIC_API_KEY=a\nWARP_ENABLED=true\nMAX_RETRIES=0",
    );
}

proptest! {
    #[test]
    fn any_numbers_mean_the_same_as_yaml(
        port in 1_u16.., requests in 1_u32..1_000_000, queue in 0_u32..1_000_000, buffer in 1024_u32..16_777_216,
        memory in 64_u32..100_000, request in 1_u32..86_400_000, stream in 1_u32..86_400_000, retries in 0_u8..10,
        delay in 0_u32..86_400_000, mode in "fast|balanced|secure",
    ) {
        assert_same_meaning(&format!(
            "VALID_API_KEYS=sk-client-1\nPORT={port}\nMAX_CONCURRENT_CONNECTIONS={requests}\nCONNECTION_QUEUE_SIZE={queue}\nSTREAM_BUFFER_SIZE={buffer}\nMEMORY_LIMIT_MB={memory}\nREQUEST_TIMEOUT={request}\nSTREAM_TIMEOUT={stream}\nMAX_RETRIES={retries}\nRETRY_DELAY={delay}\nPERFORMANCE_MODE={mode}"
        ));
    }

    #[test]
    fn any_values_are_taken_or_refused(
        values in proptest::collection::vec((0_usize..12, "[ -~]{0,20}|[0-9]{1,12}|https?://[a-z:@/,.]{0,20}"), 0..8)
    ) {
        let names = [
            "PORT", "VALID_API_KEYS", "DEEPINFRA_MIRRORS", "HTTP_PROXY", "HTTPS_PROXY", "WARP_ENABLED", "MAX_RETRIES",
            "RETRY_DELAY", "ENDPOINT_STRATEGY", "OPENAI_API_KEY", "TIDEGATE_ADMIN_TOKEN", "MAX_CONNECTION_TIME",
        ];
        let variables: Vec<EnvVariable> = values
            .into_iter()
            .enumerate()
            .map(|(line, (name, value))| EnvVariable { name: names[name].to_owned(), value, line: line + 1 })
            .collect();
        let _ = import_env(&variables, ".env", Some(Preset::Warp));
    }
}
