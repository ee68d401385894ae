//! A copy of a request for another upstream: sent beside the exchange, its reply thrown away.
//!
//! A mirror never slows or fails the exchange: it has a task of its own, and whatever it lacks (a
//! place among the mirrors, an endpoint, a body that is small enough) only makes it not happen.

mod copy;

use std::rc::Rc;
use std::sync::Arc;

use tidegate_snapshot::{Endpoint, Group, Mirror, Snapshot};
use tidegate_wire::http1::chunked::{CHUNK_END, LAST_CHUNK, chunk_head};
use tidegate_wire::http1::head::Method;

pub(crate) use copy::{BodyCopy, CopyWriter};

use crate::client::Client;
use crate::compose::{self, Follows};
use crate::request::{Body, Request};
use crate::route::Routed;
use crate::shard::Shard;
use crate::timer::Timer;
use crate::upstream::{Lease, proxy_header};

mod send;

/// Mirrors in flight on one shard at most; requests beyond are not copied.
const MIRRORS_MAX: u32 = 256;

/// What a mirror sends.
struct Message {
    method: Method,
    /// The PROXY header of a new connection; empty where none is wanted.
    proxy_header: Vec<u8>,
    head: Vec<u8>,
    body: BodySource,
}

enum BodySource {
    /// All of it.
    Whole(Vec<u8>),
    /// As it will have been read from the caller; `chunked`: it goes out in one chunk.
    Growing { copy: Rc<BodyCopy>, chunked: bool },
}

/// Begins a mirror of this request, if its turn has come and there is room for it.
pub(crate) fn begin(
    shard: &Rc<Shard>,
    snapshot: &Snapshot,
    client: &Client,
    request: &mut Request,
    routed: &Routed<'_>,
    mirror: &Mirror,
) {
    if shard.random() % 100 >= u64::from(mirror.percent) {
        return;
    }
    let begun = (shard.mirrors.get() < MIRRORS_MAX)
        .then(|| choose(shard, &mirror.group))
        .flatten()
        .and_then(|endpoint| {
            let message = message(snapshot, client, request, routed, endpoint)?;
            let lease = Lease::take(shard, &mirror.group, endpoint)?;
            Some((Arc::clone(endpoint), message, Place::take(shard, lease)))
        });
    let Some((endpoint, message, place)) = begun else {
        shard.cell().mirrors_dropped.add(1);
        return;
    };
    let timer = Timer::new(&shard.timers);
    let deadline = timer.now_ms() + endpoint.timeouts.connect + endpoint.timeouts.request;
    let head_limit = snapshot.limits.head;
    let shard = Rc::clone(shard);
    Rc::clone(&shard).spawn(|counted| async move {
        let _counted = counted;
        let _place = place;
        let sending = send::send(&shard, &endpoint, message, head_limit);
        let cell = shard.cell();
        match send::within(&timer, deadline, sending).await {
            Ok(()) => cell.mirrors_sent.add(1),
            Err(send::Failure::Incomplete) => cell.mirrors_dropped.add(1),
            Err(send::Failure::Endpoint) => cell.mirrors_failed.add(1),
        }
    });
}

/// The endpoint of a mirror: by chance, among those that are well and below their cap.
fn choose<'g>(shard: &Shard, group: &'g Group) -> Option<&'g Arc<Endpoint>> {
    let now = shard.timers.now_ms();
    let count = group.members.len();
    let first = shard.random() as usize % count.max(1);
    let usable = (first..count).chain(0..first).find(|index| {
        let seen = group.candidate(group.http, *index, now);
        seen.weight > 0 && seen.admitting && !seen.draining && !seen.full
    });
    usable.and_then(|index| group.members.get(index)).map(|member| &member.endpoint)
}

/// What to send; None for a body beyond `limits.stream_buffer`.
fn message(
    snapshot: &Snapshot,
    client: &Client,
    request: &mut Request,
    routed: &Routed<'_>,
    endpoint: &Endpoint,
) -> Option<Message> {
    let limit = snapshot.limits.stream_buffer;
    let (length, body) = match &request.body {
        Body::Incoming(incoming) if !incoming.is_done() => {
            let length = incoming.length();
            if length.is_some_and(|length| length > limit as u64) {
                return None;
            }
            let copy = request.keep_copy(limit);
            (length, BodySource::Growing { copy, chunked: length.is_none() })
        }
        _ => {
            let body = request.whole_body();
            if body.len() > limit {
                return None;
            }
            (Some(body.len() as u64), BodySource::Whole(body.to_vec()))
        }
    };
    let mut head = Vec::with_capacity(512);
    let (peer, secure) = (client.peer, client.secure);
    let follows = Follows::Body(length);
    compose::request_head(&mut head, request, routed, endpoint, peer, secure, follows);
    let proxy_header = proxy_header(endpoint, client);
    Some(Message { method: request.method, proxy_header, head, body })
}

impl BodySource {
    /// The body as it goes out, once it is whole.
    async fn bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::Whole(body) => Some(body),
            Self::Growing { copy, chunked } => {
                let body = copy.whole().await?;
                if !chunked {
                    return Some(body);
                }
                let mut out = Vec::with_capacity(body.len() + 32);
                if !body.is_empty() {
                    out.extend_from_slice(chunk_head(body.len(), &mut [0; 20]));
                    out.extend_from_slice(&body);
                    out.extend_from_slice(CHUNK_END);
                }
                out.extend_from_slice(LAST_CHUNK);
                Some(out)
            }
        }
    }
}

/// A place among the shard's mirrors and among the endpoint's attempts; given back when dropped.
struct Place {
    shard: Rc<Shard>,
    _lease: Lease,
}

impl Place {
    fn take(shard: &Rc<Shard>, lease: Lease) -> Self {
        shard.mirrors.set(shard.mirrors.get() + 1);
        Self { shard: Rc::clone(shard), _lease: lease }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shard.mirrors.set(self.shard.mirrors.get() - 1);
    }
}
