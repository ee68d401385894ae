//! Egress proxies of a provider: HTTP CONNECT and SOCKS5, which resolve the provider's name themselves.

use std::fmt::Write as _;
use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use tidegate_lab::provider::{ProviderOptions, spawn_provider};
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::Connection;
use tidegate_scenario::llm::{CHAT, MESSAGES};
use tidegate_scenario::scripted::{Peer, Scripted};

/// What a proxy was asked for, one line for each connection.
type Asked = Arc<Mutex<Vec<String>>>;

/// A name that nobody but the proxy knows.
const NAME: &str = "provider.invalid";

/// Moves bytes both ways until either side ends.
fn tunnel(peer: &mut Peer, to: SocketAddr) {
    let mut there = TcpStream::connect(to).unwrap();
    let mut back = (there.try_clone().unwrap(), peer.stream.try_clone().unwrap());
    let down = std::thread::spawn(move || {
        let _ = std::io::copy(&mut back.0, &mut back.1);
        let _ = back.1.shutdown(std::net::Shutdown::Both);
    });
    let _ = std::io::copy(&mut peer.stream, &mut there);
    let _ = there.shutdown(std::net::Shutdown::Both);
    down.join().unwrap();
}

/// An HTTP proxy that leads everything to `to`, and answers this status.
fn http_proxy(to: SocketAddr, status: u16) -> (Scripted, Asked) {
    let asked = Asked::default();
    let theirs = Arc::clone(&asked);
    let proxy = Scripted::start(move |_, peer| {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            peer.stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        theirs.lock().unwrap().push(String::from_utf8(head).unwrap());
        peer.send(format!("HTTP/1.1 {status} Scripted\r\nVia: proxy\r\n\r\n"));
        if status == 200 {
            tunnel(peer, to);
        }
    });
    (proxy, asked)
}

fn take(peer: &mut Peer, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    peer.stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// A text with its length before it.
fn take_text(peer: &mut Peer) -> String {
    let length = usize::from(take(peer, 1)[0]);
    String::from_utf8(take(peer, length)).unwrap()
}

/// A SOCKS5 proxy (RFC 1928, 1929) that leads everything to `to`; `code` is its reply. What it was
/// asked for reads `user:password@name:port`.
fn socks_proxy(to: SocketAddr, key: Option<&'static str>, code: u8) -> (Scripted, Asked) {
    const NAME_FOLLOWS: u8 = 3;
    let asked = Asked::default();
    let theirs = Arc::clone(&asked);
    let proxy = Scripted::start(move |_, peer| {
        let mut line = String::new();
        let offered = take(peer, 2)[1];
        let methods = take(peer, usize::from(offered));
        let wanted = if key.is_some() { 2 } else { 0 };
        assert!(methods.contains(&wanted), "{methods:?}");
        peer.send([5, wanted]);
        if let Some(key) = key {
            assert_eq!(take(peer, 1), [1]);
            line = format!("{}:{}@", take_text(peer), take_text(peer));
            let known = line == format!("{key}@");
            peer.send([1, u8::from(!known)]);
            if !known {
                return;
            }
        }
        assert_eq!(take(peer, 4), [5, 1, 0, NAME_FOLLOWS]);
        line.push_str(&take_text(peer));
        let port = take(peer, 2);
        write!(line, ":{}", u16::from_be_bytes([port[0], port[1]])).unwrap();
        theirs.lock().unwrap().push(line);
        peer.send([5, code, 0, 1, 127, 0, 0, 1, 0, 80]);
        if code == 0 {
            tunnel(peer, to);
        }
    });
    (proxy, asked)
}

/// Providers behind a name that only the proxy knows.
fn behind(egress: &str) -> String {
    format!(
        "providers:\n  lab: {{ dialect: openai, base_url: \"http://{NAME}:8123/v1\", api_key: none, egress: \"{egress}\" }}\n  \
         claude: {{ dialect: anthropic, base_url: \"http://{NAME}:8123\", api_key: none, egress: \"{egress}\" }}\n"
    )
}

fn serves(egress: &str) {
    let gateway = Gateway::start(&behind(egress));
    for form in [CHAT, MESSAGES] {
        let mut connection = Connection::open(gateway.address);
        assert_eq!(connection.send(&form.whole("lab-echo")).reply().status, 200);
        let reply = connection.send(&form.stream("lab-tokens-20")).reply();
        assert!(reply.complete && reply.text().contains(form.end), "{}", reply.text());
    }
}

#[test]
fn an_http_proxy_opens_the_tunnel_and_gets_the_name() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let (proxy, asked) = http_proxy(lab.addr, 200);
    serves(&format!("http://{}", proxy.address));
    let heads = asked.lock().unwrap();
    assert_eq!(heads.len(), 2, "the tunnel is used again, one for each provider");
    for head in heads.iter() {
        assert!(head.starts_with(&format!("CONNECT {NAME}:8123 HTTP/1.1\r\n")), "{head}");
        assert!(!head.contains("Proxy-Authorization"), "{head}");
    }
}

#[test]
fn an_http_proxy_gets_user_and_password() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let (proxy, asked) = http_proxy(lab.addr, 200);
    serves(&format!("http://me:pass@{}", proxy.address));
    // base64 of me:pass
    let field = "Proxy-Authorization: Basic bWU6cGFzcw==\r\n";
    assert!(asked.lock().unwrap().iter().all(|head| head.contains(field)));
}

#[test]
fn a_socks5_proxy_opens_the_tunnel_and_gets_the_name() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let (proxy, asked) = socks_proxy(lab.addr, None, 0);
    serves(&format!("socks5://{}", proxy.address));
    assert_eq!(*asked.lock().unwrap(), [format!("{NAME}:8123"), format!("{NAME}:8123")]);
}

#[test]
fn a_socks5_proxy_gets_user_and_password() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let (proxy, asked) = socks_proxy(lab.addr, Some("me:pass"), 0);
    serves(&format!("socks5://me:pass@{}", proxy.address));
    assert_eq!(asked.lock().unwrap()[0], format!("me:pass@{NAME}:8123"));
}

#[test]
fn a_proxy_that_refuses_is_502_in_the_dialect_and_named_in_the_log() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let (connect, _) = http_proxy(lab.addr, 403);
    let (ruled, _) = socks_proxy(lab.addr, None, 2);
    let (unknown, _) = socks_proxy(lab.addr, Some("me:pass"), 0);
    for (egress, words) in [
        (format!("http://{}", connect.address), "403"),
        (format!("socks5://{}", ruled.address), "not allowed"),
        (format!("socks5://me:wrong@{}", unknown.address), "user and password"),
    ] {
        let mut gateway = Gateway::start(&format!(
            "log: {{ level: debug }}\nretry: {{ attempts: 1 }}\n{}",
            behind(&egress)
        ));
        let reply = Connection::open(gateway.address).send(&CHAT.whole("m")).reply();
        assert_eq!(reply.status, 502, "{egress}");
        assert_eq!(reply.json()["error"]["code"], "egress_failed");
        let reply = Connection::open(gateway.address).send(&MESSAGES.stream("m")).reply();
        assert_eq!((reply.status, &reply.json()["type"]), (502, &"error".into()));
        gateway.logged(words);
    }
    assert_eq!(lab.stats().requests, 0);
}
