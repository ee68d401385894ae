//! WebSocket: the switch, over HTTP/1.1 and HTTP/2, the tunnel behind it, its ends and its bounds.

mod life;
mod over_h2;
mod over_h2_life;
mod switch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::scripted::Scripted;
use tidegate_scenario::until;
use tidegate_scenario::websocket::switched;

/// Bytes that an endpoint wants to send at once: more than all buffers on the way hold.
const FLOOD: u64 = 64 << 20;

/// Everything to this endpoint, with further sections.
fn before(endpoint: SocketAddr, sections: &str) -> Gateway {
    Gateway::start(&format!(
        "upstreams: {{ app: {{ endpoints: [\"http://{endpoint}\"] }} }}\n\
         routes: [{{ path: /, upstream: app }}]\n{sections}"
    ))
}

/// An endpoint whose first tunnel ends with the caller's end, and whose second ends first itself.
fn ending_by_itself() -> Scripted {
    Scripted::start(|number, peer| {
        let request = peer.request().expect("a request");
        peer.send(switched(&request));
        if number == 0 {
            // The caller ends first and still gets an answer.
            let all = peer.rest();
            peer.send(all);
        } else {
            // The endpoint ends first and still gets what comes.
            peer.send("that is all").finish();
            assert_eq!(peer.rest(), b"and this is mine");
        }
    })
}

/// An endpoint that sends [`FLOOD`] bytes `x` into its tunnel, and how many of them it has got rid of.
fn flooding() -> (Scripted, Arc<AtomicU64>) {
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let origin = Scripted::start(move |_, peer| {
        let request = peer.request().expect("a request");
        peer.send(switched(&request));
        for _ in 0..FLOOD >> 16 {
            peer.send(vec![b'x'; 1 << 16]);
            counter.fetch_add(1 << 16, Relaxed);
        }
    });
    (origin, sent)
}

/// Waits until it gets rid of nothing more.
#[track_caller]
fn until_held_back(sent: &AtomicU64) {
    let mut looks = (0, 0);
    until("the endpoint is held back", || {
        let now = sent.load(Relaxed);
        looks = if now == looks.0 { (now, looks.1 + 1) } else { (now, 0) };
        (now > 0 && looks.1 == 100).then_some(())
    });
    assert!(sent.load(Relaxed) < FLOOD, "all of it was taken");
}

/// Reads the whole flood with `exactly`, which reads so many bytes.
#[track_caller]
fn takes_the_flood(mut exactly: impl FnMut(usize) -> Vec<u8>) {
    let mut left = FLOOD;
    while left > 0 {
        let piece = exactly(left.min(1 << 20) as usize);
        assert!(!piece.is_empty() && piece.iter().all(|byte| *byte == b'x'));
        left -= piece.len() as u64;
    }
}
