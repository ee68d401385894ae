//! Heads between HTTP/2 and HTTP/1.1. A request is written as an HTTP/1.1 head, which is then
//! parsed like any other: what that refuses, HTTP/2 cannot bring in. A reply is composed as an
//! HTTP/1.1 head and turned into fields here.

use h2::ext::Protocol;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode, request};
use tidegate_snapshot::Reason;
use tidegate_wire::http1::write::put_field;
use tidegate_wire::websocket;

use crate::error::ProxyError;

/// Does the field speak of one HTTP/1.1 connection? A request with it is malformed (RFC 9113
/// section 8.2.2); in a reply it is ours and left out.
fn is_of_connection(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection" | "transfer-encoding" | "upgrade" | "keep-alive" | "proxy-connection"
    )
}

/// Does it ask for a tunnel (RFC 8441)?
pub(super) fn is_extended_connect(parts: &request::Parts) -> bool {
    parts.extensions.get::<Protocol>().is_some()
}

/// Writes a request's head as HTTP/1.1. `ended`: no body follows. Chunked stands for a body whose
/// length is not known. `random` makes the key of a WebSocket, which HTTP/2 does not have.
pub(super) fn request(
    parts: &request::Parts,
    ended: bool,
    random: [u64; 2],
    out: &mut Vec<u8>,
) -> Result<(), ProxyError> {
    let protocol = parts.extensions.get::<Protocol>();
    if let Some(protocol) = protocol {
        check_connect(parts, protocol, ended)?;
    }
    if parts.uri.scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return Err(malformed(":scheme must be http or https."));
    }
    let method = if protocol.is_some() { "GET" } else { parts.method.as_str() };
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(target(parts)?.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let authority = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    if let Some(authority) = authority {
        put_field(out, b"Host", authority);
    }
    for (name, value) in &parts.headers {
        let value = value.as_bytes();
        if is_of_connection(name) {
            return Err(malformed("A field of HTTP/1.1 connections has no place in HTTP/2."));
        }
        if value.trim_ascii().len() != value.len() {
            return Err(malformed("A field value begins or ends with a blank."));
        }
        match *name {
            // Joined below.
            header::COOKIE => {}
            header::HOST => match authority {
                Some(authority) if value.eq_ignore_ascii_case(authority) => {}
                Some(_) => return Err(malformed("Host and :authority differ.")),
                None => put_field(out, b"Host", value),
            },
            header::TE if !value.eq_ignore_ascii_case(b"trailers") => {
                return Err(malformed("TE can only be trailers in HTTP/2."));
            }
            // Of HTTP/1.1 alone (RFC 8441 section 5): the ones that the endpoint gets are ours.
            _ if protocol.is_some() && is_of_handshake(name) => {}
            _ => put_field(out, name.as_str().as_bytes(), value),
        }
    }
    put_cookies(&parts.headers, out);
    if protocol.is_some() {
        out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
        put_field(out, b"Sec-WebSocket-Key", websocket::key(random).as_bytes());
    } else if !ended && !parts.headers.contains_key(header::CONTENT_LENGTH) {
        put_field(out, b"Transfer-Encoding", b"chunked");
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Checks what only the request for a tunnel has. Whatever follows its head is of the tunnel.
fn check_connect(
    parts: &request::Parts,
    protocol: &Protocol,
    ended: bool,
) -> Result<(), ProxyError> {
    if !protocol.as_str().eq_ignore_ascii_case("websocket") {
        return Err(ProxyError::text(
            Reason::UnknownProtocol,
            "Of the protocols over HTTP/2 (RFC 8441), only websocket is served here.",
        ));
    }
    if ended {
        return Err(malformed("The stream of a WebSocket ended with its head."));
    }
    if parts.headers.contains_key(header::CONTENT_LENGTH) {
        return Err(malformed("A WebSocket has no length."));
    }
    Ok(())
}

/// Is it a field of the WebSocket handshake that HTTP/2 does without?
fn is_of_handshake(name: &HeaderName) -> bool {
    *name == header::SEC_WEBSOCKET_KEY || *name == header::SEC_WEBSOCKET_ACCEPT
}

/// The request target. Only a path or, for OPTIONS, `*` has a place in `:path`: anything else would
/// be read as a target of another form, with an authority of its own.
fn target(parts: &request::Parts) -> Result<&str, ProxyError> {
    if parts.method == Method::CONNECT && !is_extended_connect(parts) {
        return parts
            .uri
            .authority()
            .map(http::uri::Authority::as_str)
            .ok_or_else(|| malformed("CONNECT needs :authority."));
    }
    let path = parts.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    match path.as_bytes() {
        [b'/', ..] => Ok(path),
        b"*" if parts.method == Method::OPTIONS => Ok(path),
        _ => Err(malformed(":path must begin with a slash.")),
    }
}

/// Joins the crumbs into one field (RFC 9113 section 8.2.3).
fn put_cookies(fields: &HeaderMap, out: &mut Vec<u8>) {
    for (index, crumb) in fields.get_all(header::COOKIE).iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"Cookie: ".as_slice() } else { b"; " });
        out.extend_from_slice(crumb.as_bytes());
    }
    if fields.contains_key(header::COOKIE) {
        out.extend_from_slice(b"\r\n");
    }
}

fn malformed(text: &str) -> ProxyError {
    ProxyError::text(Reason::BadRequest, text)
}

/// The reply whose HTTP/1.1 head `bytes` begin with, and the length of that head. The head is one
/// that we wrote, so that its lines are whole.
pub(crate) fn response(bytes: &[u8]) -> Option<(Response<()>, usize)> {
    let mut rest = bytes;
    let status = line(&mut rest)?.get(b"HTTP/1.1 ".len()..)?.get(..3)?;
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_bytes(status).ok()?;
    let fields = response.headers_mut();
    loop {
        let line = line(&mut rest)?;
        if line.is_empty() {
            return Some((response, bytes.len() - rest.len()));
        }
        let colon = memchr::memchr(b':', line)?;
        let (name, value) = line.split_at_checked(colon)?;
        let name = HeaderName::from_bytes(name).ok()?;
        if is_of_connection(&name) {
            continue;
        }
        let value = HeaderValue::from_bytes(value.get(1..)?.trim_ascii()).ok()?;
        fields.try_append(name, value).ok()?;
    }
}

/// Takes the first line of `rest`, without its CRLF. A search for one byte needs no preparation,
/// unlike one for two.
fn line<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let end = memchr::memchr(b'\n', rest)?;
    let (line, after) = rest.split_at_checked(end + 1)?;
    *rest = after;
    line.strip_suffix(b"\r\n")
}

#[cfg(test)]
mod tests;
