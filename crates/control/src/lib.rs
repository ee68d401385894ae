//! The control plane: admin API, metrics page, name resolution, health checks, monitor.
//!
//! It runs on its own threads and meets the data plane only in [`Shared`]: it reads the snapshot
//! and the counters, and writes resolved addresses, health verdicts and sampled gauges. Nothing
//! here can slow a shard.
//!
//! - [`resolve_once`] gives every name its addresses before the listeners open.
//! - [`Control::start`] then runs, until [`Control::stop`]:
//!   - `reload`: sees every new snapshot and tells the others;
//!   - `names`: keeps the addresses of names fresh;
//!   - `health`: asks endpoints whether they are well;
//!   - `monitor`: samples memory and the rate at which exchanges end;
//!   - `admin`: answers on the admin listener, `metrics` among others.

mod admin;
mod change;
mod health;
mod metrics;
mod monitor;
mod names;
mod process;
mod reload;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tidegate_snapshot::Shared;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

pub use change::{
    Applied, Change, ChangeError, ChangeOrder, ChangeProblem, ORDERS_MAX, Order, Version,
};
pub use names::resolve_once;

/// The OpenAPI document of the admin API (version 3.1).
pub fn openapi() -> serde_json::Value {
    admin::document()
}

/// Threads that run the control plane.
const THREADS: usize = 2;

/// How long a stop waits for what its threads are doing.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// What is fixed when the control plane starts.
#[derive(Debug, Default)]
pub struct Options {
    /// The admin listener; without it there is none.
    pub admin: Option<AdminBind>,
    /// The admin listener's socket, from the process whose place we take; else it is bound anew.
    pub admin_socket: Option<TcpListener>,
    /// Takes what the admin API asks for to whoever does it; without it nothing can be changed.
    pub orders: Option<mpsc::Sender<Order>>,
}

/// Where the admin listener is and what opens it.
#[derive(Clone)]
pub struct AdminBind {
    /// Its address; port 0 lets the system choose one ([`Control::admin_address`]).
    pub bind: SocketAddr,
    /// The token, where the configuration that is in force at the start has none. Where it has
    /// one, that counts, and follows reloads.
    pub token: String,
}

impl fmt::Debug for AdminBind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminBind").field("bind", &self.bind).finish_non_exhaustive()
    }
}

/// Why the control plane cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The admin listener's address cannot be had.
    #[error("admin.bind: cannot listen on {address}: {source}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Its threads cannot be made.
    #[error("the control plane's threads: {0}")]
    Threads(io::Error),
}

/// The running control plane. Dropped, it ends without waiting.
#[derive(Debug)]
pub struct Control {
    runtime: Option<Runtime>,
    /// A second handle of the admin listener's socket, and the task that accepts on it.
    admin: Option<(TcpListener, tokio::task::AbortHandle)>,
}

impl Control {
    /// Opens the admin listener and starts the threads.
    pub fn start(shared: Arc<Shared>, options: Options) -> Result<Self, ControlError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .max_blocking_threads(1)
            .thread_name("control")
            .enable_all()
            .build()
            .map_err(ControlError::Threads)?;
        // Sockets register with the runtime that is entered.
        let entered = runtime.enter();
        let socket = options.admin_socket;
        let orders = options.orders;
        let opened =
            options.admin.map(|admin| admin::open(&shared, admin, socket, orders)).transpose()?;
        let admin =
            opened.map(|(admin, socket)| (socket, runtime.spawn(admin.serve()).abort_handle()));
        let live = Arc::clone(&shared.live);
        let snapshots = reload::watch(shared);
        runtime.spawn(names::keep_fresh(Arc::clone(&live), snapshots.clone()));
        runtime.spawn(health::run(Arc::clone(&live), snapshots));
        runtime.spawn(monitor::run(live));
        drop(entered);
        Ok(Self { runtime: Some(runtime), admin })
    }

    /// The address that the admin listener has.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_socket()?.local_addr().ok()
    }

    /// The admin listener's socket, to be handed over to the process that takes our place.
    pub fn admin_socket(&self) -> Option<&TcpListener> {
        self.admin.as_ref().map(|(socket, _)| socket)
    }

    /// Stops accepting on the admin listener.
    pub fn close_admin(&mut self) {
        if let Some((_, task)) = self.admin.take() {
            task.abort();
        }
    }

    /// Ends the threads; waits for them for a second at most.
    pub fn stop(mut self) {
        if let Some(runtime) = self.runtime.take() {
            // On a thread of its own: a runtime must not be waited for on a thread of another.
            let ending = std::thread::Builder::new()
                .name("control-stop".to_owned())
                .spawn(move || runtime.shutdown_timeout(STOP_GRACE));
            if let Ok(ending) = ending {
                let _ = ending.join();
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
