//! Sending a mirrored request and reading its reply away.

use std::io::IoSlice;
use std::rc::Rc;
use std::task::{Poll, ready};

use tidegate_snapshot::Endpoint;
use tidegate_wire::http1::chunked::ChunkedDecoder;
use tidegate_wire::http1::head::{
    HeadLimits, Method, ResponseFraming, ResponseHead, parse_response,
};

use super::Message;
use crate::shard::Shard;
use crate::stream::Stream;
use crate::timer::Timer;
use crate::upstream::{Alpn, open};

/// Bytes of a reply that are read away, so that its connection can be used again; a longer one
/// ends its connection.
const REPLY_MAX: u64 = 1024 * 1024;

/// Bytes read at once.
const PIECE: usize = 4096;

/// Fields of a reply head.
const FIELDS_MAX: usize = 200;

/// Why a mirror came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The body was too long, or the caller did not send all of it.
    Incomplete,
    /// The endpoint cannot be reached, is late or broke off.
    Endpoint,
}

/// Runs a mirror until its deadline.
pub(super) async fn within(
    timer: &Timer,
    deadline: u64,
    sending: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let mut sending = Box::pin(sending);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(sent) = sending.as_mut().poll(cx) {
            return Poll::Ready(sent);
        }
        if timer.passed(deadline) {
            return Poll::Ready(Err(Failure::Endpoint));
        }
        timer.arm(deadline, cx.waker());
        Poll::Pending
    })
    .await
}

/// Sends the message and reads the reply away.
pub(super) async fn send(
    shard: &Rc<Shard>,
    endpoint: &Endpoint,
    message: Message,
    head_limit: usize,
) -> Result<(), Failure> {
    let body = message.body.bytes().await.ok_or(Failure::Incomplete)?;
    let parts = [message.head.as_slice(), body.as_slice()].concat();
    let method = message.method;
    let keep = |stream, reusable| {
        // A connection with a PROXY header is one caller's.
        if reusable && endpoint.proxy_header.is_none() {
            shard.pool.put(endpoint.pool, stream, shard.timers.now_ms());
        }
    };
    // A pooled connection may turn out to be closed: then once more on a new one.
    if endpoint.proxy_header.is_none()
        && let Some(mut stream) = shard.pool.take(endpoint.pool)
        && let Some(reusable) = exchange(&mut stream, &parts, method, head_limit).await
    {
        keep(stream, reusable);
        return Ok(());
    }
    let opening = open(endpoint, shard.random(), message.proxy_header, Alpn::Configured);
    let mut stream = opening.await.map_err(|_| Failure::Endpoint)?;
    let exchanged = exchange(&mut stream, &parts, method, head_limit).await;
    let reusable = exchanged.ok_or(Failure::Endpoint)?;
    keep(stream, reusable);
    Ok(())
}

/// One request and its reply. Some: a reply came, and whether the connection can carry another.
async fn exchange(
    stream: &mut Stream,
    request: &[u8],
    method: Method,
    head_limit: usize,
) -> Option<bool> {
    let mut sent = 0;
    std::future::poll_fn(|cx| {
        while let Some(rest) = request.get(sent..).filter(|rest| !rest.is_empty()) {
            match ready!(stream.poll_write(cx, &[IoSlice::new(rest)])) {
                Ok(n) if n > 0 => sent += n,
                _ => return Poll::Ready(None),
            }
        }
        stream.poll_flush(cx).map(Result::ok)
    })
    .await?;
    let mut read = Vec::new();
    let mut head = ResponseHead::default();
    let limits = HeadLimits { bytes: head_limit, fields: FIELDS_MAX };
    loop {
        match parse_response(&read, &limits, method, &mut head) {
            Ok(Some(length)) => {
                read.drain(..length.min(read.len()));
                if head.status >= 200 {
                    break;
                }
            }
            Ok(None) => more(stream, &mut read).await?,
            Err(_) => return None,
        }
    }
    Some(discard(stream, read, &head).await.unwrap_or(false))
}

/// Reads the body away. Some(true): it has ended, and nothing came behind it.
async fn discard(stream: &mut Stream, mut read: Vec<u8>, head: &ResponseHead) -> Option<bool> {
    let mut seen = 0;
    let mut decoder = ChunkedDecoder::default();
    loop {
        let (used, ended) = match head.framing {
            ResponseFraming::None => (0, true),
            ResponseFraming::Length(length) => {
                let left = length.saturating_sub(seen);
                (read.len().min(usize::try_from(left).unwrap_or(usize::MAX)), {
                    left <= read.len() as u64
                })
            }
            ResponseFraming::Chunked => {
                let decoded = decoder.decode(&mut read).ok()?;
                (decoded.consumed, decoded.done)
            }
            ResponseFraming::UntilClose => (read.len(), false),
        };
        seen += used as u64;
        if ended {
            return Some(head.keep_alive && used == read.len());
        }
        if seen > REPLY_MAX {
            return Some(false);
        }
        read.drain(..used);
        more(stream, &mut read).await?;
    }
}

/// Reads the next piece; None at the end or when the connection breaks.
async fn more(stream: &mut Stream, into: &mut Vec<u8>) -> Option<()> {
    let filled = into.len();
    into.resize(filled + PIECE, 0);
    let read =
        std::future::poll_fn(|cx| stream.poll_read(cx, into.get_mut(filled..).unwrap_or_default()))
            .await;
    let read = read.unwrap_or(0);
    into.truncate(filled + read);
    (read > 0).then_some(())
}
