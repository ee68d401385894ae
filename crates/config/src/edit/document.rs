//! A document as it is written: `${…}` unexpanded, every single value a text.

use serde_json::Value;

/// One value of a document.
#[derive(Clone, Debug)]
pub(crate) enum Document {
    /// Nothing written, `null` or `~`.
    Null,
    /// A single value; `plain` if it is a number, a truth value or a text that stood without quotes.
    Scalar { text: String, plain: bool },
    /// A list.
    List(Vec<Document>),
    /// Keys and values in the order written.
    Map(Vec<(String, Document)>),
}

impl PartialEq for Document {
    /// Quotes make no difference, nor does the order of keys.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Scalar { text, .. }, Self::Scalar { text: other, .. }) => text == other,
            (Self::List(items), Self::List(others)) => items == others,
            (Self::Map(entries), Self::Map(others)) => {
                entries.len() == others.len()
                    && entries.iter().all(|(key, value)| other.field(key) == Some(value))
            }
            _ => false,
        }
    }
}

impl Document {
    /// The value of a key; None for anything but a mapping.
    pub(crate) fn field(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(entries) => {
                entries.iter().find(|(name, _)| name == key).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// A JSON value without its nulls, which say that something is not written.
    pub(crate) fn from_json(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(truth) => Self::Scalar { text: truth.to_string(), plain: true },
            Value::Number(number) => Self::Scalar { text: number.to_string(), plain: true },
            Value::String(text) => Self::Scalar { text: text.clone(), plain: false },
            Value::Array(items) => Self::List(items.iter().map(Self::from_json).collect()),
            Value::Object(fields) => Self::Map(
                fields
                    .iter()
                    .filter(|(_, value)| !value.is_null())
                    .map(|(key, value)| (key.clone(), Self::from_json(value)))
                    .collect(),
            ),
        }
    }
}
