//! Reads replies off a byte stream, however it is cut: head, framing, end. Keeps no body bytes.

use tidegate_wire::http1::chunked::ChunkedDecoder;
use tidegate_wire::http1::head::{
    HeadLimits, Method, ResponseFraming, ResponseHead, parse_response,
};

/// Where the reader is in a reply.
#[derive(Debug)]
enum State {
    Head,
    Length(u64),
    Chunked(ChunkedDecoder),
    UntilClose,
    Done,
}

/// The bytes are no valid reply, or more than one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadReply;

/// Reads one reply after the other.
#[derive(Debug)]
pub(super) struct ReplyReader {
    head: ResponseHead,
    /// A head that has not come to its end.
    partial: Vec<u8>,
    state: State,
    /// Whether a byte of the reply has come.
    begun: bool,
}

impl ReplyReader {
    pub(super) fn new() -> ReplyReader {
        ReplyReader {
            head: ResponseHead::default(),
            partial: Vec::new(),
            state: State::Head,
            begun: false,
        }
    }

    /// Forgets the last reply.
    pub(super) fn start(&mut self) {
        self.state = State::Head;
        self.partial.clear();
        self.begun = false;
    }

    /// The status, once the head has come.
    pub(super) fn status(&self) -> u16 {
        self.head.status
    }

    /// Whether the connection can carry another request.
    pub(super) fn keep_alive(&self) -> bool {
        self.head.keep_alive
    }

    /// Whether any byte of the reply has come.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether the reply is whole.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Takes the next bytes of the reply to a `method` request; `on_body` sees the body's.
    pub(super) fn feed(
        &mut self,
        method: Method,
        bytes: &mut [u8],
        on_body: &mut impl FnMut(&[u8]),
    ) -> Result<(), BadReply> {
        self.begun = true;
        let mut from = 0;
        while from < bytes.len() {
            let rest = bytes.get_mut(from..).unwrap_or_default();
            from += match &mut self.state {
                State::Head => self.take_head(method, rest)?,
                State::Length(left) => {
                    let taken = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    on_body(rest.get(..taken).unwrap_or_default());
                    *left -= taken as u64;
                    if *left == 0 {
                        self.state = State::Done;
                    }
                    taken
                }
                State::Chunked(decoder) => {
                    let decoded = decoder.decode(rest).map_err(|_| BadReply)?;
                    let data = rest.get(decoded.data).unwrap_or_default();
                    if !data.is_empty() {
                        on_body(data);
                    }
                    if decoded.done {
                        self.state = State::Done;
                    }
                    decoded.consumed
                }
                State::UntilClose => {
                    on_body(rest);
                    rest.len()
                }
                State::Done => return Err(BadReply),
            };
        }
        Ok(())
    }

    /// The connection has ended. Whether that ends the reply as it should.
    pub(super) fn end(&mut self) -> bool {
        if matches!(self.state, State::UntilClose) {
            self.state = State::Done;
        }
        self.is_done()
    }

    /// Reads the head from the start of `bytes` (and what came before). Says how many of `bytes` belong to it.
    fn take_head(&mut self, method: Method, bytes: &[u8]) -> Result<usize, BadReply> {
        let limits = HeadLimits::default();
        let before = self.partial.len();
        let parsed = if before == 0 {
            parse_response(bytes, &limits, method, &mut self.head)
        } else {
            self.partial.extend_from_slice(bytes);
            parse_response(&self.partial, &limits, method, &mut self.head)
        };
        let Some(end) = parsed.map_err(|_| BadReply)? else {
            if before == 0 {
                self.partial.extend_from_slice(bytes);
            }
            return Ok(bytes.len());
        };
        self.partial.clear();
        // An interim reply (100 Continue) is followed by the real one.
        if self.head.status >= 200 {
            self.state = match self.head.framing {
                ResponseFraming::None | ResponseFraming::Length(0) => State::Done,
                ResponseFraming::Length(bytes) => State::Length(bytes),
                ResponseFraming::Chunked => State::Chunked(ChunkedDecoder::default()),
                ResponseFraming::UntilClose => State::UntilClose,
            };
        }
        Ok(end.saturating_sub(before))
    }
}

#[cfg(test)]
mod tests {
    use super::{BadReply, ReplyReader};
    use tidegate_wire::http1::head::Method;

    const CHUNKED: &str = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
                           3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";

    fn read(pieces: &[&[u8]]) -> Result<(u16, Vec<u8>, bool), BadReply> {
        let mut reader = ReplyReader::new();
        let mut body = Vec::new();
        for piece in pieces {
            reader
                .feed(Method::Get, &mut piece.to_vec(), &mut |data| body.extend_from_slice(data))?;
        }
        Ok((reader.status(), body, reader.is_done()))
    }

    #[test]
    fn a_reply_cut_at_any_byte_reads_the_same() {
        for at in 0..=CHUNKED.len() {
            let (front, back) = CHUNKED.as_bytes().split_at(at);
            assert_eq!(read(&[front, back]), Ok((200, b"abcde".to_vec(), true)), "cut at {at}");
        }
    }

    #[test]
    fn bytes_behind_the_reply_are_an_error() {
        let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP";
        assert_eq!(read(&[reply]), Err(BadReply));
    }

    #[test]
    fn only_a_body_until_close_is_ended_by_the_end() {
        for (reply, whole) in [
            ("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nsome", true),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nsome", false),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n", false),
            ("HTTP/1.1 200 OK\r\ncont", false),
        ] {
            let mut reader = ReplyReader::new();
            let fed = reader.feed(Method::Get, &mut reply.as_bytes().to_vec(), &mut |_| {});
            assert_eq!((fed, reader.end()), (Ok(()), whole), "{reply}");
        }
    }
}
