//! Whether what a route changes may be changed: paths, header fields, deadlines.

use indexmap::IndexMap;
use tidegate_policy::route;

use super::{Check, is_plain_path, is_token};
use crate::check::BODY;
use crate::model::{HeaderEdits, Rewrite, Route};
use crate::reader::below;

/// Fields that frame a message, belong to one connection, or are set by the gateway: changing them
/// would make a message mean something else, or a lie.
const PROTECTED: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-proto",
];

/// Edits of one kind at most: each field of a message is compared with each of them.
const EDITS_MAX: usize = 100;

pub(super) const BAD_VALUE: &str =
    "a header field's value has no control characters and no spaces around it";

/// RFC 9110 section 5.5.
pub(super) fn is_bad_value(value: &str) -> bool {
    value.trim() != value || value.contains(|c: char| c != '\t' && c.is_control())
}

pub(super) fn edits(check: &mut Check, path: &str, route: &Route) {
    if let Some(rewrite) = &route.rewrite {
        self::rewrite(check, &below(path, "rewrite"), route, rewrite);
    }
    header_edits(check, &below(path, "request_headers"), &route.request_headers, true);
    header_edits(check, &below(path, "reply_headers"), &route.reply_headers, false);
    if let Some(reply) = &route.reply {
        named_values(check, &below(&below(path, "reply"), "headers"), &reply.headers, false);
    }
    let answers = route.redirect.is_some() || route.reply.is_some();
    for (there, key) in [
        (route.mirror.is_some(), "mirror"),
        (route.request_headers != HeaderEdits::default(), "request_headers"),
        (route.limits.is_some(), "limits"),
        (route.timeouts.is_some(), "timeouts"),
        (route.rewrite.is_some() && route.reply.is_some(), "rewrite"),
    ] {
        if answers && there {
            check.problem(&below(path, key), "has no meaning here: nothing is sent to an endpoint");
        }
    }
    if let Some(body) = route.limits.as_ref().and_then(|limits| limits.body) {
        check.within(&below(path, "limits.body"), &body, BODY);
    }
    if let Some(timeouts) = &route.timeouts {
        let path = below(path, "timeouts");
        for (key, value) in [
            ("body", timeouts.body),
            ("first_token", timeouts.first_token),
            ("between_tokens", timeouts.between_tokens),
            ("request", timeouts.request),
            ("stream", timeouts.stream),
        ] {
            if let Some(value) = value {
                check.deadline(&below(&path, key), value);
            }
        }
    }
}

fn rewrite(check: &mut Check, path: &str, route: &Route, rewrite: &Rewrite) {
    match (&rewrite.prefix, &rewrite.pattern, &rewrite.to) {
        (Some(prefix), None, None) => {
            let path = below(path, "prefix");
            if route.path_pattern.is_some() {
                check.problem(&path, "a path_pattern matches no prefix: write a pattern and to");
            } else if !prefix.starts_with('/') || !is_plain_path(prefix) {
                check.problem(&path, "must be a plain path that begins with \"/\"");
            } else if prefix.ends_with('/') != route.path.ends_with('/')
                && route.path_exact.is_none()
            {
                let message = "ends otherwise than the path: one ends with \"/\", the other not";
                check.warning(&path, message);
            }
        }
        (None, Some(pattern), Some(to)) => {
            if let Err(error) = route::Rewrite::pattern(pattern, to) {
                let key = match error {
                    route::TemplateError::Pattern(_) => "pattern",
                    route::TemplateError::Group(_) => "to",
                };
                check.problem(&below(path, key), error.to_string());
            }
        }
        _ => check.problem(path, "needs a prefix, or a pattern and to"),
    }
}

fn header_edits(check: &mut Check, path: &str, edits: &HeaderEdits, host_may_be_set: bool) {
    named_values(check, &below(path, "set"), &edits.set, host_may_be_set);
    named_values(check, &below(path, "add"), &edits.add, false);
    for (index, name) in edits.remove.iter().enumerate() {
        let path = format!("{path}.remove[{index}]");
        field_name(check, &path, name, false);
        let again = |names: &IndexMap<String, String>| {
            names.keys().any(|other| other.eq_ignore_ascii_case(name))
        };
        if again(&edits.set) {
            check.problem(&path, "this header field is set, which removes it anyway");
        }
    }
    if edits.set.len() + edits.add.len() + edits.remove.len() > EDITS_MAX {
        check.problem(path, format!("has more than {EDITS_MAX} changes"));
    }
}

fn named_values(
    check: &mut Check,
    path: &str,
    fields: &IndexMap<String, String>,
    host_may_be_set: bool,
) {
    for (name, value) in fields {
        let path = below(path, name);
        field_name(check, &path, name, host_may_be_set);
        if is_bad_value(value) {
            check.problem(&path, BAD_VALUE);
        }
        if name.eq_ignore_ascii_case("host") && (value.is_empty() || value.contains([' ', ','])) {
            check.problem(&path, "must be one host");
        }
    }
    let names = fields.keys().map(|name| (below(path, name), name.to_ascii_lowercase()));
    check.unique(names, "header field");
}

fn field_name(check: &mut Check, path: &str, name: &str, host_may_be_set: bool) {
    let lower = name.to_ascii_lowercase();
    if !is_token(name) {
        check.problem(path, "this is not the name of a header field");
    } else if PROTECTED.contains(&lower.as_str())
        || lower.starts_with("sec-websocket-")
        || (lower == "host" && !host_may_be_set)
    {
        check.problem(path, "this header field belongs to the gateway and cannot be changed");
    }
}
