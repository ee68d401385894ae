//! Routes that no request can reach, because one before them takes everything that they would.

use std::collections::HashMap;

use super::{HostMatch, PathMatch, RouteKey, key};

/// A route that is never reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// Its place.
    pub route: usize,
    /// The place of the one that takes what it would.
    pub by: usize,
    /// Both ask for exactly the same.
    pub same: bool,
}

/// Finds routes that a single other one hides. Patterns are only seen through where they are plain
/// text or match everything.
pub fn hidden(keys: &[RouteKey]) -> Vec<Hidden> {
    let mut before: HashMap<&HostMatch, Vec<usize>> = HashMap::new();
    let mut found = Vec::new();
    for index in key::order(keys) {
        let Some(route) = keys.get(index) else { continue };
        let earlier = before.entry(&route.host).or_default();
        let by = earlier.iter().copied().find(|&by| {
            keys.get(by)
                .is_some_and(|other| covers(&other.path, &route.path) && asks_less(other, route))
        });
        match by {
            Some(by) => {
                let same = keys
                    .get(by)
                    .is_some_and(|other| other.path == route.path && asks_less(route, other));
                found.push(Hidden { route: index, by, same });
            }
            None => earlier.push(index),
        }
    }
    found.sort_by_key(|hidden| hidden.route);
    found
}

/// Whether the first, which is tried first, matches every path that the second matches.
fn covers(first: &PathMatch, second: &PathMatch) -> bool {
    match (first, second) {
        (PathMatch::Pattern(first), PathMatch::Pattern(second)) => {
            first == second
                || first.as_prefix().is_some_and(|prefix| {
                    second.as_prefix().is_some_and(|second| second.starts_with(prefix))
                        || prefix.is_empty()
                        || prefix == "/"
                })
        }
        (PathMatch::Pattern(first), PathMatch::Prefix(second)) => {
            first.as_prefix().is_some_and(|prefix| second.starts_with(prefix))
        }
        (first, second) => first == second,
    }
}

/// Whether the conditions of the first hold whenever those of the second do.
fn asks_less(first: &RouteKey, second: &RouteKey) -> bool {
    let methods = first.methods.is_empty()
        || (!second.methods.is_empty()
            && second.methods.iter().all(|m| key::has_method(&first.methods, m.as_bytes())));
    let fields = first.fields.iter().all(|asked| {
        second.fields.iter().any(|given| {
            given.name.eq_ignore_ascii_case(&asked.name)
                && (asked.value.is_none() || asked.value == given.value)
        })
    });
    methods && fields
}
