//! An upstream that does exactly what a test says, byte by byte: one thread per connection.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tidegate_wire::http1::chunked::ChunkedDecoder;
use tidegate_wire::http1::head::{HeadLimits, RequestFraming, RequestHead, parse_request};

use crate::{PATIENCE, until};

/// A server whose connections follow a script; it lives as long as the test's process.
#[derive(Debug)]
pub struct Scripted {
    /// Where it listens.
    pub address: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

/// The server's side of one connection.
#[derive(Debug)]
pub struct Peer {
    /// The socket.
    pub stream: TcpStream,
    read: Vec<u8>,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Received {
    /// The head's text, blank line included.
    pub head: String,
    /// The body, dechunked.
    pub body: Vec<u8>,
}

impl Received {
    /// The value of the first field of this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (given, value) = line.split_once(':')?;
            given.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

impl Scripted {
    /// Listens on a free port of 127.0.0.1. `script` gets the number of the connection (from 0)
    /// and the connection, which is closed when it returns.
    pub fn start(script: impl Fn(usize, &mut Peer) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&accepted);
        let script = Arc::new(script);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let number = counter.fetch_add(1, Relaxed);
                let script = Arc::clone(&script);
                std::thread::spawn(move || {
                    stream.set_nodelay(true).expect("no delay");
                    stream.set_read_timeout(Some(PATIENCE)).expect("a deadline for reads");
                    script(number, &mut Peer { stream, read: Vec::new() });
                });
            }
        });
        Self { address, accepted }
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Relaxed)
    }
}

impl Peer {
    /// Reads one request; None when the other side closed.
    pub fn request(&mut self) -> Option<Received> {
        let (head, framing) = self.request_head()?;
        let body = self.request_body(framing)?;
        Some(Received { head, body })
    }

    /// Reads a request's head, for scripts that answer before they read the body.
    pub fn request_head(&mut self) -> Option<(String, RequestFraming)> {
        let mut head = RequestHead::default();
        let limits = HeadLimits { bytes: 64 * 1024, fields: 200 };
        let length = loop {
            match parse_request(&self.read, &limits, &mut head) {
                Ok(Some(length)) => break length,
                Ok(None) => self.more()?,
                Err(error) => panic!("{error}: {:?}", String::from_utf8_lossy(&self.read)),
            }
        };
        let text: Vec<u8> = self.read.drain(..length).collect();
        Some((String::from_utf8_lossy(&text).into_owned(), head.framing))
    }

    /// Reads the body behind such a head, dechunked; None when it ends too early.
    pub fn request_body(&mut self, framing: RequestFraming) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        match framing {
            RequestFraming::None => {}
            RequestFraming::Length(length) => {
                let length = usize::try_from(length).expect("a length that fits");
                while self.read.len() < length {
                    self.more()?;
                }
                body = self.read.drain(..length).collect();
            }
            RequestFraming::Chunked => {
                let mut decoder = ChunkedDecoder::default();
                loop {
                    let decoded = decoder.decode(&mut self.read).expect("sound chunks");
                    body.extend_from_slice(&self.read[decoded.data]);
                    self.read.drain(..decoded.consumed);
                    if decoded.done {
                        break;
                    }
                    self.more()?;
                }
            }
        }
        Some(body)
    }

    /// Reads more; None at the end.
    fn more(&mut self) -> Option<()> {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(n) if n > 0 => {
                self.read.extend_from_slice(&piece[..n]);
                Some(())
            }
            _ => None,
        }
    }

    /// Reads this many bytes, or what there is when the other side closes before.
    pub fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count && self.more().is_some() {}
        let count = count.min(self.read.len());
        self.read.drain(..count).collect()
    }

    /// Reads until the other side closes.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.more().is_some() {}
        std::mem::take(&mut self.read)
    }

    /// Ends the sending direction.
    pub fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Sends bytes as they are. The other side may have gone, which is no fault of the script.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.stream.write_all(bytes.as_ref());
        self
    }

    /// Reads and drops what still comes, until the other side closes.
    pub fn wait_for_close(&mut self) {
        while self.more().is_some() {
            self.read.clear();
        }
    }

    /// Makes the close a reset.
    pub fn reset(&mut self) {
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO))
            .expect("the socket lingers");
        let _ = self.stream.shutdown(Shutdown::Read);
    }

    /// Waits until the other side's process has taken everything sent so far out of its socket, so
    /// that what is sent next arrives in a read of its own.
    pub fn wait_until_read(&self) {
        let here = self.stream.local_addr().expect("an address");
        let there = self.stream.peer_addr().expect("an address");
        until("the other side reads", || (unread(there, here) == Some(0)).then_some(()));
    }
}

/// Bytes that have come to `socket` from `sender` and that its process has not read yet, as the
/// kernel counts them; None when there is no such connection.
pub fn unread(socket: SocketAddr, sender: SocketAddr) -> Option<u64> {
    queues(socket, sender).map(|(_, received)| received)
}

/// Bytes between a process that writes and one that reads: what `sender`'s socket still holds and
/// what `socket` has taken in unread; None when there is no such connection.
pub fn underway(socket: SocketAddr, sender: SocketAddr) -> Option<u64> {
    Some(queues(sender, socket)?.0 + queues(socket, sender)?.1)
}

/// The bytes in a socket's send and receive queues.
fn queues(socket: SocketAddr, peer: SocketAddr) -> Option<(u64, u64)> {
    let row = format!("{} {} ", in_table(socket), in_table(peer));
    let table = fs::read_to_string("/proc/net/tcp").expect("the table of sockets");
    let line = table.lines().find(|line| line.contains(&row))?;
    // … local remote state tx_queue:rx_queue …
    let (sent, received) = line.split_whitespace().nth(4)?.split_once(':')?;
    Some((u64::from_str_radix(sent, 16).ok()?, u64::from_str_radix(received, 16).ok()?))
}

/// An IPv4 address as `/proc/net/tcp` writes it.
pub fn in_table(address: SocketAddr) -> String {
    let SocketAddr::V4(v4) = address else { panic!("{address} is not IPv4") };
    format!("{:08X}:{:04X}", v4.ip().to_bits().swap_bytes(), v4.port())
}

/// A whole JSON reply.
pub fn json_reply(status: u16, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} Scripted\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The head of an event stream in chunked coding.
pub const STREAM_HEAD: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// The end of a body in chunked coding.
pub const STREAM_END: &str = "0\r\n\r\n";

/// One chunk.
pub fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}
