//! The deadlines of a stream: first token, between tokens, the whole.

use tidegate_lab::provider::{ProviderOptions, spawn_provider};
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::Connection;
use tidegate_scenario::llm::{
    CHAT, FORMS, MESSAGES, error_event, events, providers, two_providers,
};
use tidegate_scenario::scripted::{STREAM_HEAD, Scripted};
use tidegate_scenario::until;

/// A provider that says nothing, or nothing after the head of a stream.
fn silent() -> Scripted {
    Scripted::start(|number, peer| {
        peer.request();
        if number % 2 == 1 {
            peer.send(STREAM_HEAD);
        }
        peer.wait_for_close();
    })
}

#[test]
fn silence_between_tokens_is_an_error_event_and_cancels_upstream() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let yaml = format!("timeouts: {{ between_tokens: 300ms }}\n{}", providers(lab.addr));
    let gateway = Gateway::start(&yaml);
    for form in FORMS {
        let reply = Connection::open(gateway.address).send(&form.stream("lab-stall")).reply();
        let (message, code) = error_event(&form, &reply.text());
        assert!(message.contains("between_tokens"), "{message}");
        let named = if form.is_anthropic() { "timeout_error" } else { "between_tokens_timeout" };
        assert_eq!(code, named);
    }
    until("all four are cancelled", || (lab.stats().cancelled == 4).then_some(()));
}

#[test]
fn without_a_first_token_in_time_another_provider_answers() {
    let (first, lab) = (silent(), spawn_provider(ProviderOptions::default()).unwrap());
    let yaml = format!(
        "timeouts: {{ first_token: 250ms }}\nretry: {{ cooldown: {{ failures: 1000 }} }}\n{}",
        two_providers(first.address, lab.addr)
    );
    let gateway = Gateway::start(&yaml);
    for form in [CHAT, MESSAGES] {
        // Silence before the head and silence behind it.
        for _ in 0..2 {
            let reply =
                Connection::open(gateway.address).send(&form.stream("lab-tokens-5")).reply();
            assert_eq!(reply.status, 200);
            assert!(reply.complete && reply.text().contains(form.end), "{}", reply.text());
            events(&reply.text());
        }
    }
    assert_eq!(first.accepted(), 4);
    assert_eq!(gateway.metric("tidegate_retries_total", ""), 4.0);
}

#[test]
fn without_a_first_token_and_without_another_provider_the_caller_is_told_504() {
    let provider = Scripted::start(|_, peer| {
        peer.request();
        peer.wait_for_close();
    });
    let yaml = format!("timeouts: {{ first_token: 250ms }}\n{}", providers(provider.address));
    let gateway = Gateway::start(&yaml);
    let reply = Connection::open(gateway.address).send(&CHAT.stream("m")).reply();
    assert_eq!(reply.status, 504);
    assert_eq!(reply.json()["error"]["code"], "first_token_timeout");
    let reply = Connection::open(gateway.address).send(&MESSAGES.stream("m")).reply();
    assert_eq!(reply.status, 504);
    assert_eq!(reply.json()["error"]["type"], "timeout_error");
    assert_eq!(provider.accepted(), 2, "the same provider would be silent again");
}

#[test]
fn a_provider_that_falls_silent_behind_the_head_is_told_as_an_error_in_the_dialect() {
    let provider = Scripted::start(|_, peer| {
        peer.request();
        peer.send(STREAM_HEAD);
        peer.wait_for_close();
    });
    let yaml = format!("timeouts: {{ first_token: 250ms }}\n{}", providers(provider.address));
    let gateway = Gateway::start(&yaml);
    for form in [CHAT, MESSAGES] {
        let reply = Connection::open(gateway.address).send(&form.stream("m")).reply();
        error_event(&form, &reply.text());
    }
}

#[test]
fn a_stream_that_goes_on_for_too_long_ends_with_an_error_event() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let yaml = format!("timeouts: {{ stream: 600ms }}\n{}", providers(lab.addr));
    let gateway = Gateway::start(&yaml);
    for form in [CHAT, MESSAGES] {
        let ask = form.stream_with("lab-tokens-10000", "x-lab-interval-ms: 20\r\n");
        let reply = Connection::open(gateway.address).send(&ask).reply();
        let (message, _) = error_event(&form, &reply.text());
        assert!(message.contains("timeouts.stream"), "{message}");
        assert!(events(&reply.text()).len() > 3);
    }
    until("both are cancelled", || (lab.stats().cancelled == 2).then_some(()));
}

#[test]
fn a_whole_reply_that_takes_too_long_is_504_and_cancels_upstream() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let yaml = format!("timeouts: {{ request: 300ms }}\n{}", providers(lab.addr));
    let gateway = Gateway::start(&yaml);
    for form in FORMS {
        let ask = form.whole_with("lab-echo", "x-lab-first-token-ms: 15000\r\n");
        let reply = Connection::open(gateway.address).send(&ask).reply();
        assert_eq!(reply.status, 504, "{}", form.path);
        assert_eq!(reply.field("x-tidegate-reason"), Some("request_timeout"));
    }
    until("all four are cancelled", || (lab.stats().cancelled == 4).then_some(()));
}
