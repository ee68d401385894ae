//! SIGTERM: what runs may end, what is idle is closed, a second one does not wait.

use rustix::process::Signal;
use tidegate_lab::provider::{ProviderOptions, spawn_provider};
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::{Connection, get};
use tidegate_scenario::until;

use super::{provider, stream};

#[track_caller]
fn until_draining(gateway: &Gateway) {
    until("it drains", || {
        let reply = get(gateway.address, "/health");
        (reply.status == 503 && reply.text() == r#"{"status":"draining"}"#).then_some(())
    });
}

#[test]
fn a_stream_ends_well_during_a_drain_and_the_process_exits_with_0() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let mut gateway = Gateway::start(&provider(lab.addr));
    let mut idle = Connection::open(gateway.address);
    idle.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(idle.reply().status, 200);
    let mut running = stream(gateway.address, 60, 25);
    gateway.signal(Signal::TERM);
    until_draining(&gateway);
    assert_eq!(idle.rest(), b"", "an idle connection is closed");
    assert_eq!(gateway.status()["current_connections"], 1);
    let reply = running.reply();
    assert!(reply.complete && reply.text().ends_with("data: [DONE]\n\n"), "{}", reply.text());
    assert_eq!(running.rest(), b"", "and closed behind the stream");
    assert_eq!(gateway.ended(), Some(0));
    assert_eq!((lab.stats().completed, lab.stats().cancelled), (1, 0));
}

#[test]
fn a_request_during_a_drain_is_answered_and_told_to_close() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let mut gateway = Gateway::start(&provider(lab.addr));
    let mut running = stream(gateway.address, 60, 25);
    gateway.signal(Signal::TERM);
    until_draining(&gateway);
    let mut late = Connection::open(gateway.address);
    let body = r#"{"model":"lab-echo","messages":[{"role":"user","content":"late"}]}"#;
    let call = tidegate_scenario::http::llm_call(
        "/v1/chat/completions",
        tidegate_scenario::gateway::KEY,
        body,
    );
    let reply = late.send(&call).reply();
    assert_eq!((reply.status, reply.field("connection")), (200, Some("close")));
    assert!(running.reply().complete);
    assert_eq!(gateway.ended(), Some(0));
}

#[test]
fn a_second_signal_stops_at_once() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let mut gateway = Gateway::start(&provider(lab.addr));
    // An hour of tokens: only the second signal can end this.
    let mut running = stream(gateway.address, 100_000, 36);
    gateway.signal(Signal::TERM);
    until_draining(&gateway);
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.ended(), Some(0));
    assert!(!running.reply().complete, "a stream that was cut does not look whole");
    until("the provider is told", || (lab.stats().open == 0).then_some(()));
}

#[test]
fn a_drain_that_takes_too_long_ends_all_the_same() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let mut gateway =
        Gateway::start(&format!("{}timeouts: {{ drain: 300ms }}\n", provider(lab.addr)));
    let mut running = stream(gateway.address, 100_000, 36);
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.ended(), Some(0));
    assert!(!running.reply().complete);
}

#[test]
fn an_idle_gateway_stops_soon_on_sigint_too() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let mut gateway = Gateway::start(&provider(lab.addr));
    gateway.signal(Signal::INT);
    assert_eq!(gateway.ended(), Some(0));
}
