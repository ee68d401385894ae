//! Tells a story step by step: which step comes next, and in which form it is written.

use super::failure::put_error_event;
use super::story::Story;
use super::{anthropic_messages, gemini, openai_chat, openai_completions, openai_responses};

/// A step of a streamed answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The answer begins.
    Begin,
    /// Segment n begins.
    Open(usize),
    /// Token n of segment m.
    Piece(usize, usize),
    /// Segment n ends.
    Close(usize),
    /// The answer ends.
    End,
}

/// The stream formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// OpenAI chat completions; whether a usage chunk was asked for.
    Chat { usage: bool },
    /// OpenAI completions; whether a usage chunk was asked for.
    Completion { usage: bool },
    /// OpenAI responses.
    Responses,
    /// Anthropic messages.
    Messages,
    /// Gemini as server-sent events, or as one JSON array.
    Gemini { array: bool },
}

/// A story being told.
#[derive(Debug)]
pub(super) struct Narration {
    pub(super) story: Story,
    pub(super) form: Form,
    /// The step to come; `None` after the last.
    pub(super) next: Option<Step>,
    /// Events written; the Responses API numbers them.
    events: u64,
}

impl Narration {
    pub(super) fn new(story: Story, form: Form) -> Narration {
        Narration { story, form, next: Some(Step::Begin), events: 0 }
    }

    /// Appends the events of the next step, if any, and moves on.
    pub(super) fn put_next(&mut self, out: &mut Vec<u8>) {
        let Some(step) = self.next else { return };
        let story = &self.story;
        match self.form {
            Form::Chat { usage } => openai_chat::put_events(out, story, step, usage),
            Form::Completion { usage } => openai_completions::put_events(out, story, step, usage),
            Form::Responses => openai_responses::put_events(out, story, step, &mut self.events),
            Form::Messages => anthropic_messages::put_events(out, story, step),
            Form::Gemini { array } => gemini::put_events(out, story, step, array),
        }
        self.next = self.after(step);
    }

    /// Appends the error event that ends the story before its end.
    pub(super) fn put_error(&self, out: &mut Vec<u8>) {
        put_error_event(out, self.form, self.story.id, self.events);
    }

    fn after(&self, step: Step) -> Option<Step> {
        let tokens = |segment: usize| self.story.segments.get(segment).map(|s| s.tokens().len());
        let open =
            |segment| if tokens(segment).is_some() { Step::Open(segment) } else { Step::End };
        match step {
            Step::Begin => Some(open(0)),
            Step::Open(segment) if tokens(segment) == Some(0) => Some(Step::Close(segment)),
            Step::Open(segment) => Some(Step::Piece(segment, 0)),
            Step::Piece(segment, token) if Some(token + 1) < tokens(segment) => {
                Some(Step::Piece(segment, token + 1))
            }
            Step::Piece(segment, _) => Some(Step::Close(segment)),
            Step::Close(segment) => Some(open(segment + 1)),
            Step::End => None,
        }
    }
}
