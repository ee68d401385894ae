//! Whether the endpoints of an upstream can share its traffic as it says.

use super::{Check, is_name};
use crate::model::{Algorithm, Bound, Upstream};
use crate::reader::below;

/// The algorithms that hash.
const HASHING: [Algorithm; 3] = [Algorithm::IpHash, Algorithm::ConsistentHash, Algorithm::Maglev];

/// Below 1 not every request would find an endpoint; far above it the bound bounds nothing.
const BOUND_RANGE: [Bound; 2] = [Bound::from_hundredths(100), Bound::from_hundredths(1000)];

pub(super) fn balance(check: &mut Check, path: &str, upstream: &Upstream) {
    let list = below(path, "endpoints");
    let some = !upstream.endpoints.is_empty();
    let idle = upstream.endpoints.iter().all(|endpoint| endpoint.weight == 0);
    if some && idle {
        check.problem(&list, "every endpoint has weight 0: none could ever be chosen");
    }
    if some && upstream.endpoints.iter().all(|endpoint| endpoint.draining) {
        check.warning(&list, "every endpoint is draining: none takes anything new");
    }
    let hash = below(path, "hash");
    if let Some(bound) = upstream.hash.bound {
        let [least, most] = BOUND_RANGE;
        check.within(&below(&hash, "bound"), &bound, least..=most);
    }
    if check.places.contains_key(&hash) && !upstream.balance.uses(&HASHING) {
        check.warning(&hash, "nothing is hashed: the balance is none of those that hash");
    }
    if let Some(queue) = &upstream.queue {
        let path = below(path, "queue");
        check.within(&below(&path, "size"), &queue.size, 0..=1_000_000);
        check.deadline(&below(&path, "wait"), queue.wait);
        if upstream.endpoints.iter().any(|endpoint| endpoint.connections_max.is_none()) {
            check.warning(
                &path,
                "nobody ever waits: an endpoint without connections_max is never full",
            );
        }
    }
    check.deadline_or_zero(&below(path, "slow_start"), upstream.slow_start);
    zone(check, path, upstream.zone.as_deref());
    let zones = || upstream.endpoints.iter().filter_map(|endpoint| endpoint.zone.as_ref());
    if let Some(own) = &upstream.zone
        && some
        && !zones().any(|zone| zone == own)
    {
        check.warning(&below(path, "zone"), "no endpoint stands in this zone");
    }
}

/// A zone's name below `path`.
pub(super) fn zone(check: &mut Check, path: &str, zone: Option<&str>) {
    if zone.is_some_and(|zone| !is_name(zone)) {
        check.problem(
            &below(path, "zone"),
            "a name has 1 to 64 letters, digits, \".\", \"_\" or \"-\"",
        );
    }
}
