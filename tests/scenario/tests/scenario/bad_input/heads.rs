//! Heads that are too large, too many or too slow.

use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::{Connection, once};
use tidegate_scenario::origin::Origin;

fn gateway(origin: &Origin, sections: &str) -> Gateway {
    Gateway::start(&format!(
        "upstreams: {{ app: {{ endpoints: [http://{}] }} }}\n\
         routes: [{{ path: /, upstream: app }}]\n{sections}",
        origin.address
    ))
}

#[test]
fn a_head_beyond_the_limit_is_refused_in_json_that_says_so() {
    let origin = Origin::plain();
    let gateway = gateway(&origin, "limits: { head: 8KiB }\n");
    let fields = |count: usize| "X: y\r\n".repeat(count);
    for (name, head, status, words) in [
        (
            "one large field",
            format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {}\r\n\r\n", "c".repeat(9000)),
            431,
            "too large",
        ),
        (
            "a long target",
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(9000)),
            414,
            "too long",
        ),
        (
            "many fields",
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(100)),
            431,
            "too many",
        ),
    ] {
        let reply = once(gateway.address, head.as_bytes());
        assert_eq!(reply.status, status, "{name}: {}", reply.text());
        let body = reply.json();
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{name}: {message}");
        assert_eq!(reply.field("connection"), Some("close"), "{name}");
    }
    // Just below each limit is fine.
    let most = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(99));
    assert_eq!(once(gateway.address, most.as_bytes()).status, 200);
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {}\r\n\r\n", "c".repeat(8100));
    assert_eq!(once(gateway.address, large.as_bytes()).status, 200);
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn the_refusal_of_a_large_head_names_the_limit() {
    let origin = Origin::plain();
    let gateway = gateway(&origin, "limits: { head: 8KiB }\n");
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {}\r\n\r\n", "c".repeat(9000));
    let text = once(gateway.address, head.as_bytes()).text();
    assert!(text.contains("8192") && text.contains("limits.head"), "{text}");
    let head = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(9000));
    let text = once(gateway.address, head.as_bytes()).text();
    assert!(text.contains("8192") && text.contains("limits.head"), "{text}");
    let fields = "X: y\r\n".repeat(100);
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let text = once(gateway.address, head.as_bytes()).text();
    assert!(text.contains("100"), "{text}");
}

#[test]
fn a_head_that_never_ends_is_cut_off_at_the_limit() {
    let origin = Origin::plain();
    let gateway = gateway(&origin, "limits: { head: 8KiB }\n");
    let mut connection = Connection::open(gateway.address);
    connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n");
    for number in 0..2000 {
        connection.send(format!("X: {number}-{}\r\n", "z".repeat(100)).as_bytes());
    }
    assert_eq!(connection.reply().status, 431);
}

#[test]
fn a_head_that_comes_too_slowly_is_answered_408() {
    let origin = Origin::plain();
    let gateway = gateway(&origin, "timeouts: { head: 300ms, keep_alive: 300ms }\n");
    let mut connection = Connection::open(gateway.address);
    let reply = connection.send(b"GET / HTTP/1.1\r\nHo").reply();
    assert_eq!(reply.status, 408);
    assert!(reply.text().contains("timeouts.head"), "{}", reply.text());
    assert_eq!(connection.rest(), b"");
    // Who never says anything is not spoken to.
    assert_eq!(Connection::open(gateway.address).rest(), b"");
    // A byte now and then does not help: the deadline is for the whole head.
    let mut connection = Connection::open(gateway.address);
    let mut writer = connection.stream.try_clone().unwrap();
    let dripping = std::thread::spawn(move || {
        use std::io::Write as _;
        let mut sent = 0;
        for byte in b"GET / HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat(&b'x')).take(2000) {
            if writer.write_all(&[*byte]).is_err() {
                break;
            }
            sent += 1;
            #[allow(clippy::disallowed_methods)] // the pace is what is tested
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        sent
    });
    assert_eq!(connection.reply().status, 408);
    drop(connection);
    assert!(dripping.join().unwrap() < 2000, "the connection was closed long before");
    assert!(origin.requests().is_empty());
}

#[test]
fn a_head_that_breaks_off_is_answered() {
    let origin = Origin::plain();
    let gateway = gateway(&origin, "");
    let mut connection = Connection::open(gateway.address);
    let reply = connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n").finish().reply();
    assert_eq!(reply.status, 400);
    assert!(origin.requests().is_empty());
}
