//! Error replies that are kept back while another endpoint may do better: all of LLM providers, and
//! those of upstreams with a status that is repeated (`retry.on`).

use std::time::Duration;

use tidegate_dialect::status_for;
use tidegate_snapshot::{Endpoint, Reason};
use tidegate_wire::http1::head::{FieldId, ResponseFraming, ResponseHead};

use super::Parties;
use crate::compose;
use crate::error::{Cause, ErrorReply, ProxyError, Repeatable};
use crate::observe::mask_key;

/// Bytes of a provider's error reply that are read before it is told to the caller.
const PROVIDERS_MAX: usize = 1024 * 1024;

/// Bytes of an upstream's reply that is kept back. A longer one is passed on at once, if it says so
/// beforehand.
const PLAIN_MAX: usize = 64 * 1024;

/// The beginning of a reply that is kept back, where this one is.
pub(super) fn of_reply(
    parties: &Parties<'_, '_>,
    endpoint: &Endpoint,
    head: &ResponseHead,
    bytes: &[u8],
) -> Option<ErrorReply> {
    let mut fields = Vec::new();
    let Some(call) = parties.call.llm else {
        if !is_repeated(parties, head) {
            return None;
        }
        let edits = parties.routed.reply_edits();
        compose::reply_fields(&mut fields, head, bytes, false, edits, None);
        if let Some(edits) = edits {
            fields.extend_from_slice(&edits.put);
        }
        let status = head.status;
        // Its Retry-After is for the caller: another endpoint is asked at once.
        return Some(ErrorReply { status, fields, plain: true, ..ErrorReply::default() });
    };
    if head.status < 400 {
        return None;
    }
    compose::reply_fields(&mut fields, head, bytes, true, None, None);
    mask_key(endpoint.provider.as_ref(), &mut fields);
    let retry_after = head
        .field(FieldId::RetryAfter)
        .and_then(|field| std::str::from_utf8(field.value.of(bytes)).ok())
        .and_then(|seconds| seconds.trim().parse().ok())
        .map(Duration::from_secs);
    let status = status_for(call.dialect, head.status);
    Some(ErrorReply { status, retry_after, fields, ..ErrorReply::default() })
}

/// May another endpoint of the upstream be asked for a better reply?
fn is_repeated(parties: &Parties<'_, '_>, head: &ResponseHead) -> bool {
    let too_long = matches!(head.framing, ResponseFraming::Length(n) if n > PLAIN_MAX as u64);
    parties.snapshot.retry_on.contains(&head.status)
        && !parties.last
        && parties.call.group.members.len() > 1
        && parties.request.is_replayable()
        && parties.request.method.is_idempotent()
        && !parties.client.reply.head_sent
        && !too_long
}

/// Adds to a reply; the error itself once it is whole.
pub(super) fn collect(
    reply: &mut ErrorReply,
    data: &[u8],
    ended: bool,
    endpoint: &Endpoint,
) -> Option<ProxyError> {
    let max = if reply.plain { PLAIN_MAX } else { PROVIDERS_MAX };
    let room = max.saturating_sub(reply.body.len());
    if reply.plain && data.len() > room {
        let text = format!("The endpoint answered with {} and a long text.", reply.status);
        let error = ProxyError::text(Reason::UpstreamStatus, text);
        return Some(error.repeatable(Repeatable::Elsewhere));
    }
    reply.body.extend_from_slice(data.get(..room.min(data.len())).unwrap_or_default());
    if !ended && room > data.len() {
        return None;
    }
    // Once more over the whole: the key may have come in two pieces.
    mask_key(endpoint.provider.as_ref(), &mut reply.body);
    Some(error_of(std::mem::take(reply)))
}

/// The endpoint says no more. `whole`: this is how the reply was to end.
pub(super) fn cut_off(reply: &mut ErrorReply, whole: bool, endpoint: &Endpoint) -> ProxyError {
    if reply.plain && !whole {
        return ProxyError::new(Reason::UpstreamCut).repeatable(Repeatable::Elsewhere);
    }
    mask_key(endpoint.provider.as_ref(), &mut reply.body);
    error_of(std::mem::take(reply))
}

/// Which replies are worth another attempt, and where.
fn error_of(reply: ErrorReply) -> ProxyError {
    let repeatable = match reply.status {
        _ if reply.plain => Repeatable::Elsewhere,
        408 | 429 | 500 | 502 | 503 | 504 | 529 => Repeatable::Anywhere,
        // This key is refused; another provider has another key.
        401 | 403 => Repeatable::Elsewhere,
        _ => Repeatable::No,
    };
    ProxyError { cause: Cause::Reply(Box::new(reply)), ..ProxyError::new(Reason::UpstreamStatus) }
        .repeatable(repeatable)
}
