//! A reply of the provider before it is sent: status, fields, body, pace and how it ends.

use std::time::Duration;

use super::failure::Dialect;
use super::model::{Model, SLOW};
use super::narration::{Form, Narration};
use crate::connection::Request;

/// Longest delay a knob can ask for.
const DELAY_MAX: Duration = Duration::from_mins(10);

/// A reply.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) fields: Vec<(&'static str, String)>,
    pub(super) body: Body,
    pub(super) pace: Pace,
    pub(super) ending: Ending,
}

/// A reply's body.
#[derive(Debug)]
pub(super) enum Body {
    /// With its length declared.
    Whole(Vec<u8>),
    /// Event by event.
    Stream(Box<Narration>),
}

/// When tokens come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pace {
    /// Before the first token (of a whole body: before the head).
    pub(super) first: Duration,
    /// Between tokens.
    pub(super) interval: Duration,
}

/// How a reply ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// As it should.
    Whole,
    /// The connection breaks in the middle.
    Cut(CutBy),
    /// After a little nothing more comes.
    Stall,
    /// In the middle an error event, then a clean end.
    ErrorEvent,
}

/// How `lab-cut` breaks a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CutBy {
    /// The socket closes after a whole event.
    Close,
    /// The socket is reset after a whole event.
    Reset,
    /// The socket closes inside of an event.
    MidEvent,
}

impl Answer {
    /// Status 200 with a JSON body.
    pub(super) fn json(body: Vec<u8>) -> Answer {
        Answer::bytes("application/json", body)
    }

    /// Status 200 with a body of any kind.
    pub(super) fn bytes(content_type: &'static str, body: Vec<u8>) -> Answer {
        Answer {
            status: 200,
            content_type,
            fields: Vec::new(),
            body: Body::Whole(body),
            pace: Pace::default(),
            ending: Ending::Whole,
        }
    }

    /// Status 200 and a stream.
    pub(super) fn stream(narration: Narration) -> Answer {
        let content_type = match narration.form {
            Form::Gemini { array: true } => "application/json",
            _ => "text/event-stream; charset=utf-8",
        };
        Answer {
            body: Body::Stream(Box::new(narration)),
            ..Answer::bytes(content_type, Vec::new())
        }
    }

    /// With the field that carries the vendor's request id.
    pub(super) fn identified(mut self, dialect: Dialect, id: u64) -> Answer {
        let name = match dialect {
            Dialect::OpenAi => "x-request-id",
            Dialect::Anthropic => "request-id",
            Dialect::Gemini => return self,
        };
        self.fields.push((name, format!("req_{id:016x}")));
        self
    }

    /// With the pace and the ending that the model and the request's knobs ask for.
    pub(super) fn behaving(mut self, model: Model, request: &Request) -> Answer {
        let delay = |name| {
            let milliseconds = request.knob(name)?.parse().ok()?;
            Some(Duration::from_millis(milliseconds).min(DELAY_MAX))
        };
        let slow = if model == Model::Slow { SLOW } else { Duration::ZERO };
        self.pace = Pace {
            first: delay("x-lab-first-token-ms").unwrap_or(slow),
            interval: delay("x-lab-interval-ms").unwrap_or_default(),
        };
        self.ending = match model {
            Model::Cut => Ending::Cut(match request.knob("x-lab-cut") {
                Some("reset") => CutBy::Reset,
                Some("mid-event") => CutBy::MidEvent,
                _ => CutBy::Close,
            }),
            Model::Stall => Ending::Stall,
            Model::LateError => Ending::ErrorEvent,
            _ => Ending::Whole,
        };
        self
    }
}
