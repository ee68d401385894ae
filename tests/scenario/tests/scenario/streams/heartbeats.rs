//! Heartbeats: a silent stream shows that it lives, and stays a valid stream whatever comes then.

use std::sync::Arc;

use tidegate_lab::provider::{ProviderOptions, spawn_provider};
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::Connection;
use tidegate_scenario::llm::{
    CHAT, FORMS, Form, MESSAGES, error_event, events, providers, two_providers,
};
use tidegate_scenario::scripted::{STREAM_END, STREAM_HEAD, Scripted, chunk, json_reply};

use super::Signal;

const TIMEOUTS: &str = "timeouts: { heartbeat: 200ms }\n";

fn beat(form: &Form) -> &'static str {
    if form.is_anthropic() {
        "event: ping\ndata: {\"type\": \"ping\"}\n\n"
    } else {
        ": keep-alive\n\n"
    }
}

/// A provider that does `then` once the caller has seen a heartbeat and the test says so.
fn when_told(
    then: impl Fn(usize, &mut tidegate_scenario::scripted::Peer) + Send + Sync + 'static,
) -> (Scripted, Arc<Signal>) {
    let told = Arc::new(Signal::new());
    let theirs = Arc::clone(&told);
    let provider = Scripted::start(move |number, peer| {
        while peer.request().is_some() {
            theirs.wait();
            then(number, peer);
        }
    });
    (provider, told)
}

#[test]
fn a_slow_stream_has_heartbeats_between_its_events_and_is_otherwise_the_same() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&format!("{TIMEOUTS}{}", providers(lab.addr)));
    for form in FORMS {
        let fields = "x-lab-first-token-ms: 500\r\nx-lab-interval-ms: 500\r\n";
        let quick = Connection::open(lab.addr).send(&form.stream("lab-tokens-2")).reply();
        let slow = Connection::open(gateway.address)
            .send(&form.stream_with("lab-tokens-2", fields))
            .reply();
        let (text, beat) = (slow.text(), beat(&form));
        assert!(slow.complete, "{}", form.path);
        assert!(text.starts_with(beat), "before the first event: {text}");
        let later = text.trim_start_matches(beat);
        assert!(later.contains(beat), "between events: {text}");
        assert_eq!(text.replace(beat, ""), quick.text(), "{}", form.path);
    }
    assert!(gateway.metric("tidegate_heartbeats_total", "") >= 8.0);
}

#[test]
fn a_provider_that_has_said_nothing_yet_is_waited_for_with_heartbeats() {
    let frame = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let (provider, told) = when_told(move |_, peer| {
        peer.send(STREAM_HEAD).send(chunk(frame)).send(chunk("data: [DONE]\n\n")).send(STREAM_END);
    });
    let gateway = Gateway::start(&format!("{TIMEOUTS}{}", providers(provider.address)));
    let mut connection = Connection::open(gateway.address);
    for _ in 0..2 {
        connection.send(&CHAT.stream("m"));
        assert!(connection.until_seen(b": keep-alive\n\n"));
        told.give();
        let reply = connection.reply();
        assert_eq!(reply.status, 200);
        assert!(reply.field("content-type").unwrap().starts_with("text/event-stream"));
        assert!(reply.complete);
        assert_eq!(
            reply.text().replace(": keep-alive\n\n", ""),
            format!("{frame}data: [DONE]\n\n")
        );
    }
}

#[test]
fn a_heartbeat_never_lands_inside_a_frame() {
    let frame = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let told = Arc::new(Signal::new());
    let theirs = Arc::clone(&told);
    let provider = Scripted::start(move |_, peer| {
        while peer.request().is_some() {
            peer.send(STREAM_HEAD).send(chunk(&frame[..30]));
            theirs.wait();
            peer.send(chunk(&frame[30..])).send(chunk("data: [DONE]\n\n")).send(STREAM_END);
        }
    });
    let gateway = Gateway::start(&format!("{TIMEOUTS}{}", providers(provider.address)));
    let mut connection = Connection::open(gateway.address);
    connection.send(&CHAT.stream("m"));
    assert!(connection.until_seen(b": keep-alive\n\n"));
    told.give();
    let reply = connection.reply();
    assert!(reply.complete);
    assert!(
        reply.text().ends_with(&format!(": keep-alive\n\n{frame}data: [DONE]\n\n")),
        "{}",
        reply.text()
    );
}

#[test]
fn an_error_reply_behind_a_heartbeat_becomes_an_error_event_with_the_providers_words() {
    let (provider, told) = when_told(|_, peer| {
        peer.send(json_reply(
            400,
            r#"{"type":"error","error":{"message":"temperature is too high","type":"invalid_request_error","code":"bad_temperature"}}"#,
        ));
    });
    let gateway = Gateway::start(&format!("{TIMEOUTS}{}", providers(provider.address)));
    for form in FORMS {
        let mut connection = Connection::open(gateway.address);
        connection.send(&form.stream("m"));
        assert!(connection.until_seen(beat(&form).as_bytes()), "{}", form.path);
        told.give();
        let reply = connection.reply();
        let text = reply.text().replace(beat(&form), "");
        let (message, _) = error_event(&form, &text);
        assert_eq!(message, "temperature is too high");
        assert!(text.contains("invalid_request_error"), "the provider's type: {text}");
        assert!(reply.complete);
        assert_eq!(connection.rest(), b"");
    }
}

#[test]
fn a_provider_that_fails_behind_a_heartbeat_is_replaced_by_another() {
    let (first, told) = when_told(|number, peer| match number % 3 {
        0 => {
            peer.send(json_reply(500, r#"{"error":{"message":"oh"}}"#));
        }
        1 => peer.reset(),
        _ => {
            peer.send(STREAM_HEAD);
            peer.reset();
        }
    });
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let yaml = format!(
        "{TIMEOUTS}retry: {{ cooldown: {{ failures: 1000 }} }}\n{}",
        two_providers(first.address, lab.addr)
    );
    let gateway = Gateway::start(&yaml);
    for form in [CHAT, MESSAGES] {
        let expected = Connection::open(lab.addr).send(&form.stream("lab-tokens-3")).reply().text();
        for _ in 0..3 {
            let mut connection = Connection::open(gateway.address);
            connection.send(&form.stream("lab-tokens-3"));
            assert!(connection.until_seen(beat(&form).as_bytes()));
            told.give();
            let reply = connection.reply();
            assert!(reply.complete);
            assert_eq!(reply.text().replace(beat(&form), ""), expected);
        }
    }
}

#[test]
fn whole_replies_and_streams_that_move_have_no_heartbeats() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&format!("{TIMEOUTS}{}", providers(lab.addr)));
    let ask = CHAT.whole_with("lab-echo", "x-lab-first-token-ms: 700\r\n");
    let reply = Connection::open(gateway.address).send(&ask).reply();
    assert_eq!(reply.json()["choices"][0]["message"]["content"], "good morning");
    let ask = CHAT.stream_with("lab-tokens-20", "x-lab-interval-ms: 20\r\n");
    let reply = Connection::open(gateway.address).send(&ask).reply();
    assert!(!reply.text().contains(": keep-alive"));
    assert!(!events(&reply.text()).is_empty());
}
