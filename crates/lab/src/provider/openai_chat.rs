//! OpenAI Chat Completions: `POST /v1/chat/completions` (platform.openai.com/docs/api-reference/chat).

use super::answer::Answer;
use super::call::{CREATED, Call};
use super::narration::{Form, Step};
use super::prompt::Prompt;
use super::story::{Segment, Story};
use crate::fingerprint::mix;
use crate::json::{Object, put, put_hex, put_number, put_text};

/// Answers a chat completion.
pub(super) fn answer(call: &Call) -> Result<Answer, Answer> {
    let body = call.object()?;
    let (name, model) = call.model(&body)?;
    if body.raw("messages").is_none() {
        return Err(call.bad_request("Missing required parameter: 'messages'."));
    }
    let story = Story::new(call.id, &name, model, &prompt(&body));
    let form = Form::Chat { usage: body.object("stream_options").flag("include_usage") };
    Ok(call.told(story, model, body.flag("stream").then_some(form), put_whole))
}

fn prompt(body: &Object) -> Prompt {
    let mut prompt = Prompt::default();
    for message in body.list("messages") {
        let message = Object::of(message);
        prompt.add(&message.text("role").unwrap_or_default(), message.raw("content"));
    }
    if body.text("tool_choice").as_deref() != Some("none") {
        for tool in body.list("tools") {
            let function = Object::of(tool).object("function");
            prompt.offer(function.text("name"), function.raw("parameters"));
        }
    }
    prompt
}

fn finish_reason(story: &Story) -> &'static str {
    if story.calls_a_tool() { "tool_calls" } else { "stop" }
}

fn put_start(out: &mut Vec<u8>, story: &Story, object: &str) {
    put(out, "{\"id\":\"chatcmpl-");
    put_hex(out, story.id);
    put(out, "\",\"object\":\"");
    put(out, object);
    put(out, "\",\"created\":");
    put_number(out, CREATED);
    put(out, ",\"model\":");
    put_text(out, &story.model);
    put(out, ",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_lab\",\"choices\":[");
}

fn put_whole(out: &mut Vec<u8>, story: &Story) {
    put_start(out, story, "chat.completion");
    put(out, "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":");
    if story.calls_a_tool() {
        put(out, "null");
    } else {
        put_text(out, &story.text());
    }
    if let Some(thought) = story.thought() {
        put(out, ",\"reasoning_content\":");
        put_text(out, &thought);
    }
    let calls = story.segments.iter().filter_map(|segment| match segment {
        Segment::Call { name, arguments } => Some((name, arguments)),
        _ => None,
    });
    for (index, (name, arguments)) in calls.enumerate() {
        put(out, if index == 0 { ",\"tool_calls\":[{" } else { ",{" });
        put_call(out, story, index, name, &arguments.whole());
        put(out, "}");
    }
    put(out, if story.calls_a_tool() { "]" } else { "" });
    put(out, ",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,\"finish_reason\":\"");
    put(out, finish_reason(story));
    put(out, "\"}],\"usage\":");
    put_usage(out, story);
    put(out, "}");
}

fn put_call(out: &mut Vec<u8>, story: &Story, index: usize, name: &str, arguments: &str) {
    put(out, "\"id\":\"call_");
    put_hex(out, mix(story.id, index as u64));
    put(out, "\",\"type\":\"function\",\"function\":{\"name\":");
    put_text(out, name);
    put(out, ",\"arguments\":");
    put_text(out, arguments);
    put(out, "}");
}

/// Appends the usage object, also the one of legacy completions.
pub(super) fn put_usage(out: &mut Vec<u8>, story: &Story) {
    let (prompt, completion) = (story.prompt_tokens, story.completion_tokens());
    put(out, "{\"prompt_tokens\":");
    put_number(out, prompt);
    put(out, ",\"completion_tokens\":");
    put_number(out, completion);
    put(out, ",\"total_tokens\":");
    put_number(out, prompt + completion);
    put(out, ",\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0}");
    put(out, ",\"completion_tokens_details\":{\"reasoning_tokens\":");
    put_number(out, story.reasoning_tokens());
    put(
        out,
        ",\"audio_tokens\":0,\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}",
    );
}

/// Appends the chunks of `step`. With `usage`, a last chunk without choices carries it, and the others say `null`.
pub(super) fn put_events(out: &mut Vec<u8>, story: &Story, step: Step, usage: bool) {
    let put_chunk = |out: &mut Vec<u8>, put_delta: &dyn Fn(&mut Vec<u8>), finish: Option<&str>| {
        put(out, "data: ");
        put_start(out, story, "chat.completion.chunk");
        put(out, "{\"index\":0,\"delta\":{");
        put_delta(out);
        put(out, "},\"logprobs\":null,\"finish_reason\":");
        match finish {
            Some(reason) => put_text(out, reason),
            None => put(out, "null"),
        }
        put(out, if usage { "}],\"usage\":null}\n\n" } else { "}]}\n\n" });
    };
    match step {
        Step::Begin => {
            let content = if story.calls_a_tool() { "null" } else { "\"\"" };
            let put_role = |out: &mut Vec<u8>| {
                put(out, "\"role\":\"assistant\",\"content\":");
                put(out, content);
                put(out, ",\"refusal\":null");
            };
            put_chunk(out, &put_role, None);
        }
        Step::Open(at) => {
            if let Some(Segment::Call { name, .. }) = story.segments.get(at) {
                let index = call_index(story, at);
                let put_opening = |out: &mut Vec<u8>| {
                    put(out, "\"tool_calls\":[{\"index\":");
                    put_number(out, index as u64);
                    put(out, ",");
                    put_call(out, story, index, name, "");
                    put(out, "}]");
                };
                put_chunk(out, &put_opening, None);
            }
        }
        Step::Piece(at, token) => {
            let Some(segment) = story.segments.get(at) else { return };
            let piece = segment.tokens().piece(token);
            let put_piece = |out: &mut Vec<u8>| match segment {
                Segment::Think(_) => {
                    put(out, "\"reasoning_content\":");
                    put_text(out, &piece);
                }
                Segment::Text(_) => {
                    put(out, "\"content\":");
                    put_text(out, &piece);
                }
                Segment::Call { .. } => {
                    put(out, "\"tool_calls\":[{\"index\":");
                    put_number(out, call_index(story, at) as u64);
                    put(out, ",\"function\":{\"arguments\":");
                    put_text(out, &piece);
                    put(out, "}}]");
                }
            };
            put_chunk(out, &put_piece, None);
        }
        Step::Close(_) => {}
        Step::End => {
            put_chunk(out, &|_| {}, Some(finish_reason(story)));
            if usage {
                put(out, "data: ");
                put_start(out, story, "chat.completion.chunk");
                put(out, "],\"usage\":");
                put_usage(out, story);
                put(out, "}\n\n");
            }
            put(out, "data: [DONE]\n\n");
        }
    }
}

/// The place of segment `at` among the calls: OpenAI counts them without the text between.
fn call_index(story: &Story, at: usize) -> usize {
    let before = story.segments.iter().take(at);
    before.filter(|segment| matches!(segment, Segment::Call { .. })).count()
}
