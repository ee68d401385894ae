//! How connections end: idle, drained, reset by nobody.

use rustix::process::Signal;
use tidegate_lab::origin::{OriginOptions, spawn_origin};
use tidegate_scenario::gate::Gate;
use tidegate_scenario::h2raw::{DATA, END_STREAM, GOAWAY, HEADERS, RST_STREAM, Raw, request};
use tidegate_scenario::origin::{Answer, Origin};
use tidegate_scenario::until;

use super::before;

#[test]
fn an_idle_connection_is_told_to_go_and_closed() {
    let origin = Origin::plain();
    let gateway = before(origin.address, "timeouts: { keep_alive: 300ms }\n");
    let mut raw = Raw::open(gateway.address);
    raw.get(1, "/");
    assert_eq!(raw.outcome(1).status, 200);
    assert_eq!(raw.ended(), Some(0), "GOAWAY with NO_ERROR");
    until("no connection is left", || {
        (gateway.metric("tidegate_h2_connections", "") == 0.0).then_some(())
    });
    assert_eq!(gateway.metric("tidegate_h2_goaways_total", ""), 1.0);
}

#[test]
fn a_connection_whose_peer_never_answers_is_closed_too() {
    let origin = Origin::plain();
    let gateway = before(origin.address, "timeouts: { keep_alive: 300ms }\n");
    let raw = Raw::open(gateway.address);
    until("it is counted", || (gateway.metric("tidegate_h2_connections", "") == 1.0).then_some(()));
    // Neither settings nor the ping behind the first GOAWAY are acknowledged.
    until("it is closed", || (gateway.metric("tidegate_h2_connections", "") == 0.0).then_some(()));
    drop(raw);
}

#[test]
fn a_stream_ends_well_during_a_drain_and_its_connection_goes() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        held.pass();
        Answer::ok("late")
    });
    let mut gateway = before(origin.address, "timeouts: { drain: 20s }\n");
    let mut raw = Raw::open(gateway.address);
    raw.get(1, "/");
    until("it is in flight", || {
        (gateway.metric("tidegate_requests_in_flight", "") == 1.0).then_some(())
    });
    gateway.signal(Signal::TERM);
    let first = std::iter::from_fn(|| raw.next_frame()).find(|f| f.kind == GOAWAY).unwrap();
    assert_eq!(first.code(), 0);
    assert_eq!(first.payload[..4], [0x7f, 0xff, 0xff, 0xff], "streams on their way are taken");
    gate.open();
    let reply = raw.outcome(1);
    assert_eq!((reply.complete, reply.body.as_slice()), (true, b"late".as_slice()));
    assert!(matches!(raw.ended(), Some(0) | None));
    assert_eq!(gateway.ended(), Some(0));
}

#[test]
fn nothing_is_held_when_connections_break_in_the_middle() {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let gateway = before(lab.addr, "");
    for turn in 0..40 {
        let mut raw = Raw::open(gateway.address);
        for stream in (1..40).step_by(2) {
            raw.get(stream, if turn % 2 == 0 { "/big" } else { "/slow?ms=5000" });
        }
        raw.head(41, &request("POST", "/echo", &[]), false);
        raw.frame(DATA, 0, 41, b"half");
        if turn % 4 == 0 {
            let heads = std::iter::from_fn(|| raw.next_frame());
            assert!(heads.take(30).any(|f| f.kind == HEADERS && f.flags & END_STREAM == 0));
        }
    }
    until("all is given back", || {
        let held = [
            "tidegate_h2_connections",
            "tidegate_h2_streams_open",
            "tidegate_connections",
            "tidegate_requests_in_flight",
            "tidegate_upstream_in_flight",
            "tidegate_buffers_lent",
        ];
        held.iter().all(|name| gateway.metric(name, "") == 0.0).then_some(())
    });
}

#[test]
fn a_refused_upload_may_end_before_its_stream_is_reset() {
    let origin = Origin::plain();
    let gateway = before(origin.address, "limits: { body: 1KiB }\n");
    let mut raw = Raw::open(gateway.address);
    let upload = request("POST", "/", &[("content-length", "2000")]);
    raw.head(1, &upload, false);
    assert!(raw.outcome(1).text().contains("body_too_large"));
    // Callers exist that forget a reply when the reset of its stream comes with it.
    raw.frame(DATA, 0, 1, &[b'x'; 1000]);
    raw.frame(DATA, END_STREAM, 1, &[b'x'; 1000]);
    raw.get(3, "/");
    let frames = std::iter::from_fn(|| raw.next_frame());
    let mut frames = frames.take_while(|frame| (frame.kind, frame.stream) != (HEADERS, 3));
    assert!(!frames.any(|frame| frame.kind == RST_STREAM));
    // Who goes on for too long is reset, without blame.
    raw.head(5, &upload, false);
    assert!(raw.outcome(5).text().contains("body_too_large"));
    let reset = std::iter::from_fn(|| raw.next_frame()).find(|frame| frame.kind == RST_STREAM);
    assert_eq!(reset.map(|frame| (frame.stream, frame.code())), Some((5, 0)));
}
