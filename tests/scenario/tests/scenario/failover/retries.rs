//! Which failures are repeated, how often, and what the caller is told in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use tidegate_lab::provider::{ProviderOptions, spawn_provider};
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::Connection;
use tidegate_scenario::llm::CHAT;
use tidegate_scenario::scripted::{Scripted, json_reply};

use super::{answering, chat, openai};

#[test]
fn a_refused_key_is_tried_at_another_provider_and_a_bad_request_is_not() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    for (status, want) in [(401, 200), (403, 200), (400, 400), (404, 404), (422, 422)] {
        let (first, asked) = answering(status, "", "their words");
        let gateway = Gateway::start(&openai(&[(first.address, ""), (lab.addr, ", priority: 1")]));
        let before = lab.stats().requests;
        let reply = chat(&gateway, "lab-echo");
        assert_eq!(reply.status, want, "after {status}");
        assert_eq!(asked.load(SeqCst), 1);
        assert_eq!(lab.stats().requests - before, u64::from(want == 200));
        if want != 200 {
            assert_eq!(reply.json()["error"]["message"], "their words");
        }
    }
}

#[test]
fn a_refused_key_of_the_only_provider_reaches_the_caller_at_once() {
    let (only, asked) = answering(401, "", "their words");
    let gateway = Gateway::start(&openai(&[(only.address, "")]));
    let reply = chat(&gateway, "m");
    assert_eq!((reply.status, asked.load(SeqCst)), (401, 1));
    assert_eq!(reply.json()["error"]["message"], "their words");
}

#[test]
fn statuses_that_pass_are_repeated_at_another_provider() {
    for status in [408, 429, 500, 502, 503, 504, 529] {
        let (first, asked) = answering(status, "", "busy");
        let lab = spawn_provider(ProviderOptions::default()).unwrap();
        let gateway = Gateway::start(&openai(&[(first.address, ""), (lab.addr, ", priority: 1")]));
        assert_eq!(chat(&gateway, "lab-echo").status, 200, "after {status}");
        assert_eq!((asked.load(SeqCst), lab.stats().requests), (1, 1));
    }
}

#[test]
fn when_all_fail_the_last_ones_own_words_reach_the_caller() {
    let (first, _) = answering(500, "", "words of the first");
    let (second, _) = answering(503, "X-Their-Field: 7\r\n", "words of the second");
    let gateway = Gateway::start(&format!(
        "retry: {{ attempts: 2 }}\n{}",
        openai(&[(first.address, ""), (second.address, ", priority: 1")])
    ));
    let reply = chat(&gateway, "m");
    assert_eq!(reply.status, 503);
    assert_eq!(
        reply.text(),
        r#"{"error": {"message": "words of the second", "type": "t", "code": "c"}}"#
    );
    assert_eq!(reply.field("x-their-field"), Some("7"));
    assert_eq!(reply.field("x-tidegate-reason"), Some("upstream_status"));
}

#[test]
fn attempts_are_bounded() {
    let providers: Vec<_> = (0..6).map(|_| answering(500, "", "no")).collect();
    let list: Vec<_> = providers.iter().map(|(provider, _)| (provider.address, "")).collect();
    for attempts in [1, 3] {
        let gateway =
            Gateway::start(&format!("retry: {{ attempts: {attempts} }}\n{}", openai(&list)));
        let asked = || providers.iter().map(|(_, asked)| asked.load(SeqCst)).sum::<usize>();
        let before = asked();
        assert_eq!(chat(&gateway, "m").status, 500);
        assert_eq!(asked() - before, attempts);
        let retries = gateway.metric("tidegate_retries_total", "");
        assert_eq!(retries, attempts as f64 - 1.0);
    }
}

#[test]
fn the_retry_budget_bounds_what_a_failing_provider_gets() {
    let (first, asked) = answering(500, "", "no");
    let (second, asked_too) = answering(500, "", "no");
    let gateway = Gateway::start(&format!(
        "shards: 1\nretry: {{ attempts: 10, budget_percent: 20, budget_min_per_second: 0, \
         cooldown: {{ failures: 1000 }}, delay: 1ms, delay_max: 1ms }}\n{}",
        openai(&[(first.address, ""), (second.address, "")])
    ));
    let mut connection = Connection::open(gateway.address);
    for _ in 0..500 {
        assert_eq!(connection.send(&CHAT.whole("m")).reply().status, 500);
    }
    let retries = gateway.metric("tidegate_retries_total", "");
    let denied = gateway.metric("tidegate_retries_denied_total", "");
    let asked = asked.load(SeqCst) + asked_too.load(SeqCst);
    println!("500 requests: {retries} retries, {denied} denied, {asked} asked for");
    // A fifth of the requests, and the 100 that the bucket holds at first.
    assert!((100.0..=201.0).contains(&retries), "{retries}");
    assert_eq!(asked, 500 + retries as usize);
    assert!(denied > 0.0);
}

/// Answers 429 with this Retry-After once, then well.
fn busy_once(seconds: &'static str) -> (Scripted, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let provider = Scripted::start(move |_, peer| {
        while peer.request().is_some() {
            if counter.fetch_add(1, SeqCst) > 0 {
                peer.send(json_reply(200, "{}"));
                continue;
            }
            let reply =
                String::from_utf8(json_reply(429, r#"{"error":{"message":"later"}}"#)).unwrap();
            peer.send(reply.replacen("\r\n", &format!("\r\nRetry-After: {seconds}\r\n"), 1));
        }
    });
    (provider, asked)
}

#[test]
fn a_retry_after_within_the_bound_is_waited_for() {
    let (provider, asked) = busy_once("1");
    let gateway = Gateway::start(&format!(
        "retry: {{ delay: 10ms, delay_max: 2s }}\n{}",
        openai(&[(provider.address, "")])
    ));
    let began = Instant::now();
    let reply = chat(&gateway, "m");
    assert_eq!((reply.status, asked.load(SeqCst)), (200, 2));
    // The clock of the gateway ticks coarsely; it may not be early by more than a tick or two.
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
}

#[test]
fn a_retry_after_beyond_the_bound_is_the_callers_to_see() {
    let (provider, asked) = busy_once("3");
    let gateway = Gateway::start(&format!(
        "retry: {{ delay: 10ms, delay_max: 2s }}\n{}",
        openai(&[(provider.address, "")])
    ));
    let reply = chat(&gateway, "m");
    assert_eq!((reply.status, asked.load(SeqCst)), (429, 1));
    assert_eq!(reply.field("retry-after"), Some("3"));
    assert_eq!(reply.json()["error"]["message"], "later");
}

#[test]
fn a_caller_that_goes_during_a_pause_is_not_retried_for() {
    let (provider, asked) = busy_once("15");
    let gateway = Gateway::start(&format!(
        "retry: {{ delay_max: 20s }}\n{}",
        openai(&[(provider.address, "")])
    ));
    let mut connection = Connection::open(gateway.address);
    connection.send(&CHAT.whole("m"));
    tidegate_scenario::until("the pause begins", || {
        (gateway.metric("tidegate_retries_total", "") == 1.0).then_some(())
    });
    drop(connection);
    tidegate_scenario::until("nothing is in flight", || {
        (gateway.metric("tidegate_requests_in_flight", "") == 0.0).then_some(())
    });
    assert_eq!(asked.load(SeqCst), 1);
}
