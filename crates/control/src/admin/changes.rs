//! Changes of the configuration: taken to the binary, which makes them, and its answer told.

use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::{mpsc::error::TrySendError, oneshot};

use super::dispatch::{Call, Outcome};
use super::{Admin, answer, backends};
use crate::change::{Applied, Change, ChangeError, ChangeOrder, ChangeProblem, Order};

/// `PUT /api/v1/config`.
pub(super) async fn document(admin: &Admin, call: &Call) -> Outcome {
    if !call.body.is_object() {
        return Outcome::bad("Send the sections to change as a JSON object.");
    }
    make(admin, call, Change::Document(call.body.clone()), "Configuration updated successfully")
        .await
}

/// `PATCH /api/v1/config`.
pub(super) async fn patch(admin: &Admin, call: &Call) -> Outcome {
    if !call.body.is_object() {
        return Outcome::bad("Send a JSON merge patch (RFC 7396): an object of sections.");
    }
    make(admin, call, Change::Patch(call.body.clone()), "Configuration updated successfully").await
}

/// `POST /api/v1/config/reload-ssl`.
pub(super) async fn reload_tls(admin: &Admin, call: &Call) -> Outcome {
    make(admin, call, Change::ReloadTls, "SSL certificates reloaded successfully").await
}

/// `POST /api/v1/reload`.
pub(super) async fn reload(admin: &Admin, call: &Call) -> Outcome {
    make(admin, call, Change::Reload, "Configuration reloaded").await
}

/// `POST /api/v1/config/revert`.
pub(super) async fn revert(admin: &Admin, call: &Call) -> Outcome {
    let id = call.text("id").map(ToOwned::to_owned);
    make(admin, call, Change::Revert(id), "Configuration reverted").await
}

/// `POST /api/v1/endpoints/weight`.
pub(super) async fn weight(admin: &Admin, call: &Call) -> Outcome {
    let Some(weight) = call.body.get("weight").and_then(Value::as_u64) else {
        return Outcome::bad("Send upstream, endpoint and the weight as a whole number.");
    };
    let (upstream, endpoint) = match backends::named(call) {
        Ok(named) => named,
        Err(outcome) => return outcome,
    };
    let change = backends::changed(upstream, endpoint, json!({ "weight": weight }));
    make(admin, call, change, "Weight changed").await
}

/// `GET /api/v1/config/history`.
pub(super) async fn history(admin: &Admin) -> Outcome {
    let (reply, outcome) = oneshot::channel();
    if let Err(refused) = order(admin, Order::History(reply)) {
        return refused;
    }
    match outcome.await {
        Ok(versions) => Outcome::ok(&json!({ "versions": versions })),
        Err(_) => gone(),
    }
}

/// Lets all exchanges look at their deadlines again.
pub(super) fn wake(admin: &Admin) -> Result<(), Outcome> {
    order(admin, Order::Wake)
}

/// Has a change made and tells what came of it.
pub(super) async fn make(admin: &Admin, call: &Call, change: Change, done: &str) -> Outcome {
    let (reply, outcome) = oneshot::channel();
    let asked = ChangeOrder { change, dry_run: call.is_dry_run(), reply };
    if let Err(refused) = order(admin, Order::Change(asked)) {
        return refused;
    }
    match outcome.await {
        Ok(Ok(applied)) => made(&applied, call.is_dry_run(), done),
        Ok(Err(ChangeError::Refused(problems))) => refused(&problems),
        Ok(Err(ChangeError::Missing(message))) => Outcome::missing(&message),
        Ok(Err(ChangeError::Failed(message))) => {
            Outcome::refused(StatusCode::CONFLICT, "not_applied", &message)
        }
        Err(_) => gone(),
    }
}

fn order(admin: &Admin, order: Order) -> Result<(), Outcome> {
    let Some(orders) = &admin.orders else {
        return Err(Outcome::refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "no_changes",
            "This process takes no changes.",
        ));
    };
    orders.try_send(order).map_err(|error| match error {
        TrySendError::Full(_) => Outcome::refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "Other changes are under way: try again in a moment.",
        ),
        TrySendError::Closed(_) => gone(),
    })
}

fn gone() -> Outcome {
    Outcome::refused(
        StatusCode::SERVICE_UNAVAILABLE,
        "stopping",
        "The process is stopping and takes no changes.",
    )
}

fn made(applied: &Applied, dry_run: bool, done: &str) -> Outcome {
    let message = if dry_run { "Nothing was applied: this was a dry run" } else { done };
    // A struct of plain fields always becomes an object.
    let mut body = serde_json::to_value(applied).unwrap_or_default();
    body["success"] = true.into();
    body["message"] = message.into();
    body["dry_run"] = dry_run.into();
    let fields = applied.differences.iter().map(|difference| difference.path.clone()).collect();
    Outcome { response: answer(StatusCode::OK, &body).into(), fields, refused: None }
}

fn refused(problems: &[ChangeProblem]) -> Outcome {
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| match problem.path.as_str() {
            "" => problem.message.clone(),
            path => format!("{path}: {}", problem.message),
        })
        .collect();
    let message = format!("Refused, nothing has changed: {}", lines.join("; "));
    let body = json!({
        "error": { "code": "refused", "message": message, "problems": problems },
        "success": false,
        "message": message,
    });
    Outcome {
        response: answer(StatusCode::UNPROCESSABLE_ENTITY, &body).into(),
        fields: Vec::new(),
        refused: Some(message),
    }
}
