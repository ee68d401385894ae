//! The model lists of the three dialects.

use super::answer::Answer;
use super::call::{CREATED, Call};
use super::failure::Dialect;
use super::model::{LISTED, Model};
use crate::json::{put, put_number, put_text};

/// All models: one of each kind.
pub(super) fn list(call: &Call) -> Answer {
    let mut out = Vec::with_capacity(1024);
    put(
        &mut out,
        match call.dialect {
            Dialect::OpenAi => "{\"object\":\"list\",\"data\":[",
            Dialect::Anthropic => "{\"data\":[",
            Dialect::Gemini => "{\"models\":[",
        },
    );
    for (at, name) in LISTED.iter().enumerate() {
        put(&mut out, if at == 0 { "" } else { "," });
        put_model(&mut out, call.dialect, name);
    }
    put(&mut out, "]");
    if let (Dialect::Anthropic, [first, .., last]) = (call.dialect, LISTED) {
        put(&mut out, ",\"has_more\":false,\"first_id\":");
        put_text(&mut out, first);
        put(&mut out, ",\"last_id\":");
        put_text(&mut out, last);
    }
    put(&mut out, "}");
    Answer::json(out).identified(call.dialect, call.id)
}

/// The model called `name`, or the vendor's 404.
pub(super) fn one(call: &Call, name: &str) -> Result<Answer, Answer> {
    if Model::named(name).is_none() {
        return Err(call.unknown_model(name));
    }
    let mut out = Vec::with_capacity(128);
    put_model(&mut out, call.dialect, name);
    Ok(Answer::json(out).identified(call.dialect, call.id))
}

fn put_model(out: &mut Vec<u8>, dialect: Dialect, name: &str) {
    match dialect {
        Dialect::OpenAi => {
            put(out, "{\"id\":");
            put_text(out, name);
            put(out, ",\"object\":\"model\",\"created\":");
            put_number(out, CREATED);
            put(out, ",\"owned_by\":\"lab\"}");
        }
        Dialect::Anthropic => {
            put(out, "{\"type\":\"model\",\"id\":");
            put_text(out, name);
            put(out, ",\"display_name\":");
            put_text(out, name);
            put(out, ",\"created_at\":\"2025-01-01T00:00:00Z\"}");
        }
        Dialect::Gemini => {
            put(out, "{\"name\":");
            put_text(out, &format!("models/{name}"));
            put(out, ",\"displayName\":");
            put_text(out, name);
            put(out, ",\"inputTokenLimit\":1000000,\"outputTokenLimit\":1000000");
            put(out, ",\"supportedGenerationMethods\":[\"generateContent\",\"countTokens\"]}");
        }
    }
}
