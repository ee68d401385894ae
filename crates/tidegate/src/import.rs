//! `tidegate import`: the YAML that means the same as another system's configuration.

use std::io::Write as _;

use tidegate_config::to_yaml;

use crate::cli::ImportCommand;
use crate::{Failure, files};

/// Prints the configuration; warnings go to standard error.
pub(crate) fn run(kind: &ImportCommand) -> Result<(), Failure> {
    let (text, warnings) = match kind {
        ImportCommand::Env { source } => {
            let (config, warnings) = files::load_env(source, None)?;
            (to_yaml(&config), warnings)
        }
        ImportCommand::Speedmimi { source } => {
            let imported = files::import_speedmimi(source)?;
            (imported.yaml, imported.warnings)
        }
    };
    for warning in warnings {
        crate::complain(&format!("warning: {warning}"));
    }
    print(&text)
}

/// Prints a text; a reader that closes the pipe early is no error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let newline: &[u8] = if text.ends_with('\n') { b"" } else { b"\n" };
    match out.write_all(text.as_bytes()).and_then(|()| out.write_all(newline)) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::from(error).into())
        }
        _ => Ok(()),
    }
}
