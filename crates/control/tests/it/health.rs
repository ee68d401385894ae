//! Health checks against endpoints that change their mind.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tidegate_config::{Config, UpstreamProtocol};
use tidegate_control::{Control, Options, resolve_once};
use tidegate_snapshot::Shared;

use crate::stand::{Endpoint, PATIENCE, config, eventually, in_force, read_head, reload, reply};

/// Longer than a probe may take in a file, so that a busy machine is not a sick endpoint.
const GENEROUS: Duration = Duration::from_secs(10);

/// One upstream that is checked often.
fn checked(url: &str) -> Config {
    let mut config = config(&format!(
        "upstreams:\n  app:\n    endpoints: [\"{url}\"]\n    \
         health: {{ path: \"/live?x=1\", interval: 100ms, timeout: 100ms, failures: 3 }}\n\
         routes: [{{ path: /, upstream: app }}]\n"
    ));
    health(&mut config, "app").timeout = GENEROUS;
    config
}

fn health<'c>(config: &'c mut Config, upstream: &str) -> &'c mut tidegate_config::Health {
    config.upstreams[upstream].health.as_mut().unwrap()
}

fn is_down(shared: &Shared, url: &str) -> bool {
    shared.live.endpoint(url).health.standing().is_down()
}

fn run(shared: &Arc<Shared>) -> Control {
    Control::start(Arc::clone(shared), Options::default()).unwrap()
}

#[test]
fn an_endpoint_goes_down_after_failures_in_a_row_and_comes_back_with_one_success() {
    let endpoint = Endpoint::start(200);
    let url = format!("http://{}", endpoint.address);
    let shared = in_force(checked(&url));
    let control = run(&shared);
    endpoint.answer(200, 1);
    assert!(!is_down(&shared, &url));
    for failing in [500, Endpoint::CLOSE, 404, 429] {
        endpoint.answer(failing, 3);
        assert!(is_down(&shared, &url), "{failing}");
        endpoint.answer(302, 1);
        assert!(!is_down(&shared, &url), "{failing}");
    }
    control.stop();
}

#[test]
fn only_the_statuses_that_are_expected_are_good() {
    let endpoint = Endpoint::start(204);
    let url = format!("http://{}", endpoint.address);
    let mut config = checked(&url);
    health(&mut config, "app").status = vec![204, 404];
    let shared = in_force(config);
    let control = run(&shared);
    endpoint.answer(200, 3);
    assert!(is_down(&shared, &url));
    endpoint.answer(404, 1);
    assert!(!is_down(&shared, &url));
    control.stop();
}

#[test]
fn a_tcp_check_wants_a_connection_and_nothing_else() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut config = checked(&url);
    health(&mut config, "app").tcp = true;
    let shared = in_force(config);
    let control = run(&shared);
    for _ in 0..4 {
        let (mut stream, _) = listener.accept().unwrap();
        assert_eq!(read_head(&mut stream), "", "nothing is asked");
    }
    assert!(!is_down(&shared, &url));
    drop(listener);
    eventually("it goes down", || is_down(&shared, &url));
    control.stop();
}

#[test]
fn an_endpoint_that_accepts_and_says_nothing_goes_down() {
    let endpoint = Endpoint::start(Endpoint::SILENT);
    let url = format!("http://{}", endpoint.address);
    let mut config = checked(&url);
    health(&mut config, "app").timeout = Duration::from_millis(100);
    let shared = in_force(config);
    let control = run(&shared);
    eventually("it goes down", || is_down(&shared, &url));
    control.stop();
}

#[test]
fn an_endpoint_that_does_not_listen_goes_down() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{closed}");
    let shared = in_force(checked(&url));
    let control = run(&shared);
    eventually("it goes down", || is_down(&shared, &url));
    control.stop();
}

#[test]
fn a_probe_is_a_plain_get_with_host() {
    let endpoint = Endpoint::start(200);
    let control = run(&in_force(checked(&format!("http://{}", endpoint.address))));
    let head = endpoint.first();
    assert!(head.starts_with("GET /live?x=1 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nHost: {}\r\n", endpoint.address)), "{head}");
    assert!(head.contains("\r\nUser-Agent: tidegate-health\r\n"), "{head}");
    assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
    control.stop();
}

#[test]
fn a_reload_without_the_check_lets_the_endpoint_back_in() {
    let endpoint = Endpoint::start(500);
    let url = format!("http://{}", endpoint.address);
    let shared = in_force(checked(&url));
    let control = run(&shared);
    endpoint.answer(500, 3);
    assert!(is_down(&shared, &url));
    let mut without = checked(&url);
    without.upstreams["app"].health = None;
    reload(&shared, without, 2);
    eventually("it is let back in", || !is_down(&shared, &url));
    control.stop();
}

/// A TLS endpoint for `localhost` that answers 200 and tells of each request; with the PEM of its
/// certificate.
fn tls_endpoint() -> (SocketAddr, Receiver<String>, String) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, requests) = sync_channel(1);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(session, stream);
            let head = read_head(&mut stream);
            reply(&mut stream, 200);
            drop(stream);
            if sender.send(head).is_err() {
                return;
            }
        }
    });
    (address, requests, cert.pem())
}

/// In force with one https endpoint at `address` that is trusted through this certificate.
fn https(address: SocketAddr, pem: &str) -> (Arc<Shared>, String) {
    let url = format!("https://localhost:{}", address.port());
    let mut config = checked(&url);
    health(&mut config, "app").failures = 1;
    let ca_file = std::env::temp_dir().join(format!("tidegate-health-{}.pem", address.port()));
    std::fs::write(&ca_file, pem).unwrap();
    config.upstreams["app"].ca_file = Some(Path::new(&ca_file).to_owned());
    let shared = in_force(config);
    std::fs::remove_file(&ca_file).unwrap();
    resolve_once(&shared.live, &shared.snapshot.load().config.resolver, PATIENCE);
    (shared, url)
}

#[test]
fn an_https_endpoint_is_asked_over_tls() {
    let (address, requests, pem) = tls_endpoint();
    let (shared, url) = https(address, &pem);
    let control = run(&shared);
    for _ in 0..2 {
        let head = requests.recv_timeout(PATIENCE).unwrap();
        assert!(head.contains(&format!("Host: localhost:{}\r\n", address.port())), "{head}");
    }
    // The first one has been judged when the second one arrives.
    assert!(!is_down(&shared, &url));
    control.stop();
}

#[test]
fn an_https_endpoint_with_a_certificate_of_another_authority_goes_down() {
    let (address, requests, _) = tls_endpoint();
    let (_, _, other) = tls_endpoint();
    let (shared, url) = https(address, &other);
    let control = run(&shared);
    for _ in 0..2 {
        let head = requests.recv_timeout(PATIENCE).unwrap();
        assert_eq!(head, "", "nothing is said to a stranger");
    }
    assert!(is_down(&shared, &url));
    control.stop();
}

#[test]
fn an_endpoint_behind_a_unix_socket_is_asked_there() {
    let path = std::env::temp_dir().join(format!("tidegate-health-{}.sock", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let url = format!("unix:{}", path.display());
    let shared = in_force(checked(&url));
    let control = run(&shared);
    for _ in 0..2 {
        let (mut stream, _) = listener.accept().unwrap();
        let head = read_head(&mut stream);
        assert!(head.contains("\r\nUser-Agent: tidegate-health\r\n"), "{head}");
        reply(&mut stream, 200);
    }
    assert!(!is_down(&shared, &url));
    drop(listener);
    std::fs::remove_file(&path).unwrap();
    eventually("it goes down", || is_down(&shared, &url));
    control.stop();
}

#[test]
fn an_endpoint_of_http2_is_asked_in_http2() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, requests) = sync_channel(8);
    std::thread::spawn(move || {
        runtime.block_on(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut connection) = h2::server::handshake(stream).await else { continue };
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let answer = http::Response::builder().status(204).body(()).unwrap();
                    let _ = respond.send_response(answer, true);
                    let _ = sender.try_send(request.uri().to_string());
                }
            }
        });
    });
    let mut config = checked(&url);
    config.upstreams["app"].protocol = UpstreamProtocol::Http2;
    let shared = in_force(config);
    let control = run(&shared);
    for _ in 0..4 {
        assert_eq!(requests.recv_timeout(PATIENCE).unwrap(), format!("{url}/live?x=1"));
    }
    assert!(!is_down(&shared, &url));
    control.stop();
}
