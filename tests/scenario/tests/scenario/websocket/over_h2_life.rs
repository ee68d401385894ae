//! Tunnels over HTTP/2 as they live and end.

use rustix::process::Signal;
use tidegate_lab::origin::{OriginOptions, spawn_origin};
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::h2raw::{DATA, GOAWAY, RST_STREAM, WINDOW_UPDATE};
use tidegate_scenario::h2tunnel::{Ended, Tunnel};
use tidegate_scenario::http::get;
use tidegate_scenario::scripted::Scripted;
use tidegate_scenario::until;
use tidegate_scenario::websocket::{answer, frame, switched};

use super::{before, ending_by_itself, flooding, takes_the_flood, until_held_back};

/// The code of RST_STREAM that stands for the reset of a TCP connection (RFC 8441 section 5).
const CANCEL: u32 = 8;

#[track_caller]
fn until_none_is_open(gateway: &Gateway) {
    until("no WebSocket is open", || {
        (gateway.metric("tidegate_websockets_open", "") == 0.0).then_some(())
    });
    until("nothing is held", || {
        let names = [
            "tidegate_h2_streams_open",
            "tidegate_requests_in_flight",
            "tidegate_upstream_in_flight",
        ];
        names.iter().all(|name| gateway.metric(name, "") == 0.0).then_some(())
    });
}

#[test]
fn messages_come_back_and_are_counted() {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let gateway = before(lab.addr, "");
    let mut tunnel = Tunnel::open(gateway.address);
    tunnel.echoes("hello");
    for _ in 0..40 {
        tunnel.echoes(&"x".repeat(30_000));
    }
    tunnel.send(&frame(9, b"?"));
    assert_eq!(tunnel.exactly(3), answer(10, b"?"));
    assert_eq!(gateway.metric("tidegate_websockets_open", ""), 1.0);
    tunnel.send(&frame(8, &1000_u16.to_be_bytes()));
    tunnel.finish();
    assert_eq!(tunnel.rest(), (answer(8, &1000_u16.to_be_bytes()), Ended::Well));
    until_none_is_open(&gateway);
    assert_eq!(gateway.metric("tidegate_websockets_total", ""), 1.0);
    for direction in ["received", "sent"] {
        let bytes = gateway.metric("tidegate_websocket_bytes_total", direction);
        assert!(bytes > 1_200_000.0 && bytes < 1_201_000.0, "{direction}: {bytes}");
    }
    assert_eq!(gateway.metric("tidegate_requests_total", "class=\"1xx\""), 1.0);
    assert_eq!(gateway.metric("tidegate_ended_total", ""), 0.0);
}

#[test]
fn each_direction_ends_by_itself() {
    let origin = ending_by_itself();
    let gateway = before(origin.address, "");
    let mut tunnel = Tunnel::open(gateway.address);
    tunnel.send(b"question");
    tunnel.finish();
    assert_eq!(tunnel.rest(), (b"question".to_vec(), Ended::Well));
    let mut tunnel = Tunnel::open(gateway.address);
    assert_eq!(tunnel.rest(), (b"that is all".to_vec(), Ended::Well));
    tunnel.send(b"and this is mine");
    tunnel.finish();
    until_none_is_open(&gateway);
    assert_eq!(gateway.metric("tidegate_ended_total", ""), 0.0);
    assert_eq!(gateway.metric("tidegate_h2_resets_total", ""), 0.0);
}

#[test]
fn a_reset_of_the_endpoint_resets_the_stream_and_nothing_else() {
    let origin = Scripted::start(|_, peer| {
        let request = peer.request().expect("a request");
        peer.send(switched(&request));
        peer.exactly(2);
        peer.reset();
    });
    let gateway = before(origin.address, "");
    let mut tunnel = Tunnel::open(gateway.address);
    tunnel.send(b"go");
    assert_eq!(tunnel.rest().1, Ended::Reset(CANCEL));
    until_none_is_open(&gateway);
    assert_eq!(gateway.metric("tidegate_ended_total", "upstream_cut"), 1.0);
    tunnel.raw.get(3, "/health");
    assert_eq!(tunnel.raw.outcome(3).status, 200);
}

#[test]
fn a_reset_of_the_stream_resets_the_endpoints_connection_even_behind_an_end() {
    let origin = Scripted::start(|_, peer| {
        let request = peer.request().expect("a request");
        peer.send(switched(&request));
        peer.exactly(2);
        peer.send("!");
        let read = loop {
            match std::io::Read::read(&mut peer.stream, &mut [0; 1]) {
                // An end, which the reset follows: seen when something is written.
                Ok(0) => peer.send("?"),
                Ok(_) => continue,
                Err(error) => break error.kind(),
            };
            if let Err(error) = std::io::Write::write_all(&mut peer.stream, b"?") {
                break error.kind();
            }
        };
        let gone = [std::io::ErrorKind::ConnectionReset, std::io::ErrorKind::BrokenPipe];
        assert!(gone.contains(&read), "{read:?}");
    });
    let gateway = before(origin.address, "");
    for ends in [false, true] {
        let mut tunnel = Tunnel::open(gateway.address);
        tunnel.send(b"go");
        if ends {
            tunnel.finish();
        }
        assert_eq!(tunnel.exactly(1), b"!");
        tunnel.reset();
        until_none_is_open(&gateway);
        let gone = 1.0 + f64::from(u8::from(ends));
        assert_eq!(gateway.metric("tidegate_ended_total", "client_gone"), gone);
    }
}

#[test]
fn a_broken_connection_ends_all_its_tunnels() {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let gateway = before(lab.addr, "");
    let mut tunnel = Tunnel::open(gateway.address);
    tunnel.echoes("here");
    drop(tunnel);
    until_none_is_open(&gateway);
    assert_eq!(gateway.metric("tidegate_ended_total", "client_gone"), 1.0);
}

#[test]
fn a_silent_tunnel_is_reset_after_its_time_and_no_other() {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let gateway = before(lab.addr, "timeouts: { tunnel: 400ms, request: 100ms }\n");
    let mut silent = Tunnel::open(gateway.address);
    let mut busy = Tunnel::open(gateway.address);
    until("the silent one is closed", || {
        busy.echoes("still here");
        (gateway.metric("tidegate_ended_total", "tunnel_timeout") == 1.0).then_some(())
    });
    assert_eq!(silent.rest(), (Vec::new(), Ended::Reset(CANCEL)));
    busy.echoes("and I stay");
}

#[test]
fn a_tunnel_whose_caller_takes_little_at_a_time_is_not_silent() {
    const ALL: usize = 16 * 1024;
    let origin = Scripted::start(|_, peer| {
        let request = peer.request().expect("a request");
        peer.send(switched(&request));
        peer.send(vec![b'x'; ALL]);
        peer.rest();
    });
    let gateway = before(origin.address, "timeouts: { tunnel: 800ms }\n");
    let mut tunnel = Tunnel::ask(gateway.address, &[(4, 0)]);
    let mut received = 0;
    while received < ALL {
        // Each grant comes well within the time, all of them long after it.
        #[allow(clippy::disallowed_methods)] // the pace is what is tested
        std::thread::sleep(std::time::Duration::from_millis(150));
        tunnel.raw.frame(WINDOW_UPDATE, 0, 1, &1024u32.to_be_bytes());
        loop {
            let frame = tunnel.raw.next_frame().expect("the connection stays");
            assert_ne!(frame.kind, RST_STREAM, "after {received} bytes");
            if frame.kind == DATA {
                received += frame.payload.len();
                break;
            }
        }
    }
    drop(tunnel);
    until_none_is_open(&gateway);
}

#[test]
fn a_caller_without_a_window_holds_the_endpoint_back() {
    let (origin, sent) = flooding();
    let gateway = before(origin.address, "timeouts: { tunnel: 1h }\n");
    // The stream has no window to begin with; that of the connection is large.
    let mut tunnel = Tunnel::ask(gateway.address, &[(4, 0)]);
    tunnel.raw.frame(WINDOW_UPDATE, 0, 0, &0x7000_0000u32.to_be_bytes());
    let resident = gateway.resident();
    until_held_back(&sent);
    assert!(gateway.resident() < resident + (2 << 20), "held in the kernel's buffers, not in ours");
    tunnel.raw.frame(WINDOW_UPDATE, 0, 1, &(1u32 << 27).to_be_bytes());
    takes_the_flood(|bytes| tunnel.exactly(bytes));
    drop(tunnel);
    until_none_is_open(&gateway);
}

#[test]
fn an_endpoint_that_takes_nothing_holds_the_caller_back() {
    let gate = tidegate_scenario::gate::Gate::default();
    let held = gate.clone();
    let origin = Scripted::start(move |_, peer| {
        let request = peer.request().expect("a request");
        peer.send(switched(&request));
        held.pass();
        let all = peer.rest();
        peer.send(all.len().to_string());
    });
    let gateway = before(origin.address, "");
    let mut tunnel = Tunnel::open(gateway.address);
    let resident = gateway.resident();
    // What is granted is sent, until for a while nothing more is granted.
    tunnel.raw.stream.set_read_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
    let (mut sent, mut window) = (0u64, 65_535u32);
    loop {
        while window >= 16_384 {
            tunnel.raw.frame(DATA, 0, 1, &[b'x'; 16_384]);
            window -= 16_384;
            sent += 16_384;
        }
        match tunnel.raw.try_frame() {
            Some(frame) if frame.kind == WINDOW_UPDATE && frame.stream == 1 => {
                window += u32::from_be_bytes(frame.payload[..4].try_into().unwrap());
            }
            Some(_) => {}
            None => break,
        }
    }
    assert!(sent < 32 << 20, "{sent}");
    assert!(gateway.resident() < resident + (2 << 20));
    tunnel.raw.stream.set_read_timeout(Some(tidegate_scenario::PATIENCE)).unwrap();
    gate.open();
    tunnel.finish();
    assert_eq!(tunnel.rest(), (sent.to_string().into_bytes(), Ended::Well));
}

#[test]
fn a_drain_tells_the_connection_to_go_and_ends_with_the_last_tunnel() {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let mut gateway = before(lab.addr, "timeouts: { drain: 1h }\n");
    let mut tunnel = Tunnel::open(gateway.address);
    gateway.signal(Signal::TERM);
    until("it drains", || (get(gateway.address, "/health").status == 503).then_some(()));
    tunnel.echoes("the last word");
    let told = std::iter::from_fn(|| tunnel.raw.next_frame()).find(|frame| frame.kind == GOAWAY);
    assert_eq!(told.expect("GOAWAY").code(), 0);
    tunnel.echoes("and one more");
    tunnel.send(&frame(8, &1001_u16.to_be_bytes()));
    tunnel.finish();
    assert_eq!(tunnel.rest(), (answer(8, &1001_u16.to_be_bytes()), Ended::Well));
    drop(tunnel);
    assert_eq!(gateway.ended(), Some(0));
}
