//! Endpoints at their cap, and those who wait for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tidegate_scenario::gate::Gate;
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::{Connection, Reply};
use tidegate_scenario::origin::{Answer, Origin};
use tidegate_scenario::until;

use super::{endpoint, upstream};

fn held(gate: &Gate, says: &'static str) -> Origin {
    let gate = gate.clone();
    Origin::start(move |_| {
        gate.pass();
        Answer::ok(says)
    })
}

fn asks(gateway: &Gateway) -> Connection {
    let mut client = Connection::open(gateway.address);
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client
}

#[track_caller]
fn until_waiting(gateway: &Gateway, count: usize) {
    until(&format!("{count} wait"), || {
        (gateway.metric("tidegate_endpoint_queue_waiting", "app") == count as f64).then_some(())
    });
}

#[track_caller]
fn until_arrived(origin: &Origin, count: usize) {
    until(&format!("{count} have arrived"), || (origin.connections() == count).then_some(()));
}

#[track_caller]
fn is_refused(reply: &Reply, reason: &str) {
    assert_eq!((reply.status, reply.field("x-tidegate-reason")), (503, Some(reason)));
    let seconds: u32 = reply.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds));
}

#[test]
fn who_finds_every_endpoint_full_waits_and_then_goes_on() {
    let gate = Gate::default();
    let origin = held(&gate, "ok");
    let list = [endpoint(&origin, ", connections_max: 1")];
    let gateway = Gateway::start(&upstream(&list, "    queue: { size: 5, wait: 20s }\n"));
    let mut clients = vec![asks(&gateway)];
    until_arrived(&origin, 1);
    clients.extend((0..5).map(|_| asks(&gateway)));
    until_waiting(&gateway, 5);
    is_refused(&asks(&gateway).reply(), "endpoints_full");
    assert_eq!(origin.connections(), 1);
    gate.open();
    assert!(clients.iter_mut().all(|client| client.reply().status == 200));
    until_waiting(&gateway, 0);
    assert_eq!(origin.requests().len(), 6);
    let outcome = |outcome: &str| gateway.metric("tidegate_endpoint_queue_total", outcome);
    assert_eq!((outcome("queued"), outcome("refused"), outcome("timeout")), (5.0, 1.0, 0.0));
}

#[test]
fn without_a_queue_full_endpoints_refuse_at_once() {
    let gate = Gate::default();
    let origin = held(&gate, "ok");
    let gateway = Gateway::start(&upstream(&[endpoint(&origin, ", connections_max: 1")], ""));
    let mut first = asks(&gateway);
    until_arrived(&origin, 1);
    is_refused(&asks(&gateway).reply(), "endpoints_full");
    gate.open();
    assert_eq!(first.reply().status, 200);
}

#[test]
fn who_waits_for_an_endpoint_for_too_long_is_refused() {
    let gate = Gate::default();
    let origin = held(&gate, "ok");
    let list = [endpoint(&origin, ", connections_max: 1")];
    let gateway = Gateway::start(&upstream(&list, "    queue: { size: 5, wait: 200ms }\n"));
    let mut first = asks(&gateway);
    until_arrived(&origin, 1);
    is_refused(&asks(&gateway).reply(), "endpoint_queue_timeout");
    assert_eq!(gateway.metric("tidegate_endpoint_queue_total", "timeout"), 1.0);
    until_waiting(&gateway, 0);
    gate.open();
    assert_eq!(first.reply().status, 200);
}

#[test]
fn a_client_that_leaves_the_queue_frees_its_place_and_asks_nobody() {
    let gate = Gate::default();
    let origin = held(&gate, "ok");
    let list = [endpoint(&origin, ", connections_max: 1")];
    let gateway = Gateway::start(&upstream(&list, "    queue: { size: 1, wait: 20s }\n"));
    let mut first = asks(&gateway);
    until_arrived(&origin, 1);
    let leaving = asks(&gateway);
    until_waiting(&gateway, 1);
    drop(leaving);
    until_waiting(&gateway, 0);
    let mut next = asks(&gateway);
    until_waiting(&gateway, 1);
    gate.open();
    assert_eq!((first.reply().status, next.reply().status), (200, 200));
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn the_cap_of_an_endpoint_is_exact_over_shards_and_everybody_is_served() {
    let peaks: [_; 2] = std::array::from_fn(|_| Arc::new(AtomicUsize::new(0)));
    let origins: [_; 2] = std::array::from_fn(|index| {
        let (now, peak) = (AtomicUsize::new(0), Arc::clone(&peaks[index]));
        Origin::start(move |_| {
            peak.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            std::thread::yield_now();
            now.fetch_sub(1, SeqCst);
            Answer::ok("ok")
        })
    });
    let list: Vec<_> =
        origins.iter().map(|origin| endpoint(origin, ", connections_max: 3")).collect();
    for balance in ["least_connections", "ip_hash", "round_robin"] {
        let lines = format!("    balance: {balance}\n    queue: {{ size: 200, wait: 20s }}\n");
        let gateway = Gateway::start(&format!("{}shards: 4\n", upstream(&list, &lines)));
        let mut clients: Vec<_> = (0..100).map(|_| Connection::open(gateway.address)).collect();
        for _ in 0..5 {
            for client in &mut clients {
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            }
            assert!(clients.iter_mut().all(|client| client.reply().status == 200), "{balance}");
        }
        until_waiting(&gateway, 0);
        assert_eq!(gateway.metric("tidegate_upstream_in_flight", ""), 0.0);
    }
    let served: usize = origins.iter().map(|origin| origin.requests().len()).sum();
    assert_eq!(served, 1500);
    assert!(peaks.iter().all(|peak| peak.load(SeqCst) <= 3), "{peaks:?}");
}

#[test]
fn an_endpoint_that_a_reload_adds_takes_those_who_wait() {
    let gate = Gate::default();
    let (full, added) = (held(&gate, "full"), Origin::start(|_| Answer::ok("added")));
    let queue = "    queue: { size: 5, wait: 20s }\n";
    let first = endpoint(&full, ", connections_max: 1");
    let gateway = Gateway::start(&upstream(std::slice::from_ref(&first), queue));
    let mut running = asks(&gateway);
    until_arrived(&full, 1);
    let mut waiting: Vec<_> = (0..3).map(|_| asks(&gateway)).collect();
    until_waiting(&gateway, 3);
    gateway.reload(&upstream(&[first, endpoint(&added, ", connections_max: 1")], queue));
    // The first endpoint still holds its request.
    for client in &mut waiting {
        assert_eq!(client.reply().text(), "added");
    }
    gate.open();
    assert_eq!(running.reply().text(), "full");
}

#[test]
fn a_higher_cap_and_a_recovered_endpoint_take_those_who_wait() {
    let gate = Gate::default();
    let origin = held(&gate, "ok");
    let queue = "    queue: { size: 5, wait: 20s }\n";
    let list = |max: u32| [endpoint(&origin, &format!(", connections_max: {max}"))];
    let gateway = Gateway::start(&upstream(&list(1), queue));
    let mut clients = vec![asks(&gateway)];
    until_arrived(&origin, 1);
    clients.extend((0..3).map(|_| asks(&gateway)));
    until_waiting(&gateway, 3);
    gateway.reload(&upstream(&list(3), queue));
    until_waiting(&gateway, 1);
    until_arrived(&origin, 3);
    gate.open();
    assert!(clients.iter_mut().all(|client| client.reply().status == 200));
}

#[test]
fn an_upstream_that_a_reload_removes_still_serves_those_who_wait() {
    let gate = Gate::default();
    let (old, new) = (held(&gate, "old"), Origin::plain());
    let queue = "    queue: { size: 5, wait: 20s }\n";
    let gateway = Gateway::start(&upstream(&[endpoint(&old, ", connections_max: 1")], queue));
    let mut clients = vec![asks(&gateway)];
    until_arrived(&old, 1);
    clients.extend((0..3).map(|_| asks(&gateway)));
    until_waiting(&gateway, 3);
    gateway.reload(&upstream(&[endpoint(&new, "")], "").replace("app", "other"));
    until("the reload", || (gateway.generation() == 2).then_some(()));
    assert_eq!(asks(&gateway).reply().text(), "ok");
    gate.open();
    for client in &mut clients {
        assert_eq!(client.reply().text(), "old");
    }
}
