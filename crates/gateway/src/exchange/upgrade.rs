//! WebSocket over HTTP/1.1: the request for it, the endpoint's 101, and the tunnel behind that.

use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use tidegate_snapshot::{Endpoint, Reason};
use tidegate_wire::http1::head::{Method, ResponseHead, Version};

use super::{Attempt, Parties, Sending, Stage};
use crate::client::Client;
use crate::compose;
use crate::error::ProxyError;
use crate::record::Record;
use crate::request::Request;
use crate::shard::Shard;
use crate::stream::Stream;
use crate::tunnel::{self, Meter};
use crate::upstream::Leg;

/// The status of an exchange that became a tunnel.
pub(super) const SWITCHED: u16 = 101;

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

impl Attempt<'_> {
    /// Takes the endpoint's 101 and composes ours.
    pub(super) fn switch(
        &mut self,
        parties: &mut Parties<'_, '_>,
        head: &ResponseHead,
        bytes: &[u8],
        composed: &mut Vec<u8>,
    ) -> Result<(), ProxyError> {
        let wrong = |text: &str| Err(ProxyError::text(Reason::BadReply, text));
        if !parties.call.tunnels || matches!(self.leg, Leg::Http2(_)) {
            return wrong("The endpoint switched protocols without being asked to.");
        }
        let to = head.upgrade.map(|value| value.of(bytes)).unwrap_or_default();
        if !to.eq_ignore_ascii_case(WEBSOCKET) {
            return wrong("The endpoint switched to another protocol than it was asked to.");
        }
        if self.sending != Sending::Done {
            return wrong("The endpoint switched protocols before it had the whole request.");
        }
        self.observe_latency(parties.client.now_ms());
        compose::switch_head(composed, head, bytes, parties.routed);
        parties.record.status = head.status;
        parties.client.reply.head_sent = true;
        self.stage = Stage::Switched;
        Ok(())
    }
}

/// Passes bytes both ways until the WebSocket ends. The exchange stays admitted and counted at its
/// endpoint for as long; how its attempt went was noted at the 101, for it says nothing of the
/// endpoint's health how a tunnel ends, or when.
pub(crate) async fn pass(
    shard: &Rc<Shard>,
    client: &mut Client,
    request: &mut Request,
    record: &mut Record<'_>,
    endpoint: &Endpoint,
    stream: Stream,
) {
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
    let ended = tunnel::run(shard, client, stream, limits, meter).await;
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
