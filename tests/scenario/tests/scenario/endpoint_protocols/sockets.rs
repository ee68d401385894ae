//! Unix sockets, and PROXY headers before the first byte.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{Receiver, sync_channel};

use tidegate_scenario::PATIENCE;
use tidegate_scenario::h2raw::Raw;
use tidegate_scenario::http::Connection;
use tidegate_scenario::process::directory;

const ASK: &[u8] = b"GET /a HTTP/1.1\r\nHost: app.example\r\n\r\n";

/// Answers each request of a connection that has been read to the end of its head.
fn answer(mut stream: impl std::io::Read + std::io::Write) -> Vec<u8> {
    let mut seen = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(read) = stream.read(&mut piece) {
        if read == 0 {
            break;
        }
        seen.extend_from_slice(&piece[..read]);
        if seen.ends_with(b"\r\n\r\n") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    }
    seen
}

#[test]
fn an_endpoint_behind_a_unix_socket_answers_over_one_connection() {
    let path = directory().join("app.sock");
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let (sender, connections) = sync_channel(8);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            sender.send(()).unwrap();
            std::thread::spawn(move || answer(stream));
        }
    });
    let gateway = super::before(&format!("endpoints: [\"unix:{}\"]", path.display()));
    let mut caller = Connection::open(gateway.address);
    for _ in 0..3 {
        assert_eq!(caller.send(ASK).reply().text(), "ok");
    }
    assert_eq!(connections.try_iter().count(), 1);
}

#[test]
fn an_abstract_unix_socket_is_reached_by_its_name() {
    use std::os::linux::net::SocketAddrExt as _;
    let name = format!("tidegate-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            answer(stream);
        }
    });
    let gateway = super::before(&format!("endpoints: [\"unix:@{name}\"]"));
    assert_eq!(Connection::open(gateway.address).send(ASK).reply().text(), "ok");
}

#[test]
fn a_health_check_goes_through_the_unix_socket() {
    let path = directory().join("checked.sock");
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let (sender, seen) = sync_channel(8);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let _ = sender.send(answer(stream));
        }
    });
    let gateway = super::before(&format!(
        "endpoints: [\"unix:{}\"], \
         health: {{ path: /up, interval: 1s, timeout: 1s, failures: 1 }}",
        path.display()
    ));
    for _ in 0..2 {
        let asked = seen.recv_timeout(PATIENCE).expect("it is asked");
        assert!(asked.starts_with(b"GET /up HTTP/1.1\r\n"), "{}", asked.escape_ascii());
    }
    assert_eq!(gateway.metric("tidegate_upstream_admitting", ""), 1.0);
}

#[test]
fn a_unix_socket_where_nobody_listens_is_a_502() {
    let gateway = super::before("endpoints: [\"unix:/nowhere/app.sock\"]");
    let reply = Connection::open(gateway.address).send(ASK).reply();
    assert_eq!(reply.status, 502);
    assert_eq!(reply.field("x-tidegate-reason"), Some("connect_failed"));
}

/// What each connection to it began with, up to the end of the first request.
fn recording() -> (std::net::SocketAddr, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, seen) = sync_channel(8);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let sender = sender.clone();
            std::thread::spawn(move || sender.send(answer(stream)));
        }
    });
    (address, seen)
}

#[test]
fn each_connection_begins_with_the_header_of_its_caller_and_serves_one_request() {
    for version in ["v1", "v2"] {
        let (address, seen) = recording();
        let gateway =
            super::before(&format!("endpoints: [\"http://{address}\"], proxy_protocol: {version}"));
        for _ in 0..2 {
            let mut caller = Connection::open(gateway.address);
            for _ in 0..2 {
                assert_eq!(caller.send(ASK).reply().status, 200);
                let from = caller.stream.local_addr().unwrap();
                let to = gateway.address;
                let bytes = seen.recv_timeout(PATIENCE).expect("the connection has ended");
                let mut expected = Vec::new();
                if version == "v1" {
                    tidegate_wire::proxy_protocol::write_v1(&mut expected, from, to);
                } else {
                    tidegate_wire::proxy_protocol::write_v2(&mut expected, from, to);
                }
                assert!(bytes.starts_with(&expected), "{}", bytes.escape_ascii());
                let rest = String::from_utf8_lossy(&bytes[expected.len()..]).into_owned();
                assert!(rest.starts_with("GET /a HTTP/1.1\r\n"), "{rest}");
                assert_eq!(rest.matches("GET ").count(), 1);
            }
        }
    }
}

#[test]
fn the_header_names_a_caller_of_http2_too() {
    for version in ["v1", "v2"] {
        let (address, seen) = recording();
        let gateway =
            super::before(&format!("endpoints: [\"http://{address}\"], proxy_protocol: {version}"));
        let mut raw = Raw::open(gateway.address);
        let from = raw.stream.local_addr().unwrap();
        let mut expected = Vec::new();
        if version == "v1" {
            tidegate_wire::proxy_protocol::write_v1(&mut expected, from, gateway.address);
        } else {
            tidegate_wire::proxy_protocol::write_v2(&mut expected, from, gateway.address);
        }
        for stream in [1, 3] {
            raw.get(stream, "/a");
            assert_eq!(raw.outcome(stream).status, 200);
            let bytes = seen.recv_timeout(PATIENCE).expect("the connection has ended");
            assert!(bytes.starts_with(&expected), "{}", bytes.escape_ascii());
        }
    }
}
