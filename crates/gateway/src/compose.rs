//! The heads that we write: requests to endpoints, replies to callers. Always re-serialised.

use std::net::{IpAddr, SocketAddr};

use tidegate_dialect::upstream_path;
use tidegate_policy::compress::Coding;
use tidegate_snapshot::{Endpoint, FieldEdits};
use tidegate_wire::http1::head::{FieldId, Method, ResponseFraming, ResponseHead, Version};
use tidegate_wire::http1::write::{put_field, put_number, put_number_field, put_status_line};

use crate::client::Delimited;
use crate::edge::Origin;
use crate::request::{Body, Request};
use crate::route::Routed;

/// The only protocol that connections are switched to (RFC 6455 section 4.1), towards both sides.
const SWITCH: &[u8] = b"Connection: Upgrade\r\nUpgrade: websocket\r\n";

/// The status that begins a tunnel in HTTP/1.1, and in what is told of any.
pub(crate) const SWITCHED: u16 = 101;

/// What follows the head of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follows {
    /// A body of this length as it will be sent, which may be 0; None: it goes out chunked.
    Body(Option<u64>),
    /// A WebSocket, if the endpoint agrees.
    Tunnel,
}

/// Writes the head of the request to an endpoint. `secure`: the caller came by TLS.
pub(crate) fn request_head(
    out: &mut Vec<u8>,
    request: &Request,
    routed: &Routed<'_>,
    endpoint: &Endpoint,
    peer: SocketAddr,
    secure: bool,
    follows: Follows,
) {
    let head = request.head();
    let bytes = request.bytes();
    out.extend_from_slice(head.method_name.of(bytes));
    out.push(b' ');
    match (&routed.llm, &endpoint.provider) {
        (Some(call), Some(provider)) => {
            upstream_path(call.dialect, &provider.base_path, routed.path(request), out);
        }
        _ => out.extend_from_slice(routed.path(request)),
    }
    if let Some(query) = head.query {
        out.push(b'?');
        out.extend_from_slice(query.of(bytes));
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if routed.llm.is_some() {
        put_field(out, b"Host", endpoint.authority.as_bytes());
        llm_fields(out, request, endpoint);
    } else {
        // HTTP/1.0 callers need not name a host; HTTP/1.1 servers demand one.
        let named = head.authority.of(bytes);
        let changes = routed.changes();
        let host = match changes.and_then(|changes| changes.host.as_deref()) {
            Some(host) => host,
            None if named.is_empty() => endpoint.authority.as_bytes(),
            None => named,
        };
        put_field(out, b"Host", host);
        plain_fields(out, request, peer, secure, changes.map(|changes| &changes.request));
    }
    match follows {
        Follows::Tunnel => out.extend_from_slice(SWITCH),
        Follows::Body(None) => put_field(out, b"Transfer-Encoding", b"chunked"),
        Follows::Body(Some(0)) if !has_body(request) => {}
        Follows::Body(Some(length)) => put_number_field(out, b"Content-Length", length),
    }
    out.extend_from_slice(b"\r\n");
}

/// A body, or a method for which servers expect to be told that there is none.
fn has_body(request: &Request) -> bool {
    !matches!(request.body, Body::None)
        || matches!(request.method, Method::Post | Method::Put | Method::Patch)
}

/// Fields for a web endpoint: everything end-to-end, and where the request came from.
fn plain_fields(
    out: &mut Vec<u8>,
    request: &Request,
    peer: SocketAddr,
    secure: bool,
    edits: Option<&FieldEdits>,
) {
    let origin = request.origin;
    let mut told_scheme = false;
    for (name, value, field) in request.fields() {
        match field.id {
            // What a trusted proxy says of the caller's side stays.
            FieldId::XForwardedProto if origin.is_some() => {
                told_scheme = true;
                put_field(out, name, value);
            }
            FieldId::XForwardedHost | FieldId::XForwardedPort
                if origin.is_some() && edits.is_none_or(|edits| !edits.drops(name)) =>
            {
                put_field(out, name, value);
            }
            // Written anew. Nobody else is trusted to say where a request came from.
            FieldId::Host
            | FieldId::ContentLength
            | FieldId::Expect
            | FieldId::XForwardedFor
            | FieldId::XForwardedProto
            | FieldId::XForwardedHost
            | FieldId::XForwardedPort
            | FieldId::Forwarded
            | FieldId::XRealIp
            | FieldId::TrueClientIp
            | FieldId::CfConnectingIp
            | FieldId::XRequestId => {}
            _ if is_client_certificate(name) => {}
            _ if edits.is_some_and(|edits| edits.drops(name)) => {}
            _ => put_field(out, name, value),
        }
    }
    if let Some(edits) = edits {
        out.extend_from_slice(&edits.put);
    }
    out.extend_from_slice(b"X-Forwarded-For: ");
    if let Some(origin) = origin {
        put_way(out, request, &origin, peer.ip());
    }
    put_address(out, peer.ip());
    out.extend_from_slice(b"\r\n");
    if !told_scheme {
        let scheme: &[u8] = if secure { b"https" } else { b"http" };
        put_field(out, b"X-Forwarded-Proto", scheme);
    }
    if edits.is_none_or(|edits| !edits.drops(b"X-Request-Id")) {
        put_field(out, b"X-Request-Id", request.id.as_bytes());
    }
    // Endpoints that look at the field that is configured find there what was believed.
    if let Some(origin) = origin.filter(|origin| !is_list(origin.field)) {
        out.extend_from_slice(origin.name.as_bytes());
        out.extend_from_slice(b": ");
        put_address(out, origin.address);
        out.extend_from_slice(b"\r\n");
    }
}

/// What stands before the proxy that has called us: the list that it sent, or the one address that
/// it named in another way.
fn put_way(out: &mut Vec<u8>, request: &Request, origin: &Origin, peer: IpAddr) {
    if origin.field == FieldId::XForwardedFor {
        let lines = request.fields().filter(|(.., field)| field.id == FieldId::XForwardedFor);
        for (_, value, _) in lines.filter(|(_, value, _)| !value.is_empty()) {
            out.extend_from_slice(value);
            out.extend_from_slice(b", ");
        }
    } else if origin.address != peer.to_canonical() {
        put_address(out, origin.address);
        out.extend_from_slice(b", ");
    }
}

/// Is this a field to which each proxy adds?
fn is_list(field: FieldId) -> bool {
    matches!(field, FieldId::XForwardedFor | FieldId::Forwarded)
}

/// Names under which proxies tell endpoints of a verified client certificate: no caller may say it.
pub(crate) fn is_client_certificate(name: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 3] = [b"x-client-cert", b"x-ssl-client", b"client-cert"];
    PREFIXES.iter().any(|prefix| {
        name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    })
}

fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    use std::io::Write as _;
    match address {
        // By hand: each request needs it, and formatting costs four times as much.
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            put_number(out, a.into());
            for octet in [b, c, d] {
                out.push(b'.');
                put_number(out, octet.into());
            }
        }
        IpAddr::V6(v6) => {
            // Writing to a vector cannot fail.
            let _ = write!(out, "{}", v6.to_canonical());
        }
    }
}

/// Fields for an LLM provider: the caller's, but neither its key nor where it is; then the
/// provider's own.
fn llm_fields(out: &mut Vec<u8>, request: &Request, endpoint: &Endpoint) {
    let Some(provider) = &endpoint.provider else { return };
    for (name, value, field) in request.fields() {
        match field.id {
            FieldId::Host
            | FieldId::ContentLength
            | FieldId::Expect
            | FieldId::Authorization
            | FieldId::ProxyAuthorization
            | FieldId::XApiKey
            | FieldId::ApiKey
            | FieldId::XGoogApiKey
            | FieldId::Cookie
            | FieldId::Origin
            | FieldId::Referer
            | FieldId::Via
            | FieldId::XForwardedFor
            | FieldId::XForwardedProto
            | FieldId::XForwardedHost
            | FieldId::XForwardedPort
            | FieldId::Forwarded
            | FieldId::XRealIp
            | FieldId::TrueClientIp
            | FieldId::CfConnectingIp
            // A compressed reply could not be looked at for usage, errors and its end.
            | FieldId::AcceptEncoding => {}
            _ if provider.field_names.iter().any(|own| name.eq_ignore_ascii_case(own.as_bytes())) => {}
            _ => put_field(out, name, value),
        }
    }
    out.extend_from_slice(&provider.key_field);
    out.extend_from_slice(&provider.fields);
}

/// How the body of a reply will be delimited towards the caller. The event stream of an LLM is
/// never delimited by a length: it must be possible to say that it broke off.
pub(crate) fn delimited(
    framing: ResponseFraming,
    request: &Request,
    llm_events: bool,
) -> Delimited {
    match (framing, request.version) {
        (ResponseFraming::None, _) => Delimited::Length,
        (ResponseFraming::Length(_), _) if !llm_events => Delimited::Length,
        _ if request.is_framed() => Delimited::Frames,
        (_, Version::Http11) => Delimited::Chunked,
        (_, Version::Http10) => Delimited::Close,
    }
}

/// Writes the head of a reply that switches to WebSocket for the caller. `accept`: what answers its
/// key, where the endpoint has not said so itself.
pub(crate) fn switch_head(
    out: &mut Vec<u8>,
    head: &ResponseHead,
    bytes: &[u8],
    routed: &Routed<'_>,
    accept: Option<&str>,
) {
    let edits = routed.reply_edits();
    put_status_line(out, SWITCHED);
    for field in head.fields.iter().filter(|field| !field.hop) {
        let name = field.name.of(bytes);
        match field.id {
            FieldId::ContentLength => {}
            FieldId::SecWebsocketAccept if accept.is_some() => {}
            _ if edits.is_some_and(|edits| edits.drops(name)) => {}
            _ => put_field(out, name, field.value.of(bytes)),
        }
    }
    if let Some(accept) = accept {
        put_field(out, b"Sec-WebSocket-Accept", accept.as_bytes());
    }
    if let Some(edits) = edits {
        out.extend_from_slice(&edits.put);
    }
    out.extend_from_slice(SWITCH);
    out.extend_from_slice(b"\r\n");
}

/// How a reply goes to the caller.
pub(crate) struct Sent {
    /// How its body is delimited.
    pub(crate) delimited: Delimited,
    /// The connection stays.
    pub(crate) keep_alive: bool,
    /// How it is compressed.
    pub(crate) coding: Option<Coding>,
    /// Another caller might get it compressed otherwise.
    pub(crate) varies: bool,
}

/// Writes the head of an endpoint's reply for the caller.
pub(crate) fn reply_head(
    out: &mut Vec<u8>,
    request: &Request,
    head: &ResponseHead,
    bytes: &[u8],
    routed: &Routed<'_>,
    sent: &Sent,
) {
    let edits = routed.reply_edits();
    let Sent { delimited, keep_alive, coding, varies } = *sent;
    put_status_line(out, head.status);
    reply_fields(out, head, bytes, routed.llm.is_some(), edits, coding);
    if let Some(coding) = coding {
        put_field(out, b"Content-Encoding", coding.as_str().as_bytes());
    }
    if varies {
        put_field(out, b"Vary", b"Accept-Encoding");
    }
    if let Some(edits) = edits {
        out.extend_from_slice(&edits.put);
    }
    match (delimited, head.framing) {
        (Delimited::Chunked, _) => put_field(out, b"Transfer-Encoding", b"chunked"),
        (Delimited::Length, ResponseFraming::Length(length)) => {
            put_number_field(out, b"Content-Length", length);
        }
        (Delimited::Length, _) => {
            // The length that a GET would have had.
            let length = head.field(FieldId::ContentLength).map(|field| field.value.of(bytes));
            if let Some(length) =
                length.filter(|_| request.method == Method::Head || head.status == 304)
            {
                put_field(out, b"Content-Length", length);
            }
        }
        (Delimited::Close | Delimited::Frames, _) => {}
    }
    put_connection(out, request.version, keep_alive);
    out.extend_from_slice(b"\r\n");
}

/// Says whether the connection stays, where the version's default does not.
pub(crate) fn put_connection(out: &mut Vec<u8>, version: Version, keep_alive: bool) {
    match (version, keep_alive) {
        (Version::Http11, true) | (Version::Http10, false) => {}
        (Version::Http11, false) => put_field(out, b"Connection", b"close"),
        (Version::Http10, true) => put_field(out, b"Connection", b"keep-alive"),
    }
}

/// Writes the end-to-end fields of an endpoint's reply, without those that frame its body. `coding`:
/// how it will be compressed.
pub(crate) fn reply_fields(
    out: &mut Vec<u8>,
    head: &ResponseHead,
    bytes: &[u8],
    llm: bool,
    edits: Option<&FieldEdits>,
    coding: Option<Coding>,
) {
    for field in head.fields.iter().filter(|field| !field.hop) {
        let name = field.name.of(bytes);
        match field.id {
            FieldId::ContentLength => {}
            // Cookies and alternative services are of the provider's host, not of ours.
            FieldId::SetCookie if llm => {}
            _ if llm && name.eq_ignore_ascii_case(b"alt-svc") => {}
            _ if edits.is_some_and(|edits| edits.drops(name)) => {}
            // Byte ranges and strong validators are of the bytes that the endpoint has.
            _ if coding.is_some() && name.eq_ignore_ascii_case(b"accept-ranges") => {}
            _ if coding.is_some() && name.eq_ignore_ascii_case(b"etag") => {
                let value = field.value.of(bytes);
                let weak: &[u8] = if value.starts_with(b"W/") { b"" } else { b"W/" };
                put_field(out, name, &[weak, value].concat());
            }
            _ => put_field(out, name, field.value.of(bytes)),
        }
    }
}
