//! One stream of an HTTP/2 connection as the exchange sees it: the body comes as DATA frames, the
//! reply goes as HEADERS, DATA and, if there are any, trailers.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::SEC_WEBSOCKET_ACCEPT;
use http::{HeaderMap, StatusCode};

use super::Outgoing;
use crate::downstream::h2::head;
use crate::downstream::h2::link::Link;

/// A stream. It ends properly, or is reset when dropped.
#[derive(Debug)]
pub(crate) struct Frames {
    link: Rc<Link>,
    respond: SendResponse<Bytes>,
    /// Once the head has gone out.
    body: Option<SendStream<Bytes>>,
    receive: RecvStream,
    /// What is left of the last DATA frame.
    rest: Bytes,
    trailers: Option<Box<HeaderMap>>,
    /// Those of the request, once it has ended.
    received_trailers: Option<Box<HeaderMap>>,
    /// The caller has asked for a tunnel (RFC 8441), and takes any 2xx for its beginning.
    connects: bool,
    /// Our side has ended.
    ended: bool,
    /// Bytes moved since that last counted as progress.
    moved: usize,
}

impl Frames {
    /// A stream whose request head has come.
    pub(crate) fn new(
        link: &Rc<Link>,
        receive: RecvStream,
        respond: SendResponse<Bytes>,
        connects: bool,
    ) -> Self {
        link.stream_opened();
        Self {
            link: Rc::clone(link),
            respond,
            body: None,
            receive,
            rest: Bytes::new(),
            trailers: None,
            received_trailers: None,
            connects,
            ended: false,
            moved: 0,
        }
    }

    /// Reads of the request's body; 0 is its end. The caller may send as much again only once it
    /// has been read here.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        space: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        while self.rest.is_empty() {
            match ready!(self.receive.poll_data(cx)) {
                Some(Ok(data)) => self.rest = data,
                Some(Err(error)) => return Poll::Ready(Err(to_io(error))),
                None => {
                    let trailers = ready!(self.receive.poll_trailers(cx)).map_err(to_io)?;
                    self.received_trailers = trailers.map(Box::new);
                    return Poll::Ready(Ok(0));
                }
            }
        }
        let taken = self.rest.len().min(space.len());
        let piece = self.rest.split_to(taken);
        if let Some(to) = space.get_mut(..taken) {
            to.copy_from_slice(&piece);
        }
        // Fails only for a stream that is gone, which the next read tells.
        let _ = self.receive.flow_control().release_capacity(taken);
        Poll::Ready(Ok(taken))
    }

    /// As [`super::Client::send`]; `total` is the length of `slices`.
    pub(super) fn send(
        &mut self,
        cx: &mut Context<'_>,
        slices: &mut [IoSlice<'_>],
        total: usize,
        now_ms: u64,
        reply: &mut Outgoing,
    ) -> io::Result<()> {
        if total == 0 && !reply.last {
            return Ok(());
        }
        reply.bytes += total as u64;
        reply.sent_ms = now_ms;
        let mut rest = slices;
        let mut left = total;
        if self.body.is_none() {
            let taken = self.send_head(rest, total, reply.last)?;
            left -= taken;
            IoSlice::advance_slices(&mut rest, taken);
        }
        if reply.pending.is_empty() {
            reply.progress_ms = now_ms;
            while left > 0 || (reply.last && !self.ended && self.body.is_some()) {
                match self.poll_write(cx, rest, reply.last) {
                    Poll::Ready(taken) => {
                        let taken = taken?;
                        left -= taken;
                        IoSlice::advance_slices(&mut rest, taken);
                    }
                    Poll::Pending => break,
                }
            }
        }
        for slice in rest.iter() {
            reply.pending.extend_from_slice(slice);
        }
        Ok(())
    }

    /// Sends the head with which the first of `slices` begins, and says how long that was.
    fn send_head(&mut self, slices: &[IoSlice<'_>], total: usize, last: bool) -> io::Result<usize> {
        let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |first| first);
        let (mut response, length) =
            head::response(first).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        if self.connects && response.status() == StatusCode::SWITCHING_PROTOCOLS {
            // How HTTP/2 says it (RFC 8441 section 5).
            *response.status_mut() = StatusCode::OK;
            response.headers_mut().remove(SEC_WEBSOCKET_ACCEPT);
        } else if self.connects && response.status().is_success() {
            // Whoever wrote this should have refused: it would begin a tunnel to nowhere.
            return Err(io::ErrorKind::InvalidData.into());
        }
        if response.status().is_informational() {
            self.respond.send_informational(response).map_err(to_io)?;
            return Ok(length);
        }
        let ends = last && total == length && self.trailers.is_none();
        self.body = Some(self.respond.send_response(response, ends).map_err(to_io)?);
        self.ended = ends;
        Ok(length)
    }

    /// Hands over as much as the caller's windows and our bounds allow now. `last`: the stream ends
    /// with the end of `slices`.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        last: bool,
    ) -> Poll<io::Result<usize>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
        if wanted > 0 {
            ready!(self.link.poll_room(cx));
            body.reserve_capacity(wanted);
            while body.capacity() == 0 {
                match ready!(body.poll_capacity(cx)) {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Poll::Ready(Err(to_io(error))),
                    None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                }
            }
        }
        let taken = wanted.min(body.capacity());
        let ends = last && taken == wanted;
        if wanted > 0 || (ends && self.trailers.is_none()) {
            let data = gathered(slices, taken);
            body.send_data(data, ends && self.trailers.is_none()).map_err(to_io)?;
            self.link.queued(taken);
        }
        if ends {
            if let Some(trailers) = self.trailers.take() {
                body.send_trailers(*trailers).map_err(to_io)?;
            }
            self.ended = true;
        }
        Poll::Ready(Ok(taken))
    }

    /// See [`super::Client::set_trailers`].
    pub(super) fn set_trailers(&mut self, trailers: HeaderMap) {
        self.trailers = Some(Box::new(trailers));
    }

    /// The fields behind the request's body, once its end has been read.
    pub(super) fn trailers(&self) -> Option<&HeaderMap> {
        self.received_trailers.as_deref()
    }

    /// Has the caller's side ended with what has been read?
    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty() && self.receive.is_end_stream()
    }

    /// Ends our side.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if let Some(body) = self.body.as_mut().filter(|_| !self.ended) {
            self.ended = true;
            body.send_data(Bytes::new(), true).map_err(to_io)?;
        }
        Ok(())
    }

    /// Ready when the caller has reset the stream or the connection is gone.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let reset = match &mut self.body {
            Some(body) => ready!(body.poll_reset(cx)),
            None => ready!(self.respond.poll_reset(cx)),
        };
        Poll::Ready(match reset {
            Ok(reason) => io::Error::new(io::ErrorKind::ConnectionReset, reason.description()),
            Err(error) => to_io(error),
        })
    }

    /// The address that the caller connected to.
    pub(super) fn local_address(&self) -> Option<SocketAddr> {
        self.link.local
    }

    /// Counts bytes that moved; true for each `enough` of them.
    pub(super) fn moved(&mut self, bytes: usize, enough: usize) -> bool {
        self.moved += bytes;
        let progress = self.moved >= enough;
        if progress {
            self.moved = 0;
        }
        progress
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.link.stream_closed(self.ended);
        if self.ended {
            return;
        }
        // What was sent is not the whole reply. For a tunnel, this is what the reset of a TCP
        // connection is (RFC 8441 section 5).
        let code = if self.connects { Reason::CANCEL } else { Reason::INTERNAL_ERROR };
        match &mut self.body {
            Some(body) => body.send_reset(code),
            None => self.respond.send_reset(code),
        }
    }
}

/// The first `length` bytes of all slices in one piece.
fn gathered(slices: &[IoSlice<'_>], length: usize) -> Bytes {
    let mut data = Vec::with_capacity(length);
    for slice in slices {
        let room = length - data.len();
        data.extend_from_slice(slice.get(..room.min(slice.len())).unwrap_or_default());
    }
    data.into()
}

fn to_io(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into());
    }
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}
