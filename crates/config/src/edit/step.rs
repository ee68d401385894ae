//! One small change of a text after the other, until it says what is wanted.
//!
//! After each change the text is read again: what a change does to the places of everything behind
//! it need not be known, and what comes out has been read back.

use std::ops::Range;

use super::EditError;
use super::document::Document;
use super::located::{Entry, Kind, Node, parse};
use super::render::{behind_key, flow};

/// Changes of one text at most: the text is read again after each.
const STEPS_MAX: usize = 500;

/// Bytes to be replaced and what comes in their place.
struct Change {
    at: Range<usize>,
    by: String,
}

/// The text changed so that it says `wanted`.
pub(super) fn stepped(text: &str, wanted: &Document) -> Result<String, EditError> {
    let mut text = text.to_owned();
    for _ in 0..STEPS_MAX {
        let root = parse(&text)?;
        let said = root.as_ref().map_or(Document::Map(Vec::new()), Node::document);
        if said == *wanted || (said == Document::Null && *wanted == Document::Map(Vec::new())) {
            return Ok(text);
        }
        let Some(change) = next(&text, root.as_ref(), wanted)? else { break };
        if !text.is_char_boundary(change.at.start) || !text.is_char_boundary(change.at.end) {
            break;
        }
        text.replace_range(change.at, &change.by);
    }
    Err(EditError::Text(
        "the file is written in a way that cannot be changed here, or too much changes at once: change it by hand"
            .to_owned(),
    ))
}

/// The first thing that differs.
fn next(text: &str, root: Option<&Node>, wanted: &Document) -> Result<Option<Change>, EditError> {
    let Document::Map(sections) = wanted else { return Ok(None) };
    match root {
        Some(node) if matches!(node.kind, Kind::Map(_)) => different(text, node, wanted, 0),
        // Nothing but comments so far.
        _ => {
            let mut by = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" }.to_owned();
            by.push_str(&super::render::document_text(sections));
            Ok(Some(Change { at: text.len()..text.len(), by }))
        }
    }
}

/// `indent`: the column of the keys that the node stands among.
fn different(
    text: &str,
    node: &Node,
    wanted: &Document,
    indent: usize,
) -> Result<Option<Change>, EditError> {
    if node.document() == *wanted {
        return Ok(None);
    }
    match (&node.kind, wanted) {
        (Kind::Map(entries), Document::Map(wishes)) if !entries.is_empty() => {
            untied(node, false)?;
            map(text, node, entries, wishes)
        }
        (Kind::List(items), Document::List(wishes)) if !items.is_empty() && !wishes.is_empty() => {
            untied(node, false)?;
            list(text, node, items, wishes, indent)
        }
        _ => {
            untied(node, true)?;
            Ok(Some(whole(text, node, wanted, indent)))
        }
    }
}

/// Anchors and aliases tie places together: they are left to people. `deep`: all that is in the
/// node would be replaced too.
fn untied(node: &Node, deep: bool) -> Result<(), EditError> {
    if node.own || (deep && node.tied) {
        return Err(EditError::Text(
            "this part of the file uses YAML anchors or aliases: change it by hand".to_owned(),
        ));
    }
    Ok(())
}

/// The value written anew, in the place where it stands.
fn whole(text: &str, node: &Node, wanted: &Document, indent: usize) -> Change {
    // What stands on lines of its own is replaced from behind the key's colon on.
    let block = !node.flow && matches!(node.kind, Kind::Map(_) | Kind::List(_));
    if block && let Some(colon) = colon_before(text, node.span.start) {
        let by = behind_key(wanted, indent);
        return Change { at: colon..node.span.end, by };
    }
    let gap = if text.get(..node.span.start).is_some_and(|before| before.ends_with(':')) {
        " "
    } else {
        ""
    };
    // A text that stands on lines of its own ends with its last line.
    let end =
        if text.get(node.span.clone()).is_some_and(|t| t.ends_with('\n')) { "\n" } else { "" };
    Change { at: node.span.clone(), by: format!("{gap}{}{end}", flow(wanted)) }
}

/// The end of the `key:` that a block stands under: comments between the two go with the block.
fn colon_before(text: &str, at: usize) -> Option<usize> {
    let before = text.get(..at)?;
    let mut end = before.len();
    for line in before.rsplit('\n') {
        let bare = line.split(" #").next().unwrap_or(line).trim_end();
        let start = end - line.len();
        if bare.ends_with(':') && !bare.trim_start().starts_with('#') {
            return Some(start + bare.len());
        }
        if !bare.trim().trim_start_matches('-').trim().is_empty() && !bare.trim().starts_with('#') {
            return None;
        }
        end = start.checked_sub(1)?;
    }
    None
}

fn map(
    text: &str,
    node: &Node,
    entries: &[Entry],
    wishes: &[(String, Document)],
) -> Result<Option<Change>, EditError> {
    let column = column(text, entries.first().map_or(node.span.start, |e| e.key_span.start));
    for (index, entry) in entries.iter().enumerate() {
        match wishes.iter().find(|(key, _)| *key == entry.key) {
            Some((_, wanted)) => {
                if let Some(change) = different(text, &entry.value, wanted, column)? {
                    return Ok(Some(change));
                }
            }
            None => {
                untied(&entry.value, true)?;
                let spans: Vec<_> = entries
                    .iter()
                    .map(|e| e.key_span.start..e.value.span.end.max(e.key_span.end))
                    .collect();
                return Ok(Some(removed(text, node, &spans, index, "{}")));
            }
        }
    }
    let missing = wishes.iter().find(|(key, _)| entries.iter().all(|entry| entry.key != *key));
    let (Some((key, value)), Some(last)) = (missing, entries.last()) else { return Ok(None) };
    let mut name = String::new();
    crate::yaml::scalar(&mut name, key);
    let at = last.value.span.end.max(last.key_span.end);
    if node.flow {
        return Ok(Some(Change { at: at..at, by: format!(", {name}: {}", flow(value)) }));
    }
    let at = line_end(text, at);
    let by = format!(
        "{}{}{name}:{}",
        line_break(text, at),
        " ".repeat(column),
        behind_key(value, column)
    );
    Ok(Some(Change { at: at..at, by }))
}

fn list(
    text: &str,
    node: &Node,
    items: &[Node],
    wishes: &[Document],
    indent: usize,
) -> Result<Option<Change>, EditError> {
    let matches = aligned(items, wishes);
    let kept: Vec<usize> = matches.iter().copied().flatten().collect();
    if kept.is_empty() || !kept.is_sorted() || items.iter().any(|item| item.tied) {
        untied(node, true)?;
        return Ok(Some(whole(text, node, &Document::List(wishes.to_vec()), indent)));
    }
    let spans: Vec<_> = items.iter().map(|item| item.span.clone()).collect();
    if let Some(gone) = (0..items.len()).find(|index| !kept.contains(index)) {
        return Ok(Some(removed(text, node, &spans, gone, "[]")));
    }
    for (wish, matched) in wishes.iter().zip(&matches) {
        let Some(item) = matched.and_then(|index| items.get(index)) else { continue };
        let column = column(text, item.span.start);
        if let Some(change) = different(text, item, wish, column)? {
            return Ok(Some(change));
        }
    }
    // Each old item has its place: the first new one comes behind the one before it.
    let Some(new) = matches.iter().position(Option::is_none) else { return Ok(None) };
    let Some(wish) = wishes.get(new) else { return Ok(None) };
    let before = new.checked_sub(1).and_then(|before| matches.get(before).copied().flatten());
    let written = flow(wish);
    let neighbour = before.unwrap_or(0);
    let Some(neighbour) = items.get(neighbour) else { return Ok(None) };
    if node.flow {
        return Ok(Some(match before {
            Some(_) => {
                let at = neighbour.span.end;
                Change { at: at..at, by: format!(", {written}") }
            }
            None => {
                let at = neighbour.span.start;
                Change { at: at..at, by: format!("{written}, ") }
            }
        }));
    }
    let Some(dash) = dash_before(text, neighbour.span.start) else {
        return Ok(Some(whole(text, node, &Document::List(wishes.to_vec()), indent)));
    };
    let margin = " ".repeat(column(text, dash));
    Ok(Some(match before {
        Some(_) => {
            let at = line_end(text, neighbour.span.end);
            Change { at: at..at, by: format!("{}{margin}- {written}", line_break(text, at)) }
        }
        None => Change { at: dash..dash, by: format!("- {written}\n{margin}") },
    }))
}

/// For each wish the item that says it, or that is to be changed into it.
fn aligned(items: &[Node], wishes: &[Document]) -> Vec<Option<usize>> {
    let old: Vec<_> = items.iter().map(|item| json(&item.document())).collect();
    let new: Vec<_> = wishes.iter().map(json).collect();
    super::merge::matched(&old, &new)
}

fn json(document: &Document) -> serde_json::Value {
    match document {
        Document::Null => serde_json::Value::Null,
        Document::Scalar { text, .. } => serde_json::Value::String(text.clone()),
        Document::List(items) => items.iter().map(json).collect(),
        Document::Map(entries) => serde_json::Value::Object(
            entries.iter().map(|(key, value)| (key.clone(), json(value))).collect(),
        ),
    }
}

/// Takes one of the spans away, with what joins it to the others. `empty` is written where nothing
/// is left.
fn removed(text: &str, node: &Node, spans: &[Range<usize>], index: usize, empty: &str) -> Change {
    let Some(span) = spans.get(index).cloned() else {
        return Change { at: node.span.clone(), by: empty.to_owned() };
    };
    let following = spans.get(index + 1);
    let previous = index.checked_sub(1).and_then(|before| spans.get(before));
    if node.flow {
        let at = match (following, previous) {
            (Some(following), _) => span.start..following.start,
            (None, Some(previous)) => previous.end..span.end,
            (None, None) => return Change { at: node.span.clone(), by: empty.to_owned() },
        };
        return Change { at, by: String::new() };
    }
    let start = dash_before(text, span.start).filter(|_| empty == "[]").unwrap_or(span.start);
    let line_start = text.get(..start).and_then(|t| t.rfind('\n')).map_or(0, |newline| newline + 1);
    let first_on_line = text.get(line_start..start).is_some_and(|margin| margin.trim().is_empty());
    match (following, previous) {
        (None, None) => Change { at: node.span.clone(), by: empty.to_owned() },
        _ if first_on_line => {
            let end = line_end(text, span.end);
            let end = if text.get(end..).is_some_and(|rest| rest.starts_with('\n')) {
                end + 1
            } else {
                end
            };
            Change { at: line_start..end, by: String::new() }
        }
        // The first key of a list's item stands behind the dash: the next one moves up.
        (Some(following), _) => Change { at: span.start..following.start, by: String::new() },
        (None, Some(previous)) => Change { at: previous.end..span.end, by: String::new() },
    }
}

/// The column of a byte, in bytes: indentation is spaces.
fn column(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or("");
    before.len() - before.rfind('\n').map_or(0, |newline| newline + 1)
}

/// The end of the line that a value ends on, comments included. A block text ends with its line.
fn line_end(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or("");
    let at = before.trim_end_matches(['\n', '\r']).len();
    let rest = text.get(at..).unwrap_or("");
    at + rest.find('\n').unwrap_or(rest.len())
}

/// What begins a new line behind `at`.
fn line_break(text: &str, at: usize) -> &'static str {
    if at == 0 || text.get(..at).is_some_and(|before| before.ends_with('\n')) { "" } else { "\n" }
}

/// The dash of the list's item that begins at `at`, on the same line.
fn dash_before(text: &str, at: usize) -> Option<usize> {
    let before = text.get(..at)?.trim_end_matches([' ', '\t']);
    before.ends_with('-').then(|| before.len() - 1)
}
