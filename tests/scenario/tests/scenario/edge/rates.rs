//! How often requests may come.

use tidegate_scenario::http::{Connection, once};
use tidegate_scenario::origin::Origin;
use tidegate_scenario::until;

use super::{gateway, get_with};

#[test]
fn what_comes_beyond_the_burst_is_told_when_to_come_again() {
    let origin = Origin::plain();
    let gateway = gateway(origin.address, "", "rate_limit: { requests: 1, per: 1h, burst: 3 }");
    // On both shards: the count is one.
    let replies: Vec<_> = (0..10).map(|_| once(gateway.address, &get_with(""))).collect();
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 3);
    let refused = replies.last().expect("ten");
    assert_eq!(refused.status, 429);
    assert_eq!(refused.field("x-tidegate-reason"), Some("rate_limited"));
    let wait: u64 = refused.field("retry-after").expect("Retry-After").parse().unwrap();
    assert!((3_500..=3_600).contains(&wait), "{wait}");
    assert_eq!(refused.field("x-ratelimit-limit"), Some("3"));
    assert_eq!(origin.requests().len(), 3);
}

#[test]
fn clients_are_counted_apart_and_addresses_of_one_ipv6_network_together() {
    let origin = Origin::plain();
    let limit = "rate_limit: { requests: 1, per: 1h }";
    let gateway = gateway(origin.address, "trusted_proxies: [127.0.0.1]", limit);
    for (address, status) in [
        ("192.0.2.1", 200),
        ("192.0.2.1", 429),
        ("192.0.2.2", 200),
        ("2001:db8::1", 200),
        ("2001:db8::2", 429),
        ("2001:db8:0:1::1", 200),
    ] {
        let reply = once(gateway.address, &get_with(&format!("X-Forwarded-For: {address}\r\n")));
        assert_eq!(reply.status, status, "{address}");
    }
}

#[test]
fn a_field_can_tell_whose_requests_count_together() {
    let origin = Origin::plain();
    let limit = "rate_limit: { requests: 1, per: 1h, by: \"header:X-Key\" }";
    let gateway = gateway(origin.address, "", limit);
    let mut connection = Connection::open(gateway.address);
    for (field, status) in
        [("X-Key: a\r\n", 200), ("X-Key: a\r\n", 429), ("x-key: b\r\n", 200), ("", 200), ("", 429)]
    {
        assert_eq!(connection.send(&get_with(field)).reply().status, status, "{field:?}");
    }
}

#[test]
fn a_reload_forgets_nothing_unless_the_limit_changes() {
    let origin = Origin::plain();
    let yaml = |limit: &str| {
        format!(
            "upstreams: {{ app: {{ endpoints: [http://{}] }} }}\n\
             routes: [{{ upstream: app, rate_limit: {{ {limit} }} }}]\n",
            origin.address
        )
    };
    let gateway = tidegate_scenario::gateway::Gateway::start(&yaml("requests: 1, per: 1h"));
    assert_eq!(once(gateway.address, &get_with("")).status, 200);
    for (number, limit, status) in
        [(2, "requests: 1, per: 60m, burst: 1", 429), (3, "requests: 2, per: 1h, by: route", 200)]
    {
        gateway.reload(&yaml(limit));
        until("the reload", || (gateway.generation() == number).then_some(()));
        assert_eq!(once(gateway.address, &get_with("")).status, status, "{limit}");
    }
}
