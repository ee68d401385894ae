//! WebSocket to endpoints that are spoken to in HTTP/2 (RFC 8441), from callers of either version.

use std::sync::Arc;

use tidegate_lab::origin::{OriginOptions, spawn_origin};
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::h2raw::Raw;
use tidegate_scenario::h2tunnel::{Ended, Tunnel, asking};
use tidegate_scenario::http::{Connection, get};
use tidegate_scenario::http2_origin::{Http2Origin, Options};
use tidegate_scenario::until;
use tidegate_scenario::websocket::{HANDSHAKE, echoes, open};

use super::tls::authority;

fn origin(connect: bool) -> Http2Origin {
    Http2Origin::start(Options { connect, ..Options::default() })
}

fn before(origin: &Http2Origin) -> Gateway {
    super::before(&format!("endpoints: [\"http://{}\"], protocol: http2", origin.address))
}

/// Asks for the path over HTTP/1.1.
fn asked(gateway: &Gateway, path: &str) -> Connection {
    let mut caller = Connection::open(gateway.address);
    caller.send(HANDSHAKE.replace("/ws", path).as_bytes());
    caller
}

#[track_caller]
fn until_nothing_is_open(gateway: &Gateway) {
    until("nothing is open", || {
        let names = ["tidegate_websockets_open", "tidegate_upstream_in_flight"];
        names.iter().all(|name| gateway.metric(name, "") == 0.0).then_some(())
    });
}

#[test]
fn a_caller_of_http11_is_answered_as_its_key_demands() {
    let origin = origin(true);
    let gateway = before(&origin);
    let mut caller = asked(&gateway, "/ws?a=b");
    let head = caller.head();
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    for line in [
        "Connection: Upgrade\r\n",
        "Upgrade: websocket\r\n",
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
    ] {
        assert_eq!(head.matches(line).count(), 1, "{line}: {head}");
    }
    assert!(!head.contains("ength"), "{head}");
    assert_eq!(caller.send(b"there").exactly(5), b"there");
    assert_eq!(caller.send(b"and back").finish().rest(), b"and back");
    until_nothing_is_open(&gateway);
    let request = origin.requests().remove(0);
    assert_eq!(request.method(), "CONNECT");
    assert_eq!(request.uri().path_and_query().unwrap(), "/ws?a=b");
    assert_eq!(request.uri().authority().unwrap(), "app");
    assert_eq!(origin.protocols(), ["websocket"]);
    let fields = request.headers();
    assert_eq!(fields["sec-websocket-version"], "13");
    assert_eq!(fields["sec-websocket-protocol"], "chat");
    for gone in ["sec-websocket-key", "upgrade", "connection", "te"] {
        assert!(!fields.contains_key(gone), "{fields:?}");
    }
    assert_eq!(gateway.metric("tidegate_ended_total", ""), 0.0);
    assert_eq!(gateway.metric("tidegate_websockets_total", ""), 1.0);
}

#[test]
fn http2_on_both_sides_carries_a_megabyte_each_way() {
    let origin = origin(true);
    let gateway = before(&origin);
    let mut tunnel = Tunnel::open(gateway.address);
    let piece: Vec<u8> = (0..32 * 1024_u32 / 4).flat_map(u32::to_be_bytes).collect();
    for _ in 0..32 {
        tunnel.send(&piece);
        assert!(tunnel.exactly(piece.len()) == piece, "the bytes come back");
    }
    tunnel.finish();
    assert_eq!(tunnel.rest(), (Vec::new(), Ended::Well));
    until_nothing_is_open(&gateway);
    assert_eq!(origin.bodies().concat().len(), 1 << 20);
    assert_eq!(gateway.metric("tidegate_ended_total", ""), 0.0);
}

#[test]
fn an_endpoint_may_end_first_and_still_gets_what_comes() {
    let origin = origin(true);
    let gateway = before(&origin);
    let mut caller = asked(&gateway, "/ws-first");
    assert!(caller.head().starts_with("HTTP/1.1 101 "));
    assert_eq!(caller.rest(), b"that is all");
    caller.send(b"and this is mine").finish();
    until("it has come", || (origin.bodies() == [b"and this is mine"]).then_some(()));
    until_nothing_is_open(&gateway);
    assert_eq!(gateway.metric("tidegate_ended_total", ""), 0.0);
}

#[test]
fn a_reset_on_either_side_is_a_reset_on_the_other() {
    let origin = origin(true);
    let gateway = before(&origin);
    let mut caller = asked(&gateway, "/ws-reset");
    assert!(caller.head().starts_with("HTTP/1.1 101 "));
    caller.send(b"go");
    let kind = std::io::Read::read(&mut caller.stream, &mut [0; 1]).unwrap_err().kind();
    assert_eq!(kind, std::io::ErrorKind::ConnectionReset);
    until_nothing_is_open(&gateway);
    assert_eq!(gateway.metric("tidegate_ended_total", "upstream_cut"), 1.0);
    let mut caller = asked(&gateway, "/ws-hold");
    assert!(caller.head().starts_with("HTTP/1.1 101 "));
    assert_eq!(caller.exactly(1), b"!");
    caller.reset_on_close();
    drop(caller);
    until("the stream is reset", || (origin.resets() == 1).then_some(()));
    until_nothing_is_open(&gateway);
    assert_eq!(gateway.metric("tidegate_ended_total", "client_gone"), 1.0);
    assert_eq!(origin.connections(), 1, "the connection goes on");
}

#[test]
fn a_refusal_is_an_ordinary_reply() {
    let origin = origin(true);
    let gateway = before(&origin);
    let reply = asked(&gateway, "/ws-no").reply();
    assert_eq!((reply.status, reply.text().as_str()), (403, "no!"));
    let mut raw = Raw::open(gateway.address);
    raw.head(1, &asking("/ws-no", &[]), false);
    let outcome = raw.outcome(1);
    assert_eq!((outcome.status, outcome.text().as_str()), (403, "no!"));
}

#[test]
fn an_endpoint_that_takes_no_tunnels_is_not_asked_and_not_blamed() {
    let origin = origin(false);
    let gateway = before(&origin);
    for _ in 0..20 {
        let reply = asked(&gateway, "/ws").reply();
        assert_eq!((reply.status, reply.field("x-tidegate-reason")), (502, Some("no_websocket")));
    }
    let mut raw = Raw::open(gateway.address);
    raw.head(1, &asking("/ws", &[]), false);
    let outcome = raw.outcome(1);
    assert_eq!(outcome.status, 502, "{outcome:?}");
    assert!(outcome.text().contains("no_websocket"), "{}", outcome.text());
    assert_eq!(get(gateway.address, "/x").status, 200);
    let seen: Vec<_> = origin.requests().iter().map(|r| r.uri().path().to_owned()).collect();
    assert_eq!(seen, ["/x"]);
}

#[test]
fn another_endpoint_that_takes_tunnels_is_asked_instead() {
    let (without, with) = (origin(false), origin(true));
    let gateway = super::before(&format!(
        "endpoints: [\"http://{}\", \"http://{}\"], protocol: http2",
        without.address, with.address
    ));
    for _ in 0..4 {
        let mut caller = asked(&gateway, "/ws");
        assert!(caller.head().starts_with("HTTP/1.1 101 "));
        assert_eq!(caller.send(b"hi").finish().rest(), b"hi");
    }
    assert!(without.requests().is_empty());
}

#[test]
fn a_key_that_is_none_is_the_callers_mistake() {
    let origin = origin(true);
    let gateway = before(&origin);
    for key in ["", "Sec-WebSocket-Key: short\r\n", "Sec-WebSocket-Key: a b=\r\n"] {
        let request = HANDSHAKE.replace("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", key);
        let reply = Connection::open(gateway.address).send(request.as_bytes()).reply();
        assert_eq!((reply.status, reply.field("x-tidegate-reason")), (400, Some("bad_request")));
    }
    assert!(origin.requests().is_empty());
}

#[test]
fn where_the_protocol_is_left_open_a_tunnel_goes_over_http2_if_it_may_and_over_http11_if_not() {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    for connect in [true, false] {
        let authority = authority(&format!("ws-{connect}"), false, &[b"h2", b"http/1.1"]);
        let origin = Http2Origin::start(Options {
            connect,
            tls: Some(Arc::new(authority.server.clone())),
            http11: Some(lab.addr),
            ..Options::default()
        });
        let gateway = super::before(&format!(
            "endpoints: [\"https://{}\"], protocol: auto, {}",
            origin.address,
            authority.section(false)
        ));
        for _ in 0..2 {
            let mut caller = open(gateway.address);
            let mut tunnel = Tunnel::open(gateway.address);
            if connect {
                assert_eq!(caller.send(b"hi").exactly(2), b"hi");
                tunnel.send(b"hi");
                assert_eq!(tunnel.exactly(2), b"hi");
            } else {
                echoes(&mut caller, "over HTTP/1.1");
                tunnel.echoes("over HTTP/1.1");
            }
            assert_eq!(get(gateway.address, "/x").text(), "ok", "requests stay with HTTP/2");
        }
        let expected = if connect { 1 } else { 5 };
        assert_eq!(origin.connections(), expected);
        assert_eq!(origin.protocols().len(), if connect { 4 } else { 0 });
    }
}
