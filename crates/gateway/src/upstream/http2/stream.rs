//! One stream: a request out and its reply in, each within its flow-control window.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason as Code, RecvStream, SendStream};
use http::HeaderMap;
use tidegate_snapshot::FieldEdits;

use super::connection::Lease;
use super::message;
use crate::error::ProxyError;

/// What an endpoint may send on one stream before we have passed any of it on: enough for 100 MB/s
/// over a millisecond, and what a caller who reads slowly costs.
pub(super) const STREAM_WINDOW: u32 = 128 * 1024;

/// Bytes handed to the connection at once.
const PIECE: usize = 64 * 1024;

/// A stream on a shared connection. Dropped before both sides have ended, it is reset (CANCEL).
#[derive(Debug)]
pub(crate) struct Http2Leg {
    reply: Option<ResponseFuture>,
    send: Option<SendStream<Bytes>>,
    receive: Option<RecvStream>,
    /// Read from the caller, not yet taken by the connection.
    unsent: Bytes,
    /// Nothing follows `unsent`.
    last: bool,
    /// What of the caller's trailer fields goes out behind that.
    trailing: Option<Box<HeaderMap>>,
    /// Handed to the exchange, not yet told to the endpoint as taken.
    unreleased: usize,
    /// What came after what has been handed on.
    failed: Option<h2::Error>,
    ended: bool,
    /// The caller has said that it reads trailers.
    wants_trailers: bool,
    /// The trailer fields of the reply, as the endpoint sent them.
    trailers: Option<Box<HeaderMap>>,
    // The last field: the place is free once the handles above are gone.
    lease: Lease,
}

/// What a stream that failed says about trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The endpoint has not looked at the request (RFC 9113 sections 6.8 and 8.7).
    Unprocessed,
    /// The endpoint wants HTTP/1.1 for this request.
    Http11Required,
    /// The connection broke.
    Connection,
    /// This stream was reset.
    Stream,
}

impl Refusal {
    fn of(error: &h2::Error) -> Self {
        match error.reason() {
            Some(Code::REFUSED_STREAM) if error.is_remote() => Self::Unprocessed,
            Some(Code::HTTP_1_1_REQUIRED) => Self::Http11Required,
            // Told to us about streams beyond the last one that was processed.
            _ if error.is_go_away() && error.is_remote() => Self::Unprocessed,
            _ if error.is_reset() => Self::Stream,
            _ => Self::Connection,
        }
    }
}

/// A piece of a reply that was read.
#[derive(Debug)]
pub(crate) enum Reading {
    /// This many bytes of the space are filled; more may follow.
    Filled(usize),
    /// As above, and they are the last.
    Ended(usize),
    /// The stream failed.
    Failed(Refusal, io::Error),
}

impl Http2Leg {
    pub(super) fn new(lease: Lease) -> Self {
        Self {
            reply: None,
            send: None,
            receive: None,
            unsent: Bytes::new(),
            last: false,
            trailing: None,
            unreleased: 0,
            failed: None,
            ended: false,
            wants_trailers: false,
            trailers: None,
            lease,
        }
    }

    /// Sends the head. `head`: composed as for HTTP/1.1. False: the connection takes no requests
    /// any more, and has not seen this one.
    pub(crate) fn send_head(
        &mut self,
        head: &[u8],
        tls: bool,
        trailers: bool,
        end: bool,
    ) -> Result<bool, ProxyError> {
        self.wants_trailers = trailers;
        let request = message::request(head, tls, trailers)?;
        Ok(self.begin(request, end))
    }

    /// Does the endpoint take tunnels (RFC 8441 section 3)?
    pub(crate) fn may_connect(&self) -> bool {
        self.lease.connection.may_connect()
    }

    /// Sends the head of a request for a WebSocket, as [`Http2Leg::send_head`]; our side stays open.
    pub(crate) fn connect(&mut self, head: &[u8], tls: bool) -> Result<bool, ProxyError> {
        let request = message::connect(head, tls)?;
        Ok(self.begin(request, false))
    }

    fn begin(&mut self, request: http::Request<()>, end: bool) -> bool {
        let Some(Ok((reply, send))) = self.lease.connection.send(request, end) else {
            return false;
        };
        self.reply = Some(reply);
        self.send = Some(send);
        true
    }

    /// Takes a piece of the body to be sent; the one before must have gone.
    pub(crate) fn put(&mut self, piece: &[u8], last: bool) {
        self.unsent = Bytes::copy_from_slice(piece);
        self.last = last;
    }

    /// Takes the fields that follow the body, of which those go out that may be passed on. `edits`: what
    /// the route changes of the head.
    pub(crate) fn put_trailers(
        &mut self,
        trailers: Option<&HeaderMap>,
        edits: Option<&FieldEdits>,
    ) {
        self.trailing = trailers.and_then(|trailers| message::passable(trailers, edits));
    }

    /// Sends what was put, as far as the endpoint's window allows. Ready when all of it has gone;
    /// false: the endpoint takes no more.
    pub(crate) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let Some(send) = &mut self.send else { return Poll::Ready(false) };
        while !self.unsent.is_empty() {
            // What is reserved is taken from what all streams share: never more than there is.
            send.reserve_capacity(self.unsent.len().min(PIECE));
            let room = send.capacity();
            if room == 0 {
                match ready!(send.poll_capacity(cx)) {
                    Some(Ok(_)) => continue,
                    Some(Err(_)) | None => return Poll::Ready(false),
                }
            }
            let piece = self.unsent.split_to(room.min(self.unsent.len()));
            let end = self.last && self.unsent.is_empty() && self.trailing.is_none();
            if send.send_data(piece, end).is_err() {
                return Poll::Ready(false);
            }
            self.last &= !end;
        }
        if !std::mem::take(&mut self.last) {
            return Poll::Ready(true);
        }
        let ended = match self.trailing.take() {
            Some(trailers) => send.send_trailers(*trailers),
            None => send.send_data(Bytes::new(), true),
        };
        Poll::Ready(ended.is_ok())
    }

    /// Sends bytes of a tunnel, as many as the endpoint's window allows now.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Some(send) = &mut self.send else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let Some(bytes) = slices.iter().find(|slice| !slice.is_empty()) else {
            return Poll::Ready(Ok(0));
        };
        send.reserve_capacity(bytes.len().min(PIECE));
        while send.capacity() == 0 {
            match ready!(send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let taken = send.capacity().min(bytes.len());
        let piece = Bytes::copy_from_slice(bytes.get(..taken).unwrap_or_default());
        send.send_data(piece, false).map_err(io::Error::other)?;
        Poll::Ready(Ok(taken))
    }

    /// Ends our side of a tunnel.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        let send = self.send.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        send.send_data(Bytes::new(), true).map_err(io::Error::other)
    }

    /// Reads bytes of a tunnel; 0 is its end.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        space: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match ready!(self.poll_data(cx, space)) {
            Reading::Ended(read) => Poll::Ready(Ok(read)),
            Reading::Filled(read) if read > 0 => Poll::Ready(Ok(read)),
            // Only space for less than a frame comes to this.
            Reading::Filled(_) => Poll::Ready(Err(io::ErrorKind::InvalidInput.into())),
            Reading::Failed(_, error) => Poll::Ready(Err(error)),
        }
    }

    /// Is something put and not sent?
    pub(crate) fn is_sending(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// The reply's head, written to `out` as HTTP/1.1; then read on with
    /// [`Http2Leg::poll_data`].
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Result<(), (Refusal, io::Error)>> {
        let Some(reply) = &mut self.reply else {
            return Poll::Ready(Err((Refusal::Unprocessed, io::ErrorKind::NotConnected.into())));
        };
        match ready!(Pin::new(reply).poll(cx)) {
            Ok(reply) => {
                let (parts, receive) = reply.into_parts();
                message::put_reply(&http::Response::from_parts(parts, ()), out);
                self.ended = receive.is_end_stream();
                self.receive = Some(receive);
                self.reply = None;
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(Err(Self::refused(error))),
        }
    }

    fn refused(error: h2::Error) -> (Refusal, io::Error) {
        (Refusal::of(&error), io::Error::other(error))
    }

    /// Reads what has come of the body into `space`. What was read before counts as passed on: the
    /// endpoint may send as much again.
    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>, space: &mut [u8]) -> Poll<Reading> {
        if let Some(error) = self.failed.take() {
            let (refusal, error) = Self::refused(error);
            return Poll::Ready(Reading::Failed(refusal, error));
        }
        let Some(receive) = &mut self.receive else {
            let error = io::ErrorKind::NotConnected.into();
            return Poll::Ready(Reading::Failed(Refusal::Connection, error));
        };
        if self.unreleased > 0 {
            // Fails only for streams that are gone, whose window nobody needs.
            let _ = receive.flow_control().release_capacity(self.unreleased);
            self.unreleased = 0;
        }
        let mut filled = 0;
        while !self.ended {
            // A frame is taken whole: our SETTINGS bound it to 16 KiB.
            let Some(to) = space.get_mut(filled..).filter(|to| to.len() >= FRAME_MAX) else {
                break;
            };
            match receive.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    if let Some(to) = to.get_mut(..data.len()) {
                        to.copy_from_slice(&data);
                    }
                    filled += data.len();
                    self.unreleased += data.len();
                    self.ended = receive.is_end_stream();
                }
                Poll::Ready(Some(Err(error))) if filled == 0 => {
                    let (refusal, error) = Self::refused(error);
                    return Poll::Ready(Reading::Failed(refusal, error));
                }
                Poll::Ready(Some(Err(error))) => {
                    self.failed = Some(error);
                    break;
                }
                Poll::Ready(None) => match receive.poll_trailers(cx) {
                    Poll::Ready(Ok(trailers)) => {
                        self.trailers = trailers.map(Box::new);
                        self.ended = true;
                    }
                    Poll::Ready(Err(error)) if filled == 0 => {
                        let (refusal, error) = Self::refused(error);
                        return Poll::Ready(Reading::Failed(refusal, error));
                    }
                    Poll::Ready(Err(error)) => {
                        self.failed = Some(error);
                        break;
                    }
                    Poll::Pending if filled == 0 => return Poll::Pending,
                    Poll::Pending => break,
                },
                Poll::Pending if filled == 0 => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(if self.ended { Reading::Ended(filled) } else { Reading::Filled(filled) })
    }

    /// Has all of the reply been read?
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Has the caller said that it reads trailers?
    pub(crate) fn wants_trailers(&self) -> bool {
        self.wants_trailers
    }

    /// The trailer fields of a reply that has ended, as far as they may be passed on. `edits`: what the
    /// route changes of its head.
    pub(crate) fn take_trailers(&mut self, edits: Option<&FieldEdits>) -> Option<Box<HeaderMap>> {
        self.trailers.take().and_then(|trailers| message::passable(&trailers, edits))
    }
}

/// The largest frame that an endpoint may send (RFC 9113 section 6.5.2, the default).
pub(crate) const FRAME_MAX: usize = 16 * 1024;
