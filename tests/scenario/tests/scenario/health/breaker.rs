//! The breaker of a whole upstream.

use tidegate_scenario::gate::Gate;
use tidegate_scenario::http::{Connection, get};
use tidegate_scenario::origin::{Answer, Origin};
use tidegate_scenario::until;

use super::{Moody, before};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_breaker_opens_refuses_and_closes_after_a_good_trial() {
    let moody = Moody::start(500);
    let breaker = "breaker: { errors_percent: 50, min_requests: 4, window: 1h, open: 300ms }";
    let gateway = before(&[moody.origin.address], breaker, "");
    for _ in 0..4 {
        assert_eq!(get(gateway.address, "/").status, 500);
    }
    let refused = get(gateway.address, "/");
    assert_eq!(refused.status, 503);
    assert_eq!(refused.field("x-tidegate-reason"), Some("breaker_open"));
    assert!(refused.field("retry-after").is_some());
    assert_eq!(gateway.metric("tidegate_breaker_opened_total", ""), 1.0);
    assert_eq!(gateway.metric("tidegate_breaker_state", "state=\"open\""), 1.0);
    moody.says(200);
    until("the trial is made", || (get(gateway.address, "/").status == 200).then_some(()));
    assert_eq!(gateway.metric("tidegate_breaker_state", "state=\"closed\""), 1.0);
    for _ in 0..5 {
        assert_eq!(get(gateway.address, "/").status, 200);
    }
}

#[test]
fn no_more_requests_than_the_breaker_allows_are_in_flight() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        held.pass();
        Answer::ok("ok")
    });
    let gateway = before(&[origin.address], "breaker: { requests: 2 }", "");
    let mut waiting = [Connection::open(gateway.address), Connection::open(gateway.address)];
    for connection in &mut waiting {
        connection.send(GET);
    }
    until("both are there", || (origin.connections() == 2).then_some(()));
    let refused = get(gateway.address, "/");
    assert_eq!(refused.status, 503);
    assert_eq!(refused.field("x-tidegate-reason"), Some("breaker_open"));
    gate.open();
    for connection in &mut waiting {
        assert_eq!(connection.reply().status, 200);
    }
    // Their places are free again.
    until("the next one passes", || (get(gateway.address, "/").status == 200).then_some(()));
}
