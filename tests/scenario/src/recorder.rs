//! An origin that trusts nobody: it records every byte, and reads requests by rules of its own.
//!
//! It does not use the gateway's parser. What that overlooks must not be overlooked here as well.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::until;

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Request line and field lines, without their CRLF.
    pub lines: Vec<String>,
    /// The body, dechunked.
    pub body: Vec<u8>,
}

impl Message {
    /// As text: lines with CRLF, the blank line, the body.
    pub fn text(&self) -> String {
        format!("{}\r\n\r\n{}", self.lines.join("\r\n"), String::from_utf8_lossy(&self.body))
    }

    /// The request target.
    pub fn target(&self) -> &str {
        self.lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default()
    }
}

#[derive(Debug, Default)]
struct Record {
    messages: Vec<Message>,
    faults: Vec<String>,
    /// What came of requests that can no longer become whole.
    broken: Vec<String>,
    /// Connections with the beginning of a request.
    begun: usize,
    /// How often all connections have been looked at.
    rounds: u64,
}

/// A connection as it is read.
#[derive(Debug)]
struct Peer {
    stream: TcpStream,
    unread: Vec<u8>,
    /// The request has been answered before it was read.
    answered: bool,
    open: bool,
}

/// The origin; it lives as long as the test's process. It answers 200 and repeats the target in the
/// body, so that replies that change places are noticed. `/early` is answered with 413 before its
/// body is read.
#[derive(Debug, Clone)]
pub struct Recorder {
    /// Where it listens.
    pub address: SocketAddr,
    record: Arc<Mutex<Record>>,
}

impl Recorder {
    /// Listens on a free port of 127.0.0.1.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a listener that does not block");
        let address = listener.local_addr().expect("its address");
        let recorder = Self { address, record: Arc::default() };
        let shared = recorder.clone();
        std::thread::spawn(move || shared.serve(&listener));
        recorder
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all that has been sent to the origin so far is read, and no request is half
    /// read.
    #[track_caller]
    pub fn settle(&self) {
        let now = self.lock().rounds;
        until("all that was sent is read, and nothing is half sent", || {
            let record = self.lock();
            (record.rounds >= now + 2 && record.begun == 0).then_some(())
        });
    }

    /// Takes the whole requests that have come since the last time.
    pub fn take(&self) -> Vec<Message> {
        std::mem::take(&mut self.lock().messages)
    }

    /// Takes the beginnings of requests that have ended since the last time.
    pub fn take_broken(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().broken)
    }

    /// What was not a request at all.
    pub fn faults(&self) -> Vec<String> {
        self.lock().faults.clone()
    }

    /// One thread, so that a round sees all that was there when it began.
    fn serve(&self, listener: &TcpListener) {
        let mut peers: Vec<Peer> = Vec::new();
        loop {
            let mut idle = true;
            while let Ok((stream, _)) = listener.accept() {
                stream.set_nonblocking(true).expect("a socket that does not block");
                stream.set_nodelay(true).expect("no delay");
                peers.push(Peer { stream, unread: Vec::new(), answered: false, open: true });
            }
            for peer in &mut peers {
                idle &= !self.hear(peer);
            }
            let mut record = self.lock();
            for peer in peers.extract_if(.., |peer| !peer.open) {
                if !peer.unread.is_empty() {
                    record.broken.push(peer.unread.escape_ascii().to_string());
                }
            }
            record.begun = peers.iter().filter(|peer| !peer.unread.is_empty()).count();
            record.rounds += 1;
            drop(record);
            if idle {
                #[allow(clippy::disallowed_methods)] // between two looks, not in place of one
                std::thread::sleep(Duration::from_micros(300));
            }
        }
    }

    /// Reads what there is and answers what is whole; false when there was nothing.
    fn hear(&self, peer: &mut Peer) -> bool {
        let mut piece = [0; 16 * 1024];
        let mut heard = false;
        while peer.open {
            match peer.stream.read(&mut piece) {
                Ok(read) if read > 0 => peer.unread.extend_from_slice(&piece[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return heard,
                _ => peer.open = false,
            }
            heard = true;
            self.answer(peer);
        }
        heard
    }

    fn answer(&self, peer: &mut Peer) {
        loop {
            match parse(&peer.unread) {
                Ok(Some((length, message))) => {
                    peer.unread.drain(..length);
                    let reply = reply(&message);
                    self.lock().messages.push(message);
                    if !std::mem::take(&mut peer.answered) {
                        let _ = peer.stream.write_all(reply.as_bytes());
                    }
                }
                Ok(None) => break,
                Err(fault) => {
                    let text = peer.unread.escape_ascii();
                    self.lock().faults.push(format!("{fault}: {text}"));
                    peer.unread.clear();
                    peer.open = false;
                }
            }
        }
        let early = peer.unread.starts_with(b"POST /early ") && head_end(&peer.unread).is_some();
        if early && !std::mem::replace(&mut peer.answered, true) {
            let _ = peer.stream.write_all(b"HTTP/1.1 413 No\r\nContent-Length: 5\r\n\r\nearly");
        }
    }
}

fn reply(message: &Message) -> String {
    let target = message.target();
    let body = if message.lines[0].starts_with("HEAD ") { "" } else { target };
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", target.len())
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// The message that `bytes` begin with, by the letter of RFC 9112 and nothing tolerated.
fn parse(bytes: &[u8]) -> Result<Option<(usize, Message)>, String> {
    let Some(end) = head_end(bytes) else { return Ok(None) };
    let head = &bytes[..end - 4];
    let mut lines = Vec::new();
    for line in head.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.iter().any(|byte| matches!(byte, 0..=8 | 10..=31 | 127)) {
            return Err("a control character in a line".into());
        }
        lines.push(String::from_utf8_lossy(line).into_owned());
    }
    let is_bare = |at: usize| head[at] == b'\n' && (at == 0 || head[at - 1] != b'\r');
    if (0..head.len()).any(is_bare) {
        return Err("a bare line feed".into());
    }
    request_line(&lines[0])?;
    let fields = lines[1..].iter().map(|line| field(line)).collect::<Result<Vec<_>, _>>()?;
    let all = |name: &str| -> Vec<&str> {
        fields.iter().filter(|f| f.0.eq_ignore_ascii_case(name)).map(|f| f.1).collect()
    };
    if all("host").len() != 1 {
        return Err("not one Host".into());
    }
    let body = match (&all("content-length")[..], &all("transfer-encoding")[..]) {
        ([], []) => Some((end, Vec::new())),
        ([length], []) if !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) => {
            let length: usize = length.parse().map_err(|_| "a length beyond any".to_owned())?;
            bytes.get(end..end.saturating_add(length)).map(|body| (end + length, body.to_vec()))
        }
        ([], ["chunked"]) => chunks(bytes, end)?,
        _ => return Err("framing that is not plain".into()),
    };
    Ok(body.map(|(length, body)| (length, Message { lines, body })))
}

fn request_line(line: &str) -> Result<(), String> {
    let words: Vec<_> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else { return Err("no request line".into()) };
    if !is_token(method) || !(target == "*" || target.starts_with('/')) {
        return Err("no request line".into());
    }
    Ok(())
}

fn field(line: &str) -> Result<(&str, &str), String> {
    let (name, value) = line.split_once(':').ok_or("a line without a colon")?;
    if is_token(name) { Ok((name, value.trim())) } else { Err("a name that is no token".into()) }
}

fn is_token(text: &str) -> bool {
    let special = b"!#$%&'*+-.^_`|~";
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || special.contains(&b))
}

/// The body in chunks from `at` on, and where it ends. Neither extensions nor trailers.
fn chunks(bytes: &[u8], mut at: usize) -> Result<Option<(usize, Vec<u8>)>, String> {
    let mut body = Vec::new();
    loop {
        let rest = &bytes[at..];
        let Some(line) = rest.windows(2).position(|window| window == b"\r\n") else {
            return if rest.len() > 18 { Err("no chunk size".into()) } else { Ok(None) };
        };
        let digits = std::str::from_utf8(&rest[..line]).map_err(|_| "no chunk size")?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("no chunk size".into());
        }
        let size = usize::from_str_radix(digits, 16).map_err(|_| "a chunk beyond any")?;
        let data = at + line + 2;
        let Some(end) = bytes.get(data..).and_then(|rest| rest.get(size..)?.get(..2)) else {
            return Ok(None);
        };
        if end != b"\r\n" {
            return Err("something behind a chunk".into());
        }
        body.extend_from_slice(&bytes[data..data + size]);
        at = data + size + 2;
        if size == 0 {
            return Ok(Some((at, body)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_messages_are_read_and_everything_else_is_a_fault() {
        let sound = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nGET";
        let (length, message) = parse(sound).unwrap().unwrap();
        assert_eq!((length, &message.body[..]), (sound.len() - 3, &b"hi"[..]));
        for length in 0..sound.len() - 3 {
            assert_eq!(parse(&sound[..length]), Ok(None), "{length}");
        }
        for bad in [
            "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n X: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0;x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi!\r\n0\r\n\r\n",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
