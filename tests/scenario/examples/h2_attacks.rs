//! What attacks over HTTP/2 cost a gateway, and those whom it serves beside them.
//!
//! `TIDEGATE_BIN=… cargo run --release --package tidegate-scenario --example h2_attacks -- SECONDS FILE`
//! runs each attack for so long against one shard, writes the figures to FILE as JSON and a table of
//! them to standard output. An attacker that is thrown out comes again at once.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for people, not a part")]

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_lab::origin::{OriginOptions, spawn_origin};
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::h2raw::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, Raw, SETTINGS,
    WINDOW_UPDATE, fields_block, frame, request,
};
use tidegate_scenario::h2tunnel::asking;
use tidegate_scenario::http::Connection;

/// Between two requests of the caller beside.
const PACE: Duration = Duration::from_millis(2);

/// Between two looks at the memory.
const LOOK: Duration = Duration::from_millis(20);

/// Bytes that an attacker writes at once.
const BATCH: usize = 8 * 1024;

/// An attack: what is written turn by turn, and how many frames that are.
struct Attack {
    name: &'static str,
    settings: &'static [(u16, u32)],
    frames: u64,
    /// Turns after which it only waits to be thrown out.
    turns: u32,
    turn: Box<dyn Fn(u32) -> Vec<u8> + Sync>,
}

fn attack(
    name: &'static str,
    frames: u64,
    turn: impl Fn(u32) -> Vec<u8> + Sync + 'static,
) -> Attack {
    Attack { name, settings: &[], frames, turns: u32::MAX, turn: Box::new(turn) }
}

/// A head that ends its stream.
fn ended(stream: u32, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, block)
}

fn get(path: &str) -> Vec<u8> {
    fields_block(&request("GET", path, &[]))
}

fn post() -> Vec<u8> {
    fields_block(&request("POST", "/echo", &[]))
}

/// A field of 4,000 bytes that the table remembers, or a shorter one; then references to it.
fn bomb(name: &str, value: &[u8], references: usize) -> Vec<u8> {
    let mut block = get("/small");
    block.extend([0x40, name.len() as u8]);
    block.extend(name.as_bytes());
    if value.len() < 127 {
        block.push(value.len() as u8);
    } else {
        let rest = value.len() - 127;
        block.extend([127, (rest % 128) as u8 | 128, (rest / 128) as u8]);
    }
    block.extend(value);
    block.extend(vec![0xbe; references]);
    block
}

fn attacks() -> Vec<Attack> {
    let stream = |turn: u32| (turn * 2 + 1) & 0x7fff_ffff;
    let fields: Vec<u8> = (0..100)
        .flat_map(|at| fields_block(&[(&format!("x-{at}"), "y".repeat(140).as_str())]))
        .collect();
    let flips = [&[0x20, 0x3f, 0xe1, 0x1f].repeat(2_000)[..], &get("/small")].concat();
    let large = bomb("x", &[b'y'; 4_000], 12_000);
    let crumbs = bomb("cookie", b"a=b", 300);
    let refused = bomb("cookie", b"", 500);
    vec![
        // Nothing is wrong with it: what coming again and again costs by itself.
        Attack { turns: 0, ..attack("connections that say nothing", 1, |_| Vec::new()) },
        attack("rapid reset", 2, move |turn| {
            let head = ended(stream(turn), &get("/slow?ms=9000"));
            [head, frame(RST_STREAM, 0, stream(turn), &8u32.to_be_bytes())].concat()
        }),
        attack("made you reset", 2, move |turn| {
            let head = ended(stream(turn), &get("/slow?ms=9000"));
            let window = 0x7fff_ffffu32.to_be_bytes();
            [head, frame(WINDOW_UPDATE, 0, stream(turn), &window)].concat()
        }),
        attack("malformed heads", 1, move |turn| {
            ended(stream(turn), &fields_block(&[(":method", "GET")]))
        }),
        attack("continuations", 1, |turn| match turn {
            0 => frame(HEADERS, 0, 1, &get("/")),
            _ => frame(CONTINUATION, 0, 1, &fields_block(&[("x-a", "b")])),
        }),
        attack("empty continuations", 1, |turn| {
            frame(if turn == 0 { HEADERS } else { CONTINUATION }, 0, 1, &[])
        }),
        attack("settings", 1, |_| frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])),
        attack("pings", 1, |_| frame(PING, 0, 0, &[0; 8])),
        attack("priorities", 1, |_| frame(2, 0, 1, &[0, 0, 0, 3, 0])),
        attack("empty data", 1, |turn| match turn {
            0 => frame(HEADERS, END_HEADERS, 1, &post()),
            _ => frame(DATA, 0, 1, &[]),
        }),
        attack("window updates", 1, |_| frame(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes())),
        attack("unknown frames", 1, |_| frame(0xbe, 0, 0, &[0; 32])),
        attack("megabyte of fields", 1, move |turn| {
            frame(if turn == 0 { HEADERS } else { CONTINUATION }, 0, 1, &fields)
        }),
        attack("4 KB named 12,000 times", 1, move |turn| ended(stream(turn), &large)),
        attack("4,000 table sizes a head", 1, move |turn| ended(stream(turn), &flips)),
        attack("500 crumbs, refused", 1, move |turn| ended(stream(turn), &refused)),
        attack("300 crumbs, served", 1, move |turn| ended(stream(turn), &crumbs)),
        attack("tunnels reset", 2, move |turn| {
            let block = fields_block(&asking("/slow?ms=9000", &[]));
            let reset = frame(RST_STREAM, 0, stream(turn), &8u32.to_be_bytes());
            [frame(HEADERS, END_HEADERS, stream(turn), &block), reset].concat()
        }),
        attack("tunnels of unknown protocols", 1, move |turn| {
            let mut fields = asking("/", &[]);
            fields[1].1 = "connect-udp";
            frame(HEADERS, END_HEADERS, stream(turn), &fields_block(&fields))
        }),
        Attack {
            settings: &[(4, 0)],
            turns: 100,
            ..attack("100 streams without a window", 1, move |turn| {
                ended(stream(turn), &get("/big"))
            })
        },
    ]
}

/// What an attacker has done and how its connections ended.
#[derive(Default)]
struct Done {
    frames: u64,
    connections: u64,
    ends: BTreeMap<String, u64>,
}

/// Attacks until told to stop.
fn run(gateway: SocketAddr, attack: &Attack, stop: &AtomicBool) -> Done {
    let mut done = Done::default();
    while !stop.load(Relaxed) {
        let mut raw = Raw::open_with(gateway, attack.settings);
        done.connections += 1;
        if attack.turns == 0 {
            *done.ends.entry("left".to_owned()).or_default() += 1;
            continue;
        }
        let mut reader = raw.reader();
        let reading = std::thread::spawn(move || {
            let mut goaway = None;
            while let Some(frame) = reader.try_frame() {
                if frame.kind == GOAWAY {
                    goaway = Some(frame.code());
                }
            }
            goaway
        });
        let mut turn = 0;
        let mut taken = true;
        while taken && turn < attack.turns && !stop.load(Relaxed) {
            let mut batch = Vec::with_capacity(2 * BATCH);
            let before = turn;
            while batch.len() < BATCH && turn < attack.turns {
                batch.extend((attack.turn)(turn));
                turn += 1;
            }
            taken = raw.bytes(&batch);
            done.frames += attack.frames * u64::from(turn - before);
        }
        if stop.load(Relaxed) {
            let _ = raw.stream.shutdown(std::net::Shutdown::Both);
        }
        let end = match (reading.join().unwrap(), stop.load(Relaxed)) {
            (Some(code), _) => format!("GOAWAY {code}"),
            (None, true) => "not".to_owned(),
            (None, false) => "closed".to_owned(),
        };
        *done.ends.entry(end).or_default() += 1;
    }
    done
}

/// Fifty requests at once, the next fifty when all are answered: what honest requests cost.
fn honest(gateway: SocketAddr, stop: &AtomicBool) -> Done {
    let mut done = Done { connections: 1, ..Done::default() };
    let mut raw = Raw::open(gateway);
    let mut stream = 1;
    while !stop.load(Relaxed) {
        let mut batch = Vec::new();
        for _ in 0..50 {
            batch.extend(ended(stream, &get("/small")));
            stream += 2;
        }
        raw.bytes(&batch);
        let mut open = 50;
        while open > 0 {
            let frame = raw.next_frame().unwrap();
            if frame.kind == DATA && !frame.payload.is_empty() {
                let more = (frame.payload.len() as u32).to_be_bytes();
                raw.frame(WINDOW_UPDATE, 0, 0, &more);
            }
            let ends = matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0;
            open -= u32::from(ends || frame.kind == RST_STREAM);
        }
        done.frames += 50;
    }
    done
}

/// Asks at a pace until told to stop: how long each reply took in µs, and how many were none.
fn beside(gateway: SocketAddr, stop: &AtomicBool) -> (Vec<u64>, u64) {
    let mut took = Vec::new();
    let mut failed = 0;
    let mut connection = Connection::open(gateway);
    while !stop.load(Relaxed) {
        let began = Instant::now();
        let reply = connection.send(b"GET /small HTTP/1.1\r\nHost: beside\r\n\r\n").reply();
        took.push(began.elapsed().as_micros() as u64);
        failed += u64::from(reply.status != 200);
        wait(PACE);
    }
    took.sort_unstable();
    (took, failed)
}

#[expect(clippy::disallowed_methods, reason = "the pace is what is measured at")]
fn wait(time: Duration) {
    std::thread::sleep(time);
}

/// Seconds of processor time that the process has used.
fn processor(gateway: &Gateway) -> f64 {
    let path = format!("/proc/{}/stat", gateway.pid().as_raw_nonzero());
    let text = fs::read_to_string(path).unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum();
    ticks / rustix::param::clock_ticks_per_second() as f64
}

/// Runs one attack, or none, on a gateway of its own.
fn measure(
    name: &str,
    time: Duration,
    attacker: impl Fn(SocketAddr, &AtomicBool) -> Done + Sync,
) -> Value {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let gateway = Gateway::start(&format!(
        "upstreams: {{ app: {{ endpoints: [http://{}] }} }}\n\
         routes: [{{ path: /, upstream: app }}]\n\
         timeouts: {{ write_stall: 1s }}\nshards: 1\n",
        lab.addr
    ));
    let address = gateway.address;
    let warm = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| beside(address, &warm));
        wait(Duration::from_millis(300));
        warm.store(true, Relaxed);
        asking.join().unwrap();
    });
    let stop = AtomicBool::new(false);
    let before = gateway.resident();
    let mut peak = before;
    let used = processor(&gateway);
    let (done, (took, failed)) = std::thread::scope(|scope| {
        let attacking = scope.spawn(|| attacker(address, &stop));
        let asking = scope.spawn(|| beside(address, &stop));
        let until = Instant::now() + time;
        while Instant::now() < until {
            peak = peak.max(gateway.resident());
            wait(LOOK);
        }
        stop.store(true, Relaxed);
        (attacking.join().unwrap(), asking.join().unwrap())
    });
    let used = processor(&gateway) - used;
    wait(Duration::from_millis(500));
    let after = gateway.resident();
    let at = |part: f64| took.get(((took.len() - 1) as f64 * part) as usize).copied().unwrap_or(0);
    let row = json!({
        "attack": name,
        "frames": done.frames,
        "connections": done.connections,
        "cpu_s": (used * 100.0).round() / 100.0,
        "cpu_us_per_frame": (used * 1e6 / done.frames.max(1) as f64 * 100.0).round() / 100.0,
        "cpu_us_per_connection": (used * 1e6 / done.connections.max(1) as f64).round(),
        "rss_before_kib": before / 1024,
        "rss_peak_kib": peak / 1024,
        "rss_after_kib": after / 1024,
        "ends": done.ends,
        "beside": {
            "requests": took.len(),
            "failed": failed,
            "p50_us": at(0.5),
            "p99_us": at(0.99),
            "max_us": at(1.0),
        },
    });
    print_row(&row);
    row
}

fn print_row(row: &Value) {
    let ends: Vec<String> = row["ends"]
        .as_object()
        .map(|ends| ends.iter().map(|(end, count)| format!("{end}: {count}")).collect())
        .unwrap_or_default();
    let beside = &row["beside"];
    println!(
        "| {} | {} | {} | {} | {} | {} | {} / {} / {} | {} | {} | {} | {} | {} |",
        row["attack"].as_str().unwrap_or_default(),
        row["frames"],
        row["connections"],
        row["cpu_s"],
        row["cpu_us_per_frame"],
        row["cpu_us_per_connection"],
        row["rss_before_kib"],
        row["rss_peak_kib"],
        row["rss_after_kib"],
        ends.join(", "),
        beside["requests"],
        beside["failed"],
        beside["p50_us"],
        beside["p99_us"],
    );
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(5.0);
    let file = arguments.next();
    let time = Duration::from_secs_f64(seconds);
    println!(
        "| attack | frames sent | connections | CPU s | CPU µs a frame | CPU µs a connection | RSS KiB before / \
         peak / after | connections ended by | replies beside | failed | p50 µs | p99 µs |"
    );
    println!("|{}", "---|".repeat(12));
    let nobody = |_: SocketAddr, stop: &AtomicBool| {
        while !stop.load(Relaxed) {
            wait(LOOK);
        }
        Done::default()
    };
    let mut rows =
        vec![measure("none", time, nobody), measure("none: honest requests", time, honest)];
    for attack in attacks() {
        rows.push(measure(attack.name, time, |gateway, stop| run(gateway, &attack, stop)));
    }
    if let Some(file) = file {
        fs::write(file, format!("{:#}\n", json!({ "seconds": seconds, "rows": rows }))).unwrap();
    }
}
