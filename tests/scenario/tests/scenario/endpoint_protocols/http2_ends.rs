//! Streams and connections of HTTP/2 that end otherwise than well.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::sync_channel;

use tidegate_scenario::PATIENCE;
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::{Connection, get, once};
use tidegate_scenario::http2_origin::{Http2Origin, Options};
use tidegate_scenario::until;

fn to(origin: &Http2Origin, more: &str) -> Gateway {
    super::before(&format!("endpoints: [\"http://{}\"], protocol: http2{more}", origin.address))
}

#[test]
fn what_a_caller_leaves_behind_is_reset_at_once() {
    let origin = Http2Origin::start(Options::default());
    let gateway = to(&origin, "");
    let mut caller = Connection::open(gateway.address);
    caller.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    until("the stream is open", || (origin.streams().0 == 1).then_some(()));
    drop(caller);
    until("the stream is reset", || (origin.resets() == 1).then_some(()));
    assert_eq!(get(gateway.address, "/").status, 200);
    assert_eq!(origin.connections(), 1, "the connection lives on");
}

#[test]
fn a_refused_stream_is_sent_again_whatever_its_method() {
    let origin = Http2Origin::start(Options::default());
    let gateway = to(&origin, "");
    origin.refuse(2);
    let reply =
        once(gateway.address, b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!((reply.status, reply.text().as_str()), (200, "abc"));
    assert_eq!(origin.bodies(), [b"abc".to_vec()]);
}

#[test]
fn after_goaway_open_streams_finish_and_new_ones_take_another_connection() {
    let origin = Http2Origin::start(Options::default());
    let gateway = to(&origin, "");
    let mut caller = Connection::open(gateway.address);
    caller.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    until("the stream is open", || (origin.streams().0 == 1).then_some(()));
    origin.go_away();
    until("another connection is opened", || {
        assert_eq!(get(gateway.address, "/").status, 200);
        (origin.connections() == 2).then_some(())
    });
    origin.release();
    assert_eq!(caller.reply().text(), "released");
    until("the first connection has ended", || (origin.open() == 1).then_some(()));
}

#[test]
fn a_reset_before_the_reply_is_a_502_for_post_and_never_sent_twice() {
    let origin = Http2Origin::start(Options::default());
    let gateway = to(&origin, "");
    let reply =
        once(gateway.address, b"POST /reset HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(reply.status, 502, "{}", reply.text());
    assert_eq!(reply.field("x-tidegate-reason"), Some("upstream_closed"));
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_reset_in_the_middle_of_a_reply_cannot_be_taken_for_its_end() {
    let origin = Http2Origin::start(Options::default());
    let gateway = to(&origin, "");
    let mut caller = Connection::open(gateway.address);
    let reply = caller.send(b"GET /cut HTTP/1.1\r\nHost: a\r\n\r\n").reply();
    assert!(!reply.complete, "{reply:?}");
}

#[test]
fn an_endpoint_that_demands_http11_is_named_in_the_reply() {
    let origin = Http2Origin::start(Options::default());
    let gateway = to(&origin, "");
    let reply = get(gateway.address, "/http11");
    assert_eq!(reply.status, 502);
    assert!(reply.text().contains("demands HTTP/1.1"), "{}", reply.text());
}

#[test]
fn connections_that_die_are_replaced() {
    let origin = Http2Origin::start(Options::default());
    let gateway = to(&origin, "");
    for round in 1..=5 {
        assert_eq!(get(gateway.address, "/").status, 200);
        assert_eq!(origin.connections(), round);
        origin.kill();
        until("the origin has dropped it", || (origin.open() == 0).then_some(()));
    }
}

#[test]
fn an_idle_connection_is_closed_and_its_task_ends() {
    let origin = Http2Origin::start(Options::default());
    let gateway = Gateway::start(&format!(
        "upstreams:\n  app: {{ endpoints: [\"http://{}\"], protocol: http2 }}\n\
         routes: [{{ path: /, upstream: app }}]\nshards: 1\ntimeouts: {{ upstream_idle: 1s }}\n",
        origin.address
    ));
    assert_eq!(get(gateway.address, "/").status, 200);
    until("the connection is closed", || (origin.open() == 0).then_some(()));
    until("the gauge says so", || {
        (gateway.metric("tidegate_upstream_http2_connections", "") == 0.0).then_some(())
    });
}

#[test]
fn an_endpoint_that_says_nothing_fails_within_the_connect_deadline() {
    let origin = Http2Origin::start(Options { silent: true, ..Options::default() });
    let gateway = Gateway::start(&format!(
        "upstreams:\n  app: {{ endpoints: [\"http://{}\"], protocol: http2 }}\n\
         routes: [{{ path: /, upstream: app }}]\nshards: 1\n\
         timeouts: {{ connect: 200ms }}\nretry: {{ attempts: 1 }}\n",
        origin.address
    ));
    let reply = get(gateway.address, "/");
    assert_eq!(reply.status, 504, "{}", reply.text());
    assert_eq!(reply.field("x-tidegate-reason"), Some("connect_timeout"));
    until("nothing is left open", || (origin.open() == 0).then_some(()));
}

#[test]
fn an_endpoint_that_speaks_http11_only_never_gets_the_request() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, seen) = sync_channel(8);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes);
            let _ = sender.send(bytes);
        }
    });
    let gateway = super::before(&format!("endpoints: [\"http://{address}\"], protocol: http2"));
    let ask = b"POST /secret HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx";
    let reply = once(gateway.address, ask);
    assert_eq!(reply.status, 502, "{}", reply.text());
    assert_eq!(reply.field("x-tidegate-reason"), Some("connect_failed"));
    let bytes = seen.recv_timeout(PATIENCE).unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(text.starts_with("PRI * HTTP/2.0") && !text.contains("secret"), "{text}");
}
