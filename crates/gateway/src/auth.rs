//! Who calls: the key in the request, looked up in the table of callers.

use std::sync::Arc;

use tidegate_snapshot::callers::Caller;
use tidegate_snapshot::{Destination, Reason, Route, Snapshot};
use tidegate_wire::http1::head::FieldId;

use crate::error::ProxyError;
use crate::request::Request;

/// The caller of a request to this route; None where the route asks for no key.
///
/// OpenAI's clients send `Authorization: Bearer …`, Anthropic's send `x-api-key`.
pub(crate) fn identify<'s>(
    snapshot: &'s Snapshot,
    route: &Route,
    request: &Request,
) -> Result<Option<&'s Arc<Caller>>, ProxyError> {
    if !matches!(route.to, Destination::Llm) {
        return Ok(None);
    }
    let Some(key) = offered_key(request) else {
        if snapshot.allow_anonymous {
            return Ok(None);
        }
        return Err(ProxyError::text(
            Reason::Unauthenticated,
            "No API key was given. Send one of this gateway's keys as `Authorization: Bearer KEY` \
             (or `x-api-key: KEY`).",
        ));
    };
    match snapshot.callers.identify(key) {
        Some(caller) => Ok(Some(caller)),
        None if snapshot.allow_anonymous => Ok(None),
        None => Err(ProxyError::text(
            Reason::Unauthenticated,
            "This API key is not known here. Use a key of this gateway, not one of the provider.",
        )),
    }
}

/// The key that a request brings.
pub(crate) fn offered_key(request: &Request) -> Option<&[u8]> {
    if let Some(value) = request.field(FieldId::Authorization) {
        let (scheme, key) = value.split_at_checked(7)?;
        if scheme.eq_ignore_ascii_case(b"bearer ") {
            return Some(key.trim_ascii());
        }
    }
    request.field(FieldId::XApiKey)
}
