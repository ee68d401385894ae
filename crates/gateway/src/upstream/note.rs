//! How an attempt went: what its endpoint's health, its breaker and the log learn of it.

use std::sync::atomic::Ordering::Relaxed;

use tidegate_policy::health::{bounded_pause, may_eject};
use tidegate_snapshot::{Group, Member, Side};

use super::{Passed, Picked};
use crate::error::ProxyError;
use crate::shard::Shard;

/// A plain reply with such a status counts as an error of the endpoint, although it is passed on.
/// 501 and 505 say something about the request.
pub(crate) fn is_error_status(status: u16) -> bool {
    status >= 500 && !matches!(status, 501 | 505)
}

/// What an outcome says about the endpoint.
enum Verdict {
    Well,
    Wrong,
    /// Nothing: the caller went away, or a pooled connection was closed.
    Nothing,
}

impl Picked<'_> {
    /// Notes how the attempt went; `status` is that of a reply that was passed on, or 0.
    pub(crate) fn note(
        &self,
        shard: &Shard,
        passed: &mut Passed<'_>,
        error: Option<&ProxyError>,
        status: u16,
    ) {
        let live = &self.endpoint.live;
        let verdict = match error {
            None if self.endpoint.provider.is_none() && is_error_status(status) => Verdict::Wrong,
            None => Verdict::Well,
            Some(error) => {
                if error.is_shortage() {
                    self.unconnected(shard, error);
                } else if error.side == Side::Upstream {
                    live.cells.of(shard.index).failures[error.kind as usize].add(1);
                }
                if error.blames_endpoint() { Verdict::Wrong } else { Verdict::Nothing }
            }
        };
        let now_ms = shard.timers.now_ms();
        let group = passed.group;
        match verdict {
            Verdict::Well => {
                passed.note(true, now_ms);
                if live.health.succeeded(&group.health.outlier, self.lease.entry, now_ms) {
                    live.since_ms.store(now_ms, Relaxed);
                    tracing::info!(endpoint = live.key, "endpoint admits again");
                }
            }
            Verdict::Wrong => {
                passed.note(false, now_ms);
                self.observe_failure(shard);
                self.wrong(shard, group, error, status, now_ms);
            }
            Verdict::Nothing => return,
        }
        self.lease.told.set(true);
    }

    /// Nobody was asked, for a shortage of ours: the endpoint's health hears nothing of it.
    fn unconnected(&self, shard: &Shard, error: &ProxyError) {
        if let Some(left_out) = shard.log_line() {
            let endpoint = &self.endpoint.live.key;
            tracing::error!(endpoint, left_out, "cannot connect for a shortage of ours: {error}");
        }
    }

    fn wrong(
        &self,
        shard: &Shard,
        group: &Group,
        error: Option<&ProxyError>,
        status: u16,
        now_ms: u64,
    ) {
        let live = &self.endpoint.live;
        if let Some(left_out) = shard.log_line() {
            match error {
                Some(error) => {
                    tracing::warn!(endpoint = live.key, left_out, "attempt failed: {error}");
                }
                None => tracing::warn!(endpoint = live.key, left_out, "answered with {status}"),
            }
        }
        if let Some(pause) = bounded_pause(error.and_then(ProxyError::retry_after)) {
            live.health.rest(now_ms + pause.as_millis() as u64);
            return;
        }
        let policy = &group.health.outlier;
        let failed =
            |room: &dyn Fn() -> bool| live.health.failed(policy, self.lease.entry, now_ms, room);
        let room = || {
            let is_out = |m: &&Member| m.endpoint.live.health.standing().is_out();
            let out = group.members.iter().filter(is_out).count();
            may_eject(out, group.members.len(), policy.ejected_percent_max)
        };
        // While another shard decides, this error only counts: the next one ejects.
        let ejected = group.live.alone(|| failed(&room)).unwrap_or_else(|| failed(&|| false));
        if let Some(left_ms) = ejected {
            tracing::warn!(endpoint = live.key, left_ms, "endpoint ejected");
        }
    }
}
