//! The keys of an upstream that say how its endpoints share the traffic.

use std::time::Duration;

use super::{Fields, Yaml, add, add_map, add_optional, literal, queue};
use crate::duration::format_duration;
use crate::model::{Balance, Hash, Upstream};

/// Adds those that differ from their defaults.
pub(super) fn fields(fields: &mut Fields, upstream: &Upstream) {
    let balance = upstream.balance;
    if balance != Balance::default() {
        let names = if balance == Balance::all(balance.http) {
            Yaml::Literal(balance.http.as_str().to_owned())
        } else {
            Yaml::Map(vec![
                literal("http", balance.http.as_str()),
                literal("websocket", balance.websocket.as_str()),
                literal("sse", balance.sse.as_str()),
            ])
        };
        fields.push(("balance".to_owned(), names));
    }
    let mut hash = Vec::new();
    add(&mut hash, "by", &upstream.hash.by, &Hash::default().by, ToString::to_string);
    add_optional(&mut hash, "bound", upstream.hash.bound);
    add_map(fields, "hash", hash);
    if let Some(written) = &upstream.queue {
        // One with nothing but defaults is not one that was left out.
        fields.push(("queue".to_owned(), Yaml::Map(queue(written))));
    }
    add(fields, "slow_start", &upstream.slow_start, &Duration::ZERO, |time| format_duration(*time));
    add_optional(fields, "zone", upstream.zone.as_ref());
}
