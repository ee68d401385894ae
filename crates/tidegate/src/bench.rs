//! `tidegate bench`: the load generator by hand.

use std::io::IsTerminal as _;
use std::time::Duration;

use tidegate_lab::load::{self, Handshakes, LoadMode, LoadOptions};

use crate::cli::{BenchOptions, HandshakeKind};
use crate::{Failure, import};

/// Generates the load and prints what came of it.
pub(crate) fn run(options: &BenchOptions) -> Result<(), Failure> {
    let seconds = |value: f64| {
        Duration::try_from_secs_f64(value)
            .map_err(|_| Failure::User(format!("{value} is not a number of seconds")))
    };
    let mut load = LoadOptions::new(&options.url);
    load.connections = options.connections;
    load.duration = seconds(options.seconds)?;
    load.count = options.requests;
    load.threads = options.threads;
    load.timeout = seconds(options.timeout)?;
    load.close = options.close;
    load.handshakes = options.handshakes.map(|kind| match kind {
        HandshakeKind::Full => Handshakes::Full,
        HandshakeKind::Resumed => Handshakes::Resumed,
    });
    load.message_bytes = options.message;
    load.ca.clone_from(&options.ca);
    load.i_own_this_target = options.i_own_this_target;
    load.progress_bar = std::io::stderr().is_terminal();
    load.mode = match (options.streams, options.idle) {
        (true, _) => LoadMode::Streams,
        (false, Some(hold)) => LoadMode::Idle { hold: seconds(hold)? },
        (false, None) => LoadMode::Requests,
    };
    for field in &options.headers {
        let (name, value) = field
            .split_once(':')
            .ok_or_else(|| Failure::User(format!("{field:?} is not a field: write Name: value")))?;
        load.headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    if let Some(body) = &options.body {
        "POST".clone_into(&mut load.method);
        load.body = body.as_bytes().to_vec();
    }
    let report = load::run(&load).map_err(|error| Failure::User(error.to_string()))?;
    for (path, text) in [(&options.json, report.to_json()), (&options.html, report.to_html())] {
        if let Some(path) = path {
            std::fs::write(path, text).map_err(|error| {
                Failure::User(format!("cannot write {}: {error}", path.display()))
            })?;
        }
    }
    if options.json.is_some() { Ok(()) } else { import::print(&report.to_json()) }
}
