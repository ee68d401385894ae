//! What the lab reads of a request, whatever its dialect: words, the last user message, the first tool, a tool's result.

use std::borrow::Cow;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::json::{Object, list_of, text_of};

/// Content nested deeper than this is not read.
const DEPTH_MAX: usize = 4;

/// What the model was asked.
#[derive(Debug, Default)]
pub(super) struct Prompt {
    /// Words in all messages.
    pub(super) words: u64,
    /// The text of the last message of the user.
    pub(super) last_user: String,
    /// The first tool offered, unless the caller forbade tools.
    pub(super) first_tool: Option<Tool>,
    /// The text of a tool's result, when that is what the request ends with.
    pub(super) tool_result: Option<String>,
}

/// A tool on offer.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) name: String,
    /// JSON schema of its arguments.
    pub(super) schema: Option<Value>,
}

impl Prompt {
    /// Takes a message of `role` with `content` in.
    pub(super) fn add(&mut self, role: &str, content: Option<&RawValue>) {
        let Some(content) = content else { return };
        let mut text = String::new();
        read_content(content, &mut text, 0);
        self.words += words(&text);
        if is_tool_result(role, content) {
            self.tool_result = Some(text);
        } else if role == "user" {
            self.tool_result = None;
            if text.is_empty() {
                // Pictures only.
                text.push_str("[no text]");
            }
            self.last_user = text;
        }
    }

    /// Takes a tool in; only the first counts. `schema` is the raw JSON schema of its arguments.
    pub(super) fn offer(&mut self, name: Option<Cow<str>>, schema: Option<&RawValue>) {
        if let (None, Some(name)) = (&self.first_tool, name) {
            let schema = schema.and_then(|raw| serde_json::from_str(raw.get()).ok());
            self.first_tool = Some(Tool { name: name.into_owned(), schema });
        }
    }

    /// Counts the words of a plain string that stands outside of the messages.
    pub(super) fn add_words(&mut self, content: Option<&RawValue>) {
        let mut text = String::new();
        if let Some(content) = content {
            read_content(content, &mut text, 0);
        }
        self.words += words(&text);
    }
}

/// Words separated by ASCII white space: the lab's tokens.
pub(super) fn words(text: &str) -> u64 {
    text.split_ascii_whitespace().count() as u64
}

/// In OpenAI's formats the role tells; Anthropic wraps results into a user message.
fn is_tool_result(role: &str, content: &RawValue) -> bool {
    if role == "tool" || !content.get().starts_with('[') {
        return role == "tool";
    }
    let result = |part: &&RawValue| Object::of(part).text("type").as_deref() == Some("tool_result");
    list_of(content).iter().any(result)
}

/// Appends the text of a content: a string, or a list of parts whose `text` (or inner `content`) counts.
fn read_content(content: &RawValue, text: &mut String, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    if content.get().starts_with('"') {
        let plain = text_of(content).unwrap_or_default();
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&plain);
        return;
    }
    for part in list_of(content) {
        let part = Object::of(part);
        if let Some(inner) = part.raw("text").or_else(|| part.raw("content")) {
            read_content(inner, text, depth + 1);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Prompt;
    use serde_json::value::RawValue;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn text_parts_are_read_and_pictures_skipped() {
        let mut prompt = Prompt::default();
        let parts = r#"[{"type":"text","text":"what is"},{"type":"image_url","image_url":{"url":"data:,x"}},{"type":"text","text":"this?"}]"#;
        prompt.add("system", Some(&raw("\"be brief\"")));
        prompt.add("user", Some(&raw(parts)));
        assert_eq!(prompt.last_user, "what is\nthis?");
        assert_eq!(prompt.words, 5);
    }

    #[test]
    fn a_tool_result_counts_only_at_the_end() {
        let mut prompt = Prompt::default();
        let result = r#"[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"sunny"}]}]"#;
        prompt.add("user", Some(&raw(result)));
        assert_eq!(prompt.tool_result.as_deref(), Some("sunny"));
        prompt.add("user", Some(&raw("\"and now?\"")));
        assert_eq!(prompt.tool_result, None);
        assert_eq!(prompt.last_user, "and now?");
    }
}
