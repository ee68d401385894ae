//! The main job: a chat through the gateway, whole and streamed, and the endpoints every listener has.

use tidegate_lab::provider::{ProviderOptions, spawn_provider};
use tidegate_scenario::gateway::{Gateway, KEY};
use tidegate_scenario::http::{Connection, get, llm_call, once};

fn with_lab(address: std::net::SocketAddr) -> String {
    format!(
        "providers: {{ lab: {{ dialect: openai, base_url: http://{address}/v1, api_key: none }} }}\n"
    )
}

#[test]
fn a_chat_is_answered_whole_and_streamed_on_one_connection() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&with_lab(lab.addr));
    let mut connection = Connection::open(gateway.address);
    let ask = r#"{"model":"lab-echo","messages":[{"role":"user","content":"good morning"}]}"#;
    let reply = connection.send(&llm_call("/v1/chat/completions", KEY, ask)).reply();
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["choices"][0]["message"]["content"], "good morning");
    let ask = r#"{"model":"lab-tokens-3","stream":true,"messages":[]}"#;
    let reply = connection.send(&llm_call("/v1/chat/completions", KEY, ask)).reply();
    assert!(reply.complete && reply.text().ends_with("data: [DONE]\n\n"), "{}", reply.text());
    assert_eq!(lab.stats().completed, 2);
}

#[test]
fn health_and_status_need_no_key() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&with_lab(lab.addr));
    assert_eq!(get(gateway.address, "/health").text(), r#"{"status":"ok"}"#);
    let status = gateway.status();
    for field in [
        "current_connections",
        "max_connections",
        "memory_usage_mb",
        "memory_limit_mb",
        "total_requests",
        "error_count",
    ] {
        assert!(status[field].is_u64(), "{field} in {status}");
    }
    assert_eq!(status["max_connections"], 1000);
}

#[test]
fn without_a_known_key_nothing_reaches_the_provider() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&with_lab(lab.addr));
    let ask = r#"{"model":"lab-echo","messages":[]}"#;
    let reply = once(gateway.address, &llm_call("/v1/chat/completions", "sk-wrong-key-00001", ask));
    assert_eq!(reply.status, 401);
    assert_eq!(reply.json()["error"]["type"], "authentication_error");
    assert_eq!(lab.stats().requests, 0);
}
