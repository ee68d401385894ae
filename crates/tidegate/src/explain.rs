//! `tidegate explain`: where a request goes and why, as the configuration alone decides it.

use std::fmt::Write as _;

use tidegate_snapshot::tls::Severity;
use tidegate_snapshot::{
    ExplainedUpstream, Explanation, Live, Outcome, Question, compile, explain,
};

use crate::cli::ExplainOptions;
use crate::{Failure, files, import};

/// Prints the decision; the user's mistake (exit code 1) if the request is not served.
pub(crate) fn run(options: &ExplainOptions) -> Result<(), Failure> {
    let question = Question::parse(&options.method, &options.url, options.from, &options.headers)
        .map_err(|error| Failure::User(error.to_string()))?;
    let loaded = files::load(&options.config, Severity::Broken)?;
    let live = Live::new(1);
    let snapshot = compile(loaded.config.into(), &live, 1)
        .map_err(|error| Failure::User(format!("{}: {error}", options.config.display())))?;
    let told = explain(&snapshot, &question, live.now_ms());
    if options.json {
        let text = serde_json::to_string_pretty(&told).map_err(anyhow::Error::from)?;
        import::print(&text)?;
    } else {
        import::print(&text(&told))?;
    }
    match &told.outcome {
        Outcome::Refused { status, why } => Err(Failure::User(format!("{status}: {why}"))),
        _ => Ok(()),
    }
}

fn text(told: &Explanation) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_text(&mut out, told);
    out
}

fn write_text(out: &mut String, told: &Explanation) -> std::fmt::Result {
    let asked = &told.question;
    let host = if asked.authority.is_empty() { "(no host)" } else { &asked.authority };
    writeln!(out, "request    {} {}://{host}{}", asked.method, asked.scheme, asked.path)?;
    if let Some(path) = told.path.as_ref().filter(|path| **path != asked.path) {
        writeln!(out, "path       {path}, as it is matched and forwarded")?;
    }
    if !told.routes.is_empty() {
        writeln!(out, "routes     in the order in which they are tried")?;
    }
    for route in &told.routes {
        let mark = if route.taken { '*' } else { ' ' };
        let name = format!("routes[{}]", route.index);
        writeln!(out, "  {mark} {name:<12} {:<40} {}", route.matches, route.why)?;
    }
    writeln!(out, "outcome    {}", outcome(&told.outcome))?;
    if let Some(path) = &told.rewritten {
        writeln!(out, "rewritten  {path}")?;
    }
    for found in &told.upstreams {
        writeln!(out, "upstream   {}{}", found.name, share(found.percent))?;
        upstream(out, found)?;
    }
    if let Some(retry) = &told.retry {
        write!(out, "attempts   {} at most", retry.attempts)?;
        if !retry.on.is_empty() {
            let statuses: Vec<String> = retry.on.iter().map(u16::to_string).collect();
            write!(out, ", another one after {} too", statuses.join(", "))?;
        }
        writeln!(out)?;
    }
    if let Some(mirror) = &told.mirror {
        writeln!(out, "mirror     {}{}", mirror.upstream.name, share(f64::from(mirror.percent)))?;
        upstream(out, &mirror.upstream)?;
    }
    Ok(())
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::BuiltIn => "answered by the listener, whatever the routes say".to_owned(),
        Outcome::Refused { status, why } => format!("refused with {status}: {why}"),
        Outcome::Llm => "the LLM relay; the model in the body picks the provider".to_owned(),
        Outcome::Forwarded => "forwarded".to_owned(),
        Outcome::Redirected { status, location } => format!("{status} to {location}"),
        Outcome::Answered { status, body_bytes } => format!("{status} with {body_bytes} bytes"),
    }
}

fn share(percent: f64) -> String {
    if percent < 100.0 { format!(" for {percent:.1} % of the requests") } else { String::new() }
}

fn upstream(out: &mut String, upstream: &ExplainedUpstream) -> std::fmt::Result {
    writeln!(out, "balance    {}; score: {}", upstream.balance, upstream.score)?;
    if upstream.health_ignored {
        writeln!(out, "panic      too few endpoints admit: health is ignored")?;
    }
    if let Some(breaker) = upstream.breaker {
        writeln!(out, "breaker    {breaker}")?;
    }
    for endpoint in &upstream.endpoints {
        let mark = if endpoint.candidate { '+' } else { '-' };
        write!(
            out,
            "  {mark} {}  weight {}, priority {}, {} in flight",
            endpoint.endpoint, endpoint.weight, endpoint.priority, endpoint.in_flight
        )?;
        if let Some(max) = endpoint.connections_max {
            write!(out, " of {max}")?;
        }
        if let Some(score) = endpoint.score {
            write!(out, ", score {score:.3}")?;
        }
        for reason in &endpoint.why_not {
            write!(out, "; {reason}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}
