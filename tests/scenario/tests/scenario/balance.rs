//! Who gets which request: hashing, tiers, draining endpoints, caps and the queue before them.

mod queue;

use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use tidegate_scenario::gate::Gate;
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::{Connection, get, once};
use tidegate_scenario::origin::{Answer, Origin};
use tidegate_scenario::until;

/// An upstream with these endpoints, as they stand in YAML, and further lines.
fn upstream(endpoints: &[String], lines: &str) -> String {
    format!(
        "upstreams:\n  app:\n    endpoints: [{}]\n{lines}routes: [{{ path: /, upstream: app }}]\n",
        endpoints.join(", ")
    )
}

/// An endpoint with further keys.
fn endpoint(origin: &Origin, more: &str) -> String {
    format!("{{ url: \"http://{}\"{more} }}", origin.address)
}

fn plain<const N: usize>() -> [Origin; N] {
    std::array::from_fn(|_| Origin::plain())
}

fn counts(origins: &[Origin]) -> Vec<usize> {
    origins.iter().map(|origin| origin.requests().len()).collect()
}

/// A request with this field; 200 is expected.
#[track_caller]
fn asks_with(gateway: &Gateway, field: &str) {
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\nConnection: close\r\n\r\n");
    assert_eq!(once(gateway.address, request.as_bytes()).status, 200);
}

#[test]
fn each_value_of_a_field_or_cookie_keeps_its_endpoint_and_all_are_used() {
    for (balance, by, field) in [
        ("consistent_hash", "header:X-User", "x-user: "),
        ("maglev", "header:X-User", "X-User: "),
        ("consistent_hash", "cookie:user", "Cookie: other=1; user="),
        ("maglev", "key", "Authorization: Bearer "),
    ] {
        let origins: [_; 3] = plain();
        let list: Vec<_> = origins.iter().map(|origin| endpoint(origin, "")).collect();
        let lines = format!("    balance: {balance}\n    hash: {{ by: \"{by}\" }}\n");
        let gateway = Gateway::start(&upstream(&list, &lines));
        for user in 0..30 {
            let before = counts(&origins);
            for _ in 0..3 {
                asks_with(&gateway, &format!("{field}user-{user}"));
            }
            let after = counts(&origins);
            let moved: Vec<_> = before.iter().zip(&after).map(|(a, b)| b - a).collect();
            assert!(moved.contains(&3), "{by} user-{user}: {moved:?}");
        }
        assert!(counts(&origins).iter().all(|count| *count > 0), "{:?}", counts(&origins));
    }
}

#[test]
fn a_path_keeps_its_endpoint_whatever_its_query_and_spelling() {
    let origins: [_; 3] = plain();
    let list: Vec<_> = origins.iter().map(|origin| endpoint(origin, "")).collect();
    let lines = "    balance: consistent_hash\n    hash: { by: path }\n";
    let gateway = Gateway::start(&upstream(&list, lines));
    for path in ["/a/b", "/a/b?x=1", "/a/./b", "/a/c/../b?y"] {
        assert_eq!(get(gateway.address, path).status, 200);
    }
    let mut counts = counts(&origins);
    counts.sort_unstable();
    assert_eq!(counts, [0, 0, 4]);
}

#[test]
fn plain_requests_and_event_streams_may_be_balanced_in_different_ways() {
    let origins: [_; 2] = plain();
    let list: Vec<_> = origins.iter().map(|origin| endpoint(origin, "")).collect();
    let lines = "    balance: { http: round_robin, sse: ip_hash }\n";
    let gateway = Gateway::start(&format!("{}shards: 1\n", upstream(&list, lines)));
    for _ in 0..10 {
        assert_eq!(get(gateway.address, "/").status, 200);
    }
    assert_eq!(counts(&origins), [5, 5]);
    for _ in 0..10 {
        asks_with(&gateway, "Accept: text/event-stream");
    }
    let mut counts = counts(&origins);
    counts.sort_unstable();
    assert_eq!(counts, [5, 15]);
}

#[test]
fn a_hashed_key_spills_over_at_its_bound() {
    let gate = Gate::default();
    let origins: [_; 2] = std::array::from_fn(|_| {
        let held = gate.clone();
        Origin::start(move |_| {
            held.pass();
            Answer::ok("ok")
        })
    });
    let list: Vec<_> = origins.iter().map(|origin| endpoint(origin, "")).collect();
    let gateway =
        Gateway::start(&upstream(&list, "    balance: ip_hash\n    hash: { bound: 1.5 }\n"));
    let mut clients = Vec::new();
    for n in 1..=8 {
        let mut client = Connection::open(gateway.address);
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        clients.push(client);
        until("it has arrived", || {
            (origins.iter().map(Origin::connections).sum::<usize>() == n).then_some(())
        });
    }
    // One client address: without the bound all eight would be at one of them.
    let mut held: Vec<_> = origins.iter().map(Origin::connections).collect();
    held.sort_unstable();
    assert_eq!(held, [2, 6]);
    gate.open();
    assert!(clients.iter_mut().all(|client| client.reply().status == 200));
}

#[test]
fn a_tier_takes_over_when_the_one_before_it_is_gone() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let origins: [_; 2] = plain();
    let list = [endpoint(&origins[0], ""), endpoint(&origins[1], ", priority: 1")];
    let gateway = Gateway::start(&upstream(&list, ""));
    for _ in 0..10 {
        assert_eq!(get(gateway.address, "/").status, 200);
    }
    assert_eq!(counts(&origins), [10, 0]);
    let list = [format!("{{ url: \"http://{nobody}\" }}"), endpoint(&origins[1], ", priority: 1")];
    let gateway = Gateway::start(&upstream(&list, ""));
    for _ in 0..10 {
        assert_eq!(get(gateway.address, "/").status, 200);
    }
    assert_eq!(counts(&origins), [10, 10]);
}

#[test]
fn the_own_zone_comes_first() {
    let origins: [_; 3] = plain();
    let list = [
        endpoint(&origins[0], ", zone: a"),
        endpoint(&origins[1], ", zone: b"),
        endpoint(&origins[2], ", zone: a"),
    ];
    let gateway = Gateway::start(&format!("{}shards: 1\n", upstream(&list, "    zone: a\n")));
    for _ in 0..10 {
        assert_eq!(get(gateway.address, "/").status, 200);
    }
    assert_eq!(counts(&origins), [5, 0, 5]);
}

#[test]
fn a_draining_endpoint_finishes_what_it_has_and_takes_nothing_new() {
    let gate = Gate::default();
    let held = gate.clone();
    let draining = Origin::start(move |_| {
        held.pass();
        Answer::ok("old")
    });
    let other = Origin::plain();
    let gateway = Gateway::start(&upstream(&[endpoint(&draining, "")], ""));
    let mut first = Connection::open(gateway.address);
    first.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until("it has arrived", || (draining.connections() == 1).then_some(()));
    let list = [endpoint(&draining, ", draining: true"), endpoint(&other, "")];
    gateway.reload(&upstream(&list, "    balance: ip_hash\n"));
    until("the reload", || (gateway.generation() == 2).then_some(()));
    for _ in 0..10 {
        assert_eq!(get(gateway.address, "/").text(), "ok");
    }
    gate.open();
    assert_eq!(first.reply().text(), "old");
    assert_eq!(draining.requests().len(), 1);
}

#[test]
fn peak_ewma_leaves_the_endpoint_that_answers_late() {
    let slow = Origin::start(|_| {
        // Nobody ever sends: this is a pause.
        let (_never, wait) = mpsc::sync_channel::<()>(1);
        let _ = wait.recv_timeout(Duration::from_millis(30));
        Answer::ok("ok")
    });
    let fast = Origin::plain();
    let list = [endpoint(&slow, ""), endpoint(&fast, "")];
    let lines = "    balance: peak_ewma\n";
    let gateway = Gateway::start(&format!("{}shards: 1\n", upstream(&list, lines)));
    let mut connection = Connection::open(gateway.address);
    for _ in 0..200 {
        assert_eq!(connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").reply().status, 200);
    }
    let have = (slow.requests().len(), fast.requests().len());
    assert!(have.0 >= 1 && have.0 <= 20, "{have:?}");
}

#[test]
fn least_connections_remembers_over_a_reload_what_is_in_flight() {
    let gate = Gate::default();
    let origins: [_; 2] = std::array::from_fn(|_| {
        let held = gate.clone();
        Origin::start(move |request| {
            if request.line().contains("/held") {
                held.pass();
            }
            Answer::ok("ok")
        })
    });
    let list: Vec<_> = origins.iter().map(|origin| endpoint(origin, "")).collect();
    let yaml = upstream(&list, "    balance: least_connections\n");
    let gateway = Gateway::start(&yaml);
    let mut waiting = Connection::open(gateway.address);
    waiting.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
    let busy = until("one is busy", || origins.iter().position(|o| !o.bytes().is_empty()));
    for generation in 2..5 {
        gateway.reload(&format!("{yaml}timeouts: {{ connect: {generation}s }}\n"));
        until("the reload", || (gateway.generation() == generation).then_some(()));
        for _ in 0..10 {
            assert_eq!(get(gateway.address, "/").status, 200);
            // Its caller may have the reply a moment before it is counted as over: both would be equal.
            until("only the held one is in flight", || {
                (gateway.metric("tidegate_upstream_in_flight", "") == 1.0).then_some(())
            });
        }
    }
    assert_eq!(origins[1 - busy].requests().len(), 30);
    gate.open();
    assert_eq!(waiting.reply().status, 200);
}
