//! What both planes share: the compiled configuration in force and the live counters.
//!
//! - [`compile()`] turns what operators wrote into a [`Snapshot`], or says why it cannot.
//! - [`Snapshot`] is immutable and swapped whole; an exchange keeps the one that it began with.
//! - [`live`] holds what outlives a snapshot: gauges, counters and endpoint health, keyed by
//!   identity so that a reload loses nothing.
//! - [`Shared`] is the one place where the data plane and the control plane meet.

pub mod callers;
pub mod compile;
mod explain;
pub mod live;
pub mod reason;
pub mod series;
mod shortage;
pub mod tls;
mod types;

use std::sync::Arc;

use arc_swap::ArcSwap;

pub use compile::{CompileError, compile};
pub use explain::{
    ConsideredRoute, ExplainedEndpoint, ExplainedMirror, ExplainedRetry, ExplainedUpstream,
    Explanation, Outcome, Question, QuestionError, explain,
};
pub use live::Live;
pub use reason::{Reason, Side};
pub use shortage::unconnected;
pub use types::{
    Breaker, Changes, Destination, Egress, EgressKind, Endpoint, EndpointQueue, FieldEdits, Group,
    GroupHealth, Limits, Listener, Member, Mirror, Model, Models, Provider, Redirect, Route,
    RouteTimeouts, ServerNames, Snapshot, Split, StaticReply, TcpTarget, Timeouts, TlsTarget,
    Traffic,
};
pub use types::{Edge, Limit, Protocol, ProxyHeader};

/// The configuration in force and the live state: everything the two planes know of each other.
#[derive(Debug)]
pub struct Shared {
    /// The snapshot in force. Readers take it per request; writers swap it whole.
    pub snapshot: ArcSwap<Snapshot>,
    /// Gauges and counters that outlive snapshots.
    pub live: Arc<Live>,
}

impl Shared {
    /// Puts the first snapshot in force.
    pub fn new(snapshot: Snapshot, live: Arc<Live>) -> Self {
        Self { snapshot: ArcSwap::from_pointee(snapshot), live }
    }
}
