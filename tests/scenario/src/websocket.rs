//! A WebSocket client, as far as tests need one.

use std::net::SocketAddr;

use crate::http::Connection;
use crate::scripted::Received;

/// The request of every test; the key is that of RFC 6455 section 1.3.
pub const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: app\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A server's answer to it.
pub const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\
    Connection: upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
    Sec-WebSocket-Protocol: chat\r\n\r\n";

/// Opens one; the 101 has been read.
#[track_caller]
pub fn open(address: SocketAddr) -> Connection {
    let mut connection = Connection::open(address);
    connection.send(HANDSHAKE.as_bytes());
    let head = connection.head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    connection
}

/// A whole message or control frame of a client. The mask is zero: it hides nothing.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = answer(opcode, payload);
    frame[1] |= 0x80;
    let at = frame.len() - payload.len();
    frame.splice(at..at, [0; 4]);
    frame
}

/// The same of a server.
pub fn answer(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..126 => frame.push(short as u8),
        medium @ 126..=0xffff => {
            frame.push(126);
            frame.extend((medium as u16).to_be_bytes());
        }
        long => {
            frame.push(127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// Sends a text and reads it back.
#[track_caller]
pub fn echoes(connection: &mut Connection, text: &str) {
    connection.send(&frame(1, text.as_bytes()));
    let expected = answer(1, text.as_bytes());
    assert_eq!(connection.exactly(expected.len()), expected);
}

/// A server's answer to this request, whatever its key.
pub fn switched(request: &Received) -> String {
    let key = request.field("sec-websocket-key").expect("a key");
    let accept = tidegate_wire::websocket::accept(key.as_bytes());
    SWITCHED.replace("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", &accept)
}
