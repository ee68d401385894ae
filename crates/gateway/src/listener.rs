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
                if let Some(left_out) = shard.log_line() {
                    tracing::warn!(%error, left_out, "cannot accept; waiting a moment");
                }
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
    // A refused socket, too, is closed before it is uncounted: what is bound last goes first.
    let (counted, stream) = (Counted::new(shard), stream);
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
            match downstream::serve(&task_shard, &mut client, http2, over).await {
                Some(early) => Box::pin(h2::serve(&task_shard, client, early, over)).await,
                None => drop(client),
            }
            // The socket is closed before its connection is uncounted.
            drop((counted, task));
        });
        return;
    }
    let http2 = listener.http2;
    let mut client = Client::new(Stream::Tcp(stream), peer, Timer::new(&shard.timers));
    client.trust = edge::trust(listener, peer);
    shard.spawn(|task| async move {
        match downstream::serve(&task_shard, &mut client, http2, over).await {
            Some(early) => Box::pin(h2::serve(&task_shard, client, early, over)).await,
            None => drop(client),
        }
        // The socket is closed before its connection is uncounted.
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

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use tidegate_config::Config;
    use tidegate_snapshot::{Live, Shared, compile};

    use super::*;
    use crate::admission::Gates;

    /// Is the socket being closed whose peer this is? The peer has ended its direction: LAST_ACK.
    fn is_closing(peer: SocketAddr) -> bool {
        let port = format!(":{:04X}", peer.port());
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        table.lines().any(|line| {
            let mut columns = line.split_whitespace().skip(2);
            columns.next().is_some_and(|remote| remote.ends_with(&port))
                && columns.next() == Some("09")
        })
    }

    #[test]
    fn a_connection_is_counted_until_its_socket_is_closed() {
        let bind = SocketAddr::from(([127, 0, 0, 1], 0));
        for proxy_protocol in [false, true] {
            let listener = tidegate_config::Listener { proxy_protocol, ..Default::default() };
            let listener = tidegate_config::Listener { bind, ..listener };
            let config = Config { listeners: vec![listener], ..Config::default() };
            let live = Live::new(1);
            let snapshot = compile(config.into(), &live, 1).unwrap();
            let shared = Arc::new(Shared::new(snapshot, live));
            let accepting = StdListener::bind(bind).unwrap();
            let address = accepting.local_addr().unwrap();
            let mut theirs = std::net::TcpStream::connect(address).unwrap();
            let (mut ours, peer) = accepting.accept().unwrap();
            // With so much left to send, the close lasts until the peer has read it.
            socket2::SockRef::from(&ours).set_linger(Some(Duration::from_secs(600))).unwrap();
            ours.set_nonblocking(true).unwrap();
            while ours.write(&[0; 16 * 1024]).is_ok() {}
            if proxy_protocol {
                theirs.write_all(b"PROXY UNKNOWN\r\n").unwrap();
            }
            theirs.shutdown(std::net::Shutdown::Write).unwrap();
            let (here, there) = (Arc::clone(&shared), shared);
            let serving = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_io()
                    .build_local(tokio::runtime::LocalOptions::default());
                runtime.unwrap().block_on(async {
                    let shard = Shard::new(0, there, Gates::new(1));
                    welcome(&shard, bind, TcpStream::from_std(ours).unwrap(), peer);
                    while shard.live().gauges.connections.load(Relaxed) > 0 {
                        tokio::task::yield_now().await;
                    }
                });
            });
            while !is_closing(peer) {
                std::thread::yield_now();
            }
            assert_eq!(here.live.gauges.connections.load(Relaxed), 1, "{proxy_protocol}");
            io::copy(&mut theirs, &mut io::sink()).unwrap();
            serving.join().unwrap();
            assert_eq!(here.live.gauges.connections.load(Relaxed), 0);
        }
    }
}
