//! Heads between the two forms: ours of HTTP/1.1, which is composed and parsed in one place, and
//! fields of HTTP/2.

use h2::ext::Protocol;
use http::header::{HOST, HeaderName, HeaderValue, SEC_WEBSOCKET_KEY, TE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Response, Uri};
use memchr::memmem;
use tidegate_snapshot::{FieldEdits, Reason};
use tidegate_wire::http1::head::FieldId;
use tidegate_wire::http1::write::put_field;

use crate::compose::is_client_certificate;
use crate::error::ProxyError;

/// The extended CONNECT that this composed request for a WebSocket stands for (RFC 8441 section 5).
pub(super) fn connect(head: &[u8], tls: bool) -> Result<Request<()>, ProxyError> {
    let mut request = request(head, tls, false)?;
    *request.method_mut() = Method::CONNECT;
    request.headers_mut().remove(SEC_WEBSOCKET_KEY);
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    Ok(request)
}

/// The request that this composed head of HTTP/1.1 stands for (RFC 9113 section 8.3.1).
pub(super) fn request(head: &[u8], tls: bool, trailers: bool) -> Result<Request<()>, ProxyError> {
    let unfit = |what: &str| {
        ProxyError::text(Reason::BadRequest, format!("The {what} cannot be sent over HTTP/2."))
    };
    let (line, mut rest) = split_line(head).ok_or_else(|| unfit("request line"))?;
    let mut words = line.split(|byte| *byte == b' ');
    let method = words.next().and_then(|word| Method::from_bytes(word).ok());
    let target = words.next().and_then(|word| PathAndQuery::try_from(word).ok());
    let mut fields = HeaderMap::with_capacity(16);
    let mut authority = None;
    while let Some((line, after)) = split_line(rest).filter(|(line, _)| !line.is_empty()) {
        rest = after;
        let colon = memchr::memchr(b':', line).ok_or_else(|| unfit("header"))?;
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let name = HeaderName::from_bytes(name).map_err(|_| unfit("header"))?;
        if name == HOST {
            // A user before the host has no place here (RFC 9113 section 8.3.1).
            authority = Authority::try_from(value).ok().filter(|_| !value.contains(&b'@'));
        } else if !is_of_the_connection(&name) {
            fields.append(name, HeaderValue::from_bytes(value).map_err(|_| unfit("header"))?);
        }
    }
    if trailers {
        fields.insert(TE, HeaderValue::from_static("trailers"));
    }
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(if tls { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = Some(authority.ok_or_else(|| unfit("host"))?);
    uri.path_and_query = Some(target.ok_or_else(|| unfit("path"))?);
    let mut request = Request::new(());
    *request.method_mut() = method.ok_or_else(|| unfit("method"))?;
    *request.uri_mut() = Uri::from_parts(uri).map_err(|_| unfit("path"))?;
    *request.headers_mut() = fields;
    Ok(request)
}

fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memmem::find(bytes, b"\r\n")?;
    Some((bytes.get(..end)?, bytes.get(end + 2..)?))
}

/// Fields that HTTP/2 has other means for (RFC 9113 section 8.2.2).
fn is_of_the_connection(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" | "te"
    )
}

/// Writes the head of a reply as HTTP/1.1, to be parsed, and so validated, like any other.
pub(super) fn put_reply(reply: &Response<()>, out: &mut Vec<u8>) {
    use std::io::Write as _;
    // Writing to a vector cannot fail.
    let _ = write!(out, "HTTP/1.1 {} \r\n", reply.status().as_u16());
    for (name, value) in reply.headers() {
        put_field(out, name.as_str().as_bytes(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// The trailer fields that may be passed on; None without any. What frames, routes, authenticates or
/// is trusted has no place behind a body (RFC 9110 section 6.5.1), nor has what the route takes out of
/// the head before it, or sets there.
pub(super) fn passable(trailers: &HeaderMap, edits: Option<&FieldEdits>) -> Option<Box<HeaderMap>> {
    let may_pass =
        |name: &str| may_trail(name) && edits.is_none_or(|edits| !edits.drops(name.as_bytes()));
    let fields = trailers.iter().filter(|(name, _)| may_pass(name.as_str()));
    let passed: HeaderMap = fields.map(|(name, value)| (name.clone(), value.clone())).collect();
    (!passed.is_empty()).then(|| Box::new(passed))
}

/// Writes the last chunk with these trailer fields behind it (RFC 9112 section 7.1.2).
pub(crate) fn put_last_chunk(trailers: &HeaderMap, out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        put_field(out, name.as_str().as_bytes(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

fn may_trail(name: &str) -> bool {
    // Every field that means something to us or to a cache has an id of its own.
    FieldId::of(name.as_bytes()) == FieldId::Other
        && !name.starts_with("x-forwarded-")
        && !name.starts_with("x-tidegate-")
        && !name.starts_with("sec-")
        && !name.starts_with("if-")
        && !name.starts_with("proxy-")
        && !is_client_certificate(name.as_bytes())
        && !matches!(
            name,
            "age"
                | "allow"
                | "authentication-info"
                | "content-language"
                | "content-location"
                | "content-security-policy"
                | "expires"
                | "max-forwards"
                | "pragma"
                | "strict-transport-security"
                | "vary"
                | "warning"
        )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"POST /a/b?c=d HTTP/1.1\r\nHost: app.example:81\r\nX-One: 1\r\n\
        X-Two: a\r\nx-two: b\r\nTransfer-Encoding: chunked\r\n\r\n";

    #[test]
    fn a_head_becomes_pseudo_fields_and_end_to_end_fields() {
        let request = request(HEAD, true, true).unwrap();
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri(), "https://app.example:81/a/b?c=d");
        let fields: Vec<_> =
            request.headers().iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        assert_eq!(fields, [("x-one", "1"), ("x-two", "a"), ("x-two", "b"), ("te", "trailers")]);
    }

    #[test]
    fn a_request_for_a_websocket_becomes_an_extended_connect() {
        let head = b"GET /chat?x HTTP/1.1\r\nHost: app\r\nSec-WebSocket-Key: k\r\n\
            Sec-WebSocket-Version: 13\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let request = connect(head, false).unwrap();
        assert_eq!((request.method(), request.uri().path()), (&Method::CONNECT, "/chat"));
        assert_eq!(request.extensions().get::<Protocol>().unwrap().as_str(), "websocket");
        let names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["sec-websocket-version"]);
    }

    #[test]
    fn the_target_of_a_server_wide_options_stays() {
        let head = b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n";
        let request = request(head, false, false).unwrap();
        assert_eq!(request.uri().path(), "*");
    }

    #[test]
    fn what_http2_cannot_carry_is_the_callers_400() {
        for head in [
            &b"GET /\x80 HTTP/1.1\r\nHost: a b\r\n\r\n"[..],
            b"GET /a HTTP/1.1\r\nHost: a@b:c\r\n\r\n",
            b"GET /< HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET",
        ] {
            let error = request(head, false, false).unwrap_err();
            assert_eq!(error.kind, Reason::BadRequest, "{}", head.escape_ascii());
        }
    }

    #[test]
    fn trailers_carry_no_field_that_frames_routes_or_is_trusted() {
        let mut trailers = HeaderMap::new();
        for name in [
            "grpc-status",
            "content-length",
            "host",
            "authorization",
            "x-forwarded-for",
            "x-forwarded-client-cert",
            "x-client-cert",
            "x-ssl-client-verify",
            "client-cert-chain",
            "set-cookie",
            "cache-control",
            "x-tidegate-reason",
            "vary",
            "transfer-encoding",
            "x-checksum",
        ] {
            trailers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        let mut out = Vec::new();
        let passed = passable(&trailers, None).unwrap();
        put_last_chunk(&passed, &mut out);
        assert_eq!(out, b"0\r\ngrpc-status: 1\r\nx-checksum: 1\r\n\r\n");
    }
}
