//! Hiding what a configuration must not show: passwords in URLs, header fields that hold keys.

use indexmap::IndexMap;
use serde::{Serialize, Serializer};

use crate::model::Config;
use crate::secret::MASK;

/// Words that mark a header field as secret wherever they stand in its name.
const SECRET_WORDS: [&str; 8] =
    ["authorization", "api-key", "apikey", "token", "secret", "password", "cookie", "credential"];

/// The configuration as JSON with every secret shown as `***`, for people and programs that may
/// look but not use.
pub fn masked_json(config: &Config) -> serde_json::Value {
    // Every map key of the model is a string and every value a plain one: this cannot fail.
    serde_json::to_value(config).unwrap_or(serde_json::Value::Null)
}

/// A URL without its password: `http://user:***@host:port`. What is no URL but has an `@` is hidden
/// up to it.
pub(crate) fn url(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let Some((userinfo, _)) = authority.rsplit_once('@') else {
        return match rest.rsplit_once('@') {
            Some((_, after)) => format!("{scheme}{MASK}@{after}"),
            None => text.to_owned(),
        };
    };
    let after = rest.get(userinfo.len()..).unwrap_or("");
    match userinfo.split_once(':') {
        Some((user, _)) => format!("{scheme}{user}:{MASK}{after}"),
        None => format!("{scheme}{MASK}{after}"),
    }
}

/// Header fields with the values of the secret-looking ones hidden.
pub(crate) fn headers(fields: &IndexMap<String, String>) -> IndexMap<&str, &str> {
    fields
        .iter()
        .map(|(name, value)| {
            let shown = if is_secret_name(name) { MASK } else { value };
            (name.as_str(), shown)
        })
        .collect()
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    SECRET_WORDS.iter().any(|word| name.contains(word)) || name.ends_with("-key")
}

#[allow(clippy::ref_option)] // serde passes fields by reference
pub(crate) fn serialize_url<S: Serializer>(
    text: &Option<String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    text.as_deref().map(url).serialize(serializer)
}

pub(crate) fn serialize_headers<S: Serializer>(
    fields: &IndexMap<String, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    headers(fields).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn passwords_in_urls_are_hidden() {
        for (text, shown) in [
            ("http://h:1", "http://h:1"),
            ("http://u:p@h:1", "http://u:***@h:1"),
            ("http://u:p@q@h:1/x", "http://u:***@h:1/x"),
            ("http://:p@h", "http://:***@h"),
            ("http://token@h:1", "http://***@h:1"),
            ("u:p@h", "u:***@h"),
            ("http://u:p/q@h", "http://***@h"),
        ] {
            assert_eq!(url(text), shown, "{text}");
        }
    }

    #[test]
    fn secret_looking_header_fields_are_hidden() {
        for name in [
            "Authorization",
            "X-API-Key",
            "x_api_key",
            "Ocp-Apim-Subscription-Key",
            "Cookie",
            "X-Auth-Token",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["OpenAI-Organization", "anthropic-version", "X-Keyboard"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_password_never_shows(user in "[a-z]{0,5}", password in "[A-Z@:]{0,3}SECRET[A-Z@:]{0,3}", rest in "[/?a-z]{0,5}") {
            let shown = url(&format!("http://{user}:{password}@host:1{rest}"));
            prop_assert!(!shown.contains("SECRET"), "{}", shown);
        }
    }
}
