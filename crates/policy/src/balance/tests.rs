//! The laws of the algorithms, over 100,000 picks each, and what holds for all of them.

use std::cell::RefCell;
use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const ALL: [Algorithm; 10] = [
    Algorithm::RoundRobin,
    Algorithm::WeightedRoundRobin,
    Algorithm::Random,
    Algorithm::LeastConnections,
    Algorithm::P2c,
    Algorithm::PeakEwma,
    Algorithm::IpHash,
    Algorithm::ConsistentHash,
    Algorithm::Maglev,
    Algorithm::Performance,
];

const PICKS: u64 = 100_000;

fn member(weight: u32, identity: u64) -> Candidate {
    Candidate { weight, identity: mix(identity), ..Candidate::IDLE }
}

fn table(members: &[Candidate]) -> Option<MaglevTable> {
    let list: Vec<_> = members.iter().map(|m| (m.identity, m.weight)).collect();
    MaglevTable::build(&list)
}

fn turn(n: u64) -> Turn {
    Turn { cursor: n, random: mix(n), key: mix(n ^ 7), ..Turn::default() }
}

/// What share of the picks each member gets while nothing else changes.
fn shares(algorithm: Algorithm, members: &[Candidate]) -> Vec<f64> {
    let table = table(members);
    let law = Law { maglev: table.as_ref(), ..Law::plain(algorithm) };
    let mut counts = vec![0u64; members.len()];
    for n in 0..PICKS {
        let index = pick(&law, members.len(), &turn(n), |i| members[i]).unwrap();
        counts[index] += 1;
    }
    counts.iter().map(|count| *count as f64 / PICKS as f64).collect()
}

#[track_caller]
fn close(what: Algorithm, have: &[f64], want: &[f64]) {
    for (h, w) in have.iter().zip(want) {
        assert!((h - w).abs() < 0.01, "{what:?}: {have:?}, want {want:?}");
    }
}

#[test]
fn every_algorithm_keeps_its_law_within_one_percent() {
    let members = [member(1, 11), member(2, 12), member(5, 13)];
    for algorithm in ALL {
        let want = match algorithm {
            Algorithm::RoundRobin => [1.0 / 3.0; 3],
            _ => [0.125, 0.25, 0.625],
        };
        close(algorithm, &shares(algorithm, &members), &want);
    }
}

#[test]
fn every_law_holds_when_a_member_leaves_and_when_one_joins() {
    let mut members: Vec<_> = (0..4).map(|i| member(1 + i, 40 + u64::from(i))).collect();
    members[3].admitting = false;
    for algorithm in ALL {
        let want = match algorithm {
            Algorithm::RoundRobin => [1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 0.0],
            _ => [1.0 / 6.0, 2.0 / 6.0, 3.0 / 6.0, 0.0],
        };
        close(algorithm, &shares(algorithm, &members), &want);
    }
    members[3].admitting = true;
    members.push(member(10, 99));
    for algorithm in ALL {
        let want = match algorithm {
            Algorithm::RoundRobin => [0.2; 5],
            _ => [0.05, 0.1, 0.15, 0.2, 0.5],
        };
        close(algorithm, &shares(algorithm, &members), &want);
    }
}

/// Shares of the exchanges in flight, of which there are always `level`: the oldest ends when a new
/// one begins.
fn held(algorithm: Algorithm, members: &[Candidate], level: usize) -> Vec<f64> {
    let members = RefCell::new(members.to_vec());
    let count = members.borrow().len();
    let mut running = VecDeque::new();
    let (mut sums, mut seen) = (vec![0u64; count], 0u64);
    for n in 0..PICKS {
        if running.len() == level {
            // A random one ends: replies take different times.
            let at = (mix(n ^ 0xabc) % level as u64) as usize;
            let index: usize = running.swap_remove_back(at).unwrap();
            members.borrow_mut()[index].in_flight -= 1;
        }
        let index = pick(&Law::plain(algorithm), count, &turn(n), |i| members.borrow()[i]).unwrap();
        members.borrow_mut()[index].in_flight += 1;
        running.push_back(index);
        if running.len() == level {
            seen += level as u64;
            for (sum, member) in sums.iter_mut().zip(members.borrow().iter()) {
                *sum += u64::from(member.in_flight);
            }
        }
    }
    sums.iter().map(|sum| *sum as f64 / seen as f64).collect()
}

#[test]
fn what_is_in_flight_follows_the_weights() {
    let members = [member(1, 1), member(2, 2), member(5, 3)];
    for algorithm in [Algorithm::LeastConnections, Algorithm::P2c, Algorithm::Performance] {
        close(algorithm, &held(algorithm, &members, 160), &[0.125, 0.25, 0.625]);
    }
}

#[test]
fn least_connections_always_takes_the_least_loaded() {
    let mut members: Vec<_> = (0..7u32).map(|i| member(1 + i % 3, u64::from(i))).collect();
    for n in 0..PICKS {
        for (i, member) in members.iter_mut().enumerate() {
            member.in_flight = (mix(n * 31 + i as u64) % 50) as u32;
        }
        let law = Law::plain(Algorithm::LeastConnections);
        let index = pick(&law, 7, &turn(n), |i| members[i]).unwrap();
        let load = |m: &Candidate| f64::from(m.in_flight) / f64::from(m.weight);
        assert!(members.iter().all(|m| load(m) >= load(&members[index]) - 1e-9));
    }
}

#[test]
fn peak_ewma_leaves_the_slow_member_and_levels_the_cost() {
    let mut members = [member(1, 1), member(1, 2)];
    members[0].latency_us = 1_000.0;
    members[1].latency_us = 10_000.0;
    close(Algorithm::PeakEwma, &shares(Algorithm::PeakEwma, &members), &[1.0, 0.0]);
    // Nine waiting at the fast one cost as much as none at the slow one.
    members[0].in_flight = 20;
    close(Algorithm::PeakEwma, &shares(Algorithm::PeakEwma, &members), &[0.0, 1.0]);
    // One that has not been measured counts like the other.
    members[0] = Candidate { latency_us: 0.0, in_flight: 0, ..members[0] };
    close(Algorithm::PeakEwma, &shares(Algorithm::PeakEwma, &members), &[0.5, 0.5]);
}

#[test]
fn performance_combines_reports_weights_and_load() {
    let mut members = [member(1, 1), member(1, 2), member(2, 3)];
    members[0].busy = Some(50);
    members[1].busy = Some(550);
    // Nothing fresh: average, 300. Headrooms 1000, 500, 750.
    let want = [1000.0 / 3000.0, 500.0 / 3000.0, 1500.0 / 3000.0];
    close(Algorithm::Performance, &shares(Algorithm::Performance, &members), &want);
    close(Algorithm::Performance, &held(Algorithm::Performance, &members, 300), &want);
}

#[test]
fn the_lower_tier_comes_first_and_the_higher_takes_over() {
    let mut members = [member(1, 1), member(1, 2)];
    members[1].priority = 1;
    let law = Law::plain(Algorithm::WeightedRoundRobin);
    let ask = |members: &[Candidate; 2]| pick(&law, 2, &turn(1), |i| members[i]);
    assert_eq!(ask(&members), Some(0));
    members[0].full = true;
    assert_eq!(ask(&members), Some(1));
    members[1].draining = true;
    assert_eq!(ask(&members), None);
}

#[test]
fn our_own_zone_comes_first_until_half_of_it_is_gone() {
    let mut members: Vec<_> = (0..6).map(|i| member(1, i)).collect();
    for member in &mut members[..4] {
        member.local = true;
    }
    let used = |members: &[Candidate]| -> Vec<usize> {
        let have = shares(Algorithm::RoundRobin, members);
        (0..have.len()).filter(|i| have[*i] > 0.0).collect()
    };
    assert_eq!(used(&members), [0, 1, 2, 3]);
    members[0].admitting = false;
    members[1].full = true;
    assert_eq!(used(&members), [2, 3]);
    members[2].draining = true;
    assert_eq!(used(&members), [3, 4, 5]);
}

#[test]
fn a_member_in_its_slow_start_gets_its_part_of_the_turns() {
    let mut members = [member(1, 1), member(1, 2)];
    members[1].ramp = 25;
    for algorithm in [
        Algorithm::RoundRobin,
        Algorithm::WeightedRoundRobin,
        Algorithm::Random,
        Algorithm::LeastConnections,
        Algorithm::P2c,
        Algorithm::PeakEwma,
        Algorithm::Performance,
    ] {
        close(algorithm, &shares(algorithm, &members), &[0.8, 0.2]);
    }
}

/// The share of keys that move when member `gone` of `count` leaves, and how many of them moved
/// although their member stayed.
fn moved(algorithm: Algorithm, count: u64, gone: usize, rebuilt: bool) -> (f64, f64) {
    let before: Vec<_> = (0..count).map(|i| member(1, 100 + i)).collect();
    let mut after = before.clone();
    after[gone].admitting = false;
    let old = table(&before);
    let new = if rebuilt {
        let list: Vec<_> = after.iter().map(|m| (m.identity, u32::from(m.admitting))).collect();
        MaglevTable::build(&list)
    } else {
        old.clone()
    };
    let first = Law { maglev: old.as_ref(), ..Law::plain(algorithm) };
    let second = Law { maglev: new.as_ref(), ..Law::plain(algorithm) };
    let (mut moved, mut needless) = (0u32, 0u32);
    for n in 0..PICKS {
        let a = pick(&first, before.len(), &turn(n), |i| before[i]).unwrap();
        let b = pick(&second, after.len(), &turn(n), |i| after[i]).unwrap();
        assert_ne!(b, gone);
        moved += u32::from(a != b);
        needless += u32::from(a != b && a != gone);
    }
    (f64::from(moved) / PICKS as f64, f64::from(needless) / PICKS as f64)
}

#[test]
fn only_the_keys_of_a_member_that_leaves_move() {
    for count in [3u64, 10, 40] {
        for algorithm in [Algorithm::IpHash, Algorithm::ConsistentHash, Algorithm::Maglev] {
            let (moved, needless) = moved(algorithm, count, 1, false);
            assert!(needless == 0.0, "{algorithm:?} of {count}: {needless}");
            assert!(moved <= 1.0 / count as f64 + 0.02, "{algorithm:?} of {count}: {moved}");
        }
        // A new table after a reload moves hardly more.
        let (moved, _) = moved(Algorithm::Maglev, count, 1, true);
        assert!(moved <= 1.0 / count as f64 + 0.02, "a new table of {count}: {moved}");
    }
}

#[test]
fn bounded_load_is_never_exceeded_and_spills() {
    for algorithm in [Algorithm::IpHash, Algorithm::ConsistentHash, Algorithm::Maglev] {
        let members = RefCell::new(vec![member(1, 1), member(1, 2), member(2, 3), member(4, 4)]);
        let table = table(&members.borrow());
        let law = Law { algorithm, bound: Some(125), maglev: table.as_ref() };
        let mut running = Vec::new();
        let mut spilled = false;
        for n in 0..PICKS {
            if running.len() == 200 {
                let index: usize = running.swap_remove((mix(n) % 200) as usize);
                members.borrow_mut()[index].in_flight -= 1;
            }
            // Half of the requests have one and the same key.
            let key = if n % 2 == 0 { 42 } else { mix(n) };
            let turn = Turn { key, ..turn(n) };
            let index = pick(&law, 4, &turn, |i| members.borrow()[i]).unwrap();
            members.borrow_mut()[index].in_flight += 1;
            running.push(index);
            let m = members.borrow()[index];
            let average = running.len() as f64 * f64::from(m.weight) / 8.0;
            assert!(f64::from(m.in_flight) <= (1.25 * average).ceil(), "{algorithm:?}: {m:?}");
            let free = Law { bound: None, ..law };
            spilled |= pick(&free, 4, &turn, |i| members.borrow()[i]) != Some(index);
        }
        assert!(spilled, "{algorithm:?} never reached its bound");
    }
}

#[test]
fn the_scores_say_why_a_member_is_left_out() {
    let mut members: Vec<_> = (0..7).map(|i| member(1, i)).collect();
    members[0].weight = 0;
    members[1].draining = true;
    members[2].full = true;
    members[3].admitting = false;
    members[4].priority = 3;
    let turn = Turn { avoided: 1 << 5, ..Turn::default() };
    for algorithm in ALL {
        let have = scores(&Law::plain(algorithm), 7, &turn, |i| members[i]);
        let words: Vec<_> =
            have.iter().map(|score| score.excluded.map_or("", Excluded::as_str)).collect();
        let want = ["no_weight", "draining", "full", "unhealthy", "higher_tier", "avoided", ""];
        assert_eq!(words, want, "{algorithm:?}");
    }
    members[6].local = true;
    members[5].in_flight = 9;
    let law = Law { bound: Some(100), ..Law::plain(Algorithm::ConsistentHash) };
    let have = scores(&law, 7, &Turn::default(), |i| members[i]);
    assert_eq!(have[5].excluded, Some(Excluded::OtherZone));
    members[6].local = false;
    let have = scores(&law, 7, &Turn::default(), |i| members[i]);
    assert_eq!((have[5].excluded, have[6].excluded), (Some(Excluded::OverBound), None));
}

fn any_candidate() -> impl Strategy<Value = Candidate> {
    let facts = (0u32..4, 1u8..=100, 0u32..3, any::<bool>(), 0u32..100);
    let rest = (0f32..1e9, proptest::option::of(0u16..1200), any::<u64>());
    let flags = (proptest::bool::weighted(0.2), proptest::bool::weighted(0.3), any::<bool>());
    (facts, rest, flags).prop_map(|(facts, (latency_us, busy, identity), flags)| {
        let (weight, ramp, priority, local, in_flight) = facts;
        let (draining, full, admitting) = flags;
        Candidate {
            weight,
            ramp,
            priority,
            local,
            in_flight,
            latency_us,
            busy,
            identity,
            draining,
            full,
            admitting,
        }
    })
}

proptest! {
    #[test]
    fn a_pick_is_usable_exists_if_one_is_and_repeats_itself(
        members in proptest::collection::vec(any_candidate(), 0..70),
        which in 0usize..10,
        bound in proptest::option::of(100u32..300),
        numbers in (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<bool>()),
    ) {
        let (cursor, random, key, avoided, ignore_health) = numbers;
        let turn = Turn { cursor, random, key, avoided, ignore_health };
        let table = table(&members);
        let law = Law { algorithm: ALL[which], bound, maglev: table.as_ref() };
        let picked = pick(&law, members.len(), &turn, |i| members[i]);
        let usable = |i: usize| members::is_usable(i, &members[i], &turn);
        let count = members.len().min(MEMBERS_MAX);
        prop_assert_eq!(picked.is_some(), (0..count).any(usable));
        if let Some(index) = picked {
            prop_assert!(index < count && usable(index));
            let tier = (0..count).filter(|i| usable(*i)).map(|i| members[i].priority).min();
            prop_assert_eq!(Some(members[index].priority), tier);
        }
        prop_assert_eq!(picked, pick(&law, members.len(), &turn, |i| members[i]));
        let scores = scores(&law, members.len(), &turn, |i| members[i]);
        if let Some(index) = picked {
            prop_assert_eq!(scores[index].excluded, None);
        }
    }
}
