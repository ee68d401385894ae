//! Replies with a status that is repeated (`retry.on`): another endpoint is asked while the caller has
//! seen nothing.

use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::{Connection, Reply};
use tidegate_scenario::origin::{Answer, Origin};
use tidegate_scenario::until;

use super::{Moody, before};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// No endpoint is ejected, so that each has its turn.
const IN_TURN: &str = "outlier: { consecutive_errors: 0 }";

const REPEATED: &str = "shards: 1\nretry: { on: [502, 503, 504] }";

/// An origin that answers everything with these bytes.
fn saying(text: impl Into<String>) -> Origin {
    let text = text.into();
    Origin::start(move |_| Answer::keep(text.clone()))
}

/// A reply of this status, with a field and a body that tell it apart.
fn unwell(status: u16, name: &str) -> String {
    format!(
        "HTTP/1.1 {status} Unwell\r\nContent-Length: {}\r\nX-Who: {name}\r\nRetry-After: 60\r\n\r\n{name}",
        name.len()
    )
}

fn asked(origins: &[Origin]) -> usize {
    origins.iter().map(|origin| origin.requests().len()).sum()
}

fn ask(gateway: &Gateway, request: &[u8]) -> Reply {
    Connection::open(gateway.address).send(request).reply()
}

#[test]
fn a_status_that_is_repeated_is_not_seen_by_the_caller() {
    for status in [502, 503, 504] {
        let (moody, well) = (Moody::start(status), Origin::plain());
        let gateway = before(&[moody.origin.address, well.address], IN_TURN, REPEATED);
        let mut connection = Connection::open(gateway.address);
        for _ in 0..10 {
            assert_eq!(connection.send(GET).reply().status, 200, "instead of {status}");
        }
        assert_eq!(well.requests().len(), 10);
        let repeated = moody.asked() as f64;
        assert!(repeated >= 1.0);
        assert_eq!(gateway.metric("tidegate_retries_total", ""), repeated);
        let failures = gateway.metric("tidegate_upstream_failures_total", "upstream_status");
        assert_eq!(failures, repeated);
        // Its connection has carried all of them.
        assert_eq!(moody.origin.connections(), 1);
    }
}

#[test]
fn other_statuses_and_those_that_nobody_named_are_passed_on() {
    for (status, sections) in
        [(500, REPEATED), (503, "shards: 1"), (503, "shards: 1\nretry: { on: [502] }")]
    {
        let (moody, well) = (Moody::start(status), Origin::plain());
        let gateway = before(&[moody.origin.address, well.address], IN_TURN, sections);
        let statuses = [ask(&gateway, GET).status, ask(&gateway, GET).status];
        assert!(statuses.contains(&(status as u16)), "{statuses:?}");
        assert_eq!((moody.asked(), well.requests().len()), (1, 1));
    }
}

#[test]
fn the_last_reply_is_passed_on_when_nobody_is_left() {
    let origins = [saying(unwell(503, "one")), saying(unwell(502, "two"))];
    let addresses = [origins[0].address, origins[1].address];
    let gateway = Gateway::start(&format!(
        "upstreams: {{ app: {{ endpoints: [http://{}, http://{}], {IN_TURN} }} }}\n\
         routes: [{{ upstream: app, reply_headers: {{ set: {{ X-Gate: yes }} }} }}]\n{REPEATED}",
        addresses[0], addresses[1]
    ));
    let mut connection = Connection::open(gateway.address);
    for _ in 0..3 {
        let reply = connection.send(GET).reply();
        let name = reply.text();
        let wanted = if name == "one" { 503 } else { 502 };
        assert_eq!(reply.status, wanted, "{name}");
        assert_eq!(reply.field("x-who"), Some(name.as_str()));
        assert_eq!(reply.field("retry-after"), Some("60"));
        assert_eq!(reply.field("x-gate"), Some("yes"));
        // It is no refusal of ours.
        assert_eq!(reply.field("x-tidegate-reason"), None);
    }
    assert_eq!(asked(&origins), 6, "each is asked once");
    assert_eq!(gateway.metric("tidegate_retries_total", ""), 3.0);
}

#[test]
fn a_reply_without_a_body_is_passed_on_to_a_head() {
    let origins = [saying(unwell(503, "")), saying(unwell(503, ""))];
    let addresses = origins.each_ref().map(|origin| origin.address);
    let gateway = before(&addresses, IN_TURN, REPEATED);
    let mut connection = Connection::open(gateway.address);
    connection.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(connection.until_seen(b"\r\n\r\n"));
    assert_eq!(asked(&origins), 2);
}

#[test]
fn what_may_not_be_done_twice_gets_the_first_reply() {
    let origins = [saying(unwell(503, "one")), saying(unwell(503, "two"))];
    let addresses = origins.each_ref().map(|origin| origin.address);
    let gateway = before(&addresses, IN_TURN, REPEATED);
    let post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(ask(&gateway, post).status, 503);
    assert_eq!(asked(&origins), 1);
    // A body that has been passed on is not there any more.
    let mut put = Connection::open(gateway.address);
    put.send(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n");
    until("it is on its way", || {
        origins.iter().any(|origin| origin.bytes().ends_with(b"hi\r\n")).then_some(())
    });
    assert_eq!(put.send(b"0\r\n\r\n").reply().status, 503);
    assert_eq!(asked(&origins), 2);
    assert_eq!(gateway.metric("tidegate_retries_total", ""), 0.0);
}

#[test]
fn a_body_that_is_still_there_is_sent_again() {
    let (moody, well) = (Moody::start(503), Origin::plain());
    let gateway = before(&[moody.origin.address, well.address], IN_TURN, REPEATED);
    let put = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!([ask(&gateway, put).status, ask(&gateway, put).status], [200, 200]);
    assert!(well.requests().iter().all(|seen| seen.body == b"hi"));
    assert!(moody.asked() >= 1);
}

#[test]
fn attempts_and_budget_bound_it() {
    let origins: Vec<_> = (0..4).map(|_| saying(unwell(503, "no"))).collect();
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    for attempts in [1, 3] {
        let sections = format!("shards: 1\nretry: {{ on: [503], attempts: {attempts} }}");
        let gateway = before(&addresses, IN_TURN, &sections);
        let before = asked(&origins);
        assert_eq!(ask(&gateway, GET).status, 503);
        assert_eq!(asked(&origins) - before, attempts);
    }
    let (moody, well) = (Moody::start(503), Origin::plain());
    let none = "shards: 1\nretry: { on: [503], budget_percent: 0, budget_min_per_second: 0 }";
    let gateway = before(&[moody.origin.address, well.address], IN_TURN, none);
    let mut connection = Connection::open(gateway.address);
    let seen = (0..220).filter(|_| connection.send(GET).reply().status == 503).count();
    // The bucket holds a hundred repeats at first.
    assert_eq!(gateway.metric("tidegate_retries_total", ""), 100.0);
    assert!(seen > 0);
    assert_eq!(gateway.metric("tidegate_retries_denied_total", ""), seen as f64);
}

#[test]
fn a_reply_too_long_to_be_kept_is_passed_on_whole() {
    let long = "x".repeat(64 * 1024 + 1);
    let text = format!("HTTP/1.1 503 Long\r\nContent-Length: {}\r\n\r\n{long}", long.len());
    let origins = [saying(text.clone()), saying(text)];
    let addresses = origins.each_ref().map(|origin| origin.address);
    let gateway = before(&addresses, IN_TURN, REPEATED);
    let reply = ask(&gateway, GET);
    assert_eq!((reply.status, reply.body.len()), (503, long.len()));
    assert_eq!(asked(&origins), 1);
    // Of one that does not say so beforehand the other endpoint hears nothing, nor the caller.
    let text = format!(
        "HTTP/1.1 503 Long\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n0\r\n\r\n",
        long.len()
    );
    let (chunked, well) = (saying(text), Origin::plain());
    let gateway = before(&[chunked.address, well.address], IN_TURN, REPEATED);
    assert_eq!([ask(&gateway, GET).status, ask(&gateway, GET).status], [200, 200]);
}

#[test]
fn a_reply_that_breaks_off_is_not_passed_on() {
    let text = "HTTP/1.1 503 Cut\r\nContent-Length: 9\r\n\r\nhalf";
    let cut = Origin::start(move |_| Answer::close(text));
    let well = Origin::plain();
    let gateway = before(&[cut.address, well.address], IN_TURN, REPEATED);
    assert_eq!([ask(&gateway, GET).status, ask(&gateway, GET).status], [200, 200]);
    assert!(!cut.requests().is_empty());
}

#[test]
fn a_hedge_is_not_won_by_a_status_that_is_repeated() {
    let (moody, well) = (Moody::start(503), Origin::plain());
    let gateway = Gateway::start(&format!(
        "upstreams: {{ app: {{ endpoints: [http://{}, http://{}], {IN_TURN} }} }}\n\
         routes: [{{ upstream: app, hedge: {{ after: 1ms }} }}]\n{REPEATED}",
        moody.origin.address, well.address
    ));
    let mut connection = Connection::open(gateway.address);
    for _ in 0..50 {
        assert_eq!(connection.send(GET).reply().status, 200);
    }
}
