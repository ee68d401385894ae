//! Anthropic Messages: `POST /v1/messages` and `/v1/messages/count_tokens` (docs.anthropic.com/en/api/messages, streaming).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::answer::Answer;
use super::call::Call;
use super::narration::{Form, Step};
use super::prompt::Prompt;
use super::story::{Segment, Story};
use crate::fingerprint::mix;
use crate::json::{Object, put, put_hex, put_number, put_text};

/// Answers a message.
pub(super) fn answer(call: &Call) -> Result<Answer, Answer> {
    let body = call.object()?;
    let (name, model) = call.model(&body)?;
    for (field, present) in [
        ("messages", body.raw("messages").is_some()),
        ("max_tokens", body.number("max_tokens").is_some_and(|tokens| tokens > 0)),
    ] {
        if !present {
            return Err(call.bad_request(&format!("{field}: Field required")));
        }
    }
    let story = Story::new(call.id, &name, model, &prompt(&body));
    Ok(call.told(story, model, body.flag("stream").then_some(Form::Messages), put_whole))
}

/// Counts the words of a prompt.
pub(super) fn count_tokens(call: &Call) -> Result<Answer, Answer> {
    let body = call.object()?;
    let (_, model) = call.model(&body)?;
    let mut out = Vec::with_capacity(32);
    put(&mut out, "{\"input_tokens\":");
    put_number(&mut out, prompt(&body).words);
    put(&mut out, "}");
    Ok(call.plain(model, Answer::json(out)))
}

fn prompt(body: &Object) -> Prompt {
    let mut prompt = Prompt::default();
    prompt.add_words(body.raw("system"));
    for message in body.list("messages") {
        let message = Object::of(message);
        prompt.add(&message.text("role").unwrap_or_default(), message.raw("content"));
    }
    if body.object("tool_choice").text("type").as_deref() != Some("none") {
        for tool in body.list("tools") {
            let tool = Object::of(tool);
            prompt.offer(tool.text("name"), tool.raw("input_schema"));
        }
    }
    prompt
}

fn stop_reason(story: &Story) -> &'static str {
    if story.calls_a_tool() { "tool_use" } else { "end_turn" }
}

/// The signature of a thinking block: opaque to clients, who must send it back as it is.
fn signature(story: &Story) -> String {
    BASE64_STANDARD.encode(format!("lab-signature-{:016x}", mix(story.id, u64::MAX)))
}

fn put_start(out: &mut Vec<u8>, story: &Story) {
    put(out, "{\"id\":\"msg_");
    put_hex(out, story.id);
    put(out, "\",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
    put_text(out, &story.model);
    put(out, ",\"content\":[");
}

fn put_usage(out: &mut Vec<u8>, story: &Story, output_tokens: u64) {
    put(out, "{\"input_tokens\":");
    put_number(out, story.prompt_tokens);
    put(out, ",\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":");
    put_number(out, output_tokens);
    put(out, ",\"service_tier\":\"standard\"}");
}

fn put_whole(out: &mut Vec<u8>, story: &Story) {
    put_start(out, story);
    for (at, segment) in story.segments.iter().enumerate() {
        put(out, if at == 0 { "" } else { "," });
        match segment {
            Segment::Think(tokens) => {
                put(out, "{\"type\":\"thinking\",\"thinking\":");
                put_text(out, &tokens.whole());
                put(out, ",\"signature\":");
                put_text(out, &signature(story));
            }
            Segment::Text(tokens) => {
                put(out, "{\"type\":\"text\",\"text\":");
                put_text(out, &tokens.whole());
            }
            Segment::Call { name, arguments } => {
                put_call(out, story, at, name, &arguments.whole());
            }
        }
        put(out, "}");
    }
    put(out, "],\"stop_reason\":\"");
    put(out, stop_reason(story));
    put(out, "\",\"stop_sequence\":null,\"usage\":");
    put_usage(out, story, story.completion_tokens());
    put(out, "}");
}

/// A tool call without the closing brace; `input` is JSON.
fn put_call(out: &mut Vec<u8>, story: &Story, at: usize, name: &str, input: &str) {
    put(out, "{\"type\":\"tool_use\",\"id\":\"toolu_");
    put_hex(out, mix(story.id, at as u64));
    put(out, "\",\"name\":");
    put_text(out, name);
    put(out, ",\"input\":");
    put(out, input);
}

/// Appends the events of `step`; the name of each event is its type.
pub(super) fn put_events(out: &mut Vec<u8>, story: &Story, step: Step) {
    match step {
        Step::Begin => {
            put(out, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":");
            put_start(out, story);
            put(out, "],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":");
            put_usage(out, story, 1);
            put(out, "}}\n\n");
        }
        Step::Open(at) => {
            let Some(segment) = story.segments.get(at) else { return };
            put_block_event(out, "content_block_start", at);
            put(out, ",\"content_block\":");
            match segment {
                Segment::Think(_) => {
                    put(out, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"");
                }
                Segment::Text(_) => put(out, "{\"type\":\"text\",\"text\":\"\""),
                Segment::Call { name, .. } => put_call(out, story, at, name, "{}"),
            }
            put(out, "}}\n\n");
            if at == 0 {
                put(out, "event: ping\ndata: {\"type\":\"ping\"}\n\n");
            }
        }
        Step::Piece(at, token) => {
            let Some(segment) = story.segments.get(at) else { return };
            let opening = match segment {
                Segment::Think(_) => "{\"type\":\"thinking_delta\",\"thinking\":",
                Segment::Text(_) => "{\"type\":\"text_delta\",\"text\":",
                Segment::Call { .. } => "{\"type\":\"input_json_delta\",\"partial_json\":",
            };
            put_delta(out, at, opening, &segment.tokens().piece(token));
        }
        Step::Close(at) => {
            if let Some(Segment::Think(_)) = story.segments.get(at) {
                let opening = "{\"type\":\"signature_delta\",\"signature\":";
                put_delta(out, at, opening, &signature(story));
            }
            put_block_event(out, "content_block_stop", at);
            put(out, "}\n\n");
        }
        Step::End => {
            put(
                out,
                "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"",
            );
            put(out, stop_reason(story));
            put(out, "\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":");
            put_number(out, story.completion_tokens());
            put(out, "}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
        }
    }
}

fn put_delta(out: &mut Vec<u8>, at: usize, opening: &str, piece: &str) {
    put_block_event(out, "content_block_delta", at);
    put(out, ",\"delta\":");
    put(out, opening);
    put_text(out, piece);
    put(out, "}}\n\n");
}

/// The start of an event about block `at`, up to its index.
fn put_block_event(out: &mut Vec<u8>, kind: &str, at: usize) {
    put(out, "event: ");
    put(out, kind);
    put(out, "\ndata: {\"type\":\"");
    put(out, kind);
    put(out, "\",\"index\":");
    put_number(out, at as u64);
}
