//! A second endpoint beside a slow one.

use std::net::SocketAddr;

use tidegate_scenario::gate::Gate;
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::Connection;
use tidegate_scenario::origin::{Answer, Origin};
use tidegate_scenario::until;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// In turn to these, hedged after 40 ms.
fn hedged(endpoints: &[SocketAddr], sections: &str) -> Gateway {
    let list: Vec<_> = endpoints.iter().map(|address| format!("http://{address}")).collect();
    Gateway::start(&format!(
        "upstreams: {{ app: {{ endpoints: [{}] }} }}\n\
         routes: [{{ path: /, upstream: app, hedge: {{ after: 40ms }} }}]\nshards: 1\n{sections}",
        list.join(", ")
    ))
}

/// An origin that answers with its name once the gate is open.
fn behind(gate: &Gate, name: &'static str) -> Origin {
    let gate = gate.clone();
    Origin::start(move |_| {
        gate.pass();
        Answer::ok(name)
    })
}

#[test]
fn a_slow_endpoint_is_overtaken_by_another() {
    let gate = Gate::default();
    let origins = [behind(&gate, "slow"), Origin::start(|_| Answer::ok("quick"))];
    let gateway = hedged(&[origins[0].address, origins[1].address], "");
    let mut connection = Connection::open(gateway.address);
    for _ in 0..4 {
        let reply = connection.send(GET).reply();
        assert_eq!((reply.status, reply.text().as_str()), (200, "quick"));
    }
    let hedges = gateway.metric("tidegate_hedges_total", "");
    assert!(hedges >= 1.0, "{hedges}");
    assert_eq!(gateway.metric("tidegate_hedges_won_total", ""), hedges);
    until("nothing is left in flight", || {
        (gateway.metric("tidegate_upstream_in_flight", "") == 0.0).then_some(())
    });
    gate.open();
}

#[test]
fn a_quick_endpoint_has_no_second() {
    let origins = [Origin::plain(), Origin::plain()];
    let gateway = hedged(&[origins[0].address, origins[1].address], "");
    let mut connection = Connection::open(gateway.address);
    for _ in 0..20 {
        assert_eq!(connection.send(GET).reply().status, 200);
    }
    assert_eq!(origins.iter().map(|origin| origin.requests().len()).sum::<usize>(), 20);
}

#[test]
fn what_may_not_be_done_twice_is_not_hedged() {
    let gate = Gate::default();
    let origins = [behind(&gate, "one"), behind(&gate, "two")];
    let gateway = hedged(&[origins[0].address, origins[1].address], "");
    let mut posting = Connection::open(gateway.address);
    posting.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    until("it has arrived", || origins.iter().any(|o| !o.bytes().is_empty()).then_some(()));
    let mut getting = Connection::open(gateway.address);
    getting.send(GET);
    until("the later GET is hedged", || {
        (gateway.metric("tidegate_hedges_total", "") >= 1.0).then_some(())
    });
    gate.open();
    assert_eq!((posting.reply().status, getting.reply().status), (200, 200));
    let posts = origins.iter().flat_map(Origin::requests);
    assert_eq!(posts.filter(|seen| seen.line().starts_with("POST")).count(), 1);
    assert_eq!(gateway.metric("tidegate_hedges_total", ""), 1.0);
}

#[test]
fn the_second_attempt_may_fail_without_harm_and_so_may_the_first() {
    let gate = Gate::default();
    for slow_first in [true, false] {
        // One breaks off as soon as it is asked; the other answers once the gate is open.
        let breaks = Origin::start(|_| Answer::close(""));
        let waits = behind(&gate, "well");
        let (first, second) = if slow_first { (&waits, &breaks) } else { (&breaks, &waits) };
        let gateway = hedged(&[first.address, second.address], "");
        let mut connection = Connection::open(gateway.address);
        connection.send(GET);
        until("the one that waits is asked", || (!waits.bytes().is_empty()).then_some(()));
        gate.open();
        let reply = connection.reply();
        assert_eq!((reply.status, reply.text().as_str()), (200, "well"));
    }
}

#[test]
fn without_a_retry_budget_nothing_is_hedged() {
    let gate = Gate::default();
    let origins = [behind(&gate, "one"), behind(&gate, "two")];
    let budget = "retry: { budget_percent: 0, budget_min_per_second: 0 }\n";
    let gateway = hedged(&[origins[0].address, origins[1].address], budget);
    let mut callers: Vec<_> = (0..150).map(|_| Connection::open(gateway.address)).collect();
    for caller in &mut callers {
        caller.send(GET);
    }
    // The bucket begins with a hundred.
    until("the budget is used up", || {
        (gateway.metric("tidegate_retries_denied_total", "") >= 50.0).then_some(())
    });
    gate.open();
    for caller in &mut callers {
        assert_eq!(caller.reply().status, 200);
    }
    assert_eq!(gateway.metric("tidegate_hedges_total", ""), 100.0);
}
