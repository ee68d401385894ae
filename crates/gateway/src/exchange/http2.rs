//! An attempt on a stream of HTTP/2: the same request and the same reply, in frames.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tidegate_snapshot::Reason;
use tidegate_wire::http1::head::FieldId;

use super::send::whole_body;
use super::{Attempt, Parties, Sending, Stage};
use crate::compose::{self, Follows};
use crate::error::{ProxyError, Repeatable};
use crate::request::Body;
use crate::upstream::Leg;
use crate::upstream::http2::{Reading, Refusal};

/// Bytes of a body taken up at once.
const PIECE: usize = 64 * 1024;

impl Attempt<'_> {
    pub(super) fn poll_send_http2(
        &mut self,
        cx: &mut Context<'_>,
        parties: &mut Parties<'_, '_>,
    ) -> Poll<Result<(), ProxyError>> {
        if self.sending == Sending::Head {
            self.send_head_http2(parties)?;
        }
        // The poll before ended because the endpoint had no room.
        let mut held_up = matches!(&self.leg, Leg::Http2(leg) if leg.is_sending());
        loop {
            let Leg::Http2(leg) = &mut self.leg else { return Poll::Ready(Ok(())) };
            if !ready!(leg.poll_sent(cx)) {
                // It may have said why: the reply is still read.
                self.sending = Sending::Broken;
                return Poll::Ready(Ok(()));
            }
            // Only what moves counts: to look again is no progress, or nobody's silence would end.
            let now_ms = parties.client.now_ms();
            if std::mem::take(&mut held_up) {
                // It was the endpoint that took nothing: the caller's time begins now.
                parties.request.resume(now_ms);
                self.sent_ms = now_ms;
            }
            match self.sending {
                Sending::Whole(sent) => {
                    let body = whole_body(self.renamed.as_deref(), parties.request);
                    let rest = body.get(sent..).unwrap_or_default();
                    let piece = rest.get(..rest.len().min(PIECE)).unwrap_or_default();
                    leg.put(piece, piece.len() == rest.len());
                    self.sent_ms = now_ms;
                    self.sending = if piece.len() == rest.len() {
                        Sending::Flushing
                    } else {
                        Sending::Whole(sent + piece.len())
                    };
                }
                Sending::Passing => {
                    let shard = Rc::clone(parties.shard);
                    let mut scratch = shard.scratch.borrow_mut();
                    let polled = parties.request.poll_body(cx, parties.client, &mut scratch.read);
                    let piece = ready!(polled)?;
                    let bytes = scratch.read.get(piece).unwrap_or_default();
                    let last = bytes.is_empty() || parties.request.has_ended();
                    leg.put(bytes, last);
                    self.sent_ms = now_ms;
                    if last {
                        let edits = parties.routed.changes().map(|changes| &changes.request);
                        leg.put_trailers(parties.client.trailers(), edits);
                        self.sending = Sending::Flushing;
                    }
                }
                Sending::Flushing => {
                    self.sending = Sending::Done;
                    self.sent_ms = now_ms;
                }
                Sending::Head | Sending::Done | Sending::Broken => return Poll::Ready(Ok(())),
            }
        }
    }

    fn send_head_http2(&mut self, parties: &mut Parties<'_, '_>) -> Result<(), ProxyError> {
        let Leg::Http2(leg) = &mut self.leg else { return Ok(()) };
        let mut scratch = parties.shard.scratch.borrow_mut();
        let head = &mut scratch.head;
        head.clear();
        let request = &*parties.request;
        let body = whole_body(self.renamed.as_deref(), request);
        let tunnels = parties.call.tunnels;
        if tunnels {
            super::upgrade::answer(request)?;
        }
        let (length, next) = match &request.body {
            Body::Incoming(incoming) => (incoming.length(), Sending::Passing),
            _ if body.is_empty() => (Some(0), Sending::Done),
            _ => (Some(body.len() as u64), Sending::Whole(0)),
        };
        let (peer, secure) = (parties.client.peer, parties.client.secure);
        compose::request_head(
            head,
            request,
            parties.routed,
            self.endpoint,
            peer,
            secure,
            if tunnels { Follows::Tunnel } else { Follows::Body(length) },
        );
        // Callers of HTTP/2 get them in any case.
        let trailers = request.is_framed()
            || request
                .field(FieldId::Te)
                .is_some_and(|te| memchr::memmem::find(te, b"trailers").is_some());
        let tls = self.endpoint.tls.is_some();
        let sent = if tunnels {
            leg.connect(head, tls)?
        } else {
            leg.send_head(head, tls, trailers, next == Sending::Done)?
        };
        if !sent {
            return Err(ProxyError::new(Reason::UpstreamClosed).repeatable(Repeatable::Stale));
        }
        self.sending = next;
        self.sent_ms = parties.client.now_ms();
        Ok(())
    }

    /// Reads what has come and passes it on. Ready when something happened.
    pub(super) fn poll_reply_http2(
        &mut self,
        cx: &mut Context<'_>,
        parties: &mut Parties<'_, '_>,
    ) -> Poll<Result<(), ProxyError>> {
        let Leg::Http2(leg) = &mut self.leg else { return Poll::Pending };
        if self.sending == Sending::Head {
            // Nobody was asked anything yet.
            return Poll::Pending;
        }
        let shard = Rc::clone(parties.shard);
        let mut scratch = shard.scratch.borrow_mut();
        let mut filled = 0;
        if matches!(self.stage, Stage::Head) {
            scratch.head.clear();
            if let Err((refusal, error)) = ready!(leg.poll_head(cx, &mut scratch.head)) {
                return Poll::Ready(self.stream_failed(cx, parties, refusal, error));
            }
            filled = scratch.head.len();
            let scratch = &mut *scratch;
            let Some(to) = scratch.read.get_mut(..filled) else {
                return Poll::Ready(Err(ProxyError::text(
                    Reason::BadReply,
                    "The head of the endpoint's reply is too large.",
                )));
            };
            to.copy_from_slice(&scratch.head);
        }
        let space = scratch.read.get_mut(filled..).unwrap_or_default();
        match leg.poll_data(cx, space) {
            Poll::Ready(Reading::Filled(more) | Reading::Ended(more)) => filled += more,
            Poll::Ready(Reading::Failed(refusal, error)) => {
                drop(scratch);
                return Poll::Ready(self.stream_failed(cx, parties, refusal, error));
            }
            Poll::Pending if filled == 0 => return Poll::Pending,
            Poll::Pending => {}
        }
        self.read_ms = parties.client.now_ms();
        Poll::Ready(self.take_in(cx, parties, &mut scratch, filled))
    }

    fn stream_failed(
        &mut self,
        cx: &mut Context<'_>,
        parties: &mut Parties<'_, '_>,
        refusal: Refusal,
        error: std::io::Error,
    ) -> Result<(), ProxyError> {
        match (refusal, &self.stage) {
            // Safe to send again, whatever the method.
            (Refusal::Unprocessed, Stage::Head) => {
                Err(ProxyError::io(Reason::UpstreamClosed, error).repeatable(Repeatable::Stale))
            }
            (Refusal::Http11Required, Stage::Head) => Err(ProxyError::text(
                Reason::BadReply,
                "The endpoint demands HTTP/1.1 for this request (upstreams.*.protocol).",
            )),
            (Refusal::Stream, Stage::Head) => {
                // The connection lives: this was said about the request.
                self.reused = false;
                self.endpoint_closed(cx, parties, Some(error))
            }
            _ => self.endpoint_closed(cx, parties, Some(error)),
        }
    }
}
