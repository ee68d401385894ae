//! Whether access, rate limits and compression make sense.

use super::Check;
use crate::model::{Config, Route};
use crate::reader::below;

/// Address ranges of a list at most: each is compared with every request.
const RANGES_MAX: usize = 1_000;

/// Requests of a rate limit, and its burst, at most.
const REQUESTS_MAX: u32 = 1_000_000;

/// Requests per second at most: beyond that the clock's ticks are too coarse.
const PER_SECOND_MAX: u128 = 100_000;

/// Routes with a rate limit at most: each has a table of its own, of half a MiB unless it counts by
/// route.
const LIMITED_ROUTES_MAX: usize = 256;

pub(super) fn limited_routes(check: &mut Check, config: &Config) {
    let limited = config.routes.iter().filter(|route| route.rate_limit.is_some()).count();
    if limited > LIMITED_ROUTES_MAX {
        let message = format!("{limited} have a rate_limit; at most {LIMITED_ROUTES_MAX}");
        check.problem("routes", message);
    }
}

pub(super) fn edge(check: &mut Check, path: &str, route: &Route) {
    if let Some(access) = &route.access {
        let path = below(path, "access");
        for (key, ranges) in [("allow", &access.allow), ("deny", &access.deny)] {
            if ranges.len() > RANGES_MAX {
                let message = format!("{} ranges; at most {RANGES_MAX}", ranges.len());
                check.problem(&below(&path, key), message);
            }
        }
        let empty = access.allow.is_empty() && access.deny.is_empty();
        if empty && !check.is_reported(&path) {
            check.warning(&path, "keeps nobody out: name ranges in allow or deny");
        }
    }
    if let Some(limit) = &route.rate_limit {
        let path = below(path, "rate_limit");
        let requests = below(&path, "requests");
        check.within(&requests, &limit.requests, 1..=REQUESTS_MAX);
        check.deadline(&below(&path, "per"), limit.per);
        if let Some(burst) = &limit.burst {
            check.within(&below(&path, "burst"), burst, 1..=REQUESTS_MAX);
        }
        let most = limit.per.as_nanos() * PER_SECOND_MAX / 1_000_000_000;
        if !limit.per.is_zero() && u128::from(limit.requests) > most {
            check.problem(&requests, format!("is more than {PER_SECOND_MAX} a second"));
        }
    }
    let codings = route.compress.iter().enumerate();
    let codings = codings.map(|(index, coding)| (format!("{path}.compress[{index}]"), *coding));
    check.unique(codings, "coding");
    if !route.compress.is_empty() && (route.redirect.is_some() || route.reply.is_some()) {
        let message = "has no meaning here: only replies of endpoints are compressed";
        check.problem(&below(path, "compress"), message);
    }
}
