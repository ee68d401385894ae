//! Gemini: `POST /v1beta/models/MODEL:generateContent`, `:streamGenerateContent`, `:countTokens` (ai.google.dev/api/generate-content).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::answer::Answer;
use super::call::Call;
use super::narration::{Form, Step};
use super::prompt::Prompt;
use super::story::{Segment, Story};
use crate::fingerprint::mix;
use crate::json::{Object, put, put_hex, put_number, put_text};

/// Answers `action` of the model called `name`.
pub(super) fn answer(call: &Call, name: &str, action: &str) -> Result<Answer, Answer> {
    let body = call.object()?;
    let model = call.named_model(name)?;
    if body.raw("contents").is_none() {
        return Err(
            call.bad_request("* GenerateContentRequest.contents: contents is not specified")
        );
    }
    let prompt = prompt(&body);
    let form = match action {
        "generateContent" => None,
        "streamGenerateContent" => {
            Some(Form::Gemini { array: call.request.query("alt") != Some("sse") })
        }
        "countTokens" => {
            let mut out = Vec::with_capacity(32);
            put(&mut out, "{\"totalTokens\":");
            put_number(&mut out, prompt.words);
            put(&mut out, "}");
            return Ok(call.plain(model, Answer::json(out)));
        }
        _ => return Err(call.unknown_path()),
    };
    let story = Story::new(call.id, name, model, &prompt);
    Ok(call.told(story, model, form, put_whole))
}

fn prompt(body: &Object) -> Prompt {
    let mut prompt = Prompt::default();
    prompt.add_words(body.object("systemInstruction").raw("parts"));
    for content in body.list("contents") {
        let content = Object::of(content);
        let answered = |part| Object::of(part).object("functionResponse").raw("response");
        if let Some(response) = content.list("parts").into_iter().find_map(answered) {
            prompt.tool_result = Some(response.get().to_owned());
        } else {
            let role = content.text("role");
            prompt.add(role.as_deref().unwrap_or("user"), content.raw("parts"));
        }
    }
    for tool in body.list("tools") {
        for function in Object::of(tool).list("functionDeclarations") {
            let function = Object::of(function);
            prompt.offer(function.text("name"), function.raw("parameters"));
        }
    }
    prompt
}

fn put_whole(out: &mut Vec<u8>, story: &Story) {
    let put_parts = |out: &mut Vec<u8>| {
        for (at, segment) in story.segments.iter().enumerate() {
            put(out, if at == 0 { "" } else { "," });
            put_part(out, story, segment, &segment.tokens().whole());
        }
    };
    put_reply(out, story, put_parts, true);
}

/// A whole reply object with `put_parts`' parts. The last one of a stream says why it ended and what was used.
fn put_reply(out: &mut Vec<u8>, story: &Story, put_parts: impl Fn(&mut Vec<u8>), last: bool) {
    put(out, "{\"candidates\":[{\"content\":{\"parts\":[");
    put_parts(out);
    put(out, "],\"role\":\"model\"},");
    put(out, if last { "\"finishReason\":\"STOP\"," } else { "" });
    put(out, "\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":");
    let thoughts = story.reasoning_tokens();
    let answered = story.completion_tokens() - thoughts;
    put_number(out, story.prompt_tokens);
    if last {
        put(out, ",\"candidatesTokenCount\":");
        put_number(out, answered);
        put(out, ",\"thoughtsTokenCount\":");
        put_number(out, thoughts);
    }
    put(out, ",\"totalTokenCount\":");
    put_number(out, story.prompt_tokens + if last { answered + thoughts } else { 0 });
    put(out, "},\"modelVersion\":");
    put_text(out, &story.model);
    put(out, ",\"responseId\":\"");
    put_hex(out, story.id);
    put(out, "\"}");
}

fn put_part(out: &mut Vec<u8>, story: &Story, segment: &Segment, text: &str) {
    match segment {
        Segment::Think(_) => {
            put(out, "{\"text\":");
            put_text(out, text);
            put(out, ",\"thought\":true}");
        }
        Segment::Text(_) => {
            put(out, "{\"text\":");
            put_text(out, text);
            put(out, "}");
        }
        Segment::Call { name, .. } => {
            put(out, "{\"functionCall\":{\"name\":");
            put_text(out, name);
            put(out, ",\"args\":");
            put(out, text);
            put(out, "},\"thoughtSignature\":");
            let signature = format!("lab-signature-{:016x}", mix(story.id, u64::MAX));
            put_text(out, &BASE64_STANDARD.encode(signature));
            put(out, "}");
        }
    }
}

/// Appends what `step` sends: a reply object per token; a call comes in one piece, for Gemini does not cut arguments.
pub(super) fn put_events(out: &mut Vec<u8>, story: &Story, step: Step, array: bool) {
    let put_chunk = |out: &mut Vec<u8>, put_parts: &dyn Fn(&mut Vec<u8>), last| {
        put(out, if array { "" } else { "data: " });
        put_reply(out, story, put_parts, last);
        put(out, if array { "" } else { "\r\n\r\n" });
    };
    match step {
        Step::Begin => put(out, if array { "[" } else { "" }),
        Step::Open(_) => {}
        Step::Piece(at, token) => match story.segments.get(at) {
            None | Some(Segment::Call { .. }) => {}
            Some(segment) => {
                let piece = segment.tokens().piece(token);
                put_chunk(out, &|out| put_part(out, story, segment, &piece), false);
                put(out, if array { ",\r\n" } else { "" });
            }
        },
        Step::Close(at) => {
            if let Some(segment @ Segment::Call { arguments, .. }) = story.segments.get(at) {
                let whole = arguments.whole();
                put_chunk(out, &|out| put_part(out, story, segment, &whole), false);
                put(out, if array { ",\r\n" } else { "" });
            }
        }
        Step::End => {
            put_chunk(out, &|out| put(out, "{\"text\":\"\"}"), true);
            put(out, if array { "]" } else { "" });
        }
    }
}
