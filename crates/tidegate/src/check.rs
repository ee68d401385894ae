//! `tidegate check`: every problem at once, or the budget that the limits need.

use std::path::Path;

use rustix::process::{Resource, getrlimit};
use tidegate_snapshot::tls::Severity;
use tidegate_snapshot::{Live, compile};

use crate::{Failure, files, import};

/// Checks a configuration as `serve` would, short of listening.
pub(crate) fn run(file: &Path) -> Result<(), Failure> {
    let loaded = files::load(file, Severity::Doubtful)?;
    let budget = files::budget(&loaded.config);
    let mut out = String::new();
    for warning in &loaded.warnings {
        out.extend(["warning: ", &warning.to_string(), "\n"]);
    }
    if let Some(shortage) =
        getrlimit(Resource::Nofile).maximum.and_then(|max| budget.file_shortage(max))
    {
        out.extend(["warning: ", &shortage, "\n"]);
    }
    // What only shows when names become files and certificates.
    compile(loaded.config.into(), &Live::new(1), 1)
        .map_err(|error| Failure::User(format!("{}: {error}", file.display())))?;
    import::print(&format!(
        "{out}{}: no problems
{budget}",
        file.display()
    ))
}
