//! An origin that records exactly what it receives and answers what the test tells it to.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_wire::http1::chunked::ChunkedDecoder;
use tidegate_wire::http1::head::{HeadLimits, RequestFraming, RequestHead, parse_request};

use crate::PATIENCE;

/// A request that arrived whole.
#[derive(Debug, Clone)]
pub struct Received {
    /// Which connection it came on, from 0.
    pub connection: usize,
    /// The head, byte for byte.
    pub head: String,
    /// The body, dechunked.
    pub body: Vec<u8>,
}

impl Received {
    /// The first field of this name (lower case).
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The request line.
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }
}

/// What the origin says to a request.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The bytes, as they are.
    pub bytes: Vec<u8>,
    /// The connection ends behind them.
    pub close: bool,
}

impl Answer {
    /// These bytes, and the connection stays.
    pub fn keep(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), close: false }
    }

    /// These bytes, then the end.
    pub fn close(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), close: true }
    }

    /// 200 with this body.
    pub fn ok(body: &str) -> Self {
        Self::keep(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    }
}

#[derive(Debug, Default)]
struct Record {
    /// Raw bytes by connection.
    bytes: Vec<Vec<u8>>,
    requests: Vec<Received>,
    open: Vec<TcpStream>,
}

/// The origin. Its threads end with their connections.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    record: Arc<Mutex<Record>>,
}

impl Origin {
    /// Answers each request that arrives whole with what `script` says.
    pub fn start(script: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let record = Arc::new(Mutex::new(Record::default()));
        let origin = Self { address, record };
        let (shared, script) = (origin.clone(), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (origin, script) = (shared.clone(), Arc::clone(&script));
                let connection = {
                    let mut record = origin.lock();
                    record.bytes.push(Vec::new());
                    record.open.extend(stream.try_clone());
                    record.bytes.len() - 1
                };
                std::thread::spawn(move || origin.serve(stream, connection, &*script));
            }
        });
        origin
    }

    /// Answers everything with 200 and `ok`.
    pub fn plain() -> Self {
        Self::start(|_| Answer::ok("ok"))
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests that arrived whole.
    pub fn requests(&self) -> Vec<Received> {
        self.lock().requests.clone()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.lock().bytes.len()
    }

    /// Every byte received, over all connections.
    pub fn bytes(&self) -> Vec<u8> {
        self.lock().bytes.concat()
    }

    /// Ends all connections from this side.
    pub fn hang_up(&self) {
        for stream in self.lock().open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn serve(
        &self,
        mut stream: TcpStream,
        connection: usize,
        script: &dyn Fn(&Received) -> Answer,
    ) {
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = stream.set_nodelay(true);
        let mut unread = Vec::new();
        while let Some(request) = self.receive(&mut stream, connection, &mut unread) {
            let answer = script(&request);
            self.lock().requests.push(request);
            if stream.write_all(&answer.bytes).is_err() {
                return;
            }
            if answer.close {
                let _ = stream.shutdown(Shutdown::Both);
                return;
            }
        }
    }

    fn more(&self, stream: &mut TcpStream, connection: usize, into: &mut Vec<u8>) -> Option<()> {
        let mut piece = [0; 16 * 1024];
        let read = stream.read(&mut piece).ok().filter(|read| *read > 0)?;
        into.extend_from_slice(&piece[..read]);
        self.lock().bytes[connection].extend_from_slice(&piece[..read]);
        Some(())
    }

    fn receive(
        &self,
        stream: &mut TcpStream,
        connection: usize,
        unread: &mut Vec<u8>,
    ) -> Option<Received> {
        let limits = HeadLimits { bytes: 64 * 1024, fields: 200 };
        let mut head = RequestHead::default();
        let length = loop {
            match parse_request(unread, &limits, &mut head) {
                Ok(Some(length)) => break length,
                Ok(None) => self.more(stream, connection, unread)?,
                Err(error) => {
                    panic!(
                        "the gateway sent a bad head: {error}: {:?}",
                        unread.escape_ascii().to_string()
                    )
                }
            }
        };
        let text: Vec<u8> = unread.drain(..length).collect();
        let mut body = Vec::new();
        match head.framing {
            RequestFraming::None => {}
            RequestFraming::Length(length) => {
                let length = usize::try_from(length).expect("a length that fits");
                while unread.len() < length {
                    self.more(stream, connection, unread)?;
                }
                body = unread.drain(..length).collect();
            }
            RequestFraming::Chunked => {
                let mut decoder = ChunkedDecoder::default();
                loop {
                    let decoded = decoder.decode(unread).expect("the gateway sends sound chunks");
                    body.extend_from_slice(&unread[decoded.data]);
                    unread.drain(..decoded.consumed);
                    if decoded.done {
                        break;
                    }
                    self.more(stream, connection, unread)?;
                }
            }
        }
        Some(Received { connection, head: String::from_utf8_lossy(&text).into_owned(), body })
    }
}
