//! A compiled route: where it leads, and what happens on the way.

use std::sync::Arc;

use tidegate_policy::route::{Location, Rewrite};

use super::{Edge, Group, Timeouts};
use crate::live::RouteSeries;

/// A match and where it leads.
#[derive(Debug)]
pub struct Route {
    /// Where requests go.
    pub to: Destination,
    /// A second endpoint is asked where the first has not answered within this time (ms).
    pub hedge_ms: Option<u64>,
    /// Counters.
    pub series: Arc<RouteSeries>,
    /// Bytes of a request body, where they differ from [`super::Limits::body`].
    pub body_max: Option<u64>,
    /// Deadlines that differ from the endpoint's.
    pub timeouts: Option<Box<RouteTimeouts>>,
    /// What is changed on the way; None on plain routes, so that they pay one branch.
    pub changes: Option<Box<Changes>>,
    /// Who gets a copy.
    pub mirror: Option<Box<Mirror>>,
    /// Who may come in, how often, and how replies may be compressed; None: one branch.
    pub edge: Option<Box<Edge>>,
}

/// Where a route leads.
#[derive(Debug)]
pub enum Destination {
    /// The LLM relay: the model in the body picks the group.
    Llm,
    /// A group of web endpoints.
    Upstream(Arc<Group>),
    /// One of several groups, by weight.
    Split(Box<Split>),
    /// Another address.
    Redirect(Box<Redirect>),
    /// A fixed reply.
    Reply(Box<StaticReply>),
}

/// Groups by weight.
#[derive(Debug)]
pub struct Split {
    /// The groups that take part, each with the sum of the weights up to and including its own.
    pub shares: Vec<(u64, Arc<Group>)>,
}

impl Split {
    /// The group for a random number: each in proportion to its weight.
    pub fn pick(&self, random: u64) -> Option<&Arc<Group>> {
        let total = self.shares.last()?.0.max(1);
        let drawn = random % total;
        self.shares.iter().find(|(until, _)| drawn < *until).map(|(_, group)| group)
    }
}

/// Another address.
#[derive(Debug)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// Where to.
    pub to: Location,
}

/// A fixed reply.
#[derive(Debug)]
pub struct StaticReply {
    /// 200 to 599.
    pub status: u16,
    /// Field lines, each ending in CRLF, without those that frame the body.
    pub fields: Vec<u8>,
    /// The body.
    pub body: Vec<u8>,
}

/// What a route changes.
#[derive(Debug, Default)]
pub struct Changes {
    /// The path.
    pub rewrite: Option<Rewrite>,
    /// The Host that the endpoint is asked for.
    pub host: Option<Vec<u8>>,
    /// Fields of the request.
    pub request: FieldEdits,
    /// Fields of the reply.
    pub reply: FieldEdits,
}

/// Changes to header fields.
#[derive(Debug, Default)]
pub struct FieldEdits {
    /// Names of fields that are left out: removed ones, and those that get another value.
    pub dropped: Vec<Vec<u8>>,
    /// Field lines that are put in, each ending in CRLF.
    pub put: Vec<u8>,
}

impl FieldEdits {
    /// Whether fields of this name are left out.
    pub fn drops(&self, name: &[u8]) -> bool {
        self.dropped.iter().any(|dropped| dropped.eq_ignore_ascii_case(name))
    }
}

/// Who gets a copy of a route's requests.
#[derive(Debug)]
pub struct Mirror {
    /// The group.
    pub group: Arc<Group>,
    /// How many of a hundred requests, 1 to 100.
    pub percent: u32,
}

/// Deadlines of a route in milliseconds, where they differ.
#[derive(Debug, Clone, Copy, Default)]
pub struct RouteTimeouts {
    /// As [`Timeouts::body`].
    pub body: Option<u64>,
    /// As [`Timeouts::first_token`].
    pub first_token: Option<u64>,
    /// As [`Timeouts::between_tokens`].
    pub between_tokens: Option<u64>,
    /// As [`Timeouts::request`].
    pub request: Option<u64>,
    /// As [`Timeouts::stream`].
    pub stream: Option<u64>,
}

impl RouteTimeouts {
    /// These, and `base` where they say nothing.
    pub fn over(&self, base: &Timeouts) -> Timeouts {
        Timeouts {
            body: self.body.unwrap_or(base.body),
            first_token: self.first_token.unwrap_or(base.first_token),
            between_tokens: self.between_tokens.unwrap_or(base.between_tokens),
            request: self.request.unwrap_or(base.request),
            stream: self.stream.unwrap_or(base.stream),
            ..*base
        }
    }
}
