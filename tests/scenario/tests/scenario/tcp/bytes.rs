//! Bytes through a TCP listener, and how the connections end.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};

use rustix::process::Signal;
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::Connection;
use tidegate_scenario::scripted::Scripted;
use tidegate_scenario::until;

use super::before;

/// All connections to these endpoints.
fn to(endpoints: &[SocketAddr], sections: &str) -> Gateway {
    let list: Vec<_> = endpoints.iter().map(|address| format!("\"tcp://{address}\"")).collect();
    before("upstream: db", &format!("db: {{ endpoints: [{}] }}", list.join(", ")), sections)
}

#[track_caller]
fn until_none_is_open(gateway: &Gateway) {
    until("no connection is open", || {
        (gateway.metric("tidegate_tcp_open", "") == 0.0).then_some(())
    });
    assert_eq!(gateway.metric("tidegate_upstream_in_flight", ""), 0.0);
}

#[test]
fn the_server_may_speak_first_and_all_is_counted() {
    let server = Scripted::start(|_, peer| {
        peer.send("220 ready\r\n");
        let line = peer.exactly(6);
        peer.send(line).wait_for_close();
    });
    let mut gateway = to(&[server.address], "");
    let mut client = Connection::open(gateway.tcp_address());
    assert_eq!(client.exactly(11), b"220 ready\r\n");
    assert_eq!(client.send(b"QUIT\r\n").exactly(6), b"QUIT\r\n");
    assert_eq!(gateway.metric("tidegate_tcp_open", ""), 1.0);
    drop(client);
    until_none_is_open(&gateway);
    assert_eq!(gateway.metric("tidegate_tcp_connections_total", "127.0.0.2:0"), 1.0);
    assert_eq!(gateway.metric("tidegate_tcp_bytes_total", "received"), 6.0);
    assert_eq!(gateway.metric("tidegate_tcp_bytes_total", "sent"), 17.0);
    assert_eq!(gateway.metric("tidegate_ended_total", ""), 0.0);
}

#[test]
fn a_caller_may_end_its_direction_at_once_and_still_get_its_answer() {
    let server = Scripted::start(|_, peer| {
        let all = peer.rest();
        peer.send(all);
    });
    let mut gateway = to(&[server.address], "");
    let address = gateway.tcp_address();
    for _ in 0..20 {
        // Before the endpoint is connected to, more often than not.
        assert_eq!(Connection::open(address).send(b"question").finish().rest(), b"question");
    }
    assert_eq!(Connection::open(address).finish().rest(), b"");
    until_none_is_open(&gateway);
}

#[test]
fn a_server_may_end_its_direction_and_still_get_what_comes() {
    let server = Scripted::start(|_, peer| {
        peer.send("enough").finish();
        assert_eq!(peer.rest(), b"one more thing");
    });
    let mut gateway = to(&[server.address], "");
    let mut client = Connection::open(gateway.tcp_address());
    assert_eq!(client.rest(), b"enough");
    client.send(b"one more thing").finish();
    until_none_is_open(&gateway);
}

#[test]
fn a_reset_on_either_side_is_a_reset_on_the_other() {
    let server = Scripted::start(|number, peer| {
        peer.exactly(2);
        if number == 0 {
            peer.reset();
            return;
        }
        peer.send("!");
        let kind = peer.stream.read(&mut [0; 1]).unwrap_err().kind();
        assert_eq!(kind, std::io::ErrorKind::ConnectionReset);
    });
    let mut gateway = to(&[server.address], "");
    let address = gateway.tcp_address();
    let mut client = Connection::open(address);
    let kind = client.send(b"go").stream.read(&mut [0; 1]).unwrap_err().kind();
    assert_eq!(kind, std::io::ErrorKind::ConnectionReset);
    let mut client = Connection::open(address);
    assert_eq!(client.send(b"go").exactly(1), b"!");
    client.reset_on_close();
    drop(client);
    until_none_is_open(&gateway);
    assert_eq!(gateway.metric("tidegate_ended_total", "upstream_cut"), 1.0);
    assert_eq!(gateway.metric("tidegate_ended_total", "client_gone"), 1.0);
}

#[test]
fn big_transfers_go_through_the_kernel_and_arrive_whole() {
    const ALL: usize = 48 << 20;
    let byte = |at: usize| (at % 251) as u8;
    let server = Scripted::start(move |_, peer| {
        let mut writer = peer.stream.try_clone().unwrap();
        let sender = std::thread::spawn(move || {
            let all: Vec<u8> = (0..ALL).map(byte).collect();
            writer.write_all(&all).unwrap();
        });
        let all = peer.exactly(ALL);
        assert!(all.len() == ALL && all.iter().enumerate().all(|(at, b)| *b == byte(at)));
        sender.join().unwrap();
        peer.send("whole");
    });
    let mut gateway = to(&[server.address], "");
    let mut client = Connection::open(gateway.tcp_address());
    let mut writer = client.stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        let all: Vec<u8> = (0..ALL).map(byte).collect();
        writer.write_all(&all).unwrap();
    });
    let all = client.exactly(ALL);
    assert!(all.len() == ALL && all.iter().enumerate().all(|(at, b)| *b == byte(at)));
    sender.join().unwrap();
    assert_eq!(client.rest(), b"whole");
    drop(client);
    until_none_is_open(&gateway);
    let spliced = gateway.metric("tidegate_spliced_bytes_total", "");
    println!("through the kernel: {spliced} of {} bytes", 2 * ALL);
    assert!(spliced > ALL as f64, "{spliced}");
    assert_eq!(gateway.metric("tidegate_tcp_bytes_total", "sent"), (ALL + 5) as f64);
    until("the pipes are closed again", || {
        (gateway.metric("tidegate_pipes", "") == 0.0).then_some(())
    });
}

#[test]
fn an_endpoint_that_refuses_is_passed_over() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Scripted::start(|number, peer| {
        peer.send(number.to_string());
    });
    let mut gateway = to(&[nobody, server.address], "");
    let address = gateway.tcp_address();
    for number in 0..10 {
        assert_eq!(Connection::open(address).rest(), number.to_string().as_bytes());
    }
    assert!(gateway.metric("tidegate_upstream_failures_total", "connect_failed") >= 1.0);
    assert_eq!(gateway.metric("tidegate_ended_total", ""), 0.0);
}

#[test]
fn with_no_endpoint_left_the_caller_is_reset() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut gateway = to(&[nobody], "retry: { attempts: 2, delay: 1ms }\n");
    let mut client = Connection::open(gateway.tcp_address());
    let kind = client.stream.read(&mut [0; 1]).unwrap_err().kind();
    assert_eq!(kind, std::io::ErrorKind::ConnectionReset);
    until_none_is_open(&gateway);
    assert_eq!(gateway.metric("tidegate_ended_total", "connect_failed"), 1.0);
}

#[test]
fn a_silent_connection_is_closed_after_its_time() {
    let server = Scripted::start(|_, peer| peer.wait_for_close());
    let mut gateway = to(&[server.address], "timeouts: { tunnel: 200ms }\n");
    assert_eq!(Connection::open(gateway.tcp_address()).rest(), b"");
    until_none_is_open(&gateway);
    assert_eq!(gateway.metric("tidegate_ended_total", "tunnel_timeout"), 1.0);
}

#[test]
fn connections_beyond_the_limit_are_closed_at_once() {
    let server = Scripted::start(|_, peer| peer.send("hi").wait_for_close());
    let mut gateway = to(&[server.address], "limits: { connections: 1, requests: 1 }\n");
    let address = gateway.tcp_address();
    let mut first = Connection::open(address);
    assert_eq!(first.exactly(2), b"hi");
    assert_eq!(Connection::open(address).rest(), b"");
    assert_eq!(server.accepted(), 1);
}

#[test]
fn a_reload_that_takes_the_listener_away_leaves_connections_alone() {
    let server = Scripted::start(|_, peer| {
        while let [byte] = peer.exactly(1)[..] {
            peer.send([byte]);
        }
    });
    let mut gateway = to(&[server.address], "");
    let address = gateway.tcp_address();
    let mut client = Connection::open(address);
    assert_eq!(client.send(b"a").exactly(1), b"a");
    gateway.reload(
        "upstreams: { other: { endpoints: [\"http://127.0.0.1:1\"] } }\n\
         routes: [{ path: /, upstream: other }]\n",
    );
    until("the listener is gone", || std::net::TcpStream::connect(address).is_err().then_some(()));
    assert_eq!(client.send(b"b").exactly(1), b"b");
}

#[test]
fn a_drain_waits_for_connections() {
    let server = Scripted::start(|_, peer| {
        while let [byte] = peer.exactly(1)[..] {
            peer.send([byte]);
        }
    });
    let mut gateway = to(&[server.address], "timeouts: { drain: 1h }\n");
    let mut client = Connection::open(gateway.tcp_address());
    assert_eq!(client.send(b"a").exactly(1), b"a");
    gateway.signal(Signal::TERM);
    gateway.logged("draining");
    assert_eq!(client.send(b"b").exactly(1), b"b");
    drop(client);
    assert_eq!(gateway.ended(), Some(0));
}
