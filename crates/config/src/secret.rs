//! A text that never prints itself: keys and tokens of the configuration.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

/// What stands in place of a secret wherever it could be seen.
pub const MASK: &str = "***";

/// A key or token. `Debug`, `Display` and `Serialize` all give [`MASK`]; [`Secret::expose`] is the
/// only way to the text, so that a search for `expose` finds every place a secret can leave from.
///
/// It remembers the `${NAME}` text it was read from, so that a printed configuration can refer to
/// the environment and need not hold the secret. Two secrets are equal when their texts are.
#[derive(Clone)]
pub struct Secret {
    text: String,
    reference: Option<String>,
}

impl Secret {
    /// A secret that was written out.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), reference: None }
    }

    /// A secret that came from the environment; `reference` is what stands for it in a file, such
    /// as `${NAME}`.
    pub fn referring(text: impl Into<String>, reference: impl Into<String>) -> Self {
        Self { text: text.into(), reference: Some(reference.into()) }
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The `${NAME}` text that it was read from, if it was.
    pub fn reference(&self) -> Option<&str> {
        self.reference.as_deref()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A key or token; best written as \"${NAME}\", which reads the environment."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints_itself() {
        let secret = Secret::referring("sk-very-private", "${KEY}");
        let printed = format!(
            "{secret} {secret:?} {} {:?}",
            serde_json::json!({ "key": &secret }),
            Some(&secret)
        );
        assert!(!printed.contains("private"), "{printed}");
        assert_eq!(printed, r#"*** *** {"key":"***"} Some(***)"#);
        assert_eq!(secret.expose(), "sk-very-private");
        assert_eq!(secret.reference(), Some("${KEY}"));
    }

    #[test]
    fn secrets_are_equal_when_their_texts_are() {
        assert_eq!(Secret::new("a"), Secret::referring("a", "${A}"));
        assert_ne!(Secret::new("a"), Secret::new("b"));
    }
}
