//! A TCP proxy that breaks connections on command: it stands between a gateway and its upstream in tests.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

use crate::server::{ServerHandle, listen, spawn};

/// Bytes that one direction of a connection moves at once.
const BUFFER_BYTES: usize = 16 << 10;

/// Longest wait for a command to be in force.
const COMMAND_WAIT: Duration = Duration::from_secs(5);

/// What is wrong with the network. It holds for existing connections too, from the next byte on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: bytes pass both ways.
    #[default]
    Pass,
    /// New connections are refused; existing ones live on.
    Refuse,
    /// New connections are accepted; no byte moves on any connection, and none is lost, until this is over.
    BlackHole,
    /// A connection is reset once this many bytes have gone to the client (over its whole life).
    ResetAfter(u64),
    /// A connection is closed in the same place.
    CloseAfter(u64),
    /// Every read is passed on this much later, both ways.
    Delay(Duration),
}

#[derive(Clone, Copy, Debug, Default)]
struct Order {
    fault: Fault,
    /// Counts orders: tells which one is in force.
    number: u64,
    /// Counts kills: a connection older than the last one is reset.
    kills: u64,
}

#[derive(Debug, Default)]
struct Shared {
    /// The number of the last order that the accepting side follows.
    in_force: Mutex<u64>,
    followed: Condvar,
    accepted: AtomicU64,
    open: AtomicU64,
}

/// A fault proxy on its own thread; dropping it stops it.
#[derive(Debug)]
pub struct FaultProxy {
    /// Where it listens.
    pub addr: SocketAddr,
    orders: watch::Sender<Order>,
    shared: Arc<Shared>,
    server: ServerHandle,
}

impl FaultProxy {
    /// Starts a proxy to `upstream` on a free port of 127.0.0.1.
    pub fn spawn(upstream: SocketAddr) -> io::Result<FaultProxy> {
        let (orders, received) = watch::channel(Order::default());
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let bind = (Ipv4Addr::LOCALHOST, 0).into();
        let server =
            spawn("lab-fault", bind, move |listener| serve(listener, upstream, received, theirs))?;
        Ok(FaultProxy { addr: server.addr, orders, shared, server })
    }

    /// Sets what is wrong. When this returns, it is in force.
    pub fn set(&self, fault: Fault) {
        self.command(|order| order.fault = fault);
    }

    /// Resets all existing connections.
    pub fn kill_connections(&self) {
        self.command(|order| order.kills += 1);
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Relaxed)
    }

    /// Connections open now.
    pub fn open(&self) -> u64 {
        self.shared.open.load(Relaxed)
    }

    /// Stops it: all its connections close.
    pub fn stop(&self) {
        self.server.stop();
    }

    fn command(&self, change: impl FnOnce(&mut Order)) {
        self.orders.send_modify(|order| {
            order.number += 1;
            change(order);
        });
        let wanted = self.orders.borrow().number;
        let in_force = self.shared.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        // A proxy that has stopped follows no order: its connections are gone, which no order can change.
        let _ = self.shared.followed.wait_timeout_while(in_force, COMMAND_WAIT, |n| *n < wanted);
    }
}

async fn serve(
    listener: TcpListener,
    upstream: SocketAddr,
    mut orders: watch::Receiver<Order>,
    shared: Arc<Shared>,
) -> io::Result<()> {
    let addr = listener.local_addr()?;
    let mut listening = Some(usable(listener)?);
    loop {
        let order = *orders.borrow_and_update();
        if order.fault == Fault::Refuse {
            listening = None;
        } else if listening.is_none() {
            listening = Some(usable(listen(addr)?)?);
        }
        *shared.in_force.lock().unwrap_or_else(PoisonError::into_inner) = order.number;
        shared.followed.notify_all();
        let accepted = tokio::select! {
            changed = orders.changed() => match changed {
                Ok(()) => continue,
                // Nobody gives orders any more: the proxy is being dropped.
                Err(_) => return Ok(()),
            },
            accepted = accept(listening.as_ref()) => accepted,
        };
        if let Ok(client) = accepted {
            shared.accepted.fetch_add(1, Relaxed);
            shared.open.fetch_add(1, Relaxed);
            let (orders, shared) = (orders.clone(), Arc::clone(&shared));
            tokio::task::spawn_local(async move {
                // The end of either side is the end of the connection; there is nobody to tell.
                let _ = relay(client, upstream, orders, order.kills).await;
                shared.open.fetch_sub(1, Relaxed);
            });
        }
    }
}

fn usable(listener: TcpListener) -> io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

async fn accept(listener: Option<&tokio::net::TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => Ok(listener.accept().await?.0),
        None => std::future::pending().await,
    }
}

/// Why a connection ends before both sides have closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// One side failed, or the order is to close.
    Closed,
    /// The order is to reset.
    Reset,
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Broken {
        Broken::Closed
    }
}

async fn relay(
    client: TcpStream,
    upstream: SocketAddr,
    orders: watch::Receiver<Order>,
    // Kills before it was accepted. Read here they might hold one that came after it.
    born: u64,
) -> io::Result<()> {
    let server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let both = async {
        let up = pump(&mut from_client, &mut to_server, orders.clone(), false);
        let down = pump(&mut from_server, &mut to_client, orders.clone(), true);
        tokio::try_join!(up, down)
    };
    let mut kills = orders.clone();
    let end = tokio::select! {
        end = both => end.map(|_| ()),
        _ = kills.wait_for(|order| order.kills > born) => Err(Broken::Reset),
    };
    if end == Err(Broken::Reset) {
        for stream in [from_client.as_ref(), from_server.as_ref()] {
            socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
        }
        // A dropped writing half says goodbye in good order, which would hide the reset.
        to_client.forget();
        to_server.forget();
    }
    Ok(())
}

/// Moves bytes one way until the source closes. Only the way to the client is broken after some bytes.
async fn pump(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    mut orders: watch::Receiver<Order>,
    to_client: bool,
) -> Result<(), Broken> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut passed = 0;
    loop {
        let read = from.read(&mut buffer).await?;
        // Bytes that fall into the hole come out when it closes.
        let passing = orders.wait_for(|order| order.fault != Fault::BlackHole).await;
        let fault = passing.map(|order| order.fault).map_err(|_| Broken::Closed)?;
        if let Fault::Delay(time) = fault {
            tokio::time::sleep(time).await;
        }
        if read == 0 {
            to.shutdown().await?;
            return Ok(());
        }
        let (limit, broken) = match fault {
            Fault::ResetAfter(bytes) if to_client => (bytes, Broken::Reset),
            Fault::CloseAfter(bytes) if to_client => (bytes, Broken::Closed),
            _ => (u64::MAX, Broken::Closed),
        };
        let left = usize::try_from(limit.saturating_sub(passed)).unwrap_or(usize::MAX);
        let piece = left.min(read);
        to.write_all(buffer.get(..piece).unwrap_or_default()).await?;
        passed += piece as u64;
        if passed >= limit {
            return Err(broken);
        }
    }
}
