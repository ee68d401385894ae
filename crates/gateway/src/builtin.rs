//! What every listener answers itself: health, status, and the list of models.

use std::io::Write as _;
use std::sync::atomic::Ordering::Relaxed;

use tidegate_dialect::{Call, Dialect, Shape, push_json_string};
use tidegate_snapshot::{Live, Snapshot};
use tidegate_wire::http1::head::Method;
use tidegate_wire::http1::write::{put_field, put_number_field, put_status_line};

use crate::compose::put_connection;
use crate::request::Request;

/// What has a path of its own on every listener.
enum Page {
    Health,
    Status,
}

impl Page {
    fn at(path: &[u8]) -> Option<Self> {
        match path {
            b"/health" => Some(Self::Health),
            b"/status" => Some(Self::Status),
            _ => None,
        }
    }
}

/// Answers `GET /health` and `GET /status`, at any load and without a key.
pub(crate) fn answer(
    snapshot: &Snapshot,
    live: &Live,
    request: &Request,
    keep_alive: bool,
) -> Option<Vec<u8>> {
    if !matches!(request.method, Method::Get | Method::Head) {
        return None;
    }
    let (status, body) = match Page::at(request.path())? {
        Page::Health => health(snapshot, live),
        Page::Status => (200, status(snapshot, live)),
    };
    Some(json_reply(request, status, &body, keep_alive))
}

/// Is this path answered here, whatever the routes are?
pub(crate) fn is_own(path: &[u8]) -> bool {
    Page::at(path).is_some()
}

/// Writes a JSON reply of our own.
pub(crate) fn json_reply(request: &Request, status: u16, body: &[u8], keep_alive: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(160 + body.len());
    put_status_line(&mut out, status);
    put_field(&mut out, b"Content-Type", b"application/json");
    put_field(&mut out, b"Cache-Control", b"no-store");
    put_number_field(&mut out, b"Content-Length", body.len() as u64);
    put_connection(&mut out, request.version, keep_alive);
    out.extend_from_slice(b"\r\n");
    if request.method != Method::Head {
        out.extend_from_slice(body);
    }
    out
}

fn health(snapshot: &Snapshot, live: &Live) -> (u16, Vec<u8>) {
    let in_flight = live.gauges.in_flight.load(Relaxed);
    let limit = snapshot.limits.admission.in_flight;
    let (status, word) = if live.is_draining() {
        (503, "draining")
    } else if in_flight >= limit {
        (200, "full")
    } else if in_flight * 100 >= limit * 80 {
        (200, "busy")
    } else {
        (200, "ok")
    };
    (status, format!("{{\"status\":\"{word}\"}}").into_bytes())
}

/// The fields that operators of the older proxy have on their dashboards, and a few more.
fn status(snapshot: &Snapshot, live: &Live) -> Vec<u8> {
    const MIB: u64 = 1024 * 1024;
    let gauges = &live.gauges;
    let limits = &snapshot.limits;
    let total: u64 = live.shards.iter().map(|cell| cell.requests.value()).sum();
    let errors: u64 = live.shards.iter().map(|cell| cell.errors.value()).sum();
    let mut body = Vec::with_capacity(320);
    // Writing to a vector cannot fail.
    let _ = write!(
        body,
        "{{\"current_connections\":{},\"max_connections\":{},\"memory_usage_mb\":{},\
         \"memory_limit_mb\":{},\"total_requests\":{total},\"error_count\":{errors},\
         \"open_connections\":{},\"open_connections_limit\":{},\"queued_requests\":{},\
         \"queue_size\":{},\"uptime_seconds\":{}}}",
        gauges.in_flight.load(Relaxed),
        limits.admission.in_flight,
        gauges.memory.load(Relaxed) / MIB,
        limits.admission.memory / MIB,
        gauges.connections.load(Relaxed),
        limits.connections,
        gauges.waiting.load(Relaxed),
        limits.admission.waiting,
        live.now_ms() / 1000,
    );
    body
}

/// Answers `GET /v1/models` and `GET /v1/models/{id}` from the configuration, where it names
/// models. Where it only has patterns, the provider is asked.
pub(crate) fn models(
    snapshot: &Snapshot,
    call: Call,
    path: &[u8],
    request: &Request,
    keep_alive: bool,
) -> Option<Vec<u8>> {
    let names: Vec<&str> = snapshot.models.listed.iter().map(|model| model.name.as_str()).collect();
    let body = match call.shape {
        Shape::List if names.is_empty() => return None,
        Shape::List => list(call.dialect, &names),
        Shape::ModelById => {
            let id = path.rsplit(|byte| *byte == b'/').next()?;
            let name = names.into_iter().find(|name| name.as_bytes() == id)?;
            let mut out = Vec::new();
            entry(call.dialect, name, &mut out);
            out
        }
        _ => return None,
    };
    Some(json_reply(request, 200, &body, keep_alive))
}

fn list(dialect: Dialect, names: &[&str]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + names.len() * 96);
    out.extend_from_slice(match dialect {
        Dialect::OpenAi => b"{\"object\":\"list\",\"data\":[".as_slice(),
        Dialect::Anthropic => b"{\"data\":[",
    });
    for (index, name) in names.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        entry(dialect, name, &mut out);
    }
    out.push(b']');
    if dialect == Dialect::Anthropic {
        out.extend_from_slice(b",\"has_more\":false,\"first_id\":");
        push_json_string(names.first().copied().unwrap_or_default(), &mut out);
        out.extend_from_slice(b",\"last_id\":");
        push_json_string(names.last().copied().unwrap_or_default(), &mut out);
    }
    out.push(b'}');
    out
}

fn entry(dialect: Dialect, name: &str, out: &mut Vec<u8>) {
    match dialect {
        Dialect::OpenAi => {
            out.extend_from_slice(b"{\"id\":");
            push_json_string(name, out);
            out.extend_from_slice(
                b",\"object\":\"model\",\"created\":0,\"owned_by\":\"tidegate\"}",
            );
        }
        Dialect::Anthropic => {
            out.extend_from_slice(b"{\"type\":\"model\",\"id\":");
            push_json_string(name, out);
            out.extend_from_slice(b",\"display_name\":");
            push_json_string(name, out);
            out.extend_from_slice(b",\"created_at\":\"1970-01-01T00:00:00Z\"}");
        }
    }
}
