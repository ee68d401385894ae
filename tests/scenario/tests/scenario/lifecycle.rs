//! Reloads and the end: what runs goes on, what is wrong changes nothing, and nothing leaks.

mod drain;
mod reload;
mod upgrade;

use std::net::SocketAddr;

use tidegate_scenario::gateway::KEY;
use tidegate_scenario::http::{Connection, llm_call};

/// A provider of any model.
fn provider(address: SocketAddr) -> String {
    format!(
        "providers: {{ lab: {{ dialect: openai, base_url: http://{address}/v1, api_key: none }} }}\n"
    )
}

/// A stream of so many tokens that has begun.
fn stream(gateway: SocketAddr, tokens: u32, interval_ms: u32) -> Connection {
    let path = format!("/v1/chat/completions?x-lab-interval-ms={interval_ms}");
    let body = format!(r#"{{"model":"lab-tokens-{tokens}","stream":true,"messages":[]}}"#);
    let mut connection = Connection::open(gateway);
    connection.send(&llm_call(&path, KEY, &body));
    assert!(connection.until_seen(b"data: "), "the stream begins");
    connection
}
