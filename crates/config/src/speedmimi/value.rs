//! Single values as SpeedMimi took them: Go durations, numbers, texts.

use std::time::Duration;

use serde_json::Value;

use crate::duration::format_duration;

/// Nanoseconds of the units of a Go duration.
const UNITS: [(&str, f64); 7] =
    [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

/// What is wrong with documents, and what in them has no counterpart here.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Path and message.
    pub(super) problems: Vec<(String, String)>,
    /// Path and message.
    pub(super) warnings: Vec<(String, String)>,
}

impl Notes {
    pub(super) fn problem(&mut self, path: &str, message: impl Into<String>) {
        self.problems.push((path.to_owned(), message.into()));
    }

    pub(super) fn warning(&mut self, path: &str, message: impl Into<String>) {
        self.warnings.push((path.to_owned(), message.into()));
    }

    /// A text; numbers and truth values are texts too. Empty is the same as absent.
    pub(super) fn text(&mut self, value: &Value, path: &str) -> Option<String> {
        match value {
            Value::Null => None,
            Value::String(text) if text.is_empty() => None,
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(truth) => Some(truth.to_string()),
            _ => {
                self.problem(path, "needs a text");
                None
            }
        }
    }

    /// A whole number from 0 on; 0 is the same as absent, as it was in SpeedMimi.
    pub(super) fn number(&mut self, value: &Value, path: &str) -> Option<u64> {
        let number = match value {
            Value::Null => return None,
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        if number.is_none() {
            self.problem(path, "needs a whole number from 0 on");
        }
        number.filter(|number| *number > 0)
    }

    pub(super) fn truth(&mut self, value: &Value, path: &str) -> Option<bool> {
        match value {
            Value::Null => None,
            Value::Bool(truth) => Some(*truth),
            Value::String(text) if text == "true" => Some(true),
            Value::String(text) if text == "false" => Some(false),
            _ => {
                self.problem(path, "needs true or false");
                None
            }
        }
    }

    /// A Go duration as ours is written; a bare number is nanoseconds, as Go counts. Zero is absent.
    pub(super) fn duration(&mut self, value: &Value, path: &str) -> Option<String> {
        let nanos = match value {
            Value::Null => return None,
            Value::Number(number) => number.as_f64(),
            Value::String(text) if text.is_empty() => return None,
            Value::String(text) => go_nanoseconds(text),
            _ => None,
        };
        let Some(nanos) = nanos.filter(|nanos| (0.0..1e18).contains(nanos)) else {
            self.problem(path, "needs a duration such as 30s or 1m30s");
            return None;
        };
        if nanos == 0.0 {
            return None;
        }
        // Finer than a millisecond is nothing that a deadline could keep.
        Some(format_duration(Duration::from_nanos(nanos as u64).max(Duration::from_millis(1))))
    }

    /// Reports fields that SpeedMimi did not have.
    pub(super) fn known(&mut self, value: &Value, path: &str, keys: &[&str]) {
        let Some(fields) = value.as_object() else {
            if !value.is_null() {
                self.problem(path, "needs a mapping of keys and values");
            }
            return;
        };
        for key in fields.keys().filter(|key| !keys.contains(&key.as_str())) {
            let path = crate::reader::below(path, key);
            self.warning(&path, "is no key of SpeedMimi's: left out");
        }
    }
}

/// `1h2m3.5s` in nanoseconds (Go, time.ParseDuration).
fn go_nanoseconds(text: &str) -> Option<f64> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(0.0);
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at_checked(digits)?;
        let letters = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(letters)?;
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total += number.parse::<f64>().ok()? * scale;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

/// A name that may stand in ours: 1 to 64 letters, digits, `.`, `_` or `-`.
pub(super) fn plain_name(text: &str) -> String {
    let name: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' })
        .take(64)
        .collect();
    if name.is_empty() { "unnamed".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn go_durations_are_read() {
        for (written, ours) in [
            (json!("30s"), Some("30s")),
            (json!("1m30s"), Some("90s")),
            (json!("1.5h"), Some("90m")),
            (json!("250ms"), Some("250ms")),
            (json!("10us"), Some("1ms")),
            (json!(30_000_000_000_u64), Some("30s")),
            (json!("0"), None),
            (json!(0), None),
            (json!(null), None),
        ] {
            let mut notes = Notes::default();
            assert_eq!(notes.duration(&written, "x").as_deref(), ours, "{written}");
            assert!(notes.problems.is_empty(), "{written}");
        }
        for written in [json!("30"), json!("s"), json!("-3s"), json!("1x"), json!([1]), json!(-1)] {
            let mut notes = Notes::default();
            assert_eq!(notes.duration(&written, "x"), None, "{written}");
            assert_eq!(notes.problems.len(), 1, "{written}");
        }
    }

    #[test]
    fn any_text_becomes_a_name() {
        for (text, name) in [("default", "default"), ("my app/1", "my-app-1"), ("", "unnamed")] {
            assert_eq!(plain_name(text), name);
        }
    }
}
