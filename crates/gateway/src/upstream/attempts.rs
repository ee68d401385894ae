//! The attempts of one exchange: whether another one may be made, and when.

use std::task::Poll;
use std::time::Duration;

use tidegate_policy::retry::backoff;
use tidegate_snapshot::{Group, Reason, Snapshot};

use super::{Picked, Want};
use crate::client::Client;
use crate::error::{ProxyError, Repeatable};
use crate::shard::Shard;

/// Attempts beyond the policy's on connections that turned out to be closed already.
const STALE_MAX: u32 = 3;

/// The attempts of one exchange.
#[derive(Debug)]
pub(crate) struct Attempts {
    /// What the exchange asks of balancing.
    pub(super) want: Want,
    count: u32,
    stale: u32,
    last: Option<ProxyError>,
}

impl Attempts {
    /// None yet.
    pub(crate) fn new(want: Want) -> Self {
        Self { want, count: 0, stale: 0, last: None }
    }

    /// Notes a failed attempt. Ok when it may be made again; the error to answer with otherwise.
    /// `committed`: the caller has seen a reply, or the body cannot be sent a second time.
    pub(crate) fn may_repeat(
        &mut self,
        shard: &Shard,
        snapshot: &Snapshot,
        group: &Group,
        index: usize,
        committed: bool,
        error: ProxyError,
    ) -> Result<(), ProxyError> {
        let set = 1u64 << (index as u64 & 63);
        if committed {
            return Err(error);
        }
        match error.repeatable {
            Repeatable::No => return Err(error),
            Repeatable::Stale if self.stale < STALE_MAX => {
                self.stale += 1;
                return Ok(());
            }
            Repeatable::Elsewhere => self.want.excluded |= set,
            // So many dead connections are a failing endpoint: from here on they count.
            Repeatable::Stale | Repeatable::Anywhere => {}
        }
        self.want.tried |= set;
        self.count += 1;
        if self.count >= snapshot.retry.attempts {
            return Err(error);
        }
        let now = shard.timers.now_ms();
        let limits = &snapshot.retry_budget;
        if !group.live.budget(shard.index, limits, now, |budget| budget.withdraw(limits, now)) {
            shard.cell().retries_denied.add(1);
            return Err(error);
        }
        self.last = Some(error);
        Ok(())
    }

    /// Waits where the next attempt asks an endpoint again that has failed before.
    pub(crate) async fn pause(
        &mut self,
        shard: &Shard,
        snapshot: &Snapshot,
        client: &mut Client,
        picked: &Picked<'_>,
    ) -> Result<(), ProxyError> {
        let Some(last) = &self.last else { return Ok(()) };
        shard.cell().retries.add(1);
        if self.want.tried & (1 << (picked.index() & 63)) == 0 {
            return Ok(());
        }
        let wait = backoff(&snapshot.retry, self.count, last.retry_after(), shard.random());
        let Some(wait) = wait else {
            return Err(self.last.take().unwrap_or_else(|| ProxyError::new(Reason::NoEndpoint)));
        };
        sleep(client, wait).await
    }

    /// Has nothing been tried yet?
    pub(crate) fn is_first(&self) -> bool {
        self.count == 0 && self.stale == 0
    }

    /// Is the attempt that comes now the last one?
    pub(crate) fn is_last(&self, snapshot: &Snapshot) -> bool {
        self.count + 1 >= snapshot.retry.attempts
    }

    /// Asks this member only when there is nobody else.
    pub(crate) fn avoid(&mut self, index: usize) {
        self.want.tried |= 1 << (index & 63);
    }

    /// What to answer with when nothing more can be picked.
    pub(super) fn give_up(&mut self, error: ProxyError) -> ProxyError {
        self.last.take().unwrap_or(error)
    }
}

async fn sleep(client: &mut Client, wait: Duration) -> Result<(), ProxyError> {
    let deadline = client.now_ms() + wait.as_millis() as u64;
    std::future::poll_fn(|cx| {
        if let Poll::Ready(gone) = client.poll_gone(cx) {
            return Poll::Ready(Err(gone));
        }
        if client.timer.passed(deadline) {
            return Poll::Ready(Ok(()));
        }
        client.timer.arm(deadline, cx.waker());
        Poll::Pending
    })
    .await
}
