//! Tunnels as they live and end.

use rustix::process::Signal;
use tidegate_lab::origin::{OriginOptions, spawn_origin};
use tidegate_scenario::gate::Gate;
use tidegate_scenario::gateway::{Gateway, TOKEN};
use tidegate_scenario::http::{Connection, get};
use tidegate_scenario::scripted::Scripted;
use tidegate_scenario::until;
use tidegate_scenario::websocket::{HANDSHAKE, SWITCHED, answer, echoes, frame, open};

use super::{before, ending_by_itself, flooding, takes_the_flood, until_held_back};

#[track_caller]
fn until_none_is_open(gateway: &Gateway) {
    until("no WebSocket is open", || {
        (gateway.metric("tidegate_websockets_open", "") == 0.0).then_some(())
    });
    assert_eq!(gateway.metric("tidegate_requests_in_flight", ""), 0.0);
    assert_eq!(gateway.metric("tidegate_upstream_in_flight", ""), 0.0);
}

#[test]
fn messages_come_back_and_are_counted() {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let gateway = before(lab.addr, "");
    let mut client = open(gateway.address);
    echoes(&mut client, "hello");
    echoes(&mut client, &"x".repeat(1 << 20));
    client.send(&frame(9, b"?"));
    assert_eq!(client.exactly(3), answer(10, b"?"));
    assert_eq!(gateway.metric("tidegate_websockets_open", ""), 1.0);
    client.send(&frame(8, &1000_u16.to_be_bytes()));
    assert_eq!(client.rest(), answer(8, &1000_u16.to_be_bytes()));
    drop(client);
    until_none_is_open(&gateway);
    assert_eq!(gateway.metric("tidegate_websockets_total", ""), 1.0);
    for direction in ["received", "sent"] {
        let bytes = gateway.metric("tidegate_websocket_bytes_total", direction);
        assert!(bytes > 1_048_576.0 && bytes < 1_048_700.0, "{direction}: {bytes}");
    }
    assert_eq!(gateway.metric("tidegate_requests_total", "class=\"1xx\""), 1.0);
    assert_eq!(gateway.metric("tidegate_ended_total", ""), 0.0);
}

#[test]
fn each_direction_ends_by_itself() {
    let origin = ending_by_itself();
    let gateway = before(origin.address, "");
    let mut client = open(gateway.address);
    client.send(b"question").finish();
    assert_eq!(client.rest(), b"question");
    let mut client = open(gateway.address);
    assert_eq!(client.rest(), b"that is all");
    client.send(b"and this is mine").finish();
    until_none_is_open(&gateway);
    assert_eq!(gateway.metric("tidegate_ended_total", ""), 0.0);
}

#[test]
fn a_reset_on_either_side_is_a_reset_on_the_other() {
    let origin = Scripted::start(|number, peer| {
        peer.request();
        peer.send(SWITCHED);
        peer.exactly(2);
        if number == 0 {
            peer.reset();
            return;
        }
        peer.send("!");
        let kind = std::io::Read::read(&mut peer.stream, &mut [0; 1]).unwrap_err().kind();
        assert_eq!(kind, std::io::ErrorKind::ConnectionReset);
    });
    let gateway = before(origin.address, "");
    let mut client = open(gateway.address);
    client.send(b"go");
    let kind = std::io::Read::read(&mut client.stream, &mut [0; 1]).unwrap_err().kind();
    assert_eq!(kind, std::io::ErrorKind::ConnectionReset);
    until_none_is_open(&gateway);
    assert_eq!(gateway.metric("tidegate_ended_total", "upstream_cut"), 1.0);
    let mut client = open(gateway.address);
    client.send(b"go");
    assert_eq!(client.exactly(1), b"!");
    client.reset_on_close();
    drop(client);
    until_none_is_open(&gateway);
    assert_eq!(gateway.metric("tidegate_ended_total", "client_gone"), 1.0);
}

#[test]
fn a_silent_tunnel_is_closed_after_its_time_and_no_other() {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let gateway = before(lab.addr, "timeouts: { tunnel: 400ms, request: 100ms }\n");
    let mut silent = open(gateway.address);
    let mut busy = open(gateway.address);
    until("the silent one is closed", || {
        echoes(&mut busy, "still here");
        (gateway.metric("tidegate_ended_total", "tunnel_timeout") == 1.0).then_some(())
    });
    assert_eq!(silent.rest(), b"");
    echoes(&mut busy, "and I stay");
}

#[test]
fn an_idle_tunnel_holds_no_buffer_and_little_memory() {
    const TUNNELS: usize = 1_000;
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let gateway = before(lab.addr, "limits: { requests: 2000 }\nshards: 1\n");
    // What the first ones need once: pools, slabs, the metrics page.
    let mut open: Vec<_> = (0..200).map(|_| open(gateway.address)).collect();
    for client in &mut open {
        echoes(client, "warm");
    }
    let before = gateway.resident();
    open.extend((0..TUNNELS).map(|_| {
        let mut client = tidegate_scenario::websocket::open(gateway.address);
        echoes(&mut client, "here");
        client
    }));
    assert_eq!(gateway.metric("tidegate_websockets_open", ""), (TUNNELS + 200) as f64);
    until("buffers are back", || {
        (gateway.metric("tidegate_buffers_lent", "") <= 1.0).then_some(())
    });
    let each = gateway.resident().saturating_sub(before) / TUNNELS as u64;
    println!("an idle WebSocket: {each} bytes");
    assert!(each < 6_000, "{each} bytes for each idle tunnel");
    drop(open);
    until_none_is_open(&gateway);
}

#[test]
fn what_one_side_does_not_take_is_not_read_from_the_other() {
    let (origin, sent) = flooding();
    let gateway = before(origin.address, "");
    let mut client = open(gateway.address);
    let before = gateway.resident();
    until_held_back(&sent);
    assert!(gateway.resident() < before + (2 << 20), "held in the kernel's buffers, not in ours");
    takes_the_flood(|bytes| client.exactly(bytes));
    drop(client);
    until_none_is_open(&gateway);
}

#[test]
fn a_drain_leaves_tunnels_alone_until_its_time_is_over() {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let mut gateway = before(lab.addr, "timeouts: { drain: 1500ms }\n");
    let mut client = open(gateway.address);
    gateway.signal(Signal::TERM);
    until("it drains", || (get(gateway.address, "/health").status == 503).then_some(()));
    echoes(&mut client, "not yet");
    assert_eq!(client.rest(), b"", "nothing is said in the endpoint's name");
    gateway.logged("the drain took too long");
    assert_eq!(gateway.ended(), Some(0));
}

#[test]
fn a_drain_ends_with_the_last_tunnel() {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let mut gateway = before(lab.addr, "timeouts: { drain: 1h }\n");
    let mut client = open(gateway.address);
    gateway.signal(Signal::TERM);
    until("it drains", || (get(gateway.address, "/health").status == 503).then_some(()));
    echoes(&mut client, "the last word");
    drop(client);
    assert_eq!(gateway.ended(), Some(0));
}

#[test]
fn a_reload_that_takes_the_route_away_leaves_tunnels_alone() {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let gateway = before(lab.addr, "");
    let mut client = open(gateway.address);
    gateway.reload(
        "upstreams: { other: { endpoints: [\"http://127.0.0.1:1\"] } }\n\
         routes: [{ path: /other, upstream: other }]\n",
    );
    until("it reloads", || (gateway.generation() == 2).then_some(()));
    let refused = Connection::open(gateway.address).send(HANDSHAKE.as_bytes()).reply();
    assert_eq!(refused.status, 404);
    echoes(&mut client, "still here");
}

#[test]
fn an_open_tunnel_is_a_request_in_flight() {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let gateway = before(lab.addr, "limits: { requests: 1, queue: { size: 0 } }\n");
    let mut client = open(gateway.address);
    let refused = Connection::open(gateway.address).send(HANDSHAKE.as_bytes()).reply();
    assert_eq!((refused.status, refused.field("x-tidegate-reason")), (503, Some("busy")));
    echoes(&mut client, "mine");
    drop(client);
    until_none_is_open(&gateway);
    echoes(&mut open(gateway.address), "now me");
}

#[test]
fn a_caller_that_goes_before_the_101_cancels_the_attempt() {
    let gate = Gate::default();
    let opened = gate.clone();
    let origin = Scripted::start(move |_, peer| {
        peer.request();
        peer.wait_for_close();
        opened.open();
    });
    let gateway = before(origin.address, "");
    let mut client = Connection::open(gateway.address);
    client.send(HANDSHAKE.as_bytes());
    until("the endpoint is asked", || (origin.accepted() == 1).then_some(()));
    drop(client);
    gate.pass();
    until("it is over", || {
        (gateway.metric("tidegate_ended_total", "client_gone") == 1.0).then_some(())
    });
}

#[test]
fn a_forced_drain_of_the_endpoint_ends_a_tunnel_after_the_grace() {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let gateway = before(lab.addr, "");
    let mut client = open(gateway.address);
    let drain = |grace: &str| {
        let body = format!(
            r#"{{"upstream":"app","endpoint":"http://{}","force":true,"grace":"{grace}"}}"#,
            lab.addr
        );
        gateway.admin_request("POST", "/api/v1/endpoints/drain", TOKEN, &body).status
    };
    assert_eq!(drain("1h"), 200);
    echoes(&mut client, "within the grace");
    assert_eq!(drain("1ms"), 200);
    assert_eq!(client.rest(), b"", "nothing is said in the endpoint's name");
    until_none_is_open(&gateway);
    assert_eq!(gateway.metric("tidegate_ended_total", "endpoint_drained"), 1.0);
}
