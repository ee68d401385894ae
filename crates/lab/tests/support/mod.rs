//! A plain blocking HTTP client over real sockets, and waiting for counters.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A test that waits longer than this has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A connection that gives up after [`PATIENCE`].
pub fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&addr, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends `request` and reads until the server closes; bytes before a broken end are kept.
pub fn send_raw(addr: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = connect(addr);
    stream.write_all(request).unwrap();
    let mut reply = Vec::new();
    // A reset is an end like any other here: what came before it counts.
    let _ = stream.read_to_end(&mut reply);
    reply
}

/// A POST as HTTP/1.0: the reply has no transfer coding and ends with the connection.
pub fn post(addr: SocketAddr, target: &str, body: &str) -> Reply {
    post_with(addr, target, "", body.as_bytes())
}

/// The same with further fields, each ended by CRLF.
pub fn post_with(addr: SocketAddr, target: &str, fields: &str, body: &[u8]) -> Reply {
    let length = body.len();
    let mut request =
        format!("POST {target} HTTP/1.0\r\nhost: lab\r\n{fields}content-length: {length}\r\n\r\n")
            .into_bytes();
    request.extend_from_slice(body);
    Reply::of(&send_raw(addr, &request))
}

/// A GET as HTTP/1.0.
pub fn get(addr: SocketAddr, target: &str) -> Reply {
    Reply::of(&send_raw(addr, format!("GET {target} HTTP/1.0\r\nhost: lab\r\n\r\n").as_bytes()))
}

/// A reply cut into its parts.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn of(bytes: &[u8]) -> Reply {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head") + 4;
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply { status, head, body: bytes[end..].to_vec() }
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The data of each event.
    pub fn events(&self) -> Vec<String> {
        let text = self.text().replace("\r\n", "\n");
        let frames = text.split("\n\n").filter(|frame| !frame.is_empty());
        frames
            .map(|frame| {
                let data = frame.lines().filter_map(|line| line.strip_prefix("data: "));
                data.collect::<Vec<_>>().join("\n")
            })
            .collect()
    }
}

/// Waits until `reached`, looking again and again; fails after [`PATIENCE`] with what `state` says.
pub fn wait_until<T: std::fmt::Debug>(state: impl Fn() -> T, reached: impl Fn(&T) -> bool) -> T {
    let begun = Instant::now();
    loop {
        let now = state();
        if reached(&now) {
            return now;
        }
        assert!(begun.elapsed() < PATIENCE, "never reached: {now:?}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}
