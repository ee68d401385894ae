//! Uploads whose endpoint answers before it has all of them go on to their end.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::{Connection, get};
use tidegate_scenario::scripted::{STREAM_END, Scripted, chunk, underway, unread};
use tidegate_scenario::until;

use super::{Seen, another_request_is_not_harmed, answers_with_the_path, lines, plain};
use crate::streams::Signal;

const HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A size of chunks that a read of the gateway's takes several of.
const PIECE: usize = 16_000;

/// How far the gateway got with an upload whose endpoint does not read.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Settled {
    /// The sockets took all of it.
    AllSent,
    /// It has read all of it and cannot pass all of it on.
    LastPieceWaits,
    /// It holds a piece and leaves the rest to the caller's socket.
    NotAllRead,
}

/// Sends a chunked upload whose endpoint reads nothing for now, and waits until the gateway has
/// done what it can.
fn settles(
    gateway: &Gateway,
    caller: &mut Connection,
    path: &str,
    size: usize,
    link: &Mutex<Option<(SocketAddr, SocketAddr)>>,
) -> Settled {
    let mut bytes = format!("PUT {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let data = "z".repeat(PIECE);
    let mut left = size;
    while left > 0 {
        let piece = left.min(PIECE);
        bytes.push_str(&chunk(&data[..piece]));
        left -= piece;
    }
    bytes.push_str(STREAM_END);
    caller.send(bytes.as_bytes());
    let from = caller.stream.local_addr().unwrap();
    let (endpoint, there) = until("the endpoint is connected to", || *link.lock().unwrap());
    let look = || (unread(gateway.address, from), underway(endpoint, there));
    let mut last = look();
    let (waiting, underway) = until("the gateway can do no more", || {
        // The one shard has answered twice since the last look: it has done all that it could.
        for _ in 0..2 {
            assert_eq!(get(gateway.address, "/health").status, 200);
        }
        let now = look();
        (std::mem::replace(&mut last, now) == now).then_some(now)
    });
    match waiting {
        Some(0) if underway < Some(size as u64) => Settled::LastPieceWaits,
        Some(0) => Settled::AllSent,
        _ => Settled::NotAllRead,
    }
}

#[test]
fn the_last_chunk_of_an_upload_is_sent_although_the_reply_began_before_it() {
    let link = Arc::new(Mutex::new(None));
    let answer = Arc::new(Signal::new());
    let read = Arc::new(Signal::new());
    let seen = Seen::default();
    let (theirs, may_answer, may_read) =
        (Arc::clone(&link), Arc::clone(&answer), Arc::clone(&read));
    let noted = seen.clone();
    let endpoint = Scripted::start(move |_, peer| {
        let addresses = (peer.stream.local_addr().unwrap(), peer.stream.peer_addr().unwrap());
        *theirs.lock().unwrap() = Some(addresses);
        may_answer.wait();
        peer.send(HEAD).send(chunk("early"));
        may_read.wait();
        let Some((head, framing)) = peer.request_head() else { return };
        noted.note(&head, peer.request_body(framing));
        peer.send(chunk("late")).send(STREAM_END);
        answers_with_the_path(peer, &noted);
    });
    // How much the sockets hold: what is underway when far more was sent than that.
    let room = {
        let gateway = Gateway::start(&plain(endpoint.address, ""));
        let mut caller = Connection::open(gateway.address);
        let mut writer = caller.stream.try_clone().unwrap();
        let endless = std::thread::spawn(move || {
            let head = "PUT /endless HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
            let _ = std::io::Write::write_all(&mut writer, head.as_bytes());
            let piece = chunk(&"z".repeat(PIECE));
            while std::io::Write::write_all(&mut writer, piece.as_bytes()).is_ok() {}
        });
        let (there, here) = until("the endpoint is connected to", || *link.lock().unwrap());
        let mut last = (None, 0);
        let room = until("nothing moves any more", || {
            for _ in 0..20 {
                assert_eq!(get(gateway.address, "/health").status, 200);
            }
            let from = caller.stream.local_addr().unwrap();
            let now = (unread(gateway.address, from), underway(there, here)?);
            let still = std::mem::replace(&mut last, now) == now;
            (still && now.0 > Some(PIECE as u64)).then_some(now.1)
        });
        let _ = caller.stream.shutdown(std::net::Shutdown::Both);
        endless.join().unwrap();
        answer.give();
        read.give();
        caller.finish();
        usize::try_from(room).unwrap()
    };
    // What fits is never quite the same: the size follows it, and once hit it stays.
    let (mut size, mut step, mut hits, mut before) = (room + 20_000, 32_000, 0, None);
    for number in 0..60 {
        let gateway = Gateway::start(&plain(endpoint.address, ""));
        *link.lock().unwrap() = None;
        let mut caller = Connection::open(gateway.address);
        let path = format!("/up{number}");
        let settled = settles(&gateway, &mut caller, &path, size, &link);
        answer.give();
        assert!(caller.until_seen(b"early"));
        read.give();
        let reply = caller.reply();
        assert!(reply.complete && reply.text() == "earlylate", "{}", reply.text());
        let bodies = seen.bodies(&path);
        assert!(bodies == [Some(vec![b'z'; size])], "{:?}", lines(&seen));
        if settled == Settled::LastPieceWaits {
            hits += 1;
            if hits == 3 {
                another_request_is_not_harmed(&gateway, &seen);
                break;
            }
            continue;
        }
        if before.replace(settled).is_some_and(|before| before != settled) {
            step = (step / 2).max(4_000);
        }
        size = if settled == Settled::AllSent { size + step } else { size - step };
    }
    println!(
        "{room} bytes fit; {hits} of {} uploads had their last piece waiting",
        seen.all().len()
    );
    assert!(hits > 0, "no upload had its last piece waiting when the reply began");
}

#[test]
fn a_moving_upload_is_not_cut_because_the_endpoint_answered_early() {
    let quiet = Duration::from_millis(400);
    let endpoint = Scripted::start(|_, peer| {
        while let Some((_, framing)) = peer.request_head() {
            peer.send(HEAD);
            let Some(body) = peer.request_body(framing) else { return };
            peer.send(chunk(&format!("{} bytes", body.len()))).send(STREAM_END);
        }
    });
    let gateway = Gateway::start(&plain(
        endpoint.address,
        "timeouts: { between_tokens: 400ms, body: 400ms }",
    ));
    for coding in ["Transfer-Encoding: chunked", "Content-Length: 1000000"] {
        let chunked = coding.starts_with('T');
        let mut caller = Connection::open(gateway.address);
        caller.send(format!("PUT /up HTTP/1.1\r\nHost: a\r\n{coding}\r\n\r\n").as_bytes());
        assert!(caller.until_seen(b"200 OK"));
        let (began, mut sent) = (Instant::now(), 0);
        // A little with each look, for several times as long as silence is allowed. Where the length
        // is known, a kilobyte must come in that time.
        until("it has moved for long enough", || {
            if chunked {
                caller.send(b"1\r\nx\r\n");
                sent += 1;
            } else if sent < 999_000 {
                caller.send(&[b'x'; 1000]);
                sent += 1000;
            }
            (began.elapsed() > quiet * 4).then_some(())
        });
        if chunked {
            caller.send(STREAM_END.as_bytes());
        } else {
            caller.send(&vec![b'x'; 1_000_000 - sent]);
            sent = 1_000_000;
        }
        let reply = caller.reply();
        assert!(reply.complete, "{coding}: {reply:?}");
        assert_eq!(reply.text(), format!("{sent} bytes"), "{coding}");
    }
}

#[test]
fn an_upload_that_stops_moving_is_cut_although_the_endpoint_answered_early() {
    let endpoint = Scripted::start(|_, peer| {
        if peer.request_head().is_some() {
            peer.send(HEAD).wait_for_close();
        }
    });
    let gateway = Gateway::start(&plain(endpoint.address, "timeouts: { between_tokens: 200ms }"));
    let mut caller = Connection::open(gateway.address);
    caller.send(b"PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nsome");
    assert!(!caller.reply().complete);
    until("it is counted", || {
        let cut = gateway.metric("tidegate_ended_total", "between_tokens_timeout");
        (cut == 1.0).then_some(())
    });
}
