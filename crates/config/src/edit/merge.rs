//! The document that a change asks for: what is written, with a merge patch applied.

use serde_json::{Map, Value};

use super::EditError;
use super::document::Document;
use crate::secret::MASK;

/// Fields that tell the items of a list apart, in the order of trying.
const IDENTITIES: [&[&str]; 6] = [
    &["name"],
    &["url"],
    &["bind"],
    &["provider"],
    &["cert"],
    &["host", "path", "path_exact", "path_pattern"],
];

/// `written` with `patch` applied, which changes what `effective` shows.
pub(super) fn merged(
    written: Option<&Document>,
    effective: &Value,
    patch: &Value,
) -> Result<Document, EditError> {
    if !patch.is_object() {
        return Err(refused("", "a change is an object of sections, such as {\"limits\": {…}}"));
    }
    Ok(value(written, effective, patch, "")?.unwrap_or(Document::Map(Vec::new())))
}

fn refused(path: &str, message: impl Into<String>) -> EditError {
    EditError::Patch { path: path.to_owned(), message: message.into() }
}

/// One value; None takes it away.
fn value(
    written: Option<&Document>,
    effective: &Value,
    patch: &Value,
    path: &str,
) -> Result<Option<Document>, EditError> {
    if patch == effective {
        return Ok(written.cloned());
    }
    match patch {
        Value::Null => Ok(None),
        Value::String(text) if text == MASK => match written {
            Some(written) => Ok(Some(written.clone())),
            None => Err(refused(path, "stands for a secret that is not there: write the secret")),
        },
        Value::Object(fields) => object(written, effective, fields, path).map(Some),
        Value::Array(items) => list(written, effective, items, path).map(Some),
        single => {
            if single.as_str().is_some_and(|text| text.contains(&format!(":{MASK}@"))) {
                return Err(refused(path, "holds *** in the place of a password: write it out"));
            }
            Ok(Some(Document::from_json(single)))
        }
    }
}

/// Fields that the patch does not name stay as they are.
fn object(
    written: Option<&Document>,
    effective: &Value,
    patch: &Map<String, Value>,
    path: &str,
) -> Result<Document, EditError> {
    let mut entries = match written {
        Some(Document::Map(entries)) => entries.clone(),
        // A short form, or nothing, stands here: begin with what it means.
        Some(Document::Scalar { .. }) if effective.is_object() => {
            match Document::from_json(effective) {
                Document::Map(entries) => entries,
                _ => Vec::new(),
            }
        }
        _ => Vec::new(),
    };
    for (key, patched) in patch {
        let before = entries.iter().position(|(name, _)| name == key);
        let written = before.and_then(|index| entries.get(index)).map(|(_, value)| value);
        let below = effective.get(key).unwrap_or(&Value::Null);
        let after = value(written, below, patched, &join(path, key))?;
        match (before, after) {
            (Some(index), Some(after)) => {
                if let Some((_, place)) = entries.get_mut(index) {
                    *place = after;
                }
            }
            (Some(index), None) => {
                entries.remove(index);
            }
            (None, Some(after)) => entries.push((key.clone(), after)),
            (None, None) => {}
        }
    }
    Ok(Document::Map(entries))
}

/// A list is replaced whole; its items keep how they are written as far as they are the same.
fn list(
    written: Option<&Document>,
    effective: &Value,
    patch: &[Value],
    path: &str,
) -> Result<Document, EditError> {
    let effective = effective.as_array().map_or(&[][..], Vec::as_slice);
    // What is implied is in effect and not written: then items of the two do not correspond.
    let written = match written {
        Some(Document::List(items)) if items.len() == effective.len() => items.as_slice(),
        _ => &[],
    };
    let matches = matched(effective, patch);
    let items = patch.iter().zip(matches).enumerate().map(|(index, (item, before))| {
        let path = format!("{path}[{index}]");
        let written = before.and_then(|before| written.get(before));
        let shown = before.and_then(|before| effective.get(before)).unwrap_or(&Value::Null);
        replaced(written, shown, item, &path)
    });
    Ok(Document::List(items.collect::<Result<_, _>>()?))
}

/// For each new item the index of the old one that it stands for.
pub(super) fn matched(old: &[Value], new: &[Value]) -> Vec<Option<usize>> {
    let mut free: Vec<bool> = vec![true; old.len()];
    let mut matches = vec![None; new.len()];
    let same = |a: &Value, b: &Value| a == b;
    let alike = |a: &Value, b: &Value| is_same(a, b);
    for test in [&same as &dyn Fn(&Value, &Value) -> bool, &alike] {
        for (item, place) in new.iter().zip(&mut matches) {
            if place.is_some() {
                continue;
            }
            let found = old.iter().enumerate().position(|(index, other)| {
                free.get(index).copied().unwrap_or(false) && test(other, item)
            });
            if let Some(index) = found {
                *place = Some(index);
                if let Some(free) = free.get_mut(index) {
                    *free = false;
                }
            }
        }
    }
    matches
}

/// Do two items of a list mean the same thing, perhaps with other details?
fn is_same(a: &Value, b: &Value) -> bool {
    let identity = |value: &Value, keys: &[&str]| -> Vec<Option<String>> {
        keys.iter()
            .map(|key| match value {
                // The short form of an item is its first field.
                Value::String(text) if matches!(*key, "url" | "provider") => Some(text.clone()),
                _ => value.get(key).filter(|value| !value.is_null()).map(Value::to_string),
            })
            .map(|text| text.map(|text| text.trim_matches('"').to_owned()))
            .collect()
    };
    IDENTITIES.iter().any(|keys| {
        let (a, b) = (identity(a, keys), identity(b, keys));
        a == b && a.iter().any(Option::is_some)
    })
}

/// What an item of a list is called in messages: the field that tells it apart, or its index.
pub(super) fn label(item: &Value, index: usize) -> String {
    let named =
        IDENTITIES.iter().flat_map(|keys| keys.iter()).find_map(|key| item.get(key)?.as_str());
    named.or(item.as_str()).map_or_else(|| index.to_string(), ToOwned::to_owned)
}

/// An item that replaces another: what is the same stays as it is written, what is not named goes.
fn replaced(
    written: Option<&Document>,
    effective: &Value,
    patch: &Value,
    path: &str,
) -> Result<Document, EditError> {
    if patch == effective
        && let Some(written) = written
    {
        return Ok(written.clone());
    }
    let Value::Object(fields) = patch else {
        return Ok(value(written, effective, patch, path)?.unwrap_or(Document::Null));
    };
    let mut entries = Vec::with_capacity(fields.len());
    for (key, patched) in order(written, fields) {
        let before = match written {
            Some(short @ Document::Scalar { .. }) if matches!(key, "url" | "provider") => {
                Some(short)
            }
            Some(written) => written.field(key),
            None => None,
        };
        let shown = effective.get(key).unwrap_or(&Value::Null);
        if let Some(after) = value(before, shown, patched, &join(path, key))? {
            entries.push((key.to_owned(), after));
        }
    }
    // A short form that says all there is stays one.
    match (written, entries.as_slice()) {
        (Some(Document::Scalar { .. }), [(_, only @ Document::Scalar { .. })]) => Ok(only.clone()),
        _ => Ok(Document::Map(entries)),
    }
}

/// The fields of a patch in the order in which they are written already, then the others.
fn order<'p>(
    written: Option<&Document>,
    patch: &'p Map<String, Value>,
) -> Vec<(&'p str, &'p Value)> {
    let mut fields: Vec<_> = patch.iter().map(|(key, value)| (key.as_str(), value)).collect();
    if let Some(Document::Map(entries)) = written {
        let place = |key: &str| entries.iter().position(|(name, _)| name == key);
        fields.sort_by_key(|(key, _)| place(key).unwrap_or(usize::MAX));
    }
    fields
}

fn join(path: &str, key: &str) -> String {
    crate::reader::below(path, key)
}
