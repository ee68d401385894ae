//! A provider that breaks off: the caller is told so in its dialect, and never sees a proper end.

use serde_json::Value;
use tidegate_lab::provider::{ProviderOptions, spawn_provider};
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::Connection;
use tidegate_scenario::llm::{CHAT, FORMS, MESSAGES, RESPONSES, error_event, events, providers};
use tidegate_scenario::scripted::{STREAM_END, STREAM_HEAD, Scripted, chunk};

const CHAT_EVENT: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"one\"},\"finish_reason\":null}]}\n\n";
const MESSAGE_EVENT: &str =
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\n";
const RESPONSE_EVENT: &str = "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{}}\n\n";

#[test]
fn a_provider_that_breaks_off_is_an_error_event_and_never_a_proper_end() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&providers(lab.addr));
    for form in FORMS {
        for how in ["", "x-lab-cut: reset\r\n", "x-lab-cut: mid-event\r\n"] {
            // A pause between tokens, so that the break comes when events have been delivered.
            let fields = format!("{how}x-lab-interval-ms: 5\r\n");
            let mut connection = Connection::open(gateway.address);
            let reply = connection.send(&form.stream_with("lab-cut", &fields)).reply();
            assert_eq!((reply.status, reply.complete), (200, true), "{} {how}", form.path);
            let (message, _) = error_event(&form, &reply.text());
            assert!(message.contains("broke off"), "{message}");
            assert!(events(&reply.text()).len() > 1, "what came before arrives too");
            assert_eq!(connection.rest(), b"", "nothing follows, and the connection is closed");
        }
    }
    assert_eq!(gateway.metric("tidegate_ended_total", "upstream_cut"), 12.0);
}

#[test]
fn an_error_in_a_responses_stream_continues_the_numbers_of_its_events() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&providers(lab.addr));
    let ask = RESPONSES.stream_with("lab-cut", "x-lab-interval-ms: 5\r\n");
    let reply = Connection::open(gateway.address).send(&ask).reply();
    let numbers: Vec<u64> = events(&reply.text())
        .iter()
        .map(|data| serde_json::from_str::<Value>(data).unwrap())
        .map(|event| event["sequence_number"].as_u64().unwrap())
        .collect();
    assert!(numbers.len() > 2);
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_clean_close_without_the_end_marker_is_an_error_event() {
    let provider = Scripted::start(|_, peer| {
        let Some(request) = peer.request() else { return };
        let frame = match &request.head {
            head if head.contains("/messages") => MESSAGE_EVENT,
            head if head.contains("/responses") => RESPONSE_EVENT,
            _ => CHAT_EVENT,
        };
        match request.field("x-end") {
            Some("chunked") => peer.send(STREAM_HEAD).send(chunk(frame)).send(STREAM_END),
            Some("together") => peer.send(format!("{STREAM_HEAD}{}{STREAM_END}", chunk(frame))),
            Some("half") => peer
                .send(STREAM_HEAD)
                .send(chunk(&format!("{frame}{}", &frame[..20])))
                .send(STREAM_END),
            _ => peer
                .send(format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n{frame}")),
        };
    });
    let gateway = Gateway::start(&providers(provider.address));
    for form in [CHAT, MESSAGES, RESPONSES] {
        for end in ["chunked", "together", "half", "close"] {
            let ask = form.stream_with("m", &format!("x-end: {end}\r\n"));
            let mut connection = Connection::open(gateway.address);
            let reply = connection.send(&ask).reply();
            assert_eq!(
                (reply.status, reply.complete),
                (200, true),
                "{} {end}: {reply:?}",
                form.path
            );
            error_event(&form, &reply.text());
            assert_eq!(events(&reply.text()).len(), 2, "{} {end}", form.path);
            assert_eq!(connection.rest(), b"");
        }
    }
}

#[test]
fn an_end_after_the_finish_reason_or_the_providers_own_error_is_left_as_it_is() {
    let frames = [
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"error\":{\"message\":\"their words\",\"type\":\"server_error\"}}\n\n",
    ];
    let provider = Scripted::start(move |number, peer| {
        while peer.request().is_some() {
            peer.send(STREAM_HEAD).send(chunk(frames[number % 2])).send(STREAM_END);
            if number % 2 == 0 {
                return;
            }
        }
    });
    let gateway = Gateway::start(&providers(provider.address));
    for frame in frames {
        let reply = Connection::open(gateway.address).send(&CHAT.stream("m")).reply();
        assert!(reply.complete);
        assert_eq!(reply.text(), frame);
    }
}

#[test]
fn broken_chunks_behind_the_head_are_an_error_in_the_dialect() {
    let provider = Scripted::start(|_, peer| {
        while peer.request().is_some() {
            peer.send(format!("{STREAM_HEAD}this is no chunk\r\n"));
        }
    });
    let gateway = Gateway::start(&providers(provider.address));
    for form in FORMS {
        let reply = Connection::open(gateway.address).send(&form.stream("m")).reply();
        assert_eq!(reply.status, 502, "{}: {}", form.path, reply.text());
        assert_eq!(reply.field("x-tidegate-reason"), Some("bad_reply"));
        assert!(reply.json()["error"]["message"].is_string());
        let reply = Connection::open(gateway.address).send(&form.whole("m")).reply();
        assert_eq!(reply.status, 502, "{}: {}", form.path, reply.text());
    }
}

#[test]
fn broken_chunks_behind_an_event_are_an_error_event() {
    let provider = Scripted::start(|_, peer| {
        while let Some(request) = peer.request() {
            let frame = if request.head.contains("/messages") { MESSAGE_EVENT } else { CHAT_EVENT };
            peer.send(STREAM_HEAD).send(chunk(frame));
            peer.wait_until_read();
            peer.send("this is no chunk\r\n");
        }
    });
    let gateway = Gateway::start(&providers(provider.address));
    for form in [CHAT, MESSAGES] {
        let reply = Connection::open(gateway.address).send(&form.stream("m")).reply();
        error_event(&form, &reply.text());
    }
}

#[test]
fn a_whole_reply_that_is_cut_does_not_look_complete() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&providers(lab.addr));
    for form in FORMS {
        for how in ["", "x-lab-cut: reset\r\n"] {
            let mut connection = Connection::open(gateway.address);
            let reply = connection.send(&form.whole_with("lab-cut", how)).reply();
            assert!(reply.status == 502 || !reply.complete, "{} {how}: {reply:?}", form.path);
        }
    }
}

#[test]
fn a_caller_of_http_1_0_sees_a_broken_stream_as_a_reset_or_an_error() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&providers(lab.addr));
    let ask = CHAT.stream_with("lab-cut", "x-lab-interval-ms: 5\r\n");
    let ask = String::from_utf8(ask).unwrap().replace("HTTP/1.1", "HTTP/1.0");
    let mut connection = Connection::open(gateway.address);
    connection.send(ask.as_bytes());
    let mut last = Ok(1);
    let mut text = Vec::new();
    while let Ok(1..) = last {
        let mut piece = [0; 4096];
        last = std::io::Read::read(&mut connection.stream, &mut piece);
        text.extend_from_slice(&piece[..*last.as_ref().unwrap_or(&0)]);
    }
    let told = String::from_utf8_lossy(&text).contains("\"error\"");
    assert!(last.is_err() || told, "{}", String::from_utf8_lossy(&text));
}
