//! One attempt: the request to the endpoint, its reply to the caller, both as they come.

pub(crate) mod encode;
pub(crate) mod hedge;
mod http2;
mod kept;
mod receive;
mod send;
pub(crate) mod upgrade;

use std::io::IoSlice;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Instant;

use tidegate_dialect::heartbeat;
use tidegate_snapshot::{Endpoint, Reason, Snapshot};
use tidegate_wire::http1::chunked::{CHUNK_END, ChunkedDecoder, chunk_head};
use tidegate_wire::http1::head::Version;

use crate::client::{Client, Delimited};
use crate::error::{ErrorReply, ProxyError, Repeatable};
use crate::observe::Observed;
use crate::record::Record;
use crate::request::{Body, Request};
use crate::route::{Call, Routed};
use crate::shard::Shard;
use crate::upstream::{Leg, Picked};

/// The head of a stream that begins with a heartbeat, before the endpoint has said anything.
const EARLY_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";

/// What stays the same over all attempts of an exchange.
pub(crate) struct Parties<'x, 's> {
    /// The shard.
    pub(crate) shard: &'x Rc<Shard>,
    /// The configuration.
    pub(crate) snapshot: &'s Snapshot,
    /// The caller.
    pub(crate) client: &'x mut Client,
    /// What it asks.
    pub(crate) request: &'x mut Request,
    /// Where that goes.
    pub(crate) routed: &'x Routed<'s>,
    /// Who can answer.
    pub(crate) call: &'x Call<'s>,
    /// What will be known of it.
    pub(crate) record: &'x mut Record<'s>,
    /// When the exchange began (ms).
    pub(crate) began_ms: u64,
    /// After this attempt there is no other.
    pub(crate) last: bool,
    /// The way to an endpoint that has switched to WebSocket.
    pub(crate) switched: &'x mut Option<Box<Leg>>,
}

/// Runs one attempt. Ok: the reply has been handed over whole. After an error, `client.reply`
/// says what the caller has already seen.
pub(crate) async fn run(
    parties: &mut Parties<'_, '_>,
    picked: &Picked<'_>,
) -> Result<(), ProxyError> {
    let endpoint = picked.endpoint;
    let cell = endpoint.live.cells.of(parties.shard.index);
    cell.attempts.add(1);
    let tunnels = parties.call.tunnels;
    let (leg, reused) = Leg::obtain(parties.shard, picked, parties.client, tunnels).await?;
    parties.request.resume(parties.client.now_ms());
    let mut attempt = Attempt::on(parties, picked, leg, reused);
    let outcome = std::future::poll_fn(|cx| attempt.poll(cx, parties)).await;
    attempt.finish(parties);
    outcome
}

/// The state of an attempt.
struct Attempt<'s> {
    endpoint: &'s Endpoint,
    /// When it began, where the balance wants to know how long the reply takes.
    timed: Option<Instant>,
    leg: Leg,
    reused: bool,
    /// The body with the provider's name for the model.
    renamed: Option<Vec<u8>>,
    sending: Sending,
    /// Written to the endpoint in part: what is left.
    unsent: Vec<u8>,
    unsent_from: usize,
    /// Bytes of the announced length that are still to be written; None for a chunked body. A
    /// connection on which something is owed is never used again.
    owed: Option<u64>,
    /// The beginning of a reply head.
    partial: Vec<u8>,
    stage: Stage,
    /// When the request had been sent (ms).
    sent_ms: u64,
    /// When the endpoint last said something (ms).
    read_ms: u64,
}

/// How far the request has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    /// Nothing is written yet.
    Head,
    /// Head written; this much of a whole body is.
    Whole(usize),
    /// Head written; the body is passed on as it comes.
    Passing,
    /// Nothing more to compose; the socket, or TLS, may not have taken all of it yet.
    Flushing,
    /// All written.
    Done,
    /// The endpoint does not take more; it may still have answered.
    Broken,
}

/// How far the reply has come.
enum Stage {
    /// Nothing, or part of the head.
    Head,
    /// The body is passed on.
    Body(ReplyBody),
    /// An error reply is read whole, so that another endpoint can be asked.
    Error(ReplyBody, Box<ErrorReply>),
    /// The endpoint has switched to WebSocket, and the caller has been told.
    Switched,
    /// It has ended.
    Ended { reusable: bool },
}

struct ReplyBody {
    framing: Inward,
    /// The endpoint keeps the connection open.
    keep_alive: bool,
    /// Nothing of the body has come yet.
    first: bool,
    observed: Option<Box<Observed>>,
    /// Compresses it.
    encoder: Option<Box<encode::Encoder>>,
    /// What may be the beginning of the provider's key, until more has come.
    withheld: Vec<u8>,
}

enum Inward {
    Length(u64),
    Chunked(ChunkedDecoder),
    UntilClose,
    /// A stream of HTTP/2 says where it ends; it must agree with the length that was announced.
    Frames(Option<u64>),
}

impl<'s> Attempt<'s> {
    /// An attempt on this connection; nothing has been sent yet.
    fn on(parties: &Parties<'_, '_>, picked: &Picked<'s>, leg: Leg, reused: bool) -> Self {
        let model = picked.member.model.as_deref();
        let now = parties.client.now_ms();
        Self {
            endpoint: picked.endpoint,
            timed: picked.timed,
            leg,
            reused,
            renamed: parties.call.renamed_body(parties.request.whole_body(), model),
            sending: Sending::Head,
            unsent: Vec::new(),
            unsent_from: 0,
            owed: None,
            partial: Vec::new(),
            stage: Stage::Head,
            sent_ms: now,
            read_ms: now,
        }
    }
}

impl Attempt<'_> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        parties: &mut Parties<'_, '_>,
    ) -> Poll<Result<(), ProxyError>> {
        if !matches!(self.sending, Sending::Done | Sending::Broken)
            && let Poll::Ready(sent) = self.poll_send(cx, parties)
        {
            sent?;
        }
        self.let_go(parties);
        loop {
            if let Poll::Ready(flushed) = parties.client.poll_flush(cx) {
                flushed?;
            }
            if matches!(self.stage, Stage::Switched) {
                return Poll::Ready(Ok(()));
            }
            if matches!(self.stage, Stage::Ended { .. }) && !parties.client.is_blocked() {
                return Poll::Ready(Ok(()));
            }
            // What the caller has not taken is not read from the endpoint: back-pressure.
            if !parties.client.is_blocked()
                && let Poll::Ready(progress) = self.poll_reply(cx, parties)
            {
                progress?;
                continue;
            }
            return self.wait(cx, parties);
        }
    }

    /// Nothing can be done now: is the caller still there, has a deadline passed?
    fn wait(
        &mut self,
        cx: &mut Context<'_>,
        parties: &mut Parties<'_, '_>,
    ) -> Poll<Result<(), ProxyError>> {
        if (parties.request.is_read() || parties.client.is_framed())
            && let Poll::Ready(gone) = parties.client.poll_gone(cx)
        {
            return Poll::Ready(Err(gone));
        }
        let (deadline, reason) = self.deadline(parties);
        if parties.client.timer.passed(deadline) {
            return Poll::Ready(Err(self.late(parties, reason)));
        }
        let heartbeat_at = self.heartbeat_at(parties);
        if parties.client.timer.passed(heartbeat_at) {
            Self::beat(cx, parties)?;
            return self.wait(cx, parties);
        }
        parties.client.timer.arm(deadline.min(heartbeat_at), cx.waker());
        Poll::Pending
    }

    fn late(&self, parties: &Parties<'_, '_>, reason: Reason) -> ProxyError {
        let llm = parties.call.llm.is_some();
        let again =
            parties.request.is_replayable() && (llm || parties.request.method.is_idempotent());
        let repeatable = match reason {
            Reason::FirstTokenTimeout => Repeatable::Elsewhere,
            Reason::EndpointDrained if again => Repeatable::Elsewhere,
            // What was kept back is not worth waiting for.
            Reason::BetweenTokensTimeout if matches!(&self.stage, Stage::Error(_, reply) if reply.plain) => {
                Repeatable::Elsewhere
            }
            // Each attempt has its own time: an endpoint that has gone silent fails no GET.
            Reason::RequestTimeout if again && !llm && matches!(self.stage, Stage::Head) => {
                Repeatable::Elsewhere
            }
            _ => Repeatable::No,
        };
        ProxyError::new(reason).repeatable(repeatable)
    }

    /// The next deadline and what it means that it has passed.
    fn deadline(&self, parties: &Parties<'_, '_>) -> (u64, Reason) {
        let own;
        let timeouts = match &parties.routed.route.timeouts {
            None => &self.endpoint.timeouts,
            Some(timeouts) => {
                own = timeouts.over(&self.endpoint.timeouts);
                &own
            }
        };
        let client = &parties.client;
        let mut next = (u64::MAX, Reason::Internal);
        let mut consider = |at: u64, reason| {
            if at < next.0 {
                next = (at, reason);
            }
        };
        if client.is_blocked() {
            consider(client.reply.progress_ms + timeouts.write_stall, Reason::WriteStall);
        }
        if let Body::Incoming(incoming) = &parties.request.body
            && (!incoming.is_done() || self.sending == Sending::Passing)
            && self.may_read_on()
        {
            consider(incoming.progress_ms + timeouts.body, Reason::BodyTimeout);
        }
        let drained = self.endpoint.live.close_at_ms.load(Relaxed);
        if drained != 0 {
            consider(drained, Reason::EndpointDrained);
        }
        let llm = parties.call.llm.is_some();
        match &self.stage {
            Stage::Head if parties.call.streams && llm => {
                consider(self.sent_ms + timeouts.first_token, Reason::FirstTokenTimeout);
                consider(parties.began_ms + timeouts.stream, Reason::StreamTimeout);
            }
            Stage::Head => {
                // While a body is passed on, the endpoint's time begins with its last byte.
                let since = match &parties.request.body {
                    Body::Incoming(incoming) => incoming.read_ms.max(self.sent_ms),
                    _ => self.sent_ms,
                };
                consider(since + timeouts.request, Reason::RequestTimeout);
                if llm && parties.request.is_replayable() {
                    consider(parties.began_ms + timeouts.request, Reason::RequestTimeout);
                }
            }
            Stage::Body(body) | Stage::Error(body, _) => {
                let (quiet, reason) = if body.first && parties.call.streams && llm {
                    (timeouts.first_token, Reason::FirstTokenTimeout)
                } else {
                    (timeouts.between_tokens, Reason::BetweenTokensTimeout)
                };
                // While the request still moves, the endpoint may be silent; from then on its time
                // runs.
                let moved = match &parties.request.body {
                    Body::Incoming(incoming) => incoming.read_ms.max(self.sent_ms),
                    _ => self.sent_ms,
                };
                if !client.is_blocked() {
                    consider(self.read_ms.max(moved) + quiet, reason);
                }
                // A plain download may take as long as it moves.
                if llm && parties.call.streams {
                    consider(parties.began_ms + timeouts.stream, Reason::StreamTimeout);
                } else if llm {
                    consider(parties.began_ms + timeouts.request, Reason::RequestTimeout);
                }
            }
            Stage::Ended { .. } | Stage::Switched => {}
        }
        next
    }

    /// May the caller be expected to send more of its body?
    fn may_read_on(&self) -> bool {
        match &self.leg {
            Leg::Http1(_) => self.unsent.is_empty(),
            // Once the reply has begun, both sides may take turns (gRPC): then the silence of both
            // is judged, not that of one.
            Leg::Http2(leg) => !leg.is_sending() && matches!(self.stage, Stage::Head),
        }
    }

    /// When the caller's stream has been silent for long enough to be told that we live.
    fn heartbeat_at(&self, parties: &Parties<'_, '_>) -> u64 {
        let threshold = self.endpoint.timeouts.heartbeat;
        let at_boundary = match &self.stage {
            Stage::Head | Stage::Error(..) => true,
            Stage::Body(body) => {
                body.observed.as_ref().is_some_and(|observed| observed.watch().is_some())
                    && !parties.client.reply.inside_frame
            }
            Stage::Ended { .. } | Stage::Switched => false,
        };
        let wanted = threshold > 0
            && at_boundary
            && parties.call.streams
            && parties.call.llm.is_some()
            && parties.request.version == Version::Http11
            && !parties.client.is_blocked();
        if wanted { parties.client.reply.sent_ms + threshold } else { u64::MAX }
    }

    fn beat(cx: &mut Context<'_>, parties: &mut Parties<'_, '_>) -> Result<(), ProxyError> {
        let Some(dialect) = parties.call.dialect() else { return Ok(()) };
        let client = &mut *parties.client;
        let beat = heartbeat(dialect);
        let mut size = [0; 20];
        let (framing, size, end): (_, &[u8], &[u8]) = if client.is_framed() {
            (Delimited::Frames, b"", b"")
        } else {
            (Delimited::Chunked, chunk_head(beat.len(), &mut size), CHUNK_END)
        };
        let early: &[u8] = if client.reply.head_sent { b"" } else { EARLY_HEAD };
        if !client.reply.head_sent {
            client.reply.head_sent = true;
            client.reply.stream_head = true;
            client.reply.framing = framing;
            parties.record.status = 200;
        }
        parties.shard.cell().heartbeats.add(1);
        client.send(cx, &mut [early, size, beat, end].map(IoSlice::new))
    }

    /// Lets go of what was kept to send the request again, once the caller has seen content and the
    /// request has gone out whole.
    fn let_go(&mut self, parties: &mut Parties<'_, '_>) {
        let sent = matches!(self.sending, Sending::Done | Sending::Broken);
        if sent && parties.client.reply.content_sent {
            parties.request.release();
            self.renamed = None;
        }
    }

    /// Gives the connection back to the pool if it can carry another request, or on as a tunnel.
    fn finish(self, parties: &mut Parties<'_, '_>) {
        let sent = self.sending == Sending::Done && self.owed.is_none_or(|owed| owed == 0);
        match self.stage {
            Stage::Ended { reusable: true } if sent && self.endpoint.proxy_header.is_none() => {
                let now = parties.client.now_ms();
                if let Leg::Http1(stream) = self.leg {
                    parties.shard.pool.put(self.endpoint.pool, stream, now);
                }
            }
            Stage::Switched => *parties.switched = Some(Box::new(self.leg)),
            Stage::Body(body) => {
                // Whoever broke off: what was used is used.
                if let Some(observed) = &body.observed {
                    parties.record.usage = observed.usage();
                }
                parties.client.reply.broke_off = body.observed;
            }
            _ => {}
        }
    }
}
