//! The data plane: the only crate that touches traffic. Modules in request order; start with
//! `pipeline.rs`, which tells the story of a request on one screen.
//!
//! - `shard`: one thread with its own runtime, sockets, pools, timers and buffers
//! - `listener`, `downstream`, `client`, `request`: from a socket to a request
//! - `pipeline`: route → auth → admission → pick → exchange → record
//! - `upstream`: picking an endpoint, pool, connections, egress proxies
//! - `exchange`, `compose`, `observe`: one attempt, both directions as they come
//! - `tunnel`: bytes both ways, for WebSocket and TCP connections
//! - `mirror`: copies of requests for another upstream
//! - `reply`, `builtin`, `fixed`: what we say ourselves
//! - `record`: what is known afterwards, written once, on Drop
//! - `stream`, `timer`, `buffer`, `error`: what the others stand on

mod admission;
mod auth;
mod buffer;
mod builtin;
mod client;
mod compose;
mod downstream;
mod edge;
mod error;
mod exchange;
mod fixed;
mod listener;
mod mirror;
mod observe;
mod pipeline;
mod record;
mod reply;
mod request;
mod rounds;
mod route;
mod shard;
mod stream;
mod timer;
mod tunnel;
mod upstream;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use tidegate_snapshot::{Shared, Snapshot};
use tokio::sync::mpsc;

use admission::Gates;
use shard::Command;

/// Commands that may wait for a shard; it takes them between two turns of its loop.
const COMMANDS_MAX: usize = 64;

/// The running data plane: one thread per shard.
#[derive(Debug)]
pub struct Gateway {
    shards: Vec<Handle>,
    /// By configured address.
    bound: BTreeMap<SocketAddr, Bound>,
    /// Sockets of the process before us that no listener has claimed yet.
    inherited: Vec<(SocketAddr, TcpListener)>,
}

/// A listener's sockets.
#[derive(Debug)]
struct Bound {
    /// The address as bound; it differs from the configured one for port 0.
    address: SocketAddr,
    /// A second handle of each, for handing them over. A socket closes with its last handle.
    sockets: Vec<TcpListener>,
}

/// Sockets that are bound and not yet accepted on, one per shard and address.
#[derive(Debug)]
pub struct Fresh(Vec<(SocketAddr, Vec<TcpListener>)>);

#[derive(Debug)]
struct Handle {
    commands: mpsc::Sender<Command>,
    thread: JoinHandle<io::Result<()>>,
}

impl Gateway {
    /// Starts a thread for each shard of `shared` and listens on the addresses of its snapshot.
    /// `inherited`: listening sockets of the process before us, by the configured address of their
    /// listener; those that the snapshot does not name are closed.
    ///
    /// Fails when an address cannot be bound; nothing is left running then.
    pub fn start(
        shared: &Arc<Shared>,
        inherited: Vec<(SocketAddr, TcpListener)>,
    ) -> io::Result<Self> {
        let count = shared.live.shard_count();
        let gates = Gates::new(count);
        let mut gateway =
            Self { shards: Vec::with_capacity(count), bound: BTreeMap::new(), inherited };
        for index in 0..count {
            let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
            let (shared, gates) = (Arc::clone(shared), Arc::clone(&gates));
            let thread = std::thread::Builder::new()
                .name(format!("shard-{index}"))
                .spawn(move || shard::run(index, shared, gates, receiver))?;
            gateway.shards.push(Handle { commands, thread });
        }
        let snapshot = shared.snapshot.load();
        match gateway.bind(&snapshot) {
            Ok(fresh) => {
                gateway.listen(fresh, &snapshot);
                gateway.inherited.clear();
            }
            Err(error) => {
                gateway.stop();
                return Err(error);
            }
        }
        Ok(gateway)
    }

    /// Binds the addresses of the snapshot that are not bound yet. Nothing is accepted on them
    /// before [`Gateway::listen`].
    pub fn bind(&self, snapshot: &Snapshot) -> io::Result<Fresh> {
        let mut fresh: Vec<(SocketAddr, Vec<TcpListener>)> = Vec::new();
        for listener in &snapshot.listeners {
            let address = listener.bind;
            if self.bound.contains_key(&address) || fresh.iter().any(|(a, _)| *a == address) {
                continue;
            }
            let cannot = |error: io::Error| {
                io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
            };
            let inherited = self.inherited.iter().filter(|(listener, _)| *listener == address);
            let inherited: io::Result<Vec<_>> = inherited.map(|(_, s)| s.try_clone()).collect();
            let mut sockets = inherited.map_err(cannot)?;
            if sockets.is_empty() {
                let ours = self.bound.values().any(|bound| bound.address.port() == address.port());
                sockets = listener::bind(address, self.shards.len(), ours).map_err(cannot)?;
            } else {
                listener::bind_more(&mut sockets, self.shards.len()).map_err(cannot)?;
            }
            fresh.push((address, sockets));
        }
        Ok(Fresh(fresh))
    }

    /// Makes the set of addresses listened on equal to that of the snapshot, which is in force.
    pub fn listen(&mut self, fresh: Fresh, snapshot: &Snapshot) {
        for (configured, sockets) in fresh.0 {
            let Some(address) = sockets.first().and_then(|socket| socket.local_addr().ok()) else {
                continue;
            };
            let kept = sockets.iter().filter_map(|socket| socket.try_clone().ok()).collect();
            self.bound.insert(configured, Bound { address, sockets: kept });
            // A process before us may have had more shards: then one accepts on several sockets.
            for (handle, socket) in self.shards.iter().cycle().zip(sockets) {
                handle.tell(Command::Listen(configured, socket));
            }
        }
        let wanted = |address: &SocketAddr| snapshot.listener(*address).is_some();
        let gone: Vec<_> = self.bound.keys().filter(|a| !wanted(a)).copied().collect();
        for address in gone {
            self.bound.remove(&address);
            for handle in &self.shards {
                handle.tell(Command::Unlisten(address));
            }
        }
    }

    /// The configured addresses and what they are bound to.
    pub fn listening(&self) -> Vec<(SocketAddr, SocketAddr)> {
        self.bound.iter().map(|(configured, bound)| (*configured, bound.address)).collect()
    }

    /// The addresses that are listened on, as bound.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.bound.values().map(|bound| bound.address).collect()
    }

    /// Tells idle connections to close. The live state must say that it drains.
    pub fn close_idle(&self) {
        for handle in &self.shards {
            handle.tell(Command::Drain);
        }
    }

    /// The listening sockets with the configured address of their listener, to be handed over to
    /// the process after us.
    pub fn sockets(&self) -> Vec<(SocketAddr, &TcpListener)> {
        let listeners = self.bound.iter();
        listeners.flat_map(|(at, bound)| bound.sockets.iter().map(|s| (*at, s))).collect()
    }

    /// Lets everything that waits look at its deadlines: one has moved closer.
    pub fn wake(&self) {
        for handle in &self.shards {
            handle.tell(Command::Wake);
        }
    }

    /// Stops accepting. Connections that the kernel has accepted on sockets which were handed over
    /// go to the process that has them now.
    pub fn close_listeners(&mut self) {
        self.bound.clear();
        for handle in &self.shards {
            handle.tell(Command::CloseListeners);
        }
    }

    /// Ends the threads; what is still open is dropped.
    pub fn stop(self) {
        for handle in &self.shards {
            handle.tell(Command::Stop);
        }
        for handle in self.shards {
            // Without its sender a shard stops even if the command found no room.
            drop(handle.commands);
            match handle.thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a shard ended with an error"),
                Err(_) => tracing::error!("a shard panicked"),
            }
        }
    }
}

impl Handle {
    fn tell(&self, command: Command) {
        if let Err(error) = self.commands.try_send(command) {
            tracing::error!(%error, "a shard does not take commands");
        }
    }
}
