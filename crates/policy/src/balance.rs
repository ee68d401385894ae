//! Which member of a group takes the next attempt: one pure function for every algorithm.
//!
//! A pick goes in two steps. First the members that may be used are gathered into a set: usable
//! ones of the lowest tier, those of our own zone before others. Then the algorithm chooses among
//! them. Nothing is allocated.

mod hash;
pub mod latency;
mod load;
mod maglev;
mod members;
pub mod performance;
mod scores;
pub mod slow_start;
mod turns;

pub use maglev::MaglevTable;
use members::Members;
pub use scores::{Excluded, Score, scores};

/// How a group spreads its exchanges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Equal turns, whatever the weights.
    RoundRobin,
    /// Turns in proportion to the weights, spread evenly (no bursts on the heaviest member).
    WeightedRoundRobin,
    /// A random member in proportion to the weights.
    Random,
    /// The fewest exchanges in flight per unit of weight; ties take turns by weight.
    LeastConnections,
    /// Of two random members, the one with fewer exchanges in flight per unit of weight.
    P2c,
    /// Of two random members, the one with the lower peak latency times exchanges in flight.
    PeakEwma,
    /// The same client address takes the same member while it is usable (rendezvous hashing).
    IpHash,
    /// The same key takes the same member while it is usable (rendezvous hashing).
    ConsistentHash,
    /// The same key takes the same member, by a table (Eisenbud et al., NSDI 2016).
    Maglev,
    /// Of two members taken by weight and reported headroom, the one with fewer exchanges in
    /// flight for these.
    Performance,
}

impl Algorithm {
    /// Does it look at [`Turn::key`]?
    pub fn hashes(self) -> bool {
        matches!(self, Self::IpHash | Self::ConsistentHash | Self::Maglev)
    }
}

/// The algorithm of a group with what it needs besides the members.
#[derive(Debug, Clone, Copy)]
pub struct Law<'g> {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Bounded load, for those that hash: a member takes no more than this many hundredths of its
    /// fair share of the exchanges in flight. At least 100.
    pub bound: Option<u32>,
    /// The table of [`Algorithm::Maglev`]; without one it hashes like the others.
    pub maglev: Option<&'g MaglevTable>,
}

impl Law<'_> {
    /// An algorithm without bound and table.
    pub fn plain(algorithm: Algorithm) -> Self {
        Self { algorithm, bound: None, maglev: None }
    }
}

/// What is known of one member at the moment of the pick.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// Share of the traffic; 0 takes none.
    pub weight: u32,
    /// Percent of its share that it takes by now, 1 to 100 (see [`slow_start::ramp`]).
    pub ramp: u8,
    /// Tier: lower numbers are used first, higher ones only when no lower tier has a usable member.
    pub priority: u32,
    /// Stands in our zone.
    pub local: bool,
    /// Exchanges in flight on this member now.
    pub in_flight: u32,
    /// Its peak latency in µs (see [`latency`]); 0: not measured.
    pub latency_us: f32,
    /// The load that it reports in permille (see [`performance`]); None: nothing fresh.
    pub busy: Option<u16>,
    /// Stable hash of the member's identity, for hashing algorithms.
    pub identity: u64,
    /// Takes nothing new.
    pub draining: bool,
    /// At its cap.
    pub full: bool,
    /// Healthy.
    pub admitting: bool,
}

impl Candidate {
    /// A healthy member of weight 1 with nothing in flight.
    pub const IDLE: Self = Self {
        weight: 1,
        ramp: 100,
        priority: 0,
        local: false,
        in_flight: 0,
        latency_us: 0.0,
        busy: None,
        identity: 0,
        draining: false,
        full: false,
        admitting: true,
    };

    /// One that is never picked.
    pub const NOBODY: Self = Self { weight: 0, ..Self::IDLE };

    /// Weight and ramp in one number, in hundredths of a weight.
    fn share(&self) -> u64 {
        u64::from(self.weight) * u64::from(self.ramp)
    }
}

/// Inputs that differ from pick to pick.
#[derive(Debug, Clone, Copy, Default)]
pub struct Turn {
    /// Counts picks of this group on this shard; one more each time.
    pub cursor: u64,
    /// A uniformly random number.
    pub random: u64,
    /// Hash of what the request is hashed by.
    pub key: u64,
    /// Members not to be used this time, as a set of indexes.
    pub avoided: u64,
    /// Use members that are not admitting too.
    pub ignore_health: bool,
}

/// Members of a group at most: a set of them is one machine word.
pub const MEMBERS_MAX: usize = 64;

/// Below this percentage of usable members in our own zone, the other zones take their part.
pub const LOCAL_USABLE_PERCENT: u32 = 50;

/// The index of the member to use, or None when no candidate is usable.
///
/// `candidate(i)` describes member `i` of `count`, of which the first [`MEMBERS_MAX`] count; it is
/// called a few times per member.
pub fn pick(
    law: &Law<'_>,
    count: usize,
    turn: &Turn,
    candidate: impl Fn(usize) -> Candidate,
) -> Option<usize> {
    let members = members::usable(count, turn, &candidate)?;
    match law.algorithm {
        Algorithm::RoundRobin => turns::equal(members, turn, &candidate),
        Algorithm::WeightedRoundRobin => turns::weighted(members, turn, &candidate),
        Algorithm::Random => turns::random(members, turn.random, Candidate::share, &candidate),
        Algorithm::LeastConnections => load::least(members, turn, &candidate),
        Algorithm::P2c => load::p2c(members, turn, &candidate),
        Algorithm::PeakEwma => load::peak_ewma(members, turn, &candidate),
        Algorithm::Performance => load::performance(members, turn, &candidate),
        Algorithm::IpHash | Algorithm::ConsistentHash | Algorithm::Maglev => {
            hash::pick(law, members, turn, &candidate)
        }
    }
}

/// Multiplying by 2^64/φ spreads consecutive cursors evenly over the range (a low-discrepancy
/// sequence), so that weighted turns interleave instead of coming in bursts.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Maps a uniform 64-bit number to 0..total without division bias.
fn scaled(uniform: u64, total: u64) -> u64 {
    ((u128::from(uniform) * u128::from(total)) >> 64) as u64
}

/// A 64-bit finaliser with full avalanche (the splitmix64 step).
pub fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(GOLDEN);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Hash of a text, for [`Turn::key`].
pub fn key_of(bytes: &[u8]) -> u64 {
    // FNV-1a, then the finaliser: the low bits of FNV alone are not even.
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
