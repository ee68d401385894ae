//! A compiled route.

use std::sync::Arc;

use super::Group;
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
}

/// Where a route leads.
#[derive(Debug)]
pub enum Destination {
    /// The LLM relay: the model in the body picks the group.
    Llm,
    /// A group of web endpoints.
    Upstream(Arc<Group>),
}
