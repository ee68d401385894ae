//! Which member of a group takes the next attempt: one pure function for every algorithm.

/// How a group spreads its exchanges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Equal turns, whatever the weights.
    RoundRobin,
    /// Turns in proportion to the weights, spread evenly (no bursts on the heaviest member).
    WeightedRoundRobin,
    /// A random member in proportion to the weights.
    Random,
    /// The fewest exchanges in flight per unit of weight.
    LeastConnections,
    /// The same client address takes the same member while it is usable (rendezvous hashing).
    IpHash,
}

/// What is known of one member at the moment of the pick.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// Share of the traffic; 0 takes none.
    pub weight: u32,
    /// Tier: lower numbers are used first, higher ones only when no lower tier has a usable member.
    pub priority: u32,
    /// Exchanges in flight on this member now.
    pub in_flight: u32,
    /// Stable hash of the member's identity, for hashing algorithms.
    pub identity: u64,
    /// May it be used at all? False: already tried in this exchange, at its cap, or unhealthy.
    pub usable: bool,
}

/// Inputs that differ from pick to pick.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// Counts picks of this group on this shard; one more each time.
    pub cursor: u64,
    /// A uniformly random number.
    pub random: u64,
    /// Hash of the client's address.
    pub client: u64,
}

/// Multiplying by 2^64/φ spreads consecutive cursors evenly over the range (a low-discrepancy
/// sequence), so that weighted turns interleave instead of coming in bursts.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The index of the member to use, or None when no candidate is usable.
///
/// `candidate(i)` describes member `i` of `count`; it is called a few times per member.
pub fn pick(
    algorithm: Algorithm,
    count: usize,
    turn: Turn,
    candidate: impl Fn(usize) -> Candidate,
) -> Option<usize> {
    let tier = (0..count)
        .map(&candidate)
        .filter(|c| c.usable && c.weight > 0)
        .map(|c| c.priority)
        .min()?;
    let members = || {
        (0..count)
            .map(|i| (i, candidate(i)))
            .filter(|(_, c)| c.usable && c.weight > 0 && c.priority == tier)
    };
    match algorithm {
        Algorithm::RoundRobin => {
            let usable = members().count() as u64;
            let nth = (turn.cursor % usable.max(1)) as usize;
            members().nth(nth).map(|(i, _)| i)
        }
        Algorithm::WeightedRoundRobin => {
            by_weight(members(), scaled(turn.cursor.wrapping_mul(GOLDEN), total(members())))
        }
        Algorithm::Random => by_weight(members(), scaled(turn.random, total(members()))),
        Algorithm::LeastConnections => {
            // Ties go round, so that an idle group still spreads.
            let ties = members().count() as u64;
            let start = turn.cursor % ties.max(1);
            members()
                .enumerate()
                .min_by(|(m, (_, a)), (n, (_, b))| {
                    let left = u64::from(a.in_flight + 1) * u64::from(b.weight);
                    let right = u64::from(b.in_flight + 1) * u64::from(a.weight);
                    let distance = |nth: usize| (nth as u64 + ties - start) % ties;
                    left.cmp(&right).then(distance(*m).cmp(&distance(*n)))
                })
                .map(|(_, (i, _))| i)
        }
        Algorithm::IpHash => members()
            .map(|(i, c)| (i, rendezvous_score(turn.client, c.identity, c.weight)))
            .max_by(|(_, a), (_, b)| a.total_cmp(b))
            .map(|(i, _)| i),
    }
}

fn total(members: impl Iterator<Item = (usize, Candidate)>) -> u64 {
    members.map(|(_, c)| u64::from(c.weight)).sum()
}

/// Maps a uniform 64-bit number to 0..total without division bias.
fn scaled(uniform: u64, total: u64) -> u64 {
    ((u128::from(uniform) * u128::from(total)) >> 64) as u64
}

fn by_weight(members: impl Iterator<Item = (usize, Candidate)>, point: u64) -> Option<usize> {
    let mut left = point;
    for (i, c) in members {
        let weight = u64::from(c.weight);
        if left < weight {
            return Some(i);
        }
        left -= weight;
    }
    None
}

/// Weighted rendezvous hashing: -weight / ln(hash mapped to (0,1)).
fn rendezvous_score(client: u64, identity: u64, weight: u32) -> f64 {
    let mixed = mix(client ^ mix(identity));
    let unit = ((mixed >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -f64::from(weight) / unit.ln()
}

/// A 64-bit finaliser with full avalanche (the splitmix64 step).
pub fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(GOLDEN);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(weight: u32, in_flight: u32, identity: u64) -> Candidate {
        Candidate { weight, priority: 0, in_flight, identity, usable: true }
    }

    fn shares(algorithm: Algorithm, members: &[Candidate], picks: u64) -> Vec<f64> {
        let mut counts = vec![0u64; members.len()];
        for n in 0..picks {
            let turn = Turn { cursor: n, random: mix(n), client: mix(n ^ 7) };
            if let Some(i) = pick(algorithm, members.len(), turn, |i| members[i]) {
                counts[i] += 1;
            }
        }
        counts.iter().map(|c| *c as f64 / picks as f64).collect()
    }

    #[test]
    fn every_algorithm_keeps_its_law_within_one_percent() {
        let members = [member(1, 0, 11), member(2, 0, 12), member(5, 0, 13)];
        for (algorithm, want) in [
            (Algorithm::RoundRobin, [1.0 / 3.0; 3]),
            (Algorithm::WeightedRoundRobin, [0.125, 0.25, 0.625]),
            (Algorithm::Random, [0.125, 0.25, 0.625]),
            (Algorithm::IpHash, [0.125, 0.25, 0.625]),
        ] {
            let have = shares(algorithm, &members, 100_000);
            for (h, w) in have.iter().zip(want) {
                assert!((h - w).abs() < 0.01, "{algorithm:?}: {have:?}, want {want:?}");
            }
        }
    }

    #[test]
    fn least_connections_counts_in_flight_per_weight_and_spreads_ties() {
        let loaded = [member(1, 3, 1), member(2, 4, 2), member(1, 9, 3)];
        let turn = Turn { cursor: 0, random: 0, client: 0 };
        assert_eq!(pick(Algorithm::LeastConnections, 3, turn, |i| loaded[i]), Some(1));
        let idle = [member(1, 0, 1), member(1, 0, 2)];
        let have = shares(Algorithm::LeastConnections, &idle, 1000);
        assert!((have[0] - 0.5).abs() < 0.01, "{have:?}");
    }

    #[test]
    fn a_higher_tier_is_used_only_when_no_lower_one_is_usable() {
        let mut members = [member(1, 0, 1), member(1, 0, 2)];
        members[1].priority = 1;
        let turn = Turn { cursor: 1, random: u64::MAX, client: 3 };
        assert_eq!(pick(Algorithm::WeightedRoundRobin, 2, turn, |i| members[i]), Some(0));
        members[0].usable = false;
        assert_eq!(pick(Algorithm::WeightedRoundRobin, 2, turn, |i| members[i]), Some(1));
        members[1].usable = false;
        assert_eq!(pick(Algorithm::WeightedRoundRobin, 2, turn, |i| members[i]), None);
    }

    #[test]
    fn ip_hash_moves_only_the_clients_of_the_member_that_left() {
        let mut members: Vec<Candidate> = (0..5).map(|i| member(1, 0, 100 + i)).collect();
        let turn = |client| Turn { cursor: 0, random: 0, client: mix(client) };
        let before: Vec<_> =
            (0..20_000).map(|c| pick(Algorithm::IpHash, 5, turn(c), |i| members[i])).collect();
        members[2].usable = false;
        for (c, old) in before.iter().enumerate() {
            let new = pick(Algorithm::IpHash, 5, turn(c as u64), |i| members[i]);
            assert!(*old == new || *old == Some(2), "client {c} moved from {old:?} to {new:?}");
        }
    }
}
