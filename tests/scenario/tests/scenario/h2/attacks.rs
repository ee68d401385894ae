//! Floods and hold-ups: each is bounded in memory, ends its connection, and nobody else notices.

use std::time::Instant;

use tidegate_lab::origin::{OriginOptions, spawn_origin};
use tidegate_scenario::bystander::Bystander;
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::h2raw::{
    CALM, CONTINUATION, DATA, GOAWAY, HEADERS, PING, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE,
    fields_block, frame, request,
};
use tidegate_scenario::http::get;
use tidegate_scenario::until;

use super::before;

const MIB: u64 = 1024 * 1024;

/// What a flood may add to the resident memory, jemalloc's own habits included.
const GROWTH_MAX: u64 = 24 * MIB;

/// Frames that a flood consists of, at most.
const FLOOD: u32 = 200_000;

/// How often somebody else must have been served while an attack goes on.
const SERVED: usize = 20;

/// Floods with what `frames` gives for each turn until the gateway takes no more, and does so anew, as
/// attackers do, at least until a caller of the same shard has been served often meanwhile. Checks
/// that the gateway said what it did, and how much memory that took; then that nothing is held.
fn flood(name: &str, frames: impl Fn(u32) -> Vec<u8>) {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let gateway = before(lab.addr, "shards: 1\n");
    assert_eq!(get(gateway.address, "/small").status, 200);
    let warm = gateway.resident();
    let began = Instant::now();
    let bystander = Bystander::start(gateway.address);
    let (mut rounds, mut peak, mut sent) = (0.0, warm, 0);
    while rounds == 0.0 || bystander.served() < SERVED {
        sent += round(name, &gateway, &frames, &mut peak);
        rounds += 1.0;
    }
    let served = bystander.served();
    bystander.end();
    peak = peak.max(gateway.resident());
    println!(
        "{name}: thrown out {rounds} times after {sent} turns in {:?}, while {served} replies went to \
         another; RSS {} KiB, at its peak {} KiB",
        began.elapsed(),
        warm / 1024,
        peak / 1024
    );
    assert!(peak < warm + GROWTH_MAX, "{name}: {warm} became {peak}");
    until("it is counted", || {
        (gateway.metric("tidegate_h2_calmed_total", "") == rounds).then_some(())
    });
    nothing_held(&gateway);
    assert_eq!(get(gateway.address, "/small").status, 200, "{name}: others are served");
}

/// One connection of a flood; how many turns were taken.
fn round(name: &str, gateway: &Gateway, frames: &impl Fn(u32) -> Vec<u8>, peak: &mut u64) -> usize {
    let mut raw = Raw::open(gateway.address);
    let mut reader = raw.reader();
    let reading = std::thread::spawn(move || {
        let mut code = None;
        while let Some(frame) = reader.next_unanswered() {
            if frame.kind == GOAWAY {
                code = Some(frame.code());
            }
        }
        code
    });
    let sent = (0..FLOOD).take_while(|turn| {
        if turn % 500 == 0 {
            *peak = gateway.resident().max(*peak);
        }
        raw.bytes(&frames(*turn))
    });
    let sent = sent.count();
    let code = reading.join().unwrap();
    assert!(sent < FLOOD as usize, "{name}: never stopped");
    // The code is lost when the reset of what we still sent overtakes it.
    assert!(matches!(code, Some(CALM) | None), "{name}: {code:?}");
    sent
}

fn nothing_held(gateway: &Gateway) {
    until("nothing is held", || {
        let names = [
            "tidegate_h2_streams_open",
            "tidegate_requests_in_flight",
            "tidegate_upstream_in_flight",
            "tidegate_buffers_lent",
        ];
        names.iter().all(|name| gateway.metric(name, "") == 0.0).then_some(())
    });
}

#[test]
fn rapid_reset_is_told_to_be_calm() {
    flood("rapid reset", |turn| {
        let stream = turn * 2 + 1;
        let mut bytes =
            frame(HEADERS, 5, stream, &fields_block(&request("GET", "/slow?ms=9000", &[])));
        bytes.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
        bytes
    });
}

#[test]
fn resets_that_the_peer_makes_us_send_are_told_to_be_calm() {
    // A window beyond its maximum is an error of its stream, to which we answer with a reset.
    flood("made you reset", |turn| {
        let stream = turn * 2 + 1;
        let mut bytes =
            frame(HEADERS, 5, stream, &fields_block(&request("GET", "/slow?ms=9000", &[])));
        bytes.extend(frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffffu32.to_be_bytes()));
        bytes
    });
}

#[test]
fn a_flood_of_continuations_is_told_to_be_calm() {
    flood("continuations", |turn| match turn {
        0 => frame(HEADERS, 0, 1, &fields_block(&request("GET", "/", &[]))),
        _ => frame(CONTINUATION, 0, 1, &fields_block(&[("x-a", "b")])),
    });
}

#[test]
fn a_flood_of_empty_continuations_is_told_to_be_calm() {
    flood("empty continuations", |turn| match turn {
        0 => frame(HEADERS, 0, 1, &[]),
        _ => frame(CONTINUATION, 0, 1, &[]),
    });
}

#[test]
fn a_flood_of_settings_is_told_to_be_calm() {
    flood("settings", |_| frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]));
}

#[test]
fn a_flood_of_pings_is_told_to_be_calm() {
    flood("pings", |_| frame(PING, 0, 0, &[0; 8]));
}

#[test]
fn a_flood_of_empty_data_is_told_to_be_calm() {
    flood("empty data", |turn| match turn {
        0 => frame(HEADERS, 4, 1, &fields_block(&request("POST", "/echo", &[]))),
        _ => frame(DATA, 0, 1, &[]),
    });
}

#[test]
fn a_flood_of_window_updates_is_told_to_be_calm() {
    flood("window updates", |_| frame(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes()));
}

#[test]
fn who_acknowledges_each_of_many_small_frames_stirs_no_more_than_it_may() {
    const STREAMS: usize = 100;
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let gateway = before(lab.addr, "shards: 1\n");
    let mut raw = Raw::open_with(gateway.address, &[(4, 300)]);
    for stream in (1..).step_by(2).take(STREAMS) {
        raw.get(stream, "/big");
    }
    for round in 0..60 {
        let mut updates = Vec::new();
        let mut received = 0;
        while received < STREAMS {
            let data = raw.next_frame().expect("the connection stays");
            assert_ne!(data.kind, GOAWAY, "round {round}");
            if data.kind == DATA {
                received += 1;
                let more = (data.payload.len() as u32).to_be_bytes();
                updates.extend(frame(WINDOW_UPDATE, 0, 0, &more));
                updates.extend(frame(WINDOW_UPDATE, 0, data.stream, &more));
            }
        }
        assert!(raw.bytes(&updates), "round {round}");
    }
}

#[test]
fn a_flood_of_frames_that_nobody_knows_is_told_to_be_calm() {
    flood("unknown frames", |_| frame(0xbe, 0, 0, &[0; 32]));
}

#[test]
fn streams_without_a_window_are_ended_by_the_write_deadline() {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let gateway = before(lab.addr, "timeouts: { write_stall: 400ms }\nshards: 1\n");
    let warm = gateway.resident();
    let bystander = Bystander::start(gateway.address);
    let mut raw = Raw::open_with(gateway.address, &[(4, 0)]);
    for stream in (1..200).step_by(2) {
        raw.get(stream, "/big");
    }
    let mut resets = 0;
    let mut peak = 0;
    while resets < 100 {
        let frame = raw.next_frame().expect("the connection stays");
        assert_ne!(frame.kind, DATA);
        if frame.kind == RST_STREAM {
            resets += 1;
        } else if frame.kind == HEADERS && frame.stream == 1 {
            peak = gateway.resident();
            bystander.until_served(SERVED);
        }
    }
    bystander.end();
    println!("100 streams without a window: RSS {} KiB, then {} KiB", warm / 1024, peak / 1024);
    assert!(peak < warm + GROWTH_MAX, "{warm} became {peak}");
    nothing_held(&gateway);
    assert_eq!(gateway.metric("tidegate_ended_total", "write_stall"), 100.0);
}

#[test]
fn single_bytes_of_window_are_no_progress() {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let gateway = before(lab.addr, "timeouts: { write_stall: 600ms }\nshards: 1\n");
    let bystander = Bystander::start(gateway.address);
    let mut raw = Raw::open_with(gateway.address, &[(4, 1)]);
    raw.get(1, "/big");
    let mut received = 0;
    loop {
        let frame = raw.next_frame().expect("the connection stays");
        if frame.kind == RST_STREAM {
            break;
        }
        if frame.kind == DATA {
            received += frame.payload.len();
            // One byte for each byte, as often as the deadline has quarters.
            #[allow(clippy::disallowed_methods)] // the pace is what is tested
            std::thread::sleep(std::time::Duration::from_millis(150));
            raw.frame(WINDOW_UPDATE, 0, 1, &1u32.to_be_bytes());
        }
    }
    assert!(received < 1024, "{received}");
    assert!(bystander.served() > 0);
    bystander.end();
    until("it is counted", || {
        (gateway.metric("tidegate_ended_total", "write_stall") == 1.0).then_some(())
    });
    nothing_held(&gateway);
}

#[test]
fn a_peer_that_reads_nothing_holds_little_and_not_for_long() {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let gateway = before(lab.addr, "timeouts: { write_stall: 1s }\nshards: 1\n");
    let bystander = Bystander::start(gateway.address);
    let warm = gateway.resident();
    // All windows are as large as they can be; nothing is read.
    let mut raw = Raw::open_with(gateway.address, &[(4, 0x7fff_ffff)]);
    raw.frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000u32.to_be_bytes());
    for stream in (1..240).step_by(2) {
        raw.get(stream, "/big");
    }
    until("streams are open", || {
        (gateway.metric("tidegate_h2_streams_open", "") >= 100.0).then_some(())
    });
    bystander.until_served(SERVED);
    let mut peak = 0;
    until("the connection is closed", || {
        peak = peak.max(gateway.resident());
        (gateway.metric("tidegate_h2_connections", "") == 0.0).then_some(())
    });
    bystander.end();
    println!("nothing read: RSS {} KiB, at its peak {} KiB", warm / 1024, peak / 1024);
    assert!(peak < warm + GROWTH_MAX, "{warm} became {peak}");
    nothing_held(&gateway);
    assert_eq!(get(gateway.address, "/small").status, 200);
}

#[test]
fn an_upload_that_nobody_takes_is_held_back_by_its_window() {
    let gate = tidegate_scenario::gate::Gate::default();
    let held = gate.clone();
    let origin = tidegate_scenario::scripted::Scripted::start(move |_, peer| {
        held.pass();
        if peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let gateway = before(origin.address, "");
    let warm = gateway.resident();
    let mut raw = Raw::open(gateway.address);
    raw.head(1, &request("POST", "/", &[]), false);
    let (mut window, mut sent, mut opened) = (65_535u32, 0u32, false);
    // What is granted is sent, until for a while nothing more is granted.
    raw.stream.set_read_timeout(Some(std::time::Duration::from_millis(700))).unwrap();
    while sent < 32 << 20 {
        while window >= 16_384 {
            raw.frame(DATA, 0, 1, &[b'x'; 16_384]);
            window -= 16_384;
            sent += 16_384;
        }
        match raw.try_frame() {
            Some(frame) if frame.kind == WINDOW_UPDATE && frame.stream == 1 => {
                window += u32::from_be_bytes(frame.payload[..4].try_into().unwrap());
            }
            Some(_) => {}
            None if opened => panic!("no window within the deadline, {sent} bytes sent"),
            None => {
                let resident = gateway.resident();
                println!(
                    "{sent} bytes were taken while nobody read; RSS {} KiB more",
                    resident.saturating_sub(warm) / 1024
                );
                assert!(sent < 16 << 20, "{sent}");
                assert!(resident < warm + GROWTH_MAX);
                gate.open();
                opened = true;
                raw.stream.set_read_timeout(Some(tidegate_scenario::PATIENCE)).unwrap();
            }
        }
    }
    raw.frame(DATA, 1, 1, b"");
    assert_eq!(raw.outcome(1).body, b"ok");
    assert!(opened);
}
