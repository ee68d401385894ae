//! Documents as YAML text.

use super::document::Document;
use crate::yaml::scalar;

/// On one line, as it stands in `[…]` and `{…}` and behind a key.
pub(super) fn flow(document: &Document) -> String {
    let mut out = String::new();
    write_flow(&mut out, document);
    out
}

fn write_flow(out: &mut String, document: &Document) {
    match document {
        Document::Null => out.push_str("null"),
        Document::Scalar { text, plain } => write_scalar(out, text, *plain),
        Document::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_flow(out, item);
            }
            out.push(']');
        }
        Document::Map(entries) if entries.is_empty() => out.push_str("{}"),
        Document::Map(entries) => {
            out.push_str("{ ");
            for (index, (key, value)) in entries.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                scalar(out, key);
                out.push_str(": ");
                write_flow(out, value);
            }
            out.push_str(" }");
        }
    }
}

/// Numbers and truth values stand without quotes; a text only where it can be taken for nothing
/// else.
fn write_scalar(out: &mut String, text: &str, plain: bool) {
    let value = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+'));
    if plain && value && !text.is_empty() {
        out.push_str(text);
    } else {
        scalar(out, text);
    }
}

/// What stands behind `key:` in a block whose keys stand at `indent` columns: on the same line, or
/// for sections with items, on lines of their own. Begins with a space or a line break.
pub(super) fn behind_key(document: &Document, indent: usize) -> String {
    let inner = " ".repeat(indent + 2);
    let mut out = String::new();
    match document {
        Document::List(items) if holds_maps(items.iter()) => {
            for item in items {
                out.extend(["\n", &inner, "- "]);
                write_flow(&mut out, item);
            }
        }
        Document::Map(entries) if holds_maps(entries.iter().map(|(_, value)| value)) => {
            for (key, value) in entries {
                out.extend(["\n", &inner]);
                scalar(&mut out, key);
                out.push_str(": ");
                write_flow(&mut out, value);
            }
        }
        other => {
            out.push(' ');
            write_flow(&mut out, other);
        }
    }
    out
}

fn holds_maps<'d>(mut items: impl Iterator<Item = &'d Document>) -> bool {
    items.any(|item| matches!(item, Document::Map(entries) if !entries.is_empty()))
}

/// A whole document: one section after the other.
pub(crate) fn document_text(sections: &[(String, Document)]) -> String {
    let mut out = String::new();
    for (key, value) in sections {
        scalar(&mut out, key);
        out.push(':');
        out.push_str(&behind_key(value, 0));
        out.push('\n');
    }
    out
}
