//! A body that is read whole into memory, for requests that are routed by what it says.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;

use tidegate_snapshot::{Live, Reason, Snapshot};

use super::Request;
use super::body::Body;
use crate::client::Client;
use crate::error::ProxyError;
use crate::shard::Shard;

/// Bytes reserved for a body before any of it has come.
const FIRST_RESERVE: u64 = 64 * 1024;

/// Request bytes in memory, counted in the process-wide gauge for as long as they are held.
#[derive(Debug)]
pub(crate) struct Buffered {
    pub(super) bytes: Vec<u8>,
    counted: u64,
    live: Arc<Live>,
}

impl Buffered {
    fn new(live: &Arc<Live>) -> Self {
        Self { bytes: Vec::new(), counted: 0, live: Arc::clone(live) }
    }

    fn reserve(&mut self, room: usize, budget: u64) -> Result<(), ProxyError> {
        self.bytes.reserve(room);
        let held = self.bytes.capacity() as u64;
        let more = held - self.counted;
        let before = self.live.gauges.buffered.fetch_add(more, Relaxed);
        self.counted = held;
        if before + more > budget {
            return Err(ProxyError::new(Reason::Memory));
        }
        Ok(())
    }
}

impl Drop for Buffered {
    fn drop(&mut self) {
        self.live.gauges.buffered.fetch_sub(self.counted, Relaxed);
    }
}

impl Request {
    /// Reads all of the body into memory, for requests that are routed by what it says.
    pub(crate) async fn buffer_body(
        &mut self,
        shard: &Shard,
        snapshot: &Snapshot,
        client: &mut Client,
        began_ms: u64,
    ) -> Result<(), ProxyError> {
        let deadline = began_ms + snapshot.timeouts.request;
        self.resume(client.now_ms());
        let Body::Incoming(incoming) = &self.body else { return Ok(()) };
        // Half of the memory limit: the other half is for what the process needs besides.
        let budget = snapshot.limits.admission.memory / 2;
        let mut buffered = Buffered::new(&shard.shared.live);
        if let Some(length) = incoming.length() {
            // The announced length is only trusted as the bytes arrive.
            buffered.reserve(length.min(FIRST_RESERVE) as usize, budget)?;
        }
        while !self.is_read() {
            std::future::poll_fn(|cx| {
                let mut scratch = shard.scratch.borrow_mut();
                let space = &mut scratch.read;
                if let Poll::Ready(read) = self.poll_body(cx, client, space) {
                    return Poll::Ready(read.and_then(|piece| {
                        let bytes = space.get(piece).unwrap_or_default();
                        if buffered.bytes.capacity() - buffered.bytes.len() < bytes.len() {
                            let room = bytes.len().max(buffered.bytes.capacity());
                            buffered.reserve(room, budget)?;
                        }
                        buffered.bytes.extend_from_slice(bytes);
                        Ok(())
                    }));
                }
                let quiet = match &self.body {
                    Body::Incoming(incoming) => incoming.progress_ms + snapshot.timeouts.body,
                    _ => u64::MAX,
                };
                let limit = quiet.min(deadline);
                if client.timer.passed(limit) {
                    return Poll::Ready(Err(ProxyError::new(Reason::BodyTimeout)));
                }
                client.timer.arm(limit, cx.waker());
                Poll::Pending
            })
            .await?;
        }
        self.body = Body::Buffered(buffered);
        Ok(())
    }
}
