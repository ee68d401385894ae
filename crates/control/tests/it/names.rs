//! Names to addresses, at the start and after a reload.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tidegate_config::Resolver;
use tidegate_control::{Control, Options, resolve_once};
use tidegate_snapshot::live::Name;
use tidegate_snapshot::{Live, Shared};

use crate::dns::{Dns, Says};
use crate::stand::{Endpoint, PATIENCE, PLAIN, config, eventually, in_force, reload, shared};

/// The name servers of the system.
const SYSTEM: Resolver = Resolver { servers: Vec::new() };

#[test]
fn localhost_resolves_to_this_machine() {
    let live = Live::new(1);
    let name = live.name("localhost", 8080);
    resolve_once(&live, &SYSTEM, PATIENCE);
    let addresses = name.addresses.load();
    assert!(!addresses.is_empty());
    assert!(addresses.iter().all(|a| a.ip().is_loopback() && a.port() == 8080), "{addresses:?}");
}

#[test]
fn many_names_are_resolved_side_by_side() {
    let live = Live::new(1);
    let names: Vec<_> = (1..=40).map(|port| live.name("localhost", port)).collect();
    resolve_once(&live, &SYSTEM, PATIENCE);
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
    resolve_once(&live, &SYSTEM, PATIENCE);
    for (name, before) in literals.iter().zip(before) {
        assert!(Arc::ptr_eq(&name.addresses.load_full(), &before), "{}", name.host);
    }
}

#[test]
fn without_time_nothing_is_waited_for() {
    let live = Live::new(1);
    let name = live.name("localhost", 80);
    resolve_once(&live, &SYSTEM, Duration::ZERO);
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

/// In force with one upstream behind a name that only this name server knows.
fn behind(dns: &Dns, endpoint: &Endpoint) -> (Arc<Shared>, Arc<Name>) {
    let port = endpoint.address.port();
    let shared = in_force(config(&format!(
        "upstreams: {{ app: {{ endpoints: [\"http://app.test:{port}\"] }} }}\n\
         routes: [{{ path: /, upstream: app }}]\nresolver: {{ servers: [\"{}\"] }}\n",
        dns.address
    )));
    let name = shared.live.name("app.test", port);
    (shared, name)
}

fn ips(name: &Name) -> Vec<String> {
    let mut ips: Vec<_> = name.addresses.load().iter().map(|a| a.ip().to_string()).collect();
    ips.sort();
    ips
}

#[test]
fn all_addresses_of_a_name_are_known_before_the_start() {
    let dns = Dns::start(Says::addresses(&["127.0.0.1", "127.0.0.2", "::1"], 60));
    let (shared, name) = behind(&dns, &Endpoint::start(200));
    resolve_once(&shared.live, &shared.snapshot.load().config.resolver, PATIENCE);
    assert_eq!(ips(&name), ["127.0.0.1", "127.0.0.2", "::1"]);
}

#[test]
fn a_changed_answer_is_noticed_after_its_ttl_and_failures_keep_the_last_good_one() {
    let dns = Dns::start(Says::addresses(&["127.0.0.1"], 1));
    let (shared, name) = behind(&dns, &Endpoint::start(200));
    let control = Control::start(Arc::clone(&shared), Options::default()).unwrap();
    eventually("it resolves", || ips(&name) == ["127.0.0.1"]);
    dns.says(Says::addresses(&["127.0.0.2", "127.0.0.3"], 1));
    eventually("it moves", || ips(&name) == ["127.0.0.2", "127.0.0.3"]);
    dns.says(Says::ServerFailure);
    eventually("it fails", || name.failures.load(Relaxed) >= 2);
    assert_eq!(ips(&name), ["127.0.0.2", "127.0.0.3"]);
    dns.says(Says::addresses(&["127.0.0.4"], 1));
    eventually("it comes back", || ips(&name) == ["127.0.0.4"]);
    control.stop();
}

#[test]
fn a_silent_name_server_is_given_up_and_asked_again() {
    let dns = Dns::start(Says::Nothing);
    let (shared, name) = behind(&dns, &Endpoint::start(200));
    let control = Control::start(Arc::clone(&shared), Options::default()).unwrap();
    eventually("it gives up", || name.failures.load(Relaxed) >= 1);
    dns.says(Says::addresses(&["127.0.0.1"], 60));
    eventually("it resolves", || ips(&name) == ["127.0.0.1"]);
    control.stop();
}

#[test]
fn a_reload_with_other_name_servers_asks_them() {
    let (one, other) = (
        Dns::start(Says::addresses(&["127.0.0.1"], 3600)),
        Dns::start(Says::addresses(&["127.0.0.2"], 3600)),
    );
    let endpoint = Endpoint::start(200);
    let (shared, name) = behind(&one, &endpoint);
    let control = Control::start(Arc::clone(&shared), Options::default()).unwrap();
    eventually("it resolves", || ips(&name) == ["127.0.0.1"]);
    let mut changed = (*shared.snapshot.load().config).clone();
    changed.resolver.servers = vec![other.address];
    reload(&shared, changed, 2);
    eventually("the other one is asked", || ips(&name) == ["127.0.0.2"]);
    control.stop();
}
