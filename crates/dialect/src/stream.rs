//! What an SSE stream tells as it passes by: that it has ended properly, that it failed, what it
//! cost.
//!
//! Frames are looked at, never changed. Per chunk of a chat this is one walk over its lines and two
//! searches for keys; only a frame that carries usage is parsed.

use std::borrow::Cow;

use crate::error::numbered_stream_error;
use crate::json::Scanner;
use crate::usage::{Counts, last_counts};
use crate::{Dialect, ErrorText, Operation, Usage, keys};

/// A frame that keeps an idle stream alive without meaning anything. Only between frames, never
/// inside one.
pub fn heartbeat(dialect: Dialect) -> &'static [u8] {
    match dialect {
        Dialect::OpenAi => b": keep-alive\n\n",
        Dialect::Anthropic => b"event: ping\ndata: {\"type\": \"ping\"}\n\n",
    }
}

/// Follows one stream from a provider. Small: it lives as long as the stream does.
#[derive(Clone, Debug)]
pub struct StreamWatch {
    dialect: Dialect,
    operation: Operation,
    finished: bool,
    errored: bool,
    counted: bool,
    counts: Counts,
    /// The number of the next event in the Responses API.
    sequence_number: u64,
}

impl StreamWatch {
    /// A watch for a stream that has not begun.
    pub fn new(dialect: Dialect, operation: Operation) -> Self {
        Self {
            dialect,
            operation,
            finished: false,
            errored: false,
            counted: false,
            counts: Counts::default(),
            sequence_number: 0,
        }
    }

    /// Looks at one or more complete SSE frames, in the order in which they arrive.
    pub fn observe(&mut self, frames: &[u8]) {
        let mut frame = Frame::default();
        let mut rest = frames;
        while !rest.is_empty() {
            let (line, after) = next_line(rest);
            rest = after;
            if line.is_empty() {
                self.observe_frame(&frame);
                frame = Frame::default();
            } else {
                frame.line(line);
            }
        }
        self.observe_frame(&frame);
    }

    /// The stream has said all that its dialect requires, so a close by the provider is a proper
    /// end; an error event counts, because nothing may follow it.
    ///
    /// OpenAI: `[DONE]`, or a `finish_reason` in chat and completions (some vendors close right
    /// after it; of several choices the first to finish counts); `response.completed`, `.failed` or
    /// `.incomplete` in the Responses API; a `….done` or `….completed` event for audio and images.
    /// Anthropic: `message_stop`; not the `stop_reason` before it, for which SDKs do not settle.
    /// Other operations have no marker we know of, so they count as finished always.
    pub fn finished(&self) -> bool {
        self.finished || self.errored || self.operation == Operation::Other
    }

    /// The provider's own error event went by.
    pub fn errored(&self) -> bool {
        self.errored
    }

    /// What the stream has cost so far, once it has said so.
    pub fn usage(&self) -> Option<Usage> {
        self.counted.then(|| self.counts.usage(self.dialect))
    }

    /// The event that tells the caller of an error at this point of the stream; see
    /// [`stream_error`](crate::stream_error).
    pub fn error_event(&self, error: &ErrorText<'_>) -> Vec<u8> {
        numbered_stream_error(self.dialect, self.operation, error, self.sequence_number)
    }

    fn observe_frame(&mut self, frame: &Frame<'_>) {
        if frame.event == b"error" {
            self.errored = true;
        }
        let Some(data) = frame.data() else {
            return;
        };
        let data = data.as_ref();
        match (self.dialect, self.operation) {
            (Dialect::Anthropic, _) => self.anthropic(frame.event, data),
            (Dialect::OpenAi, Operation::Responses) => self.responses(frame.event, data),
            (Dialect::OpenAi, Operation::ChatCompletions | Operation::Completions) => {
                self.completions(data);
            }
            (Dialect::OpenAi, _) => self.media(frame.event, data),
        }
    }

    fn completions(&mut self, data: &[u8]) {
        if data == b"[DONE]" {
            self.finished = true;
            return;
        }
        let mut reasons = keys::FINISH_REASON.values(data);
        match reasons.next() {
            // An ordinary chunk. Errors come without choices, or with a reason that says so.
            Some(reason) if !is_something(reason) => {
                self.finished |= reasons.any(is_something);
            }
            reason => {
                self.finished |= reason.is_some();
                self.errored |= has_error(data);
            }
        }
        self.count(data);
    }

    fn responses(&mut self, event: &[u8], data: &[u8]) {
        if let Some(number) = keys::SEQUENCE_NUMBER.values(data).find_map(leading_number) {
            self.sequence_number = number.saturating_add(1);
        }
        match event_type(event, data) {
            b"response.completed" | b"response.incomplete" => self.finished = true,
            b"response.failed" => {
                self.finished = true;
                self.errored = true;
            }
            b"error" => self.errored = true,
            b"[DONE]" => {
                self.finished = true;
                return;
            }
            // A vendor's error without a type; anything else carries no usage.
            b"" => self.errored |= has_error(data),
            _ => return,
        }
        self.count(data);
    }

    fn anthropic(&mut self, event: &[u8], data: &[u8]) {
        match event_type(event, data) {
            b"message_start" | b"message_delta" => self.count(data),
            b"message_stop" => self.finished = true,
            b"error" => self.errored = true,
            _ => {}
        }
    }

    /// Audio and images: events with a dotted type, the last of which carries usage.
    fn media(&mut self, event: &[u8], data: &[u8]) {
        let kind = event_type(event, data);
        if kind.ends_with(b".done") || kind.ends_with(b".completed") {
            self.finished = true;
            self.count(data);
            return;
        }
        match kind {
            b"[DONE]" => self.finished = true,
            b"error" => self.errored = true,
            b"" => {
                self.errored |= has_error(data);
                self.count(data);
            }
            _ => {}
        }
    }

    fn count(&mut self, data: &[u8]) {
        if let Some(counts) = last_counts(data) {
            self.counts.replace(counts);
            self.counted = true;
        }
    }
}

/// The lines of one frame that matter.
#[derive(Default)]
struct Frame<'a> {
    event: &'a [u8],
    data: Option<Cow<'a, [u8]>>,
}

impl<'a> Frame<'a> {
    fn line(&mut self, line: &'a [u8]) {
        if let Some(data) = line.strip_prefix(b"data:") {
            let data = data.strip_prefix(b" ").unwrap_or(data);
            match &mut self.data {
                None => self.data = Some(Cow::Borrowed(data)),
                // Several data lines make one text; no provider we know sends them, so the copy
                // costs nothing.
                Some(earlier) => {
                    let joined = earlier.to_mut();
                    joined.push(b'\n');
                    joined.extend_from_slice(data);
                }
            }
        } else if let Some(event) = line.strip_prefix(b"event:") {
            self.event = event.strip_prefix(b" ").unwrap_or(event);
        }
    }

    fn data(&self) -> Option<&Cow<'a, [u8]>> {
        self.data.as_ref()
    }
}

/// Splits off one line and its end: LF, CR or CRLF.
fn next_line(text: &[u8]) -> (&[u8], &[u8]) {
    let Some((line, rest)) =
        memchr::memchr2(b'\n', b'\r', text).and_then(|at| text.split_at_checked(at))
    else {
        return (text, b"");
    };
    let after = rest.strip_prefix(b"\r\n").or_else(|| rest.get(1..)).unwrap_or_default();
    (line, after)
}

/// What kind of event this is: `[DONE]` for that marker, else its `event` field, else the `type` of
/// its data, else nothing.
fn event_type<'a>(event: &'a [u8], data: &'a [u8]) -> &'a [u8] {
    if data == b"[DONE]" {
        data
    } else if event.is_empty() {
        top_level_type(data)
    } else {
        event
    }
}

/// The raw content of the top-level string `type`; empty when there is none.
fn top_level_type(data: &[u8]) -> &[u8] {
    let value = top_level(data, b"type").unwrap_or_default();
    let mut scanner = Scanner::new(value);
    if scanner.peek_value() != Some(b'"') {
        return b"";
    }
    scanner.string().map_or(b"", |token| token.content(value))
}

/// A top-level `error` with something under it. The key also occurs as `"error":null`, and deeper
/// in reports of tools that failed; the cheap search keeps ordinary chunks from being parsed.
fn has_error(data: &[u8]) -> bool {
    keys::ERROR.values(data).any(is_something)
        && top_level(data, b"error").is_some_and(is_something)
}

/// The text from the value of a top-level key on.
fn top_level<'a>(data: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut scanner = Scanner::new(data);
    let mut member = scanner.open_object("").ok()?;
    while let Some(key) = member {
        if key.content(data) == name {
            scanner.peek_value()?;
            return Some(scanner.rest());
        }
        scanner.skip_value().ok()?;
        member = scanner.next_member().ok()?;
    }
    None
}

/// Whether the value at the front of `json` says something: some vendors write `""` where others
/// write null. Of an empty rest nothing is known.
fn is_something(json: &[u8]) -> bool {
    !(json.is_empty() || json.starts_with(b"null") || json.starts_with(b"\"\""))
}

fn leading_number(json: &[u8]) -> Option<u64> {
    let digits = json.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(json.get(..digits)?).ok()?.parse().ok()
}
