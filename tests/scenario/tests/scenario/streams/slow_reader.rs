//! A caller that reads slowly, or not at all, costs neither memory nor a provider's time.

use std::io::Read as _;
use std::time::Instant;

use tidegate_lab::provider::{ProviderOptions, spawn_provider};
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::Connection;
use tidegate_scenario::llm::{CHAT, providers};
use tidegate_scenario::until;

const MIB: u64 = 1024 * 1024;

#[test]
fn a_caller_that_stops_reading_is_given_up_and_upstream_is_cancelled() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let yaml = format!("timeouts: {{ write_stall: 500ms }}\n{}", providers(lab.addr));
    let gateway = Gateway::start(&yaml);
    // Warm: one whole stream of the same kind.
    Connection::open(gateway.address).send(&CHAT.stream("lab-tokens-1000")).reply();
    let before = gateway.resident();
    let mut stuck: Vec<Connection> = (0..8).map(|_| Connection::open(gateway.address)).collect();
    for connection in &mut stuck {
        // More than 100 MB each.
        connection.send(&CHAT.stream("lab-tokens-1000000"));
    }
    let mut highest = before;
    until("all are cancelled upstream", || {
        highest = highest.max(gateway.resident());
        (lab.stats().cancelled == 8).then_some(())
    });
    println!("RSS before {} MiB, highest {} MiB", before / MIB, highest / MIB);
    assert!(highest < before + 16 * MIB, "{before} → {highest}");
    until("they are counted", || {
        (gateway.metric("tidegate_ended_total", "write_stall") == 8.0).then_some(())
    });
}

#[test]
fn a_reply_of_a_hundred_megabytes_passes_in_constant_memory() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&providers(lab.addr));
    Connection::open(gateway.address).send(&CHAT.stream("lab-tokens-1000")).reply();
    let before = gateway.resident();
    let mut connection = Connection::open(gateway.address);
    let began = Instant::now();
    connection.send(&CHAT.stream("lab-tokens-600000"));
    let (mut total, mut highest, mut tail) = (0u64, before, Vec::new());
    let mut piece = vec![0; 256 * 1024];
    while !tail.ends_with(b"0\r\n\r\n") {
        let n = connection.stream.read(&mut piece).unwrap();
        assert!(n > 0, "the stream is whole");
        total += n as u64;
        if n >= 64 {
            tail = piece[n - 64..n].to_vec();
        } else {
            tail.extend_from_slice(&piece[..n]);
        }
        if (total / MIB).is_multiple_of(8) {
            highest = highest.max(gateway.resident());
        }
    }
    println!(
        "{} MiB in {:.1} s; RSS before {} MiB, highest {} MiB",
        total / MIB,
        began.elapsed().as_secs_f64(),
        before / MIB,
        highest / MIB
    );
    assert!(total > 100_000_000, "{total}");
    assert!(String::from_utf8_lossy(&tail).contains("[DONE]"));
    assert!(highest < before + 16 * MIB, "{before} → {highest}");
}
