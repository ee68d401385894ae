//! Why a member would be picked or not: for people who ask.

use super::hash::{Bound, rendezvous_score};
use super::{Algorithm, Candidate, Law, Members, Turn, load, members};

/// Why a member takes no part in a pick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excluded {
    /// Its weight is 0.
    NoWeight,
    /// It takes nothing new.
    Draining,
    /// It is at its cap.
    Full,
    /// It rests after failures, or its health check fails.
    Unhealthy,
    /// It has been tried already.
    Avoided,
    /// A lower tier has a usable member.
    HigherTier,
    /// Enough members of our own zone are usable.
    OtherZone,
    /// It has more than its bounded share in flight: its keys go to their next member.
    OverBound,
}

impl Excluded {
    /// One word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoWeight => "no_weight",
            Self::Draining => "draining",
            Self::Full => "full",
            Self::Unhealthy => "unhealthy",
            Self::Avoided => "avoided",
            Self::HigherTier => "higher_tier",
            Self::OtherZone => "other_zone",
            Self::OverBound => "over_bound",
        }
    }
}

/// One member as the algorithm sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// What the algorithm compares; 0 for those that take no part.
    pub value: f64,
    /// What that is and which way it counts.
    pub means: &'static str,
    /// Why it takes no part; None: it does.
    pub excluded: Option<Excluded>,
}

/// What a pick with these inputs sees in each member. Not for the request path: it allocates.
pub fn scores(
    law: &Law<'_>,
    count: usize,
    turn: &Turn,
    candidate: impl Fn(usize) -> Candidate,
) -> Vec<Score> {
    let usable = members::usable(count, turn, &candidate);
    let bound = match (law.bound, usable) {
        (Some(bound), Some(usable)) if law.algorithm.hashes() => {
            Some(Bound::of(bound, usable, &candidate))
        }
        _ => None,
    };
    let tier = usable.and_then(|usable| usable.nth(0)).map(|index| candidate(index).priority);
    (0..count)
        .map(|index| {
            let member = candidate(index);
            let excluded = excluded(index, &member, turn, usable, tier).or_else(|| {
                bound.filter(|bound| !bound.admits(&member)).map(|_| Excluded::OverBound)
            });
            let (value, means) = match (excluded, usable) {
                (None, Some(usable)) => score(law, usable, turn, &member, &candidate),
                _ => (0.0, "takes no part"),
            };
            Score { value, means, excluded }
        })
        .collect()
}

fn excluded(
    index: usize,
    member: &Candidate,
    turn: &Turn,
    usable: Option<Members>,
    tier: Option<u32>,
) -> Option<Excluded> {
    if usable.is_some_and(|usable| usable.contains(index)) {
        return None;
    }
    Some(if member.weight == 0 {
        Excluded::NoWeight
    } else if member.draining {
        Excluded::Draining
    } else if turn.avoided & (1 << (index & 63)) != 0 {
        Excluded::Avoided
    } else if !member.admitting && !turn.ignore_health {
        Excluded::Unhealthy
    } else if member.full {
        Excluded::Full
    } else if tier.is_some_and(|tier| member.priority > tier) {
        Excluded::HigherTier
    } else {
        Excluded::OtherZone
    })
}

fn score(
    law: &Law<'_>,
    usable: Members,
    turn: &Turn,
    member: &Candidate,
    candidate: &impl Fn(usize) -> Candidate,
) -> (f64, &'static str) {
    let part = |own: u64, all: u64| own as f64 / all.max(1) as f64;
    let share = part(member.share(), usable.sum(Candidate::share, candidate));
    let load = |share: u64| f64::from(member.in_flight) * 100.0 / share.max(1) as f64;
    match law.algorithm {
        Algorithm::RoundRobin => {
            let ramp = |member: &Candidate| u64::from(member.ramp);
            (part(ramp(member), usable.sum(ramp, candidate)), "share of the turns")
        }
        Algorithm::WeightedRoundRobin => (share, "share of the turns"),
        Algorithm::Random => (share, "probability"),
        Algorithm::LeastConnections => {
            (load(member.share()), "in flight per weight, the lowest is picked")
        }
        Algorithm::P2c => {
            (load(member.share()), "in flight per weight, the lower of two is picked")
        }
        Algorithm::PeakEwma => {
            let latency = f64::from(member.latency_us.max(1.0));
            let cost = latency * (1.0 + load(member.share()));
            (cost, "peak latency in µs times load, the lower of two is picked")
        }
        Algorithm::Performance => {
            let average = load::average_busy(usable, candidate);
            let of = |member: &Candidate| load::effective_share(member, average);
            (part(of(member), usable.sum(of, candidate)), "share by weight and reported headroom")
        }
        Algorithm::Maglev if law.maglev.is_some() => (share, "share of the keys"),
        Algorithm::IpHash | Algorithm::ConsistentHash | Algorithm::Maglev => (
            rendezvous_score(turn.key, member.identity, member.weight),
            "rank for this key, the highest is picked",
        ),
    }
}
