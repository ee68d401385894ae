//! What the provider's replies look like: golden bytes of every dialect, and streams that say what whole replies say.
#![allow(clippy::unwrap_used)]

mod support;

use std::fmt::Write;

use serde_json::Value;
use support::{get, post, post_with};
use tidegate_lab::provider::{ProviderHandle, ProviderOptions, spawn_provider};

const CHAT_TOOLS: &str = r#","tools":[{"type":"function","function":{"name":"weather","parameters":{"type":"object","required":["city","days"],"properties":{"city":{"type":"string"},"days":{"type":"integer"}}}}}]"#;
const RESPONSES_TOOLS: &str = r#","tools":[{"type":"function","name":"weather","parameters":{"type":"object","required":["city"],"properties":{"city":{"type":"string"}}}}]"#;
const MESSAGES_TOOLS: &str = r#","tools":[{"name":"weather","input_schema":{"type":"object","required":["city"],"properties":{"city":{"type":"string"}}}}]"#;
const GEMINI_TOOLS: &str = r#","tools":[{"functionDeclarations":[{"name":"weather","parameters":{"type":"OBJECT","required":["city"],"properties":{"city":{"type":"STRING"}}}}]}]"#;

fn provider() -> ProviderHandle {
    spawn_provider(ProviderOptions::default()).unwrap()
}

/// Target and body of a request to `model` in each dialect.
fn request(dialect: &str, model: &str, stream: bool) -> (String, String) {
    match dialect {
        "chat" => {
            let options = if stream {
                r#","stream":true,"stream_options":{"include_usage":true}"#
            } else {
                ""
            };
            let body = format!(
                r#"{{"model":"{model}"{options},"messages":[{{"role":"user","content":"Hi,  \"big\" world"}}]{CHAT_TOOLS}}}"#
            );
            ("/v1/chat/completions".to_owned(), body)
        }
        "completions" => {
            let options = if stream {
                r#","stream":true,"stream_options":{"include_usage":true}"#
            } else {
                ""
            };
            let body = format!(r#"{{"model":"{model}"{options},"prompt":"Hi,  \"big\" world"}}"#);
            ("/v1/completions".to_owned(), body)
        }
        "responses" => {
            let body = format!(
                r#"{{"model":"{model}","stream":{stream},"input":[{{"role":"user","content":[{{"type":"input_text","text":"Hi,  \"big\" world"}}]}}]{RESPONSES_TOOLS}}}"#
            );
            ("/v1/responses".to_owned(), body)
        }
        "messages" => {
            let body = format!(
                r#"{{"model":"{model}","stream":{stream},"max_tokens":64,"messages":[{{"role":"user","content":[{{"type":"text","text":"Hi,  \"big\" world"}}]}}]{MESSAGES_TOOLS}}}"#
            );
            ("/v1/messages".to_owned(), body)
        }
        "gemini" => {
            let action = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
            let body = format!(
                r#"{{"contents":[{{"role":"user","parts":[{{"text":"Hi,  \"big\" world"}}]}}]{GEMINI_TOOLS}}}"#
            );
            (format!("/v1beta/models/{model}:{action}"), body)
        }
        other => panic!("no dialect {other}"),
    }
}

const DIALECTS: [&str; 5] = ["chat", "completions", "responses", "messages", "gemini"];

#[test]
fn every_stream_and_every_whole_reply_has_its_golden_bytes() {
    let provider = provider();
    for dialect in DIALECTS {
        for model in ["lab-echo", "lab-think", "lab-tools"] {
            for (kind, stream) in [("stream", true), ("whole", false)] {
                let (target, body) = request(dialect, model, stream);
                let reply = post(provider.addr, &target, &body);
                let text = format!("{}{}", reply.head.replace("\r\n", "\n"), reply.text());
                insta::assert_snapshot!(
                    format!("{dialect}-{model}-{kind}"),
                    text.replace('\r', "")
                );
            }
        }
    }
}

#[test]
fn every_error_has_its_golden_bytes() {
    let provider = provider();
    for dialect in ["chat", "messages", "gemini"] {
        for status in [400, 401, 404, 429, 500, 503, 529] {
            let (target, body) = request(dialect, &format!("lab-error-{status}"), true);
            let reply =
                post_with(provider.addr, &target, "x-api-key: sk-lab-123\r\n", body.as_bytes());
            assert_eq!(reply.status, status);
            let text = format!("{}{}", reply.head.replace("\r\n", "\n"), reply.text());
            insta::assert_snapshot!(format!("{dialect}-error-{status}"), text);
        }
    }
}

#[test]
fn every_late_error_has_its_golden_end() {
    let provider = provider();
    let mut ends = String::new();
    for dialect in DIALECTS {
        let (target, body) = request(dialect, "lab-late-error", true);
        let reply = post(provider.addr, &target, &body);
        let events = reply.events();
        assert!(reply.text().contains("t8") && !reply.text().contains("t9"), "{dialect}");
        writeln!(ends, "{dialect}: {}", events.last().unwrap()).unwrap();
        assert!(!reply.text().contains("[DONE]"), "{dialect}");
    }
    insta::assert_snapshot!("late-errors", ends);
}

/// Text, reasoning and tool arguments of a whole reply.
fn said_whole(dialect: &str, reply: &Value) -> (String, String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match dialect {
        "chat" => {
            let message = &reply["choices"][0]["message"];
            let arguments = &message["tool_calls"][0]["function"]["arguments"];
            (text(&message["content"]), text(&message["reasoning_content"]), text(arguments))
        }
        "completions" => (text(&reply["choices"][0]["text"]), String::new(), String::new()),
        "responses" => {
            let mut said = (String::new(), String::new(), String::new());
            for item in reply["output"].as_array().unwrap() {
                said.0.push_str(&text(&item["content"][0]["text"]));
                said.1.push_str(&text(&item["summary"][0]["text"]));
                said.2.push_str(&text(&item["arguments"]));
            }
            said
        }
        "messages" => {
            let mut said = (String::new(), String::new(), String::new());
            for block in reply["content"].as_array().unwrap() {
                said.0.push_str(&text(&block["text"]));
                said.1.push_str(&text(&block["thinking"]));
                if block["type"] == "tool_use" {
                    said.2.push_str(&block["input"].to_string());
                }
            }
            said
        }
        _ => {
            let mut said = (String::new(), String::new(), String::new());
            add_gemini(&mut said, reply);
            said
        }
    }
}

fn add_gemini(said: &mut (String, String, String), reply: &Value) {
    for part in reply["candidates"][0]["content"]["parts"].as_array().unwrap() {
        let text = part["text"].as_str().unwrap_or_default();
        if part["thought"] == true {
            said.1.push_str(text);
        } else {
            said.0.push_str(text);
        }
        if let Some(call) = part.get("functionCall") {
            said.2.push_str(&call["args"].to_string());
        }
    }
}

/// The same of a stream.
fn said_streamed(dialect: &str, events: &[String]) -> (String, String, String) {
    let mut said = (String::new(), String::new(), String::new());
    for event in events.iter().filter(|event| *event != "[DONE]") {
        let event: Value = serde_json::from_str(event).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match dialect {
            "chat" => {
                let delta = &event["choices"][0]["delta"];
                said.0.push_str(&text(&delta["content"]));
                said.1.push_str(&text(&delta["reasoning_content"]));
                said.2.push_str(&text(&delta["tool_calls"][0]["function"]["arguments"]));
            }
            "completions" => said.0.push_str(&text(&event["choices"][0]["text"])),
            "responses" => match event["type"].as_str().unwrap() {
                "response.output_text.delta" => said.0.push_str(&text(&event["delta"])),
                "response.reasoning_summary_text.delta" => said.1.push_str(&text(&event["delta"])),
                "response.function_call_arguments.delta" => said.2.push_str(&text(&event["delta"])),
                _ => {}
            },
            "messages" => {
                let delta = &event["delta"];
                said.0.push_str(&text(&delta["text"]));
                said.1.push_str(&text(&delta["thinking"]));
                said.2.push_str(&text(&delta["partial_json"]));
            }
            _ => add_gemini(&mut said, &event),
        }
    }
    said
}

#[test]
fn a_stream_says_what_the_whole_reply_says() {
    let provider = provider();
    for dialect in DIALECTS {
        for model in ["lab-echo", "lab-think", "lab-tools", "lab-tokens-300"] {
            let (target, body) = request(dialect, model, false);
            let whole = said_whole(dialect, &post(provider.addr, &target, &body).json());
            let (target, body) = request(dialect, model, true);
            let streamed = said_streamed(dialect, &post(provider.addr, &target, &body).events());
            assert_eq!(streamed, whole, "{dialect} {model}");
            assert!(whole.0.len() + whole.2.len() > 5, "{dialect} {model} said nothing");
        }
    }
}

#[test]
fn a_gemini_stream_without_sse_is_one_json_array() {
    let provider = provider();
    let (_, body) = request("gemini", "lab-tokens-3", true);
    for model in ["lab-tokens-3", "lab-tools", "lab-late-error"] {
        let target = format!("/v1beta/models/{model}:streamGenerateContent");
        let replies = post(provider.addr, &target, &body).json();
        assert!(replies.as_array().unwrap().len() >= 2, "{model}: {replies}");
    }
}

#[test]
fn usage_counts_words_and_comes_only_when_asked_for() {
    let provider = provider();
    let body = r#"{"model":"lab-echo","stream":true,"messages":[{"role":"user","content":"one two three"}]}"#;
    let reply = post(provider.addr, "/v1/chat/completions", body);
    assert!(!reply.text().contains("usage"));

    let (target, body) = request("chat", "lab-echo", true);
    let events = post(provider.addr, &target, &body).events();
    let usage: Value = serde_json::from_str(&events[events.len() - 2]).unwrap();
    assert_eq!(usage["choices"], Value::Array(vec![]));
    assert_eq!(usage["usage"]["prompt_tokens"], 3);
    assert_eq!(usage["usage"]["completion_tokens"], 3);
    assert_eq!(events.last().unwrap(), "[DONE]");
}

#[test]
fn after_a_tool_result_the_tool_model_speaks() {
    let provider = provider();
    let body = format!(
        r#"{{"model":"lab-tools","messages":[{{"role":"user","content":"weather?"}},{{"role":"assistant","content":null,"tool_calls":[]}},{{"role":"tool","tool_call_id":"c","content":"sunny"}}]{CHAT_TOOLS}}}"#
    );
    let reply = post(provider.addr, "/v1/chat/completions", &body).json();
    assert_eq!(reply["choices"][0]["message"]["content"], "The tool said: sunny");
}

#[test]
fn the_same_input_gives_the_same_bytes_and_other_input_another_id() {
    let (first, second) = (provider(), provider());
    for dialect in DIALECTS {
        for stream in [true, false] {
            let (target, body) = request(dialect, "lab-think", stream);
            let once = post(first.addr, &target, &body);
            let again = post(second.addr, &target, &body);
            assert_eq!((once.head, &once.body), (again.head, &again.body), "{dialect}");
            let other = post(first.addr, &target, &body.replace("world", "words"));
            assert_ne!(once.body, other.body, "{dialect}");
        }
    }
}

#[test]
fn the_smaller_endpoints_answer_in_the_vendors_shape() {
    let provider = provider();
    let addr = provider.addr;
    let form = |fields: &[(&str, &str)]| {
        let mut body = String::new();
        for (name, value) in fields {
            let file =
                if *name == "file" || *name == "image" { "; filename=\"a.bin\"" } else { "" };
            let head = format!("--XX\r\ncontent-disposition: form-data; name=\"{name}\"{file}");
            write!(body, "{head}\r\n\r\n{value}\r\n").unwrap();
        }
        body + "--XX--\r\n"
    };
    let send_form = |target: &str, fields: &[(&str, &str)]| {
        let kind = "content-type: multipart/form-data; boundary=XX\r\n";
        post_with(addr, target, kind, form(fields).as_bytes())
    };
    let shapes = [
        ("models", get(addr, "/v1/models")),
        ("model", get(addr, "/v1/models/lab-tokens-7")),
        ("unknown model", get(addr, "/v1/models/gpt-4o")),
        ("gemini models", get(addr, "/v1beta/models/lab-echo")),
        ("unknown path", get(addr, "/v1/nothing")),
        (
            "embeddings",
            post(
                addr,
                "/v1/embeddings",
                r#"{"model":"lab-echo","input":["a b","c"],"dimensions":2}"#,
            ),
        ),
        (
            "embeddings in base64",
            post(
                addr,
                "/v1/embeddings",
                r#"{"model":"lab-echo","input":"a b","dimensions":2,"encoding_format":"base64"}"#,
            ),
        ),
        ("moderations", post(addr, "/v1/moderations", r#"{"input":["fine","flagged"]}"#)),
        (
            "count_tokens",
            post(
                addr,
                "/v1/messages/count_tokens",
                r#"{"model":"lab-echo","system":"be brief","messages":[{"role":"user","content":"a b c"}]}"#,
            ),
        ),
        (
            "gemini countTokens",
            post(
                addr,
                "/v1beta/models/lab-echo:countTokens",
                r#"{"contents":[{"parts":[{"text":"a b"}]}]}"#,
            ),
        ),
        (
            "images",
            post(
                addr,
                "/v1/images/generations",
                r#"{"model":"lab-echo","prompt":"a cat","n":2,"response_format":"url"}"#,
            ),
        ),
        (
            "image edits",
            send_form(
                "/v1/images/edits",
                &[("model", "lab-echo"), ("prompt", "x"), ("image", "png")],
            ),
        ),
        (
            "transcriptions",
            send_form("/v1/audio/transcriptions", &[("model", "lab-echo"), ("file", "RIFF")]),
        ),
        (
            "transcriptions as srt",
            send_form(
                "/v1/audio/transcriptions",
                &[("model", "lab-echo"), ("file", "RIFF"), ("response_format", "srt")],
            ),
        ),
        ("files", send_form("/v1/files", &[("purpose", "batch"), ("file", "12345")])),
        ("no model", post(addr, "/v1/chat/completions", "{}")),
        ("no JSON", post(addr, "/v1/chat/completions", "{\"model\":")),
        ("no max_tokens", post(addr, "/v1/messages", r#"{"model":"lab-echo","messages":[]}"#)),
        ("foreign model", post(addr, "/v1/messages", r#"{"model":"claude","messages":[]}"#)),
        ("no form", post(addr, "/v1/files", "12345")),
    ];
    let mut page = String::new();
    for (name, reply) in shapes {
        writeln!(page, "{name}: {} {}", reply.status, reply.text()).unwrap();
    }
    insta::assert_snapshot!("smaller-endpoints", page);

    let speech = post(
        addr,
        "/v1/audio/speech",
        r#"{"model":"lab-echo","input":"two words","response_format":"wav"}"#,
    );
    assert!(speech.head.contains("content-type: audio/wav\r\n"));
    assert_eq!(speech.body.len(), 1024);
}

#[test]
fn the_image_is_a_valid_png() {
    let provider = provider();
    let reply =
        post(provider.addr, "/v1/images/generations", r#"{"model":"lab-echo","prompt":"x"}"#);
    let image = reply.json()["data"][0]["b64_json"].as_str().unwrap().to_owned();
    // Made by another encoder: one grey pixel, checksums right.
    assert_eq!(image, PIXEL);
}

const PIXEL: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNgAAAAAgAB5Sfe/AAAAABJRU5ErkJggg==";

#[test]
fn anthropic_clients_see_anthropic_models() {
    let provider = provider();
    let request = "GET /v1/models HTTP/1.0\r\nhost: lab\r\nanthropic-version: 2023-06-01\r\n\r\n";
    let reply = support::Reply::of(&support::send_raw(provider.addr, request.as_bytes())).json();
    assert_eq!(reply["data"][0]["type"], "model");
    assert_eq!(reply["has_more"], false);
}
