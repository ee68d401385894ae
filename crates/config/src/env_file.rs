//! `.env` files: `NAME=value` lines, quotes and comments. Nothing is expanded.

use crate::expand::is_variable_name;
use crate::load::CONFIG_BYTES_MAX;
use crate::problem::{Collector, Position, Problem, Problems, quote};

/// One variable and where it was set.
#[derive(Clone, PartialEq, Eq)]
pub struct EnvVariable {
    /// Its name.
    pub name: String,
    /// Its value; possibly empty, possibly secret.
    pub value: String,
    /// 1-based line in the file; 0 if it comes from none.
    pub line: usize,
}

impl std::fmt::Debug for EnvVariable {
    /// Without the value.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.line, self.name)
    }
}

/// Reads the text of a `.env` file: one `NAME=value` for each line, `export ` before it if you
/// like, `#` comments. A value in single quotes is taken as it is; in double quotes `\n`, `\r`,
/// `\t`, `\"`, `\\` and `\$` are replaced; without quotes it ends at the line's end or before a `
/// #`. A name that is set twice has its last value, with a warning.
pub fn parse_env_file(
    text: &str,
    file_name: &str,
) -> Result<(Vec<EnvVariable>, Vec<Problem>), Problems> {
    let mut collector = Collector::new(file_name);
    let mut variables: Vec<EnvVariable> = Vec::new();
    if text.len() > CONFIG_BYTES_MAX {
        let message =
            format!("the file has {} bytes; at most {CONFIG_BYTES_MAX} are read", text.len());
        collector.problem(Position::default(), "", &message, None);
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = if text.len() > CONFIG_BYTES_MAX { "" } else { text };
    for (index, line) in text.lines().enumerate() {
        let at = Position {
            line: index + 1,
            column: 1 + line.chars().take_while(|c| c.is_whitespace()).count(),
        };
        match parse_line(line) {
            Ok(None) => {}
            Ok(Some((name, value))) => {
                let before = variables.iter().position(|variable| variable.name == name);
                if let Some(before) = before {
                    let first = variables.remove(before).line;
                    collector.warning(
                        at,
                        name,
                        &format!("was set in line {first}; this value counts"),
                    );
                }
                variables.push(EnvVariable { name: name.to_owned(), value, line: at.line });
            }
            Err(message) => collector.problem(at, "", &message, None),
        }
    }
    let warnings = collector.finish()?;
    Ok((variables, warnings))
}

fn parse_line(line: &str) -> Result<Option<(&str, String)>, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let rest = match line.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
        _ => line,
    };
    // The line may hold a secret: messages repeat names only.
    let (name, value) = rest.split_once('=').ok_or("needs the form NAME=value")?;
    let name = name.trim_end();
    if !is_variable_name(name) {
        return Err(format!(
            "{} is not the name of a variable: use letters, digits and \"_\"",
            quote(name)
        ));
    }
    parse_value(value.trim_start()).map(|value| Some((name, value)))
}

fn parse_value(text: &str) -> Result<String, String> {
    let (value, rest) = match text.chars().next() {
        Some('\'') => {
            let inner = text.get(1..).unwrap_or("");
            let (value, rest) =
                inner.split_once('\'').ok_or("the quote ' does not end on this line")?;
            (value.to_owned(), rest)
        }
        Some('"') => double_quoted(text.get(1..).unwrap_or(""))?,
        _ => {
            let end = text
                .char_indices()
                .zip(std::iter::once(' ').chain(text.chars()))
                .find(|((_, c), before)| *c == '#' && before.is_whitespace())
                .map_or(text.len(), |((at, _), _)| at);
            (text.get(..end).unwrap_or("").trim_end().to_owned(), "")
        }
    };
    let rest = rest.trim_start();
    if rest.is_empty() || rest.starts_with('#') {
        Ok(value)
    } else {
        Err("only a comment may follow the closing quote".to_owned())
    }
}

fn double_quoted(text: &str) -> Result<(String, &str), String> {
    let mut value = String::with_capacity(text.len());
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, text.get(at + 1..).unwrap_or(""))),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, 't')) => value.push('\t'),
                Some((_, c @ ('"' | '\\' | '$'))) => value.push(c),
                Some((_, other)) => {
                    value.push('\\');
                    value.push(other);
                }
                None => break,
            },
            _ => value.push(c),
        }
    }
    Err("the quote \" does not end on this line".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(text: &str) -> Vec<(String, String)> {
        let (variables, _) = parse_env_file(text, ".env").unwrap();
        variables.into_iter().map(|variable| (variable.name, variable.value)).collect()
    }

    #[test]
    fn lines_read_as_written() {
        for (line, value) in [
            ("A=b", "b"),
            ("A=", ""),
            ("  export A = b  ", "b"),
            ("export\tA=b", "b"),
            ("A=b c", "b c"),
            ("A=b # comment", "b"),
            ("A=b#c", "b#c"),
            ("A=# comment", ""),
            ("A='b # c' # comment", "b # c"),
            ("A='${B}\\n'", "${B}\\n"),
            ("A=\"b # c\"# comment", "b # c"),
            ("A=\"a\\n\\t\\\"\\\\\\$\\x\"", "a\n\t\"\\$\\x"),
            ("A=${B}", "${B}"),
            ("A=b=c", "b=c"),
            ("A=b\r", "b"),
            ("\u{feff}A=b", "b"),
            ("A=ключ", "ключ"),
        ] {
            assert_eq!(values(line), [("A".to_owned(), value.to_owned())], "{line:?}");
        }
        assert_eq!(values("# comment\n\n   \n"), []);
    }

    #[test]
    fn every_bad_line_is_reported() {
        let text = "A=1\nnot a line\n 1A=2\nB='x\nC=\"x\nD='x' y\nA=2\n";
        let problems = parse_env_file(text, ".env").unwrap_err().to_string();
        insta::assert_snapshot!(problems, @r#"
        .env:2:1: needs the form NAME=value
        .env:3:2: "1A" is not the name of a variable: use letters, digits and "_"
        .env:4:1: the quote ' does not end on this line
        .env:5:1: the quote " does not end on this line
        .env:6:1: only a comment may follow the closing quote
        "#);
    }

    #[test]
    fn the_last_of_two_values_counts_with_a_warning() {
        let (variables, warnings) = parse_env_file("A=1\nB=2\nA=3\n", ".env").unwrap();
        assert_eq!(format!("{variables:?}"), "[2:B, 3:A]");
        assert_eq!(warnings[0].to_string(), ".env:3:1: A: was set in line 1; this value counts");
    }

    #[test]
    fn a_file_that_is_too_big_is_refused() {
        let text = "#".repeat(CONFIG_BYTES_MAX + 1);
        assert_eq!(
            parse_env_file(&text, ".env").unwrap_err().to_string(),
            ".env: the file has 1048577 bytes; at most 1048576 are read"
        );
    }

    #[test]
    fn values_are_not_printed() {
        let (variables, _) = parse_env_file("KEY=very-secret", ".env").unwrap();
        assert!(!format!("{variables:?}").contains("very"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(?s).{0,200}") {
            let _ = parse_env_file(&text, ".env");
        }

        #[test]
        fn a_quoted_value_reads_back(value in "[^\u{0}-\u{1f}\u{7f}-\u{9f}\u{2028}\u{2029}]{0,40}") {
            let quoted = format!("A=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
            prop_assert_eq!(values(&quoted), [("A".to_owned(), value)]);
        }
    }
}
