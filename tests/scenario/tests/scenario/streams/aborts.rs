//! A caller that goes away: whatever it waited for is cancelled upstream at once.

use std::time::{Duration, Instant};

use tidegate_lab::provider::{ProviderHandle, ProviderOptions, spawn_provider};
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::Connection;
use tidegate_scenario::llm::{CHAT, FORMS, providers};
use tidegate_scenario::until;

/// The figure is 100 ms; the assertion leaves room for a busy machine.
const SOON: Duration = Duration::from_secs(1);

fn closed_and_seen(what: &str, lab: &ProviderHandle, connection: Connection) {
    let before = lab.stats().cancelled;
    let closed = Instant::now();
    drop(connection);
    until("the provider sees the abort", || (lab.stats().cancelled > before).then_some(()));
    let took = closed.elapsed();
    println!("{what}: abort seen upstream after {:.1} ms", took.as_secs_f64() * 1e3);
    assert!(took < SOON, "{what}: {took:?}");
}

fn settled(gateway: &Gateway) {
    until("nothing is in flight", || {
        let held = [
            "tidegate_requests_in_flight",
            "tidegate_requests_waiting",
            "tidegate_upstream_in_flight",
            "tidegate_buffered_bytes",
        ];
        held.iter().all(|name| gateway.metric(name, "") == 0.0).then_some(())
    });
}

#[test]
fn a_caller_that_goes_while_it_waits_for_the_first_token_cancels_upstream() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&providers(lab.addr));
    for form in FORMS {
        let mut connection = Connection::open(gateway.address);
        let requests = lab.stats().requests;
        connection.send(&form.stream_with("lab-echo", "x-lab-first-token-ms: 15000\r\n"));
        until("the provider is asked", || (lab.stats().requests > requests).then_some(()));
        closed_and_seen("waiting for the first token", &lab, connection);
    }
    settled(&gateway);
    assert_eq!(gateway.metric("tidegate_ended_total", "client_gone"), 4.0);
}

#[test]
fn a_caller_that_goes_in_the_middle_of_a_stream_cancels_upstream() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&providers(lab.addr));
    for form in FORMS {
        for interval in ["1", "15000"] {
            let mut connection = Connection::open(gateway.address);
            let pace = format!("x-lab-interval-ms: {interval}\r\n");
            connection.send(&form.stream_with("lab-tokens-100000", &pace));
            assert!(connection.until_seen(b"data: {"));
            closed_and_seen("in the middle of a stream", &lab, connection);
        }
    }
    settled(&gateway);
}

#[test]
fn a_caller_that_goes_while_it_waits_for_a_whole_reply_cancels_upstream() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&providers(lab.addr));
    for form in FORMS {
        let mut connection = Connection::open(gateway.address);
        let requests = lab.stats().requests;
        connection.send(&form.whole_with("lab-echo", "x-lab-first-token-ms: 15000\r\n"));
        until("the provider is asked", || (lab.stats().requests > requests).then_some(()));
        closed_and_seen("waiting for a whole reply", &lab, connection);
    }
    settled(&gateway);
}

#[test]
fn a_caller_that_goes_from_the_queue_never_reaches_the_provider() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let yaml =
        format!("limits: {{ requests: 1, queue: {{ wait: 20s }} }}\n{}", providers(lab.addr));
    let gateway = Gateway::start(&yaml);
    let mut first = Connection::open(gateway.address);
    first.send(&CHAT.stream_with("lab-echo", "x-lab-first-token-ms: 15000\r\n"));
    until("the place is taken", || (lab.stats().requests == 1).then_some(()));
    let mut queued = Connection::open(gateway.address);
    queued.send(&CHAT.stream("lab-echo"));
    until("it waits", || (gateway.metric("tidegate_requests_waiting", "") == 1.0).then_some(()));
    drop(queued);
    until("it has left", || (gateway.metric("tidegate_requests_waiting", "") == 0.0).then_some(()));
    closed_and_seen("the one before it", &lab, first);
    settled(&gateway);
    let reply = Connection::open(gateway.address).send(&CHAT.stream("lab-echo")).reply();
    assert_eq!(reply.status, 200);
    assert_eq!(lab.stats().requests, 2, "the one that left was never asked for");
}

#[test]
fn a_caller_that_resets_is_as_gone_as_one_that_closes() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&providers(lab.addr));
    let mut connection = Connection::open(gateway.address);
    connection.send(&CHAT.stream_with("lab-tokens-100000", "x-lab-interval-ms: 10\r\n"));
    assert!(connection.until_seen(b"data: {"));
    connection.reset_on_close();
    closed_and_seen("reset", &lab, connection);
    settled(&gateway);
}
