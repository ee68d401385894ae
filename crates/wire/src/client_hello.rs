//! The TLS ClientHello, as far as it says where a connection wants to go: server name and ALPN.
//!
//! TLS is not terminated here: the bytes are looked at and passed on as they came.

/// Bytes of records that a ClientHello may take, their heads included. Post-quantum key shares
/// make a hello of 2 KiB; one of a browser never comes near this.
pub const CLIENT_HELLO_MAX: usize = 16 * 1024;

/// Bytes of a record's head: type, version, length (RFC 8446 section 5.1).
const RECORD_HEAD: usize = 5;

/// Bytes of a handshake message's head: type, length (RFC 8446 section 4).
const MESSAGE_HEAD: usize = 4;

/// Bytes of a record's payload (RFC 8446 section 5.1).
const RECORD_MAX: usize = 1 << 14;

/// Longest server name in bytes (RFC 1035 section 2.3.4).
const NAME_MAX: usize = 255;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const HOST_NAME: u8 = 0;

/// What a ClientHello asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The host name in lower case (RFC 6066 section 3); None if none is sent.
    pub server_name: Option<String>,
    /// The protocols offered, in the caller's order (RFC 7301 section 3.1).
    pub alpn: Vec<Vec<u8>>,
}

/// Why bytes are not a ClientHello that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientHelloError {
    /// The first bytes are not those of a TLS handshake: another protocol.
    #[error("this is not TLS")]
    NotTls,
    /// It takes more than [`CLIENT_HELLO_MAX`] bytes.
    #[error("the ClientHello is larger than 16 KiB")]
    TooLarge,
    /// It breaks the format.
    #[error("the ClientHello is malformed")]
    Malformed,
}

/// Reads the ClientHello at the start of `bytes`, over as many records as it takes.
///
/// `Ok(None)`: sound so far, read more and call again with all the bytes.
pub fn parse_client_hello(bytes: &[u8]) -> Result<Option<ClientHello>, ClientHelloError> {
    let mut first = Message::default();
    let bytes = bytes.get(..CLIENT_HELLO_MAX).unwrap_or(bytes);
    let mut rest = bytes;
    loop {
        match rest {
            [] | [HANDSHAKE] | [HANDSHAKE, 3] => break,
            [HANDSHAKE, 3, ..] => {}
            // Behind the first record it began as TLS.
            _ if first.seen > 0 => return Err(ClientHelloError::Malformed),
            _ => return Err(ClientHelloError::NotTls),
        }
        let Some((head, payload)) = rest.split_at_checked(RECORD_HEAD) else { break };
        let length = head.get(3..).map_or(0, |length| usize::from(number(length)));
        // A fragment of a handshake message is never empty (RFC 8446 section 5.1).
        if length == 0 || length > RECORD_MAX {
            return Err(ClientHelloError::Malformed);
        }
        let piece = payload.get(..length).unwrap_or(payload);
        first.extend(piece)?;
        if let Some(message) = first.whole() {
            return hello(message).map(Some).ok_or(ClientHelloError::Malformed);
        }
        rest = payload.get(length..).unwrap_or_default();
    }
    if bytes.len() >= CLIENT_HELLO_MAX {
        return Err(ClientHelloError::TooLarge);
    }
    Ok(None)
}

/// A handshake message that comes in pieces. The usual one comes in one, and is not copied.
#[derive(Default)]
struct Message<'b> {
    only: &'b [u8],
    joined: Vec<u8>,
    /// Bytes so far.
    seen: usize,
}

impl<'b> Message<'b> {
    fn extend(&mut self, piece: &'b [u8]) -> Result<(), ClientHelloError> {
        if self.seen == 0 {
            self.only = piece;
        } else {
            if self.joined.is_empty() {
                self.joined.extend_from_slice(self.only);
            }
            self.joined.extend_from_slice(piece);
        }
        self.seen += piece.len();
        match self.bytes() {
            [] | [CLIENT_HELLO] => Ok(()),
            [CLIENT_HELLO, high, ..] if *high > 0 => Err(ClientHelloError::TooLarge),
            [CLIENT_HELLO, ..] if self.length() > CLIENT_HELLO_MAX => {
                Err(ClientHelloError::TooLarge)
            }
            [CLIENT_HELLO, ..] => Ok(()),
            _ => Err(ClientHelloError::Malformed),
        }
    }

    fn bytes(&self) -> &[u8] {
        if self.joined.is_empty() { self.only } else { &self.joined }
    }

    /// Bytes of the whole message, as far as that is known.
    fn length(&self) -> usize {
        self.bytes().get(2..MESSAGE_HEAD).map_or(0, |low| MESSAGE_HEAD + usize::from(number(low)))
    }

    /// The body of the message, once all of it has come. What follows it in its last record is not
    /// looked at.
    fn whole(&self) -> Option<&[u8]> {
        let length = self.length();
        if length == 0 { None } else { self.bytes().get(MESSAGE_HEAD..length) }
    }
}

/// RFC 8446 section 4.1.2: version, random, session, cipher suites, compression, extensions.
fn hello(body: &[u8]) -> Option<ClientHello> {
    let mut rest = Reader(body);
    rest.take(2 + 32)?;
    rest.short_vector()?;
    rest.long_vector()?;
    rest.short_vector()?;
    let mut hello = ClientHello::default();
    if rest.0.is_empty() {
        // Before TLS 1.2 a hello could do without extensions.
        return Some(hello);
    }
    let mut extensions = Reader(rest.long_vector()?);
    if !rest.0.is_empty() {
        return None;
    }
    let mut seen = (false, false);
    while !extensions.0.is_empty() {
        let kind = extensions.long()?;
        let data = extensions.long_vector()?;
        match kind {
            // There must not be two of a kind (RFC 8446 section 4.2): two readers could differ.
            SERVER_NAME if std::mem::replace(&mut seen.0, true) => return None,
            ALPN if std::mem::replace(&mut seen.1, true) => return None,
            SERVER_NAME => server_name(data, &mut hello.server_name)?,
            ALPN => hello.alpn = protocols(data)?,
            _ => {}
        }
    }
    Some(hello)
}

/// RFC 6066 section 3.
fn server_name(data: &[u8], found: &mut Option<String>) -> Option<()> {
    let mut outer = Reader(data);
    let mut list = Reader(outer.long_vector()?);
    if list.0.is_empty() || !outer.0.is_empty() {
        return None;
    }
    while !list.0.is_empty() {
        let kind = list.take(1)?;
        let name = list.long_vector()?;
        if kind == [HOST_NAME] {
            let sound = !name.is_empty()
                && name.len() <= NAME_MAX
                && name.iter().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(b));
            if !sound || found.is_some() {
                return None;
            }
            *found = Some(String::from_utf8_lossy(name).to_ascii_lowercase());
        }
    }
    Some(())
}

/// RFC 7301 section 3.1.
fn protocols(data: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut outer = Reader(data);
    let mut list = Reader(outer.long_vector()?);
    let mut found = Vec::new();
    if list.0.is_empty() || !outer.0.is_empty() {
        return None;
    }
    while !list.0.is_empty() {
        let name = list.short_vector()?;
        if name.is_empty() {
            return None;
        }
        found.push(name.to_vec());
    }
    Some(found)
}

/// Takes values off the front.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn long(&mut self) -> Option<u16> {
        self.take(2).map(number)
    }

    /// A vector whose length takes one byte.
    fn short_vector(&mut self) -> Option<&'b [u8]> {
        let length = *self.take(1)?.first()?;
        self.take(usize::from(length))
    }

    /// A vector whose length takes two bytes.
    fn long_vector(&mut self) -> Option<&'b [u8]> {
        let length = self.long()?;
        self.take(usize::from(length))
    }
}

/// Two bytes in network order.
fn number(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |value, byte| value << 8 | u16::from(*byte))
}
