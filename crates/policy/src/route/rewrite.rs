//! Another path than the one that was matched: a prefix replaced, or a pattern.

use super::{Pattern, PatternError};
use crate::path::{PathError, normalise};

/// Longest rewritten path in bytes: the longest head that can be configured.
const REWRITTEN_MAX: usize = 64 * 1024;

/// How a route changes the path.
#[derive(Clone, Debug)]
pub enum Rewrite {
    /// The first bytes, which the route matched, are replaced.
    Prefix {
        /// How many bytes.
        matched: usize,
        /// By what.
        by: Vec<u8>,
    },
    /// What a pattern finds first is replaced; a path in which it finds nothing stays as it is.
    Pattern {
        /// The pattern.
        pattern: Pattern,
        /// By what.
        to: Vec<Piece>,
    },
}

/// A part of what a pattern's match is replaced by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// These bytes.
    Text(Vec<u8>),
    /// What this group of the pattern matched.
    Group(usize),
}

/// Why a rewrite cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The pattern is none.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// `$` before something that is no group.
    #[error("{0} is no group of the pattern; a dollar sign of its own is written $$")]
    Group(String),
}

/// Why a path cannot be rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    /// The result is longer than 64 KiB.
    #[error("the rewritten path is too long")]
    TooLong,
    /// The result is no path.
    #[error("the rewritten path cannot be used: {0}")]
    Path(#[from] PathError),
    /// The result has another spelling: what was put together has become a dot segment or an escape.
    #[error("the rewritten path has a dot segment or an escape that was not there before")]
    Ambiguous,
}

impl Rewrite {
    /// Replaces what `pattern` matches by `to`, in which `$1` or `$name` stands for a group and `$$`
    /// for a dollar sign.
    pub fn pattern(pattern: &str, to: &str) -> Result<Self, TemplateError> {
        let pattern = Pattern::new(pattern)?;
        let to = pieces(&pattern, to)?;
        Ok(Self::Pattern { pattern, to })
    }

    /// The path to send instead of `path`, which is normalised; `None` if it stays as it is.
    ///
    /// The result is as normal as what was matched: putting two harmless pieces together can make
    /// `..`, which is refused.
    pub fn apply(&self, path: &[u8]) -> Result<Option<Vec<u8>>, RewriteError> {
        let mut out = Vec::with_capacity(path.len() + 32);
        match self {
            Self::Prefix { matched, by } => {
                out.extend_from_slice(by);
                out.extend_from_slice(path.get(*matched..).unwrap_or_default());
            }
            Self::Pattern { pattern, to } => {
                let Some(found) = pattern.regex().captures(path) else { return Ok(None) };
                let Some(whole) = found.get(0) else { return Ok(None) };
                out.extend_from_slice(path.get(..whole.start()).unwrap_or_default());
                for piece in to {
                    match piece {
                        Piece::Text(text) => out.extend_from_slice(text),
                        Piece::Group(group) => {
                            let group = found.get(*group).map(|group| group.as_bytes());
                            out.extend_from_slice(group.unwrap_or_default());
                        }
                    }
                    if out.len() > REWRITTEN_MAX {
                        return Err(RewriteError::TooLong);
                    }
                }
                out.extend_from_slice(path.get(whole.end()..).unwrap_or_default());
            }
        }
        if out.len() > REWRITTEN_MAX {
            return Err(RewriteError::TooLong);
        }
        if normalise(&out)? != out {
            return Err(RewriteError::Ambiguous);
        }
        Ok(Some(out))
    }
}

fn pieces(pattern: &Pattern, text: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        if !before.is_empty() {
            pieces.push(Piece::Text(before.into()));
        }
        if let Some(after) = after.strip_prefix('$') {
            pieces.push(Piece::Text(b"$".to_vec()));
            rest = after;
            continue;
        }
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let word = after.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        let (name, after) = after.split_at(if digits > 0 { digits } else { word });
        let unknown = || TemplateError::Group(format!("${name}"));
        let group = if digits > 0 {
            let group: usize = name.parse().map_err(|_| unknown())?;
            (group < pattern.regex().captures_len()).then_some(group)
        } else {
            pattern.regex().capture_names().position(|known| known == Some(name))
        };
        pieces.push(Piece::Group(group.ok_or_else(unknown)?));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.into()));
    }
    Ok(pieces)
}
