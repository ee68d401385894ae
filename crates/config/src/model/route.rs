//! The model of routes: a match and where it leads.

use schemars::JsonSchema;
use serde::Serialize;

use super::health::Hedge;

/// A match and where it leads: `llm: true` or an `upstream`, exactly one. The longest matching path
/// wins; a route with a host beats one without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Route {
    /// A name of its own, unique among the routes: how the admin API refers to it.
    pub name: Option<String>,
    /// The host name asked for. Absent: any.
    pub host: Option<String>,
    /// The beginning of the path.
    pub path: String,
    /// Leads to the LLM relay.
    pub llm: bool,
    /// Leads to this upstream.
    pub upstream: Option<String>,
    /// Asks a second endpoint where the first one is slow. For requests without a body whose method
    /// may be repeated.
    pub hedge: Option<Hedge>,
}

impl Default for Route {
    fn default() -> Self {
        Self {
            name: None,
            host: None,
            path: "/".to_owned(),
            llm: false,
            upstream: None,
            hedge: None,
        }
    }
}
