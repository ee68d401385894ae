//! Why a request goes where it goes: the whole decision, for people and for machines.

mod endpoints;
mod question;

use std::borrow::Cow;

use serde::Serialize;
use tidegate_policy::path::normalise;
use tidegate_policy::route::{Asked, Asking, FieldCondition, Verdict, host_name};

pub use endpoints::{ExplainedEndpoint, ExplainedUpstream};
pub use question::{Question, QuestionError};

use crate::compile::route_name;
use crate::types::{Destination, Route, Snapshot};

/// Methods that do the same when they are done twice (RFC 9110 section 9.2.2).
const REPEATED: [&str; 5] = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"];

/// The whole decision about a request, as of now.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// What was asked for.
    pub question: Question,
    /// The path as it is matched and forwarded; None if it is refused.
    pub path: Option<String>,
    /// Every route in the order in which they are tried.
    pub routes: Vec<ConsideredRoute>,
    /// The place of the route that takes it.
    pub route: Option<usize>,
    /// What happens.
    pub outcome: Outcome,
    /// The path that is sent to the endpoint, where a rewrite makes it differ.
    pub rewritten: Option<String>,
    /// Where it can go, and the state of the endpoints there.
    pub upstreams: Vec<ExplainedUpstream>,
    /// How often endpoints are asked; None where nothing is forwarded.
    pub retry: Option<ExplainedRetry>,
    /// Who gets a copy.
    pub mirror: Option<ExplainedMirror>,
}

impl Explanation {
    /// Whether something is done with the request other than refusing it.
    pub fn is_served(&self) -> bool {
        !matches!(self.outcome, Outcome::Refused { .. })
    }
}

/// A route and how the request fares with it.
#[derive(Debug, Clone, Serialize)]
pub struct ConsideredRoute {
    /// Its place in `routes`, from 0.
    pub index: usize,
    /// Host and path, `=` before an exact path and `~` before a pattern, methods, fields.
    pub matches: String,
    /// It takes the request.
    pub taken: bool,
    /// Why, or why not.
    pub why: String,
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Outcome {
    /// The listener answers it itself, whatever the routes say.
    BuiltIn,
    /// It is refused.
    Refused {
        /// The status of the reply.
        status: u16,
        /// Why.
        why: String,
    },
    /// It goes to the LLM relay; the model in its body picks the providers.
    Llm,
    /// It is forwarded to one of the upstreams.
    Forwarded,
    /// It is answered with another address.
    Redirected {
        /// The status of the reply.
        status: u16,
        /// The address.
        location: String,
    },
    /// It is answered with a fixed reply.
    Answered {
        /// The status of the reply.
        status: u16,
        /// Bytes of the body.
        body_bytes: usize,
    },
}

/// How often endpoints are asked.
#[derive(Debug, Clone, Serialize)]
pub struct ExplainedRetry {
    /// Attempts at most, the first included.
    pub attempts: u32,
    /// Statuses after which another endpoint is asked; none where the method may not be repeated.
    pub on: Vec<u16>,
}

/// Who gets a copy.
#[derive(Debug, Clone, Serialize)]
pub struct ExplainedMirror {
    /// How many of a hundred requests.
    pub percent: u32,
    /// Where they go.
    pub upstream: ExplainedUpstream,
}

/// Says what would happen to a request now, with the live state of the endpoints. `now_ms` is the
/// clock of [`Live`](crate::Live).
pub fn explain(snapshot: &Snapshot, question: &Question, now_ms: u64) -> Explanation {
    let mut told = Explanation {
        question: question.clone(),
        path: None,
        routes: Vec::new(),
        route: None,
        outcome: Outcome::BuiltIn,
        rewritten: None,
        upstreams: Vec::new(),
        retry: None,
        mirror: None,
    };
    let refused = |status, why: String| Outcome::Refused { status, why };
    let reads = matches!(question.method.as_str(), "GET" | "HEAD");
    if reads && matches!(question.path.as_str(), "/health" | "/status") {
        told.path = Some(question.path.clone());
        return told;
    }
    if matches!(question.method.as_str(), "CONNECT" | "TRACE") {
        told.outcome = refused(400, "CONNECT and TRACE are not served here".to_owned());
        return told;
    }
    let path = match normalise(question.path.as_bytes()) {
        Ok(path) => path,
        Err(error) => {
            told.outcome = refused(400, error.to_string());
            return told;
        }
    };
    told.path = Some(text(&path));
    let asked = Asked {
        host: question.authority.as_bytes(),
        path: &path,
        method: question.method.as_bytes(),
    };
    let has = |asked: &FieldCondition| question.has(asked);
    for (index, verdict) in snapshot.route_table.trace(&asked, &has) {
        let taken = verdict == Verdict::Taken;
        let matches = snapshot.route_table.key(index).map(route_name).unwrap_or_default();
        told.routes.push(ConsideredRoute { index, matches, taken, why: why(&verdict) });
        if taken {
            told.route = Some(index);
        }
    }
    let Some(route) = told.route.and_then(|index| snapshot.routes.get(index)) else {
        let allowed = snapshot.route_table.allowed(&asked, &has);
        told.outcome = if allowed.is_empty() {
            refused(404, "no route matches this host and path".to_owned())
        } else {
            refused(
                405,
                format!("the routes for this host and path are for {}", allowed.join(", ")),
            )
        };
        return told;
    };
    let access = route.edge.as_ref().and_then(|edge| edge.access.as_ref());
    if let (Some(access), Some(address)) = (access, question.from)
        && !access.admits(address)
    {
        told.outcome = refused(403, format!("the route is not for callers from {address}"));
        return told;
    }
    destination(&mut told, route, question, &path, now_ms);
    if told.outcome == Outcome::Forwarded {
        let repeats = REPEATED.contains(&question.method.as_str());
        let on = if repeats { snapshot.retry_on.clone() } else { Vec::new() };
        told.retry = Some(ExplainedRetry { attempts: snapshot.retry.attempts, on });
    }
    told
}

fn destination(
    told: &mut Explanation,
    route: &Route,
    question: &Question,
    path: &[u8],
    now_ms: u64,
) {
    let rewrite = route.changes.as_ref().and_then(|changes| changes.rewrite.as_ref());
    let sent = match rewrite.map(|rewrite| rewrite.apply(path)) {
        None | Some(Ok(None)) => Cow::Borrowed(path),
        Some(Ok(Some(rewritten))) => {
            told.rewritten = Some(text(&rewritten));
            Cow::Owned(rewritten)
        }
        Some(Err(error)) => {
            told.outcome = Outcome::Refused { status: 400, why: error.to_string() };
            return;
        }
    };
    told.outcome = match &route.to {
        Destination::Llm => Outcome::Llm,
        Destination::Upstream(group) => {
            told.upstreams = vec![endpoints::upstream(group, 100.0, question, &sent, now_ms)];
            Outcome::Forwarded
        }
        Destination::Split(split) => {
            let total = split.shares.last().map_or(1, |(until, _)| *until) as f64;
            let mut before = 0;
            for (until, group) in &split.shares {
                let percent = (until - before) as f64 * 100.0 / total;
                before = *until;
                told.upstreams.push(endpoints::upstream(group, percent, question, &sent, now_ms));
            }
            Outcome::Forwarded
        }
        Destination::Redirect(redirect) => {
            let location = redirect.to.of(&Asking {
                scheme: question.scheme.as_bytes(),
                host: host_name(question.authority.as_bytes()),
                path: &sent,
                query: question.query.as_deref().map(str::as_bytes),
            });
            Outcome::Redirected { status: redirect.status, location: text(&location) }
        }
        Destination::Reply(reply) => {
            Outcome::Answered { status: reply.status, body_bytes: reply.body.len() }
        }
    };
    told.mirror = route.mirror.as_ref().map(|mirror| ExplainedMirror {
        percent: mirror.percent,
        upstream: endpoints::upstream(&mirror.group, 100.0, question, &sent, now_ms),
    });
}

fn why(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Taken => "takes it".to_owned(),
        Verdict::Behind => "would take it, but stands behind the one that does".to_owned(),
        Verdict::Host => "is for another host".to_owned(),
        Verdict::Path => "is for another path".to_owned(),
        Verdict::Method => "is for other methods".to_owned(),
        Verdict::Field(FieldCondition { name, value: None }) => format!("needs the field {name}"),
        Verdict::Field(FieldCondition { name, value: Some(value) }) => {
            format!("needs the field {name}: {value}")
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
