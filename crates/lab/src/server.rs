//! Listening, accepting and running on an own thread: what the provider, the origin and the fault proxy share.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::oneshot;

/// Connections that may wait to be accepted. The kernel lowers it to its own limit (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// After a failed accept (out of files, usually) this long nothing is accepted, instead of spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A listening socket on `addr` with a backlog fit for thousands of clients at once; port 0 picks a free one.
pub fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The runtime that every server and every load generator thread of this crate runs on.
pub fn local_runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
}

/// Accepts for ever and runs `serve` as one task per connection. The number counts accepted connections from 1.
///
/// Must run on a `LocalRuntime` (see [`local_runtime`]). Returns only when the listener cannot be used at all.
pub(crate) async fn accept_each<F, Served>(listener: TcpListener, serve: F) -> io::Result<()>
where
    F: Fn(TcpStream, u64) -> Served,
    Served: Future<Output = ()> + 'static,
{
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut number = 0;
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            number += 1;
            // Chunks of a stream must not wait for acknowledgements; failing only costs latency.
            let _ = stream.set_nodelay(true);
            tokio::task::spawn_local(serve(stream, number));
        } else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

/// A server that runs on its own thread. Dropping it stops the server: its listener and all its connections close.
#[derive(Debug)]
pub struct ServerHandle {
    /// Where it listens, with the real port.
    pub addr: SocketAddr,
    /// Dropping the sender tells the thread to end. `None` once stopped.
    running: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

impl ServerHandle {
    /// Stops the server and waits until its sockets are closed. Stopping twice is fine.
    pub fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((stop, thread)) = running {
            drop(stop);
            // A panic of the server's thread has been printed there; stopping succeeded all the same.
            let _ = thread.join();
        }
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Listens on `addr` and runs the server that `start` makes on a new thread called `name`.
pub(crate) fn spawn<F, Server>(name: &str, addr: SocketAddr, start: F) -> io::Result<ServerHandle>
where
    F: FnOnce(TcpListener) -> Server + Send + 'static,
    Server: Future<Output = io::Result<()>>,
{
    let listener = listen(addr)?;
    let addr = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let Ok(runtime) = local_runtime() else { return };
        runtime.block_on(async {
            tokio::select! {
                _ = start(listener) => {}
                _ = stopped => {}
            }
        });
    })?;
    Ok(ServerHandle { addr, running: Mutex::new(Some((stop, thread))) })
}
