//! From what operators wrote to what the data plane reads.

mod edge;
mod health;
mod listener;
mod llm;
mod route;
mod upstream;

pub(crate) use route::name as route_name;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_config as config;
use tidegate_config::{AddressError, Config, ResolveError};
use tidegate_policy::admission::AdmissionLimits;
use tidegate_policy::retry::{BudgetLimits, RetryPolicy};

use crate::callers::Callers;
use crate::live::Live;
use crate::tls::TlsConfigs;
use crate::types::{Group, Limits, Snapshot, Timeouts};

/// Why a configuration that passed its check cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// An address that the check let through is not usable.
    #[error("{place}: {source}")]
    Address {
        /// Field path.
        place: String,
        /// What is wrong with it.
        source: AddressError,
    },
    /// A host that TLS cannot verify.
    #[error("{place}: {host:?} cannot be verified by TLS: {message}")]
    ServerName {
        /// Field path.
        place: String,
        /// The host.
        host: String,
        /// What is wrong with it.
        message: String,
    },
    /// A provider that the check let through is not complete.
    #[error("{place}: {source}")]
    Provider {
        /// Field path.
        place: String,
        /// What it lacks.
        source: ResolveError,
    },
    /// A CA file cannot be used: which one and why.
    #[error("CA file: {0}")]
    CaFile(String),
    /// A certificate or its key cannot be used.
    #[error("{place}: {message}")]
    Certificate {
        /// Field path.
        place: String,
        /// What is wrong with it.
        message: String,
    },
    /// Our certificate towards endpoints, or its key, cannot be used: which file and why.
    #[error("certificate for endpoints: {0}")]
    ClientCertificate(String),
    /// TLS cannot be set up at all.
    #[error("TLS: {0}")]
    Tls(String),
    /// A name refers to nothing.
    #[error("{place}: there is no {what} named {name:?}")]
    Dangling {
        /// Field path.
        place: String,
        /// `provider` or `upstream`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A part of a route that the check let through cannot be used.
    #[error("{place}: {message}")]
    Route {
        /// Field path.
        place: String,
        /// What is wrong with it.
        message: String,
    },
    /// A group has more members than a set of tried ones can hold.
    #[error("{place}: {count} members are more than {max}", max = Group::MEMBERS_MAX)]
    TooManyMembers {
        /// Field path.
        place: String,
        /// How many there are.
        count: usize,
    },
}

/// Compiles a checked configuration against the live state, so that known endpoints, routes and
/// models keep their counters.
pub fn compile(
    config: Arc<Config>,
    live: &Live,
    generation: u64,
) -> Result<Snapshot, CompileError> {
    let mut tls = TlsConfigs::default();
    let timeouts = timeouts(&config.timeouts);
    let upstreams = upstream::upstreams(&config, live, &timeouts, &mut tls)?;
    let providers = llm::providers(&config, live, &timeouts, &mut tls)?;
    let models = llm::models(&config, live, &providers)?;
    let (route_table, routes) = route::routes(&config, live, &upstreams)?;
    let mut complaints = Vec::new();
    Ok(Snapshot {
        generation,
        listeners: listener::listeners(&config, live, &upstreams, &mut complaints)?,
        complaints,
        limits: Limits {
            connections: config.limits.connections as usize,
            admission: AdmissionLimits {
                in_flight: config.limits.requests as usize,
                waiting: config.limits.queue.size as usize,
                memory: config.limits.memory.as_u64(),
            },
            queue_wait_ms: ms(config.limits.queue.wait),
            head: config.limits.head.as_usize(),
            body: config.limits.body.as_u64(),
            stream_buffer: config.limits.stream_buffer.as_usize(),
        },
        timeouts,
        callers: Callers::new(
            config.callers.iter().map(|c| (c.name.as_str(), c.key.expose(), c.priority)),
        ),
        allow_anonymous: config.allow_anonymous,
        route_table,
        routes,
        upstreams,
        models,
        retry: RetryPolicy {
            attempts: config.retry.attempts.max(1),
            delay: config.retry.delay,
            delay_max: config.retry.delay_max,
        },
        retry_on: config.retry.on.iter().filter_map(|s| u16::try_from(*s).ok()).collect(),
        retry_budget: BudgetLimits {
            percent: config.retry.budget_percent,
            floor_per_second: config.retry.budget_min_per_second,
        },
        config,
    })
}

fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

fn timeouts(written: &config::Timeouts) -> Timeouts {
    Timeouts {
        head: ms(written.head),
        body: ms(written.body),
        keep_alive: ms(written.keep_alive),
        tls_handshake: ms(written.tls_handshake),
        connect: ms(written.connect),
        first_token: ms(written.first_token),
        between_tokens: ms(written.between_tokens),
        request: ms(written.request),
        stream: ms(written.stream),
        write_stall: ms(written.write_stall),
        heartbeat: ms(written.heartbeat),
        drain: ms(written.drain),
        tunnel: ms(written.tunnel),
        upstream_idle: ms(written.upstream_idle),
        upgrade: ms(written.upgrade),
    }
}

fn parsed<T: FromStr<Err = AddressError>>(place: &str, text: &str) -> Result<T, CompileError> {
    text.parse().map_err(|source| CompileError::Address { place: place.to_owned(), source })
}
