//! LLM calls as scenarios make them: the streamed operations, their requests, their ends.

use std::fmt::Write as _;
use std::net::SocketAddr;

use serde_json::Value;

use crate::gateway::KEY;
use crate::http::llm_call_with;

/// One operation that can stream.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// Where it is asked for.
    pub path: &'static str,
    /// What only a stream that ended well has in it.
    pub end: &'static str,
    prompt: &'static str,
}

/// `POST /v1/chat/completions`.
pub const CHAT: Form = Form {
    path: "/v1/chat/completions",
    end: "data: [DONE]",
    prompt: r#""messages":[{"role":"user","content":"good morning"}]"#,
};

/// `POST /v1/messages`.
pub const MESSAGES: Form = Form {
    path: "/v1/messages",
    end: "message_stop",
    prompt: r#""max_tokens":4096,"messages":[{"role":"user","content":"good morning"}]"#,
};

/// `POST /v1/responses`.
pub const RESPONSES: Form =
    Form { path: "/v1/responses", end: "response.completed", prompt: r#""input":"good morning""# };

/// `POST /v1/completions`.
pub const COMPLETIONS: Form =
    Form { path: "/v1/completions", end: "data: [DONE]", prompt: r#""prompt":"good morning""# };

/// Every streamed form.
pub const FORMS: [Form; 4] = [CHAT, MESSAGES, RESPONSES, COMPLETIONS];

impl Form {
    /// Is it Anthropic's?
    pub fn is_anthropic(&self) -> bool {
        self.path == MESSAGES.path
    }

    /// The body of a request for this model.
    pub fn body(&self, model: &str, stream: bool) -> String {
        format!(r#"{{"model":"{model}","stream":{stream},{}}}"#, self.prompt)
    }

    /// A request for a stream.
    pub fn stream(&self, model: &str) -> Vec<u8> {
        self.stream_with(model, "")
    }

    /// A request for a stream, with further field lines.
    pub fn stream_with(&self, model: &str, fields: &str) -> Vec<u8> {
        llm_call_with(self.path, KEY, fields, self.body(model, true).as_bytes())
    }

    /// A request for a whole reply, with further field lines.
    pub fn whole_with(&self, model: &str, fields: &str) -> Vec<u8> {
        llm_call_with(self.path, KEY, fields, self.body(model, false).as_bytes())
    }

    /// A request for a whole reply.
    pub fn whole(&self, model: &str) -> Vec<u8> {
        self.whole_with(model, "")
    }
}

/// A section `providers` with one server as an OpenAI and an Anthropic provider.
pub fn providers(address: SocketAddr) -> String {
    format!(
        "providers:\n  lab: {{ dialect: openai, base_url: http://{address}/v1, api_key: none }}\n  \
         claude: {{ dialect: anthropic, base_url: http://{address}, api_key: none }}\n"
    )
}

/// The same with two servers; the first is asked first.
pub fn two_providers(first: SocketAddr, second: SocketAddr) -> String {
    let mut yaml = providers(first);
    for (name, dialect, path) in [("lab2", "openai", "/v1"), ("claude2", "anthropic", "")] {
        writeln!(
            yaml,
            "  {name}: {{ dialect: {dialect}, base_url: http://{second}{path}, api_key: none, priority: 1 }}"
        )
        .expect("a string takes all");
    }
    yaml
}

/// The data of each event in a stream. Comments are left out; every other frame must be whole.
#[track_caller]
pub fn events(stream: &str) -> Vec<String> {
    assert!(stream.is_empty() || stream.ends_with("\n\n"), "the last frame has no end: {stream}");
    stream
        .split("\n\n")
        .filter(|frame| !frame.is_empty())
        .filter_map(|frame| {
            let data: Vec<&str> = frame
                .lines()
                .filter(|line| !line.starts_with(':'))
                .inspect(|line| {
                    assert!(
                        line.starts_with("data:") || line.starts_with("event:"),
                        "{line:?} in {stream}"
                    );
                })
                .filter_map(|line| line.strip_prefix("data:").map(str::trim_start))
                .collect();
            (!data.is_empty()).then(|| data.join("\n"))
        })
        .collect()
}

/// Asserts that a stream ended in the error event of its form, and gives the error's message and
/// code (OpenAI) or type (Anthropic).
#[track_caller]
pub fn error_event(form: &Form, stream: &str) -> (String, String) {
    assert!(!stream.contains(form.end), "a broken stream must not end well: {stream}");
    let events = events(stream);
    let parsed: Vec<Value> = events
        .iter()
        .map(|data| serde_json::from_str(data).unwrap_or_else(|e| panic!("{e} in {data}")))
        .collect();
    let last = parsed.last().unwrap_or_else(|| panic!("no event in {stream}"));
    let errors = parsed.iter().filter(|event| event["error"].is_object()).count();
    assert_eq!(errors, 1, "one error event, at the end: {stream}");
    let error = &last["error"];
    assert!(error["message"].is_string() && error["type"].is_string(), "{stream}");
    if form.is_anthropic() {
        assert_eq!(last["type"], "error", "{stream}");
    }
    let code = if form.is_anthropic() { &error["type"] } else { &error["code"] };
    (
        error["message"].as_str().unwrap_or_default().to_owned(),
        code.as_str().unwrap_or_default().to_owned(),
    )
}
