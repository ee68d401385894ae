//! The request's way to the endpoint: head, and a body that is whole or passed on as it comes.

use std::io::IoSlice;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tidegate_wire::http1::chunked::{CHUNK_END, LAST_CHUNK, chunk_head};

use super::{Attempt, Parties, Sending};
use crate::compose::{self, Follows};
use crate::error::ProxyError;
use crate::request::{Body, Request};
use crate::upstream::Leg;

/// Up to here a body is copied behind its head: one plain send costs less than a vectored write.
const GATHERED_MAX: usize = 4096;

impl Attempt<'_> {
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        parties: &mut Parties<'_, '_>,
    ) -> Poll<Result<(), ProxyError>> {
        if let Leg::Http2(_) = self.leg {
            return self.poll_send_http2(cx, parties);
        }
        loop {
            while self.unsent_from < self.unsent.len() {
                let rest = self.unsent.get(self.unsent_from..).unwrap_or_default();
                match ready!(self.leg.poll_write(cx, &[IoSlice::new(rest)])) {
                    Ok(n) if n > 0 => self.unsent_from += n,
                    _ => return self.broken(),
                }
            }
            if self.unsent_from > 0 {
                self.unsent = Vec::new();
                self.unsent_from = 0;
                // It was the endpoint that took nothing: the caller's time begins now.
                parties.request.resume(parties.client.now_ms());
            }
            match self.sending {
                Sending::Head => {
                    if self.send_head(cx, parties).is_err() {
                        return self.broken();
                    }
                }
                Sending::Whole(mut sent) => {
                    let body = whole_body(self.renamed.as_deref(), parties.request);
                    while let Some(rest) = body.get(sent..).filter(|rest| !rest.is_empty()) {
                        match self.leg.poll_write(cx, &[IoSlice::new(rest)]) {
                            Poll::Ready(Ok(n)) if n > 0 => {
                                sent += n;
                                self.sent_ms = parties.client.now_ms();
                            }
                            Poll::Ready(_) => return self.broken(),
                            Poll::Pending => {
                                self.sending = Sending::Whole(sent);
                                return Poll::Pending;
                            }
                        }
                    }
                    self.sending = Sending::Flushing;
                }
                Sending::Passing => match self.pass_on(cx, parties) {
                    Poll::Ready(last) => {
                        if last? {
                            self.sending = Sending::Flushing;
                        }
                    }
                    Poll::Pending => {
                        // What TLS still holds must not wait for the next piece.
                        return match self.leg.poll_flush(cx) {
                            Poll::Ready(Err(_)) => self.broken(),
                            _ => Poll::Pending,
                        };
                    }
                },
                Sending::Flushing => {
                    if ready!(self.leg.poll_flush(cx)).is_err() {
                        return self.broken();
                    }
                    self.sending = Sending::Done;
                    self.sent_ms = parties.client.now_ms();
                }
                Sending::Done | Sending::Broken => return Poll::Ready(Ok(())),
            }
        }
    }

    /// The endpoint takes no more. It may have said why: the reply is still read.
    fn broken(&mut self) -> Poll<Result<(), ProxyError>> {
        self.sending = Sending::Broken;
        Poll::Ready(Ok(()))
    }

    /// Writes the head, and with it a body that is whole.
    fn send_head(
        &mut self,
        cx: &mut Context<'_>,
        parties: &mut Parties<'_, '_>,
    ) -> std::io::Result<()> {
        let shard = Rc::clone(parties.shard);
        let mut scratch = shard.scratch.borrow_mut();
        let head = &mut scratch.head;
        head.clear();
        let request = &*parties.request;
        let body = whole_body(self.renamed.as_deref(), request);
        let (length, next) = match &request.body {
            Body::Incoming(incoming) => (incoming.length(), Sending::Passing),
            _ => (Some(body.len() as u64), Sending::Whole(0)),
        };
        let (peer, secure) = (parties.client.peer, parties.client.secure);
        let follows = if parties.call.tunnels { Follows::Tunnel } else { Follows::Body(length) };
        compose::request_head(head, request, parties.routed, self.endpoint, peer, secure, follows);
        let head_len = head.len();
        let written = if body.len() <= GATHERED_MAX {
            head.extend_from_slice(body);
            self.leg.poll_write(cx, &[IoSlice::new(head)])
        } else {
            self.leg.poll_write(cx, &[IoSlice::new(head), IoSlice::new(body)])
        };
        let written = match written {
            Poll::Ready(Ok(n)) => n,
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => 0,
        };
        if let Some(rest) = head.get(written..head_len) {
            self.unsent.extend_from_slice(rest);
        }
        self.owed = length.filter(|_| next == Sending::Passing);
        self.sending = match next {
            Sending::Whole(_) => Sending::Whole(written.saturating_sub(head_len)),
            passing => passing,
        };
        Ok(())
    }

    /// Passes on the next piece of a body; true when it was the last.
    fn pass_on(
        &mut self,
        cx: &mut Context<'_>,
        parties: &mut Parties<'_, '_>,
    ) -> Poll<Result<bool, ProxyError>> {
        let chunked = matches!(&parties.request.body, Body::Incoming(b) if b.length().is_none());
        if !chunked && parties.request.is_read() {
            // HTTP/1.1 has no place for what else may come.
            return Poll::Ready(Ok(true));
        }
        let shard = Rc::clone(parties.shard);
        let mut scratch = shard.scratch.borrow_mut();
        let piece = ready!(parties.request.poll_body(cx, parties.client, &mut scratch.read))?;
        let bytes = scratch.read.get(piece).unwrap_or_default();
        let mut size = [0; 20];
        let (before, after): (&[u8], &[u8]) = match (chunked, bytes.is_empty()) {
            (true, false) => (chunk_head(bytes.len(), &mut size), CHUNK_END),
            (true, true) => (LAST_CHUNK, b""),
            (false, _) => (b"", b""),
        };
        let slices = [before, bytes, after];
        let mut written = match self
            .leg
            .poll_write(cx, &[IoSlice::new(before), IoSlice::new(bytes), IoSlice::new(after)])
        {
            Poll::Ready(Ok(n)) => n,
            Poll::Ready(Err(_)) => {
                self.sending = Sending::Broken;
                return Poll::Ready(Ok(false));
            }
            Poll::Pending => 0,
        };
        self.sent_ms = parties.client.now_ms();
        if let Some(owed) = &mut self.owed {
            *owed = owed.saturating_sub(bytes.len() as u64);
        }
        for slice in slices {
            let skipped = written.min(slice.len());
            written -= skipped;
            self.unsent.extend_from_slice(slice.get(skipped..).unwrap_or_default());
        }
        Poll::Ready(Ok(bytes.is_empty()))
    }
}

pub(super) fn whole_body<'b>(renamed: Option<&'b [u8]>, request: &'b Request) -> &'b [u8] {
    renamed.unwrap_or_else(|| request.whole_body())
}
