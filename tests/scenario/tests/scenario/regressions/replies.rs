//! Replies of providers: what is cut looks cut, what is whole looks whole, no key shows.

use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::Connection;
use tidegate_scenario::llm::{CHAT, COMPLETIONS, MESSAGES, RESPONSES, error_event, providers};
use tidegate_scenario::scripted::{STREAM_END, STREAM_HEAD, Scripted, chunk};
use tidegate_scenario::until;

/// The provider's key.
const THEIRS: &str = "sk-provider-secret-4d81e6b2";

#[test]
fn a_cut_event_stream_with_a_length_does_not_end_cleanly() {
    let pieces = [
        (
            CHAT,
            "data: {\"choices\":[{\"delta\":{\"content\":\"half\"},\"finish_reason\":null}]}\n\n",
        ),
        (
            COMPLETIONS,
            "data: {\"object\":\"text_completion\",\"choices\":[{\"text\":\"half\",\"finish_reason\":null}]}\n\n",
        ),
        (
            MESSAGES,
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\n",
        ),
        (
            RESPONSES,
            "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":1,\"delta\":\"half\"}\n\n",
        ),
    ];
    for (form, piece) in pieces {
        let provider = Scripted::start(move |_, peer| {
            while peer.request().is_some() {
                peer.send(format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n\r\n{piece}",
                    piece.len()
                ));
            }
        });
        let gateway = Gateway::start(&providers(provider.address));
        let reply = Connection::open(gateway.address).send(&form.stream("m")).reply();
        assert_eq!(reply.field("content-length"), None);
        assert!(reply.text().starts_with(piece), "{}", reply.text());
        error_event(&form, &reply.text());
    }
}

#[test]
fn a_whole_event_stream_with_a_length_ends_cleanly() {
    let text =
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let provider = Scripted::start(move |_, peer| {
        while peer.request().is_some() {
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n\r\n{text}",
                text.len()
            ));
        }
    });
    let gateway = Gateway::start(&format!("shards: 1\n{}", providers(provider.address)));
    let mut caller = Connection::open(gateway.address);
    for _ in 0..2 {
        let reply = caller.send(&CHAT.stream("m")).reply();
        assert!(reply.complete);
        assert_eq!(reply.text(), text);
    }
    assert_eq!(provider.accepted(), 1);
}

#[test]
fn a_complete_responses_stream_with_an_oversized_last_event_is_not_called_cut() {
    let text = format!(
        "event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\"sequence_number\":1,\"delta\":\"hi\"}}\n\n\
         event: response.completed\ndata: {{\"type\":\"response.completed\",\"sequence_number\":2,\"response\":{{\"id\":\"r\",\"instructions\":\"{}\",\"usage\":{{\"input_tokens\":5,\"output_tokens\":6,\"total_tokens\":11}}}}}}\n\n",
        "i".repeat(60_000)
    );
    let sent = text.clone();
    let provider = Scripted::start(move |_, peer| {
        while let Some(request) = peer.request() {
            let size: usize = request.field("x-size").unwrap().parse().unwrap();
            peer.send(STREAM_HEAD);
            for piece in sent.as_bytes().chunks(size) {
                peer.send(chunk(std::str::from_utf8(piece).unwrap())).wait_until_read();
            }
            peer.send(STREAM_END);
        }
    });
    // Small pieces take their time on a busy machine: a heartbeat between the events is none of them.
    let silent = "timeouts: { heartbeat: 0s }\n";
    let gateway = Gateway::start(&format!("{silent}{}", providers(provider.address)));
    // A whole event at once; pieces within and beyond what is held of an event (16 KiB).
    let sizes = [100_000, 8_000, 20_000, 300];
    for size in sizes {
        let ask = RESPONSES.stream_with("m", &format!("x-size: {size}\r\n"));
        let reply = Connection::open(gateway.address).send(&ask).reply();
        assert!(reply.complete, "pieces of {size}");
        let end = &reply.text()[reply.text().len().saturating_sub(300)..];
        assert!(reply.text() == text, "pieces of {size}: …{end}");
    }
    let turns = sizes.len() as f64;
    until("its usage is counted", || {
        let input = gateway.metric("tidegate_tokens_total", "input");
        let output = gateway.metric("tidegate_tokens_total", "output");
        ((input, output) == (5.0 * turns, 6.0 * turns)).then_some(())
    });
    assert_eq!(gateway.metric("tidegate_ended_total", "upstream_cut"), 0.0);
}

#[test]
fn usage_seen_before_the_caller_left_is_counted() {
    let provider = Scripted::start(|_, peer| {
        while peer.request().is_some() {
            peer.send(STREAM_HEAD)
                .send(chunk(
                    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":777,\"output_tokens\":1}}}\n\n",
                ))
                .wait_for_close();
        }
    });
    let gateway = Gateway::start(&providers(provider.address));
    let mut caller = Connection::open(gateway.address);
    caller.send(&MESSAGES.stream("m"));
    assert!(caller.until_seen(b"message_start"));
    drop(caller);
    until("the exchange has ended", || {
        (gateway.metric("tidegate_ended_total", "client_gone") == 1.0).then_some(())
    });
    until("its usage is counted", || {
        (gateway.metric("tidegate_tokens_total", "input") == 777.0).then_some(())
    });
}

/// How a reply is delimited that has the key in it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ends {
    Chunked,
    Length,
    Close,
}

/// Sends a reply that repeats the key, cut in two at each byte of the key (and before and behind
/// it), and compares what the caller gets.
fn is_masked(status: &'static str, kind: &'static str, text: &str, ends: Ends) {
    let first = text.find(THEIRS).unwrap();
    let masked = text.replace(THEIRS, &"*".repeat(THEIRS.len()));
    let text = text.to_owned();
    let provider = Scripted::start(move |_, peer| {
        while let Some(request) = peer.request() {
            let border = request.field("x-split").unwrap().parse::<usize>().unwrap();
            let (before, behind) = text.split_at(border);
            let framing = match ends {
                Ends::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
                Ends::Length => format!("Content-Length: {}\r\n", text.len()),
                Ends::Close => String::new(),
            };
            let coded = |part| if ends == Ends::Chunked { chunk(part) } else { String::from(part) };
            peer.send(format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{framing}\r\n"));
            peer.send(coded(before)).wait_until_read();
            peer.send(coded(behind));
            match ends {
                Ends::Chunked => drop(peer.send(STREAM_END)),
                Ends::Length => {}
                Ends::Close => return,
            }
        }
    });
    let yaml =
        format!("shards: 1\nlimits: {{ stream_buffer: 1KiB }}\n{}", providers(provider.address))
            .replace("none", THEIRS);
    let gateway = Gateway::start(&yaml);
    let mut caller = Connection::open(gateway.address);
    for border in first - 1..=first + THEIRS.len() + 1 {
        let fields = format!("x-split: {border}\r\n");
        let stream = kind == "text/event-stream";
        let ask =
            if stream { CHAT.stream_with("m", &fields) } else { CHAT.whole_with("m", &fields) };
        let reply = caller.send(&ask).reply();
        assert_eq!(reply.status, status[..3].parse::<u16>().unwrap());
        assert!(reply.complete);
        assert_eq!(reply.text(), masked, "{ends:?}, cut at {border}");
    }
}

const EVENTS: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"bad key sk-provider-secret-4d81e6b2 and sk-provider-\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
const DOCUMENT: &str = "{\"object\":\"chat.completion\",\"choices\":[{\"message\":{\"content\":\"bad key sk-provider-secret-4d81e6b2 and sk-provider-\"}}]}";
const ENDS_IN_KEY: &str =
    "its end is sk-prov and the key is sk-provider-secret-4d81e6b2 and sk-provider";
const ERROR: &str = "{\"error\":{\"message\":\"bad key sk-provider-secret-4d81e6b2 and sk-provider-\",\"type\":\"t\",\"code\":\"c\"}}";

#[test]
fn the_providers_key_split_over_two_reads_is_masked_in_a_stream() {
    for ends in [Ends::Chunked, Ends::Length] {
        is_masked("200 OK", "text/event-stream", EVENTS, ends);
        // An event so large that its parts pass before it is whole.
        let large = EVENTS.replace("bad key", &format!("{} bad key", "p".repeat(4000)));
        is_masked("200 OK", "text/event-stream", &large, ends);
    }
}

#[test]
fn the_providers_key_split_over_two_reads_is_masked_in_a_document() {
    for ends in [Ends::Chunked, Ends::Length, Ends::Close] {
        is_masked("200 OK", "application/json", DOCUMENT, ends);
    }
}

#[test]
fn a_reply_that_ends_in_the_beginning_of_the_key_loses_nothing() {
    for ends in [Ends::Chunked, Ends::Length, Ends::Close] {
        is_masked("200 OK", "text/plain", ENDS_IN_KEY, ends);
    }
}

#[test]
fn the_providers_key_split_over_two_reads_is_masked_in_an_error() {
    for ends in [Ends::Chunked, Ends::Length, Ends::Close] {
        is_masked("400 Bad Request", "application/json", ERROR, ends);
    }
}
