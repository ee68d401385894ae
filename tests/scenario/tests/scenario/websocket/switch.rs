//! The request for a WebSocket and what the endpoint says to it.

use std::io::Read as _;

use tidegate_scenario::gate::Gate;
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::Connection;
use tidegate_scenario::origin::{Answer, Origin};
use tidegate_scenario::scripted::{Scripted, unread};
use tidegate_scenario::until;
use tidegate_scenario::websocket::{HANDSHAKE, SWITCHED, open};

use super::before;

#[test]
fn both_heads_are_written_anew() {
    let origin = Scripted::start(|_, peer| {
        let head = peer.request().expect("a request").head;
        peer.send(SWITCHED).send(head).finish();
    });
    let gateway = before(origin.address, "");
    let mut client = Connection::open(gateway.address);
    client.send(HANDSHAKE.replace("keep-alive, ", "keep-alive, X-Own, ").as_bytes());
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    for line in [
        "Connection: Upgrade\r\n",
        "Upgrade: websocket\r\n",
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
        "Sec-WebSocket-Protocol: chat\r\n",
    ] {
        assert_eq!(head.matches(line).count(), 1, "{line}: {head}");
    }
    let asked = String::from_utf8(client.rest()).unwrap();
    for line in [
        "Connection: Upgrade\r\n",
        "Upgrade: websocket\r\n",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        "Sec-WebSocket-Version: 13\r\n",
        "X-Forwarded-For: 127.0.0.1\r\n",
    ] {
        assert_eq!(asked.matches(line).count(), 1, "{line}: {asked}");
    }
    assert!(!asked.contains("keep-alive") && !asked.contains("X-Own"), "{asked}");
}

#[test]
fn bytes_sent_early_are_held_until_the_101() {
    let gate = Gate::default();
    let opened = gate.clone();
    let origin = Scripted::start(move |_, peer| {
        peer.request().expect("a request");
        opened.pass();
        peer.stream.set_nonblocking(true).unwrap();
        let early = peer.stream.read(&mut [0; 16]).map_err(|error| error.kind());
        assert_eq!(early, Err(std::io::ErrorKind::WouldBlock), "before the 101");
        peer.stream.set_nonblocking(false).unwrap();
        peer.send(SWITCHED);
        let early = peer.exactly(5);
        peer.send(early).finish();
    });
    let gateway = before(origin.address, "");
    let mut client = Connection::open(gateway.address);
    client.send(HANDSHAKE.as_bytes());
    until("the endpoint is asked", || (origin.accepted() == 1).then_some(()));
    client.send(b"early");
    let here = client.stream.local_addr().unwrap();
    until("it is read", || (unread(gateway.address, here) == Some(0)).then_some(()));
    gate.open();
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    assert_eq!(client.rest(), b"early");
}

#[test]
fn a_caller_that_sends_much_early_is_held_back() {
    let gate = Gate::default();
    let opened = gate.clone();
    let origin = Scripted::start(move |_, peer| {
        peer.request().expect("a request");
        opened.pass();
        peer.send(SWITCHED);
        let all = peer.exactly(8 << 20);
        peer.send(all.len().to_string()).finish();
    });
    let gateway = before(origin.address, "");
    let before = gateway.resident();
    let mut client = Connection::open(gateway.address);
    let mut writer = client.stream.try_clone().unwrap();
    client.send(HANDSHAKE.as_bytes());
    let sender = std::thread::spawn(move || {
        std::io::Write::write_all(&mut writer, &vec![b'x'; 8 << 20]).unwrap();
    });
    let here = client.stream.local_addr().unwrap();
    // The kernel's buffer fills behind what is read ahead.
    until("reading stops", || (unread(gateway.address, here)? > 64 * 1024).then_some(()));
    assert!(gateway.resident() < before + (4 << 20), "early bytes are bounded");
    gate.open();
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    assert_eq!(client.rest(), (8 << 20).to_string().as_bytes());
    sender.join().unwrap();
}

#[test]
fn a_refusal_is_an_ordinary_reply_and_the_connection_stays() {
    let origin = Origin::start(|request| match request.line() {
        "GET /ws HTTP/1.1" => {
            Answer::keep("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 3\r\n\r\nno!")
        }
        _ => Answer::ok("ok"),
    });
    let gateway = before(origin.address, "");
    let mut client = Connection::open(gateway.address);
    for _ in 0..2 {
        let reply = client.send(HANDSHAKE.as_bytes()).reply();
        assert_eq!((reply.status, reply.text().as_str()), (426, "no!"));
    }
    assert_eq!(client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").reply().status, 200);
    assert_eq!(origin.connections(), 1, "and the endpoint's too");
    assert_eq!(gateway.metric("tidegate_websockets_total", ""), 0.0);
}

#[test]
fn a_101_to_another_protocol_is_no_switch() {
    let origin = Scripted::start(|_, peer| {
        peer.request();
        peer.send(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\nboo",
        );
        peer.wait_for_close();
    });
    let gateway = before(origin.address, "");
    let reply = Connection::open(gateway.address).send(HANDSHAKE.as_bytes()).reply();
    assert_eq!((reply.status, reply.field("x-tidegate-reason")), (502, Some("bad_reply")));
}

#[test]
fn other_upgrades_and_upgrades_with_a_body_are_not_passed_on() {
    let origin = Origin::plain();
    let gateway = before(origin.address, "");
    for request in [
        HANDSHAKE.replace("Upgrade: websocket", "Upgrade: h2c"),
        HANDSHAKE.replace("Upgrade: websocket", "Upgrade: websocket, h2c"),
        HANDSHAKE.replace("keep-alive, Upgrade", "keep-alive"),
        HANDSHAKE.replace("GET", "POST"),
        HANDSHAKE.replace("\r\n\r\n", "\r\nContent-Length: 1\r\n\r\nx"),
        HANDSHAKE.replace("HTTP/1.1", "HTTP/1.0"),
    ] {
        let reply = Connection::open(gateway.address).send(request.as_bytes()).reply();
        assert_eq!(reply.status, 200, "{request}");
        let seen = origin.requests().pop().unwrap();
        assert_eq!((seen.field("upgrade"), seen.field("connection")), (None, None), "{request}");
    }
}

#[test]
fn websockets_are_spread_by_a_balance_of_their_own() {
    let origins: Vec<_> = (0..3)
        .map(|_| {
            Scripted::start(|_, peer| {
                while let Some(request) = peer.request() {
                    if request.field("upgrade").is_some() {
                        peer.send(SWITCHED).wait_for_close();
                        return;
                    }
                    peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
                }
            })
        })
        .collect();
    let list: Vec<_> = origins.iter().map(|origin| format!("http://{}", origin.address)).collect();
    let gateway = Gateway::start(&format!(
        "upstreams:\n  app:\n    endpoints: [{}]\n    balance: {{ websocket: ip_hash }}\n\
         routes: [{{ path: /, upstream: app }}]\nshards: 1\n",
        list.join(", ")
    ));
    let open: Vec<_> = (0..6).map(|_| open(gateway.address)).collect();
    let mut shares: Vec<_> = origins.iter().map(Scripted::accepted).collect();
    shares.sort_unstable();
    assert_eq!(shares, [0, 0, 6], "one client, one endpoint");
    drop(open);
}
