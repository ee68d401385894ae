//! The load generator against the lab's own servers: its counts must be theirs.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use support::wait_until;
use tidegate_lab::load::{
    LoadError, LoadMode, LoadOptions, LoadPhase, LoadProgress, run, run_watched,
};
use tidegate_lab::origin::{OriginOptions, spawn_origin};
use tidegate_lab::provider::{ProviderOptions, spawn_provider};
use tidegate_lab::report::LoadReport;

fn chat(url: &str, model: &str, stream: bool) -> LoadOptions {
    let body = format!(
        r#"{{"model":"{model}","stream":{stream},"messages":[{{"role":"user","content":"one two three"}}]}}"#
    );
    LoadOptions {
        method: "POST".to_owned(),
        body: body.into_bytes(),
        headers: vec![("authorization".to_owned(), "Bearer k".to_owned())],
        // Counts end these runs, not the clock.
        duration: Duration::from_mins(10),
        ..LoadOptions::new(format!("{url}/v1/chat/completions"))
    }
}

#[test]
fn requests_are_counted_as_the_provider_counts_them() {
    let provider = spawn_provider(ProviderOptions::default()).unwrap();
    for threads in [1, 3] {
        let before = provider.stats();
        let options = LoadOptions {
            connections: 10,
            count: Some(1000),
            threads,
            ..chat(&provider.url(), "lab-echo", false)
        };
        let report = run(&options).unwrap();
        let stats = provider.stats();
        assert_eq!((report.started, report.finished, report.failed), (1000, 1000, 0));
        assert_eq!(report.by_status[&200], stats.completed - before.completed);
        assert_eq!(report.connections_made, stats.connections - before.connections);
        assert_eq!(report.latency.count, 1000);
        assert!(report.body_bytes > 1000 * 300);
    }
}

#[test]
fn statuses_and_failures_are_told_apart() {
    let provider = spawn_provider(ProviderOptions::default()).unwrap();
    let with = |model: &str| LoadOptions {
        connections: 2,
        count: Some(6),
        timeout: Duration::from_millis(300),
        ..chat(&provider.url(), model, false)
    };
    let flaky = run(&with("lab-flaky-3")).unwrap();
    assert_eq!((flaky.by_status[&200], flaky.by_status[&500]), (4, 2));
    let cut = run(&with("lab-cut")).unwrap();
    assert_eq!((cut.failed, cut.errors["cut"], cut.connections_made), (6, 6, 6));
    assert_eq!(cut.latency.count, 0);
    let stalled = run(&with("lab-stall")).unwrap();
    assert_eq!(stalled.errors["timeout"], 6);
    let stats = wait_until(|| provider.stats(), |stats| stats.open == 0);
    assert_eq!((stats.cut, stats.cancelled), (6, 6));
}

#[test]
fn a_target_that_refuses_is_counted_as_connect() {
    let origin = spawn_origin(&OriginOptions::default()).unwrap();
    let url = format!("http://{}/small", origin.addr);
    origin.stop();
    let options = LoadOptions { connections: 1, count: Some(2), ..LoadOptions::new(url) };
    assert_eq!(run(&options).unwrap().errors["connect"], 2);
}

#[test]
fn streams_count_every_event_and_measure_first_and_gaps() {
    let provider = spawn_provider(ProviderOptions::default()).unwrap();
    let mut options = LoadOptions {
        mode: LoadMode::Streams,
        connections: 8,
        count: Some(16),
        ..chat(&provider.url(), "lab-tokens-20", true)
    };
    options.url.push_str("?x-lab-interval-ms=1");
    let report = run(&options).unwrap();
    let streams = report.streams.unwrap();
    // Role, twenty tokens, finish, [DONE].
    assert_eq!(streams.events, 16 * 23);
    assert_eq!(streams.first_event.count, 16);
    assert!(streams.gap.count >= 16, "{}", streams.gap.count);
    assert_eq!(provider.stats().completed, 16);
}

#[test]
fn streams_are_broken_off_at_the_end_of_the_run() {
    let provider = spawn_provider(ProviderOptions::default()).unwrap();
    let options = LoadOptions {
        mode: LoadMode::Streams,
        connections: 5,
        duration: Duration::from_millis(300),
        ..chat(&provider.url(), "lab-stall", true)
    };
    let report = run(&options).unwrap();
    assert_eq!((report.started, report.unfinished, report.failed), (5, 5, 0));
    assert_eq!(wait_until(|| provider.stats(), |stats| stats.open == 0).cancelled, 5);
}

#[test]
fn idle_connections_are_all_open_while_they_are_held() {
    let provider = spawn_provider(ProviderOptions::default()).unwrap();
    let options = LoadOptions {
        mode: LoadMode::Idle { hold: Duration::from_secs(1) },
        connections: 250,
        threads: 2,
        ..LoadOptions::new(format!("{}/v1/models", provider.url()))
    };
    let progress = Arc::new(LoadProgress::default());
    let watched = Arc::clone(&progress);
    let load = std::thread::spawn(move || run_watched(&options, &watched).unwrap());
    wait_until(|| progress.phase(), |phase| *phase >= LoadPhase::Holding);
    assert_eq!(provider.stats().connections, 250);
    let report = load.join().unwrap();
    let idle = report.idle.unwrap();
    assert_eq!((idle.held, idle.lost, idle.awakened.count), (250, 0, 3));
    assert_eq!((report.finished, report.connections_made), (253, 250));
    assert_eq!(progress.open_count(), 0);
}

#[test]
fn held_connections_that_the_server_closes_are_lost() {
    let origin = spawn_origin(&OriginOptions::default()).unwrap();
    let options = LoadOptions {
        mode: LoadMode::Idle { hold: Duration::from_secs(1) },
        connections: 4,
        ..LoadOptions::new(format!("http://{}/small", origin.addr))
    };
    let progress = Arc::new(LoadProgress::default());
    let watched = Arc::clone(&progress);
    let load = std::thread::spawn(move || run_watched(&options, &watched).unwrap());
    wait_until(|| progress.open_count(), |open| *open == 4);
    origin.stop();
    let idle = load.join().unwrap().idle.unwrap();
    assert_eq!((idle.held, idle.lost), (0, 4));
}

#[test]
fn only_loopback_is_a_target_unless_owned() {
    // TEST-NET-1 (RFC 5737): nobody's. Nothing is sent.
    let refused = run(&LoadOptions::new("http://192.0.2.1/")).unwrap_err();
    assert!(matches!(refused, LoadError::NotLoopback { .. }));
    assert!(refused.to_string().contains("--i-own-this-target"), "{refused}");
}

#[test]
fn unusable_options_are_refused_with_the_reason() {
    let origin = spawn_origin(&OriginOptions::default()).unwrap();
    let url = format!("http://{}/", origin.addr);
    for bad in [
        "ftp://127.0.0.1/",
        "127.0.0.1:80",
        "http://",
        "http://u@127.0.0.1/",
        "http://127.0.0.1/a b",
    ] {
        assert!(matches!(run(&LoadOptions::new(bad)), Err(LoadError::Url { .. })), "{bad}");
    }
    let good = LoadOptions::new(&url);
    let header = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    for (option, options) in [
        ("connections", LoadOptions { connections: 0, ..good.clone() }),
        ("connections", LoadOptions { connections: 200_001, ..good.clone() }),
        ("threads", LoadOptions { threads: 65, ..good.clone() }),
        ("duration", LoadOptions { duration: Duration::MAX, ..good.clone() }),
        ("timeout", LoadOptions { timeout: Duration::ZERO, ..good.clone() }),
        ("method", LoadOptions { method: "GET /".to_owned(), ..good.clone() }),
        ("header", LoadOptions { headers: header("a", "b\r\nc: d"), ..good.clone() }),
        ("header", LoadOptions { headers: header("a b", "c"), ..good.clone() }),
    ] {
        match run(&options) {
            Err(LoadError::Option { option: named, .. }) => assert_eq!(named, option),
            other => panic!("{option}: {other:?}"),
        }
    }
}

#[test]
fn sources_are_spread_when_asked() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, peer) = listener.accept().unwrap();
        stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        peer
    });
    let options = LoadOptions {
        connections: 1,
        count: Some(1),
        spread_sources: true,
        ..LoadOptions::new(format!("http://{addr}"))
    };
    assert_eq!(run(&options).unwrap().by_status[&204], 1);
    assert_eq!(server.join().unwrap().ip().to_string(), "127.0.0.2");
}

#[test]
fn a_report_survives_json_and_draws_itself() {
    let origin = spawn_origin(&OriginOptions::default()).unwrap();
    let url = format!("http://{}/small?<script>&x", origin.addr);
    let options = LoadOptions { connections: 4, count: Some(400), ..LoadOptions::new(url) };
    let report = run(&options).unwrap();
    let read: LoadReport = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!((read.finished, &read.latency.curve), (400, &report.latency.curve));
    let html = report.to_html();
    assert!(html.contains("<polyline points=\"") && html.ends_with("</body></html>\n"));
    assert!(!html.contains("<script") && html.contains("&lt;script&gt;&amp;x"));
    for loaded in ["src=", "href=", "@import", "url("] {
        assert!(!html.contains(loaded), "{loaded}");
    }
    let times = &report.latency;
    assert_eq!(times.curve.last(), Some(&(1.0, times.max_us)));
    assert!(times.min_us <= times.p50_us && times.p50_us <= times.p99_us);
    assert!(times.p99_us <= times.p999_us && times.p999_us <= times.max_us);
}

#[test]
fn an_empty_report_draws_without_times() {
    let origin = spawn_origin(&OriginOptions::default()).unwrap();
    let url = format!("http://{}/small", origin.addr);
    let options = LoadOptions { connections: 1, count: Some(0), ..LoadOptions::new(url) };
    let report = run(&options).unwrap();
    assert_eq!((report.started, report.latency.count), (0, 0));
    assert!(!report.to_html().contains("NaN") && !report.to_html().contains("inf"));
}
