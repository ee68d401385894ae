//! Names to addresses, at the start and after a reload.

use std::sync::Arc;
use std::time::Duration;

use tidegate_control::{Control, Options, resolve_once};
use tidegate_snapshot::Live;

use crate::stand::{Endpoint, PATIENCE, PLAIN, config, reload, shared};

#[test]
fn localhost_resolves_to_this_machine() {
    let live = Live::new(1);
    let name = live.name("localhost", 8080);
    resolve_once(&live, PATIENCE);
    let addresses = name.addresses.load();
    assert!(!addresses.is_empty());
    assert!(addresses.iter().all(|a| a.ip().is_loopback() && a.port() == 8080), "{addresses:?}");
}

#[test]
fn many_names_are_resolved_side_by_side() {
    let live = Live::new(1);
    let names: Vec<_> = (1..=40).map(|port| live.name("localhost", port)).collect();
    resolve_once(&live, PATIENCE);
    for name in names {
        assert!(name.addresses.load().iter().all(|a| a.port() == name.port));
        assert!(!name.addresses.load().is_empty(), "{}", name.port);
    }
}

#[test]
fn address_literals_are_left_alone() {
    let live = Live::new(1);
    let literals = [live.name("127.0.0.1", 80), live.name("[::1]", 80)];
    let before: Vec<_> = literals.iter().map(|name| name.addresses.load_full()).collect();
    resolve_once(&live, PATIENCE);
    for (name, before) in literals.iter().zip(before) {
        assert!(Arc::ptr_eq(&name.addresses.load_full(), &before), "{}", name.host);
    }
}

#[test]
fn without_time_nothing_is_waited_for() {
    let live = Live::new(1);
    let name = live.name("localhost", 80);
    resolve_once(&live, Duration::ZERO);
    assert!(name.addresses.load().is_empty());
}

#[test]
fn a_name_that_a_reload_brings_is_looked_up_and_used() {
    let shared = shared(PLAIN);
    let control = Control::start(Arc::clone(&shared), Options::default()).unwrap();
    let endpoint = Endpoint::start(200);
    let port = endpoint.address.port();
    reload(
        &shared,
        config(&format!(
            "upstreams: {{ app: {{ endpoints: [\"http://localhost:{port}\"], health: {{ interval: 200ms, timeout: 200ms }} }} }}\nroutes: [{{ path: /, upstream: app }}]\n"
        )),
        2,
    );
    // A probe that arrives has had an address.
    let head = endpoint.first();
    assert!(head.contains(&format!("\r\nHost: localhost:{port}\r\n")), "{head}");
    control.stop();
}
