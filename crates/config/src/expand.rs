//! `${NAME}` and `${NAME:-default}` in the texts of a configuration.

/// Reads a variable of the environment.
pub type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// A text with its references replaced.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expanded {
    pub(crate) text: String,
    /// The variables that it names, in order.
    pub(crate) variables: Vec<String>,
}

/// Why a text could not be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExpandError {
    #[error("the environment variable {0} is not set")]
    Missing(String),
    #[error(
        "\"${{\" without its \"}}\": write ${{NAME}}, or $${{ for the two characters themselves"
    )]
    Unclosed,
    #[error(
        "\"${{{0}}}\" is not a reference: write ${{NAME}} or ${{NAME:-default}}, or $${{ for the two characters themselves"
    )]
    BadName(String),
}

/// Replaces `${NAME}` by the variable's value and `${NAME:-default}` by the default where the
/// variable is missing or empty; `$${` stands for `${`. What is put in is not looked at again.
pub(crate) fn expand(raw: &str, env: &Environment) -> Result<Expanded, ExpandError> {
    let mut text = String::with_capacity(raw.len());
    let mut variables = Vec::new();
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            text.push_str(before);
            text.push_str("${");
            rest = after;
            continue;
        }
        text.push_str(before);
        let (reference, after) = after.split_once('}').ok_or(ExpandError::Unclosed)?;
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        if !is_variable_name(name) {
            return Err(ExpandError::BadName(reference.chars().take(40).collect()));
        }
        variables.push(name.to_owned());
        let value = match (env(name), default) {
            (Some(value), Some(default)) if value.is_empty() => default.to_owned(),
            (Some(value), _) => value,
            (None, Some(default)) => default.to_owned(),
            (None, None) => return Err(ExpandError::Missing(name.to_owned())),
        };
        text.push_str(&value);
        rest = after;
    }
    text.push_str(rest);
    Ok(Expanded { text, variables })
}

/// A text that [`expand`] gives back unchanged.
pub(crate) fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

/// Letters, digits and `_`, not beginning with a digit (POSIX, XBD 8.1).
pub(crate) fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "A" => Some("alpha".to_owned()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${A}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn references_are_replaced() {
        for (raw, text) in [
            ("", ""),
            ("plain", "plain"),
            ("${A}", "alpha"),
            ("x${A}y${A}", "xalphayalpha"),
            ("${B:-beta}", "beta"),
            ("${EMPTY:-beta}", "beta"),
            ("${A:-beta}", "alpha"),
            ("${EMPTY}", ""),
            ("$A $ {A} $", "$A $ {A} $"),
            ("$${A}", "${A}"),
            ("$$${A}", "$${A}"),
            ("${NESTED}", "${A}"),
        ] {
            assert_eq!(expand(raw, &env).unwrap().text, text, "{raw}");
        }
        assert_eq!(expand("${A}${B:-}", &env).unwrap().variables, ["A", "B"]);
    }

    #[test]
    fn other_references_are_refused() {
        for (raw, message) in [
            ("${B}", "the environment variable B is not set"),
            (
                "${A",
                "\"${\" without its \"}\": write ${NAME}, or $${ for the two characters themselves",
            ),
            (
                "${a b}",
                "\"${a b}\" is not a reference: write ${NAME} or ${NAME:-default}, or $${ for the two characters themselves",
            ),
        ] {
            assert_eq!(expand(raw, &env).unwrap_err().to_string(), message);
        }
    }

    proptest! {
        #[test]
        fn an_escaped_text_expands_to_itself(text in "[${}A:-]{0,20}") {
            let expanded = expand(&escape(&text), &env).unwrap();
            prop_assert_eq!(expanded.text, text);
            prop_assert!(expanded.variables.is_empty());
        }
    }
}
