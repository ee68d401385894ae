//! Who is asked first: shares by weight, tiers by priority, the order written.

use tidegate_lab::provider::{ProviderHandle, ProviderOptions, spawn_provider};
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::Connection;
use tidegate_scenario::llm::CHAT;
use tidegate_scenario::until;

use super::{chat, openai};

fn labs<const N: usize>() -> [ProviderHandle; N] {
    std::array::from_fn(|_| spawn_provider(ProviderOptions::default()).unwrap())
}

#[test]
fn weights_are_shares() {
    let [a, b, c] = labs();
    let gateway = Gateway::start(&openai(&[
        (a.addr, ", weight: 1"),
        (b.addr, ", weight: 2"),
        (c.addr, ", weight: 5"),
    ]));
    let mut connection = Connection::open(gateway.address);
    for _ in 0..1600 {
        assert_eq!(connection.send(&CHAT.whole("lab-echo")).reply().status, 200);
    }
    for (lab, want) in [(&a, 0.125), (&b, 0.25), (&c, 0.625)] {
        let share = lab.stats().requests as f64 / 1600.0;
        println!("share {share:.3}, wanted {want}");
        assert!((share - want).abs() < 0.05, "{share} instead of {want}");
    }
}

#[test]
fn a_lower_priority_number_gets_everything_while_it_works() {
    let [a, b, c] = labs();
    let gateway = Gateway::start(&openai(&[
        (a.addr, ", priority: 2"),
        (b.addr, ", priority: 1"),
        (c.addr, ", priority: 3"),
    ]));
    for _ in 0..20 {
        assert_eq!(chat(&gateway, "lab-echo").status, 200);
    }
    assert_eq!([&a, &b, &c].map(|lab| lab.stats().requests), [0, 20, 0]);
    b.stop();
    for _ in 0..20 {
        assert_eq!(chat(&gateway, "lab-echo").status, 200);
    }
    assert_eq!([&a, &c].map(|lab| lab.stats().requests), [20, 0]);
}

#[test]
fn balance_priority_is_the_order_written() {
    let [a, b, c] = labs();
    let gateway = Gateway::start(&format!(
        "models: [{{ name: \"*\", to: [p2, p0, p1], balance: priority }}]\n{}",
        openai(&[(a.addr, ""), (b.addr, ""), (c.addr, "")])
    ));
    for _ in 0..20 {
        assert_eq!(chat(&gateway, "lab-echo").status, 200);
    }
    c.stop();
    assert_eq!(chat(&gateway, "lab-echo").status, 200);
    assert_eq!([&a, &b].map(|lab| lab.stats().requests), [1, 0]);
}

#[test]
fn beyond_its_connections_a_provider_is_passed_over() {
    let [a, b] = labs();
    let gateway =
        Gateway::start(&openai(&[(a.addr, ", connections_max: 2"), (b.addr, ", priority: 1")]));
    let mut open = Vec::new();
    for _ in 0..5 {
        let mut connection = Connection::open(gateway.address);
        let ask = CHAT.stream_with("lab-tokens-2", "x-lab-interval-ms: 15000\r\n");
        connection.send(&ask);
        assert!(connection.until_seen(b"data: {"));
        open.push(connection);
    }
    assert_eq!((a.stats().open, b.stats().open), (2, 3));
    drop(open);
    until("all have ended", || (a.stats().open + b.stats().open == 0).then_some(()));
    until("their leases have", || {
        (gateway.metric("tidegate_upstream_in_flight", "") == 0.0).then_some(())
    });
    assert_eq!(chat(&gateway, "lab-echo").status, 200);
    assert_eq!(a.stats().requests, 3);
}

#[test]
fn a_provider_with_weight_0_is_not_asked() {
    let [a, b] = labs();
    let gateway = Gateway::start(&openai(&[(a.addr, ", weight: 0"), (b.addr, "")]));
    for _ in 0..10 {
        assert_eq!(chat(&gateway, "lab-echo").status, 200);
    }
    assert_eq!((a.stats().requests, b.stats().requests), (0, 10));
}
