//! What a model says, before any dialect writes it down: reasoning, text and tool calls as sequences of tokens.

use std::borrow::Cow;

use super::arguments;
use super::model::Model;
use super::prompt::Prompt;

/// A fragment of tool arguments has about this many bytes.
const FRAGMENT_BYTES: usize = 12;

/// Tokens that `lab-cut`, `lab-stall` and `lab-late-error` would say, had they the time.
const BROKEN_TOKENS: u32 = 16;

/// One whole answer.
#[derive(Debug)]
pub(super) struct Story {
    /// What identifiers derive from.
    pub(super) id: u64,
    /// The model's name as the request wrote it.
    pub(super) model: String,
    /// Reasoning first, then text or calls.
    pub(super) segments: Vec<Segment>,
    /// Words of the prompt.
    pub(super) prompt_tokens: u64,
}

/// A part of the answer.
#[derive(Debug)]
pub(super) enum Segment {
    /// Reasoning.
    Think(Tokens),
    /// Plain text.
    Text(Tokens),
    /// A call of the tool `name`; the tokens are fragments of its JSON arguments.
    Call {
        /// The tool's name.
        name: String,
        /// The JSON object, in fragments.
        arguments: Tokens,
    },
}

/// Text that comes token by token.
#[derive(Debug)]
pub(super) enum Tokens {
    /// `text` cut at `ends` (byte offsets, the last one is the text's length).
    Cut {
        /// The whole text.
        text: String,
        /// Where each token ends.
        ends: Vec<usize>,
    },
    /// `t1 t2 … tN`: made when needed, for there may be a million of them in thousands of streams.
    Counted(u32),
}

impl Tokens {
    /// Cuts before the white space in front of each word: the tokens joined are the text again.
    pub(super) fn words(text: String) -> Tokens {
        let mut ends = Vec::new();
        let mut in_word = false;
        for (at, byte) in text.bytes().enumerate() {
            let space = byte.is_ascii_whitespace();
            if space && in_word {
                ends.push(at);
            }
            in_word = !space;
        }
        if in_word || (ends.is_empty() && !text.is_empty()) {
            ends.push(text.len());
        } else if let Some(last) = ends.last_mut() {
            // White space at the end belongs to the last word.
            *last = text.len();
        }
        Tokens::Cut { text, ends }
    }

    /// Cuts into fragments of about [`FRAGMENT_BYTES`], at character boundaries.
    fn fragments(text: String) -> Tokens {
        let mut ends = Vec::new();
        let mut start = 0;
        for (at, _) in text.char_indices() {
            if at - start >= FRAGMENT_BYTES {
                ends.push(at);
                start = at;
            }
        }
        if !text.is_empty() {
            ends.push(text.len());
        }
        Tokens::Cut { text, ends }
    }

    /// How many tokens there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Tokens::Cut { ends, .. } => ends.len(),
            Tokens::Counted(count) => *count as usize,
        }
    }

    /// Token `index`; empty past the end.
    pub(super) fn piece(&self, index: usize) -> Cow<'_, str> {
        match self {
            Tokens::Cut { text, ends } => {
                let start = index.checked_sub(1).and_then(|before| ends.get(before)).copied();
                let end = ends.get(index).copied().unwrap_or(text.len());
                Cow::Borrowed(text.get(start.unwrap_or(0)..end).unwrap_or_default())
            }
            Tokens::Counted(_) if index == 0 => Cow::Borrowed("t1"),
            Tokens::Counted(_) => Cow::Owned(format!(" t{}", index + 1)),
        }
    }

    /// All tokens joined.
    pub(super) fn whole(&self) -> Cow<'_, str> {
        match self {
            Tokens::Cut { text, .. } => Cow::Borrowed(text),
            Tokens::Counted(_) => {
                Cow::Owned((0..self.len()).map(|index| self.piece(index)).collect())
            }
        }
    }
}

impl Segment {
    /// The segment's tokens.
    pub(super) fn tokens(&self) -> &Tokens {
        match self {
            Segment::Think(tokens) | Segment::Text(tokens) => tokens,
            Segment::Call { arguments, .. } => arguments,
        }
    }
}

impl Story {
    /// What `model` (called `name`) answers to `prompt`. `id` is the fingerprint of the request.
    pub(super) fn new(id: u64, name: &str, model: Model, prompt: &Prompt) -> Story {
        let echo = || Segment::Text(Tokens::words(prompt.last_user.clone()));
        let segments = match model {
            Model::Tokens(count) => vec![Segment::Text(Tokens::Counted(count))],
            Model::Cut | Model::Stall | Model::LateError => {
                vec![Segment::Text(Tokens::Counted(BROKEN_TOKENS))]
            }
            Model::Think => {
                let thought = format!("The user wrote {} words. I repeat them.", prompt.words);
                vec![Segment::Think(Tokens::words(thought)), echo()]
            }
            Model::Tools => match (&prompt.tool_result, &prompt.first_tool) {
                // A model that called again after the result would never let an agent finish.
                (Some(result), _) => {
                    vec![Segment::Text(Tokens::words(format!("The tool said: {result}")))]
                }
                (None, Some(tool)) => {
                    let arguments = Tokens::fragments(arguments::fitting(tool.schema.as_ref()));
                    vec![Segment::Call { name: tool.name.clone(), arguments }]
                }
                (None, None) => vec![echo()],
            },
            Model::Echo | Model::Slow | Model::Flaky(_) | Model::Error(_) => vec![echo()],
        };
        Story { id, model: name.to_owned(), segments, prompt_tokens: prompt.words }
    }

    /// Tokens of all segments.
    pub(super) fn completion_tokens(&self) -> u64 {
        self.segments.iter().map(|segment| segment.tokens().len() as u64).sum()
    }

    /// Tokens of reasoning, part of the completion tokens.
    pub(super) fn reasoning_tokens(&self) -> u64 {
        let thinking = self.segments.iter().filter(|segment| matches!(segment, Segment::Think(_)));
        thinking.map(|segment| segment.tokens().len() as u64).sum()
    }

    /// Whether the answer is a tool call.
    pub(super) fn calls_a_tool(&self) -> bool {
        self.segments.iter().any(|segment| matches!(segment, Segment::Call { .. }))
    }

    /// The text of all segments of plain text.
    pub(super) fn text(&self) -> String {
        let texts = self.segments.iter().filter_map(|segment| match segment {
            Segment::Text(tokens) => Some(tokens.whole()),
            _ => None,
        });
        texts.collect()
    }

    /// The reasoning; `None` when there is none.
    pub(super) fn thought(&self) -> Option<Cow<'_, str>> {
        self.segments.iter().find_map(|segment| match segment {
            Segment::Think(tokens) => Some(tokens.whole()),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Tokens;

    #[test]
    fn the_words_of_a_text_joined_are_the_text() {
        let table = [
            ("", 0),
            ("  ", 1),
            ("one", 1),
            ("one two", 2),
            (" lead and trail \n", 3),
            ("a\n\nb\tc  ", 3),
            ("grüße, 世界 🦀", 3),
        ];
        for (text, count) in table {
            let tokens = Tokens::words(text.to_owned());
            let joined: String = (0..tokens.len()).map(|index| tokens.piece(index)).collect();
            assert_eq!((joined.as_str(), tokens.len()), (text, count));
        }
    }

    #[test]
    fn fragments_respect_characters() {
        let text = "{\"名前\":\"日本語日本語日本語日本語\"}";
        let tokens = Tokens::fragments(text.to_owned());
        let joined: String = (0..tokens.len()).map(|index| tokens.piece(index)).collect();
        assert_eq!(joined, text);
        assert!(tokens.len() > 2, "{} fragments", tokens.len());
    }

    #[test]
    fn counted_tokens_tell_their_place() {
        let tokens = Tokens::Counted(3);
        assert_eq!(tokens.whole(), "t1 t2 t3");
        assert_eq!(tokens.piece(2), " t3");
    }
}
