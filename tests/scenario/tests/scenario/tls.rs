//! Providers over TLS: a custom authority is trusted when it is named, and nobody else.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tidegate_lab::provider::{ProviderOptions, spawn_provider};
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::Connection;
use tidegate_scenario::llm::{FORMS, error_event};
use tidegate_scenario::process::directory;
use tokio_rustls::TlsAcceptor;

/// A server that speaks TLS for another one, and the authority that vouches for it.
struct Secured {
    port: u16,
    authority: PathBuf,
}

/// Puts TLS before `upstream`, with a certificate for `localhost` of an authority of its own.
fn secured(upstream: SocketAddr, name: &str) -> Secured {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    let file = directory().join(format!("{name}.pem"));
    fs::write(&file, authority.pem()).unwrap();

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || relay(listener, upstream, &TlsAcceptor::from(Arc::new(config))));
    Secured { port, authority: file }
}

/// Moves bytes between TLS and `upstream` until the test's process ends.
pub(crate) fn relay(listener: TcpListener, upstream: SocketAddr, acceptor: &TlsAcceptor) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust us ends the handshake.
                let Ok(mut tls) = acceptor.accept(tcp).await else { return };
                let Ok(mut plain) = tokio::net::TcpStream::connect(upstream).await else { return };
                // However it ends, both connections are closed.
                let _ = tokio::io::copy_bidirectional(&mut tls, &mut plain).await;
            });
        }
    });
}

/// Both dialects at this address, with further settings.
fn at(host: &str, secured: &Secured, more: &str) -> String {
    let port = secured.port;
    format!(
        "retry: {{ attempts: 1 }}\nproviders:\n  \
         lab: {{ dialect: openai, base_url: \"https://{host}:{port}/v1\", api_key: none{more} }}\n  \
         claude: {{ dialect: anthropic, base_url: \"https://{host}:{port}\", api_key: none{more} }}\n"
    )
}

fn trusting(secured: &Secured) -> String {
    format!(", ca_file: \"{}\"", secured.authority.display())
}

#[test]
fn a_provider_over_tls_answers_whole_and_streamed() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let secured = secured(lab.addr, "own");
    let gateway = Gateway::start(&at("localhost", &secured, &trusting(&secured)));
    let mut connection = Connection::open(gateway.address);
    let mut direct = Connection::open(lab.addr);
    for form in FORMS {
        for ask in [form.whole("lab-echo"), form.stream("lab-tokens-2000")] {
            let theirs = direct.send(&ask).reply();
            let ours = connection.send(&ask).reply();
            assert_eq!((ours.status, ours.complete), (200, true), "{}", ours.text());
            assert!(ours.body == theirs.body, "{}", form.path);
        }
        let large = form.body(&format!("lab-echo\",\"pad\":\"{}", "p".repeat(300_000)), false);
        let ask =
            tidegate_scenario::http::llm_call(form.path, tidegate_scenario::gateway::KEY, &large);
        assert_eq!(connection.send(&ask).reply().status, 200);
    }
    let connects = gateway.metric("tidegate_upstream_connects_total", "");
    assert_eq!(connects, 2.0, "one connection for each provider is used again");
}

#[test]
fn a_stream_over_tls_arrives_event_by_event_and_its_break_is_told() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let secured = secured(lab.addr, "own");
    let gateway = Gateway::start(&at("localhost", &secured, &trusting(&secured)));
    for form in FORMS {
        let mut connection = Connection::open(gateway.address);
        connection.send(&form.stream_with("lab-tokens-3", "x-lab-interval-ms: 15000\r\n"));
        assert!(connection.until_seen(b"data: {"), "the first event waits for no other");
        let ask = form.stream_with("lab-cut", "x-lab-interval-ms: 5\r\n");
        let reply = Connection::open(gateway.address).send(&ask).reply();
        error_event(&form, &reply.text());
    }
}

#[test]
fn an_unknown_authority_is_refused_and_named_in_the_log() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let (own, other) = (secured(lab.addr, "own"), secured(lab.addr, "other"));
    for more in [String::new(), trusting(&other)] {
        let mut gateway = Gateway::start(&at("localhost", &own, &more));
        for form in FORMS {
            let reply = Connection::open(gateway.address).send(&form.stream("lab-echo")).reply();
            assert_eq!(reply.status, 502, "{}", reply.text());
            assert_eq!(reply.field("x-tidegate-reason"), Some("tls_failed"));
            assert!(reply.json()["error"]["message"].as_str().unwrap().contains("TLS"));
        }
        let line = gateway.logged("tls_failed");
        assert!(line.contains("certificate"), "{line}");
    }
    assert_eq!(lab.stats().requests, 0);
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let secured = secured(lab.addr, "own");
    let mut gateway = Gateway::start(&at("127.0.0.1", &secured, &trusting(&secured)));
    for form in FORMS {
        let reply = Connection::open(gateway.address).send(&form.whole("lab-echo")).reply();
        assert_eq!(reply.status, 502, "{}", reply.text());
        assert_eq!(reply.field("x-tidegate-reason"), Some("tls_failed"));
    }
    let line = gateway.logged("tls_failed");
    assert!(line.contains("name"), "{line}");
    assert_eq!(lab.stats().requests, 0);
}
