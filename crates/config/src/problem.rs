//! What is wrong with a configuration: where, what, and what was perhaps meant.

use std::collections::HashSet;
use std::fmt;

/// One thing that is wrong, or odd if it is a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file's name as it was given.
    pub file: String,
    /// 1-based; 0 where the problem has no place in a file.
    pub line: usize,
    /// 1-based, in characters; 0 where the problem has no place in a file.
    pub column: usize,
    /// Which field, such as `routes[1].upstream`; empty for the file as a whole.
    pub path: String,
    /// One sentence without a full stop.
    pub message: String,
    /// What was perhaps meant.
    pub suggestion: Option<String>,
}

impl fmt::Display for Problem {
    /// `tidegate.yaml:12:5: routes[1].upstream: no upstream is named "ap"; did you mean "app"?`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; did you mean \"{suggestion}\"?"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with one file, in the order of its lines. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    /// One line for each problem.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

/// A place in a file: 1-based line and column in characters; 0, 0 is no place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// Problems kept of one file; a text that is no configuration at all could have one in every word.
const PROBLEMS_MAX: usize = 100;

/// Longest text of the operator's that a message repeats, in characters.
const QUOTE_MAX: usize = 80;

/// Longest message in characters: it may hold names of the operator's choice.
const MESSAGE_MAX: usize = 500;

/// Gathers problems and remembers which fields already have one.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    file: String,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    reported: HashSet<String>,
    left_out: usize,
}

impl Collector {
    pub(crate) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), ..Self::default() }
    }

    /// Whether the field already has a problem: then what depends on its value is not checked.
    pub(crate) fn is_reported(&self, path: &str) -> bool {
        self.reported.contains(path)
    }

    /// Lets the field count as one with a problem, because one elsewhere explains it.
    pub(crate) fn mark_reported(&mut self, path: &str) {
        self.reported.insert(path.to_owned());
    }

    pub(crate) fn problem(
        &mut self,
        at: Position,
        path: &str,
        message: &str,
        suggestion: Option<String>,
    ) {
        self.reported.insert(path.to_owned());
        if self.problems.len() < PROBLEMS_MAX {
            let problem = self.build(at, path, message, suggestion);
            self.problems.push(problem);
        } else {
            self.left_out += 1;
        }
    }

    pub(crate) fn warning(&mut self, at: Position, path: &str, message: &str) {
        if self.warnings.len() < PROBLEMS_MAX {
            let warning = self.build(at, path, message, None);
            self.warnings.push(warning);
        }
    }

    /// The warnings, or the problems if there is one.
    pub(crate) fn finish(mut self) -> Result<Vec<Problem>, Problems> {
        let place = |problem: &Problem| (problem.line == 0, problem.line, problem.column);
        self.problems.sort_by_key(place);
        self.warnings.sort_by_key(place);
        if self.left_out > 0 {
            let message = format!("{} more problems are not shown", self.left_out);
            let last = self.build(Position::default(), "", &message, None);
            self.problems.push(last);
        }
        if self.problems.is_empty() { Ok(self.warnings) } else { Err(Problems(self.problems)) }
    }

    /// The problems, of which the caller knows that there is one.
    pub(crate) fn into_problems(self) -> Problems {
        match self.finish() {
            Err(problems) => problems,
            Ok(warnings) => Problems(warnings),
        }
    }

    fn build(
        &self,
        at: Position,
        path: &str,
        message: &str,
        suggestion: Option<String>,
    ) -> Problem {
        Problem {
            file: self.file.clone(),
            line: at.line,
            column: at.column,
            path: shorten(path),
            message: cut(message, MESSAGE_MAX),
            suggestion,
        }
    }
}

/// The operator's own text for a message: one line, of bounded length, without control characters.
pub(crate) fn quote(text: &str) -> String {
    format!("\"{}\"", shorten(text))
}

/// One line of bounded length without control characters.
pub(crate) fn shorten(text: &str) -> String {
    cut(text, QUOTE_MAX)
}

fn cut(text: &str, characters_max: usize) -> String {
    let mut short: String = text
        .chars()
        .take(characters_max)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(characters_max).is_some() {
        short.push('…');
    }
    short
}
