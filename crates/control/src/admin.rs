//! The admin listener: what it answers, and to whom.

mod audit;
mod auth;
mod backends;
mod changes;
mod dispatch;
mod openapi;
mod report;
mod resource;
mod serve;
mod show;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use axum::{Json, Router, middleware};
use serde_json::{Value, json};
use tidegate_snapshot::Shared;
use tokio::sync::mpsc;
use tracing::info;

use crate::change::Order;
use crate::metrics::MetricsPage;
use crate::{AdminBind, ControlError};

pub(crate) use openapi::document;

/// What the handlers know.
struct Admin {
    shared: Arc<Shared>,
    metrics: MetricsPage,
    token: auth::Token,
    wrong: auth::Wrong,
    audit: audit::Audit,
    reports: report::Reports,
    /// Takes changes to whoever makes them; without it there are none.
    orders: Option<mpsc::Sender<Order>>,
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
    orders: Option<mpsc::Sender<Order>>,
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
        wrong: auth::Wrong::default(),
        audit: audit::Audit::default(),
        reports: report::Reports::default(),
        orders,
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

/// Every resource of the table, each answered by [`dispatch::run`].
fn router(admin: Arc<Admin>) -> Router {
    let mut router = Router::new();
    for resource in &resource::TABLE {
        let filter = match resource.method {
            "PUT" => MethodFilter::PUT,
            "POST" => MethodFilter::POST,
            "PATCH" => MethodFilter::PATCH,
            "DELETE" => MethodFilter::DELETE,
            _ => MethodFilter::GET,
        };
        let handler = move |State(admin): State<Arc<Admin>>, request: Request| {
            dispatch::run(admin, resource, request)
        };
        router = router.route(resource.path, on(filter, handler));
    }
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        // Outermost: what exists is nobody's business without the token.
        .layer(middleware::from_fn_with_state(Arc::clone(&admin), auth::authorize))
        .with_state(admin)
}

/// An error of the admin API: `{"error":{"code":…,"message":…}}`, and the message where SpeedMimi
/// had it.
fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    answer(
        status,
        &json!({
            "error": { "code": code, "message": message },
            "success": false,
            "message": message,
        }),
    )
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

async fn not_found(uri: Uri) -> Response {
    let message = format!("There is nothing at {}. /api/v1/openapi.json lists all.", uri.path());
    refusal(StatusCode::NOT_FOUND, "not_found", &message)
}

async fn method_not_allowed(method: Method, uri: Uri) -> Response {
    let known: Vec<&str> = resource::TABLE
        .iter()
        .filter(|resource| resource.path == uri.path())
        .map(|resource| resource.method)
        .collect();
    let message = format!("{} does not take {method}: use {}.", uri.path(), known.join(" or "));
    refusal(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &message)
}
