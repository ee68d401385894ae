//! OpenAI Responses: `POST /v1/responses` (platform.openai.com/docs/api-reference/responses, responses-streaming).

use super::answer::Answer;
use super::call::{CREATED, Call};
use super::narration::{Form, Step};
use super::prompt::Prompt;
use super::story::{Segment, Story};
use crate::fingerprint::mix;
use crate::json::{Object, put, put_hex, put_number, put_text};

/// Answers a response request.
pub(super) fn answer(call: &Call) -> Result<Answer, Answer> {
    let body = call.object()?;
    let (name, model) = call.model(&body)?;
    if body.raw("input").is_none() {
        return Err(call.bad_request("Missing required parameter: 'input'."));
    }
    let story = Story::new(call.id, &name, model, &prompt(&body));
    Ok(call.told(story, model, body.flag("stream").then_some(Form::Responses), put_whole))
}

fn prompt(body: &Object) -> Prompt {
    let mut prompt = Prompt::default();
    prompt.add_words(body.raw("instructions"));
    if let Some(input) = body.raw("input").filter(|input| input.get().starts_with('"')) {
        prompt.add("user", Some(input));
    }
    for item in body.list("input") {
        let item = Object::of(item);
        if item.text("type").as_deref() == Some("function_call_output") {
            prompt.add("tool", item.raw("output"));
        } else {
            prompt.add(&item.text("role").unwrap_or_default(), item.raw("content"));
        }
    }
    if body.text("tool_choice").as_deref() != Some("none") {
        for tool in body.list("tools") {
            let tool = Object::of(tool);
            prompt.offer(tool.text("name"), tool.raw("parameters"));
        }
    }
    prompt
}

/// How far an item or the response is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Running,
    Done,
}

impl Progress {
    fn status(self) -> &'static str {
        match self {
            Progress::Running => "in_progress",
            Progress::Done => "completed",
        }
    }
}

fn put_whole(out: &mut Vec<u8>, story: &Story) {
    put_response(out, story, Progress::Done);
}

fn put_response(out: &mut Vec<u8>, story: &Story, progress: Progress) {
    put(out, "{\"id\":\"resp_");
    put_hex(out, story.id);
    put(out, "\",\"object\":\"response\",\"created_at\":");
    put_number(out, CREATED);
    put(out, ",\"status\":\"");
    put(out, progress.status());
    put(
        out,
        "\",\"background\":false,\"error\":null,\"incomplete_details\":null,\"instructions\":null",
    );
    put(out, ",\"max_output_tokens\":null,\"model\":");
    put_text(out, &story.model);
    put(out, ",\"output\":[");
    if progress == Progress::Done {
        for (at, segment) in story.segments.iter().enumerate() {
            put(out, if at == 0 { "" } else { "," });
            put_item(out, story, at, segment, Progress::Done);
        }
    }
    put(out, "],\"parallel_tool_calls\":true,\"previous_response_id\":null");
    put(
        out,
        ",\"reasoning\":{\"effort\":null,\"summary\":null},\"service_tier\":\"default\",\"store\":false",
    );
    put(
        out,
        ",\"temperature\":1.0,\"text\":{\"format\":{\"type\":\"text\"}},\"tool_choice\":\"auto\"",
    );
    put(out, ",\"tools\":[],\"top_p\":1.0,\"truncation\":\"disabled\",\"usage\":");
    match progress {
        Progress::Running => put(out, "null"),
        Progress::Done => put_usage(out, story),
    }
    put(out, ",\"user\":null,\"metadata\":{}}");
}

fn put_usage(out: &mut Vec<u8>, story: &Story) {
    let (input, output) = (story.prompt_tokens, story.completion_tokens());
    put(out, "{\"input_tokens\":");
    put_number(out, input);
    put(out, ",\"input_tokens_details\":{\"cached_tokens\":0},\"output_tokens\":");
    put_number(out, output);
    put(out, ",\"output_tokens_details\":{\"reasoning_tokens\":");
    put_number(out, story.reasoning_tokens());
    put(out, "},\"total_tokens\":");
    put_number(out, input + output);
    put(out, "}");
}

fn put_item_id(out: &mut Vec<u8>, story: &Story, at: usize, segment: &Segment) {
    put(
        out,
        match segment {
            Segment::Think(_) => "rs_",
            Segment::Text(_) => "msg_",
            Segment::Call { .. } => "fc_",
        },
    );
    put_hex(out, mix(story.id, at as u64));
}

/// An output item; a running one is still empty.
fn put_item(out: &mut Vec<u8>, story: &Story, at: usize, segment: &Segment, progress: Progress) {
    put(out, "{\"id\":\"");
    put_item_id(out, story, at, segment);
    let done = progress == Progress::Done;
    match segment {
        Segment::Think(tokens) => {
            put(out, "\",\"type\":\"reasoning\",\"summary\":[");
            if done {
                put_summary(out, &tokens.whole());
            }
            put(out, "]}");
        }
        Segment::Text(tokens) => {
            put(out, "\",\"type\":\"message\",\"status\":\"");
            put(out, progress.status());
            put(out, "\",\"role\":\"assistant\",\"content\":[");
            if done {
                put_text_part(out, &tokens.whole());
            }
            put(out, "]}");
        }
        Segment::Call { name, arguments } => {
            put(out, "\",\"type\":\"function_call\",\"status\":\"");
            put(out, progress.status());
            put(out, "\",\"call_id\":\"call_");
            put_hex(out, mix(story.id, at as u64));
            put(out, "\",\"name\":");
            put_text(out, name);
            put(out, ",\"arguments\":");
            put_text(out, if done { arguments.whole() } else { "".into() }.as_ref());
            put(out, "}");
        }
    }
}

fn put_text_part(out: &mut Vec<u8>, text: &str) {
    put(out, "{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":");
    put_text(out, text);
    put(out, "}");
}

fn put_summary(out: &mut Vec<u8>, text: &str) {
    put(out, "{\"type\":\"summary_text\",\"text\":");
    put_text(out, text);
    put(out, "}");
}

/// Appends the events of `step`; `count` numbers them from 0.
pub(super) fn put_events(out: &mut Vec<u8>, story: &Story, step: Step, count: &mut u64) {
    match step {
        Step::Begin => {
            for kind in ["response.created", "response.in_progress"] {
                put_event(out, count, kind, |out| {
                    put(out, ",\"response\":");
                    put_response(out, story, Progress::Running);
                });
            }
        }
        Step::Open(at) => put_opening(out, story, at, count),
        Step::Piece(at, token) => {
            let Some(segment) = story.segments.get(at) else { return };
            let kind = match segment {
                Segment::Think(_) => "response.reasoning_summary_text.delta",
                Segment::Text(_) => "response.output_text.delta",
                Segment::Call { .. } => "response.function_call_arguments.delta",
            };
            put_event(out, count, kind, |out| {
                put_place(out, story, at, segment);
                put(out, ",\"delta\":");
                put_text(out, &segment.tokens().piece(token));
                put(out, if matches!(segment, Segment::Text(_)) { ",\"logprobs\":[]" } else { "" });
            });
        }
        Step::Close(at) => put_closing(out, story, at, count),
        Step::End => put_event(out, count, "response.completed", |out| {
            put(out, ",\"response\":");
            put_response(out, story, Progress::Done);
        }),
    }
}

fn put_event(out: &mut Vec<u8>, count: &mut u64, kind: &str, put_rest: impl FnOnce(&mut Vec<u8>)) {
    put(out, "event: ");
    put(out, kind);
    put(out, "\ndata: {\"type\":\"");
    put(out, kind);
    put(out, "\",\"sequence_number\":");
    put_number(out, *count);
    *count += 1;
    put_rest(out);
    put(out, "}\n\n");
}

/// Where an event belongs: the item, and the part in it.
fn put_place(out: &mut Vec<u8>, story: &Story, at: usize, segment: &Segment) {
    put(out, ",\"item_id\":\"");
    put_item_id(out, story, at, segment);
    put(out, "\",\"output_index\":");
    put_number(out, at as u64);
    put(
        out,
        match segment {
            Segment::Think(_) => ",\"summary_index\":0",
            Segment::Text(_) => ",\"content_index\":0",
            Segment::Call { .. } => "",
        },
    );
}

fn put_opening(out: &mut Vec<u8>, story: &Story, at: usize, count: &mut u64) {
    let Some(segment) = story.segments.get(at) else { return };
    put_event(out, count, "response.output_item.added", |out| {
        put(out, ",\"output_index\":");
        put_number(out, at as u64);
        put(out, ",\"item\":");
        put_item(out, story, at, segment, Progress::Running);
    });
    let kind = match segment {
        Segment::Think(_) => "response.reasoning_summary_part.added",
        Segment::Text(_) => "response.content_part.added",
        Segment::Call { .. } => return,
    };
    put_event(out, count, kind, |out| {
        put_place(out, story, at, segment);
        put(out, ",\"part\":");
        put_part(out, segment, "");
    });
}

fn put_part(out: &mut Vec<u8>, segment: &Segment, text: &str) {
    match segment {
        Segment::Think(_) => put_summary(out, text),
        _ => put_text_part(out, text),
    }
}

fn put_closing(out: &mut Vec<u8>, story: &Story, at: usize, count: &mut u64) {
    let Some(segment) = story.segments.get(at) else { return };
    let whole = segment.tokens().whole();
    let (text_done, part_done) = match segment {
        Segment::Think(_) => {
            ("response.reasoning_summary_text.done", Some("response.reasoning_summary_part.done"))
        }
        Segment::Text(_) => ("response.output_text.done", Some("response.content_part.done")),
        Segment::Call { .. } => ("response.function_call_arguments.done", None),
    };
    put_event(out, count, text_done, |out| {
        put_place(out, story, at, segment);
        match segment {
            Segment::Call { name, .. } => {
                put(out, ",\"name\":");
                put_text(out, name);
                put(out, ",\"arguments\":");
            }
            Segment::Text(_) => put(out, ",\"logprobs\":[],\"text\":"),
            Segment::Think(_) => put(out, ",\"text\":"),
        }
        put_text(out, &whole);
    });
    if let Some(kind) = part_done {
        put_event(out, count, kind, |out| {
            put_place(out, story, at, segment);
            put(out, ",\"part\":");
            put_part(out, segment, &whole);
        });
    }
    put_event(out, count, "response.output_item.done", |out| {
        put(out, ",\"output_index\":");
        put_number(out, at as u64);
        put(out, ",\"item\":");
        put_item(out, story, at, segment, Progress::Done);
    });
}
