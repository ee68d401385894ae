//! The model of routes: a match, where it leads, and what happens on the way.

use std::time::Duration;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;
use tidegate_policy::route::{
    FieldCondition, HostMatch, PathMatch, Pattern, PatternError, RouteKey,
};

use super::health::Hedge;
use super::{Access, Compression, RateLimit};
use crate::duration::{self, DurationText};
use crate::size::ByteSize;

/// A match and where it leads: `llm: true`, an `upstream`, a `split`, a `redirect` or a `reply`,
/// exactly one. A host beats a wildcard, that beats any host; an exact path beats patterns (in the
/// order written), those beat prefixes (the longest first); more methods and headers beat fewer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Route {
    /// A name of its own, unique among the routes: how the admin API refers to it.
    pub name: Option<String>,
    /// The host name asked for, or `*.` and a domain for all names below it. Absent: any.
    pub host: Option<String>,
    /// The beginning of the path.
    pub path: String,
    /// The whole path.
    pub path_exact: Option<String>,
    /// A regular expression that is looked for in the path.
    pub path_pattern: Option<String>,
    /// The methods; GET stands for HEAD too. Empty: all.
    pub methods: Vec<String>,
    /// Fields that the request must have: exactly this value, or `*` for any.
    pub headers: IndexMap<String, String>,
    /// Leads to the LLM relay.
    pub llm: bool,
    /// Leads to this upstream.
    pub upstream: Option<String>,
    /// Leads to one of these upstreams, by weight.
    pub split: Vec<Share>,
    /// Answers with another address.
    pub redirect: Option<Redirect>,
    /// Answers with this.
    pub reply: Option<StaticReply>,
    /// Another path than the one asked for. Absent: it is forwarded as it is.
    pub rewrite: Option<Rewrite>,
    /// Changes to the fields of the request on its way to the endpoint.
    pub request_headers: HeaderEdits,
    /// Changes to the fields of the reply on its way to the caller.
    pub reply_headers: HeaderEdits,
    /// A copy of the request for another upstream, whose reply is thrown away.
    pub mirror: Option<Mirror>,
    /// Who may come in.
    pub access: Option<Access>,
    /// How often requests may come.
    pub rate_limit: Option<RateLimit>,
    /// How replies may be compressed, the most liked first. Empty: they are not.
    pub compress: Vec<Compression>,
    /// Limits that differ here.
    pub limits: Option<RouteLimits>,
    /// Deadlines that differ here.
    pub timeouts: Option<RouteTimeouts>,
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
            path_exact: None,
            path_pattern: None,
            methods: Vec::new(),
            headers: IndexMap::new(),
            llm: false,
            upstream: None,
            split: Vec::new(),
            redirect: None,
            reply: None,
            rewrite: None,
            request_headers: HeaderEdits::default(),
            reply_headers: HeaderEdits::default(),
            mirror: None,
            access: None,
            rate_limit: None,
            compress: Vec::new(),
            limits: None,
            timeouts: None,
            hedge: None,
        }
    }
}

impl Route {
    /// What it asks of a request.
    pub fn key(&self) -> Result<RouteKey, PatternError> {
        let path = match (&self.path_exact, &self.path_pattern) {
            (Some(path), _) => PathMatch::Exact(path.clone()),
            (None, Some(pattern)) => PathMatch::Pattern(Pattern::new(pattern)?),
            (None, None) => PathMatch::Prefix(self.path.clone()),
        };
        let fields = self.headers.iter().map(|(name, value)| FieldCondition {
            name: name.clone(),
            value: (value != "*").then(|| value.clone()),
        });
        Ok(RouteKey {
            host: HostMatch::of(self.host.as_deref()),
            path,
            methods: self.methods.clone(),
            fields: fields.collect(),
        })
    }

    /// The upstreams that it names, mirrors included.
    pub fn upstreams(&self) -> impl Iterator<Item = &str> {
        let split = self.split.iter().map(|share| share.upstream.as_str());
        let mirror = self.mirror.iter().map(|mirror| mirror.upstream.as_str());
        self.upstream.as_deref().into_iter().chain(split).chain(mirror)
    }
}

/// One of several upstreams of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Share {
    /// The upstream's name.
    pub upstream: String,
    /// Its share of the requests; 0 takes no part.
    #[serde(default = "one")]
    #[schemars(range(max = 1_000_000))]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

/// Another address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Redirect {
    /// The address; `{scheme}`, `{host}`, `{path}` and `{query}` stand for parts of the request. The
    /// query is kept unless `{query}` or `?` is written.
    pub to: String,
    /// 301, 302, 303, 307 or 308.
    #[serde(default = "permanent_redirect")]
    pub status: u32,
}

/// 308: permanent, and the method stays the same (RFC 9110 section 15.4.9).
pub(crate) const fn permanent_redirect() -> u32 {
    308
}

/// A fixed reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct StaticReply {
    /// 200 to 599.
    #[schemars(range(min = 200, max = 599))]
    pub status: u32,
    /// The body, 64KiB at most.
    pub body: String,
    /// Its fields. Without a Content-Type a body is `text/plain; charset=utf-8`.
    pub headers: IndexMap<String, String>,
}

impl Default for StaticReply {
    fn default() -> Self {
        Self { status: 200, body: String::new(), headers: IndexMap::new() }
    }
}

/// Another path: a `prefix`, or a `pattern` and what it is replaced by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Rewrite {
    /// Takes the place of what `path` or `path_exact` matched.
    pub prefix: Option<String>,
    /// A regular expression; what it finds is replaced by `to`.
    pub pattern: Option<String>,
    /// What takes its place: `$1` is its first group, `$$` a dollar sign.
    pub to: Option<String>,
}

/// Changes to header fields: `remove` first, then `set`, then `add`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct HeaderEdits {
    /// Fields that get this value instead of the ones they have.
    pub set: IndexMap<String, String>,
    /// Fields that come on top of those that are there.
    pub add: IndexMap<String, String>,
    /// Fields that are left out.
    pub remove: Vec<String>,
}

/// A copy of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Mirror {
    /// Where it goes.
    pub upstream: String,
    /// How many of a hundred requests are copied, 1 to 100.
    #[serde(default = "all_of_a_mirror")]
    #[schemars(range(min = 1, max = 100))]
    pub percent: u32,
}

/// Every request is copied.
pub(crate) const fn all_of_a_mirror() -> u32 {
    100
}

/// Limits of a route, where they differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct RouteLimits {
    /// A request's body, 1KiB to 16GiB.
    pub body: Option<ByteSize>,
}

/// Deadlines of a route, where they differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct RouteTimeouts {
    /// Between two reads of a request's body.
    #[serde(serialize_with = "duration::serialize_optional")]
    #[schemars(with = "Option<DurationText>")]
    pub body: Option<Duration>,
    /// From a request sent upstream to the first byte of its streamed reply.
    #[serde(serialize_with = "duration::serialize_optional")]
    #[schemars(with = "Option<DurationText>")]
    pub first_token: Option<Duration>,
    /// Between two reads of a reply.
    #[serde(serialize_with = "duration::serialize_optional")]
    #[schemars(with = "Option<DurationText>")]
    pub between_tokens: Option<Duration>,
    /// A whole exchange that is not a stream; without `llm`, until the reply begins.
    #[serde(serialize_with = "duration::serialize_optional")]
    #[schemars(with = "Option<DurationText>")]
    pub request: Option<Duration>,
    /// A whole streamed exchange.
    #[serde(serialize_with = "duration::serialize_optional")]
    #[schemars(with = "Option<DurationText>")]
    pub stream: Option<Duration>,
}
