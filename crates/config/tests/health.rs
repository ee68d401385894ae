//! Problems of health checks, outliers, breakers, hedges and resolvers, as the operator reads them.

#![allow(clippy::unwrap_used)]

use tidegate_config::{Problems, load};

fn report(text: &str) -> String {
    match load(text, "t.yaml", &|_: &str| None) {
        Ok(loaded) => Problems(loaded.warnings).to_string(),
        Err(problems) => problems.to_string(),
    }
}

#[test]
fn bad_health_settings_are_reported_all_at_once() {
    insta::assert_snapshot!(report("\
upstreams:
  a:
    endpoints: [http://h]
    health: { successes: 0, status: [99, 200, ok] }
    outlier: { consecutive_errors: 1001, ejection: 1m, ejection_max: 30s, eject: 5 }
    panic_threshold: 101
    breaker: { requests: 0, window: 0s, min_requests: 0 }
  b: { endpoints: [http://i], health: { tcp: true, path: /up, status: [200] } }
routes:
  - { path: /a, upstream: a, hedge: { after: 0s } }
  - { path: /b, upstream: b, hedge: {} }
resolver: { servers: [127.0.0.1:53, localhost, 127.0.0.1:53] }
"), @r#"
    t.yaml:4:26: upstreams.a.health.successes: 0 is outside 1 to 1000
    t.yaml:4:38: upstreams.a.health.status[0]: 99 is outside 200 to 599
    t.yaml:4:47: upstreams.a.health.status[2]: "ok" is not a whole number
    t.yaml:5:36: upstreams.a.outlier.consecutive_errors: 1001 is outside 0 to 1000
    t.yaml:5:70: upstreams.a.outlier.ejection_max: must not be less than the first ejection
    t.yaml:5:75: upstreams.a.outlier.eject: unknown key; known here: consecutive_errors, ejected_percent_max, ejection, ejection_max, error_percent, interval, min_requests
    t.yaml:6:22: upstreams.a.panic_threshold: 101 is outside 0 to 100
    t.yaml:7:26: upstreams.a.breaker.requests: 0 is outside 1 to 1000000
    t.yaml:7:37: upstreams.a.breaker.window: must be more than zero
    t.yaml:7:55: upstreams.a.breaker.min_requests: 0 is outside 1 to 1000000
    t.yaml:10:46: routes[0].hedge.after: must be more than zero
    t.yaml:11:37: routes[1].hedge.after: is missing
    t.yaml:12:37: resolver.servers[1]: "localhost" is not an IP address and a port, such as 127.0.0.1:8080, 0.0.0.0:8080 or [::]:8080
    t.yaml:12:48: resolver.servers[2]: the same server as resolver.servers[0]
    "#);
}

#[test]
fn a_tcp_check_says_what_it_does_not_look_at() {
    insta::assert_snapshot!(report("\
upstreams:
  b: { endpoints: [http://i], health: { tcp: true, path: /up, status: [200] } }
routes: [{ path: /b, upstream: b }]
"), @r#"
    t.yaml:2:58: upstreams.b.health.path: is not asked for: a TCP check only connects
    t.yaml:2:71: upstreams.b.health.status: is not looked at: a TCP check only connects
    "#);
}

#[test]
fn llm_routes_are_not_hedged() {
    insta::assert_snapshot!(report("\
providers: { local: { dialect: openai, base_url: http://127.0.0.1:1/v1, api_key: none } }
allow_anonymous: true
routes: [{ path: /v1/, llm: true, hedge: { after: 1s } }]
"), @"t.yaml:3:42: routes[0].hedge: LLM requests have bodies and are not hedged");
}
