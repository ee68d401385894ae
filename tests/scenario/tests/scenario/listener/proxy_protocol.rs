//! The PROXY protocol: whose word counts, and that nothing behind the header is lost.

use std::net::SocketAddr;

use tidegate_scenario::http::Connection;
use tidegate_scenario::origin::Origin;
use tidegate_scenario::secure::Authority;
use tidegate_scenario::until;
use tidegate_wire::proxy_protocol::{write_v1, write_v2, write_v2_local};

use super::{GET, get, listening};

const TRUSTED: &str = "proxy_protocol: true, trusted_proxies: [127.0.0.0/8]";

fn header(second: bool, client: &str) -> Vec<u8> {
    let (client, here): (SocketAddr, SocketAddr) =
        (client.parse().unwrap(), "[2001:db8::2]:443".parse().unwrap());
    let mut bytes = Vec::new();
    if second {
        write_v2(&mut bytes, client, here);
    } else {
        write_v1(&mut bytes, client, here);
    }
    bytes
}

fn local() -> Vec<u8> {
    let mut bytes = Vec::new();
    write_v2_local(&mut bytes);
    bytes
}

#[test]
fn the_address_in_the_header_is_the_callers() {
    let origin = Origin::plain();
    let gateway = listening(&[TRUSTED], origin.address, "");
    for (bytes, told) in [
        (header(false, "192.0.2.7:4000"), "192.0.2.7"),
        (header(true, "192.0.2.8:4000"), "192.0.2.8"),
        (header(true, "[2001:db8::1]:4000"), "2001:db8::1"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (local(), "127.0.0.1"),
    ] {
        // With the request behind it in one piece, and byte by byte.
        let whole = [&bytes[..], GET].concat();
        let mut at_once = Connection::open(gateway.address);
        assert_eq!(at_once.send(&whole).reply().status, 200);
        assert_eq!(get(&mut at_once).status, 200, "the connection keeps its address");
        let mut pieces = Connection::open(gateway.address);
        for byte in &whole {
            pieces.send(&[*byte]);
        }
        assert_eq!(pieces.reply().status, 200);
        let requests = origin.requests();
        for request in &requests[requests.len() - 3..] {
            assert_eq!(request.field("x-forwarded-for"), Some(told));
        }
    }
}

#[test]
fn the_header_comes_before_tls() {
    let authority = Authority::default();
    let issued = authority.issue("app", &["app.example"]);
    let origin = Origin::plain();
    let keys = format!("{TRUSTED}, tls: [{}]", issued.yaml());
    let gateway = listening(&[&keys], origin.address, "");
    for second in [false, true] {
        let mut plain = Connection::open(gateway.address);
        plain.send(&header(second, "192.0.2.9:4000"));
        let mut secure = authority.any_client().on(plain, "app.example");
        assert_eq!(get(&mut secure).status, 200);
        let request = origin.requests().pop().unwrap();
        assert_eq!(request.field("x-forwarded-for"), Some("192.0.2.9"));
        assert_eq!(request.field("x-forwarded-proto"), Some("https"));
    }
}

#[test]
fn a_missing_malformed_or_late_header_ends_the_connection() {
    let origin = Origin::plain();
    let gateway = listening(&[TRUSTED], origin.address, "timeouts: { head: 200ms }\n");
    let cut = &header(true, "192.0.2.7:1")[..20];
    for (number, bytes) in
        [GET, b"PROXY TCP4 1.2.3.4\r\n", b"PROXY TCP4 1.2.3", cut, b""].into_iter().enumerate()
    {
        assert_eq!(Connection::open(gateway.address).send(bytes).rest(), b"", "{bytes:?}");
        until("it is counted", || {
            let refused = gateway.metric("tidegate_proxy_protocol_refused_total", "");
            (refused == number as f64 + 1.0).then_some(())
        });
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_header_from_a_stranger_is_refused() {
    let origin = Origin::plain();
    let keys = "proxy_protocol: true, trusted_proxies: [10.0.0.0/8, 127.0.0.2]";
    let gateway = listening(&[keys], origin.address, "");
    let spoofed = [&header(false, "10.0.0.1:4000")[..], GET].concat();
    assert_eq!(Connection::open(gateway.address).send(&spoofed).rest(), b"");
    assert_eq!(origin.connections(), 0);
    // Where no header is asked for, one is no request.
    let gateway = listening(&["http2: true"], origin.address, "");
    assert_eq!(Connection::open(gateway.address).send(&spoofed).reply().status, 400);
}
