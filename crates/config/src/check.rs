//! Whether a configuration makes sense: every problem at once, each with its field.

mod admin;
mod balance;
mod edge;
mod health;
mod listener;
mod llm;
mod route;
mod tcp;
mod upstream;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::budget::Budget;
use crate::model::{Config, Limits, Timeouts};
use crate::problem::{Collector, Position};
use crate::reader::below;
use crate::size::ByteSize;

/// A deadline longer than a day is a slip of the pen.
const DURATION_MAX: Duration = Duration::from_hours(24);

/// What a request's body may be limited to.
const BODY: RangeInclusive<ByteSize> = ByteSize::kib(1)..=ByteSize::gib(16);

/// Checks one configuration and says where each problem stands.
pub(crate) struct Check<'a> {
    collector: &'a mut Collector,
    places: &'a BTreeMap<String, Position>,
}

/// Reports everything that is wrong with `config`. Fields that already have a problem get no second
/// one; `places` says where the fields stand, as far as they stand anywhere.
pub(crate) fn check(
    config: &Config,
    budget: &Budget,
    places: &BTreeMap<String, Position>,
    collector: &mut Collector,
) {
    let mut check = Check { collector, places };
    listener::addresses(&mut check, config);
    admin::tokens(&mut check, config);
    tcp::listeners(&mut check, config);
    limits(&mut check, &config.limits);
    timeouts(&mut check, &config.timeouts);
    if let Some(shards) = config.shards {
        check.within("shards", &shards, 1..=1024);
    }
    llm::callers(&mut check, config);
    llm::providers(&mut check, config);
    llm::models(&mut check, config);
    llm::retry(&mut check, &config.retry);
    upstream::upstreams(&mut check, config);
    route::routes(&mut check, config);
    health::hedges(&mut check, config);
    health::resolver(&mut check, config);
    if let Some(shortage) = budget.memory_shortage() {
        check.warning("limits.memory", shortage);
    }
}

/// Where the field stands, or the nearest thing around it that was written.
pub(crate) fn nearest(places: &BTreeMap<String, Position>, path: &str) -> Position {
    let mut path = path;
    loop {
        if let Some(at) = places.get(path) {
            return *at;
        }
        match path.rfind(['.', '[']) {
            Some(end) => path = path.get(..end).unwrap_or(""),
            None => return Position::default(),
        }
    }
}

impl Check<'_> {
    pub(crate) fn problem(&mut self, path: &str, message: impl Into<String>) {
        self.problem_suggesting(path, message, None);
    }

    pub(crate) fn problem_suggesting(
        &mut self,
        path: &str,
        message: impl Into<String>,
        suggestion: Option<String>,
    ) {
        if !self.is_reported(path) {
            self.collector.problem(self.place(path), path, &message.into(), suggestion);
        }
    }

    pub(crate) fn warning(&mut self, path: &str, message: impl Into<String>) {
        if !self.is_reported(path) {
            self.collector.warning(self.place(path), path, &message.into());
        }
    }

    pub(crate) fn is_reported(&self, path: &str) -> bool {
        self.collector.is_reported(path)
    }

    /// Where the field stands, or the nearest thing around it that was written.
    fn place(&self, path: &str) -> Position {
        nearest(self.places, path)
    }

    pub(crate) fn within<T: PartialOrd + Display>(
        &mut self,
        path: &str,
        value: &T,
        range: RangeInclusive<T>,
    ) {
        if !range.contains(value) {
            let message = format!("{value} is outside {} to {}", range.start(), range.end());
            self.problem(path, message);
        }
    }

    /// A deadline: more than zero, at most a day.
    pub(crate) fn deadline(&mut self, path: &str, value: Duration) {
        if value.is_zero() {
            self.problem(path, "must be more than zero");
        }
        self.deadline_or_zero(path, value);
    }

    pub(crate) fn deadline_or_zero(&mut self, path: &str, value: Duration) {
        if value > DURATION_MAX {
            self.problem(path, "must be at most 24h");
        }
    }

    /// Reports each value that stood before; `what` names it for the message.
    pub(crate) fn unique<K: Ord>(
        &mut self,
        items: impl IntoIterator<Item = (String, K)>,
        what: &str,
    ) {
        let mut first: BTreeMap<K, String> = BTreeMap::new();
        for (path, key) in items {
            if self.is_reported(&path) {
                continue;
            }
            match first.get(&key) {
                Some(other) => {
                    let message = format!("the same {what} as {other}");
                    self.problem(&path, message);
                }
                None => {
                    first.insert(key, path);
                }
            }
        }
    }
}

fn limits(check: &mut Check, limits: &Limits) {
    check.within("limits.connections", &limits.connections, 1..=10_000_000);
    check.within("limits.requests", &limits.requests, 1..=1_000_000);
    check.within("limits.queue.size", &limits.queue.size, 0..=1_000_000);
    check.deadline("limits.queue.wait", limits.queue.wait);
    for (path, size, range) in [
        ("limits.memory", limits.memory, ByteSize::mib(64)..=ByteSize::gib(16 << 10)),
        ("limits.head", limits.head, ByteSize::kib(4)..=ByteSize::kib(64)),
        ("limits.body", limits.body, BODY),
        ("limits.stream_buffer", limits.stream_buffer, ByteSize::kib(1)..=ByteSize::mib(16)),
    ] {
        check.within(path, &size, range);
    }
    if limits.connections < limits.requests {
        check.warning(
            "limits.requests",
            format!(
                "{} requests in flight are never reached with {} connections",
                limits.requests, limits.connections
            ),
        );
    }
}

fn timeouts(check: &mut Check, timeouts: &Timeouts) {
    for (key, value) in [
        ("head", timeouts.head),
        ("body", timeouts.body),
        ("keep_alive", timeouts.keep_alive),
        ("tls_handshake", timeouts.tls_handshake),
        ("connect", timeouts.connect),
        ("first_token", timeouts.first_token),
        ("between_tokens", timeouts.between_tokens),
        ("request", timeouts.request),
        ("stream", timeouts.stream),
        ("write_stall", timeouts.write_stall),
        ("tunnel", timeouts.tunnel),
        ("upstream_idle", timeouts.upstream_idle),
        ("upgrade", timeouts.upgrade),
    ] {
        check.deadline(&below("timeouts", key), value);
    }
    check.deadline_or_zero("timeouts.heartbeat", timeouts.heartbeat);
    check.deadline_or_zero("timeouts.drain", timeouts.drain);
}

/// Endpoints of an upstream or providers of a model at most: a set of those already tried must stay
/// one machine word.
pub(crate) const MEMBERS_MAX: usize = 64;

/// What may stand in a header field as it is (RFC 9110, 5.6.2: VCHAR).
pub(crate) fn is_visible_ascii(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic())
}

/// A name that becomes part of metrics and logs.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Names that the admin API refers to: well-formed, and each once.
fn unique_names<'n>(check: &mut Check, names: impl Iterator<Item = (String, &'n str)>) {
    let names: Vec<_> = names.collect();
    for (path, name) in &names {
        if !is_name(name) {
            check.problem(path, "a name has 1 to 64 letters, digits, \".\", \"_\" or \"-\"");
        }
    }
    check.unique(names, "name");
}

/// A method's or field's name (RFC 9110, 5.6.2).
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// What can stand in a request line as it is.
fn is_request_target(path: &str) -> bool {
    path.bytes().all(|b| b.is_ascii_graphic())
}

/// A provider's or upstream's connection limit and address in one place.
fn connections_max(check: &mut Check, path: &str, value: Option<u32>) {
    if value == Some(0) {
        check.problem(&below(path, "connections_max"), "must be 1 or more");
    }
}
