//! Several endpoints, reused connections, and endpoints that are gone.

use std::net::{SocketAddr, TcpListener};

use tidegate_scenario::gate::Gate;
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::{Connection, get, once};
use tidegate_scenario::origin::{Answer, Origin};
use tidegate_scenario::until;

use super::before;

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// How many of `count` requests each origin gets.
fn shares(gateway: &Gateway, origins: &[Origin], count: usize) -> Vec<usize> {
    let mut connection = Connection::open(gateway.address);
    for _ in 0..count {
        assert_eq!(connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").reply().status, 200);
    }
    origins.iter().map(|origin| origin.requests().len()).collect()
}

#[test]
fn round_robin_takes_each_in_turn_over_one_connection_each() {
    let origins = [Origin::plain(), Origin::plain(), Origin::plain()];
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let gateway = before(&addresses, "", "shards: 1\n");
    assert_eq!(shares(&gateway, &origins, 300), [100, 100, 100]);
    assert!(origins.iter().all(|origin| origin.connections() == 1));
}

#[test]
fn weights_are_shares() {
    let origins = [Origin::plain(), Origin::plain()];
    let gateway = Gateway::start(&format!(
        "upstreams:\n  app:\n    balance: weighted_round_robin\n    endpoints:\n      \
         - {{ url: http://{}, weight: 3 }}\n      - {{ url: http://{}, weight: 1 }}\n\
         routes: [{{ path: /, upstream: app }}]\nshards: 1\n",
        origins[0].address, origins[1].address
    ));
    let shares = shares(&gateway, &origins, 400);
    assert!((296..=304).contains(&shares[0]), "{shares:?}");
}

#[test]
fn ip_hash_keeps_a_client_at_its_endpoint() {
    let origins = [Origin::plain(), Origin::plain(), Origin::plain()];
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let gateway = before(&addresses, "    balance: ip_hash\n", "");
    let mut shares = shares(&gateway, &origins, 50);
    for _ in 0..10 {
        get(gateway.address, "/");
    }
    shares.sort_unstable();
    assert_eq!(shares, [0, 0, 50]);
    let mut now: Vec<_> = origins.iter().map(|origin| origin.requests().len()).collect();
    now.sort_unstable();
    assert_eq!(now, [0, 0, 60]);
}

#[test]
fn least_connections_avoids_the_endpoint_that_is_busy() {
    let gate = Gate::default();
    let held = gate.clone();
    let slow = |request: &tidegate_scenario::origin::Received, gate: &Gate| {
        if request.line().contains("/held") {
            gate.pass();
        }
        Answer::ok("ok")
    };
    let second = held.clone();
    let origins = [
        Origin::start(move |request| slow(request, &held)),
        Origin::start(move |request| slow(request, &second)),
    ];
    let addresses = [origins[0].address, origins[1].address];
    let gateway = before(&addresses, "    balance: least_connections\n", "");
    let mut waiting = Connection::open(gateway.address);
    waiting.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
    let busy = until("one endpoint is busy", || origins.iter().position(|o| !o.bytes().is_empty()));
    let mut connection = Connection::open(gateway.address);
    for _ in 0..20 {
        assert_eq!(connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").reply().status, 200);
    }
    assert_eq!(origins[1 - busy].requests().len(), 20);
    gate.open();
    assert_eq!(waiting.reply().status, 200);
}

#[test]
fn connections_to_the_origin_are_reused_over_clients() {
    let origin = Origin::plain();
    let gateway = before(&[origin.address], "", "shards: 1\n");
    for _ in 0..30 {
        assert_eq!(get(gateway.address, "/").status, 200);
    }
    assert_eq!((origin.requests().len(), origin.connections()), (30, 1));
}

#[test]
fn a_pooled_connection_that_the_origin_has_closed_fails_no_get() {
    let origin = Origin::plain();
    let gateway = before(&[origin.address], "", "shards: 1\n");
    let mut connection = Connection::open(gateway.address);
    for _ in 0..20 {
        assert_eq!(connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").reply().status, 200);
        origin.hang_up();
    }
    assert_eq!((origin.requests().len(), origin.connections()), (20, 20));
}

#[test]
fn a_connection_that_closes_as_the_request_arrives_fails_no_get() {
    // The second request on each connection is not answered: the origin closed before it came.
    let origin = Origin::start({
        let seen = std::sync::Mutex::new(std::collections::HashSet::new());
        move |request| {
            let first = seen.lock().unwrap().insert(request.connection);
            if first { Answer::ok("ok") } else { Answer::close("") }
        }
    });
    let gateway = before(&[origin.address], "", "shards: 1\n");
    let mut connection = Connection::open(gateway.address);
    for _ in 0..10 {
        assert_eq!(connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").reply().status, 200);
    }
    // A POST may have been acted upon: it is not repeated.
    let post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(connection.send(post).reply().status, 502);
    let posts = origin.requests().iter().filter(|seen| seen.line().starts_with("POST")).count();
    assert_eq!(posts, 1);
}

#[test]
fn an_origin_that_is_down_is_502_and_a_second_endpoint_takes_over() {
    let gateway = before(&[nobody()], "", "");
    let reply = get(gateway.address, "/");
    assert_eq!(reply.status, 502);
    assert_eq!(reply.field("x-tidegate-reason"), Some("connect_failed"));
    assert!(reply.json()["error"]["message"].is_string());

    let origin = Origin::plain();
    let gateway = before(&[nobody(), origin.address], "", "");
    for _ in 0..20 {
        assert_eq!(get(gateway.address, "/").status, 200);
        // Nothing had been sent to the one that is down: a POST may go on too.
        let post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
        assert_eq!(once(gateway.address, post).status, 200);
    }
    assert_eq!(origin.requests().len(), 40);
}
