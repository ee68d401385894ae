//! Prints what decisions cost on the request path: `cargo run --release -p tidegate-policy
//! --example decision_cost`.
#![allow(clippy::print_stdout, reason = "it is what this program is for")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use tidegate_policy::balance::{Algorithm, Candidate, Law, MaglevTable, Turn, mix, pick};
use tidegate_policy::route::{Asked, HostMatch, PathMatch, RouteKey, RouteTable};

/// Time for one measurement; the best of [`ROUNDS`] counts, because other work on the machine can
/// only slow it down.
const ROUND: Duration = Duration::from_millis(20);
const ROUNDS: usize = 8;

const ALGORITHMS: [Algorithm; 10] = [
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

fn main() {
    for count in [3, 64] {
        picks(count);
    }
    for count in [3, 30, 1_000, 10_000] {
        look_ups(count);
    }
}

/// An endpoint of this many, by each algorithm.
fn picks(count: u64) {
    let identified = |i| Candidate { identity: mix(i), ..Candidate::IDLE };
    let members: Vec<Candidate> = (0..count).map(identified).collect();
    let weighed: Vec<_> = members.iter().map(|m| (m.identity, m.weight)).collect();
    let table = MaglevTable::build(&weighed);
    for algorithm in ALGORITHMS {
        let law = Law { maglev: table.as_ref(), ..Law::plain(algorithm) };
        let mut n = 0;
        report(&format!("pick: {algorithm:?} of {count}"), || {
            n += 1;
            let turn = Turn { cursor: n, random: mix(n), key: mix(n ^ 7), ..Turn::default() };
            let members = black_box(&members);
            black_box(pick(&law, members.len(), &turn, |i| members[i]));
        });
    }
}

/// The route of a request among this many, half of them with a host of their own.
fn look_ups(count: usize) {
    let key = |i: usize| RouteKey {
        host: HostMatch::of((i % 2 == 1).then(|| format!("h{i}.example")).as_deref()),
        path: PathMatch::Prefix(format!("/p{i}/")),
        methods: Vec::new(),
        fields: Vec::new(),
    };
    let table = RouteTable::build((0..count).map(key).collect());
    let path = format!("/p{}/x", (count / 2) & !1);
    let asked = Asked { host: b"h1.example", path: path.as_bytes(), method: b"GET" };
    report(&format!("find: a route of {count}"), || {
        black_box(table.find(black_box(&asked), &|_| false));
    });
}

fn report(name: &str, mut run: impl FnMut()) {
    let best = (0..ROUNDS).map(|_| nanoseconds_each(&mut run)).fold(f64::INFINITY, f64::min);
    println!("{name:<32} {best:>8.1} ns");
}

fn nanoseconds_each(run: &mut impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut times = 0_u32;
    while start.elapsed() < ROUND {
        for _ in 0..64 {
            run();
        }
        times += 64;
    }
    start.elapsed().as_nanos() as f64 / f64::from(times)
}
