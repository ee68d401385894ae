//! Raw HTTP/1.1 as tests need it: any bytes out, every byte of the reply in.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

use rustls::ClientConnection;
use tidegate_wire::http1::chunked::ChunkedDecoder;
use tidegate_wire::http1::head::{
    HeadLimits, Method, ResponseFraming, ResponseHead, parse_response,
};

use crate::PATIENCE;

/// A reply, read to its end.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// Status; 0 when the connection ended without a reply.
    pub status: u16,
    /// Field lines as they came, names in lower case.
    pub fields: Vec<(String, String)>,
    /// The body, dechunked.
    pub body: Vec<u8>,
    /// The body ended as its framing says it must.
    pub complete: bool,
}

impl Reply {
    /// The first field of this name (lower case).
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }
}

/// A connection that a test speaks on.
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub stream: TcpStream,
    /// The TLS session, where there is one.
    pub tls: Option<Box<ClientConnection>>,
    /// The connection ended by a reset or, where there is TLS, without a close_notify.
    pub broken: bool,
    read: Vec<u8>,
}

impl Connection {
    /// Connects.
    #[track_caller]
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the gateway accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a deadline for reads");
        stream.set_nodelay(true).expect("no delay");
        Self { stream, tls: None, broken: false, read: Vec::new() }
    }

    /// Speaks TLS from here on; the handshake is made with the first bytes.
    pub fn over_tls(mut self, tls: ClientConnection) -> Self {
        self.tls = Some(Box::new(tls));
        self
    }

    /// Makes the TLS handshake.
    pub fn shake_hands(&mut self) -> std::io::Result<&mut Self> {
        if let Some(tls) = &mut self.tls {
            while tls.is_handshaking() {
                tls.complete_io(&mut self.stream)?;
            }
        }
        Ok(self)
    }

    /// Sends bytes as they are. A peer that has closed already is for the reply to tell.
    pub fn send(&mut self, bytes: &[u8]) -> &mut Self {
        let _ = match &mut self.tls {
            None => self.stream.write_all(bytes),
            Some(tls) => {
                let mut stream = rustls::Stream::new(&mut **tls, &mut self.stream);
                stream.write_all(bytes).and_then(|()| stream.flush())
            }
        };
        self
    }

    /// Makes the close a reset.
    pub fn reset_on_close(&self) -> &Self {
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(std::time::Duration::ZERO))
            .expect("the socket lingers");
        self
    }

    /// Ends the sending direction.
    pub fn finish(&mut self) -> &mut Self {
        let _ = self.stream.shutdown(Shutdown::Write);
        self
    }

    /// Reads more; false at the end.
    fn more(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        let read = match &mut self.tls {
            None => self.stream.read(&mut piece),
            Some(tls) => rustls::Stream::new(&mut **tls, &mut self.stream).read(&mut piece),
        };
        match read {
            Ok(n) if n > 0 => {
                self.read.extend_from_slice(&piece[..n]);
                true
            }
            Ok(_) => false,
            Err(error) => {
                self.broken = true;
                assert!(
                    !matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ),
                    "no reply within {PATIENCE:?}; so far: {:?}",
                    String::from_utf8_lossy(&self.read)
                );
                false
            }
        }
    }

    /// Reads until these bytes have come; true when they have.
    pub fn until_seen(&mut self, bytes: &[u8]) -> bool {
        loop {
            if self.read.windows(bytes.len()).any(|window| window == bytes) {
                return true;
            }
            if !self.more() {
                return false;
            }
        }
    }

    /// Reads a head to its end and gives its text; what follows stays.
    pub fn head(&mut self) -> String {
        loop {
            if let Some(at) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = self.read.drain(..at + 4).collect();
                return String::from_utf8(head).expect("a head of text");
            }
            assert!(self.more(), "no head: {:?}", String::from_utf8_lossy(&self.read));
        }
    }

    /// Reads this many bytes, or what there is when the peer closes before.
    pub fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count && self.more() {}
        let count = count.min(self.read.len());
        self.read.drain(..count).collect()
    }

    /// Reads everything until the peer closes.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.more() {}
        std::mem::take(&mut self.read)
    }

    /// Reads one reply to a request of this method; interim replies are skipped.
    pub fn reply_to(&mut self, method: Method) -> Reply {
        let mut head = ResponseHead::default();
        let limits = HeadLimits { bytes: 64 * 1024, fields: 200 };
        let length = loop {
            match parse_response(&self.read, &limits, method, &mut head) {
                Ok(Some(length)) if (100..200).contains(&head.status) => {
                    self.read.drain(..length);
                }
                Ok(Some(length)) => break length,
                Ok(None) => {
                    if !self.more() {
                        return Reply::default();
                    }
                }
                Err(error) => panic!("{error}: {:?}", String::from_utf8_lossy(&self.read)),
            }
        };
        let bytes: Vec<u8> = self.read.drain(..length).collect();
        let text = |span: tidegate_wire::http1::head::Span| {
            String::from_utf8_lossy(span.of(&bytes)).into_owned()
        };
        let fields = head
            .fields
            .iter()
            .map(|field| (text(field.name).to_ascii_lowercase(), text(field.value)))
            .collect();
        let mut reply = Reply { status: head.status, fields, body: Vec::new(), complete: true };
        match head.framing {
            ResponseFraming::None => {}
            ResponseFraming::Length(length) => {
                let length = usize::try_from(length).expect("a length that fits");
                while self.read.len() < length && self.more() {}
                reply.complete = self.read.len() >= length;
                reply.body = self.read.drain(..length.min(self.read.len())).collect();
            }
            ResponseFraming::Chunked => self.chunked(&mut reply),
            ResponseFraming::UntilClose => reply.body = self.rest(),
        }
        reply
    }

    fn chunked(&mut self, reply: &mut Reply) {
        let mut decoder = ChunkedDecoder::default();
        loop {
            let decoded = decoder.decode(&mut self.read).expect("sound chunks");
            reply.body.extend_from_slice(&self.read[decoded.data]);
            self.read.drain(..decoded.consumed);
            if decoded.done {
                return;
            }
            if !self.more() {
                reply.complete = false;
                return;
            }
        }
    }

    /// The pieces of a chunked body as they come. Its head is the next to be read.
    pub fn chunks(&mut self) -> impl Iterator<Item = Vec<u8>> {
        assert!(self.until_seen(b"\r\n\r\n"), "no head");
        let end = self.read.windows(4).position(|window| window == b"\r\n\r\n");
        self.read.drain(..end.map_or(0, |end| end + 4));
        let mut decoder = ChunkedDecoder::default();
        std::iter::from_fn(move || {
            loop {
                let decoded = decoder.decode(&mut self.read).expect("sound chunks");
                let piece = self.read[decoded.data].to_vec();
                self.read.drain(..decoded.consumed);
                if !piece.is_empty() {
                    return Some(piece);
                }
                if decoded.done || !self.more() {
                    return None;
                }
            }
        })
    }

    /// Reads one reply to a request that is not HEAD.
    pub fn reply(&mut self) -> Reply {
        self.reply_to(Method::Get)
    }
}

/// Sends these bytes on a connection of their own and reads the reply.
#[track_caller]
pub fn once(address: SocketAddr, bytes: &[u8]) -> Reply {
    Connection::open(address).send(bytes).reply()
}

/// A GET on a connection of its own.
#[track_caller]
pub fn get(address: SocketAddr, path: &str) -> Reply {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    once(address, request.as_bytes())
}

/// The bytes of an LLM call with a key.
pub fn llm_call(path: &str, key: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The bytes of an LLM call with a key and further field lines, each ending in CRLF.
pub fn llm_call_with(path: &str, key: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n{fields}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
