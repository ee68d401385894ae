//! A request as it was read: its head, and what else is known of it. The body has files of its own.

mod body;
mod buffered;
mod id;

use tidegate_policy::route::FieldCondition;
use tidegate_wire::http1::chunked::ChunkedDecoder;
use tidegate_wire::http1::head::{Field, FieldId, Method, RequestFraming, RequestHead, Version};

use crate::buffer::Lent;
use crate::client::Client;
use crate::edge::Origin;
use crate::mirror::CopyWriter;
use body::{Framing, Incoming};

pub(crate) use body::Body;
pub(crate) use id::RequestId;

/// A request of the connection.
#[derive(Debug)]
pub(crate) struct Request {
    inbound: Lent,
    /// The method.
    pub(crate) method: Method,
    /// The version of the caller.
    pub(crate) version: Version,
    /// May the connection be used again afterwards, as far as the request says?
    pub(crate) keep_alive: bool,
    /// The body.
    pub(crate) body: Body,
    /// Names this exchange.
    pub(crate) id: RequestId,
    /// It came over HTTP/2: frames delimit both bodies.
    framed: bool,
    /// It is an extended CONNECT (RFC 8441), written as a request for a WebSocket: the caller takes
    /// any 2xx for the beginning of a tunnel.
    connects: bool,
    /// Where the caller is, if a trusted proxy has told it.
    pub(crate) origin: Option<Origin>,
    /// Gets what is read of the body too.
    copy: Option<CopyWriter>,
}

impl Request {
    /// A request whose head of `head_len` bytes has just been parsed in `inbound`. What follows the
    /// request in the buffer is put back.
    pub(crate) fn new(
        inbound: Lent,
        head_len: usize,
        client: &mut Client,
        random: u64,
        body_limit: u64,
    ) -> Self {
        let head = &inbound.head;
        let filled = inbound.filled;
        let expects_continue = head.expect_continue && head.version == Version::Http11;
        let incoming = |framing, early| {
            let now_ms = client.now_ms();
            Body::Incoming(Incoming::new(framing, early, expects_continue, body_limit, now_ms))
        };
        let (body, end) = match head.framing {
            RequestFraming::None => (Body::None, head_len),
            RequestFraming::Length(length) if length <= (filled - head_len) as u64 => {
                let end = head_len + length as usize;
                (Body::Whole(head_len..end), end)
            }
            RequestFraming::Length(length) => {
                (incoming(Framing::Length(length), head_len..filled), filled)
            }
            RequestFraming::Chunked => {
                (incoming(Framing::Chunked(ChunkedDecoder::default()), head_len..filled), filled)
            }
        };
        if let Some(rest) = inbound.bytes.get(end..filled).filter(|rest| !rest.is_empty()) {
            client.unread(rest);
        }
        Self {
            method: head.method,
            version: head.version,
            keep_alive: head.keep_alive,
            body,
            id: RequestId::new(random),
            framed: false,
            connects: false,
            origin: None,
            copy: None,
            inbound,
        }
    }

    /// A request of an HTTP/2 stream, whose head has been written as HTTP/1.1 into `inbound` and
    /// parsed there. Chunked stands for a body of unknown length. `ended`: nothing follows the head.
    /// `connects`: as in the field.
    pub(crate) fn of_stream(
        inbound: Lent,
        ended: bool,
        client: &Client,
        random: u64,
        body_limit: u64,
        connects: bool,
    ) -> Self {
        let head = &inbound.head;
        let incoming = |length| {
            let framing = Framing::Frames { length, ended: false };
            let (expects_continue, now_ms) = (head.expect_continue, client.now_ms());
            Body::Incoming(Incoming::new(framing, 0..0, expects_continue, body_limit, now_ms))
        };
        let body = match head.framing {
            RequestFraming::None => Body::None,
            RequestFraming::Length(0) if ended => Body::Whole(0..0),
            RequestFraming::Length(length) => incoming(Some(length)),
            RequestFraming::Chunked => incoming(None),
        };
        Self {
            method: head.method,
            version: head.version,
            keep_alive: true,
            body,
            id: RequestId::new(random),
            framed: true,
            connects,
            origin: None,
            copy: None,
            inbound,
        }
    }

    /// Did it come over HTTP/2?
    pub(crate) fn is_framed(&self) -> bool {
        self.framed
    }

    /// Is it an extended CONNECT, to which no 2xx may be said but for a tunnel?
    pub(crate) fn connects(&self) -> bool {
        self.connects
    }

    /// Gives back what is only needed to send the request again: buffers of head and body.
    pub(crate) fn release(&mut self) {
        if !self.is_read() {
            return;
        }
        self.body = Body::None;
        self.inbound.give_back();
    }

    /// The parsed head.
    pub(crate) fn head(&self) -> &RequestHead {
        &self.inbound.head
    }

    /// The bytes that the head's spans point into.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.inbound.filled()
    }

    /// The value of a field.
    pub(crate) fn field(&self, id: FieldId) -> Option<&[u8]> {
        self.head().field(id).map(|field| field.value.of(self.bytes()))
    }

    /// The value of the only such field; None with any other number of them.
    pub(crate) fn only(&self, id: FieldId) -> Option<&[u8]> {
        let mut found = self.fields().filter(|(.., field)| field.id == id);
        let (_, value, _) = found.next()?;
        found.next().is_none().then_some(value)
    }

    /// The fields that are not hop-by-hop, as name, value and identity.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8], &Field)> + Clone {
        let bytes = self.bytes();
        let end_to_end = self.head().fields.iter().filter(|field| !field.hop);
        end_to_end.map(move |field| (field.name.of(bytes), field.value.of(bytes), field))
    }

    /// The path as written, without the query.
    pub(crate) fn path(&self) -> &[u8] {
        self.head().path.of(self.bytes())
    }

    /// Whether it has a field like this, hop-by-hop ones included.
    pub(crate) fn has_field(&self, asked: &FieldCondition) -> bool {
        let bytes = self.bytes();
        self.head().fields.iter().any(|field| {
            field.name.of(bytes).eq_ignore_ascii_case(asked.name.as_bytes())
                && asked
                    .value
                    .as_ref()
                    .is_none_or(|wanted| field.value.of(bytes) == wanted.as_bytes())
        })
    }
}
