//! What stands before a route.

use tidegate_config as config;
use tidegate_config::{LimitBy, format_duration};
use tidegate_policy::access::Access;
use tidegate_policy::limits::Rate;

use crate::live::Live;
use crate::types::{Edge, Limit};

/// `name`: the route's identity. None: there is nothing before it.
pub(super) fn edge(route: &config::Route, name: &str, live: &Live) -> Option<Box<Edge>> {
    if route.access.is_none() && route.rate_limit.is_none() && route.compress.is_empty() {
        return None;
    }
    let access = route
        .access
        .as_ref()
        .map(|access| Access { allow: access.allow.clone(), deny: access.deny.clone() });
    let limit = route.rate_limit.as_ref().map(|limit| {
        let burst = limit.burst.unwrap_or(limit.requests);
        // Another rate begins anew: what was counted under the old one means another time.
        let per = format_duration(limit.per);
        let key = format!("{name} {}/{per} {burst} {}", limit.requests, limit.by);
        let per_ns = u64::try_from(limit.per.as_nanos()).unwrap_or(u64::MAX);
        Limit {
            rate: Rate::new(limit.requests.into(), per_ns, burst.into()),
            burst,
            by: limit.by.clone(),
            table: live.rates(&key, limit.by == LimitBy::Route),
        }
    });
    let codings = route.compress.iter().map(|coding| coding.coding()).collect();
    Some(Box::new(Edge { access, limit, codings }))
}
