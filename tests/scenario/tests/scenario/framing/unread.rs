//! Requests whose body nobody wants: the caller reads the reply, and what it still sends is never
//! taken for a request.

use std::io::{ErrorKind, Write as _};
use std::time::Duration;

use tidegate_lab::origin::{OriginOptions, spawn_origin};
use tidegate_lab::provider::{ProviderOptions, spawn_provider};
use tidegate_scenario::gateway::{Gateway, KEY};
use tidegate_scenario::http::Connection;
use tidegate_scenario::origin::Origin;

use super::{SMUGGLED, before};

fn with_lab(address: std::net::SocketAddr) -> Gateway {
    Gateway::start(&format!(
        "providers: {{ lab: {{ dialect: openai, base_url: http://{address}/v1, api_key: none }} }}\n"
    ))
}

#[test]
fn a_refused_caller_that_still_sends_a_mebibyte_reads_the_whole_refusal() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = with_lab(lab.addr);
    for _ in 0..5 {
        let mut connection = Connection::open(gateway.address);
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
            1 << 20
        );
        connection.send(head.as_bytes());
        let mut writer = connection.stream.try_clone().unwrap();
        let sending = std::thread::spawn(move || {
            let piece = SMUGGLED.repeat(512);
            let mut left = 1 << 20;
            while left > 0 && writer.write_all(&piece.as_bytes()[..piece.len().min(left)]).is_ok() {
                left -= piece.len().min(left);
            }
        });
        let reply = connection.reply();
        assert_eq!(reply.status, 401);
        assert!(reply.complete, "{reply:?}");
        assert_eq!(reply.json()["error"]["type"], "authentication_error");
        assert_eq!(reply.field("connection"), Some("close"));
        assert_eq!(connection.rest(), b"", "nothing that was sent is answered as a request");
        sending.join().unwrap();
    }
    assert_eq!(lab.stats().requests, 0);
}

#[test]
fn a_hundred_is_sent_when_the_body_is_wanted_and_only_then() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = with_lab(lab.addr);
    let body = r#"{"model":"lab-echo","messages":[{"role":"user","content":"hi"}]}"#;
    let head = |key: &str| {
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\
             Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            body.len()
        )
    };
    let mut connection = Connection::open(gateway.address);
    connection.send(head(KEY).as_bytes());
    assert!(connection.until_seen(b"HTTP/1.1 100 Continue\r\n\r\n"));
    let reply = connection.send(body.as_bytes()).reply();
    assert_eq!(reply.json()["choices"][0]["message"]["content"], "hi");

    let mut connection = Connection::open(gateway.address);
    let said = connection.send(head("sk-unknown-000001").as_bytes()).rest();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.starts_with("HTTP/1.1 401 "), "{said}");
    assert!(!said.contains("100 Continue"), "{said}");
}

#[test]
fn expect_is_answered_here_and_not_passed_on() {
    let origin = Origin::plain();
    let gateway = before(&origin);
    let mut connection = Connection::open(gateway.address);
    connection
        .send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert!(connection.until_seen(b"HTTP/1.1 100 Continue\r\n\r\n"));
    assert_eq!(connection.send(b"hello").reply().status, 200);
    let seen = &origin.requests()[0];
    assert_eq!((seen.field("expect"), &seen.body[..]), (None, &b"hello"[..]));
    // The body came unasked: there is nothing to continue.
    let mut connection = Connection::open(gateway.address);
    let said = connection
        .send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\nhello")
        .rest();
    assert!(said.starts_with(b"HTTP/1.1 200 "), "{}", said.escape_ascii());
}

#[test]
fn an_early_reply_of_the_origin_reaches_a_caller_that_is_still_sending() {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let gateway = Gateway::start(&format!(
        "upstreams: {{ app: {{ endpoints: [http://{}] }} }}\nroutes: [{{ path: /, upstream: app }}]\n",
        lab.addr
    ));
    for framing in ["Content-Length: 50000000", "Transfer-Encoding: chunked"] {
        let mut connection = Connection::open(gateway.address);
        connection.send(format!("POST /early HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n").as_bytes());
        let reply = connection.reply();
        assert_eq!(reply.status, 413, "{framing}");
        assert_eq!(reply.text(), "refused before the body was read\n");
        assert_eq!(reply.field("connection"), Some("close"));
        connection.send(SMUGGLED.as_bytes());
        assert_eq!(connection.rest(), b"", "the body is never taken for a request");
    }
}

#[test]
fn a_body_that_was_read_leaves_the_connection_open_after_a_refusal() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = with_lab(lab.addr);
    let mut connection = Connection::open(gateway.address);
    let bad = tidegate_scenario::http::llm_call("/v1/chat/completions", KEY, "{");
    assert_eq!(connection.send(&bad).reply().status, 400);
    connection.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(connection.reply().status, 200);
}

#[test]
fn a_refusal_is_there_for_a_caller_that_looks_up_only_when_it_cannot_send_more() {
    let gateway = Gateway::start(
        "routes: [{ path: /, upstream: nobody }]\n\
         upstreams: { nobody: { endpoints: [http://127.0.0.1:9] } }\nlimits: { body: 1KiB }\n",
    );
    let mut connection = Connection::open(gateway.address);
    connection.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500000000\r\n\r\n");
    // Less than the gateway gives a caller to look up.
    connection.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let piece = vec![b'x'; 64 * 1024];
    let stuck = std::iter::repeat_with(|| connection.stream.write(&piece))
        .take(500_000_000 / piece.len())
        .find_map(Result::err);
    assert_eq!(stuck.map(|error| error.kind()), Some(ErrorKind::WouldBlock));
    assert_eq!(connection.reply().status, 413);
}
