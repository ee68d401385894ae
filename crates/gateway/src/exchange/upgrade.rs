//! WebSocket: the request for it, the endpoint's 101 (over HTTP/2 its 200, RFC 8441), and the tunnel
//! behind that.

use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use tidegate_snapshot::{Endpoint, Reason};
use tidegate_wire::http1::head::{FieldId, Method, ResponseHead, Version};
use tidegate_wire::websocket;

use super::{Attempt, Parties, Sending, Stage};
use crate::compose::{self, SWITCHED};
use crate::error::ProxyError;
use crate::request::Request;
use crate::shard::Shard;
use crate::tunnel::{self, Meter};
use crate::upstream::Leg;

const WEBSOCKET: &[u8] = b"websocket";

/// Does the request ask for a WebSocket (RFC 6455 section 4.1)? Other protocols, and requests with
/// a body, are passed on as if they had not asked.
pub(crate) fn is_asked(request: &Request) -> bool {
    request.method == Method::Get
        && request.version == Version::Http11
        && request.is_read()
        && request.whole_body().is_empty()
        && request
            .head()
            .upgrade
            .is_some_and(|value| value.of(request.bytes()).eq_ignore_ascii_case(WEBSOCKET))
}

/// The answer to the caller's key, which an endpoint of HTTP/2 has no use for: checked before it is
/// asked. None for callers of HTTP/2, who have no key.
pub(super) fn answer(request: &Request) -> Result<Option<String>, ProxyError> {
    if request.connects() {
        return Ok(None);
    }
    let key = request.only(FieldId::SecWebsocketKey).filter(|key| websocket::is_key(key));
    let text = "Sec-WebSocket-Key must be 16 bytes in base64 (RFC 6455 section 4.1).";
    let key = key.ok_or_else(|| ProxyError::text(Reason::BadRequest, text))?;
    Ok(Some(websocket::accept(key)))
}

impl Attempt<'_> {
    /// Does this status begin a tunnel?
    pub(super) fn is_switch(&self, parties: &Parties<'_, '_>, status: u16) -> bool {
        let connected = matches!(self.leg, Leg::Http2(_)) && (200..300).contains(&status);
        status == SWITCHED || (connected && parties.call.tunnels)
    }

    /// Takes the endpoint's word for a switch and composes ours.
    pub(super) fn switch(
        &mut self,
        parties: &mut Parties<'_, '_>,
        head: &ResponseHead,
        bytes: &[u8],
        composed: &mut Vec<u8>,
    ) -> Result<(), ProxyError> {
        let wrong = |text: &str| Err(ProxyError::text(Reason::BadReply, text));
        let framed = matches!(self.leg, Leg::Http2(_));
        if !parties.call.tunnels || (framed && head.status == SWITCHED) {
            return wrong("The endpoint switched protocols without being asked to.");
        }
        let to = head.upgrade.map(|value| value.of(bytes)).unwrap_or_default();
        if !framed && !to.eq_ignore_ascii_case(WEBSOCKET) {
            return wrong("The endpoint switched to another protocol than it was asked to.");
        }
        if !framed && parties.request.connects() && !answers(parties.request, head, bytes) {
            return wrong(
                "The endpoint's Sec-WebSocket-Accept does not answer the key it was sent.",
            );
        }
        if self.sending != Sending::Done {
            return wrong("The endpoint switched protocols before it had the whole request.");
        }
        self.observe_latency(parties.client.now_ms());
        let accept = if framed { answer(parties.request)? } else { None };
        compose::switch_head(composed, head, bytes, parties.routed, accept.as_deref());
        parties.record.status = SWITCHED;
        parties.client.reply.head_sent = true;
        self.stage = Stage::Switched;
        Ok(())
    }
}

/// Does the endpoint's 101 answer the key that we have sent? Callers of HTTP/1.1 see to that
/// themselves.
fn answers(request: &Request, head: &ResponseHead, bytes: &[u8]) -> bool {
    let mut answers = head.fields.iter().filter(|field| field.id == FieldId::SecWebsocketAccept);
    let answer = answers.next().map(|field| field.value.of(bytes)).unwrap_or_default();
    let expected =
        request.only(FieldId::SecWebsocketKey).map(websocket::accept).unwrap_or_default();
    answer == expected.as_bytes() && answers.next().is_none()
}

/// Passes bytes both ways until the WebSocket ends. The exchange stays admitted and counted at its
/// endpoint for as long; how its attempt went was noted at the 101, for it says nothing of the
/// endpoint's health how a tunnel ends, or when.
pub(crate) async fn pass(parties: &mut Parties<'_, '_>, endpoint: &Endpoint, leg: Leg) {
    let Parties { shard, client, request, record, .. } = parties;
    // What was kept to send the request again is of no more use.
    request.release();
    let cell = shard.cell();
    let _open = Open::begin(shard);
    record.in_tunnel = true;
    let meter =
        Meter { received: &cell.websocket_received_bytes, sent: &cell.websocket_sent_bytes };
    let idle_ms = endpoint.timeouts.tunnel;
    let limits = tunnel::Limits {
        endpoint: &endpoint.live,
        idle_ms,
        // RFC 6455 section 7.1.1: after a close both sides close. Who stays has gone.
        half_closed_ms: idle_ms.min(HALF_CLOSED_MS),
    };
    let ended = tunnel::run(shard, client, leg, limits, meter).await;
    record.in_tunnel = false;
    if let Some(reason) = ended {
        record.failed(reason);
    }
    client.reply.close = true;
    client.reply.broken = true;
}

/// How long the other side of a WebSocket may be silent once one has ended its direction, in ms.
const HALF_CLOSED_MS: u64 = 60_000;

/// A WebSocket in the shard's gauge.
struct Open(Rc<Shard>);

impl Open {
    fn begin(shard: &Rc<Shard>) -> Self {
        let cell = shard.cell();
        cell.websockets.add(1);
        cell.websockets_open.fetch_add(1, Relaxed);
        Self(Rc::clone(shard))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.cell().websockets_open.fetch_sub(1, Relaxed);
    }
}
