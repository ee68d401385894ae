//! Errors in the words of each dialect: reply bodies, and events in the middle of a stream.

use crate::json::push_json_string;
use crate::{Dialect, Operation};

/// What kind of error it is; decides the `type` that SDKs and callers look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request cannot be understood or asks for something that does not exist (400, 405, 415,
    /// 422).
    InvalidRequest,
    /// No valid key (401).
    Authentication,
    /// The key is valid but may not do this (403).
    Permission,
    /// No such path or model (404).
    NotFound,
    /// The body or head is over a limit (413, 431).
    RequestTooLarge,
    /// The caller is over its rate or quota (429).
    RateLimit,
    /// We or the provider are full (503, 529).
    Overloaded,
    /// A deadline passed (408, 504).
    Timeout,
    /// The provider failed (500, 502).
    Upstream,
    /// We failed (500).
    Internal,
}

impl ErrorKind {
    /// The kind that a status stands for.
    pub fn from_status(status: u16) -> Self {
        match status {
            401 => Self::Authentication,
            403 => Self::Permission,
            404 => Self::NotFound,
            408 | 504 => Self::Timeout,
            413 | 431 => Self::RequestTooLarge,
            429 => Self::RateLimit,
            503 | 529 => Self::Overloaded,
            500.. => Self::Upstream,
            _ => Self::InvalidRequest,
        }
    }

    /// The `type` of an error in this dialect. OpenAI knows few types and tells the rest by status
    /// and code; Anthropic has one per status.
    pub fn type_name(self, dialect: Dialect) -> &'static str {
        match (dialect, self) {
            (_, Self::InvalidRequest)
            | (Dialect::OpenAi, Self::NotFound | Self::RequestTooLarge) => "invalid_request_error",
            (_, Self::Authentication) => "authentication_error",
            (_, Self::Permission) => "permission_error",
            (Dialect::OpenAi, Self::RateLimit) => "rate_limit_exceeded",
            (
                Dialect::OpenAi,
                Self::Overloaded | Self::Timeout | Self::Upstream | Self::Internal,
            ) => "server_error",
            (Dialect::Anthropic, Self::NotFound) => "not_found_error",
            (Dialect::Anthropic, Self::RequestTooLarge) => "request_too_large",
            (Dialect::Anthropic, Self::RateLimit) => "rate_limit_error",
            (Dialect::Anthropic, Self::Overloaded) => "overloaded_error",
            (Dialect::Anthropic, Self::Timeout) => "timeout_error",
            (Dialect::Anthropic, Self::Upstream | Self::Internal) => "api_error",
        }
    }
}

/// An error as it is told to a caller. `message` must be free of secrets: it is written as it
/// stands.
#[derive(Clone, Copy, Debug)]
pub struct ErrorText<'a> {
    /// The HTTP status that goes with it; not part of any body.
    pub status: u16,
    /// Decides the dialect's `type`.
    pub kind: ErrorKind,
    /// For people: what happened and what to do next.
    pub message: &'a str,
    /// Our reason code, as in the log and the metrics.
    pub code: &'a str,
    /// The request field at fault, such as `model`.
    pub param: Option<&'a str>,
    /// Finds the log line.
    pub request_id: &'a str,
}

/// The body of an error reply. OpenAI: `{"error":{message,type,param,code}}`; Anthropic:
/// `{"type":"error","error":{type,message},"request_id"}`.
pub fn envelope(dialect: Dialect, error: &ErrorText<'_>) -> Vec<u8> {
    let mut body = Body::with_room_for(error);
    match dialect {
        Dialect::OpenAi => {
            body.raw("{\"error\":");
            body.openai_error(error);
            body.raw("}");
        }
        Dialect::Anthropic => body.anthropic_error(error),
    }
    body.bytes
}

/// The body of an error reply to a caller that speaks no LLM dialect:
/// `{"error":{message,code,request_id}}`.
pub fn plain_envelope(error: &ErrorText<'_>) -> Vec<u8> {
    let mut body = Body::with_room_for(error);
    body.raw("{\"error\":{\"message\":");
    body.string(error.message);
    body.raw(",\"code\":");
    body.string(error.code);
    body.raw(",\"request_id\":");
    body.string(error.request_id);
    body.raw("}}");
    body.bytes
}

/// The status for the caller when the provider answered `upstream_status`. 529 is Anthropic's own:
/// OpenAI SDKs get the 503 that means the same.
pub fn status_for(dialect: Dialect, upstream_status: u16) -> u16 {
    match (dialect, upstream_status) {
        (Dialect::OpenAi, 529) => 503,
        _ => upstream_status,
    }
}

/// A complete SSE event that tells of an error in the middle of a stream. Nothing may follow it,
/// not even `[DONE]`.
///
/// In the Responses API the event's fields stand at the top level, as its reference has it, and
/// once more under `error`, as the API sends it and as SDKs need it to raise an exception. Its
/// events are numbered: here the error is the first;
/// [`StreamWatch::error_event`](crate::StreamWatch::error_event) continues the count of a stream
/// that has begun.
pub fn stream_error(dialect: Dialect, operation: Operation, error: &ErrorText<'_>) -> Vec<u8> {
    numbered_stream_error(dialect, operation, error, 0)
}

/// [`stream_error`] with the number that the event carries in the Responses API.
pub(crate) fn numbered_stream_error(
    dialect: Dialect,
    operation: Operation,
    error: &ErrorText<'_>,
    sequence_number: u64,
) -> Vec<u8> {
    let mut body = Body::with_room_for(error);
    match (dialect, operation) {
        (Dialect::OpenAi, Operation::Responses) => {
            body.raw("event: error\ndata: {\"type\":\"error\",\"sequence_number\":");
            body.raw(&sequence_number.to_string());
            body.raw(",\"code\":");
            body.string(error.code);
            body.raw(",\"message\":");
            body.string(error.message);
            body.raw(",\"param\":");
            body.optional_string(error.param);
            body.raw(",\"error\":");
            body.openai_error(error);
            body.raw("}");
        }
        (Dialect::OpenAi, _) => {
            body.raw("data: {\"error\":");
            body.openai_error(error);
            body.raw("}");
        }
        (Dialect::Anthropic, _) => {
            body.raw("event: error\ndata: ");
            body.anthropic_error(error);
        }
    }
    body.raw("\n\n");
    body.bytes
}

struct Body {
    bytes: Vec<u8>,
}

impl Body {
    fn with_room_for(error: &ErrorText<'_>) -> Self {
        // 192 covers the fixed parts of the longest form, which carries the texts twice.
        let texts = error.message.len() + error.code.len() + error.request_id.len();
        Self { bytes: Vec::with_capacity(192 + 2 * texts) }
    }

    fn raw(&mut self, json: &str) {
        self.bytes.extend_from_slice(json.as_bytes());
    }

    fn string(&mut self, text: &str) {
        push_json_string(text, &mut self.bytes);
    }

    fn optional_string(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.string(text),
            None => self.raw("null"),
        }
    }

    fn openai_error(&mut self, error: &ErrorText<'_>) {
        self.raw("{\"message\":");
        self.string(error.message);
        self.raw(",\"type\":");
        self.string(error.kind.type_name(Dialect::OpenAi));
        self.raw(",\"param\":");
        self.optional_string(error.param);
        self.raw(",\"code\":");
        self.string(error.code);
        self.raw("}");
    }

    fn anthropic_error(&mut self, error: &ErrorText<'_>) {
        self.raw("{\"type\":\"error\",\"error\":{\"type\":");
        self.string(error.kind.type_name(Dialect::Anthropic));
        self.raw(",\"message\":");
        self.string(error.message);
        self.raw("},\"request_id\":");
        self.string(error.request_id);
        self.raw("}");
    }
}
