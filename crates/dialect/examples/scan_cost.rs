//! Prints what reading costs on the request path: `cargo run --release -p tidegate-dialect
//! --example scan_cost`.
#![allow(clippy::print_stdout, reason = "it is what this program is for")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use tidegate_dialect::{
    Dialect, Operation, StreamWatch, rename_model, scan_request, usage_in_body,
};

/// Time for one measurement; the best of [`ROUNDS`] counts, because other work on the machine can
/// only slow it down.
const ROUND: Duration = Duration::from_millis(50);
const ROUNDS: usize = 8;

fn main() {
    for (name, body) in [
        ("request 1 KiB", request(1 << 10, "The tide comes in, and goes out again. ")),
        ("request 100 KiB", request(100 << 10, "The tide comes in, and goes out again. ")),
        (
            "request 100 KiB, code",
            request(100 << 10, "fn f(x: &str) -> u8 {\\n\\treturn \\\"a\\\";\\n}\\n"),
        ),
        ("request 100 KiB, Chinese", request(100 << 10, "潮水涨了又退，")),
        ("request 100 KiB, turns", turns(100 << 10)),
    ] {
        report(&format!("scan_request: {name}"), body.len(), || {
            black_box(scan_request(black_box(&body)).is_ok());
        });
    }
    let body = request(1 << 10, "The tide comes in, and goes out again. ");
    if let Ok(facts) = scan_request(&body) {
        let mut out = Vec::new();
        report("rename_model: request 1 KiB", body.len(), || {
            out.clear();
            rename_model(black_box(&body), &facts, "gpt-4o-mini-2024-07-18", &mut out);
            black_box(out.len());
        });
    }
    for (name, dialect, operation, frame) in FRAMES {
        let mut watch = StreamWatch::new(*dialect, *operation);
        report(&format!("observe: {name}"), frame.len(), || {
            watch.observe(black_box(frame.as_bytes()));
            black_box(watch.finished());
        });
    }
    let reply = CHAT_REPLY.as_bytes();
    report("usage_in_body: chat reply", reply.len(), || {
        black_box(usage_in_body(Dialect::OpenAi, Operation::ChatCompletions, black_box(reply)));
    });
    println!("size of StreamWatch: {} bytes", size_of::<StreamWatch>());
}

fn report(name: &str, bytes: usize, mut run: impl FnMut()) {
    let best = (0..ROUNDS).map(|_| nanoseconds_each(&mut run)).fold(f64::INFINITY, f64::min);
    println!("{name:<44} {bytes:>7} B {best:>10.1} ns {:>7.2} GB/s", bytes as f64 / best);
}

fn nanoseconds_each(run: &mut impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut times = 0_u32;
    while start.elapsed() < ROUND {
        for _ in 0..64 {
            run();
        }
        times += 64;
    }
    start.elapsed().as_nanos() as f64 / f64::from(times)
}

fn request(size: usize, words: &str) -> Vec<u8> {
    let head = r#"{"model":"gpt-4o-mini","messages":[{"role":"system","content":"You are terse."},{"role":"user","content":""#;
    let tail = r#""}],"temperature":0.7,"max_tokens":512,"stream":true,"stream_options":{"include_usage":true},"user":"u-123"}"#;
    let mut body = String::from(head);
    while body.len() + tail.len() < size {
        body.push_str(words);
    }
    body.push_str(tail);
    body.into_bytes()
}

/// Many short turns, as of a long chat with tools.
fn turns(size: usize) -> Vec<u8> {
    let mut body = String::from(
        r#"{"model":"gpt-4o-mini","stream":true,"messages":[{"role":"user","content":"hi"}"#,
    );
    while body.len() < size {
        body.push_str(r#",{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"look","arguments":"{\"x\":1}"}}]}"#);
    }
    body.push_str("]}");
    body.into_bytes()
}

const FRAMES: &[(&str, Dialect, Operation, &str)] = &[
    ("chat chunk", Dialect::OpenAi, Operation::ChatCompletions, CHAT_CHUNK),
    ("chat chunk with usage", Dialect::OpenAi, Operation::ChatCompletions, CHAT_USAGE),
    ("responses delta", Dialect::OpenAi, Operation::Responses, RESPONSES_DELTA),
    ("anthropic delta", Dialect::Anthropic, Operation::Messages, ANTHROPIC_DELTA),
];

const CHAT_CHUNK: &str = "data: {\"id\":\"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG\",\"object\":\"chat.completion.chunk\",\"created\":1741570283,\"model\":\"gpt-4o-2024-08-06\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_fc9f1d7035\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" tide\"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n";
const CHAT_USAGE: &str = "data: {\"id\":\"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG\",\"object\":\"chat.completion.chunk\",\"created\":1741570283,\"model\":\"gpt-4o-2024-08-06\",\"choices\":[],\"usage\":{\"prompt_tokens\":19,\"completion_tokens\":10,\"total_tokens\":29,\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":0}}}\n\n";
const RESPONSES_DELTA: &str = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":7,\"item_id\":\"msg_67c9fdcf37fc8190ba82116e33fb28c50b8b0d29b9c1d5f2\",\"output_index\":0,\"content_index\":0,\"delta\":\" tide\",\"logprobs\":[]}\n\n";
const ANTHROPIC_DELTA: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" tide\"}}\n\n";
const CHAT_REPLY: &str = r#"{"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion","created":1741569952,"model":"gpt-4o-2024-08-06","choices":[{"index":0,"message":{"role":"assistant","content":"Hello! How can I assist you today?","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}},"service_tier":"default"}"#;
