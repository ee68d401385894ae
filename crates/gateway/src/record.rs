//! The record of an exchange: written once, when it is dropped, on every way out.

use std::time::Instant;

use tidegate_dialect::{Call, Usage};
use tidegate_snapshot::live::{ModelSeries, RouteSeries};
use tidegate_snapshot::{Reason, Side};

use crate::shard::Shard;

/// Tokens that one exchange can be believed to have used: a provider's number is not ours to trust.
const TOKENS_MAX: u64 = 1 << 40;

/// What is known of an exchange so far.
#[derive(Debug)]
pub(crate) struct Record<'s> {
    shard: &'s Shard,
    began: Instant,
    /// The route it took.
    pub(crate) route: Option<&'s RouteSeries>,
    /// What an LLM route was asked for: the dialect of every reply.
    pub(crate) llm: Option<Call>,
    /// The model that routed it.
    pub(crate) model: Option<&'s ModelSeries>,
    /// The status that the caller saw; 0 when it saw none.
    pub(crate) status: u16,
    /// Why it ended otherwise than well.
    pub(crate) reason: Option<Reason>,
    /// A tunnel is open: when the record ends now, the process stopped it.
    pub(crate) in_tunnel: bool,
    /// Bytes of the reply.
    pub(crate) reply_bytes: u64,
    /// Time to the first byte of the reply's body.
    pub(crate) first_byte_us: Option<u64>,
    /// Tokens, as the provider counted them.
    pub(crate) usage: Option<Usage>,
}

impl<'s> Record<'s> {
    /// Begins the record of an exchange.
    pub(crate) fn open(shard: &'s Shard) -> Self {
        shard.cell().requests.add(1);
        Self {
            shard,
            began: Instant::now(),
            route: None,
            llm: None,
            model: None,
            status: 0,
            reason: None,
            in_tunnel: false,
            reply_bytes: 0,
            first_byte_us: None,
            usage: None,
        }
    }

    /// Notes the first byte of a reply's body; only models have a metric for it.
    pub(crate) fn first_byte(&mut self) {
        if self.model.is_some() && self.first_byte_us.is_none() {
            self.first_byte_us = Some(self.began.elapsed().as_micros() as u64);
        }
    }

    /// The first error counts: what follows from it does not.
    pub(crate) fn failed(&mut self, reason: Reason) {
        self.reason.get_or_insert(reason);
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        let shard = self.shard.cell();
        if (self.status == 0 || self.in_tunnel) && self.reason.is_none() {
            // The task itself was dropped: a stop that did not wait.
            self.reason = Some(Reason::Draining);
        }
        let fault = self.reason.is_some_and(|reason| reason.side() != Side::Downstream);
        if self.status >= 500 || (self.status == 0 && fault) {
            shard.errors.add(1);
        }
        if let Some(reason) = self.reason {
            shard.ended[reason as usize].add(1);
        }
        if let Some(route) = self.route {
            let cell = route.cells.of(self.shard.index);
            let class = match self.status {
                0 => 5,
                status => usize::from(status / 100).clamp(1, 5) - 1,
            };
            cell.replies[class].add(1);
            cell.reply_bytes.add(self.reply_bytes);
            cell.duration.observe_us(self.began.elapsed().as_micros() as u64);
        }
        if let Some(model) = self.model {
            let cell = model.cells.of(self.shard.index);
            cell.requests.add(1);
            if let Some(us) = self.first_byte_us {
                cell.first_token.observe_us(us);
            }
            match self.usage {
                Some(usage) => {
                    cell.input_tokens.add(usage.input.min(TOKENS_MAX));
                    cell.cached_tokens.add(usage.cached.min(TOKENS_MAX));
                    cell.output_tokens.add(usage.output.min(TOKENS_MAX));
                }
                None if self.reason.is_none() => cell.usage_unknown.add(1),
                None => {}
            }
        }
    }
}
