//! Two attempts side by side: where the first one is slow, a second endpoint is asked too. Whose reply
//! begins first goes to the caller; the other attempt is cancelled.

use std::pin::Pin;
use std::task::{Context, Poll};

use tidegate_snapshot::{Group, Protocol, Reason, Side};

use super::{Attempt, Parties, Stage};
use crate::error::{ProxyError, Repeatable};
use crate::request::Request;
use crate::route::Call;
use crate::stream::Stream;
use crate::upstream::connect::{Alpn, open, proxy_header};
use crate::upstream::{self, Attempts, Leg, Newer, Passed, Picked};

/// May this request be asked twice? It asks for no tunnel, has no body and does the same when it is done twice, and the
/// endpoints speak HTTP/1.1.
pub(crate) fn is_possible(request: &Request, call: &Call<'_>) -> bool {
    !call.tunnels
        && request.method.is_idempotent()
        && request.has_no_body()
        && call.group.members.iter().all(|member| member.endpoint.protocol == Protocol::Http1)
}

type Opening<'p> = Pin<Box<dyn Future<Output = Result<Stream, ProxyError>> + 'p>>;

/// One of the two, from the opening of its connection on.
struct Lane<'p> {
    picked: Picked<'p>,
    opening: Option<Opening<'p>>,
    /// When the connection must be open (ms).
    open_by: u64,
    attempt: Option<Attempt<'p>>,
}

impl<'p> Lane<'p> {
    fn begin(parties: &Parties<'_, '_>, picked: Picked<'p>) -> Self {
        let (endpoint, shard) = (picked.endpoint, parties.shard);
        let cell = endpoint.live.cells.of(shard.index);
        cell.attempts.add(1);
        let open_by = parties.client.now_ms() + endpoint.timeouts.connect;
        // A connection with a PROXY header is one caller's.
        if endpoint.proxy_header.is_none()
            && let Some(stream) = shard.pool.take(endpoint.pool)
        {
            cell.reused.add(1);
            let attempt = Some(Attempt::on(parties, &picked, Leg::Http1(stream), true));
            return Self { picked, opening: None, open_by, attempt };
        }
        cell.connects.add(1);
        let header = proxy_header(endpoint, parties.client);
        let opening = Box::pin(open(endpoint, shard.random(), header, Alpn::Configured));
        Self { picked, opening: Some(opening), open_by, attempt: None }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        parties: &mut Parties<'_, '_>,
    ) -> Poll<Result<(), ProxyError>> {
        if let Some(opening) = &mut self.opening {
            match opening.as_mut().poll(cx) {
                Poll::Ready(Ok(stream)) => {
                    self.attempt =
                        Some(Attempt::on(parties, &self.picked, Leg::Http1(stream), false));
                    self.opening = None;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    if let Poll::Ready(gone) = parties.client.poll_gone(cx) {
                        return Poll::Ready(Err(gone));
                    }
                    if parties.client.timer.passed(self.open_by) {
                        let late = ProxyError::new(Reason::ConnectTimeout);
                        return Poll::Ready(Err(late.repeatable(Repeatable::Anywhere)));
                    }
                    return Poll::Pending;
                }
            }
        }
        match &mut self.attempt {
            Some(attempt) => attempt.poll(cx, parties),
            None => Poll::Pending,
        }
    }

    /// Has its reply begun? One that is kept back may still be overtaken.
    fn has_answered(&self) -> bool {
        let silent = |stage: &Stage| matches!(stage, Stage::Head | Stage::Error(..));
        self.attempt.as_ref().is_some_and(|attempt| !silent(&attempt.stage))
    }

    /// When it must be looked at again (ms).
    fn due(&self, parties: &Parties<'_, '_>) -> u64 {
        self.attempt.as_ref().map_or(self.open_by, |attempt| attempt.deadline(parties).0)
    }
}

/// Runs one attempt, and a second one at another endpoint when the first has not answered within
/// `after_ms`. Gives the endpoint that the outcome belongs to.
pub(crate) async fn run<'p>(
    parties: &mut Parties<'_, '_>,
    picked: Picked<'p>,
    passed: &mut Passed<'_>,
    attempts: &mut Attempts,
    (group, newer): (&'p Group, &'p Newer),
    after_ms: u64,
) -> (Picked<'p>, Result<(), ProxyError>) {
    let hedge_at = parties.client.now_ms() + after_ms;
    let index = picked.index();
    let mut hedged = false;
    let mut lanes = [Some(Lane::begin(parties, picked)), None];
    let (lane, outcome) = std::future::poll_fn(|cx| {
        loop {
            for own in 0..2 {
                let other = 1 - own;
                let Some(mut lane) = lanes.get_mut(own).and_then(Option::take) else { continue };
                match lane.poll(cx, parties) {
                    Poll::Pending => {
                        if lane.has_answered()
                            && let Some(slower) = lanes.get_mut(other)
                        {
                            // Dropped: its connection closes, its endpoint is told nothing.
                            *slower = None;
                        }
                        if let Some(place) = lanes.get_mut(own) {
                            *place = Some(lane);
                        }
                    }
                    Poll::Ready(Err(error))
                        if (error.side == Side::Upstream || error.is_shortage())
                            && !parties.client.reply.is_committed()
                            && lanes.get(other).is_some_and(Option::is_some) =>
                    {
                        // The other one goes on alone.
                        lane.picked.note(parties.shard, passed, Some(&error), 0);
                    }
                    Poll::Ready(outcome) => {
                        if hedged && own == 1 && outcome.is_ok() {
                            parties.shard.cell().hedges_won.add(1);
                        }
                        return Poll::Ready((lane, outcome));
                    }
                }
            }
            let answered = lanes.iter().flatten().any(Lane::has_answered);
            if !hedged && !answered && parties.client.timer.passed(hedge_at) {
                hedged = true;
                attempts.avoid(index);
                if let Some(second) = second(parties, attempts, (group, newer)) {
                    lanes = [lanes[0].take(), Some(Lane::begin(parties, second))];
                    continue;
                }
            }
            let due = lanes.iter().flatten().map(|lane| lane.due(parties)).min();
            let due = due.unwrap_or(u64::MAX).min(if hedged { u64::MAX } else { hedge_at });
            parties.client.timer.arm(due, cx.waker());
            return Poll::Pending;
        }
    })
    .await;
    if let Some(attempt) = lane.attempt {
        attempt.finish(parties);
    }
    (lane.picked, outcome)
}

/// Another endpoint, if there is one at once and the retry budget allows.
fn second<'p>(
    parties: &Parties<'_, '_>,
    attempts: &Attempts,
    (group, newer): (&'p Group, &'p Newer),
) -> Option<Picked<'p>> {
    let shard = parties.shard;
    let picked = upstream::beside(shard, group, attempts, newer)?;
    let limits = &parties.snapshot.retry_budget;
    let now = shard.timers.now_ms();
    if !group.live.budget(shard.index, limits, now, |budget| budget.withdraw(limits, now)) {
        shard.cell().retries_denied.add(1);
        return None;
    }
    shard.cell().hedges.add(1);
    Some(picked)
}
