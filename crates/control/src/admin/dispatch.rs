//! From a request to the operation that the table names: role, body, deadline, audit.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tidegate_config::Role;
use tokio::time::timeout;

use super::auth::Who;
use super::resource::{Operation, Resource};
use super::serve::Peer;
use super::{Admin, answer, audit, backends, changes, openapi, refusal, report, show};
use crate::metrics;

/// Bytes of a request's body: as many as a configuration may have.
const BODY_MAX: usize = 1 << 20;

/// How long a body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an operation may take: a change reads files and binds addresses.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(30);

/// What an operation knows of its request.
#[derive(Debug)]
pub(super) struct Call {
    /// Whose it is.
    pub(super) who: Who,
    /// Query parameters, as sent.
    pub(super) query: Vec<(String, String)>,
    /// The body; null without one.
    pub(super) body: Value,
}

/// What an operation answers, and what is kept of it.
pub(super) struct Outcome {
    pub(super) response: Box<Response>,
    /// The fields that it changed.
    pub(super) fields: Vec<String>,
    /// The message of a refusal.
    pub(super) refused: Option<String>,
}

impl Outcome {
    /// A plain answer.
    pub(super) fn ok(body: &Value) -> Self {
        Self { response: answer(StatusCode::OK, body).into(), fields: Vec::new(), refused: None }
    }

    /// A refusal in the usual form.
    pub(super) fn refused(status: StatusCode, code: &str, message: &str) -> Self {
        Self {
            response: refusal(status, code, message).into(),
            fields: Vec::new(),
            refused: Some(message.to_owned()),
        }
    }

    /// The request itself is wrong.
    pub(super) fn bad(message: &str) -> Self {
        Self::refused(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// What it is about is not there.
    pub(super) fn missing(message: &str) -> Self {
        Self::refused(StatusCode::NOT_FOUND, "not_found", message)
    }
}

impl Call {
    /// A query parameter; the first of that name counts.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every query parameter of that name.
    pub(super) fn parameters(&self, name: &str) -> Vec<String> {
        let wanted = self.query.iter().filter(|(key, _)| key == name);
        wanted.map(|(_, value)| value.clone()).collect()
    }

    /// A text of the body, or the query parameter of that name.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.body.get(name).and_then(Value::as_str).or_else(|| self.parameter(name))
    }

    /// The first of several names that there is.
    pub(super) fn any_text(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.text(name)).filter(|text| !text.is_empty())
    }

    /// Is nothing to be applied?
    pub(super) fn is_dry_run(&self) -> bool {
        matches!(self.parameter("dry_run"), Some("true" | "1" | ""))
    }
}

/// Answers one request for a resource of the table.
pub(super) async fn run(
    admin: Arc<Admin>,
    resource: &'static Resource,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Some(who) = parts.extensions.get::<Who>().cloned() else {
        return refusal(StatusCode::UNAUTHORIZED, "unauthenticated", "Send the admin token.");
    };
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let from = parts.extensions.get::<Peer>().map_or(nowhere, |peer| peer.0);
    let query = parts.uri.query().unwrap_or_default();
    let query =
        url::form_urlencoded::parse(query.as_bytes()).into_owned().take(32).collect::<Vec<_>>();
    let mut call = Call { who, query, body: Value::Null };
    let mut subject = Vec::new();
    let outcome = if call.who.role < resource.role {
        let message = format!(
            "This needs the role {}; the token {:?} has the role {}.",
            resource.role.as_str(),
            call.who.name,
            call.who.role.as_str()
        );
        Outcome::refused(StatusCode::FORBIDDEN, "forbidden", &message)
    } else {
        match read(body).await {
            Ok(body) => {
                subject = audit::subject(&body);
                call.body = body;
                match timeout(OPERATION_TIMEOUT, operate(&admin, resource.operation, &call)).await {
                    Ok(outcome) => outcome,
                    Err(_) => Outcome::refused(
                        StatusCode::GATEWAY_TIMEOUT,
                        "timeout",
                        "This took too long; look at /api/v1/snapshot for what is in force.",
                    ),
                }
            }
            Err(refused) => refused,
        }
    };
    // Looking is not recorded, being refused is: somebody tries what their token may not.
    if resource.role > Role::Read {
        subject.extend(outcome.fields);
        admin.audit.note(audit::Entry {
            sequence: 0,
            at_ms: 0,
            who: call.who.name.clone(),
            from,
            what: format!("{} {}", resource.method, resource.path),
            fields: subject,
            dry_run: call.is_dry_run(),
            status: outcome.response.status().as_u16(),
            refused: outcome.refused,
        });
    }
    *outcome.response
}

async fn read(body: axum::body::Body) -> Result<Value, Outcome> {
    let bytes = match timeout(BODY_TIMEOUT, to_bytes(body, BODY_MAX)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => {
            let message = format!("The body is broken, or longer than {BODY_MAX} bytes.");
            return Err(Outcome::refused(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                &message,
            ));
        }
        Err(_) => {
            let message = "The body took too long to come.";
            return Err(Outcome::refused(StatusCode::REQUEST_TIMEOUT, "body_timeout", message));
        }
    };
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| Outcome::bad(&format!("The body is not JSON: {error}")))
}

async fn operate(admin: &Admin, operation: Operation, call: &Call) -> Outcome {
    match operation {
        Operation::Metrics => page(admin),
        Operation::Health => show::health(admin),
        Operation::MonitorHealth => show::monitor_health(admin),
        Operation::ShowConfig => show::config(admin),
        Operation::Listeners => show::listeners(admin),
        Operation::Routes => show::routes(admin),
        Operation::Upstreams => show::upstreams(admin),
        Operation::Endpoints => show::endpoints(admin, call),
        Operation::Snapshot => show::snapshot(admin),
        Operation::Explain => show::explain(admin, call),
        Operation::Audit => show::audit(admin, call),
        Operation::OpenApi => Outcome::ok(&openapi::document()),
        Operation::MergeDocument => changes::document(admin, call).await,
        Operation::MergePatch => changes::patch(admin, call).await,
        Operation::ReloadTls => changes::reload_tls(admin, call).await,
        Operation::Reload => changes::reload(admin, call).await,
        Operation::History => changes::history(admin).await,
        Operation::Revert => changes::revert(admin, call).await,
        Operation::Weight => changes::weight(admin, call).await,
        Operation::ListBackends => backends::list(admin, call),
        Operation::AddBackend => backends::add(admin, call).await,
        Operation::RemoveBackend => backends::remove(admin, call).await,
        Operation::UpdateBackend => backends::update(admin, call).await,
        Operation::Disconnect | Operation::Drain => backends::drain(admin, call),
        Operation::Undrain => backends::undrain(admin, call),
        Operation::ServerStats => report::server(admin),
        Operation::BackendStats => report::backend(admin, call),
        Operation::Report => report::take(admin, call),
    }
}

fn page(admin: &Admin) -> Outcome {
    match admin.metrics.text() {
        Ok(text) => Outcome {
            response: ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text)
                .into_response()
                .into(),
            fields: Vec::new(),
            refused: None,
        },
        Err(_) => Outcome::refused(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The metrics could not be written.",
        ),
    }
}
