//! TLS: who gets a session, who does not, and what the session carries.

use std::io::Read as _;

use rustls::{AlertDescription, Error, HandshakeKind};
use tidegate_scenario::http::Connection;
use tidegate_scenario::origin::{Answer, Origin};
use tidegate_scenario::secure::{Authority, Client};
use tidegate_scenario::until;

use super::{GET, configuration, get, listening};

/// The kind of a fresh connection's handshake, after a request on it.
fn kind(client: &Client, address: std::net::SocketAddr) -> HandshakeKind {
    let mut connection = client.open(address, "app.example");
    assert_eq!(get(&mut connection).status, 200);
    connection.tls.as_ref().unwrap().handshake_kind().unwrap()
}

#[test]
fn the_server_name_picks_the_certificate() {
    let authority = Authority::default();
    let app = authority.issue("app", &["app.example", "also.example"]);
    let wild = authority.issue("wild", &["*.wild.example"]);
    let rsa = authority.issue_for("p384", &["app.example"], &rcgen::PKCS_ECDSA_P384_SHA384);
    let origin = Origin::plain();
    let tls = format!("tls: [{}, {}, {}]", app.yaml(), wild.yaml(), rsa.yaml());
    let gateway = listening(&[&tls], origin.address, "");
    for (name, expected) in
        [("app.example", &app), ("also.example", &app), ("any.wild.example", &wild)]
    {
        let mut connection = authority.any_client().open(gateway.address, name);
        assert_eq!(get(&mut connection).text(), "ok", "{name}");
        let shown = connection.tls.as_ref().unwrap().peer_certificates().unwrap();
        assert_eq!(shown[0], expected.der, "{name}");
    }
    let mut stranger = authority.any_client().open(gateway.address, "unknown.test");
    let error = stranger.shake_hands().unwrap_err().to_string();
    assert!(error.contains("not valid for name"), "the default is shown: {error}");
    let request = &origin.requests()[0];
    assert_eq!(request.field("x-forwarded-proto"), Some("https"));
}

#[test]
fn a_client_that_cannot_verify_the_first_key_gets_the_other() {
    let authority = Authority::default();
    let curve = authority.issue("curve", &["app.example"]);
    let edwards = authority.issue_for("edwards", &["app.example"], &rcgen::PKCS_ED25519);
    let origin = Origin::plain();
    let tls = format!("tls: [{}, {}]", edwards.yaml(), curve.yaml());
    let gateway = listening(&[&tls], origin.address, "");
    let mut connection = authority.any_client().open(gateway.address, "app.example");
    connection.shake_hands().unwrap();
    let shown = connection.tls.as_ref().unwrap().peer_certificates().unwrap();
    assert_eq!(shown[0], edwards.der);
    // As curl without Ed25519 would come.
    let output = std::process::Command::new("openssl")
        .args(["s_client", "-connect", &gateway.address.to_string(), "-servername", "app.example"])
        .args(["-sigalgs", "ECDSA+SHA256", "-brief"])
        .stdin(std::process::Stdio::null())
        .output();
    if let Ok(output) = output {
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains("ECDSA") || told.contains("ecdsa"), "{told}");
    }
}

#[test]
fn both_versions_are_resumed_and_a_reload_forgets_no_session() {
    let authority = Authority::default();
    let tls = format!("tls: [{}]", authority.issue("app", &["app.example"]).yaml());
    let origin = Origin::plain();
    let gateway = listening(&[&tls], origin.address, "shards: 2\n");
    for (number, version) in [&rustls::version::TLS12, &rustls::version::TLS13].iter().enumerate() {
        let client = authority.client(&[version], None);
        assert_eq!(kind(&client, gateway.address), HandshakeKind::Full);
        for _ in 0..4 {
            assert_eq!(kind(&client, gateway.address), HandshakeKind::Resumed, "{version:?}");
        }
        let sections = format!("shards: 2\nlimits: {{ connections: {} }}\n", 5000 + number);
        let before = gateway.generation();
        gateway.reload(&configuration(&[&tls], origin.address, &sections));
        until("the reload", || (gateway.generation() > before).then_some(()));
        assert_eq!(kind(&client, gateway.address), HandshakeKind::Resumed, "after a reload");
    }
    assert_eq!(gateway.metric("tidegate_tls_handshakes_total", "kind=\"full\""), 2.0);
    assert_eq!(gateway.metric("tidegate_tls_handshakes_total", "kind=\"resumed\""), 10.0);
}

#[test]
fn an_older_version_than_allowed_is_refused() {
    let authority = Authority::default();
    let issued = authority.issue("app", &["app.example"]);
    let tls = format!("tls: [{}], tls_min: \"1.3\"", issued.yaml());
    let origin = Origin::plain();
    let gateway = listening(&[&tls], origin.address, "");
    let old = authority.client(&[&rustls::version::TLS12], None);
    let error = old.open(gateway.address, "app.example").shake_hands().unwrap_err();
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    assert_eq!(cause, Some(&Error::AlertReceived(AlertDescription::ProtocolVersion)));
    assert_eq!(kind(&authority.any_client(), gateway.address), HandshakeKind::Full);
    assert_eq!(gateway.metric("tidegate_tls_failures_total", "reason=\"incompatible\""), 1.0);
}

#[test]
fn client_certificates_are_required_or_optional_and_always_verified() {
    let (authority, clients, strangers) =
        (Authority::default(), Authority::default(), Authority::default());
    let tls = format!("tls: [{}]", authority.issue("app", &["app.example"]).yaml());
    let ca = clients.file.display();
    let (required, optional) = (
        format!("{tls}, client_ca: {ca}"),
        format!("{tls}, client_ca: {ca}, client_auth: optional"),
    );
    let origin = Origin::plain();
    let mut gateway = listening(&[&required, &optional, &tls], origin.address, "");
    let [required, optional, open] = gateway.addresses()[..] else { panic!("three listeners") };
    let known = clients.issue("client", &["client.example"]);
    let unknown = strangers.issue("client", &["client.example"]);
    for version in rustls::ALL_VERSIONS {
        let with = |identity| authority.client(&[version], identity);
        let status =
            |client: &Client, address| get(&mut client.open(address, "app.example")).status;
        for (identity, at_required, at_optional) in
            [(Some(&known), 200, 200), (None, 0, 200), (Some(&unknown), 0, 0)]
        {
            assert_eq!(status(&with(identity), required), at_required, "{version:?}");
            assert_eq!(status(&with(identity), optional), at_optional, "{version:?}");
        }
        // A session that began without a certificate does not go on where one is required.
        let anonymous = with(None);
        for elsewhere in [open, optional] {
            assert_eq!(status(&anonymous, elsewhere), 200);
            assert_eq!(status(&anonymous, required), 0, "{version:?}");
        }
        let client = with(Some(&known));
        assert_eq!(kind(&client, required), HandshakeKind::Full);
        assert_eq!(kind(&client, required), HandshakeKind::Resumed, "{version:?}");
    }
    let refused = gateway.metric("tidegate_tls_failures_total", "reason=\"client_certificate\"");
    assert!(refused >= 6.0, "{refused}");
}

#[test]
fn callers_cannot_claim_a_client_certificate() {
    let origin = Origin::plain();
    let gateway = listening(&["http2: true"], origin.address, "");
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nX-Client-Cert-Subject: CN=root\r\n\
        x-ssl-client-verify: SUCCESS\r\nClient-Cert: :AAAA:\r\nX-Client: kept\r\n\r\n";
    assert_eq!(Connection::open(gateway.address).send(request).reply().status, 200);
    let head = origin.requests()[0].head.to_ascii_lowercase();
    assert!(!head.contains("cert") && !head.contains("ssl"), "{head}");
    assert!(head.contains("x-client: kept"), "{head}");
    assert!(head.contains("x-forwarded-proto: http\r\n"), "{head}");
}

#[test]
fn plain_http_on_a_tls_port_is_told_so() {
    let authority = Authority::default();
    let tls = format!("tls: [{}]", authority.issue("app", &["app.example"]).yaml());
    let origin = Origin::plain();
    let gateway = listening(&[&tls], origin.address, "");
    let reply = get(&mut Connection::open(gateway.address));
    assert_eq!((reply.status, reply.complete), (400, true));
    assert_eq!(reply.text(), "The plain HTTP request was sent to an HTTPS port.\n");
    assert_eq!(reply.field("connection"), Some("close"));
    let failures = |reason: &str| {
        gateway.metric("tidegate_tls_failures_total", &format!("reason=\"{reason}\""))
    };
    until("it is counted", || (failures("plain_http") == 1.0).then_some(()));
    assert_eq!(Connection::open(gateway.address).send(b"\0\x01\x02\x03").rest(), b"");
    until("it is counted", || (failures("not_tls") == 1.0).then_some(()));
    // A record that says handshake and holds none.
    assert_eq!(Connection::open(gateway.address).send(b"\x16\x03\x01\0\x05hello").rest(), b"");
    until("it is counted", || (failures("protocol") == 1.0).then_some(()));
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_handshake_that_stalls_ends_at_its_deadline() {
    let authority = Authority::default();
    let tls = format!("tls: [{}]", authority.issue("app", &["app.example"]).yaml());
    let origin = Origin::plain();
    let sections = "timeouts: { tls_handshake: 200ms }\n";
    let gateway = listening(&[&tls], origin.address, sections);
    for begun in [b"".as_slice(), b"\x16", b"\x16\x03\x01\x02\0\x01\0"] {
        assert_eq!(Connection::open(gateway.address).send(begun).rest(), b"", "{begun:?}");
    }
    until("they are counted", || {
        let timeouts = gateway.metric("tidegate_tls_failures_total", "reason=\"timeout\"");
        (timeouts == 3.0).then_some(())
    });
    until("they are gone", || (gateway.metric("tidegate_connections", "") == 0.0).then_some(()));
}

#[test]
fn an_idle_session_ends_with_a_close_notify() {
    let authority = Authority::default();
    let tls = format!("tls: [{}]", authority.issue("app", &["app.example"]).yaml());
    let origin = Origin::plain();
    let gateway = listening(&[&tls], origin.address, "timeouts: { keep_alive: 200ms }\n");
    for version in rustls::ALL_VERSIONS {
        let mut connection =
            authority.client(&[version], None).open(gateway.address, "app.example");
        assert_eq!(get(&mut connection).status, 200);
        assert_eq!(connection.rest(), b"");
        assert!(!connection.broken, "{version:?}");
        let mut connection =
            authority.client(&[version], None).open(gateway.address, "app.example");
        let last = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        assert_eq!(connection.send(last).reply().status, 200);
        assert_eq!(connection.rest(), b"");
        assert!(!connection.broken, "{version:?}");
    }
}

#[test]
fn a_reply_that_breaks_off_is_not_ended_with_a_close_notify() {
    let authority = Authority::default();
    let tls = format!("tls: [{}]", authority.issue("app", &["app.example"]).yaml());
    // Its end is that of the connection, for callers of HTTP/1.0.
    let cut = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let origin = Origin::start(move |_| Answer::close(cut));
    let gateway = listening(&[&tls], origin.address, "");
    let mut connection = authority.any_client().open(gateway.address, "app.example");
    connection.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    let bytes = connection.rest();
    assert!(bytes.ends_with(b"hello"), "{}", String::from_utf8_lossy(&bytes));
    assert!(connection.broken, "a caller could take this for the end");
}

#[test]
fn a_small_reply_is_one_record() {
    let authority = Authority::default();
    let tls = format!("tls: [{}]", authority.issue("app", &["app.example"]).yaml());
    let body = "x".repeat(4000);
    let origin = Origin::start(move |_| Answer::ok(&body));
    let gateway = listening(&[&tls], origin.address, "");
    let mut connection = authority.any_client().open(gateway.address, "app.example");
    // The first reply may come with the session ticket.
    assert_eq!(get(&mut connection).body.len(), 4000);
    connection.send(GET);
    let mut raw = Vec::new();
    let length = |raw: &[u8]| match raw {
        [_, _, _, high, low, ..] => 5 + usize::from(u16::from_be_bytes([*high, *low])),
        _ => 5,
    };
    while raw.len() < length(&raw) {
        let mut piece = [0; 8 * 1024];
        let read = connection.stream.read(&mut piece).unwrap();
        assert!(read > 0, "the connection ended");
        raw.extend_from_slice(&piece[..read]);
    }
    assert_eq!((raw[0], raw.len()), (23, length(&raw)), "one application record");
    assert!(raw.len() > 4000);
}

#[test]
fn large_bodies_pass_both_ways_unchanged() {
    let authority = Authority::default();
    let tls = format!("tls: [{}]", authority.issue("app", &["app.example"]).yaml());
    let origin = Origin::start(|request| {
        let mut answer =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len())
                .into_bytes();
        answer.extend_from_slice(&request.body);
        Answer::keep(answer)
    });
    let gateway = listening(&[&tls], origin.address, "");
    let body: Vec<u8> =
        (0..3_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for version in rustls::ALL_VERSIONS {
        let mut connection =
            authority.client(&[version], None).open(gateway.address, "app.example");
        for _ in 0..2 {
            let head =
                format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
            let reply = connection.send(head.as_bytes()).send(&body).reply();
            assert_eq!((reply.status, reply.complete), (200, true));
            assert!(reply.body == body, "{version:?}");
        }
    }
}

#[test]
fn connections_beyond_the_limit_are_answered_in_words_or_closed_before_a_handshake() {
    let authority = Authority::default();
    let tls = format!("tls: [{}]", authority.issue("app", &["app.example"]).yaml());
    let origin = Origin::plain();
    let sections = "limits: { connections: 1, requests: 1 }\nshards: 1\n";
    let gateway = listening(&[&tls], origin.address, sections);
    let client = authority.any_client();
    let mut first = client.open(gateway.address, "app.example");
    assert_eq!(get(&mut first).status, 200);
    let mut second = client.open(gateway.address, "app.example");
    let reply = get(&mut second);
    assert_eq!(reply.field("x-tidegate-reason"), Some("connections_full"), "{}", reply.status);
    let health = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(client.open(gateway.address, "app.example").send(health).reply().status, 200);
    let silent: Vec<_> = (0..100).map(|_| Connection::open(gateway.address)).collect();
    let full = || gateway.metric("tidegate_tls_failures_total", "reason=\"connections_full\"");
    until("some are refused", || (full() >= 30.0).then_some(()));
    drop(silent);
    assert_eq!(get(&mut first).status, 200);
}

#[test]
fn http2_is_offered_by_alpn_where_the_listener_allows_it() {
    let authority = Authority::default();
    let tls = format!("tls: [{}]", authority.issue("app", &["app.example"]).yaml());
    let origin = Origin::plain();
    let keys = [tls.clone(), format!("{tls}, http2: false")];
    let mut gateway = listening(&[&keys[0], &keys[1]], origin.address, "");
    let [both, first_only] = gateway.addresses()[..] else { panic!("two listeners") };
    let mut config = (*authority.any_client().0).clone();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let client = Client(std::sync::Arc::new(config));
    for (address, protocol) in [(both, b"h2".as_slice()), (first_only, b"http/1.1")] {
        let mut connection = client.open(address, "app.example");
        connection.shake_hands().unwrap();
        assert_eq!(connection.tls.as_ref().unwrap().alpn_protocol(), Some(protocol));
    }
    let output = std::process::Command::new("curl")
        .args(["--silent", "--show-error", "--http2", "--write-out", " %{http_version}"])
        .arg("--cacert")
        .arg(&authority.file)
        .args(["--resolve", &format!("app.example:{}:127.0.0.1", both.port())])
        .arg(format!("https://app.example:{}/", both.port()))
        .output()
        .expect("curl is there");
    let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(told, "ok 2");
    assert_eq!(origin.requests()[0].field("x-forwarded-proto"), Some("https"));
}
