//! The commands and their options.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The version, and the build in brackets unless it is a plain release: reports of measurements tell by it what was measured.
const VERSION: &str = if option_env!("TIDEGATE_PROFILE_GUIDED").is_some() {
    concat!(env!("CARGO_PKG_VERSION"), " (profile-guided)")
} else if cfg!(debug_assertions) {
    concat!(env!("CARGO_PKG_VERSION"), " (debug)")
} else {
    env!("CARGO_PKG_VERSION")
};

/// One gateway in front of LLM providers and web services.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version = VERSION, about, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve at once, without a file or an account: finds *_API_KEY, else starts the lab provider
    Quickstart(QuickstartOptions),
    /// Serve what a configuration says
    Serve(ServeOptions),
    /// Report every problem of a configuration, and the memory and files that its limits need
    Check {
        /// The configuration
        file: PathBuf,
    },
    /// Say where a request goes and why: the route, the endpoints, what is changed on the way
    Explain(ExplainOptions),
    /// Print the YAML that means the same as another system's configuration
    Import {
        #[command(subcommand)]
        kind: ImportCommand,
    },
    /// Print the JSON Schema of the configuration
    Schema,
    /// Run a deterministic LLM provider or web origin to try and test with
    Lab {
        #[command(subcommand)]
        what: LabCommand,
    },
    /// Generate load and report latencies
    Bench(BenchOptions),
}

#[derive(Debug, Args)]
pub(crate) struct QuickstartOptions {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub(crate) bind: SocketAddr,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Source {
    /// A YAML configuration
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// A .env file of the older proxy
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ServeOptions {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Limits for a size of machine: standard, base, warp, multi-endpoint, full, medium or high
    #[arg(long, value_name = "NAME")]
    pub(crate) preset: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainOptions {
    /// The method
    pub(crate) method: String,
    /// A whole URL with scheme and host, or a path
    pub(crate) url: String,
    /// Where the request comes from
    #[arg(long, value_name = "IP")]
    pub(crate) from: Option<std::net::IpAddr>,
    /// A field of the request, "Name: value"; may be repeated
    #[arg(long = "header", short = 'H', value_name = "FIELD")]
    pub(crate) headers: Vec<String>,
    /// The configuration
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImportCommand {
    /// From a .env file
    Env {
        /// The file
        source: PathBuf,
    },
    /// From a configuration of SpeedMimi
    Speedmimi {
        /// The file
        source: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// A deterministic LLM provider: OpenAI and Anthropic formats
    Provider {
        /// Address to listen on
        #[arg(long, default_value = "127.0.0.1:9000")]
        bind: SocketAddr,
        /// Demand this key; without it any key is taken
        #[arg(long)]
        key: Option<String>,
    },
    /// A web origin: /small /big /echo /sse /slow /status/503 …
    Origin {
        /// Address to listen on
        #[arg(long, default_value = "127.0.0.1:9100")]
        bind: SocketAddr,
    },
}

/// What the connections of `bench --handshakes` begin with.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum HandshakeKind {
    /// A new session each.
    Full,
    /// The session of the connection before.
    Resumed,
}

#[derive(Debug, Args)]
pub(crate) struct BenchOptions {
    /// Where to: http, https, or ws and wss for messages that are echoed
    pub(crate) url: String,
    /// Connections open at once
    #[arg(long, short = 'c', default_value_t = 64)]
    pub(crate) connections: usize,
    /// Seconds to go on for
    #[arg(long, short = 'd', default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Stop after this many requests
    #[arg(long, short = 'n')]
    pub(crate) requests: Option<u64>,
    /// Threads that make the load
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
    /// Replies are event streams: measure them too
    #[arg(long, conflicts_with = "idle")]
    pub(crate) streams: bool,
    /// Open the connections, hold them for this many seconds, then try one in a hundred
    #[arg(long, value_name = "SECONDS")]
    pub(crate) idle: Option<f64>,
    /// One request for each connection: asks to close it, and waits for its end
    #[arg(long)]
    pub(crate) close: bool,
    /// The same over TLS, with a new session each or the one before
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) handshakes: Option<HandshakeKind>,
    /// Bytes of a WebSocket message
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    pub(crate) message: usize,
    /// Authorities (PEM) of the target's certificate; without it loopback targets may show any
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// A request field, "Name: value"; may be repeated
    #[arg(long = "header", short = 'H', value_name = "FIELD")]
    pub(crate) headers: Vec<String>,
    /// A request body; makes it a POST
    #[arg(long, value_name = "TEXT")]
    pub(crate) body: Option<String>,
    /// Longest time for one exchange, in seconds
    #[arg(long, default_value_t = 60.0)]
    pub(crate) timeout: f64,
    /// Write the numbers to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write a page with the latency distribution to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Allow a target outside this machine
    #[arg(long)]
    pub(crate) i_own_this_target: bool,
}
