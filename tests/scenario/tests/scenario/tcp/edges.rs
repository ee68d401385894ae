//! What stands around the bytes of a TCP connection: the PROXY protocol, TLS that we end, TLS that we speak to endpoints.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection};
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::Connection;
use tidegate_scenario::scripted::Scripted;
use tidegate_scenario::secure::{Authority, Issued};
use tidegate_scenario::until;
use tidegate_wire::proxy_protocol::{write_v1, write_v2};

use super::before;

const BEHIND_A_PROXY: &str = "proxy_protocol: true, trusted_proxies: [127.0.0.0/8]";

/// A server that repeats the first bytes that it gets, `count` of them.
fn repeats(count: usize) -> Scripted {
    Scripted::start(move |_, peer| {
        let bytes = peer.exactly(count);
        peer.send(bytes).wait_for_close();
    })
}

/// A TLS server that repeats five bytes.
fn tls_server(issued: &Issued) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.der.clone()], PrivateKeyDer::Pkcs8(issued.key.clone().into()))
        .unwrap();
    let config = Arc::new(config);
    let server = Scripted::start(move |_, peer| {
        let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut tls = rustls::Stream::new(&mut tls, &mut peer.stream);
        let mut word = [0; 5];
        // Whoever does not trust us ends the handshake.
        if tls.read_exact(&mut word).is_ok() {
            let _ = tls.write_all(&word);
            tls.conn.send_close_notify();
            let _ = tls.flush();
        }
    });
    server.address
}

/// Connections to this TLS endpoint under this name, verified by the authority.
fn to_tls(endpoint: SocketAddr, authority: &Authority, name: &str) -> Gateway {
    let db = format!(
        "db: {{ endpoints: [\"tls://{endpoint}\"], tls: {{ ca: {}, server_name: {name} }} }}",
        authority.file.display()
    );
    before("upstream: db", &db, "")
}

#[test]
fn the_address_in_a_proxy_header_goes_on_to_the_endpoint() {
    let (caller, here) = ("192.0.2.7:4000".parse().unwrap(), "192.0.2.9:5432".parse().unwrap());
    let mut headers = [Vec::new(), Vec::new()];
    write_v1(&mut headers[0], caller, here);
    write_v2(&mut headers[1], caller, here);
    let server = Scripted::start(|_, peer| {
        let all = peer.rest();
        peer.send(all);
    });
    let mut gateway = before(
        &format!("upstream: db, {BEHIND_A_PROXY}"),
        &format!("db: {{ endpoints: [\"tcp://{}\"], proxy_protocol: v1 }}", server.address),
        "",
    );
    for header in headers {
        let mut client = Connection::open(gateway.tcp_address());
        let came = client.send(&[&header[..], b"hello"].concat()).finish().rest();
        let text = String::from_utf8_lossy(&came).into_owned();
        assert!(text.starts_with("PROXY TCP4 192.0.2.7 "), "{text}");
        assert!(text.ends_with("\r\nhello"), "{text}");
        assert!(text.contains(" 4000 "), "{text}");
    }
}

#[test]
fn without_its_proxy_header_a_connection_reaches_nobody() {
    let server = repeats(5);
    let mut gateway = before(
        &format!("upstream: db, {BEHIND_A_PROXY}"),
        &format!("db: {{ endpoints: [\"tcp://{}\"] }}", server.address),
        "",
    );
    let mut client = Connection::open(gateway.tcp_address());
    assert_eq!(client.send(b"no such header\r\n").rest(), b"");
    until("it is counted", || {
        (gateway.metric("tidegate_proxy_protocol_refused_total", "") == 1.0).then_some(())
    });
    assert_eq!(server.accepted(), 0);
}

#[test]
fn tls_of_callers_ends_here_and_the_endpoint_gets_plain_bytes() {
    let authority = Authority::default();
    let issued = authority.issue("db", &["db.example"]);
    let server = repeats(5);
    let mut gateway = before(
        &format!("upstream: db, tls: [{}]", issued.yaml()),
        &format!("db: {{ endpoints: [\"tcp://{}\"] }}", server.address),
        "",
    );
    let address = gateway.tcp_address();
    let mut client = authority.any_client().open(address, "db.example");
    assert_eq!(client.send(b"hello").exactly(5), b"hello");
    let plain = Connection::open(address).send(b"plain\r\n").rest();
    assert!(!plain.ends_with(b"plain"), "what is no TLS reaches nobody");
    assert_eq!(server.accepted(), 1);
}

#[test]
fn tls_is_spoken_to_endpoints_that_ask_for_it() {
    let authority = Authority::default();
    let endpoint = tls_server(&authority.issue("db", &["db.internal"]));
    let mut gateway = to_tls(endpoint, &authority, "db.internal");
    let mut client = Connection::open(gateway.tcp_address());
    assert_eq!(client.send(b"hello").exactly(5), b"hello");
}

#[test]
fn an_endpoint_with_another_name_gets_no_byte() {
    let authority = Authority::default();
    let endpoint = tls_server(&authority.issue("db", &["other.internal"]));
    let mut gateway = to_tls(endpoint, &authority, "db.internal");
    let mut client = Connection::open(gateway.tcp_address());
    assert_eq!(client.send(b"hello").rest(), b"");
    until("it is counted", || {
        (gateway.metric("tidegate_ended_total", "tls_failed") == 1.0).then_some(())
    });
}
