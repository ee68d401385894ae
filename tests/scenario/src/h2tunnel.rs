//! A WebSocket over HTTP/2 as its client sees it (RFC 8441): bytes in DATA frames, within windows.

use std::net::SocketAddr;

use crate::h2raw::{DATA, END_STREAM, HEADERS, Outcome, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE};
use crate::websocket::{answer, frame};

/// The window of a stream before anybody says otherwise (RFC 9113 section 6.9.2).
const WINDOW: i64 = 65_535;

/// The fields of the request, with further ones.
pub fn asking<'f>(path: &'f str, more: &[(&'f str, &'f str)]) -> Vec<(&'f str, &'f str)> {
    let mut fields = vec![
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", "app"),
        (":path", path),
        ("sec-websocket-version", "13"),
    ];
    fields.extend_from_slice(more);
    fields
}

/// Asks on a new connection and reads the whole reply, which is none that begins a tunnel.
#[track_caller]
pub fn refused(address: SocketAddr, path: &str) -> Outcome {
    let mut raw = Raw::open(address);
    raw.head(1, &asking(path, &[]), false);
    raw.outcome(1)
}

/// How a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// END_STREAM.
    Well,
    /// RST_STREAM with this code.
    Reset(u32),
    /// The connection is closed.
    Closed,
}

/// One tunnel: stream 1 of a connection of its own.
#[derive(Debug)]
pub struct Tunnel {
    /// The connection.
    pub raw: Raw,
    stream_window: i64,
    connection_window: i64,
    /// The field block of the reply.
    head: Option<Vec<u8>>,
    read: Vec<u8>,
    ended: Option<Ended>,
}

impl Tunnel {
    /// Opens one; the 200 has been read.
    #[track_caller]
    pub fn open(address: SocketAddr) -> Self {
        let mut tunnel = Self::ask(address, &[]);
        while tunnel.head.is_none() && tunnel.take_frame() {}
        let head = tunnel.head.as_deref().expect("a head");
        assert_eq!(head.first(), Some(&0x88), "the status is 200: {head:?}");
        tunnel
    }

    /// Asks for one on a new connection with these settings.
    #[track_caller]
    pub fn ask(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut raw = Raw::open_with(address, settings);
        raw.head(1, &asking("/ws", &[]), false);
        Self {
            raw,
            stream_window: WINDOW,
            connection_window: WINDOW,
            head: None,
            read: Vec::new(),
            ended: None,
        }
    }

    /// Sends bytes, waiting for windows where they are closed.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(16 * 1024) {
            let length = i64::try_from(piece.len()).expect("a short piece");
            while self.stream_window.min(self.connection_window) < length {
                assert!(self.take_frame(), "ended with {:?} before all was sent", self.ended);
            }
            self.stream_window -= length;
            self.connection_window -= length;
            self.raw.frame(DATA, 0, 1, piece);
        }
    }

    /// Ends our direction.
    pub fn finish(&mut self) {
        self.raw.frame(DATA, END_STREAM, 1, b"");
    }

    /// Resets the stream with CANCEL.
    pub fn reset(&mut self) {
        self.raw.frame(RST_STREAM, 0, 1, &8u32.to_be_bytes());
    }

    /// Reads this many bytes, or what there is when the tunnel ends before.
    #[track_caller]
    pub fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count && self.take_frame() {}
        let count = count.min(self.read.len());
        self.read.drain(..count).collect()
    }

    /// Reads until the tunnel ends, and how it did.
    #[track_caller]
    pub fn rest(&mut self) -> (Vec<u8>, Ended) {
        while self.take_frame() {}
        (std::mem::take(&mut self.read), self.ended.unwrap_or(Ended::Closed))
    }

    /// Sends a text and reads it back.
    #[track_caller]
    pub fn echoes(&mut self, text: &str) {
        self.send(&frame(1, text.as_bytes()));
        let expected = answer(1, text.as_bytes());
        assert_eq!(self.exactly(expected.len()), expected);
    }

    /// Reads one frame and gives back the window that it took; false when the tunnel has ended.
    #[track_caller]
    fn take_frame(&mut self) -> bool {
        if self.ended.is_some() {
            return false;
        }
        let Some(frame) = self.raw.next_frame() else {
            self.ended = Some(Ended::Closed);
            return false;
        };
        match (frame.kind, frame.stream) {
            (WINDOW_UPDATE, stream) => {
                let more = u32::from_be_bytes(frame.payload[..4].try_into().expect("4 bytes"));
                let window =
                    if stream == 0 { &mut self.connection_window } else { &mut self.stream_window };
                *window += i64::from(more);
            }
            (SETTINGS, _) => {
                for setting in frame.payload.as_chunks::<6>().0 {
                    if setting[..2] == [0, 4] {
                        let value = u32::from_be_bytes(setting[2..].try_into().expect("4 bytes"));
                        self.stream_window += i64::from(value) - WINDOW;
                    }
                }
            }
            (HEADERS, 1) => self.head = Some(frame.payload),
            (DATA, 1) => {
                self.read.extend_from_slice(&frame.payload);
                if frame.flags & END_STREAM != 0 {
                    self.ended = Some(Ended::Well);
                } else if !frame.payload.is_empty() {
                    let more = (frame.payload.len() as u32).to_be_bytes();
                    self.raw.frame(WINDOW_UPDATE, 0, 0, &more);
                    self.raw.frame(WINDOW_UPDATE, 0, 1, &more);
                }
            }
            (RST_STREAM, 1) => self.ended = Some(Ended::Reset(frame.code())),
            _ => {}
        }
        true
    }
}
