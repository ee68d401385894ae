//! The reply's way to the caller: read, looked at, framed anew, written as it comes.

use std::borrow::Cow;
use std::cell::RefMut;
use std::io::IoSlice;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tidegate_snapshot::Reason;
use tidegate_wire::http1::chunked::{CHUNK_END, ChunkedDecoder, LAST_CHUNK, chunk_head};
use tidegate_wire::http1::head::{
    FieldId, HeadLimits, ResponseFraming, ResponseHead, parse_response,
};

use super::{Attempt, Inward, Parties, ReplyBody, Stage};
use super::{encode, kept};
use crate::buffer::Scratch;
use crate::client::Delimited;
use crate::compose::{self, Sent};
use crate::error::{Cause, ProxyError, Repeatable};
use crate::observe::{Observed, mask_key, mask_pieces};
use crate::upstream::Leg;
use crate::upstream::http2::put_last_chunk;

/// Up to here the pieces of a message are copied together: one plain send costs less than a
/// vectored write.
const GATHERED_MAX: usize = 4096;

/// Fields of a reply head.
const FIELDS_MAX: usize = 200;

impl Attempt<'_> {
    /// Reads once from the endpoint and passes on what came. Ready when something happened.
    pub(super) fn poll_reply(
        &mut self,
        cx: &mut Context<'_>,
        parties: &mut Parties<'_, '_>,
    ) -> Poll<Result<(), ProxyError>> {
        if matches!(self.stage, Stage::Ended { .. }) {
            return Poll::Pending;
        }
        if let Leg::Http2(_) = self.leg {
            return self.poll_reply_http2(cx, parties);
        }
        let shard = Rc::clone(parties.shard);
        let mut scratch = shard.scratch.borrow_mut();
        let before = self.partial.len();
        if before > 0 {
            // The rest of a head is read behind its beginning.
            if let Some(to) = scratch.read.get_mut(..before) {
                to.copy_from_slice(&self.partial);
            }
        }
        let space = scratch.read.get_mut(before..).unwrap_or_default();
        let read = match ready!(self.leg.poll_read(cx, space)) {
            Ok(0) => return Poll::Ready(self.endpoint_closed(cx, parties, None)),
            Ok(n) => n,
            Err(error) => return Poll::Ready(self.endpoint_closed(cx, parties, Some(error))),
        };
        self.read_ms = parties.client.now_ms();
        Poll::Ready(self.take_in(cx, parties, &mut scratch, before + read))
    }

    /// Deals with `filled` bytes of the scratch space.
    pub(super) fn take_in(
        &mut self,
        cx: &mut Context<'_>,
        parties: &mut Parties<'_, '_>,
        scratch: &mut RefMut<'_, Scratch>,
        filled: usize,
    ) -> Result<(), ProxyError> {
        let Scratch { read, head: composed, reply } = &mut **scratch;
        let mut bytes = read.get_mut(..filled).unwrap_or_default();
        composed.clear();
        while matches!(self.stage, Stage::Head) {
            let limits = HeadLimits { bytes: parties.snapshot.limits.head, fields: FIELDS_MAX };
            let parsed = parse_response(bytes, &limits, parties.request.method, reply);
            let length = match parsed {
                Ok(Some(length)) => length,
                Ok(None) => {
                    self.partial.clear();
                    self.partial.extend_from_slice(bytes);
                    return Ok(());
                }
                Err(error) => {
                    return Err(ProxyError::text(
                        Reason::BadReply,
                        format!("The endpoint's reply is not valid HTTP/1.1: {error}"),
                    ));
                }
            };
            self.partial = Vec::new();
            let (head_bytes, rest) = bytes.split_at_mut(length.min(bytes.len()));
            if self.is_switch(parties, reply.status) {
                self.switch(parties, reply, head_bytes, composed)?;
                return parties.client.send(cx, &mut [&**composed, &*rest].map(IoSlice::new));
            }
            // 100 and 103 announce; the reply itself follows.
            if reply.status >= 200 {
                self.begin_reply(parties, reply, head_bytes, composed)?;
            }
            bytes = rest;
            if bytes.is_empty() && matches!(self.stage, Stage::Head) {
                return Ok(());
            }
        }
        self.take_body(cx, parties, bytes, composed)
    }

    /// The head of the reply has come: how long that took, where the balance looks at it.
    pub(super) fn observe_latency(&mut self, now_ms: u64) {
        if let Some(began) = self.timed.take() {
            let us = began.elapsed().as_micros() as u64;
            self.endpoint.live.observe_latency(us, now_ms);
        }
    }

    /// Decides what to do with a reply whose head has come.
    fn begin_reply(
        &mut self,
        parties: &mut Parties<'_, '_>,
        head: &ResponseHead,
        bytes: &mut [u8],
        composed: &mut Vec<u8>,
    ) -> Result<(), ProxyError> {
        if parties.request.connects() && (200..300).contains(&head.status) {
            // The caller would take it for a tunnel.
            return Err(ProxyError::text(
                Reason::BadReply,
                "The endpoint answered a request for a WebSocket without switching to it.",
            ));
        }
        self.observe_latency(parties.client.now_ms());
        let provider = self.endpoint.provider.as_ref();
        let llm = parties.call.llm;
        let mut body = ReplyBody {
            framing: match head.framing {
                ResponseFraming::None => Inward::Length(0),
                framing if matches!(self.leg, Leg::Http2(_)) => Inward::Frames(match framing {
                    ResponseFraming::Length(length) => Some(length),
                    _ => None,
                }),
                ResponseFraming::Length(length) => Inward::Length(length),
                ResponseFraming::Chunked => Inward::Chunked(ChunkedDecoder::default()),
                ResponseFraming::UntilClose => Inward::UntilClose,
            },
            keep_alive: head.keep_alive,
            first: true,
            observed: None,
            encoder: None,
            withheld: Vec::new(),
        };
        let kept = kept::of_reply(parties, self.endpoint, head, bytes);
        let Some(kept) = kept else {
            let events = head
                .field(FieldId::ContentType)
                .is_some_and(|field| field.value.of(bytes).starts_with(b"text/event-stream"));
            let plain = head.field(FieldId::ContentEncoding).is_none();
            body.observed = llm.filter(|_| plain).map(|call| {
                Box::new(if events {
                    Observed::events(call, parties.snapshot.limits.stream_buffer)
                } else {
                    Observed::document(call)
                })
            });
            if parties.client.reply.head_sent {
                // A heartbeat has promised an event stream.
                if !events {
                    return Err(ProxyError::text(
                        Reason::BadReply,
                        "The provider answered a request for a stream without one.",
                    ));
                }
            } else {
                let request = &*parties.request;
                let choice = encode::of_reply(parties, head, bytes, events);
                // How long it becomes is not known beforehand.
                let inward = choice.coding().map_or(head.framing, |_| ResponseFraming::Chunked);
                let delimited = compose::delimited(inward, request, llm.is_some() && events);
                let keep_alive = keeps(parties, delimited);
                let start = composed.len();
                let sent =
                    Sent { delimited, keep_alive, coding: choice.coding(), varies: choice.varies };
                compose::reply_head(composed, request, head, bytes, parties.routed, &sent);
                body.encoder = choice.encoder;
                if llm.is_some() {
                    mask_key(provider, composed.get_mut(start..).unwrap_or_default());
                }
                parties.client.reply.framing = delimited;
                parties.client.reply.head_sent = true;
                // Only a stream that we can read can be continued by another, or told of an error.
                let readable = body.observed.is_some() && events;
                parties.client.reply.stream_head = readable && delimited.is_open_ended();
                parties.client.reply.close |= !keep_alive;
                parties.record.status = head.status;
            }
            self.stage = Stage::Body(body);
            return Ok(());
        };
        self.stage = Stage::Error(body, Box::new(kept));
        Ok(())
    }

    /// Deals with bytes of the body; `composed` holds a head that is to go out before them.
    fn take_body(
        &mut self,
        cx: &mut Context<'_>,
        parties: &mut Parties<'_, '_>,
        bytes: &mut [u8],
        composed: &mut Vec<u8>,
    ) -> Result<(), ProxyError> {
        let (Stage::Body(body) | Stage::Error(body, _)) = &mut self.stage else { return Ok(()) };
        let (data, used, ended) = match &mut body.framing {
            Inward::Length(left) => {
                let taken = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= taken as u64;
                (0..taken, taken, *left == 0)
            }
            Inward::Chunked(decoder) => {
                let decoded = decoder.decode(bytes).map_err(|error| {
                    if !composed.is_empty() {
                        // The head has not gone out: the caller can still be told by a status.
                        parties.client.reply.head_sent = false;
                        parties.client.reply.stream_head = false;
                    }
                    ProxyError::text(Reason::BadReply, format!("The endpoint's reply: {error}"))
                })?;
                (decoded.data, decoded.consumed, decoded.done)
            }
            Inward::UntilClose => (0..bytes.len(), bytes.len(), false),
            Inward::Frames(announced) => {
                let ended = matches!(&self.leg, Leg::Http2(leg) if leg.has_ended());
                if let Some(left) = announced {
                    let fits = left.checked_sub(bytes.len() as u64);
                    *left = fits.filter(|left| !ended || *left == 0).ok_or_else(|| {
                        // A head that has not gone out can still be another one.
                        parties.client.reply.head_sent &= composed.is_empty();
                        parties.client.reply.stream_head &= composed.is_empty();
                        ProxyError::text(
                            Reason::UpstreamCut,
                            "The endpoint's reply is not as long as it said.",
                        )
                    })?;
                }
                (0..bytes.len(), bytes.len(), ended)
            }
        };
        // Bytes behind the end belong to no request of ours.
        let reusable = ended && body.keep_alive && used == bytes.len();
        let data = bytes.get_mut(data).unwrap_or_default();
        if body.first && !data.is_empty() {
            body.first = false;
            parties.record.first_byte();
        }
        if let Stage::Error(_, reply) = &mut self.stage {
            let complete = kept::collect(reply, data, ended, self.endpoint);
            if complete.is_some() {
                self.stage = Stage::Ended { reusable };
            }
            return complete.map_or(Ok(()), Err);
        }
        let Stage::Body(body) = &mut self.stage else { return Ok(()) };
        let masked = match &self.endpoint.provider {
            Some(provider) => mask_pieces(provider, &mut body.withheld, data, ended),
            None => Cow::Borrowed(&*data),
        };
        self.pass_back(cx, parties, &masked, composed, ended)?;
        if ended {
            self.stage = Stage::Ended { reusable };
        }
        Ok(())
    }

    /// Writes a piece of the body to the caller, in the framing that it gets.
    fn pass_back(
        &mut self,
        cx: &mut Context<'_>,
        parties: &mut Parties<'_, '_>,
        data: &[u8],
        composed: &mut Vec<u8>,
        ended: bool,
    ) -> Result<(), ProxyError> {
        let Stage::Body(body) = &mut self.stage else { return Ok(()) };
        let mut held = Vec::new();
        let mut leftover = Vec::new();
        let mut fresh = data.len();
        if let Some(observed) = &mut body.observed {
            let passed = observed.look(data, ended);
            parties.client.reply.inside_frame = observed.is_inside_frame();
            held = passed.held;
            fresh = passed.fresh;
            if ended {
                leftover = observed.leftover();
                parties.record.usage = observed.usage();
                if !observed.ended_properly() {
                    let fresh = data.get(..fresh).unwrap_or_default();
                    return Self::cut(cx, parties, composed, &held, fresh);
                }
            }
        }
        let mut fresh = data.get(..fresh).unwrap_or_default();
        let encoded;
        if let Some(encoder) = &mut body.encoder {
            encoded = encoder
                .encode([&held, fresh, &leftover], ended)
                .map_err(|error| ProxyError::io(Reason::Internal, error))?;
            (held, fresh, leftover) = (Vec::new(), &encoded[..], Vec::new());
        }
        let size = held.len() + fresh.len() + leftover.len();
        let edits = parties.routed.reply_edits();
        let client = &mut *parties.client;
        client.reply.content_sent |= size > 0;
        client.reply.last = ended;
        if ended
            && client.is_framed()
            && let Leg::Http2(leg) = &mut self.leg
            && let Some(trailers) = leg.take_trailers(edits)
        {
            client.set_trailers(*trailers);
        }
        let mut line = [0; 20];
        let mut trailing = Vec::new();
        let (before, after, last): (&[u8], &[u8], &[u8]) = match client.reply.framing {
            Delimited::Chunked => {
                let last = match &mut self.leg {
                    _ if !ended => b"",
                    Leg::Http2(leg) if leg.wants_trailers() => match leg.take_trailers(edits) {
                        Some(trailers) => {
                            put_last_chunk(&trailers, &mut trailing);
                            &trailing
                        }
                        None => LAST_CHUNK,
                    },
                    _ => LAST_CHUNK,
                };
                if size > 0 {
                    (chunk_head(size, &mut line), CHUNK_END, last)
                } else {
                    (b"", b"", last)
                }
            }
            Delimited::Length | Delimited::Close | Delimited::Frames => (b"", b"", b""),
        };
        let pieces = [before, &held, fresh, &leftover, after, last];
        if size <= GATHERED_MAX {
            for piece in pieces {
                composed.extend_from_slice(piece);
            }
            return if composed.is_empty() && !ended {
                Ok(())
            } else {
                client.send(cx, &mut [IoSlice::new(composed)])
            };
        }
        let [before, held, fresh, leftover, after, last] = pieces;
        let slices = [composed, before, held, fresh, leftover, after, last];
        client.send(cx, &mut slices.map(IoSlice::new))
    }

    /// The endpoint ended a stream without the end that its dialect demands: what is complete is
    /// passed on, the rest is an error.
    fn cut(
        cx: &mut Context<'_>,
        parties: &mut Parties<'_, '_>,
        composed: &[u8],
        held: &[u8],
        fresh: &[u8],
    ) -> Result<(), ProxyError> {
        let client = &mut *parties.client;
        let size = held.len() + fresh.len();
        client.reply.content_sent |= size > 0;
        let mut line = [0; 20];
        if client.reply.framing == Delimited::Chunked && size > 0 {
            let before = chunk_head(size, &mut line);
            let slices = [composed, before, held, fresh, CHUNK_END];
            client.send(cx, &mut slices.map(IoSlice::new))?;
        } else {
            client.send(cx, &mut [composed, held, fresh].map(IoSlice::new))?;
        }
        Err(ProxyError::text(
            Reason::UpstreamCut,
            "The provider ended the stream before it was complete.",
        )
        .repeatable(Repeatable::Anywhere))
    }

    /// The endpoint closed its side, or the connection broke.
    pub(super) fn endpoint_closed(
        &mut self,
        cx: &mut Context<'_>,
        parties: &mut Parties<'_, '_>,
        error: Option<std::io::Error>,
    ) -> Result<(), ProxyError> {
        let clean = error.is_none();
        match &mut self.stage {
            Stage::Head => {
                let replayable = parties.request.is_replayable()
                    && (parties.call.llm.is_some() || parties.request.method.is_idempotent());
                let repeatable = match (replayable, self.reused && self.partial.is_empty()) {
                    (true, true) => Repeatable::Stale,
                    (true, false) => Repeatable::Anywhere,
                    (false, _) => Repeatable::No,
                };
                let failed = match error {
                    Some(error) => ProxyError::io(Reason::UpstreamClosed, error),
                    None => ProxyError::new(Reason::UpstreamClosed),
                };
                Err(failed.repeatable(repeatable))
            }
            Stage::Body(body) if clean && matches!(body.framing, Inward::UntilClose) => {
                let withheld = std::mem::take(&mut body.withheld);
                self.pass_back(cx, parties, &withheld, &mut Vec::new(), true)?;
                self.stage = Stage::Ended { reusable: false };
                Ok(())
            }
            Stage::Error(body, reply) => {
                let whole = clean && matches!(body.framing, Inward::UntilClose);
                Err(kept::cut_off(reply, whole, self.endpoint))
            }
            Stage::Body(_) => {
                let cause = error.map_or(Cause::None, |error| Cause::Io(Box::new(error)));
                // Before the first frame another provider can still take over.
                Err(ProxyError { cause, ..ProxyError::new(Reason::UpstreamCut) }
                    .repeatable(Repeatable::Anywhere))
            }
            Stage::Ended { .. } | Stage::Switched => Ok(()),
        }
    }
}

/// Does the caller's connection stay open after this reply?
fn keeps(parties: &Parties<'_, '_>, framing: Delimited) -> bool {
    parties.request.keep_alive
        && framing != Delimited::Close
        && parties.request.is_read()
        && !parties.client.reply.close
        && !parties.shard.live().is_draining()
}
