//! Where a request goes: the path normalised, the longest matching route, the model's providers.

use std::borrow::Cow;
use std::sync::Arc;

use tidegate_dialect::json::RequestFacts;
use tidegate_dialect::multipart::FormFacts;
use tidegate_dialect::{
    Dialect, Shape, Text, classify, rename_form_model, rename_model, scan_form, scan_request,
};
use tidegate_policy::path::normalise;
use tidegate_policy::route::Asked;
use tidegate_snapshot::{
    Changes, Destination, FieldEdits, Group, Model, Reason, Route, Snapshot, Traffic,
};
use tidegate_wire::http1::head::{FieldId, Method};

use crate::builtin;
use crate::error::{Cause, ProxyError};
use crate::exchange::upgrade;
use crate::record::Record;
use crate::request::Request;
use crate::shard::Shard;

/// The route of a request and the path that is forwarded: the one that was matched, or what the
/// route makes of it.
#[derive(Debug)]
pub(crate) struct Routed<'s> {
    /// The route.
    pub(crate) route: &'s Arc<Route>,
    /// The path to forward, without the query, where it differs from the one written.
    path: Option<Vec<u8>>,
    /// What an LLM route was asked for; None on plain routes.
    pub(crate) llm: Option<tidegate_dialect::Call>,
}

impl Routed<'_> {
    /// The path to forward.
    pub(crate) fn path<'r>(&'r self, request: &'r Request) -> &'r [u8] {
        self.path.as_deref().unwrap_or_else(|| request.path())
    }

    /// What the route changes on the way.
    pub(crate) fn changes(&self) -> Option<&Changes> {
        self.route.changes.as_deref()
    }

    /// What it changes of the reply's fields.
    pub(crate) fn reply_edits(&self) -> Option<&FieldEdits> {
        self.changes().map(|changes| &changes.reply)
    }
}

/// Finds the route, and tells the record, so that every reply from here on is in the caller's
/// dialect.
pub(crate) fn find<'s>(
    snapshot: &'s Snapshot,
    request: &Request,
    record: &mut Record<'s>,
) -> Result<Routed<'s>, ProxyError> {
    if matches!(request.method, Method::Connect | Method::Trace) {
        return Err(ProxyError::text(Reason::BadRequest, "CONNECT and TRACE are not served here."));
    }
    let path = match normalise(request.path()) {
        Ok(path) => path,
        Err(error) => return Err(ProxyError::text(Reason::BadRequest, error.to_string())),
    };
    let asked = Asked {
        host: request.head().authority.of(request.bytes()),
        path: &path,
        method: request.head().method_name.of(request.bytes()),
    };
    let route = snapshot
        .route_table
        .find(&asked, &|condition| request.has_field(condition))
        .and_then(|index| snapshot.routes.get(index))
        .ok_or_else(|| not_found(snapshot, request, &asked))?;
    record.route = Some(&route.series);
    if request.connects() && !may_tunnel(request, &route.to) {
        return Err(ProxyError::text(Reason::NoRoute, "There is no WebSocket here."));
    }
    let llm = match route.to {
        Destination::Upstream(_)
        | Destination::Split(_)
        | Destination::Redirect(_)
        | Destination::Reply(_) => None,
        Destination::Llm => {
            let method = request.head().method_name.of(request.bytes());
            let anthropic = request.field(FieldId::AnthropicVersion).is_some();
            Some(classify(method, &path, anthropic).ok_or_else(|| {
                ProxyError::text(
                    Reason::NoRoute,
                    "LLM requests have paths under /v1/, such as /v1/chat/completions or \
                     /v1/messages.",
                )
            })?)
        }
    };
    record.llm = llm;
    let rewrite = route.changes.as_ref().and_then(|changes| changes.rewrite.as_ref());
    let rewritten = rewrite
        .map_or(Ok(None), |rewrite| rewrite.apply(&path))
        .map_err(|error| ProxyError::text(Reason::BadRequest, error.to_string()))?;
    let path = match (rewritten, path) {
        (None, Cow::Borrowed(_)) => None,
        (None, Cow::Owned(path)) | (Some(path), _) => Some(path),
    };
    Ok(Routed { route, path, llm })
}

/// Can a tunnel come of an extended CONNECT that goes there? What we would answer ourselves with a
/// 2xx, the caller would take for one.
fn may_tunnel(request: &Request, to: &Destination) -> bool {
    !builtin::is_own(request.path())
        && match to {
            Destination::Llm => false,
            Destination::Reply(reply) => !(200..300).contains(&reply.status),
            Destination::Upstream(_) | Destination::Split(_) | Destination::Redirect(_) => true,
        }
}

/// Why no route takes a request: another method might have been taken (RFC 9110 section 15.5.6).
fn not_found(snapshot: &Snapshot, request: &Request, asked: &Asked<'_>) -> ProxyError {
    let allowed = snapshot.route_table.allowed(asked, &|condition| request.has_field(condition));
    if allowed.is_empty() {
        return ProxyError::text(
            Reason::NoRoute,
            "No route matches this host and path. Routes are listed in the configuration.",
        );
    }
    let cause = Cause::Allow(allowed.join(", ").into());
    ProxyError { cause, ..ProxyError::new(Reason::MethodNotAllowed) }
}

/// What an exchange needs to know of its request besides the bytes.
#[derive(Debug)]
pub(crate) struct Call<'s> {
    /// Who can serve it.
    pub(crate) group: &'s Group,
    /// The model that selected the group.
    pub(crate) model: Option<&'s Arc<Model>>,
    /// What the caller speaks; None on plain routes.
    pub(crate) llm: Option<tidegate_dialect::Call>,
    /// The caller wants an event stream.
    pub(crate) streams: bool,
    /// The caller wants a tunnel: a WebSocket or TCP connection.
    pub(crate) tunnels: bool,
    /// Where the model's name stands in the body.
    naming: Naming,
}

#[derive(Debug)]
enum Naming {
    /// Every member of the group knows the model by the caller's name.
    Same,
    // Boxed: they are large, and most groups do not rename.
    Json(Box<RequestFacts>),
    Form(Box<FormFacts>),
}

impl<'s> Call<'s> {
    /// A TCP connection to one of this group.
    pub(crate) fn tcp(group: &'s Group) -> Self {
        Self { group, model: None, llm: None, streams: false, tunnels: true, naming: Naming::Same }
    }

    /// The body with the model's name there, where it differs from the caller's.
    pub(crate) fn renamed_body(&self, body: &[u8], name: Option<&str>) -> Option<Vec<u8>> {
        let name = name?;
        let mut out = Vec::with_capacity(body.len() + name.len());
        match &self.naming {
            Naming::Same => return None,
            Naming::Json(facts) => rename_model(body, facts, name, &mut out),
            Naming::Form(facts) => rename_form_model(body, facts, name, &mut out),
        }
        Some(out)
    }

    /// The kind of traffic, for the balance.
    pub(crate) fn traffic(&self) -> Traffic {
        match (self.tunnels, self.streams) {
            (true, _) => Traffic::WebSocket,
            (false, true) => Traffic::Sse,
            (false, false) => Traffic::Http,
        }
    }

    /// Is the caller's dialect this one?
    pub(crate) fn dialect(&self) -> Option<Dialect> {
        self.llm.as_ref().map(|call| call.dialect)
    }
}

/// Selects the group of a request whose body, where it matters, has been read.
pub(crate) fn call<'s>(
    shard: &Shard,
    snapshot: &'s Snapshot,
    routed: &Routed<'s>,
    request: &Request,
) -> Result<Call<'s>, ProxyError> {
    let Some(llm) = routed.llm else {
        let group = match &routed.route.to {
            Destination::Upstream(group) => Some(group),
            Destination::Split(split) => split.pick(shard.random()),
            _ => None,
        };
        let group = group.ok_or_else(|| ProxyError::new(Reason::Internal))?;
        let streams = request
            .field(FieldId::Accept)
            .is_some_and(|accept| accept.starts_with(b"text/event-stream"));
        let tunnels = upgrade::is_asked(request);
        return Ok(Call { group, model: None, llm: None, streams, tunnels, naming: Naming::Same });
    };
    let (model, streams, naming) = match llm.shape {
        Shape::Json => {
            let facts = scan_request(request.whole_body())
                .map_err(|error| bad_body(format!("The body is not valid JSON: {error}")))?;
            let model = named(snapshot, facts.model.as_ref().map(Text::as_str))?;
            (
                model,
                llm.may_stream && facts.stream,
                naming(model, llm, || Naming::Json(Box::new(facts))),
            )
        }
        Shape::Multipart => {
            let content_type = request.field(FieldId::ContentType).unwrap_or_default();
            let facts = scan_form(content_type, request.whole_body())
                .map_err(|error| bad_body(format!("The form cannot be read: {error}")))?;
            let model = named(snapshot, facts.model.as_ref().map(Text::as_str))?;
            (
                model,
                llm.may_stream && facts.stream,
                naming(model, llm, || Naming::Form(Box::new(facts))),
            )
        }
        Shape::ModelById => {
            let name = routed.path(request).rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            let name = std::str::from_utf8(name).unwrap_or_default();
            (named(snapshot, Some(name))?, false, Naming::Same)
        }
        Shape::Opaque | Shape::List => (default_model(snapshot)?, false, Naming::Same),
    };
    let group = model.group(llm.dialect).ok_or_else(|| {
        let other = match llm.dialect {
            Dialect::OpenAi => "Anthropic's; ask for it at /v1/messages",
            Dialect::Anthropic => "OpenAI's; ask for it at /v1/chat/completions",
        };
        ProxyError::text(
            Reason::UnknownModel,
            format!("The providers of the model '{}' speak a dialect like {other}.", model.name),
        )
    })?;
    Ok(Call { group, model: Some(model), llm: Some(llm), streams, tunnels: false, naming })
}

fn naming(model: &Model, llm: tidegate_dialect::Call, facts: impl FnOnce() -> Naming) -> Naming {
    let renames =
        model.group(llm.dialect).is_some_and(|g| g.members.iter().any(|m| m.model.is_some()));
    if renames { facts() } else { Naming::Same }
}

fn bad_body(text: String) -> ProxyError {
    ProxyError::text(Reason::BadBody, text)
}

fn named<'s>(snapshot: &'s Snapshot, name: Option<&str>) -> Result<&'s Arc<Model>, ProxyError> {
    let Some(name) = name else {
        return Err(bad_body("The request names no model. Set `model`.".to_owned()));
    };
    snapshot.models.find(name).ok_or_else(|| {
        ProxyError::text(
            Reason::UnknownModel,
            format!("The model '{name}' does not exist here. GET /v1/models lists those that do."),
        )
    })
}

fn default_model(snapshot: &Snapshot) -> Result<&Arc<Model>, ProxyError> {
    snapshot.models.default.as_ref().ok_or_else(|| {
        ProxyError::text(Reason::UnknownModel, "No provider is configured for this call.")
    })
}
