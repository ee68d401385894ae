//! The text of a configuration file to a checked configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;

use crate::budget::Budget;
use crate::check::{check, nearest};
use crate::expand::Environment;
use crate::model::{Config, Model, ModelBalance, Route, Target};
use crate::problem::{Collector, Position, Problem, Problems};
use crate::reader::Reader;
use crate::{read, tree};

/// Longest configuration file in bytes.
pub const CONFIG_BYTES_MAX: usize = 1 << 20;

/// A configuration without problems.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration, with what is implied written out (see [`Config::complete`]).
    pub config: Config,
    /// What is odd but works.
    pub warnings: Vec<Problem>,
    /// What the limits cost.
    pub budget: Budget,
    file: String,
    places: BTreeMap<String, Position>,
}

impl Loaded {
    /// A problem that only shows when what the configuration names is looked at, such as a file.
    /// `path`: its field.
    pub fn problem(&self, path: &str, message: &str) -> Problem {
        let mut collector = Collector::new(&self.file);
        collector.problem(nearest(&self.places, path), path, message, None);
        // One was just added.
        collector.into_problems().0.swap_remove(0)
    }
}

impl Config {
    /// Writes out what is implied: with providers but no routes, `/v1/` leads to the LLM relay;
    /// with providers but no models, every provider serves any model.
    pub fn complete(&mut self) {
        if self.providers.is_empty() {
            return;
        }
        if self.routes.is_empty() {
            self.routes.push(Route { path: "/v1/".to_owned(), llm: true, ..Route::default() });
        }
        if self.models.is_empty() {
            self.models.push(Model {
                name: "*".to_owned(),
                to: self.providers.keys().map(Target::provider).collect(),
                balance: ModelBalance::default(),
            });
        }
    }

    /// Checks a configuration that did not come from a YAML text. `file_name` is what problems are
    /// reported under. Gives the warnings.
    pub fn check(&self, file_name: &str) -> Result<Vec<Problem>, Problems> {
        let mut collector = Collector::new(file_name);
        check_into(self, &BTreeMap::new(), &mut collector);
        collector.finish()
    }
}

/// Reads and checks the bytes of a configuration file. `file_name` is what problems are reported
/// under; `env` answers `${NAME}`.
pub fn load_bytes(bytes: &[u8], file_name: &str, env: &Environment) -> Result<Loaded, Problems> {
    match std::str::from_utf8(bytes) {
        Ok(text) => load(text, file_name, env),
        Err(error) => {
            let before = bytes.get(..error.valid_up_to()).unwrap_or(&[]);
            let line_start =
                before.iter().rposition(|&b| b == b'\n').map_or(0, |newline| newline + 1);
            let in_line = before.get(line_start..).unwrap_or(&[]);
            let at = Position {
                line: String::from_utf8_lossy(before).matches('\n').count() + 1,
                column: String::from_utf8_lossy(in_line).chars().count() + 1,
            };
            Err(single(file_name, at, "this byte is not UTF-8 text"))
        }
    }
}

/// Reads and checks the text of a configuration file; as [`load_bytes`].
pub fn load(text: &str, file_name: &str, env: &Environment) -> Result<Loaded, Problems> {
    load_tracing(text, file_name, env).0
}

/// What the reader asked for, by type: for the test that the schema lists the same keys.
pub(crate) type Accepted = BTreeMap<&'static str, BTreeSet<&'static str>>;

pub(crate) fn load_tracing(
    text: &str,
    file_name: &str,
    env: &Environment,
) -> (Result<Loaded, Problems>, Accepted) {
    if text.len() > CONFIG_BYTES_MAX {
        let message =
            format!("the file has {} bytes; at most {CONFIG_BYTES_MAX} are read", text.len());
        return (Err(single(file_name, Position::default(), &message)), Accepted::new());
    }
    let mut collector = Collector::new(file_name);
    let root = match tree::parse(text, &mut collector) {
        Ok(root) => root,
        Err(unreadable) => {
            collector.problem(unreadable.at, "", &unreadable.message, None);
            return (Err(collector.into_problems()), Accepted::new());
        }
    };
    let mut reader = Reader::new(collector, env);
    let Some(mut config) = read::config(&mut reader, root.as_ref()) else {
        return (Err(reader.collector.into_problems()), Accepted::new());
    };
    config.complete();
    let Reader { mut collector, places, accepted, .. } = reader;
    let budget = Budget::of(&config, cores());
    check(&config, &budget, &places, &mut collector);
    let loaded = collector.finish().map(|warnings| Loaded {
        config,
        warnings,
        budget,
        file: file_name.to_owned(),
        places,
    });
    (loaded, accepted)
}

/// Checks what an import made; `places` says where fields come from.
pub(crate) fn check_into(
    config: &Config,
    places: &BTreeMap<String, Position>,
    collector: &mut Collector,
) {
    check(config, &Budget::of(config, cores()), places, collector);
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

fn single(file_name: &str, at: Position, message: &str) -> Problems {
    let mut collector = Collector::new(file_name);
    collector.problem(at, "", message, None);
    collector.into_problems()
}
