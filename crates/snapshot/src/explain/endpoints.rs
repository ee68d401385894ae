//! The state of the endpoints that a request can go to.

use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;

use serde::Serialize;
use tidegate_config::HashBy;
use tidegate_policy::balance::{self, Algorithm, Excluded, Score, Turn, key_of, mix};

use super::Question;
use crate::types::{Group, Member, Traffic};

/// An upstream and its endpoints as of now.
#[derive(Debug, Clone, Serialize)]
pub struct ExplainedUpstream {
    /// Its name.
    pub name: String,
    /// How many of a hundred of the route's requests it gets.
    pub percent: f64,
    /// How one of its endpoints is picked for this request.
    pub balance: String,
    /// Too few endpoints admit, so that health is ignored.
    pub health_ignored: bool,
    /// What the breaker does: `admitting`, `probing` or `ejected`; None without one.
    pub breaker: Option<&'static str>,
    /// What the scores are and which way they count.
    pub score: &'static str,
    /// The endpoints in the order written.
    pub endpoints: Vec<ExplainedEndpoint>,
}

/// An endpoint as of now.
#[derive(Debug, Clone, Serialize)]
pub struct ExplainedEndpoint {
    /// Scheme, host and port.
    pub endpoint: String,
    /// Its share, as it is now.
    pub weight: u32,
    /// Tier, lower first.
    pub priority: u32,
    /// Attempts in flight.
    pub in_flight: u32,
    /// Attempts in flight at most; None: no bound.
    pub connections_max: Option<u32>,
    /// Its health: `admitting`, `probing` or `ejected`.
    pub health: &'static str,
    /// Can it be picked now?
    pub candidate: bool,
    /// Why not; empty for a candidate.
    pub why_not: Vec<String>,
    /// What the balance compares; None for those that take no part.
    pub score: Option<f64>,
}

pub(super) fn upstream(
    group: &Group,
    percent: f64,
    question: &Question,
    path: &[u8],
    now_ms: u64,
) -> ExplainedUpstream {
    let traffic = question.traffic();
    let law = group.law(traffic);
    let health_ignored = group.live.panicking.load(Relaxed);
    let key = key(group, traffic, question, path);
    let turn = Turn { key, ignore_health: health_ignored, ..Turn::default() };
    let count = group.members.len();
    let scores =
        balance::scores(&law, count, &turn, |index| group.candidate(law.algorithm, index, now_ms));
    let part = scores.iter().find(|score| score.excluded.is_none());
    ExplainedUpstream {
        name: group.name.clone(),
        percent,
        balance: algorithm_name(law.algorithm),
        health_ignored,
        breaker: group.health.breaker.map(|_| group.live.breaker.standing().phase().as_str()),
        score: part.map_or("no endpoint takes part", |score| score.means),
        endpoints: group
            .members
            .iter()
            .zip(&scores)
            .map(|(member, score)| endpoint(member, score, now_ms))
            .collect(),
    }
}

/// What the request is hashed by, as the data plane does it; 0 without a client's address.
fn key(group: &Group, traffic: Traffic, question: &Question, path: &[u8]) -> u64 {
    let algorithm = group.law(traffic).algorithm;
    let by = if algorithm == Algorithm::IpHash { &HashBy::Client } else { &group.hash_by };
    let value = match by {
        HashBy::Client => None,
        HashBy::Path => Some(path),
        HashBy::Key => question.key().map(str::as_bytes),
        HashBy::Header(name) => question.field(name).map(str::as_bytes),
        HashBy::Cookie(name) => question.cookie(name).map(str::as_bytes),
    };
    match (value, question.from) {
        (Some(value), _) => key_of(value),
        (None, Some(IpAddr::V4(v4))) => mix(u64::from(v4.to_bits())),
        (None, Some(IpAddr::V6(v6))) => {
            let bits = v6.to_bits();
            mix((bits >> 64) as u64 ^ mix(bits as u64))
        }
        (None, None) => 0,
    }
}

/// As it is written in the configuration.
fn algorithm_name(algorithm: Algorithm) -> String {
    let mut name = String::new();
    for letter in format!("{algorithm:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

fn endpoint(member: &Member, score: &Score, now_ms: u64) -> ExplainedEndpoint {
    let endpoint = &member.endpoint;
    let live = &endpoint.live;
    let in_flight = live.in_flight.load(Relaxed);
    let standing = live.health.standing();
    let mut why_not = Vec::new();
    match score.excluded {
        None => {}
        Some(Excluded::Unhealthy) => {
            if standing.is_down() {
                why_not.push("its health check fails".to_owned());
            } else if standing.may_try(now_ms) {
                why_not.push("it is ejected; one exchange may try it now".to_owned());
            } else {
                let left = standing.left_ms(now_ms);
                why_not.push(format!("it is left alone for {left} ms more after errors"));
            }
        }
        Some(Excluded::Full) => {
            why_not.push(format!("{in_flight} in flight is its connections_max"));
        }
        Some(Excluded::NoWeight) => why_not.push("its weight is 0".to_owned()),
        Some(Excluded::Draining) => why_not.push("it is draining".to_owned()),
        Some(Excluded::Avoided) => why_not.push("it has been tried".to_owned()),
        Some(Excluded::HigherTier) => {
            why_not.push("an endpoint of a lower priority number can be used".to_owned());
        }
        Some(Excluded::OtherZone) => {
            why_not.push("enough endpoints of our own zone can be used".to_owned());
        }
        Some(Excluded::OverBound) => {
            why_not.push("it has more than its bounded share in flight".to_owned());
        }
    }
    if endpoint.egress.is_none() && endpoint.name.addresses.load().is_empty() {
        why_not.push("its name has no address yet".to_owned());
    }
    ExplainedEndpoint {
        endpoint: live.key.clone(),
        weight: live.weight().unwrap_or(member.weight),
        priority: member.priority,
        in_flight,
        connections_max: (endpoint.connections_max != u32::MAX).then_some(endpoint.connections_max),
        health: standing.phase().as_str(),
        candidate: score.excluded.is_none(),
        why_not,
        score: score.excluded.is_none().then_some(score.value),
    }
}
