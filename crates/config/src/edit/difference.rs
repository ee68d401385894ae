//! What two configurations say differently, without showing a secret.

use serde::Serialize;
use serde_json::Value;

use super::merge::{label, matched};
use crate::mask::masked_json;
use crate::model::Config;
use crate::secret::{MASK, Secret};

/// Differences that are listed; what two whole configurations differ in is no longer read.
const DIFFERENCES_MAX: usize = 200;

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Which field, such as `upstreams.app.endpoints[http://127.0.0.1:8081].weight`.
    pub path: String,
    /// What it was; null where it was not there.
    pub before: Value,
    /// What it is; null where it is gone.
    pub after: Value,
}

/// What `after` says differently from `before`, at most 200 fields. A secret is shown as `***` on
/// both sides.
pub fn differences(before: &Config, after: &Config) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(&masked_json(before), &masked_json(after), "", &mut found);
    let (old, new) = (secrets(before), secrets(after));
    for (path, secret) in &new {
        let changed = old.iter().any(|(other, was)| other == path && was != secret);
        if changed {
            push(&mut found, path, &Value::from(MASK), &Value::from(MASK));
        }
    }
    found
}

fn push(found: &mut Vec<Difference>, path: &str, before: &Value, after: &Value) {
    if found.len() < DIFFERENCES_MAX {
        let (before, after) = (before.clone(), after.clone());
        found.push(Difference { path: path.to_owned(), before, after });
    }
}

fn compare(before: &Value, after: &Value, path: &str, found: &mut Vec<Difference>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let missing = Value::Null;
            for (key, value) in old {
                let path = crate::reader::below(path, key);
                compare(value, new.get(key).unwrap_or(&missing), &path, found);
            }
            for (key, value) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
                compare(&missing, value, &crate::reader::below(path, key), found);
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            let matches = matched(old, new);
            for (index, item) in old.iter().enumerate() {
                if !matches.contains(&Some(index)) {
                    push(found, &format!("{path}[{}]", label(item, index)), item, &Value::Null);
                }
            }
            for (index, (item, matched)) in new.iter().zip(&matches).enumerate() {
                let path = format!("{path}[{}]", label(item, index));
                match matched.and_then(|matched| old.get(matched)) {
                    Some(old) => compare(old, item, &path, found),
                    None => push(found, &path, &Value::Null, item),
                }
            }
            let kept: Vec<usize> = matches.iter().copied().flatten().collect();
            if !kept.is_sorted() {
                push(found, &format!("{path} (order)"), &Value::Null, &Value::Null);
            }
        }
        _ if before == after => {}
        _ => push(found, path, before, after),
    }
}

/// Every secret by its place: their masks are all the same.
fn secrets(config: &Config) -> Vec<(String, &Secret)> {
    let mut secrets = Vec::new();
    if let Some(admin) = &config.admin {
        secrets.extend(admin.token.iter().map(|token| ("admin.token".to_owned(), token)));
        for more in &admin.tokens {
            secrets.push((format!("admin.tokens[{}].token", more.name), &more.token));
        }
    }
    for caller in &config.callers {
        secrets.push((format!("callers[{}].key", caller.name), &caller.key));
    }
    for (name, provider) in &config.providers {
        secrets
            .extend(provider.api_key.iter().map(|key| (format!("providers.{name}.api_key"), key)));
    }
    secrets
}
