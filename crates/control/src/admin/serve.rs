//! The admin listener's connections, bounded in number, size and time.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::warn;

/// Connections at once; others wait in the system's backlog.
const CONNECTIONS_MAX: usize = 64;

/// Until a request head is whole; also how long an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a request head and of what is buffered of a body.
const BUFFER_BYTES: usize = 16 * 1024;

/// Fields of a request head.
const FIELDS_MAX: usize = 64;

/// A connection is asked to end after this, so that one that is not read from gives its place back.
const LIFETIME: Duration = Duration::from_mins(5);

/// How long it may then take.
const LIFETIME_GRACE: Duration = Duration::from_secs(10);

/// Pause after a failed accept: mostly there are no files left, and asking again at once helps nobody.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Accepts and answers until the runtime ends.
pub(super) async fn serve(listener: TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "admin listener: cannot accept");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // So that the audit log can say where a request came from.
        let router = router.clone().layer(Extension(Peer(peer)));
        tokio::spawn(async move {
            let _place = place;
            converse(stream, router).await;
        });
    }
}

async fn converse(stream: TcpStream, router: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES)
        .max_headers(FIELDS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    // How it ends is the caller's affair: a broken connection is not worth a line.
    if timeout(LIFETIME, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(LIFETIME_GRACE, connection).await;
    }
}
