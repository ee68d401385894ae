//! Routes that need no endpoint: another address, or a fixed reply.

use tidegate_policy::route::{Asking, host_name};
use tidegate_snapshot::{Destination, FieldEdits, Reason};
use tidegate_wire::http1::head::Method;
use tidegate_wire::http1::write::{put_field, put_number_field, put_status_line};

use crate::compose::put_connection;
use crate::error::ProxyError;
use crate::request::Request;
use crate::route::Routed;

/// The whole reply of such a route, with its status; None for all others. `secure`: the
/// caller came by TLS.
pub(crate) fn answer(
    routed: &Routed<'_>,
    request: &Request,
    secure: bool,
    keep_alive: bool,
) -> Result<Option<(u16, Vec<u8>)>, ProxyError> {
    let mut out = Vec::new();
    let (status, body): (u16, &[u8]) = match &routed.route.to {
        Destination::Llm | Destination::Upstream(_) | Destination::Split(_) => return Ok(None),
        Destination::Redirect(redirect) => {
            let head = request.head();
            let host = host_name(head.authority.of(request.bytes()));
            if host.is_empty() && redirect.to.needs_host() {
                let text = "The request names no host, and the address to go to needs it.";
                return Err(ProxyError::text(Reason::BadRequest, text));
            }
            let location = redirect.to.of(&Asking {
                scheme: if secure { b"https" } else { b"http" },
                host,
                path: routed.path(request),
                query: head.query.map(|query| query.of(request.bytes())),
            });
            put_status_line(&mut out, redirect.status);
            put_field(&mut out, b"Location", &location);
            (redirect.status, b"")
        }
        Destination::Reply(reply) => {
            put_status_line(&mut out, reply.status);
            put_lines(&mut out, &reply.fields, routed.reply_edits());
            (reply.status, &reply.body)
        }
    };
    if let Some(edits) = routed.reply_edits() {
        out.extend_from_slice(&edits.put);
    }
    // RFC 9110 section 8.6: not with 204; with 304 it would be the length of another reply.
    if !matches!(status, 204 | 304) {
        put_number_field(&mut out, b"Content-Length", body.len() as u64);
    }
    put_connection(&mut out, request.version, keep_alive);
    out.extend_from_slice(b"\r\n");
    if request.method != Method::Head {
        out.extend_from_slice(body);
    }
    Ok(Some((status, out)))
}

/// Copies field lines, without those that the route leaves out.
fn put_lines(out: &mut Vec<u8>, lines: &[u8], edits: Option<&FieldEdits>) {
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        if edits.is_none_or(|edits| !edits.drops(name)) {
            out.extend_from_slice(line);
        }
    }
}
