//! The fault proxy between a client and the origin.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use support::{PATIENCE, connect, get, send_raw, wait_until};
use tidegate_lab::fault::{Fault, FaultProxy};
use tidegate_lab::origin::{OriginOptions, spawn_origin};
use tidegate_lab::server::ServerHandle;

fn pair() -> (ServerHandle, FaultProxy) {
    let origin = spawn_origin(&OriginOptions::default()).unwrap();
    let proxy = FaultProxy::spawn(origin.addr).unwrap();
    (origin, proxy)
}

const BIG: &[u8] = b"GET /big HTTP/1.1\r\nhost: lab\r\n\r\n";

#[test]
fn everything_passes_at_first_and_late_with_a_delay() {
    let (_origin, proxy) = pair();
    assert_eq!(get(proxy.addr, "/big").body.len(), 1 << 20);
    proxy.set(Fault::Delay(Duration::from_millis(1)));
    assert_eq!(get(proxy.addr, "/small").body.len(), 1024);
    assert_eq!(proxy.accepted(), 2);
    wait_until(|| proxy.open(), |open| *open == 0);
}

#[test]
fn refused_connections_are_refused_and_then_welcome_again() {
    let (_origin, proxy) = pair();
    proxy.set(Fault::Refuse);
    let error = TcpStream::connect_timeout(&proxy.addr, PATIENCE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    proxy.set(Fault::Pass);
    assert_eq!(get(proxy.addr, "/small").status, 200);
}

#[test]
fn existing_connections_live_on_while_new_ones_are_refused() {
    let (_origin, proxy) = pair();
    let mut stream = connect(proxy.addr);
    wait_until(|| proxy.open(), |open| *open == 1);
    proxy.set(Fault::Refuse);
    stream.write_all(b"GET /small HTTP/1.0\r\nhost: lab\r\n\r\n").unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    assert!(reply.ends_with(b"xyzabcdefghij"), "{}", String::from_utf8_lossy(&reply));
}

#[test]
fn a_close_comes_after_exactly_so_many_bytes() {
    let (_origin, proxy) = pair();
    proxy.set(Fault::CloseAfter(5000));
    assert_eq!(send_raw(proxy.addr, BIG).len(), 5000);
}

#[test]
fn a_reset_is_seen_as_a_reset() {
    let (_origin, proxy) = pair();
    proxy.set(Fault::ResetAfter(5000));
    let mut stream = connect(proxy.addr);
    stream.write_all(BIG).unwrap();
    let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn killed_connections_are_reset_and_new_ones_pass() {
    let (_origin, proxy) = pair();
    let mut stream = connect(proxy.addr);
    stream.write_all(b"GET /slow?ms=600000 HTTP/1.1\r\nhost: lab\r\n\r\n").unwrap();
    wait_until(|| proxy.open(), |open| *open == 1);
    proxy.kill_connections();
    let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(get(proxy.addr, "/small").status, 200);
}

#[test]
fn bytes_fall_into_the_black_hole_and_come_out_when_it_closes() {
    let (_origin, proxy) = pair();
    proxy.set(Fault::BlackHole);
    let mut stream = connect(proxy.addr);
    stream.write_all(b"GET /echo HTTP/1.0\r\nhost: lab\r\n\r\n").unwrap();
    // The origin numbers its connections: this request shows that the one in the hole opened but said nothing.
    wait_until(|| proxy.open(), |open| *open == 1);
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let silent = stream.read(&mut [0; 1]).unwrap_err();
    assert!(matches!(silent.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    proxy.set(Fault::Pass);
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.contains("\"target\":\"/echo\""), "{reply}");
}
