//! What arrives on a connection to an endpoint is whole requests, each with its own body.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tidegate_scenario::gateway::{Gateway, KEY};
use tidegate_scenario::http::{Connection, llm_call_with};
use tidegate_scenario::llm::{CHAT, providers};
use tidegate_scenario::scripted::{STREAM_END, STREAM_HEAD, Scripted, chunk, json_reply};

use super::{
    Seen, another_chat_is_not_harmed, another_request_is_not_harmed, answers_with_the_path, lines,
    own_reply, plain,
};
use crate::streams::Signal;

#[test]
fn an_upload_to_an_llm_provider_is_not_repeated_once_any_of_it_was_sent() {
    let asked = Arc::new(AtomicUsize::new(0));
    let seen = Seen::default();
    let noted = seen.clone();
    let provider = Scripted::start(move |_, peer| {
        while let Some((head, framing)) = peer.request_head() {
            if asked.fetch_add(1, SeqCst) == 0 {
                noted.note(&head, peer.request_body(framing));
                peer.send(json_reply(503, r#"{"error":{"message":"not now"}}"#));
                continue;
            }
            // Whoever is asked again answers before it has the body.
            peer.send(json_reply(200, &own_reply(head.split(' ').nth(1).unwrap())));
            noted.note(&head, peer.request_body(framing));
        }
    });
    let gateway = Gateway::start(&format!("shards: 1\n{}", providers(provider.address)));
    let upload = vec![b'u'; 20_000];
    let mut caller = Connection::open(gateway.address);
    let reply = caller.send(&llm_call_with("/v1/files", KEY, "", &upload)).reply();
    assert_eq!((reply.status, reply.json()["error"]["message"].as_str()), (503, Some("not now")));
    let chat = Connection::open(gateway.address).send(&CHAT.whole("other")).reply();
    assert_eq!((chat.status, chat.text()), (200, own_reply(CHAT.path)));
    // The reply came before its request was noted: the next request's turn is after that.
    drop(gateway);
    tidegate_scenario::until("both are noted", || (seen.all().len() == 2).then_some(()));
    assert_eq!(seen.bodies("/v1/files"), [Some(upload)], "{:?}", lines(&seen));
    assert_eq!(seen.bodies(CHAT.path), [Some(CHAT.body("other", false).into_bytes())]);
}

#[test]
fn a_plain_post_is_not_repeated_after_a_reply_head() {
    let seen = Seen::default();
    let noted = seen.clone();
    let endpoint = Scripted::start(move |number, peer| {
        if number > 0 {
            return answers_with_the_path(peer, &noted);
        }
        let (head, framing) = peer.request_head().unwrap();
        noted.note(&head, peer.request_body(framing));
        peer.send(STREAM_HEAD);
        peer.wait_until_read();
    });
    let gateway = Gateway::start(&plain(endpoint.address, ""));
    for (number, size) in [(1, 20_000), (2, 10)] {
        // The second is so short that it comes with its head; its connection is a sound one.
        let body = vec![b'p'; size];
        let mut caller = Connection::open(gateway.address);
        let head =
            format!("POST /pay{number} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n");
        let reply = caller.send(&[head.as_bytes(), &body].concat()).reply();
        assert_eq!(reply.complete && reply.status == 200, number == 2, "{reply:?}");
        assert_eq!(seen.bodies(&format!("/pay{number}")), [Some(body)], "{:?}", lines(&seen));
    }
    another_request_is_not_harmed(&gateway, &seen);
}

#[test]
fn an_early_reply_does_not_truncate_the_request_on_a_connection_that_is_used_again() {
    // More than the sockets between gateway and provider can hold.
    let big = format!(
        r#"{{"model":"m","stream":true,"messages":[{{"role":"user","content":"{}"}}]}}"#,
        "y".repeat(16 * 1024 * 1024)
    );
    let go_on = Arc::new(Signal::new());
    let seen = Seen::default();
    let (theirs, noted) = (Arc::clone(&go_on), seen.clone());
    let provider = Scripted::start(move |number, peer| {
        if number > 0 {
            return answers_with_the_path(peer, &noted);
        }
        let (head, framing) = peer.request_head().unwrap();
        peer.send(STREAM_HEAD).send(chunk(
            "data: {\"choices\":[{\"delta\":{\"content\":\"early\"},\"finish_reason\":null}]}\n\n",
        ));
        theirs.wait();
        noted.note(&head, peer.request_body(framing));
        peer.send(chunk(
            "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
        ))
        .send(STREAM_END);
        answers_with_the_path(peer, &noted);
    });
    let gateway = Gateway::start(&format!("shards: 1\n{}", providers(provider.address)));
    let mut caller = Connection::open(gateway.address);
    caller.send(&llm_call_with(CHAT.path, KEY, "", big.as_bytes()));
    assert!(caller.until_seen(b"early"));
    go_on.give();
    let reply = caller.reply();
    assert!(reply.complete && reply.text().ends_with("data: [DONE]\n\n"), "{}", reply.text());
    let bodies = seen.bodies(CHAT.path);
    assert!(bodies == [Some(big.into_bytes())], "{:?}", lines(&seen));
    another_chat_is_not_harmed(&gateway, &seen);
    assert_eq!(provider.accepted(), 1, "a sound connection is used again");
}

#[test]
fn a_reply_that_ends_before_its_request_ends_the_connection_with_it() {
    let seen = Seen::default();
    let noted = seen.clone();
    let endpoint = Scripted::start(move |number, peer| {
        if number > 0 {
            return answers_with_the_path(peer, &noted);
        }
        let (head, framing) = peer.request_head().unwrap();
        peer.send(json_reply(200, &own_reply("/up")));
        // A server that means well reads what was announced before it takes the next request.
        noted.note(&head, peer.request_body(framing));
        answers_with_the_path(peer, &noted);
    });
    let gateway = Gateway::start(&plain(endpoint.address, ""));
    let mut caller = Connection::open(gateway.address);
    caller.send(b"PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nthe beginning");
    let reply = caller.reply();
    assert_eq!((reply.status, reply.text()), (200, own_reply("/up")));
    another_request_is_not_harmed(&gateway, &seen);
    tidegate_scenario::until("the endpoint has noticed", || {
        (seen.bodies("/up") == [None]).then_some(())
    });
}
