//! OpenAI endpoints that carry files: images, audio, and the file store.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::answer::Answer;
use super::call::{CREATED, Call};
use super::model::Model;
use super::prompt::words;
use crate::connection::Request;
use crate::fingerprint::{fingerprint, mix};
use crate::json::{put, put_hex, put_number, put_text};
use crate::multipart::{self, Part};

/// Most images of one request, as with the vendor.
const IMAGES_MAX: u64 = 10;

/// Bytes of sound for each word that `speech` reads.
const SOUND_BYTES_PER_WORD: u64 = 512;

/// Most words that `speech` reads; the vendor takes 4,096 characters.
const SPEECH_WORDS_MAX: u64 = 4096;

/// The smallest grey PNG: one pixel.
const PIXEL: [u8; 67] = [
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d, 0x49, 0x48, 0x44, 0x52, 0, 0, 0,
    1, 0, 0, 0, 1, 8, 0, 0, 0, 0, 0x3a, 0x7e, 0x9b, 0x55, 0, 0, 0, 0x0a, 0x49, 0x44, 0x41, 0x54,
    0x78, 0xda, 0x63, 0x60, 0, 0, 0, 2, 0, 1, 0xe5, 0x27, 0xde, 0xfc, 0, 0, 0, 0, 0x49, 0x45, 0x4e,
    0x44, 0xae, 0x42, 0x60, 0x82,
];

/// `POST /v1/images/generations`.
pub(super) fn images(call: &Call) -> Result<Answer, Answer> {
    let body = call.object()?;
    let (_, model) = call.model(&body)?;
    let Some(prompt) = body.text("prompt") else {
        return Err(call.bad_request("Missing required parameter: 'prompt'."));
    };
    let as_url = body.text("response_format").as_deref() == Some("url");
    drawn(call, model, &prompt, body.number("n").unwrap_or(1), as_url)
}

/// `POST /v1/images/edits` and `/v1/images/variations`: a form with at least one image.
pub(super) fn image_edits(call: &Call) -> Result<Answer, Answer> {
    let form = form(call)?;
    let model = form_model(call, &form)?;
    if !form.iter().any(|part| part.name == "image" || part.name == "image[]") {
        return Err(call.bad_request("Missing required parameter: 'image'."));
    }
    let prompt = form_text(&form, "prompt").unwrap_or_default();
    let count = form_text(&form, "n").and_then(|n| n.parse().ok()).unwrap_or(1);
    drawn(call, model, prompt, count, form_text(&form, "response_format") == Some("url"))
}

fn drawn(
    call: &Call,
    model: Model,
    prompt: &str,
    count: u64,
    as_url: bool,
) -> Result<Answer, Answer> {
    if !(1..=IMAGES_MAX).contains(&count) {
        return Err(call.bad_request("'n' must be between 1 and 10."));
    }
    let mut out = Vec::with_capacity(512);
    put(&mut out, "{\"created\":");
    put_number(&mut out, CREATED);
    put(&mut out, ",\"data\":[");
    for index in 0..count {
        put(&mut out, if index == 0 { "" } else { "," });
        if as_url {
            put(&mut out, "{\"url\":\"https://images.invalid/");
            put_hex(&mut out, mix(call.id, index));
            put(&mut out, ".png\",\"revised_prompt\":");
        } else {
            put(&mut out, "{\"b64_json\":");
            put_text(&mut out, &BASE64_STANDARD.encode(PIXEL));
            put(&mut out, ",\"revised_prompt\":");
        }
        put_text(&mut out, prompt);
        put(&mut out, "}");
    }
    let used = words(prompt);
    put(&mut out, "],\"usage\":{\"input_tokens\":");
    put_number(&mut out, used);
    put(&mut out, ",\"input_tokens_details\":{\"image_tokens\":0,\"text_tokens\":");
    put_number(&mut out, used);
    put(&mut out, "},\"output_tokens\":");
    put_number(&mut out, count);
    put(&mut out, ",\"total_tokens\":");
    put_number(&mut out, used + count);
    put(&mut out, "}}");
    Ok(call.plain(model, Answer::json(out)))
}

/// `POST /v1/audio/transcriptions` and `/v1/audio/translations`: says what it received, in the format asked for.
pub(super) fn transcriptions(call: &Call) -> Result<Answer, Answer> {
    let form = form(call)?;
    let model = form_model(call, &form)?;
    let Some(file) = form.iter().find(|part| part.name == "file") else {
        return Err(call.bad_request("Missing required parameter: 'file'."));
    };
    let name = file.file_name.unwrap_or("file");
    let text = format!("{name} holds {} bytes of sound.", file.content.len());
    let answer = match form_text(&form, "response_format") {
        Some("text") => {
            Answer::bytes("text/plain; charset=utf-8", format!("{text}\n").into_bytes())
        }
        Some("srt") => {
            let lines = format!("1\n00:00:00,000 --> 00:00:01,000\n{text}\n\n");
            Answer::bytes("text/plain; charset=utf-8", lines.into_bytes())
        }
        Some("vtt") => {
            let lines = format!("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n{text}\n\n");
            Answer::bytes("text/plain; charset=utf-8", lines.into_bytes())
        }
        format => {
            let mut out = Vec::with_capacity(256);
            put(&mut out, "{");
            if format == Some("verbose_json") {
                put(
                    &mut out,
                    "\"task\":\"transcribe\",\"language\":\"english\",\"duration\":1.0,\"segments\":[],",
                );
            }
            put(&mut out, "\"text\":");
            put_text(&mut out, &text);
            put(&mut out, ",\"usage\":{\"type\":\"duration\",\"seconds\":1}}");
            Answer::json(out)
        }
    };
    Ok(call.plain(model, answer))
}

/// `POST /v1/audio/speech`: noise whose length follows the number of words.
pub(super) fn speech(call: &Call) -> Result<Answer, Answer> {
    let body = call.object()?;
    let (_, model) = call.model(&body)?;
    let Some(input) = body.text("input") else {
        return Err(call.bad_request("Missing required parameter: 'input'."));
    };
    let content_type = match body.text("response_format").as_deref() {
        Some("wav") => "audio/wav",
        Some("opus") => "audio/opus",
        Some("aac") => "audio/aac",
        Some("flac") => "audio/flac",
        Some("pcm") => "audio/pcm",
        _ => "audio/mpeg",
    };
    let seed = fingerprint(input.as_bytes());
    let bytes = words(&input).clamp(1, SPEECH_WORDS_MAX) * SOUND_BYTES_PER_WORD;
    let sound = (0..bytes / 8).flat_map(|at| mix(seed, at).to_le_bytes()).collect();
    Ok(call.plain(model, Answer::bytes(content_type, sound)))
}

/// `POST /v1/files`: takes a file and forgets it.
pub(super) fn upload(call: &Call) -> Result<Answer, Answer> {
    let form = form(call)?;
    let Some(file) = form.iter().find(|part| part.name == "file") else {
        return Err(call.bad_request("Missing required parameter: 'file'."));
    };
    let mut out = Vec::with_capacity(256);
    put(&mut out, "{\"id\":\"file-");
    put_hex(&mut out, call.id);
    put(&mut out, "\",\"object\":\"file\",\"bytes\":");
    put_number(&mut out, file.content.len() as u64);
    put(&mut out, ",\"created_at\":");
    put_number(&mut out, CREATED);
    put(&mut out, ",\"filename\":");
    put_text(&mut out, file.file_name.unwrap_or("file"));
    put(&mut out, ",\"purpose\":");
    put_text(&mut out, form_text(&form, "purpose").unwrap_or("assistants"));
    put(&mut out, ",\"status\":\"processed\",\"status_details\":null}");
    Ok(call.plain(Model::Echo, Answer::json(out)))
}

fn form<'a>(call: &Call<'a>) -> Result<Vec<Part<'a>>, Answer> {
    let Request { body, .. } = call.request;
    let content_type = call.request.field("content-type").unwrap_or_default();
    let refused = || call.bad_request("Could not parse the multipart/form-data body.");
    multipart::parts(content_type, body).ok_or_else(refused)
}

fn form_text<'a>(form: &[Part<'a>], name: &str) -> Option<&'a str> {
    let part = form.iter().find(|part| part.name == name)?;
    std::str::from_utf8(part.content).ok()
}

fn form_model(call: &Call, form: &[Part]) -> Result<Model, Answer> {
    match form_text(form, "model") {
        Some(name) => call.named_model(name),
        None => Err(call.bad_request("you must provide a model parameter")),
    }
}
