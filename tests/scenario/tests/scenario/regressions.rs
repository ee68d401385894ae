//! Faults that once were: requests that ran into each other, replies that hid how they ended.

mod connections;
mod replies;
mod uploads;

use std::sync::{Arc, Mutex};

use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::Connection;
use tidegate_scenario::llm::CHAT;
use tidegate_scenario::scripted::{Peer, json_reply};

/// A request line, and the body if it came whole.
type Noted = (String, Option<Vec<u8>>);

/// The requests that endpoints saw.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Noted>>>);

impl Seen {
    fn note(&self, head: &str, body: Option<Vec<u8>>) {
        let line = head.lines().next().unwrap_or_default().to_owned();
        self.0.lock().unwrap().push((line, body));
    }

    fn all(&self) -> Vec<Noted> {
        self.0.lock().unwrap().clone()
    }

    /// The bodies of the requests to this path, in order.
    fn bodies(&self, path: &str) -> Vec<Option<Vec<u8>>> {
        let to_path = |line: &str| line.split(' ').nth(1).is_some_and(|given| given == path);
        self.all().into_iter().filter(|(line, _)| to_path(line)).map(|(_, body)| body).collect()
    }
}

/// Reads requests whole and answers each with its own path; notes them.
fn answers_with_the_path(peer: &mut Peer, seen: &Seen) {
    while let Some((head, framing)) = peer.request_head() {
        let body = peer.request_body(framing);
        let whole = body.is_some();
        seen.note(&head, body);
        if !whole {
            return;
        }
        peer.send(json_reply(200, &own_reply(head.split(' ').nth(1).unwrap_or_default())));
    }
}

/// What the one who asked for this path is told.
fn own_reply(path: &str) -> String {
    format!(r#"{{"for":"{path}"}}"#)
}

/// Another caller's chat gets its own reply, and the provider got it as it was sent.
#[track_caller]
fn another_chat_is_not_harmed(gateway: &Gateway, seen: &Seen) {
    let before = seen.bodies(CHAT.path).len();
    let reply = Connection::open(gateway.address).send(&CHAT.whole("other")).reply();
    assert_eq!((reply.status, reply.text()), (200, own_reply(CHAT.path)), "{:?}", lines(seen));
    let bodies = seen.bodies(CHAT.path);
    assert_eq!(bodies[before..], [Some(CHAT.body("other", false).into_bytes())]);
}

/// As [`another_chat_is_not_harmed`], on a plain route.
#[track_caller]
fn another_request_is_not_harmed(gateway: &Gateway, seen: &Seen) {
    let reply = Connection::open(gateway.address)
        .send(b"PUT /other HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nother")
        .reply();
    assert_eq!((reply.status, reply.text()), (200, own_reply("/other")), "{:?}", lines(seen));
    assert_eq!(seen.bodies("/other"), [Some(b"other".to_vec())]);
}

/// What was seen, fit to be printed.
fn lines(seen: &Seen) -> Vec<(String, Option<usize>)> {
    seen.all().into_iter().map(|(line, body)| (line, body.map(|body| body.len()))).collect()
}

/// A plain route to one endpoint, and one shard: every request has the same pool.
fn plain(address: std::net::SocketAddr, more: &str) -> String {
    format!(
        "shards: 1\nupstreams: {{ app: {{ endpoints: [http://{address}] }} }}\n\
         routes: [{{ path: /, upstream: app }}]\n{more}\n"
    )
}
