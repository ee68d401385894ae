//! Bodies that arrive while their request waits for something else lose no byte.

use tidegate_lab::provider::{ProviderOptions, spawn_provider};
use tidegate_scenario::gateway::{Gateway, KEY};
use tidegate_scenario::http::{Connection, get};
use tidegate_scenario::llm::{CHAT, providers};
use tidegate_scenario::scripted::unread;
use tidegate_scenario::until;

#[test]
fn a_body_that_comes_while_its_request_is_queued_is_complete() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let yaml =
        format!("limits: {{ requests: 1, queue: {{ wait: 20s }} }}\n{}", providers(lab.addr));
    let gateway = Gateway::start(&yaml);
    let mut first = Connection::open(gateway.address);
    first.send(&CHAT.stream_with("lab-tokens-2", "x-lab-interval-ms: 15000\r\n"));
    assert!(first.until_seen(b"data: {"));
    let text = "y".repeat(200_000);
    let body =
        format!(r#"{{"model":"lab-echo","messages":[{{"role":"user","content":"{text}"}}]}}"#);
    let mut queued = Connection::open(gateway.address);
    queued.send(
        format!(
            "POST {} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {}\r\n\r\n",
            CHAT.path,
            body.len()
        )
        .as_bytes(),
    );
    until("it waits", || (gateway.metric("tidegate_requests_waiting", "") == 1.0).then_some(()));
    // What fits into the sockets goes now, the rest when somebody reads; a request follows it.
    let mut sending = queued.stream.try_clone().unwrap();
    let next = CHAT.whole("lab-echo");
    let sender = std::thread::spawn(move || {
        std::io::Write::write_all(&mut sending, &[body.as_bytes(), &next].concat()).unwrap();
    });
    let sender_address = queued.stream.local_addr().unwrap();
    until("more has come than is read ahead", || {
        (unread(gateway.address, sender_address)? > 32 * 1024).then_some(())
    });
    drop(first);
    let reply = queued.reply();
    sender.join().unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json()["choices"][0]["message"]["content"], text);
    let reply = queued.reply();
    assert_eq!(reply.json()["choices"][0]["message"]["content"], "good morning");
}

#[test]
fn a_body_that_comes_while_the_provider_is_connected_to_is_complete() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&providers(lab.addr));
    for number in 0..10 {
        // The exchange that is broken off at the end of each turn takes the pooled connection with it.
        let mut connection = Connection::open(gateway.address);
        let head = format!(
            "POST /v1/files HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\
             Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 300000\r\n\r\n"
        );
        connection.send(head.as_bytes()).send(&vec![b'x'; 300_000]);
        assert_ne!(connection.reply().status, 0);
        let last = get(lab.addr, "/lab/last").json();
        assert_eq!(last["body_bytes"], 300_000, "upload {number}");
        let mut abort = Connection::open(gateway.address);
        abort.send(&CHAT.stream_with("lab-tokens-2", "x-lab-interval-ms: 15000\r\n"));
        abort.until_seen(b"data: {");
    }
}
