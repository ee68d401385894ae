//! OpenAI endpoints that judge or embed texts: `POST /v1/embeddings` and `/v1/moderations`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::value::RawValue;

use super::answer::Answer;
use super::call::Call;
use super::model::Model;
use super::prompt::words;
use crate::fingerprint::{fingerprint, mix};
use crate::json::{list_of, put, put_hex, put_number, put_text, text_of};

/// Dimensions of a vector unless asked otherwise, and the most that can be asked for.
const DIMENSIONS: u64 = 64;
const DIMENSIONS_MAX: u64 = 4096;

/// Most inputs of one request, as with the vendor.
const INPUTS_MAX: usize = 2048;

/// Answers embeddings: equal texts get equal vectors.
pub(super) fn embeddings(call: &Call) -> Result<Answer, Answer> {
    let body = call.object()?;
    let (name, model) = call.model(&body)?;
    let inputs = body.raw("input").map(inputs).unwrap_or_default();
    if inputs.is_empty() || inputs.len() > INPUTS_MAX {
        return Err(call.bad_request("'input' must hold 1 to 2048 texts."));
    }
    let dimensions = body.number("dimensions").unwrap_or(DIMENSIONS);
    if !(1..=DIMENSIONS_MAX).contains(&dimensions) {
        return Err(call.bad_request("'dimensions' must be between 1 and 4096."));
    }
    let in_base64 = body.text("encoding_format").as_deref() == Some("base64");
    let mut out = Vec::with_capacity(1024);
    put(&mut out, "{\"object\":\"list\",\"data\":[");
    for (index, input) in inputs.iter().enumerate() {
        put(&mut out, if index == 0 { "" } else { "," });
        put(&mut out, "{\"object\":\"embedding\",\"index\":");
        put_number(&mut out, index as u64);
        put(&mut out, ",\"embedding\":");
        put_vector(&mut out, &vector(input.get(), dimensions), in_base64);
        put(&mut out, "}");
    }
    put(&mut out, "],\"model\":");
    put_text(&mut out, &name);
    put(&mut out, ",\"usage\":{\"prompt_tokens\":");
    let used = inputs.iter().map(|input| tokens(input)).sum();
    put_number(&mut out, used);
    put(&mut out, ",\"total_tokens\":");
    put_number(&mut out, used);
    put(&mut out, "}}");
    Ok(call.plain(model, Answer::json(out)))
}

/// One text, several texts, one list of token numbers, or several of them.
fn inputs(input: &RawValue) -> Vec<&RawValue> {
    let several = list_of(input);
    let nested = several.first().is_some_and(|first| first.get().starts_with(['"', '[']));
    if nested || (several.is_empty() && input.get().starts_with('[')) {
        several
    } else {
        vec![input]
    }
}

fn tokens(input: &RawValue) -> u64 {
    match text_of(input) {
        Some(text) => words(&text),
        None => list_of(input).len() as u64,
    }
}

/// A unit vector that depends on every byte of `text`.
fn vector(text: &str, dimensions: u64) -> Vec<f32> {
    let seed = fingerprint(text.as_bytes());
    let place = |at| (mix(seed, at) >> 40) as f32 / (1_u64 << 23) as f32 - 1.0;
    let raw: Vec<f32> = (0..dimensions).map(place).collect();
    let length = raw.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    raw.into_iter().map(|value| value / length).collect()
}

fn put_vector(out: &mut Vec<u8>, vector: &[f32], in_base64: bool) {
    if in_base64 {
        let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
        put_text(out, &BASE64_STANDARD.encode(bytes));
        return;
    }
    put(out, "[");
    for (at, value) in vector.iter().enumerate() {
        put(out, if at == 0 { "" } else { "," });
        put(out, &format!("{value:.8}"));
    }
    put(out, "]");
}

/// Answers a moderation: a text is flagged when it contains the word `flagged`.
pub(super) fn moderations(call: &Call) -> Result<Answer, Answer> {
    const CATEGORIES: [&str; 13] = [
        "harassment",
        "harassment/threatening",
        "hate",
        "hate/threatening",
        "illicit",
        "illicit/violent",
        "self-harm",
        "self-harm/instructions",
        "self-harm/intent",
        "sexual",
        "sexual/minors",
        "violence",
        "violence/graphic",
    ];
    let body = call.object()?;
    // The vendor has a default model here.
    let (name, model) = match body.raw("model") {
        Some(_) => call.model(&body)?,
        None => ("lab-echo".to_owned(), Model::Echo),
    };
    let Some(input) = body.raw("input") else {
        return Err(call.bad_request("Missing required parameter: 'input'."));
    };
    let mut out = Vec::with_capacity(1024);
    put(&mut out, "{\"id\":\"modr-");
    put_hex(&mut out, call.id);
    put(&mut out, "\",\"model\":");
    put_text(&mut out, &name);
    put(&mut out, ",\"results\":[");
    for (index, input) in inputs(input).iter().enumerate() {
        let flagged = input.get().contains("flagged");
        put(&mut out, if index == 0 { "{\"flagged\":" } else { ",{\"flagged\":" });
        put(&mut out, if flagged { "true" } else { "false" });
        for (object, yes, no) in
            [("categories", "true", "false"), ("category_scores", "0.99", "0.01")]
        {
            put(&mut out, ",\"");
            put(&mut out, object);
            put(&mut out, "\":{");
            for (at, category) in CATEGORIES.iter().enumerate() {
                put(&mut out, if at == 0 { "" } else { "," });
                put_text(&mut out, category);
                put(&mut out, ":");
                put(&mut out, if flagged && *category == "violence" { yes } else { no });
            }
            put(&mut out, "}");
        }
        put(&mut out, "}");
    }
    put(&mut out, "]}");
    Ok(call.plain(model, Answer::json(out)))
}
