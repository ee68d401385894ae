//! The one error of the data plane: what happened, who caused it, whether it may be repeated.

use std::fmt;
use std::time::Duration;

use tidegate_snapshot::{Reason, Side};

/// May an attempt that failed like this be made again?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeatable {
    /// No: the request was (or may have been) acted upon, or would fail again.
    No,
    /// On another endpoint only: this one will say the same again (401, 403).
    Elsewhere,
    /// On any endpoint, this one included.
    Anywhere,
    /// At once and without counting as an attempt: a reused connection turned out to be closed
    /// before any byte of a reply.
    Stale,
}

/// What failed an exchange or an attempt.
#[derive(Debug)]
pub(crate) struct ProxyError {
    /// The reason code and metric label.
    pub(crate) kind: Reason,
    /// Who caused it.
    pub(crate) side: Side,
    /// May the attempt be repeated?
    pub(crate) repeatable: Repeatable,
    /// Detail for the reply or the log.
    pub(crate) cause: Cause,
}

/// Detail of a [`ProxyError`].
#[derive(Debug)]
pub(crate) enum Cause {
    /// The reason says it all.
    None,
    /// What to tell the caller.
    Text(Box<str>),
    /// What the operating system said; for the log only.
    Io(Box<std::io::Error>),
    /// The methods that would have been taken, as in an Allow field.
    Allow(Box<str>),
    /// A request head that breaks a rule: its own status and code.
    Head(tidegate_wire::http1::head::HeadError),
    /// More came than the rate limit allows.
    Limited {
        /// What may come at once after a quiet time.
        burst: u32,
        /// Seconds after which one more may come.
        wait_s: u64,
    },
    /// The endpoint's own error reply, to be passed on when nothing is left to try.
    Reply(Box<ErrorReply>),
}

/// An error reply of an endpoint, read whole.
#[derive(Debug, Default)]
pub(crate) struct ErrorReply {
    /// Status as the endpoint gave it.
    pub(crate) status: u16,
    /// Its Retry-After.
    pub(crate) retry_after: Option<Duration>,
    /// Field lines to pass on, each ending in CRLF, without framing.
    pub(crate) fields: Vec<u8>,
    /// The body, without the provider's key.
    pub(crate) body: Vec<u8>,
    /// Of an upstream, not of a provider: it is passed on as any other reply, if it is.
    pub(crate) plain: bool,
}

impl ProxyError {
    /// An error that must not be repeated.
    pub(crate) fn new(kind: Reason) -> Self {
        Self { kind, side: kind.side(), repeatable: Repeatable::No, cause: Cause::None }
    }

    /// With a text for the caller.
    pub(crate) fn text(kind: Reason, text: impl Into<Box<str>>) -> Self {
        Self { cause: Cause::Text(text.into()), ..Self::new(kind) }
    }

    /// With what the operating system said.
    pub(crate) fn io(kind: Reason, error: std::io::Error) -> Self {
        Self { cause: Cause::Io(Box::new(error)), ..Self::new(kind) }
    }

    /// The same error, repeatable as said.
    pub(crate) fn repeatable(mut self, repeatable: Repeatable) -> Self {
        self.repeatable = repeatable;
        self
    }

    /// How long the endpoint asked to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match &self.cause {
            Cause::Reply(reply) => reply.retry_after,
            _ => None,
        }
    }

    /// Is it an upstream's reply, kept back until no other endpoint was left to ask?
    pub(crate) fn is_passed_on(&self) -> bool {
        matches!(&self.cause, Cause::Reply(reply) if reply.plain)
    }

    /// Could no connection be opened for want of something of our own?
    pub(crate) fn is_shortage(&self) -> bool {
        matches!(self.kind, Reason::NoSocket | Reason::NoPort)
    }

    /// Does it count against the endpoint's health?
    pub(crate) fn blames_endpoint(&self) -> bool {
        match &self.cause {
            // The caller's mistake, told by the endpoint.
            Cause::Reply(reply) => {
                matches!(reply.status, 401 | 403 | 408 | 429) || reply.status >= 500
            }
            // A matter of its configuration: whatever else it is asked, it answers.
            _ if self.kind == Reason::NoWebSocket => false,
            _ => self.side == Side::Upstream && self.repeatable != Repeatable::Stale,
        }
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        match &self.cause {
            Cause::None | Cause::Limited { .. } => Ok(()),
            Cause::Text(text) => write!(f, ": {text}"),
            Cause::Allow(methods) => write!(f, ": allowed are {methods}"),
            Cause::Io(error) => write!(f, ": {error}"),
            Cause::Head(error) => write!(f, ": {error}"),
            Cause::Reply(reply) => write!(f, ": status {}", reply.status),
        }
    }
}

impl std::error::Error for ProxyError {}
