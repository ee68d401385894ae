//! A provider that keeps failing rests for a while, and comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use tidegate_lab::provider::{ProviderOptions, spawn_provider};
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::Connection;
use tidegate_scenario::llm::CHAT;
use tidegate_scenario::scripted::{Scripted, json_reply};
use tidegate_scenario::until;

use super::{answering, chat, openai};

#[test]
fn a_provider_that_fails_three_times_in_a_row_rests_and_comes_back() {
    let (well, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (is_well, counter) = (Arc::clone(&well), Arc::clone(&asked));
    let first = Scripted::start(move |_, peer| {
        while peer.request().is_some() {
            counter.fetch_add(1, SeqCst);
            let status = if is_well.load(SeqCst) { 200 } else { 500 };
            peer.send(json_reply(status, "{}"));
        }
    });
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&format!(
        "retry: {{ cooldown: {{ failures: 3, period: 3s }} }}\n{}",
        openai(&[(first.address, ""), (lab.addr, ", priority: 1")])
    ));
    for _ in 0..10 {
        assert_eq!(chat(&gateway, "lab-echo").status, 200);
    }
    assert_eq!(asked.load(SeqCst), 3, "it rests");
    assert_eq!(gateway.metric("tidegate_upstream_admitting", ""), 1.0, "one of two");
    well.store(true, SeqCst);
    until("it is asked again", || {
        assert_eq!(chat(&gateway, "lab-echo").status, 200);
        (asked.load(SeqCst) > 3).then_some(())
    });
    let before = lab.stats().requests;
    for _ in 0..5 {
        assert_eq!(chat(&gateway, "lab-echo").status, 200);
    }
    assert_eq!(lab.stats().requests, before, "the first has all of it again");
}

#[test]
fn one_success_forgives_the_failures_before() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let first = Scripted::start(move |_, peer| {
        while peer.request().is_some() {
            let status = if counter.fetch_add(1, SeqCst) % 3 == 2 { 200 } else { 500 };
            peer.send(json_reply(status, "{}"));
        }
    });
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&openai(&[(first.address, ""), (lab.addr, ", priority: 1")]));
    // One connection: its next exchange begins when the one before has been noted.
    let mut connection = Connection::open(gateway.address);
    for _ in 0..12 {
        assert_eq!(connection.send(&CHAT.whole("lab-echo")).reply().status, 200);
    }
    assert_eq!(asked.load(SeqCst), 12);
}

#[test]
fn a_provider_that_names_a_time_rests_at_once() {
    let (first, asked) = answering(503, "Retry-After: 60\r\n", "later");
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&openai(&[(first.address, ""), (lab.addr, ", priority: 1")]));
    for _ in 0..10 {
        assert_eq!(chat(&gateway, "lab-echo").status, 200);
    }
    assert_eq!((asked.load(SeqCst), lab.stats().requests), (1, 10));
}

#[test]
fn providers_that_all_rest_are_asked_all_the_same() {
    let gone = spawn_provider(ProviderOptions::default()).unwrap();
    gone.stop();
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&format!(
        "retry: {{ attempts: 2, cooldown: {{ failures: 1, period: 1h }} }}\n{}",
        openai(&[(gone.addr, ""), (lab.addr, "")])
    ));
    assert_eq!(chat(&gateway, "lab-error-500").status, 500);
    until("both rest", || {
        chat(&gateway, "lab-error-500");
        (gateway.metric("tidegate_upstream_admitting", "") == 0.0).then_some(())
    });
    assert_eq!(chat(&gateway, "lab-echo").status, 200);
}

#[test]
fn a_callers_mistakes_do_not_make_a_provider_rest() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&openai(&[(lab.addr, "")]));
    for _ in 0..10 {
        assert_eq!(chat(&gateway, "lab-error-400").status, 400);
        assert_eq!(chat(&gateway, "unknown").status, 404);
    }
    assert_eq!(gateway.metric("tidegate_upstream_admitting", ""), 1.0);
}
