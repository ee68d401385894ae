//! Failover and retries: another provider takes over, within bounds, before the first byte.

mod rests;
mod retries;
mod shares;
mod takeover;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::{Connection, Reply};
use tidegate_scenario::llm::CHAT;
use tidegate_scenario::scripted::{Scripted, json_reply};

/// OpenAI providers `p0`, `p1`, … with further settings of each.
fn openai(list: &[(SocketAddr, &str)]) -> String {
    let mut yaml = String::from("providers:\n");
    for (number, (address, more)) in list.iter().enumerate() {
        writeln!(
            yaml,
            "  p{number}: {{ dialect: openai, base_url: http://{address}/v1, api_key: none{more} }}"
        )
        .unwrap();
    }
    yaml
}

/// A provider that answers every request with this status and text, and counts them.
fn answering(status: u16, fields: &str, message: &str) -> (Scripted, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let body = format!(r#"{{"error": {{"message": "{message}", "type": "t", "code": "c"}}}}"#);
    let reply = String::from_utf8(json_reply(status, &body)).unwrap();
    let reply = reply.replacen("\r\n", &format!("\r\n{fields}"), 1);
    let provider = Scripted::start(move |_, peer| {
        while peer.request().is_some() {
            counter.fetch_add(1, SeqCst);
            peer.send(&reply);
        }
    });
    (provider, asked)
}

/// A whole chat on a connection of its own.
fn chat(gateway: &Gateway, model: &str) -> Reply {
    Connection::open(gateway.address).send(&CHAT.whole(model)).reply()
}
