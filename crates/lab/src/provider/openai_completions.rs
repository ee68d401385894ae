//! OpenAI's legacy completions: `POST /v1/completions` (platform.openai.com/docs/api-reference/completions).

use super::answer::Answer;
use super::call::{CREATED, Call};
use super::narration::{Form, Step};
use super::openai_chat::put_usage;
use super::prompt::Prompt;
use super::story::{Segment, Story};
use crate::json::{list_of, put, put_hex, put_number, put_text};

/// Answers a completion.
pub(super) fn answer(call: &Call) -> Result<Answer, Answer> {
    let body = call.object()?;
    let (name, model) = call.model(&body)?;
    let mut prompt = Prompt::default();
    if let Some(written) = body.raw("prompt") {
        // A list of prompts is a batch; the lab completes its first.
        let first =
            if written.get().starts_with('[') { list_of(written).first().copied() } else { None };
        prompt.add("user", Some(first.unwrap_or(written)));
    }
    let story = Story::new(call.id, &name, model, &prompt);
    let form = Form::Completion { usage: body.object("stream_options").flag("include_usage") };
    Ok(call.told(story, model, body.flag("stream").then_some(form), put_whole))
}

fn put_choice(out: &mut Vec<u8>, story: &Story, text: Option<&str>, finish: Option<&str>) {
    put(out, "{\"id\":\"cmpl-");
    put_hex(out, story.id);
    put(out, "\",\"object\":\"text_completion\",\"created\":");
    put_number(out, CREATED);
    put(out, ",\"model\":");
    put_text(out, &story.model);
    put(out, ",\"choices\":[");
    if let Some(text) = text {
        put(out, "{\"text\":");
        put_text(out, text);
        put(out, ",\"index\":0,\"logprobs\":null,\"finish_reason\":");
        match finish {
            Some(reason) => put_text(out, reason),
            None => put(out, "null"),
        }
        put(out, "}");
    }
    put(out, "]");
}

fn put_whole(out: &mut Vec<u8>, story: &Story) {
    put_choice(out, story, Some(&story.text()), Some("stop"));
    put(out, ",\"usage\":");
    put_usage(out, story);
    put(out, "}");
}

/// Appends the chunks of `step`; reasoning and calls do not exist here.
pub(super) fn put_events(out: &mut Vec<u8>, story: &Story, step: Step, usage: bool) {
    let end = if usage { ",\"usage\":null}\n\n" } else { "}\n\n" };
    match step {
        Step::Piece(at, token) => {
            if let Some(Segment::Text(tokens)) = story.segments.get(at) {
                put(out, "data: ");
                put_choice(out, story, Some(&tokens.piece(token)), None);
                put(out, end);
            }
        }
        Step::End => {
            put(out, "data: ");
            put_choice(out, story, Some(""), Some("stop"));
            put(out, end);
            if usage {
                put(out, "data: ");
                put_choice(out, story, None, None);
                put(out, ",\"usage\":");
                put_usage(out, story);
                put(out, "}\n\n");
            }
            put(out, "data: [DONE]\n\n");
        }
        Step::Begin | Step::Open(_) | Step::Close(_) => {}
    }
}
