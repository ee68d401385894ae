//! TLS to endpoints: the protocol that ALPN chooses, our own certificate, the name to verify.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tidegate_scenario::http::{Connection, get};
use tidegate_scenario::http2_origin::{Http2Origin, Options};
use tidegate_scenario::process::directory;
use tidegate_scenario::until;

/// An authority, and files with what it vouches for.
pub(super) struct Authority {
    ca: PathBuf,
    client: PathBuf,
    client_key: PathBuf,
    pub(super) server: ServerConfig,
}

/// Makes one. `demands`: its server asks callers for a certificate of this authority.
pub(super) fn authority(name: &str, demands: bool, alpn: &[&[u8]]) -> Authority {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(params, authority_key);
    let signed = |host: &str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        (params.signed_by(&key, &issuer).unwrap(), key)
    };
    let (client_cert, client_key) = signed("gateway.internal");
    let (server_cert, server_key) = signed("app.internal");
    let files = ["ca", "client", "key"].map(|part| directory().join(format!("{name}-{part}.pem")));
    fs::write(&files[0], authority.pem()).unwrap();
    fs::write(&files[1], client_cert.pem()).unwrap();
    fs::write(&files[2], client_key.serialize_pem()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = if demands {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let mut server = builder
        .with_single_cert(
            vec![server_cert.der().clone()],
            PrivateKeyDer::Pkcs8(server_key.serialize_der().into()),
        )
        .unwrap();
    server.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let [ca, client, client_key] = files;
    Authority { ca, client, client_key, server }
}

impl Authority {
    fn origin(&self) -> Http2Origin {
        let tls = Some(Arc::new(self.server.clone()));
        Http2Origin::start(Options { tls, ..Options::default() })
    }

    /// The `tls` section that trusts it, with or without a certificate of ours.
    pub(super) fn section(&self, ours: bool) -> String {
        let identity = if ours {
            format!(", cert: \"{}\", key: \"{}\"", self.client.display(), self.client_key.display())
        } else {
            String::new()
        };
        format!("tls: {{ ca: \"{}\", server_name: app.internal{identity} }}", self.ca.display())
    }
}

#[test]
fn alpn_chooses_http2_where_it_is_wanted_or_left_open() {
    for protocol in ["http2", "auto"] {
        let authority = authority(&format!("alpn-{protocol}"), false, &[b"h2"]);
        let origin = authority.origin();
        let gateway = super::before(&format!(
            "endpoints: [\"https://{}\"], protocol: {protocol}, {}",
            origin.address,
            authority.section(false)
        ));
        let mut caller = Connection::open(gateway.address);
        for _ in 0..3 {
            let reply = caller.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").reply();
            assert_eq!((reply.status, reply.text().as_str()), (200, "ok"));
        }
        assert_eq!(origin.connections(), 1);
        assert_eq!(origin.requests()[0].uri(), "https://a/x");
    }
}

#[test]
fn an_endpoint_that_refuses_h2_fails_the_handshake_and_is_named_in_the_log() {
    let authority = authority("no-h2", false, &[]);
    let origin = authority.origin();
    let mut gateway = super::before(&format!(
        "endpoints: [\"https://{}\"], protocol: http2, {}",
        origin.address,
        authority.section(false)
    ));
    let reply = get(gateway.address, "/");
    assert_eq!(reply.field("x-tidegate-reason"), Some("tls_failed"), "{}", reply.text());
    gateway.logged("refused h2");
    assert!(origin.requests().is_empty());
}

#[test]
fn where_the_protocol_is_left_open_http11_is_spoken_to_those_who_speak_nothing_else() {
    let authority = authority("auto-h1", false, &[b"http/1.1"]);
    let lab = tidegate_scenario::origin::Origin::plain();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(authority.server.clone()));
    let upstream = lab.address;
    std::thread::spawn(move || crate::tls::relay(listener, upstream, &acceptor));
    let gateway = super::before(&format!(
        "endpoints: [\"https://{address}\"], protocol: auto, {}",
        authority.section(false)
    ));
    let mut callers: Vec<_> = (0..4).map(|_| Connection::open(gateway.address)).collect();
    for caller in &mut callers {
        for _ in 0..3 {
            assert_eq!(caller.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").reply().text(), "ok");
        }
    }
    assert_eq!(lab.requests().len(), 12);
    assert_eq!(lab.connections(), 1, "the connection is used again");
}

#[test]
fn our_certificate_is_shown_to_those_who_ask_and_its_lack_is_their_refusal() {
    let authority = authority("mtls", true, &[b"h2", b"http/1.1"]);
    for protocol in ["http1", "http2"] {
        let origin = authority.origin();
        for ours in [true, false] {
            let gateway = super::before(&format!(
                "endpoints: [\"https://{}\"], protocol: {protocol}, {}",
                origin.address,
                authority.section(ours)
            ));
            let reply = get(gateway.address, "/");
            match (protocol, ours) {
                ("http2", true) => assert_eq!(reply.text(), "ok"),
                (_, false) => assert_eq!(reply.status, 502, "{}", reply.text()),
                // The origin speaks HTTP/2 only; that the handshake passed is seen below.
                _ => {}
            }
        }
        let expected = usize::from(protocol == "http2");
        until("only the request with a certificate arrived", || {
            (origin.requests().len() == expected).then_some(())
        });
    }
}

#[test]
fn upstreams_with_different_certificates_share_no_connection() {
    let authority = authority("apart", false, &[b"h2"]);
    let origin = authority.origin();
    let gateway = tidegate_scenario::gateway::Gateway::start(&format!(
        "upstreams:\n  a: {{ endpoints: [\"https://{address}\"], protocol: http2, {with} }}\n  \
         b: {{ endpoints: [\"https://{address}\"], protocol: http2, {without} }}\n\
         routes: [{{ path: /a, upstream: a }}, {{ path: /b, upstream: b }}]\nshards: 1\n",
        address = origin.address,
        with = authority.section(true),
        without = authority.section(false),
    ));
    for path in ["/a", "/b", "/a", "/b"] {
        assert_eq!(get(gateway.address, path).status, 200);
    }
    assert_eq!(origin.connections(), 2);
}
