//! A load generator: closed loops of requests, concurrent SSE streams, or idle connections; bounded in time and count.
//!
//! [`run`] blocks until the load is over and gives a [`LoadReport`]. It sends to loopback only, unless the caller says
//! that the target is theirs.

mod client;
mod idle;
mod plan;
mod progress;
mod reply_reader;
mod requests;
mod stream;
mod streams;
mod tally;
mod target;
mod tls;
mod websocket;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

pub use self::progress::{LoadPhase, LoadProgress};
pub use self::websocket::MESSAGE_MAX;

use self::plan::Plan;
use self::tally::Tally;
use crate::report::LoadReport;
use crate::server::local_runtime;

/// Most connections of one run.
pub const CONNECTIONS_MAX: usize = 200_000;

/// Most threads of one run.
pub const THREADS_MAX: usize = 64;

/// Longest run.
pub const DURATION_MAX: Duration = Duration::from_hours(24);

/// What kind of load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LoadMode {
    /// Each connection sends a request, waits for the whole reply, and starts again.
    Requests,
    /// The same, and the replies are server-sent events: their times are measured too. At the end of the duration
    /// streams are broken off.
    Streams,
    /// Each connection carries one request and is then held open; at the end one in a hundred carries another.
    Idle {
        /// How long all connections are held, once they are open.
        hold: Duration,
    },
}

/// What every exchange over TLS begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshakes {
    /// A handshake with a new session.
    Full,
    /// A handshake that resumes the session of the connection before, if the target lets it.
    Resumed,
}

/// A load. Every number is bounded by the constants of this module.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// `http://host[:port]/path?query`, or with `https`, `ws` or `wss`. Over `ws` a request is a message that must come
    /// back as it is.
    pub url: String,
    /// What kind of load.
    pub mode: LoadMode,
    /// The request's method.
    pub method: String,
    /// Further request fields: name and value.
    pub headers: Vec<(String, String)>,
    /// The request's body; its length is declared.
    pub body: Vec<u8>,
    /// A connection carries one request: it is asked to close, and its end is waited for.
    pub close: bool,
    /// The same over TLS, and what the next connection begins with.
    pub handshakes: Option<Handshakes>,
    /// Bytes of a WebSocket message, at most [`MESSAGE_MAX`].
    pub message_bytes: usize,
    /// The authorities (PEM) that the target's certificate must come from. `None`: a loopback target may show any, no
    /// other may be used over TLS.
    pub ca: Option<PathBuf>,
    /// Connections open at once, over all threads.
    pub connections: usize,
    /// Stop after this many requests over all connections; `None`: only the duration ends the run.
    pub count: Option<u64>,
    /// Start no request after this time. The mode `Idle` is over when its hold is.
    pub duration: Duration,
    /// Longest time for one exchange, connecting included.
    pub timeout: Duration,
    /// Threads, each with its share of the connections.
    pub threads: usize,
    /// Connect from 127.0.0.2, 127.0.0.3, …, 20,000 connections each: one source address has too few ports for more.
    /// Only for targets in 127.0.0.0/8; on by itself for more than 20,000 connections.
    pub spread_sources: bool,
    /// The caller answers for load on a target that is not on this machine.
    pub i_own_this_target: bool,
    /// Draws a progress bar on standard error when that is a terminal.
    pub progress_bar: bool,
}

impl LoadOptions {
    /// GET requests to `url` on 64 connections by one thread for 10 s.
    pub fn new(url: impl Into<String>) -> LoadOptions {
        LoadOptions {
            url: url.into(),
            mode: LoadMode::Requests,
            method: "GET".to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            close: false,
            handshakes: None,
            message_bytes: 64,
            ca: None,
            connections: 64,
            count: None,
            duration: Duration::from_secs(10),
            timeout: Duration::from_mins(1),
            threads: 1,
            spread_sources: false,
            i_own_this_target: false,
            progress_bar: false,
        }
    }
}

/// Why a load was not started.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The URL cannot be used.
    #[error("{url}: {problem}; give a URL such as http://127.0.0.1:8080/path")]
    Url {
        /// The URL as given.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The host has no address.
    #[error("{host} cannot be resolved: {cause}")]
    Resolve {
        /// The host and port.
        host: String,
        /// The system's error.
        cause: io::Error,
    },
    /// The target is not on this machine.
    #[error(
        "{addr} is not a loopback address: load on other machines hurts whoever runs them; \
         add --i-own-this-target if they are yours"
    )]
    NotLoopback {
        /// Where the URL leads.
        addr: SocketAddr,
    },
    /// An option is out of its bounds or unusable.
    #[error("{option}: {problem}")]
    Option {
        /// Which option.
        option: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// The system refused what the run needs.
    #[error("the load generator cannot run: {0}")]
    System(#[from] io::Error),
}

/// Runs the load to its end.
pub fn run(options: &LoadOptions) -> Result<LoadReport, LoadError> {
    run_watched(options, &Arc::new(LoadProgress::default()))
}

/// Runs the load to its end; meanwhile others can see in `progress` how far it is.
pub fn run_watched(
    options: &LoadOptions,
    progress: &Arc<LoadProgress>,
) -> Result<LoadReport, LoadError> {
    let plan = Arc::new(Plan::new(options, Arc::clone(progress))?);
    let bar = options.progress_bar.then(|| progress::draw(options, Arc::clone(progress)));
    let bar = bar.transpose()?;
    let mut threads = Vec::with_capacity(options.threads);
    for number in 1..options.threads {
        let plan = Arc::clone(&plan);
        let name = format!("load-{number}");
        threads
            .push(std::thread::Builder::new().name(name).spawn(move || run_share(&plan, number))?);
    }
    let mut total = run_share(&plan, 0)?;
    for thread in threads {
        let share = thread.join().map_err(|_| io::Error::other("a load thread panicked"))?;
        total.add(&share?);
    }
    progress.enter(LoadPhase::Over);
    drop(bar);
    Ok(total.report(options, &plan))
}

/// One thread's share of the connections.
fn run_share(plan: &Arc<Plan>, number: usize) -> io::Result<Tally> {
    local_runtime()?.block_on(async {
        match plan.mode {
            LoadMode::Requests => requests::run(plan, number).await,
            LoadMode::Streams => streams::run(plan, number).await,
            LoadMode::Idle { hold } => idle::run(plan, number, hold).await,
        }
    })
}
