//! Bad input: whoever sends it gets a status, a reason and words that say what to do, in the dialect
//! that they speak.

mod bodies;
mod command_line;
mod heads;

use std::net::SocketAddr;

use serde_json::Value;
use tidegate_scenario::http::Reply;

/// One server as a provider of each dialect, behind a gateway with these further sections.
fn with_lab(address: SocketAddr, sections: &str) -> String {
    format!(
        "providers:\n  lab: {{ dialect: openai, base_url: http://{address}/v1, api_key: none }}\n  \
         claude: {{ dialect: anthropic, base_url: http://{address}, api_key: none }}\n{sections}"
    )
}

/// The message of a refusal in OpenAI's envelope, once its form is what OpenAI's SDKs expect.
#[track_caller]
fn told_by_openai(reply: &Reply, status: u16, kind: &str) -> String {
    assert_eq!(reply.status, status, "{}", reply.text());
    let body = reply.json();
    let error = &body["error"];
    assert_eq!(error["type"], kind, "{body}");
    assert!(body["type"].is_null() && error.get("param").is_some(), "{body}");
    message(error)
}

/// As [`told_by_openai`], for Anthropic's.
#[track_caller]
fn told_by_anthropic(reply: &Reply, status: u16, kind: &str) -> String {
    assert_eq!(reply.status, status, "{}", reply.text());
    let body = reply.json();
    assert_eq!(body["type"], "error", "{body}");
    assert_eq!(body["error"]["type"], kind, "{body}");
    message(&body["error"])
}

#[track_caller]
fn message(error: &Value) -> String {
    error["message"].as_str().expect("a message").to_owned()
}
