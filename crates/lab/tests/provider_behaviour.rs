//! How the provider behaves over real sockets: breaks, stalls, clients that go, keys, counters.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;

use support::{PATIENCE, Reply, connect, get, post, post_with, send_raw, wait_until};
use tidegate_lab::provider::{ProviderHandle, ProviderOptions, StatsPage, spawn_provider};
use tidegate_wire::http1::chunked::ChunkedDecoder;

fn provider() -> ProviderHandle {
    spawn_provider(ProviderOptions::default()).unwrap()
}

fn chat(model: &str, stream: bool) -> String {
    format!(
        r#"{{"model":"{model}","stream":{stream},"messages":[{{"role":"user","content":"Hello there"}}]}}"#
    )
}

fn http11(target: &str, fields: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {target} HTTP/1.1\r\nhost: lab\r\n{fields}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Waits until nothing is open.
fn settled(provider: &ProviderHandle) -> StatsPage {
    wait_until(|| provider.stats(), |stats| stats.open == 0)
}

#[test]
fn a_cut_stream_ends_in_the_middle_without_its_last_chunk() {
    let provider = provider();
    let reply =
        send_raw(provider.addr, &http11("/v1/chat/completions", "", &chat("lab-cut", true)));
    let mut body = Reply::of(&reply).body;
    let decoded = ChunkedDecoder::default().decode(&mut body).unwrap();
    assert!(!decoded.done);
    let text = String::from_utf8(body[decoded.data].to_vec()).unwrap();
    assert!(text.contains("\" t8\"") && !text.contains("\" t9\""), "{text}");
    assert!(text.ends_with("\n\n"), "{text}");
    assert_eq!(settled(&provider).cut, 1);
}

#[test]
fn a_cut_can_fall_inside_of_an_event() {
    let provider = provider();
    let target = "/v1/messages?x-lab-cut=mid-event";
    let body = chat("lab-cut", true).replace("\"messages\"", "\"max_tokens\":9,\"messages\"");
    let reply = post(provider.addr, target, &body);
    assert!(reply.text().contains("\" t8\""));
    assert!(!reply.text().ends_with('\n'), "{}", reply.text());
}

#[test]
fn a_cut_can_be_a_reset() {
    let provider = provider();
    let mut stream = connect(provider.addr);
    let fields = "x-lab-cut: reset\r\n";
    stream.write_all(&http11("/v1/chat/completions", fields, &chat("lab-cut", true))).unwrap();
    let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_cut_reply_is_shorter_than_it_declares() {
    let provider = provider();
    let reply = post(provider.addr, "/v1/chat/completions", &chat("lab-cut", false));
    let whole = post(provider.addr, "/v1/chat/completions", &chat("lab-tokens-16", false));
    assert!(!reply.body.is_empty() && reply.body.len() < whole.body.len());
    let declared = reply.head.split("content-length: ").nth(1).unwrap();
    let declared: usize = declared.split("\r\n").next().unwrap().parse().unwrap();
    assert!(reply.body.len() < declared);
    assert_eq!(settled(&provider).cut, 1);
}

#[test]
fn a_client_that_goes_is_noticed_at_once_wherever_the_exchange_is() {
    let provider = provider();
    let waiting = [
        ("slow, whole", http11("/v1/chat/completions", "", &chat("lab-slow", false))),
        (
            "slow, stream",
            http11(
                "/v1/chat/completions",
                "x-lab-first-token-ms: 600000\r\n",
                &chat("lab-echo", true),
            ),
        ),
        (
            "between tokens",
            http11(
                "/v1/chat/completions",
                "x-lab-interval-ms: 600000\r\n",
                &chat("lab-tokens-9", true),
            ),
        ),
        ("stalled, whole", http11("/v1/chat/completions", "", &chat("lab-stall", false))),
        ("stalled, stream", http11("/v1/chat/completions", "", &chat("lab-stall", true))),
        ("slow reader", http11("/v1/chat/completions", "", &chat("lab-tokens-1000000", true))),
        (
            "uploading",
            b"POST /v1/files HTTP/1.1\r\nhost: lab\r\ncontent-length: 1000\r\n\r\nsome".to_vec(),
        ),
    ];
    for (at, (name, request)) in waiting.iter().enumerate() {
        let mut stream = connect(provider.addr);
        stream.write_all(request).unwrap();
        wait_until(|| provider.stats(), |stats| stats.open == 1);
        assert_eq!(provider.stats().cancelled, at as u64, "{name}: gone too early");
        drop(stream);
        let stats = settled(&provider);
        assert_eq!(stats.cancelled, at as u64 + 1, "{name}");
        assert!(stats.last_cancel_unix_ms > 0);
    }
    assert_eq!(provider.stats().completed, 0);
}

#[test]
fn a_client_that_only_stops_sending_counts_as_gone() {
    let provider = provider();
    let mut stream = connect(provider.addr);
    stream.write_all(&http11("/v1/chat/completions", "", &chat("lab-stall", true))).unwrap();
    wait_until(|| provider.stats(), |stats| stats.open == 1);
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(settled(&provider).cancelled, 1);
}

#[test]
fn a_stalled_stream_has_sent_two_tokens() {
    let provider = provider();
    let mut stream = connect(provider.addr);
    stream.write_all(&http11("/v1/chat/completions", "", &chat("lab-stall", true))).unwrap();
    let mut seen = Vec::new();
    let mut piece = [0; 4096];
    while !String::from_utf8_lossy(&seen).contains("\" t2\"") {
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0);
        seen.extend_from_slice(&piece[..read]);
    }
    assert_eq!(provider.stats().open, 1);
    assert!(!String::from_utf8_lossy(&seen).contains("\" t3\""));
}

#[test]
fn keep_alive_carries_many_requests_even_when_they_are_sent_together() {
    let provider = provider();
    let mut stream = connect(provider.addr);
    let mut both = http11("/v1/chat/completions", "", &chat("lab-echo", false));
    both.extend(http11(
        "/v1/chat/completions",
        "connection: close\r\n",
        &chat("lab-tokens-2", false),
    ));
    stream.write_all(&both).unwrap();
    let mut replies = String::new();
    stream.read_to_string(&mut replies).unwrap();
    assert_eq!(replies.matches("HTTP/1.1 200 OK").count(), 2);
    assert!(replies.find("Hello there").unwrap() < replies.find("t1 t2").unwrap());
    let stats = settled(&provider);
    assert_eq!((stats.connections, stats.requests, stats.completed), (1, 2, 2));
}

#[test]
fn a_chunked_request_body_is_understood() {
    let provider = provider();
    let body = chat("lab-echo", false);
    let (front, back) = body.split_at(20);
    let mut stream = connect(provider.addr);
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: lab\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(format!("{head}{:x}\r\n{front}", front.len()).as_bytes()).unwrap();
    wait_until(|| provider.stats(), |stats| stats.open == 1);
    stream.write_all(format!("\r\n{:x}\r\n{back}\r\n0\r\n\r\n", back.len()).as_bytes()).unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    assert!(Reply::of(&reply).text().contains("Hello there"));
    let last = get(provider.addr, "/lab/last").json();
    assert_eq!(last["body"], body);
    assert_eq!(last["body_bytes"], body.len());
}

#[test]
fn a_wrong_key_is_refused_with_the_key_in_the_text() {
    let options =
        ProviderOptions { key: Some("sk-right".to_owned()), ..ProviderOptions::default() };
    let provider = spawn_provider(options).unwrap();
    let body = chat("lab-echo", false);
    let message = body.replace("\"messages\"", "\"max_tokens\":9,\"messages\"");
    for (target, field, body, status) in [
        ("/v1/chat/completions", "authorization: Bearer sk-right\r\n", &body, 200),
        ("/v1/chat/completions", "authorization: Bearer sk-wrong\r\n", &body, 401),
        ("/v1/messages", "x-api-key: sk-right\r\n", &message, 200),
        ("/v1/messages", "x-api-key: sk-wrong\r\n", &message, 401),
        ("/v1/nothing", "x-goog-api-key: sk-wrong\r\n", &body, 401),
        ("/v1/chat/completions?key=sk-wrong", "", &body, 401),
        ("/v1/chat/completions", "", &body, 401),
    ] {
        let reply = post_with(provider.addr, target, field, body.as_bytes());
        assert_eq!(reply.status, status, "{target} {field}");
        let wrong = field.contains("wrong") || target.contains("wrong");
        assert_eq!(reply.text().contains("sk-wrong"), wrong, "{}", reply.text());
    }
}

#[test]
fn every_nth_flaky_request_fails() {
    let provider = provider();
    let statuses: Vec<_> = (0..6)
        .map(|_| post(provider.addr, "/v1/chat/completions", &chat("lab-flaky-3", false)).status)
        .collect();
    assert_eq!(statuses, [200, 200, 500, 200, 200, 500]);
}

#[test]
fn stats_count_each_exchange_once_and_reset_to_zero() {
    let provider = provider();
    for model in ["lab-echo", "lab-echo", "lab-error-503", "nonsense"] {
        post(provider.addr, "/v1/chat/completions", &chat(model, false));
    }
    send_raw(provider.addr, &http11("/v1/chat/completions", "", &chat("lab-cut", true)));
    settled(&provider);
    let page = get(provider.addr, "/lab/stats").json();
    for (name, count) in [
        ("requests", 5),
        ("completed", 4),
        ("cut", 1),
        ("errors", 2),
        ("open", 0),
        ("cancelled", 0),
    ] {
        assert_eq!(page[name], count, "{name}: {page}");
    }
    assert_eq!(page["by_model"]["lab-echo"], 2);
    assert_eq!(page["by_model"]["nonsense"], 1);

    assert_eq!(post(provider.addr, "/lab/reset", "").status, 200);
    let zeroed = provider.stats();
    assert_eq!((zeroed.requests, zeroed.completed, zeroed.by_model.len()), (0, 0, 0));
    assert_eq!(get(provider.addr, "/lab/last").text(), "null");
}

#[test]
fn model_names_beyond_the_bound_are_counted_together() {
    let provider = provider();
    let mut stream = connect(provider.addr);
    for number in 0..300 {
        stream
            .write_all(&http11("/v1/chat/completions", "", &chat(&format!("m{number}"), false)))
            .unwrap();
    }
    let stats = wait_until(|| provider.stats(), |stats| stats.completed == 300);
    assert_eq!(stats.by_model.len(), 257);
    assert_eq!(stats.by_model["(other)"], 44);
}

#[test]
fn the_last_request_is_kept_byte_for_byte() {
    let provider = provider();
    let body =
        b"{\"model\":\"lab-echo\",\"model\":\"lab-echo\",\"x\": 1.0, \"y\":1e2,\"messages\":[]}";
    let reply =
        post_with(provider.addr, "/v1/chat/completions?a=b", "X-Two: 1\r\nx-two: 2\r\n", body);
    assert_eq!(reply.status, 200);
    let last = get(provider.addr, "/lab/last").json();
    assert_eq!(last["method"], "POST");
    assert_eq!(last["target"], "/v1/chat/completions?a=b");
    assert_eq!(last["body"].as_str().unwrap().as_bytes(), body);
    let headers = last["headers"].as_array().unwrap();
    assert!(headers.contains(&serde_json::json!(["X-Two", "1"])));
    assert!(headers.contains(&serde_json::json!(["x-two", "2"])));

    post_with(provider.addr, "/v1/files", "", &[0xff, 0x00, 0xfe]);
    assert_eq!(get(provider.addr, "/lab/last").json()["body_base64"], "/wD+");
}

#[test]
fn a_bad_head_is_refused_and_closed() {
    let provider = provider();
    let reply = Reply::of(&send_raw(provider.addr, b"GET / HTTP/1.1\r\nhost: a\nb: c\r\n\r\n"));
    assert_eq!(reply.status, 400);
    let both =
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(Reply::of(&send_raw(provider.addr, both)).status, 400);
    let huge = b"POST /v1/files HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999\r\n\r\n";
    assert_eq!(Reply::of(&send_raw(provider.addr, huge)).status, 413);
    assert_eq!(settled(&provider).requests, 1);
}

#[test]
fn stopping_closes_connections_under_way() {
    let provider = provider();
    let mut stream = connect(provider.addr);
    stream.write_all(&http11("/v1/chat/completions", "", &chat("lab-stall", true))).unwrap();
    wait_until(|| provider.stats(), |stats| stats.open == 1);
    provider.stop();
    // The end comes, as a close or as a reset, instead of the timeout of the read.
    let end = stream.read_to_end(&mut Vec::new());
    assert!(end.is_ok() || end.unwrap_err().kind() == std::io::ErrorKind::ConnectionReset);
    assert!(std::net::TcpStream::connect_timeout(&provider.addr, PATIENCE).is_err());
    assert_eq!(provider.stats().open, 0);
}
