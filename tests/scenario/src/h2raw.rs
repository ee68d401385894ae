//! HTTP/2 frame by frame, right or wrong, as a test wants it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::PATIENCE;

/// Frame types (RFC 9113 section 6).
pub const DATA: u8 = 0;
/// See [`DATA`].
pub const HEADERS: u8 = 1;
/// See [`DATA`].
pub const RST_STREAM: u8 = 3;
/// See [`DATA`].
pub const SETTINGS: u8 = 4;
/// See [`DATA`].
pub const PING: u8 = 6;
/// See [`DATA`].
pub const GOAWAY: u8 = 7;
/// See [`DATA`].
pub const WINDOW_UPDATE: u8 = 8;
/// See [`DATA`].
pub const CONTINUATION: u8 = 9;

/// Flag of DATA and HEADERS; ACK of SETTINGS and PING.
pub const END_STREAM: u8 = 1;
/// Flag of HEADERS and CONTINUATION.
pub const END_HEADERS: u8 = 4;

/// Error code ENHANCE_YOUR_CALM.
pub const CALM: u32 = 11;

/// What a client sends first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame as it came.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of RST_STREAM or GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        let bytes = self.payload.get(at..at + 4).unwrap_or(&[0xff; 4]);
        u32::from_be_bytes(bytes.try_into().unwrap())
    }
}

/// How an exchange ended.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Status of the reply; 0 without one.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
    /// The stream was ended properly.
    pub complete: bool,
    /// The code with which it was reset.
    pub reset: Option<u32>,
    /// The code with which the connection was ended.
    pub goaway: Option<u32>,
}

impl Outcome {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection that a test speaks HTTP/2 on, frame by frame.
#[derive(Debug)]
pub struct Raw {
    /// The socket.
    pub stream: TcpStream,
    read: Vec<u8>,
}

impl Raw {
    /// Connects by prior knowledge with the settings that everybody has.
    #[track_caller]
    pub fn open(address: SocketAddr) -> Self {
        Self::open_with(address, &[])
    }

    /// Connects with these settings, as identifier and value.
    #[track_caller]
    pub fn open_with(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let stream = TcpStream::connect(address).expect("the gateway accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a deadline for reads");
        stream.set_write_timeout(Some(PATIENCE)).expect("a deadline for writes");
        stream.set_nodelay(true).expect("no delay");
        let mut raw = Self { stream, read: Vec::new() };
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend_from_slice(&id.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        raw.bytes(PREFACE);
        raw.frame(SETTINGS, 0, 0, &payload);
        raw
    }

    /// The same connection once more, for a thread that reads while this one writes.
    #[track_caller]
    pub fn reader(&self) -> Self {
        Self { stream: self.stream.try_clone().expect("a second handle"), read: Vec::new() }
    }

    /// Sends bytes as they are; false when the peer takes no more.
    pub fn bytes(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends a frame; false when the peer takes no more.
    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.bytes(&frame(kind, flags, stream, payload))
    }

    /// Sends a head in one frame.
    pub fn head(&mut self, stream: u32, fields: &[(&str, &str)], end: bool) -> bool {
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        self.frame(HEADERS, flags, stream, &fields_block(fields))
    }

    /// Sends a GET.
    pub fn get(&mut self, stream: u32, path: &str) -> bool {
        self.head(stream, &request("GET", path, &[]), true)
    }

    /// The next frame; None when the connection has ended. Settings and pings are acknowledged.
    #[track_caller]
    pub fn next_frame(&mut self) -> Option<Frame> {
        let frame = self.next_unanswered()?;
        if matches!(frame.kind, SETTINGS | PING) && frame.flags & END_STREAM == 0 {
            let echo = if frame.kind == PING { &frame.payload[..] } else { &[] };
            self.frame(frame.kind, END_STREAM, 0, echo);
        }
        Some(frame)
    }

    /// As [`Raw::next_frame`], and nothing is acknowledged.
    #[track_caller]
    pub fn next_unanswered(&mut self) -> Option<Frame> {
        self.read_frame().unwrap_or_else(|_| panic!("nothing came within {PATIENCE:?}"))
    }

    /// The next frame; None when the connection has ended or the socket's deadline has passed.
    pub fn try_frame(&mut self) -> Option<Frame> {
        self.read_frame().ok().flatten()
    }

    /// The error: the socket's deadline has passed.
    fn read_frame(&mut self) -> Result<Option<Frame>, std::io::ErrorKind> {
        loop {
            if let Some(frame) = self.take() {
                return Ok(Some(frame));
            }
            let mut piece = [0; 16 * 1024];
            match self.stream.read(&mut piece) {
                Ok(n) if n > 0 => self.read.extend_from_slice(&piece[..n]),
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) =>
                {
                    return Err(error.kind());
                }
                _ => return Ok(None),
            }
        }
    }

    fn take(&mut self) -> Option<Frame> {
        let head = self.read.get(..9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        self.read.get(..9 + length)?;
        let payload = self.read.drain(..9 + length).skip(9).collect();
        Some(Frame { kind, flags, stream, payload })
    }

    /// Reads until this stream has ended in some way. Windows are not given back.
    pub fn outcome(&mut self, stream: u32) -> Outcome {
        let mut outcome = Outcome::default();
        while let Some(frame) = self.next_frame() {
            if frame.kind == GOAWAY {
                outcome.goaway = Some(frame.code());
            }
            if frame.stream != stream {
                continue;
            }
            match frame.kind {
                HEADERS if outcome.status < 200 => outcome.status = status(&frame.payload),
                DATA => outcome.body.extend_from_slice(&frame.payload),
                RST_STREAM => {
                    outcome.reset = Some(frame.code());
                    return outcome;
                }
                _ => {}
            }
            if matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
                outcome.complete = true;
                return outcome;
            }
        }
        outcome
    }

    /// Reads until the connection ends; the code of the last GOAWAY.
    pub fn ended(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next_frame() {
            if frame.kind == GOAWAY {
                code = Some(frame.code());
            }
        }
        code
    }
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The fields of a request with its pseudo-fields.
pub fn request<'f>(
    method: &'f str,
    path: &'f str,
    more: &[(&'f str, &'f str)],
) -> Vec<(&'f str, &'f str)> {
    let mut fields = vec![
        (":method", method),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", path),
    ];
    fields.extend_from_slice(more);
    fields
}

/// Fields as literals that nobody remembers (RFC 7541 section 6.2.2).
pub fn fields_block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(text.len(), &mut block);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// A string's length with a prefix of seven bits (RFC 7541 section 5.1).
fn length(length: usize, block: &mut Vec<u8>) {
    if length < 127 {
        block.push(length as u8);
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// The status with which a block begins; 0 if it is one that an earlier block defined.
fn status(block: &[u8]) -> u16 {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    match block {
        [first @ 0x88..=0x8e, ..] => INDEXED[usize::from(first - 0x88)],
        [0x48 | 0x08, length, text @ ..] if length & 0x80 == 0 => {
            text.get(..3).and_then(|t| std::str::from_utf8(t).ok()?.parse().ok()).unwrap_or(0)
        }
        [0x48 | 0x08, _, text @ ..] => digits(text),
        _ => 0,
    }
}

/// Three digits in Huffman code (RFC 7541 appendix B): 0 to 2 have five bits, 3 to 9 have six.
fn digits(text: &[u8]) -> u16 {
    let bits: Vec<u8> = text.iter().flat_map(|b| (0..8).rev().map(move |i| (b >> i) & 1)).collect();
    let (mut at, mut number) = (0, 0);
    for _ in 0..3 {
        let value = |n: usize| {
            bits.get(at..at + n).unwrap_or_default().iter().fold(0u16, |v, b| v * 2 + u16::from(*b))
        };
        let (digit, used) =
            if value(5) <= 2 { (value(5), 5) } else { (value(6).wrapping_sub(22), 6) };
        number = number * 10 + digit;
        at += used;
    }
    number
}
