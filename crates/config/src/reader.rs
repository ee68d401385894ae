//! Reads typed values out of the located tree and keeps every problem: what `read` builds the model
//! with.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use tidegate_policy::cidr::Cidr;

use crate::duration::parse_duration;
use crate::expand::{Environment, ExpandError, expand};
use crate::problem::{Collector, Position, quote};
use crate::secret::Secret;
use crate::size::ByteSize;
use crate::suggest::nearest;
use crate::tree::{Entry, Kind, Node};

/// What reading one file needs and leaves.
pub(crate) struct Reader<'a> {
    pub(crate) collector: Collector,
    /// Where each field's value stands, by path.
    pub(crate) places: BTreeMap<String, Position>,
    /// The keys asked for, by the type they belong to: what is accepted, for the test that the
    /// schema says the same.
    pub(crate) accepted: BTreeMap<&'static str, BTreeSet<&'static str>>,
    env: &'a Environment<'a>,
}

/// One mapping while its keys are taken.
pub(crate) struct Fields<'n> {
    type_name: &'static str,
    path: String,
    at: Position,
    left: Vec<&'n Entry>,
    asked: Vec<&'static str>,
}

/// A value and the path to it.
pub(crate) struct Value<'n> {
    pub(crate) node: &'n Node,
    pub(crate) path: String,
}

/// `parent.key`; the top level has no name of its own.
pub(crate) fn below(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}

impl<'n> Fields<'n> {
    /// The value of a key, if it was written.
    pub(crate) fn take(&mut self, reader: &mut Reader, key: &'static str) -> Option<Value<'n>> {
        self.asked.push(key);
        let index = self.left.iter().position(|entry| entry.key == key)?;
        Some(reader.place(&self.path, self.left.remove(index)))
    }

    /// As `take`, for sections: one without a value is one that was not written.
    pub(crate) fn section(&mut self, reader: &mut Reader, key: &'static str) -> Option<Value<'n>> {
        self.take(reader, key).filter(|value| !value.node.is_null())
    }

    /// As `take`; a missing key is a problem.
    pub(crate) fn required(&mut self, reader: &mut Reader, key: &'static str) -> Option<Value<'n>> {
        let value = self.take(reader, key);
        if value.is_none() {
            let path = below(&self.path, key);
            reader.collector.problem(self.at, &path, "is missing", None);
        }
        value
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn new(collector: Collector, env: &'a Environment<'a>) -> Self {
        Self { collector, places: BTreeMap::new(), accepted: BTreeMap::new(), env }
    }

    /// Notes where the entry's value stands; one without a value stands where its key does.
    fn place<'n>(&mut self, parent: &str, entry: &'n Entry) -> Value<'n> {
        let path = below(parent, &entry.key);
        let at = if entry.value.is_null() { entry.at } else { entry.value.at };
        self.places.insert(path.clone(), at);
        Value { node: &entry.value, path }
    }

    fn problem(&mut self, value: &Value, message: impl Into<String>) {
        let at = self.places.get(&value.path).copied().unwrap_or(value.node.at);
        self.collector.problem(at, &value.path, &message.into(), None);
    }

    /// Opens a mapping whose keys are known.
    pub(crate) fn fields<'n>(
        &mut self,
        value: &Value<'n>,
        type_name: &'static str,
    ) -> Option<Fields<'n>> {
        let Kind::Map(entries) = &value.node.kind else {
            self.problem(
                value,
                format!("needs a mapping of keys and values, not {}", value.node.describe()),
            );
            return None;
        };
        Some(Fields {
            type_name,
            path: value.path.clone(),
            at: value.node.at,
            left: entries.iter().collect(),
            asked: Vec::new(),
        })
    }

    /// Reports the keys that nobody took.
    pub(crate) fn finish(&mut self, fields: Fields) {
        for entry in &fields.left {
            let path = below(&fields.path, &entry.key);
            let suggestion = nearest(&entry.key, fields.asked.iter().copied());
            let message = if suggestion.is_some() {
                "unknown key".to_owned()
            } else {
                let mut known = fields.asked.clone();
                known.sort_unstable();
                format!("unknown key; known here: {}", known.join(", "))
            };
            self.collector.problem(entry.at, &path, &message, suggestion);
        }
        self.accepted.entry(fields.type_name).or_default().extend(fields.asked);
    }

    /// The entries of a mapping whose keys are names of the operator's choice.
    pub(crate) fn named<'n>(&mut self, value: &Value<'n>) -> Vec<(&'n str, Value<'n>)> {
        let Kind::Map(entries) = &value.node.kind else {
            self.problem(value, format!("needs a mapping of names, not {}", value.node.describe()));
            return Vec::new();
        };
        entries.iter().map(|entry| (entry.key.as_str(), self.place(&value.path, entry))).collect()
    }

    /// The values of a list.
    pub(crate) fn list<'n>(&mut self, value: &Value<'n>) -> Vec<Value<'n>> {
        let Kind::Seq(nodes) = &value.node.kind else {
            self.problem(value, format!("needs a list, not {}", value.node.describe()));
            return Vec::new();
        };
        nodes
            .iter()
            .enumerate()
            .map(|(index, node)| {
                let path = format!("{}[{index}]", value.path);
                self.places.insert(path.clone(), node.at);
                Value { node, path }
            })
            .collect()
    }

    /// The text of a single value as written, before `${…}` is replaced.
    fn raw<'n>(&mut self, value: &Value<'n>, what: &str) -> Option<&'n str> {
        match &value.node.kind {
            Kind::Scalar { text, .. } if !value.node.is_null() => Some(text),
            Kind::Scalar { .. } => {
                self.problem(value, format!("has no value; needs {what}"));
                None
            }
            _ => {
                self.problem(value, format!("needs {what}, not {}", value.node.describe()));
                None
            }
        }
    }

    fn expanded(&mut self, value: &Value, what: &str) -> Option<Text> {
        let raw = self.raw(value, what)?;
        match expand(raw, self.env) {
            Ok(expanded) => Some(Text {
                raw: raw.to_owned(),
                expanded: expanded.text,
                variables: expanded.variables,
            }),
            Err(error) => {
                let hint = match &error {
                    ExpandError::Missing(name) => {
                        format!("{error}: set it, or write ${{{name}:-default}}")
                    }
                    _ => error.to_string(),
                };
                self.problem(value, hint);
                None
            }
        }
    }

    /// A value that is parsed from its text. `what` completes "needs …".
    pub(crate) fn parsed<T, E: std::fmt::Display>(
        &mut self,
        value: &Value,
        what: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.expanded(value, what)?;
        match parse(&text.expanded) {
            Ok(parsed) => Some(parsed),
            // What the environment holds may be secret: name the reference, not its value.
            Err(_) if !text.variables.is_empty() => {
                self.problem(value, format!("needs {what}; {} holds none", quote(&text.raw)));
                None
            }
            Err(error) => {
                self.problem(value, error.to_string());
                None
            }
        }
    }

    pub(crate) fn text(&mut self, value: &Value) -> Option<String> {
        self.expanded(value, "a text").map(|text| text.expanded)
    }

    pub(crate) fn secret(&mut self, value: &Value) -> Option<Secret> {
        let text = self.expanded(value, "a text")?;
        if text.expanded.is_empty() {
            let message = match text.variables.first() {
                Some(name) => format!("the environment variable {name} is empty"),
                None => "is empty".to_owned(),
            };
            self.problem(value, message);
            return None;
        }
        Some(if text.variables.is_empty() {
            Secret::new(text.expanded)
        } else {
            Secret::referring(text.expanded, text.raw)
        })
    }

    pub(crate) fn number(&mut self, value: &Value) -> Option<u32> {
        self.parsed(value, "a whole number", |text| {
            if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
                return Err(format!("{} is not a whole number", quote(text)));
            }
            text.parse().map_err(|_| format!("{} is more than {}", quote(text), u32::MAX))
        })
    }

    pub(crate) fn boolean(&mut self, value: &Value) -> Option<bool> {
        self.parsed(value, "true or false", |text| match text {
            "true" | "True" | "TRUE" => Ok(true),
            "false" | "False" | "FALSE" => Ok(false),
            _ => Err(format!("{} is neither true nor false", quote(text))),
        })
    }

    pub(crate) fn duration(&mut self, value: &Value) -> Option<Duration> {
        self.parsed(value, "a duration such as 2s", parse_duration)
    }

    pub(crate) fn size(&mut self, value: &Value) -> Option<ByteSize> {
        self.parsed(value, "a size such as 64KiB", ByteSize::from_str)
    }

    pub(crate) fn socket_address(&mut self, value: &Value) -> Option<SocketAddr> {
        self.parsed(value, "an IP address and a port", |text| {
            text.parse().map_err(|_| {
                format!(
                    "{} is not an IP address and a port, such as 127.0.0.1:8080, 0.0.0.0:8080 or [::]:8080",
                    quote(text)
                )
            })
        })
    }

    pub(crate) fn cidr(&mut self, value: &Value) -> Option<Cidr> {
        self.parsed(value, "an IP address or a range such as 10.0.0.0/8", Cidr::from_str)
    }

    /// One of a few names.
    pub(crate) fn one_of<T: Copy>(
        &mut self,
        value: &Value,
        names: &[(&'static str, T)],
    ) -> Option<T> {
        let text = self.expanded(value, "a name")?;
        if let Some((_, found)) = names.iter().find(|(name, _)| *name == text.expanded) {
            return Some(*found);
        }
        let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        let shown = if text.variables.is_empty() { &text.expanded } else { &text.raw };
        let at = self.places.get(&value.path).copied().unwrap_or(value.node.at);
        self.collector.problem(
            at,
            &value.path,
            &format!("{} is none of {}", quote(shown), known.join(", ")),
            nearest(&text.expanded, known.iter().copied()),
        );
        None
    }
}

/// A single value's text before and after `${…}` was replaced.
struct Text {
    raw: String,
    expanded: String,
    variables: Vec<String>,
}

/// Puts a value in its place; without one the default stays.
pub(crate) fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}
