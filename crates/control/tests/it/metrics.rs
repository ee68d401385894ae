//! The metrics page, read as a monitoring system reads it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use tidegate_snapshot::Reason;

use crate::stand::{PATIENCE, PLAIN, get, shared, start};

/// Samples by name and labels. Panics at anything that is not OpenMetrics text.
fn parse(page: &str) -> BTreeMap<String, f64> {
    let body = page.strip_suffix("# EOF\n").expect("the page ends with # EOF");
    let mut samples = BTreeMap::new();
    let mut family = (String::new(), String::new());
    for line in body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            assert!(help.split_once(' ').is_some_and(|(_, text)| !text.is_empty()), "{line}");
            continue;
        }
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            family = (name.to_owned(), kind.to_owned());
            continue;
        }
        assert!(!line.starts_with('#'), "{line}");
        let (set, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = set.split_once('{').map_or((set, ""), |(name, rest)| {
            (name, rest.strip_suffix('}').expect("labels end with a brace"))
        });
        let suffix = name.strip_prefix(&family.0).expect("samples follow their family");
        let allowed: &[&str] = match family.1.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            _ => &["_sum", "_count", "_bucket"],
        };
        assert!(allowed.contains(&suffix), "{line}");
        check_labels(labels, line);
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(value.is_finite(), "{line}");
        assert!(samples.insert(set.to_owned(), value).is_none(), "twice: {line}");
    }
    samples
}

/// `name="text",…` where the text has its quotes, backslashes and line ends escaped.
fn check_labels(labels: &str, line: &str) {
    let mut rest = labels;
    while !rest.is_empty() {
        let (name, quoted) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
        let mut escaped = false;
        let end = quoted.find(|c: char| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let after = &quoted[end.unwrap_or_else(|| panic!("{line}")) + 1..];
        rest = after.strip_prefix(',').unwrap_or(after);
        assert!(after.is_empty() || after.starts_with(','), "{line}");
    }
}

#[test]
fn every_line_parses_and_the_numbers_are_the_cells_summed() {
    let shared = shared(PLAIN);
    let live = &shared.live;
    let route = live.route("/");
    for shard in 0..2 {
        route.cells.of(shard).replies[1].add(3);
        route.cells.of(shard).reply_bytes.add(1_000);
        route.cells.of(shard).duration.observe_us(2_000);
        live.shards.of(shard).ended[Reason::Busy as usize].add(5);
    }
    route.cells.of(0).replies[5].add(1);
    route.cells.of(0).duration.observe_us(400_000_000);
    let model = live.model("odd \"name\" \\ \n *");
    model.cells.of(1).input_tokens.add(7);
    model.cells.of(1).first_token.observe_us(30_000);
    let endpoint = live.endpoint("http://127.0.0.1:9");
    endpoint.cells.of(0).attempts.add(2);
    endpoint.cells.of(1).failures[Reason::ConnectFailed as usize].add(2);
    endpoint.in_flight.store(4, Relaxed);
    endpoint.health.checked(true, 0);
    live.shards.of(1).lag_us.store(1_500, Relaxed);
    let (control, admin) = start(&shared);
    let reply = get(admin, "/metrics");
    assert!(
        reply.head.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{}",
        reply.head
    );
    let samples = parse(&reply.body);
    let expect = |set: &str, value: f64| {
        let found = samples.get(set).copied();
        assert!(found.is_some_and(|found| (found - value).abs() < 1e-9), "{set}: {found:?}");
    };
    expect("tidegate_requests_total{route=\"/\",class=\"2xx\"}", 6.0);
    expect("tidegate_requests_total{route=\"/\",class=\"none\"}", 1.0);
    expect("tidegate_requests_total{route=\"/\",class=\"5xx\"}", 0.0);
    expect("tidegate_reply_bytes_total{route=\"/\"}", 2_000.0);
    expect("tidegate_request_duration_seconds_count{route=\"/\"}", 3.0);
    expect("tidegate_request_duration_seconds_sum{route=\"/\"}", 400.004);
    expect("tidegate_request_duration_seconds_bucket{le=\"0.001\",route=\"/\"}", 0.0);
    expect("tidegate_request_duration_seconds_bucket{le=\"0.0025\",route=\"/\"}", 2.0);
    expect("tidegate_request_duration_seconds_bucket{le=\"300.0\",route=\"/\"}", 2.0);
    expect("tidegate_request_duration_seconds_bucket{le=\"+Inf\",route=\"/\"}", 3.0);
    expect("tidegate_ended_total{reason=\"busy\"}", 10.0);
    expect("tidegate_ended_total{reason=\"client_gone\"}", 0.0);
    expect("tidegate_tokens_total{model=\"odd \\\"name\\\" \\\\ \\n *\",kind=\"input\"}", 7.0);
    expect("tidegate_upstream_attempts_total{endpoint=\"http://127.0.0.1:9\"}", 2.0);
    expect(
        "tidegate_upstream_failures_total{endpoint=\"http://127.0.0.1:9\",reason=\"connect_failed\"}",
        2.0,
    );
    expect("tidegate_upstream_in_flight{endpoint=\"http://127.0.0.1:9\"}", 4.0);
    expect("tidegate_upstream_admitting{endpoint=\"http://127.0.0.1:9\"}", 0.0);
    expect("tidegate_shard_lag_seconds{shard=\"1\"}", 0.0015);
    expect("tidegate_connections_limit", 10_000.0);
    expect("tidegate_config_generation", 1.0);
    expect("tidegate_draining", 0.0);
    expect(&format!("tidegate_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1.0);
    assert!(samples["tidegate_open_files"] > 3.0);
    control.stop();
}

#[test]
fn an_endpoint_label_holds_no_credential() {
    let text = "\
admin: { bind: 127.0.0.1:0, token: admin-token-of-the-test }
callers: [{ name: dev, key: sk-caller-secret-1 }]
providers:
  p:
    dialect: openai
    base_url: http://127.0.0.1:9/v1
    api_key: sk-provider-secret-2
    egress: socks5://user-3:egress-secret-3@127.0.0.1:9
";
    let (control, admin) = start(&shared(text));
    let page = get(admin, "/metrics").body;
    assert!(page.contains("endpoint=\"p=http://127.0.0.1:9@127.0.0.1:9\""), "{page}");
    for secret in ["secret", "user-3"] {
        assert!(!page.contains(secret), "{secret} in {page}");
    }
    control.stop();
}

#[test]
fn more_names_than_a_metric_may_have_still_parse() {
    let shared = shared(PLAIN);
    for number in 0..1_200 {
        shared.live.model(&format!("model-{number}")).cells.of(0).requests.add(1);
    }
    let (control, admin) = start(&shared);
    let samples = parse(&get(admin, "/metrics").body);
    let sets: Vec<_> = samples
        .iter()
        .filter(|(set, _)| set.starts_with("tidegate_model_requests_total"))
        .collect();
    assert_eq!(sets.len(), 1_000);
    assert!((sets.iter().map(|(_, value)| **value).sum::<f64>() - 1_200.0).abs() < 1e-9);
    assert!((samples["tidegate_model_requests_total{model=\"other\"}"] - 201.0).abs() < 1e-9);
    control.stop();
}

#[test]
fn memory_and_the_rate_of_ended_exchanges_are_sampled() {
    let shared = shared(PLAIN);
    let (control, admin) = start(&shared);
    let until = Instant::now() + PATIENCE;
    loop {
        // Exchanges that begin and are over at once.
        shared.live.shards.of(0).requests.add(10_000);
        let memory = parse(&get(admin, "/metrics").body)["tidegate_memory_bytes"];
        if memory > 1e6 && shared.live.gauges.ended_per_second.load(Relaxed) > 0 {
            break;
        }
        assert!(Instant::now() < until, "nothing was sampled");
    }
    control.stop();
}
