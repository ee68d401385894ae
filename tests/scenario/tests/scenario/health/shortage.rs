//! The gateway's machine lacks something: no endpoint is to blame.

use tidegate_scenario::gate::Gate;
use tidegate_scenario::gateway::{Gateway, KEY};
use tidegate_scenario::http::{Connection, Reply, llm_call};
use tidegate_scenario::http2_origin::{Http2Origin, Options};
use tidegate_scenario::origin::{Answer, Origin};
use tidegate_scenario::until;

use super::before;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Below the standard streams: nothing can be opened.
const NOTHING: Option<u64> = Some(3);

/// Connections that the gateway has accepted.
fn accepted(gateway: &Gateway, count: usize) -> Vec<Connection> {
    let mut callers: Vec<_> = (0..count).map(|_| Connection::open(gateway.address)).collect();
    for caller in &mut callers {
        let reply = caller.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").reply();
        assert_eq!(reply.status, 200);
    }
    callers
}

#[track_caller]
fn lacks_a_socket(reply: &Reply) {
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert_eq!(reply.field("x-tidegate-reason"), Some("no_socket"));
    assert!(reply.field("retry-after").is_some());
}

#[test]
fn without_descriptors_callers_are_told_and_no_endpoint_is_blamed() {
    let origins = [Origin::plain(), Origin::plain()];
    let addresses = [origins[0].address, origins[1].address];
    let mut gateway = before(&addresses, "outlier: { consecutive_errors: 1 }", "shards: 1");
    let mut callers = accepted(&gateway, 8);
    gateway.limit_files(NOTHING);
    for caller in &mut callers {
        lacks_a_socket(&caller.send(GET).reply());
    }
    gateway.logged("cannot connect for a shortage of ours");
    // Who comes now waits until there is a place.
    let mut late = Connection::open(gateway.address);
    late.send(GET);
    gateway.logged("cannot accept");
    gateway.limit_files(None);
    assert_eq!(late.reply().status, 200);
    for caller in &mut callers {
        assert_eq!(caller.send(GET).reply().status, 200);
    }
    assert_eq!(gateway.metric("tidegate_upstream_admitting", ""), 2.0);
    assert_eq!(gateway.metric("tidegate_upstream_ejections_total", ""), 0.0);
    assert_eq!(gateway.metric("tidegate_upstream_failures_total", ""), 0.0);
    assert_eq!(gateway.metric("tidegate_ended_total", "reason=\"no_socket\""), 8.0);
    assert!(gateway.metric("tidegate_accept_errors_total", "") >= 1.0);
}

#[test]
fn the_callers_of_models_are_told_in_their_dialect() {
    let origin = Origin::start(|_| Answer::ok("{}"));
    let gateway = Gateway::start(&format!(
        "shards: 1\nproviders:\n  \
         o: {{ dialect: openai, base_url: http://{0}/v1, api_key: none }}\n  \
         a: {{ dialect: anthropic, base_url: http://{0}, api_key: none }}\n",
        origin.address
    ));
    let mut callers = accepted(&gateway, 2);
    gateway.limit_files(NOTHING);
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":5}"#;
    let calls = [("/v1/chat/completions", "/error/code"), ("/v1/messages", "/error/type")];
    let reasons = calls.iter().zip(&mut callers).map(|((path, pointer), caller)| {
        let reply = caller.send(&llm_call(path, KEY, body)).reply();
        lacks_a_socket(&reply);
        reply.json().pointer(pointer).and_then(|told| told.as_str()).map(str::to_owned)
    });
    let reasons: Vec<_> = reasons.map(Option::unwrap_or_default).collect();
    assert_eq!(reasons, ["no_socket", "overloaded_error"]);
    gateway.limit_files(None);
    for ((path, _), caller) in calls.iter().zip(&mut callers) {
        assert_eq!(caller.send(&llm_call(path, KEY, body)).reply().status, 200);
    }
    assert_eq!(gateway.metric("tidegate_upstream_admitting", ""), 2.0);
}

#[test]
fn connections_of_http2_that_cannot_be_opened_blame_nobody_either() {
    let origins = [Http2Origin::start(Options::default()), Http2Origin::start(Options::default())];
    let addresses = [origins[0].address, origins[1].address];
    let more = "outlier: { consecutive_errors: 1 }\n    protocol: http2";
    let gateway = before(&addresses, more, "shards: 1");
    let mut callers = accepted(&gateway, 4);
    gateway.limit_files(NOTHING);
    for caller in &mut callers {
        lacks_a_socket(&caller.send(GET).reply());
    }
    gateway.limit_files(None);
    for caller in &mut callers {
        assert_eq!(caller.send(GET).reply().status, 200);
    }
    assert_eq!(gateway.metric("tidegate_upstream_ejections_total", ""), 0.0);
}

#[test]
fn a_second_attempt_without_a_socket_does_not_end_the_first() {
    let gate = Gate::default();
    let held = gate.clone();
    let slow = move |_: &_| {
        held.pass();
        Answer::ok("slow")
    };
    let origins = [Origin::start(slow.clone()), Origin::start(slow)];
    let mut gateway = Gateway::start(&format!(
        "upstreams: {{ app: {{ endpoints: [http://{}, http://{}] }} }}\n\
         routes: [{{ path: /, upstream: app, hedge: {{ after: 400ms }} }}]\nshards: 1\n",
        origins[0].address, origins[1].address
    ));
    let mut callers = accepted(&gateway, 1);
    callers[0].send(GET);
    let asked = || origins.iter().map(Origin::connections).sum::<usize>();
    until("the first is asked", || (asked() == 1).then_some(()));
    gateway.limit_files(NOTHING);
    gateway.logged("cannot connect for a shortage of ours");
    gate.open();
    assert_eq!(callers[0].reply().text(), "slow");
    gateway.limit_files(None);
    assert_eq!(asked(), 1);
}

#[test]
fn health_checks_that_cannot_be_made_change_no_verdict() {
    let origins = [Origin::plain(), Origin::plain()];
    let addresses = [origins[0].address, origins[1].address];
    let checks = "health: { interval: 1s, timeout: 1s, failures: 1 }";
    let mut gateway = before(&addresses, checks, "shards: 1");
    let asked = || origins.iter().all(|origin| origin.requests().len() >= 2);
    until("both are checked", || asked().then_some(()));
    gateway.limit_files(NOTHING);
    gateway.logged("health checks cannot be made");
    gateway.limit_files(None);
    assert_eq!(gateway.metric("tidegate_upstream_admitting", ""), 2.0);
    assert_eq!(gateway.metric("tidegate_upstream_ejections_total", ""), 0.0);
}
