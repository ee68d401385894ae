//! The load generator over TLS, over WebSockets, and with a connection for each request.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::PrivateKeyDer;
use tidegate_lab::load::{Handshakes, LoadError, LoadMode, LoadOptions, run};
use tidegate_lab::origin::{OriginOptions, spawn_origin};

const REPLY: &[u8] = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";

/// Serves each connection by `serve` on a thread of its own, for as long as the test runs.
fn server(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    addr
}

/// Reads up to the end of a head; false when the client went.
fn read_head(stream: &mut impl Read) -> bool {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.extend_from_slice(&byte),
            _ => return false,
        }
    }
    true
}

/// A TLS server that answers one request for each connection, and the file with its certificate.
fn tls_server(name: &str) -> (SocketAddr, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let file =
        std::env::temp_dir().join(format!("tidegate-load-{}-{name}.pem", std::process::id()));
    std::fs::write(&file, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
    let config = Arc::new(config);
    let addr = server(move |stream| {
        let session = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = StreamOwned::new(session, stream);
        if read_head(&mut stream) && stream.write_all(REPLY).is_ok() {
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    (addr, file)
}

fn options(url: String, count: u64) -> LoadOptions {
    LoadOptions {
        connections: 2,
        count: Some(count),
        // Counts end these runs, not the clock.
        duration: Duration::from_mins(10),
        ..LoadOptions::new(url)
    }
}

#[test]
fn handshakes_are_full_or_resumed_as_asked() {
    let (addr, file) = tls_server("handshakes");
    for kind in [Handshakes::Full, Handshakes::Resumed] {
        let report =
            run(&LoadOptions { handshakes: Some(kind), ..options(format!("https://{addr}/"), 10) });
        let report = report.unwrap();
        assert_eq!((report.finished, report.failed, report.connections_made), (10, 0, 10));
        let made = report.handshakes.unwrap();
        // Each connection's first handshake has nothing to resume.
        let full = if kind == Handshakes::Full { 10..=10 } else { 1..=2 };
        assert!(full.contains(&made.full), "{kind:?}: {made:?}");
        assert_eq!(made.full + made.resumed, 10);
    }
    std::fs::remove_file(file).unwrap();
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    let (addr, file) = tls_server("ca");
    let (_, other) = tls_server("other");
    let with = |ca: Option<&PathBuf>| {
        let ca = ca.cloned();
        run(&LoadOptions { ca, connections: 1, ..options(format!("https://{addr}/"), 2) })
    };
    assert_eq!(with(None).unwrap().by_status[&200], 2);
    assert_eq!(with(Some(&file)).unwrap().by_status[&200], 2);
    assert_eq!(with(Some(&other)).unwrap().errors["handshake"], 2);
    let missing = with(Some(&PathBuf::from("/nowhere/ca.pem"))).unwrap_err();
    assert!(missing.to_string().contains("/nowhere/ca.pem cannot be used"), "{missing}");
    for file in [file, other] {
        std::fs::remove_file(file).unwrap();
    }
}

#[test]
fn a_target_elsewhere_needs_the_authority_of_its_certificate() {
    let refused = run(&LoadOptions {
        i_own_this_target: true,
        ..options("https://192.0.2.1:443/".to_owned(), 1)
    });
    assert!(matches!(refused, Err(LoadError::Option { option: "ca", .. })), "{refused:?}");
}

#[test]
fn with_close_each_request_has_its_connection() {
    let origin = spawn_origin(&OriginOptions::default()).unwrap();
    let url = format!("http://{}/small", origin.addr);
    let report = run(&LoadOptions { close: true, ..options(url, 7) }).unwrap();
    assert_eq!((report.by_status[&200], report.failed, report.connections_made), (7, 0, 7));
}

/// Upgrades, then answers each message of `bytes` bytes: with itself, or changed when `wrong`.
fn echo(bytes: usize, wrong: bool) -> SocketAddr {
    server(move |mut stream| {
        // The accept value of RFC 6455 section 1.3, whose key the load sends.
        let upgrade = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
                       sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        if !read_head(&mut stream) || stream.write_all(upgrade.as_bytes()).is_err() {
            return;
        }
        let mut frame = vec![0; 2 + 4 + bytes];
        while stream.read_exact(&mut frame).is_ok() {
            let (head, masked) = frame.split_at(6);
            let mut answer = vec![head[0], head[1] & 0x7f];
            answer.extend(
                masked.iter().zip(head[2..].iter().cycle()).map(|(byte, mask)| byte ^ mask),
            );
            if wrong {
                answer.reverse();
            }
            if stream.write_all(&answer).is_err() {
                return;
            }
        }
    })
}

#[test]
fn messages_are_counted_as_they_come_back() {
    let url = format!("ws://{}/ws", echo(100, false));
    let report = run(&LoadOptions { message_bytes: 100, ..options(url, 9) }).unwrap();
    assert_eq!((report.by_status[&101], report.failed, report.connections_made), (9, 0, 2));
    assert_eq!((report.body_bytes, report.latency.count), (9 * 102, 9));
}

#[test]
fn an_echo_that_is_not_the_message_is_a_failure() {
    let url = format!("ws://{}/ws", echo(64, true));
    assert_eq!(run(&options(url, 4)).unwrap().errors["bad_reply"], 4);
}

#[test]
fn an_upgrade_that_is_refused_is_a_failure() {
    let origin = spawn_origin(&OriginOptions::default()).unwrap();
    let url = format!("ws://{}/status/503", origin.addr);
    assert_eq!(run(&options(url, 2)).unwrap().errors["bad_reply"], 2);
}

#[test]
fn what_a_url_cannot_do_is_refused() {
    let refused = |change: fn(&mut LoadOptions), url: &str| {
        let mut options = options(url.to_owned(), 1);
        change(&mut options);
        run(&options).unwrap_err().to_string()
    };
    let http = "http://127.0.0.1:9/";
    let close = refused(|options| options.close = true, "ws://127.0.0.1:9/");
    assert!(close.contains("stays open"), "{close}");
    let streams = refused(|options| options.mode = LoadMode::Streams, "ws://127.0.0.1:9/");
    assert!(streams.contains("no event streams"), "{streams}");
    let plain = refused(|options| options.handshakes = Some(Handshakes::Full), http);
    assert!(plain.contains("only https and wss"), "{plain}");
    let long = refused(|options| options.message_bytes = (1 << 20) + 1, http);
    assert!(long.contains("at most 1048576"), "{long}");
}
