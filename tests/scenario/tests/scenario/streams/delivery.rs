//! What a provider sends arrives at once and unchanged.

use std::sync::Arc;

use tidegate_lab::provider::{ProviderOptions, spawn_provider};
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::Connection;
use tidegate_scenario::llm::{CHAT, FORMS, MESSAGES, providers};
use tidegate_scenario::scripted::{STREAM_END, STREAM_HEAD, Scripted, chunk};

use super::Signal;

/// Three frames of a chat, the end among them, with what frame scanners trip over: CRLF line ends,
/// a comment, text beyond ASCII, a lone `data:` in a text.
const CHAT_FRAMES: [&str; 4] = [
    "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"d\u{e9}j\u{e0} \\n\\ndata: x\"},\"finish_reason\":null}]}\n\n",
    ": a comment\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"x\":1.0}\r\n\r\n",
    "data: [DONE]\n\n",
];

const MESSAGE_FRAMES: [&str; 3] = [
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":3,\"output_tokens\":0}}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"\u{1f30a}\"}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
];

#[test]
fn the_first_event_arrives_before_the_provider_makes_the_second() {
    let go_on = Arc::new(Signal::new());
    let theirs = Arc::clone(&go_on);
    let provider = Scripted::start(move |_, peer| {
        while let Some(request) = peer.request() {
            let frames: &[&str] =
                if request.head.contains("/messages") { &MESSAGE_FRAMES } else { &CHAT_FRAMES };
            peer.send(STREAM_HEAD);
            for frame in frames {
                peer.send(chunk(frame));
                theirs.wait();
            }
            peer.send(STREAM_END);
        }
    });
    let gateway = Gateway::start(&providers(provider.address));
    let mut connection = Connection::open(gateway.address);
    for (form, frames) in [(CHAT, &CHAT_FRAMES[..]), (MESSAGES, &MESSAGE_FRAMES)] {
        connection.send(&form.stream("m"));
        for frame in frames {
            assert!(connection.until_seen(frame.as_bytes()), "{frame} is held back");
            go_on.give();
        }
        let reply = connection.reply();
        assert_eq!((reply.status, reply.complete), (200, true));
        assert_eq!(reply.text(), frames.concat());
    }
}

#[test]
fn a_stream_split_over_packets_at_any_byte_arrives_unchanged() {
    for (form, frames) in [(CHAT, &CHAT_FRAMES[..]), (MESSAGES, &MESSAGE_FRAMES)] {
        let text = frames.concat();
        // Two chunks, their border inside a frame.
        let border = (text.len() / 2..text.len()).find(|at| text.is_char_boundary(*at)).unwrap();
        let coded = format!("{}{}{STREAM_END}", chunk(&text[..border]), chunk(&text[border..]));
        let length = coded.len();
        let (half, go_on) = (Arc::new(Signal::new()), Arc::new(Signal::new()));
        let (theirs, theirs_too) = (Arc::clone(&half), Arc::clone(&go_on));
        let provider = Scripted::start(move |_, peer| {
            while let Some(request) = peer.request() {
                let at: usize = request.field("x-split").unwrap().parse().unwrap();
                peer.send(STREAM_HEAD).send(&coded.as_bytes()[..at]);
                theirs.give();
                theirs_too.wait();
                peer.send(&coded.as_bytes()[at..]);
            }
        });
        let gateway = Gateway::start(&format!("shards: 1\n{}", providers(provider.address)));
        let mut connection = Connection::open(gateway.address);
        let mut beside = Connection::open(gateway.address);
        for at in 0..=length {
            let ask = form.stream_with("m", &format!("x-split: {at}\r\n"));
            connection.send(&ask);
            half.wait();
            // The one shard has answered twice since the first part came: it has read that part.
            for _ in 0..2 {
                beside.send(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
                assert_eq!(beside.reply().status, 200);
            }
            go_on.give();
            let reply = connection.reply();
            assert_eq!((reply.status, reply.complete), (200, true), "split at {at}");
            assert_eq!(reply.text(), text, "split at {at}");
        }
        assert_eq!(provider.accepted(), 1, "the connection is used again after each stream");
    }
}

#[test]
fn every_streamed_operation_ends_as_the_provider_ended_it() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&providers(lab.addr));
    let mut direct = Connection::open(lab.addr);
    let mut connection = Connection::open(gateway.address);
    for form in FORMS {
        for model in ["lab-tokens-50", "lab-think", "lab-late-error"] {
            let ask = form.stream(model);
            let theirs = direct.send(&ask).reply();
            let ours = connection.send(&ask).reply();
            assert_eq!(ours.text(), theirs.text(), "{} {model}", form.path);
            assert!(ours.complete);
        }
    }
}

#[test]
fn a_frame_larger_than_the_stream_buffer_passes_unchanged() {
    let text = "x".repeat(300_000);
    let frame = format!(
        "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":\"stop\"}}]}}\n\n"
    );
    let whole = format!("{frame}data: [DONE]\n\n");
    let sent = whole.clone();
    let provider = Scripted::start(move |_, peer| {
        while peer.request().is_some() {
            peer.send(STREAM_HEAD).send(chunk(&sent)).send(STREAM_END);
        }
    });
    let gateway = Gateway::start(&format!(
        "limits: {{ stream_buffer: 1KiB }}\n{}",
        providers(provider.address)
    ));
    let reply = Connection::open(gateway.address).send(&CHAT.stream("m")).reply();
    assert!(reply.complete);
    assert_eq!(reply.text(), whole);
}
