//! A connection of a TCP listener: find the upstream, connect to an endpoint, pass bytes.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;

use tidegate_config::Priority;
use tidegate_snapshot::{Group, Listener, Reason, Snapshot, TcpTarget};
use tidegate_wire::client_hello::{CLIENT_HELLO_MAX, ClientHelloError, parse_client_hello};
use tokio::net::TcpStream;

use super::handshake;
use crate::client::Client;
use crate::error::ProxyError;
use crate::route::Call;
use crate::shard::Shard;
use crate::stream::Stream;
use crate::timer::Timer;
use crate::tunnel::{self, Limits, Meter};
use crate::upstream::connect::connect;
use crate::upstream::key::client_key;
use crate::upstream::{self, Alpn, Attempts, Leg, Newer, Passed, Picked, Want};

/// Serves a connection until it ends. It keeps the listener's settings for as long: a reload does
/// not touch it.
pub(crate) async fn serve(
    shard: &Rc<Shard>,
    listener: &Listener,
    stream: TcpStream,
    peer: SocketAddr,
) {
    let snapshot = shard.snapshot();
    let Some(target) = &listener.tcp else { return };
    let cell = target.series.cells.of(shard.index);
    cell.connections.add(1);
    let _open = Open::begin(shard);
    let mut client = if handshake::is_needed(listener) {
        let opened = Box::pin(handshake::open(shard, listener, stream, peer)).await;
        let Some(client) = opened else { return };
        client
    } else {
        Client::new(Stream::Tcp(stream), peer, Timer::new(&shard.timers))
    };
    client.half_closes = true;
    client.begin_reply();
    // Boxed: what it takes to connect is not kept for the life of the connection.
    let newer = Newer::new();
    let connected = Box::pin(reach(shard, &snapshot, target, &mut client, &newer)).await;
    let (picked, _passed, stream) = match connected {
        Ok(connected) => connected,
        Err(error) => {
            // Nobody can be told in words: the caller sees a reset, as if it had connected itself.
            client.reset_on_close();
            if let Some(left_out) = shard.log_line() {
                tracing::warn!(listener = %listener.bind, left_out, "TCP connection refused: {error}");
            }
            return ended(shard, error.kind);
        }
    };
    let idle_ms = picked.endpoint.timeouts.tunnel;
    let limits = Limits { endpoint: &picked.endpoint.live, idle_ms, half_closed_ms: idle_ms };
    let meter = Meter { received: &cell.received_bytes, sent: &cell.sent_bytes };
    if let Some(reason) = tunnel::run(shard, &mut client, Leg::Http1(stream), limits, meter).await {
        ended(shard, reason);
    }
}

fn ended(shard: &Shard, reason: Reason) {
    shard.cell().ended[reason as usize].add(1);
}

/// Connects to an endpoint of the upstream that the connection is for.
async fn reach<'s>(
    shard: &Rc<Shard>,
    snapshot: &'s Snapshot,
    target: &'s TcpTarget,
    client: &mut Client,
    newer: &'s Newer,
) -> Result<(Picked<'s>, Passed<'s>, Stream), ProxyError> {
    let group = group(snapshot, target, client).await?;
    let call = Call::tcp(group);
    let budget = &snapshot.retry_budget;
    group.live.budget(shard.index, budget, client.now_ms(), |left| left.deposit(budget));
    let mut passed = upstream::pass(shard, group)?;
    let key = client_key(client.peer.ip());
    let mut attempts = Attempts::new(Want::new(call.traffic(), key, Priority::Normal));
    loop {
        let picked = upstream::pick(shard, snapshot, client, &call, &mut attempts, newer).await?;
        attempts.pause(shard, snapshot, client, &picked).await?;
        let cell = picked.endpoint.live.cells.of(shard.index);
        cell.attempts.add(1);
        cell.connects.add(1);
        let opened = connect(picked.endpoint, client, shard.random(), Alpn::Configured).await;
        picked.note(shard, &mut passed, opened.as_ref().err(), 0);
        match opened {
            Ok(stream) => return Ok((picked, passed, stream)),
            Err(error) => {
                let index = picked.index();
                attempts.may_repeat(shard, snapshot, group, index, false, error)?;
            }
        }
    }
}

/// The upstream of a connection: by the server name of its ClientHello where names are configured.
async fn group<'s>(
    snapshot: &Snapshot,
    target: &'s TcpTarget,
    client: &mut Client,
) -> Result<&'s Group, ProxyError> {
    let named = if target.names.is_empty() {
        None
    } else {
        server_name(snapshot, client).await?.and_then(|name| target.names.find(&name))
    };
    let group = named.or(target.upstream.as_ref());
    group.map(|group| &**group).ok_or_else(|| ProxyError::new(Reason::UnknownServerName))
}

/// Reads the ClientHello and puts it back: what was looked at is what is passed on. None: another
/// protocol, or no name.
async fn server_name(
    snapshot: &Snapshot,
    client: &mut Client,
) -> Result<Option<String>, ProxyError> {
    let deadline = client.now_ms() + snapshot.timeouts.head;
    let mut hello = vec![0; CLIENT_HELLO_MAX];
    let mut filled = 0;
    let found = std::future::poll_fn(|cx| {
        loop {
            match parse_client_hello(hello.get(..filled).unwrap_or_default()) {
                Ok(None) => {}
                Ok(Some(hello)) => return Poll::Ready(Ok(hello.server_name)),
                Err(ClientHelloError::NotTls) => return Poll::Ready(Ok(None)),
                Err(error) => {
                    let error = ProxyError::text(Reason::BadRequest, error.to_string());
                    return Poll::Ready(Err(error));
                }
            }
            match client.poll_read(cx, hello.get_mut(filled..).unwrap_or_default()) {
                // What has come so far is no ClientHello, and no more will come.
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(None)),
                Poll::Ready(Ok(n)) => filled += n,
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(ProxyError::io(Reason::ClientGone, error)));
                }
                Poll::Pending if client.timer.passed(deadline) => {
                    let text = "The ClientHello did not arrive in time (timeouts.head).";
                    return Poll::Ready(Err(ProxyError::text(Reason::HeadTimeout, text)));
                }
                Poll::Pending => {
                    client.timer.arm(deadline, cx.waker());
                    return Poll::Pending;
                }
            }
        }
    })
    .await?;
    client.unread(hello.get(..filled).unwrap_or_default());
    Ok(found)
}

/// A TCP connection in the process-wide gauge, which a drain waits for.
struct Open(Rc<Shard>);

impl Open {
    fn begin(shard: &Rc<Shard>) -> Self {
        shard.live().gauges.tcp.fetch_add(1, Relaxed);
        Self(Rc::clone(shard))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.live().gauges.tcp.fetch_sub(1, Relaxed);
    }
}
