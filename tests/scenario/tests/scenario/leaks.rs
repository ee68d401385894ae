//! Nothing leaks: after 20,000 exchanges that end in every way, all that was held is given back.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use tidegate_lab::provider::{ProviderHandle, ProviderOptions, spawn_provider};
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::{Connection, llm_call};
use tidegate_scenario::llm::{CHAT, FORMS, Form, two_providers};
use tidegate_scenario::scripted::in_table;
use tidegate_scenario::until;

const THREADS: usize = 48;
const WARM_UP: usize = 6_000;
const REQUESTS: usize = 20_000;
const MIB: f64 = 1024.0 * 1024.0;

/// What the process holds now.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Held {
    tasks: f64,
    open_files: usize,
    connections: f64,
    in_flight: f64,
    waiting: f64,
    buffered: f64,
    buffers_lent: f64,
    upstream_in_flight: f64,
    pool: f64,
}

fn held(gateway: &Gateway) -> Held {
    let gauge = |name| gateway.metric(name, "");
    Held {
        tasks: gauge("tidegate_tasks"),
        connections: gauge("tidegate_connections"),
        in_flight: gauge("tidegate_requests_in_flight"),
        waiting: gauge("tidegate_requests_waiting"),
        buffered: gauge("tidegate_buffered_bytes"),
        buffers_lent: gauge("tidegate_buffers_lent"),
        upstream_in_flight: gauge("tidegate_upstream_in_flight"),
        pool: gauge("tidegate_pool_idle_connections"),
        open_files: gateway.open_files(),
    }
}

/// Established connections to these addresses, as the kernel counts them.
fn established(to: &[SocketAddr]) -> usize {
    const ESTABLISHED: &str = "01";
    let to: Vec<String> = to.iter().map(|address| in_table(*address)).collect();
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    table
        .lines()
        .filter(|line| {
            let mut columns = line.split_whitespace().skip(2);
            columns.next().is_some_and(|remote| to.iter().any(|address| address == remote))
                && columns.next() == Some(ESTABLISHED)
        })
        .count()
}

/// Exchange `number` of the mix, on `connection` where that is still open.
fn exchange(address: SocketAddr, connection: &mut Option<Connection>, number: usize) {
    let form: Form = FORMS[(number / 24) % FORMS.len()];
    let mut open = connection.take().unwrap_or_else(|| Connection::open(address));
    let ask = |open: &mut Connection, bytes: &[u8]| {
        let reply = open.send(bytes).reply();
        reply.complete && reply.status != 0 && reply.field("connection") != Some("close")
    };
    let stays = match number % 24 {
        0..8 => ask(&mut open, &form.whole("lab-echo")),
        8..12 => ask(&mut open, &form.stream("lab-tokens-5")),
        12 => ask(&mut open, &form.whole("lab-error-500")),
        13 => ask(&mut open, &form.stream("lab-error-429")),
        14 => ask(&mut open, &form.whole("lab-error-400")),
        15 => ask(&mut open, &llm_call(form.path, "sk-wrong-key-00001", &form.body("m", false))),
        16 => ask(&mut open, &form.stream_with("lab-cut", "x-lab-cut: mid-event\r\n")),
        17 => ask(&mut open, &form.whole_with("lab-cut", "x-lab-cut: reset\r\n")),
        18 => ask(&mut open, &form.stream("lab-stall")),
        19 => ask(&mut open, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        20 => {
            // Gone in the middle of a stream.
            open.send(&form.stream_with("lab-tokens-1000", "x-lab-interval-ms: 5\r\n"));
            open.until_seen(b"data: ");
            false
        }
        21 => {
            // Gone, with a reset, while nothing has come yet.
            open.send(&form.stream_with("lab-echo", "x-lab-first-token-ms: 500\r\n"));
            open.reset_on_close();
            false
        }
        22 => {
            // Gone in the middle of a body.
            let whole = llm_call(CHAT.path, tidegate_scenario::gateway::KEY, &"x".repeat(20_000));
            open.send(&whole[..whole.len() / 2]);
            false
        }
        _ => {
            // Gone in the middle of a head, with a reply unread before it.
            open.send(&form.whole("lab-echo")).send(b"POST /v1/mess");
            false
        }
    };
    *connection = stays.then_some(open);
}

/// Runs this many exchanges of the mix and waits until nothing of them is in flight.
fn run(gateway: &Gateway, labs: &[ProviderHandle; 2], count: usize) {
    let (next, address) = (AtomicUsize::new(0), gateway.address);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut connection = None;
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= count {
                        return;
                    }
                    exchange(address, &mut connection, number);
                }
            });
        }
    });
    until("all exchanges have ended", || {
        let now = held(gateway);
        let zero = [now.connections, now.in_flight, now.waiting, now.upstream_in_flight];
        let open = labs.iter().map(|lab| lab.stats().open).sum::<u64>();
        (zero == [0.0; 4] && open == 0).then_some(())
    });
}

#[test]
fn after_twenty_thousand_exchanges_of_every_kind_nothing_is_held() {
    let labs = [0, 1].map(|_| spawn_provider(ProviderOptions::default()).unwrap());
    let addresses = [labs[0].addr, labs[1].addr];
    let gateway = Gateway::start(&format!(
        "shards: 2\ntimeouts: {{ between_tokens: 150ms, first_token: 300ms, heartbeat: 50ms, upstream_idle: 4s }}\n\
         retry: {{ attempts: 2, delay: 1ms, delay_max: 5ms, cooldown: {{ failures: 100, period: 10ms }} }}\n\
         limits: {{ requests: 30, queue: {{ size: 30, wait: 5s }} }}\n{}",
        two_providers(addresses[0], addresses[1])
    ));
    let began = Instant::now();
    // The shards tell their gauges once a second.
    until("the shards' gauges are told", || (held(&gateway).tasks == 2.0).then_some(()));
    let mut at_start = held(&gateway);
    // The page's own connection may not be closed yet: the fewest of a few looks are the base line.
    let mut looks = 0;
    until("a base line of open files", || {
        at_start.open_files = at_start.open_files.min(gateway.open_files());
        looks += 1;
        (looks > 50).then_some(())
    });
    run(&gateway, &labs, WARM_UP);
    let warm = gateway.resident() as f64;
    run(&gateway, &labs, REQUESTS);
    println!("{} exchanges in {:.1} s", WARM_UP + REQUESTS, began.elapsed().as_secs_f64());

    let (pool, kernel) = until("the pool's gauge is the kernel's count", || {
        let (pool, kernel) = (held(&gateway).pool, established(&addresses));
        (pool == kernel as f64).then_some((pool, kernel))
    });
    println!("connection pool: {pool} by the gauge, {kernel} by the kernel");
    let resident = gateway.resident() as f64;
    println!("RSS {:.1} MiB after warm-up, {:.1} MiB after all", warm / MIB, resident / MIB);
    assert!(resident <= 1.3 * warm, "RSS grew from {warm} to {resident}");

    for reason in ["client_gone", "upstream_cut", "between_tokens_timeout", "bad_request"] {
        let count = gateway.metric("tidegate_ended_total", reason);
        println!("{reason}: {count}");
        assert!(count > 100.0, "{reason}: {count}");
    }
    println!("at the start {at_start:?}");
    let mut now = held(&gateway);
    println!("now          {now:?}");
    // Idle connections to providers are closed after upstream_idle: then not one file is left over.
    until("all is as at the start", || {
        now = held(&gateway);
        (now == at_start).then_some(())
    });
    println!("in the end   {now:?}");
}
