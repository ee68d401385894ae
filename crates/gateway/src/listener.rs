//! Listeners: one socket per shard and address (SO_REUSEPORT), and the loop that accepts.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tidegate_snapshot::Reason;
use tidegate_snapshot::series::TlsFailure;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::client::Client;
use crate::downstream::{self, h2, handshake};
use crate::edge;
use crate::reply;
use crate::shard::Shard;
use crate::stream::Stream;
use crate::timer::Timer;

/// Connections that the kernel holds for us before they are accepted.
const BACKLOG: i32 = 32_768;

/// Connections beyond the limit that are still read, so that `/health` and `/status` answer at any
/// load and the rest is refused in words; beyond these the refusal is sent unread.
const RESERVE: usize = 64;

/// Pause of the accept loop when the process is out of files or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds one socket per shard to an address. Port 0 takes a free one, the same for all shards.
///
/// `ours`: this process listens on the port already, at another address.
pub(crate) fn bind(address: SocketAddr, shards: usize, ours: bool) -> io::Result<Vec<StdListener>> {
    // With SO_REUSEPORT a second process would share the port and silently take half of the
    // traffic; a first bind without it finds that out.
    if address.port() != 0 && !ours {
        drop(socket(address, false)?);
    }
    let first = socket(address, true)?;
    let bound = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..shards {
        sockets.push(socket(bound, true)?);
    }
    Ok(sockets)
}

/// Adds sockets to those that were inherited, until there is one per shard.
pub(crate) fn bind_more(sockets: &mut Vec<StdListener>, shards: usize) -> io::Result<()> {
    let Some(address) = sockets.first().map(StdListener::local_addr).transpose()? else {
        return Ok(());
    };
    for inherited in sockets.iter() {
        inherited.set_nonblocking(true)?;
    }
    while sockets.len() < shards {
        sockets.push(socket(address, true)?);
    }
    Ok(())
}

fn socket(address: SocketAddr, share: bool) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if share {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    if share {
        socket.listen(BACKLOG)?;
    }
    Ok(socket.into())
}

/// The accept loops of one shard.
#[derive(Debug, Default)]
pub(crate) struct Listening(Vec<(SocketAddr, AbortHandle)>);

impl Listening {
    /// Begins to accept on a bound socket. `bind`: the listener's configured address, by which its
    /// settings are found in the snapshot.
    pub(crate) fn open(&mut self, shard: &Rc<Shard>, bind: SocketAddr, socket: StdListener) {
        match TcpListener::from_std(socket) {
            Ok(listener) => {
                let shard = Rc::clone(shard);
                let task = tokio::task::spawn_local(accept(shard, bind, listener));
                self.0.push((bind, task.abort_handle()));
            }
            Err(error) => tracing::error!(%error, "cannot listen"),
        }
    }

    /// Stops accepting for one configured address.
    pub(crate) fn close(&mut self, address: SocketAddr) {
        self.0.retain(|(open, task)| {
            let keep = *open != address;
            if !keep {
                task.abort();
            }
            keep
        });
    }

    /// Stops accepting.
    pub(crate) fn close_all(&mut self) {
        for (_, task) in self.0.drain(..) {
            task.abort();
        }
    }
}

async fn accept(shard: Rc<Shard>, bind: SocketAddr, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => welcome(&shard, bind, stream, peer),
            Err(error) => {
                shard.cell().accept_errors.add(1);
                if is_passing(&error) {
                    continue;
                }
                tracing::warn!(%error, "cannot accept; waiting a moment");
                #[allow(clippy::disallowed_methods)] // one task per listener, not per connection
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Errors of one connection that died in the backlog, not of the listener.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::WouldBlock
    )
}

fn welcome(shard: &Rc<Shard>, bind: SocketAddr, stream: TcpStream, peer: SocketAddr) {
    shard.cell().accepted.add(1);
    let counted = Counted::new(shard);
    let snapshot = shard.snapshot();
    // A reload that takes a listener away closes its sockets in a moment.
    let Some(listener) = snapshot.listener(bind) else { return };
    let limit = snapshot.limits.connections;
    // Small writes are made at once: we always write whole messages or whole chunks.
    let _ = stream.set_nodelay(true);
    if listener.tcp.is_some() {
        if counted.open > limit {
            shard.cell().ended[Reason::ConnectionsFull as usize].add(1);
            return;
        }
        let (task_shard, listener) = (Rc::clone(shard), Arc::clone(listener));
        shard.spawn(|task| async move {
            let _counted = (counted, task);
            downstream::tcp::serve(&task_shard, &listener, stream, peer).await;
        });
        return;
    }
    if counted.open > limit + RESERVE {
        shard.cell().ended[Reason::ConnectionsFull as usize].add(1);
        if listener.tls.is_some() {
            // Words would need a handshake, which costs more than what is refused.
            return handshake::count(shard, TlsFailure::Full);
        }
        // Best effort: the socket is new, so that its send buffer has room.
        let _ = stream.try_write(reply::BUSY);
        return;
    }
    let over = counted.open > limit;
    let task_shard = Rc::clone(shard);
    if handshake::is_needed(listener) {
        if over && listener.tls.is_some() && !shard.may_shake_hands_over_limit() {
            shard.cell().ended[Reason::ConnectionsFull as usize].add(1);
            return handshake::count(shard, TlsFailure::Full);
        }
        let (listener, http2) = (Arc::clone(listener), listener.http2);
        shard.spawn(|task| async move {
            // Boxed: what is needed once must not count for as long as the connection lives.
            let open = Box::pin(handshake::open(&task_shard, &listener, stream, peer));
            let Some(mut client) = open.await else { return };
            client.trust = edge::trust(&listener, client.peer);
            if let Some(early) = downstream::serve(&task_shard, &mut client, http2, over).await {
                Box::pin(h2::serve(&task_shard, client, early, over)).await;
            }
            drop((counted, task));
        });
        return;
    }
    let http2 = listener.http2;
    let mut client = Client::new(Stream::Tcp(stream), peer, Timer::new(&shard.timers));
    client.trust = edge::trust(listener, peer);
    shard.spawn(|task| async move {
        if let Some(early) = downstream::serve(&task_shard, &mut client, http2, over).await {
            Box::pin(h2::serve(&task_shard, client, early, over)).await;
        }
        drop((counted, task));
    });
}

/// An open client connection in the process-wide gauge.
#[derive(Debug)]
struct Counted {
    shard: Rc<Shard>,
    /// How many are open, this one included.
    open: usize,
}

impl Counted {
    fn new(shard: &Rc<Shard>) -> Self {
        let before = shard.live().gauges.connections.fetch_add(1, AcqRel);
        Self { shard: Rc::clone(shard), open: before + 1 }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.shard.live().gauges.connections.fetch_sub(1, Relaxed);
    }
}
