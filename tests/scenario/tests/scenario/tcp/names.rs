//! Server names: which upstream a TLS connection goes to that is passed on unopened.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::Connection;
use tidegate_scenario::scripted::Scripted;
use tidegate_scenario::until;

use super::before;

/// A TLS server that says its name, and the certificate that vouches for it.
fn server(name: &'static str) -> (SocketAddr, CertificateDer<'static>) {
    let own = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let certificate = own.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let server = Scripted::start(move |_, peer| {
        let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut tls = rustls::Stream::new(&mut tls, &mut peer.stream);
        // Whoever does not trust us ends the handshake.
        let _ = tls.write_all(name.as_bytes());
        tls.conn.send_close_notify();
        let _ = tls.flush();
    });
    (server.address, certificate)
}

/// What the server with this name says, verified end to end.
fn said(gateway: SocketAddr, name: &'static str, certificate: &CertificateDer<'static>) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name).unwrap();
    let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut tcp = TcpStream::connect(gateway).unwrap();
    let mut text = String::new();
    rustls::Stream::new(&mut tls, &mut tcp).read_to_string(&mut text).unwrap();
    text
}

/// The ClientHello for a name.
fn hello(name: &'static str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(name).unwrap();
    let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).unwrap();
    hello
}

/// A server that says `word` and then everything it has read, once the caller has ended.
fn repeats(word: &'static str) -> Scripted {
    Scripted::start(move |_, peer| {
        let all = peer.rest();
        peer.send(word).send(all);
    })
}

#[test]
fn each_name_reaches_its_server_over_tls_that_is_not_opened() {
    let (one, two) = (server("one.example"), server("deep.two.example"));
    let mut gateway = before(
        "sni: { one.example: one, \"*.two.example\": two }",
        &format!(
            "one: {{ endpoints: [\"tcp://{}\"] }}, two: {{ endpoints: [\"tcp://{}\"] }}",
            one.0, two.0
        ),
        "",
    );
    let address = gateway.tcp_address();
    for _ in 0..2 {
        assert_eq!(said(address, "one.example", &one.1), "one.example");
        assert_eq!(said(address, "deep.two.example", &two.1), "deep.two.example");
    }
}

/// A gateway with a server for one name, and one for the rest.
fn with_fallback(sections: &str) -> (Gateway, SocketAddr) {
    let (one, rest) = (repeats("one "), repeats("rest "));
    let mut gateway = before(
        "sni: { one.example: one }, upstream: rest",
        &format!(
            "one: {{ endpoints: [\"tcp://{}\"] }}, rest: {{ endpoints: [\"tcp://{}\"] }}",
            one.address, rest.address
        ),
        sections,
    );
    let address = gateway.tcp_address();
    (gateway, address)
}

#[test]
fn a_hello_in_single_bytes_is_understood_and_passed_on_whole() {
    let (_gateway, address) = with_fallback("");
    let hello = hello("one.example");
    let mut client = Connection::open(address);
    for byte in &hello {
        client.send(&[*byte]);
    }
    assert_eq!(client.finish().rest(), [&b"one "[..], &hello].concat());
}

#[test]
fn other_names_and_other_protocols_go_to_the_fallback() {
    let (_gateway, address) = with_fallback("");
    for bytes in [hello("other.example"), b"SSH-2.0-test\r\n".to_vec(), Vec::new()] {
        let mut client = Connection::open(address);
        assert_eq!(client.send(&bytes).finish().rest(), [&b"rest "[..], &bytes].concat());
    }
}

#[test]
fn a_slow_hello_meets_its_deadline() {
    let (gateway, address) = with_fallback("timeouts: { head: 200ms }\n");
    let mut client = Connection::open(address);
    client.send(&hello("one.example")[..20]);
    assert_eq!(client.rest(), b"");
    until("it is counted", || {
        (gateway.metric("tidegate_ended_total", "head_timeout") == 1.0).then_some(())
    });
}

#[test]
fn a_malformed_hello_goes_nowhere() {
    let (gateway, address) = with_fallback("");
    let mut client = Connection::open(address);
    client.send(b"\x16\x03\x01\x00\x00");
    assert_eq!(client.rest(), b"");
    until("it is counted", || {
        (gateway.metric("tidegate_ended_total", "bad_request") == 1.0).then_some(())
    });
}

#[test]
fn a_name_that_nobody_has_goes_nowhere_without_a_fallback() {
    let one = repeats("one ");
    let mut gateway = before(
        "sni: { one.example: one }",
        &format!("one: {{ endpoints: [\"tcp://{}\"] }}", one.address),
        "",
    );
    let mut client = Connection::open(gateway.tcp_address());
    assert_eq!(client.send(&hello("two.example")).rest(), b"");
    until("it is counted", || {
        (gateway.metric("tidegate_ended_total", "unknown_server_name") == 1.0).then_some(())
    });
    assert_eq!(one.accepted(), 0);
}
