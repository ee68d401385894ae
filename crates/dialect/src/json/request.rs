//! What routing needs from a request body, and the same body with another model name.

use std::ops::Range;

use super::scanner::{Fault, JsonError, Scanner, Token};
use super::write::{json_string_len, push_json_string};
use crate::text::{Text, TextError};

/// What was read from a JSON request body. Only top-level fields count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestFacts {
    /// The model asked for, decoded; `None` when the field is missing or null.
    pub model: Option<Text>,
    /// The string token of the last `model`, quotes included, as a byte range of the body; empty
    /// when there is none.
    pub model_span: Range<usize>,
    /// `stream` is true.
    pub stream: bool,
    /// `stream_options.include_usage` is true.
    pub include_usage: bool,
    /// How often a `model` string occurs. Parsers disagree on which of several counts, so all are
    /// renamed.
    model_count: u32,
}

/// Reads a request body. The whole body must be UTF-8 and one JSON object (RFC 8259), nested at most
/// [`DEPTH_MAX`](super::DEPTH_MAX) deep. Of a repeated key the last value counts. A number may have
/// any size and a string may hold half a surrogate pair: the grammar allows both, and the bytes are
/// passed on unread.
///
/// # Errors
/// The first problem with its place; also `model` that is not a string (or longer than 255 bytes, or
/// no text) and `stream` that is not a boolean.
pub fn scan_request(body: &[u8]) -> Result<RequestFacts, JsonError> {
    if let Err(error) = std::str::from_utf8(body) {
        let fault = Fault { at: error.valid_up_to(), what: "the body is not valid UTF-8" };
        return Err(JsonError::locate(body, fault));
    }
    scan(body).map_err(|fault| JsonError::locate(body, fault))
}

fn scan(body: &[u8]) -> Result<RequestFacts, Fault> {
    let mut facts = RequestFacts {
        model: None,
        model_span: 0..0,
        stream: false,
        include_usage: false,
        model_count: 0,
    };
    let mut model = None;
    let mut scanner = Scanner::new(body);
    let mut member = scanner.open_object("expected '{': the body must be a JSON object")?;
    while let Some(key) = member {
        match field(key, body) {
            Field::Model => {
                model = model_token(&mut scanner)?;
                facts.model_count += u32::from(model.is_some());
            }
            Field::Stream => {
                facts.stream = flag(&mut scanner)?
                    .ok_or(())
                    .or_else(|()| scanner.fault("'stream' must be true or false"))?;
            }
            Field::StreamOptions => facts.include_usage = include_usage(&mut scanner)?,
            Field::Other => scanner.skip_value()?,
        }
        member = scanner.next_member()?;
    }
    scanner.end()?;
    if let Some(token) = model {
        facts.model = Some(decode_model(token, body)?);
        facts.model_span = token.start..token.end;
    }
    Ok(facts)
}

enum Field {
    Model,
    Stream,
    StreamOptions,
    Other,
}

fn field(key: Token, body: &[u8]) -> Field {
    let content = key.content(body);
    let decoded;
    let name = if key.escaped {
        // A key too long or too odd to decode is none of ours.
        match Text::from_json_content(content) {
            Ok(text) => {
                decoded = text;
                decoded.as_bytes()
            }
            Err(_) => return Field::Other,
        }
    } else {
        content
    };
    match name {
        b"model" => Field::Model,
        b"stream" => Field::Stream,
        b"stream_options" => Field::StreamOptions,
        _ => Field::Other,
    }
}

/// The string token of a model, or `None` for null.
fn model_token(scanner: &mut Scanner<'_>) -> Result<Option<Token>, Fault> {
    match scanner.peek_value() {
        Some(b'"') => scanner.string().map(Some),
        Some(b'n') => scanner.literal(b"null").map(|()| None),
        _ => scanner.fault("'model' must be a string"),
    }
}

fn decode_model(token: Token, body: &[u8]) -> Result<Text, Fault> {
    let content = token.content(body);
    let text =
        if token.escaped { Text::from_json_content(content) } else { Text::from_utf8(content) };
    text.map_err(|error| Fault {
        at: token.start,
        what: match error {
            TextError::TooLong => "'model' is longer than 255 bytes",
            TextError::LoneSurrogate => "'model' contains half of a surrogate pair",
            TextError::Invalid => "'model' is not valid text",
        },
    })
}

/// Takes a boolean (null counts as false); leaves anything else untouched and returns `None`.
fn flag(scanner: &mut Scanner<'_>) -> Result<Option<bool>, Fault> {
    match scanner.peek_value() {
        Some(b't') => scanner.literal(b"true").map(|()| Some(true)),
        Some(b'f') => scanner.literal(b"false").map(|()| Some(false)),
        Some(b'n') => scanner.literal(b"null").map(|()| Some(false)),
        _ => Ok(None),
    }
}

/// Takes the value of `stream_options`. What is wrong with its types is for the provider to say.
fn include_usage(scanner: &mut Scanner<'_>) -> Result<bool, Fault> {
    let mut wanted = false;
    if scanner.peek_value() != Some(b'{') {
        scanner.skip_value()?;
        return Ok(wanted);
    }
    let body = scanner.bytes();
    let mut member = scanner.open_object("expected '{'")?;
    while let Some(key) = member {
        if key.content(body) == b"include_usage" {
            match flag(scanner)? {
                Some(value) => wanted = value,
                None => scanner.skip_value()?,
            }
        } else {
            scanner.skip_value()?;
        }
        member = scanner.next_member()?;
    }
    Ok(wanted)
}

/// Appends `body` to `out` with every top-level `model` string replaced by `to`; all other bytes
/// stay as they are. `facts` must come from scanning this same body. A body without a model is
/// copied.
pub fn rename_model(body: &[u8], facts: &RequestFacts, to: &str, out: &mut Vec<u8>) {
    out.reserve(renamed_len(body, facts, to));
    let mut copied = 0;
    for_each_model(body, facts, |span| {
        out.extend_from_slice(body.get(copied..span.start).unwrap_or_default());
        push_json_string(to, out);
        copied = span.end;
    });
    out.extend_from_slice(body.get(copied..).unwrap_or_default());
}

/// How many bytes [`rename_model`] appends: the new Content-Length.
pub fn renamed_len(body: &[u8], facts: &RequestFacts, to: &str) -> usize {
    let mut len = body.len();
    for_each_model(body, facts, |span| {
        len = len - span.len() + json_string_len(to);
    });
    len
}

/// Visits the spans that renaming replaces, in order.
fn for_each_model(body: &[u8], facts: &RequestFacts, mut visit: impl FnMut(Range<usize>)) {
    if facts.model.is_none() {
        return;
    }
    if facts.model_count == 1 {
        visit(facts.model_span.clone());
        return;
    }
    // Repeated keys are rare enough to scan for them again rather than to keep a list.
    let mut scanner = Scanner::new(body);
    let mut walk = || -> Result<(), Fault> {
        let mut member = scanner.open_object("")?;
        while let Some(key) = member {
            if matches!(field(key, body), Field::Model) {
                if let Some(token) = model_token(&mut scanner)? {
                    visit(token.start..token.end);
                }
            } else {
                scanner.skip_value()?;
            }
            member = scanner.next_member()?;
        }
        Ok(())
    };
    // This body has been scanned without a fault before.
    let _ = walk();
}
