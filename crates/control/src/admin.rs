//! The admin listener: what it answers, and to whom.

mod auth;
mod serve;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use serde_json::{Value, json};
use tidegate_config::masked_json;
use tidegate_snapshot::Shared;
use tracing::info;

use crate::metrics::MetricsPage;
use crate::{AdminBind, ControlError, monitor, process};

const MIB: u64 = 1024 * 1024;

/// What the handlers know.
struct Admin {
    shared: Arc<Shared>,
    metrics: MetricsPage,
    token: auth::Token,
}

/// The admin listener, bound and not yet serving.
pub(crate) struct Opened {
    listener: tokio::net::TcpListener,
    router: Router,
}

/// Binds the admin listener, or takes the socket that was handed over. Must be called inside the
/// runtime that will serve it. Answers with a second handle of the socket too.
pub(crate) fn open(
    shared: &Arc<Shared>,
    bind: AdminBind,
    socket: Option<TcpListener>,
) -> Result<(Opened, TcpListener), ControlError> {
    let failed = |source| ControlError::Bind { address: bind.bind, source };
    let listener = match socket {
        // Another address may be configured by now.
        Some(socket) if socket.local_addr().is_ok_and(|at| serves(at, bind.bind)) => socket,
        _ => TcpListener::bind(bind.bind).map_err(failed)?,
    };
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let second = listener.try_clone().map_err(failed)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
    let admin = Admin {
        shared: Arc::clone(shared),
        metrics: MetricsPage::new(Arc::clone(shared)),
        token: auth::Token::new(shared, bind.token),
    };
    info!(%address, "admin listener");
    Ok((Opened { listener, router: router(Arc::new(admin)) }, second))
}

/// Is a socket bound to what is asked for? Port 0 asks for any.
fn serves(bound: SocketAddr, asked: SocketAddr) -> bool {
    bound.ip() == asked.ip() && (asked.port() == 0 || asked.port() == bound.port())
}

impl Opened {
    /// Answers until the runtime ends.
    pub(crate) async fn serve(self) {
        serve::serve(self.listener, self.router).await;
    }
}

fn router(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .route("/api/v1/config", get(config))
        .route("/api/monitor/health", get(monitor_health))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        // Outermost: what exists is nobody's business without the token.
        .layer(middleware::from_fn_with_state(Arc::clone(&admin), auth::authorize))
        .with_state(admin)
}

/// An error of the admin API: `{"error":{"code":…,"message":…}}`.
fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    let body = json!({ "error": { "code": code, "message": message } });
    (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

fn answer(status: StatusCode, body: Value) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    match admin.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, crate::metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The metrics could not be written.",
        ),
    }
}

async fn health(State(admin): State<Arc<Admin>>) -> Response {
    if admin.shared.live.is_draining() {
        answer(StatusCode::SERVICE_UNAVAILABLE, json!({ "status": "draining" }))
    } else {
        answer(StatusCode::OK, json!({ "status": "ok" }))
    }
}

async fn config(State(admin): State<Arc<Admin>>) -> Response {
    let snapshot = admin.shared.snapshot.load_full();
    answer(
        StatusCode::OK,
        json!({ "generation": snapshot.generation, "config": masked_json(&snapshot.config) }),
    )
}

/// The fields that operators of the older relay have in their scripts: `goroutines` is the old name
/// of `tasks`.
async fn monitor_health(State(admin): State<Arc<Admin>>) -> Response {
    let live = &admin.shared.live;
    let control_tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks() as u64;
    let tasks = monitor::tasks(live) + control_tasks;
    let resident = process::resident_bytes().unwrap_or_else(|| live.gauges.memory.load(Relaxed));
    let allocated = process::anonymous_bytes().unwrap_or(resident);
    answer(
        StatusCode::OK,
        json!({
            "status": "ok",
            "goroutines": tasks,
            "tasks": tasks,
            "memory": {
                "alloc_mb": allocated / MIB,
                "sys_mb": resident / MIB,
                // Memory is given back by the allocator as it goes: there is nothing to count.
                "num_gc": 0,
            },
        }),
    )
}

async fn not_found(uri: Uri) -> Response {
    let message = format!("There is nothing at {}.", uri.path());
    refusal(StatusCode::NOT_FOUND, "not_found", &message)
}

async fn method_not_allowed() -> Response {
    refusal(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "This path is only for GET.")
}
