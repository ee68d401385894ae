//! A regular expression over paths, bounded in size.

use regex::bytes::{Regex, RegexBuilder};

/// Longest text of a pattern in bytes.
const TEXT_MAX: usize = 2048;

/// Bytes of a compiled pattern. Searching takes time linear in the path whatever the pattern.
const COMPILED_MAX: usize = 256 * 1024;

/// Bytes that one thread keeps to search faster.
const CACHE_MAX: usize = 64 * 1024;

/// A regular expression (syntax of the `regex` crate, bytes) that is looked for in a path. It may
/// match anywhere: `^` and `$` tie it to the ends.
///
/// Threads that search at once take each its own scratch space and do not wait for one another.
#[derive(Clone, Debug)]
pub struct Pattern {
    regex: Regex,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// More than 2048 bytes.
    #[error("the pattern has more than {TEXT_MAX} bytes")]
    TooLong,
    /// Compiled, it needs more than 256 KiB: mostly counted repetitions in one another.
    #[error("the pattern is too large when compiled: use fewer or smaller repetitions")]
    TooLarge,
    /// Not a regular expression.
    #[error("{0}")]
    Syntax(String),
}

impl Pattern {
    /// Compiles a text.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.len() > TEXT_MAX {
            return Err(PatternError::TooLong);
        }
        let built = RegexBuilder::new(text)
            .unicode(false)
            .size_limit(COMPILED_MAX)
            .dfa_size_limit(CACHE_MAX)
            .build();
        match built {
            Ok(regex) => Ok(Self { regex }),
            Err(regex::Error::CompiledTooBig(_)) => Err(PatternError::TooLarge),
            Err(error) => Err(PatternError::Syntax(told(&error))),
        }
    }

    /// The text that it was made of.
    pub fn as_str(&self) -> &str {
        self.regex.as_str()
    }

    /// Whether it is found in `path`.
    pub fn matches(&self, path: &[u8]) -> bool {
        self.regex.is_match(path)
    }

    pub(super) fn regex(&self) -> &Regex {
        &self.regex
    }

    /// The prefix that means the same, if the pattern is written so that this is plain to see.
    pub(super) fn as_prefix(&self) -> Option<&str> {
        let text = self.as_str();
        // Every path has a slash.
        if matches!(text, "" | "/" | "^" | ".*") {
            return Some("");
        }
        let text = text.strip_prefix('^')?;
        let open = match text.strip_suffix('$') {
            Some(text) => text.strip_suffix(".*")?,
            None => text.strip_suffix(".*").unwrap_or(text),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_~%".contains(&byte);
        open.bytes().all(plain).then_some(open)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

/// The last line of what the parser says: the lines before draw the place.
fn told(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}
