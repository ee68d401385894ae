//! The process log: to standard error, as text or JSON.

use std::io::IsTerminal as _;

use tidegate_config::{Log, LogFormat, LogLevel};
use tracing_subscriber::EnvFilter;

/// Begins to log as the configuration says; `RUST_LOG`, where it is set, has the last word.
pub(crate) fn begin(log: &Log) {
    let level = match log.level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let to_stderr = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Colours are for people: in a file or a collector they are noise between the words.
        .with_ansi(std::io::stderr().is_terminal());
    // A second call in one process changes nothing, which is what it should do.
    let _ = match log.format {
        LogFormat::Text => to_stderr.try_init(),
        LogFormat::Json => to_stderr.json().try_init(),
    };
}
