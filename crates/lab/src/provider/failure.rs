//! Errors as the vendors word them: envelope, type and code of each dialect, and the fields that SDKs act on.

use super::answer::Answer;
use super::narration::Form;
use crate::json::{put, put_hex, put_number, put_text};

/// Whose error format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    OpenAi,
    Anthropic,
    Gemini,
}

/// An error reply. `id` is the fingerprint of the request.
pub(super) fn failure(dialect: Dialect, status: u16, message: &str, id: u64) -> Answer {
    let (kind, code) = openai_kind(status);
    failure_as(dialect, status, (kind, code), message, id)
}

/// The vendor's 404 for a path; OpenAI's other 404 is about a model.
pub(super) fn unknown_path(dialect: Dialect, method: &str, path: &str, id: u64) -> Answer {
    let message = format!("Invalid URL ({method} {path})");
    failure_as(dialect, 404, ("invalid_request_error", None), &message, id)
}

fn failure_as(
    dialect: Dialect,
    status: u16,
    openai: (&str, Option<&str>),
    message: &str,
    id: u64,
) -> Answer {
    let mut body = Vec::with_capacity(256);
    match dialect {
        Dialect::OpenAi => put_openai(&mut body, openai, message),
        Dialect::Anthropic => put_anthropic(&mut body, status, message, id),
        Dialect::Gemini => put_gemini(&mut body, status, message),
    }
    let mut answer = Answer::json(body).identified(dialect, id);
    answer.status = status;
    if matches!(status, 429 | 503 | 529) {
        answer.fields.push(("retry-after", "1".to_owned()));
    }
    if status == 429 {
        let fields: &[(&str, &str)] = match dialect {
            Dialect::OpenAi => &[
                ("x-ratelimit-limit-requests", "60"),
                ("x-ratelimit-remaining-requests", "0"),
                ("x-ratelimit-reset-requests", "1s"),
            ],
            Dialect::Anthropic => &[
                ("anthropic-ratelimit-requests-limit", "60"),
                ("anthropic-ratelimit-requests-remaining", "0"),
            ],
            Dialect::Gemini => &[],
        };
        answer.fields.extend(fields.iter().map(|(name, value)| (*name, (*value).to_owned())));
    }
    answer
}

/// The text of an error with this status, as the vendors word it. `key` is what the caller offered: real vendors repeat
/// it in a 401.
pub(super) fn wording(status: u16, model: &str, key: Option<&str>) -> String {
    match (status, key) {
        (401, Some(key)) => refused_key(key),
        (401, None) => "You didn't provide an API key.".to_owned(),
        (400, _) => "The request is invalid.".to_owned(),
        (403, _) => "You are not allowed to use this model.".to_owned(),
        (404, _) => unknown_model(model),
        (429, _) => {
            format!("Rate limit reached for {model}: limit 60, used 60. Please try again in 1s.")
        }
        (500, _) => {
            "The server had an error while processing your request. Sorry about that!".to_owned()
        }
        (503, _) => "The engine is currently overloaded, please try again later.".to_owned(),
        (529, _) => "Overloaded".to_owned(),
        _ => format!("The lab answers status {status}, as asked."),
    }
}

/// What a vendor says about a key it does not know: with the key in it.
pub(super) fn refused_key(key: &str) -> String {
    format!(
        "Incorrect API key provided: {key}. You can find your API key in your account's settings."
    )
}

/// What a vendor says about a model it does not have.
pub(super) fn unknown_model(model: &str) -> String {
    format!("The model `{model}` does not exist or you do not have access to it.")
}

/// Appends the error event that ends a broken stream in this form, after `events` numbered ones.
pub(super) fn put_error_event(out: &mut Vec<u8>, form: Form, id: u64, events: u64) {
    let message = wording(529, "", None);
    match form {
        Form::Chat { .. } | Form::Completion { .. } => {
            put(out, "data: ");
            put_openai(out, openai_kind(500), &message);
        }
        Form::Responses => {
            put(
                out,
                "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":",
            );
            put_text(out, &message);
            put(out, ",\"param\":null,\"sequence_number\":");
            put_number(out, events);
            put(out, "}");
        }
        Form::Messages => {
            put(out, "event: error\ndata: ");
            put_anthropic(out, 529, &message, id);
        }
        Form::Gemini { array } => {
            put(out, if array { "" } else { "data: " });
            put_gemini(out, 503, &message);
            put(out, if array { "]" } else { "" });
        }
    }
    put(out, "\n\n");
}

fn put_openai(out: &mut Vec<u8>, (kind, code): (&str, Option<&str>), message: &str) {
    put(out, "{\"error\":{\"message\":");
    put_text(out, message);
    put(out, ",\"type\":");
    put_text(out, kind);
    put(out, ",\"param\":null,\"code\":");
    match code {
        Some(code) => put_text(out, code),
        None => put(out, "null"),
    }
    put(out, "}}");
}

fn put_anthropic(out: &mut Vec<u8>, status: u16, message: &str, id: u64) {
    put(out, "{\"type\":\"error\",\"error\":{\"type\":");
    put_text(out, anthropic_kind(status));
    put(out, ",\"message\":");
    put_text(out, message);
    put(out, "},\"request_id\":\"req_");
    put_hex(out, id);
    put(out, "\"}");
}

fn put_gemini(out: &mut Vec<u8>, status: u16, message: &str) {
    put(out, "{\"error\":{\"code\":");
    put_number(out, u64::from(status));
    put(out, ",\"message\":");
    put_text(out, message);
    put(out, ",\"status\":");
    put_text(out, gemini_kind(status));
    put(out, "}}");
}

/// OpenAI's error type and code.
fn openai_kind(status: u16) -> (&'static str, Option<&'static str>) {
    match status {
        401 => ("invalid_request_error", Some("invalid_api_key")),
        404 => ("invalid_request_error", Some("model_not_found")),
        405 => ("invalid_request_error", Some("method_not_supported")),
        429 => ("requests", Some("rate_limit_exceeded")),
        529 => ("overloaded_error", None),
        500.. => ("server_error", None),
        _ => ("invalid_request_error", None),
    }
}

/// Anthropic's error type (docs.anthropic.com, "Errors").
fn anthropic_kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

/// Google's canonical error names (google.rpc.Code).
fn gemini_kind(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        500 => "INTERNAL",
        504 => "DEADLINE_EXCEEDED",
        501.. => "UNAVAILABLE",
        _ => "INVALID_ARGUMENT",
    }
}
