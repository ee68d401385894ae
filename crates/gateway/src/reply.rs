//! The replies that we write ourselves: refusals and failures in the caller's dialect.

use std::borrow::Cow;
use std::io::IoSlice;
use std::task::Poll;

use tidegate_dialect::error::{ErrorKind, ErrorText};
use tidegate_dialect::{Call, envelope, plain_envelope, stream_error};
use tidegate_policy::admission::retry_after_seconds;
use tidegate_snapshot::{Live, Reason, Snapshot};
use tidegate_wire::http1::chunked::{CHUNK_END, LAST_CHUNK, chunk_head};
use tidegate_wire::http1::head::{HeadError, HeadLimits, Method, Version};
use tidegate_wire::http1::write::{put_field, put_number_field, put_status_line};

use crate::client::{Client, Delimited};
use crate::compose::put_connection;
use crate::error::{Cause, ProxyError};
use crate::record::Record;
use crate::request::{Request, RequestId};
use crate::shard::Shard;

/// What every refusal for load says, word for word.
const TOO_BUSY: &str = "Server too busy, please try again later";

/// The refusal of a connection beyond limit and reserve, sent without reading a request.
pub(crate) const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Content-Type: application/json\r\nRetry-After: 1\r\nX-Tidegate-Reason: connections_full\r\n\
    Connection: close\r\nContent-Length: 89\r\n\r\n\
    {\"error\":{\"message\":\"Server too busy, please try again later\",\"code\":\"connections_full\"}}";

/// The answer to plain HTTP where TLS is spoken.
pub(crate) const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\nX-Tidegate-Reason: plain_http\r\n\
    Connection: close\r\nContent-Length: 50\r\n\r\n\
    The plain HTTP request was sent to an HTTPS port.\n";

/// Sends a whole message and waits until the caller has taken it.
pub(crate) async fn deliver(client: &mut Client, message: &[u8], write_stall_ms: u64) {
    let mut sent = false;
    // A caller that has gone needs no reply, so that errors end the wait like success does.
    std::future::poll_fn(|cx| {
        if !sent {
            sent = true;
            client.reply.last = true;
            if client.send(cx, &mut [IoSlice::new(message)]).is_err() {
                return Poll::Ready(());
            }
        }
        if client.poll_flush(cx).is_ready() {
            return Poll::Ready(());
        }
        let deadline = client.reply.progress_ms + write_stall_ms;
        if client.timer.passed(deadline) {
            return Poll::Ready(());
        }
        client.timer.arm(deadline, cx.waker());
        Poll::Pending
    })
    .await;
}

/// The reply to a request whose head cannot be read. It ends the connection.
pub(crate) fn unparsed(error: &ProxyError, limits: &HeadLimits, random: u64) -> Vec<u8> {
    let id = RequestId::new(random);
    let status = match &error.cause {
        Cause::Head(head) => head.status(),
        _ => error.kind.status(),
    };
    let mut text = message(error);
    match &error.cause {
        Cause::Head(HeadError::TooLarge | HeadError::TargetTooLong) => {
            text = format!("{text}; the limit is {} bytes (limits.head)", limits.bytes).into();
        }
        Cause::Head(HeadError::TooManyFields) => {
            text = format!("{text}; the limit is {}", limits.fields).into();
        }
        _ => {}
    }
    let code = match &error.cause {
        Cause::Head(head) => head.code(),
        _ => error.kind.as_str(),
    };
    let body = plain_envelope(&ErrorText {
        status,
        kind: error.kind.error_kind(),
        message: &text,
        code,
        param: None,
        request_id: id.as_str(),
    });
    let mut out = Vec::with_capacity(256 + body.len());
    put_status_line(&mut out, status);
    put_field(&mut out, b"Content-Type", b"application/json");
    put_field(&mut out, b"X-Request-Id", id.as_bytes());
    put_field(&mut out, b"X-Tidegate-Reason", code.as_bytes());
    put_number_field(&mut out, b"Content-Length", body.len() as u64);
    put_connection(&mut out, Version::Http11, false);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&body);
    out
}

/// A complete error reply. Returns it with its status.
fn refusal(
    snapshot: &Snapshot,
    live: &Live,
    request: &Request,
    llm: Option<Call>,
    error: &ProxyError,
    keep_alive: bool,
) -> (Vec<u8>, u16) {
    let mut out = Vec::with_capacity(512);
    let (status, body) = match &error.cause {
        Cause::Reply(reply) => {
            put_status_line(&mut out, reply.status);
            out.extend_from_slice(&reply.fields);
            (reply.status, Cow::Borrowed(&reply.body[..]))
        }
        _ => {
            let status = error.kind.status();
            put_status_line(&mut out, status);
            put_field(&mut out, b"Content-Type", b"application/json");
            put_field(&mut out, b"X-Request-Id", request.id.as_bytes());
            if let Cause::Allow(methods) = &error.cause {
                put_field(&mut out, b"Allow", methods.as_bytes());
            }
            if let Cause::Limited { burst, wait_s } = &error.cause {
                put_number_field(&mut out, b"Retry-After", *wait_s);
                put_number_field(&mut out, b"X-RateLimit-Limit", (*burst).into());
                put_field(&mut out, b"X-RateLimit-Remaining", b"0");
                put_number_field(&mut out, b"X-RateLimit-Reset", *wait_s);
            }
            if status == 401 {
                put_field(&mut out, b"WWW-Authenticate", b"Bearer");
            }
            if status == 503 {
                put_number_field(&mut out, b"Retry-After", retry_after(snapshot, live));
            }
            let text = message(error);
            let told = told(error, status, &text, request);
            let body = match llm {
                Some(call) => envelope(call.dialect, &told),
                None => plain_envelope(&told),
            };
            (status, Cow::Owned(body))
        }
    };
    let passed_on = error.is_passed_on();
    if !passed_on {
        put_field(&mut out, b"X-Tidegate-Reason", error.kind.as_str().as_bytes());
    }
    // Nobody knows how long the body would have been that a HEAD did not get.
    if !(passed_on && request.method == Method::Head) {
        put_number_field(&mut out, b"Content-Length", body.len() as u64);
    }
    put_connection(&mut out, request.version, keep_alive);
    out.extend_from_slice(b"\r\n");
    if request.method != Method::Head {
        out.extend_from_slice(&body);
    }
    (out, status)
}

/// How an error is told in an event stream that has begun: an event of the dialect, then the end
/// of the body, so that clients which drop buffered data on a broken connection still see it. The
/// connection is closed behind it.
fn in_stream(call: Call, client: &Client, request: &Request, error: &ProxyError) -> Vec<u8> {
    let text = message(error);
    let code;
    let mut told = told(error, error.kind.status(), &text, request);
    if let Cause::Reply(reply) = &error.cause {
        told.kind = ErrorKind::from_status(reply.status);
        code = told_in(&reply.body, "/error/code");
        told.code = code.as_deref().unwrap_or(told.code);
    }
    let watch = client.reply.broke_off.as_ref().and_then(|observed| observed.watch());
    let event = match watch {
        Some(watch) => watch.error_event(&told),
        None => stream_error(call.dialect, call.operation, &told),
    };
    let mut data = Vec::with_capacity(event.len() + 2);
    if client.reply.inside_frame {
        data.extend_from_slice(b"\n\n");
    }
    data.extend_from_slice(&event);
    if client.reply.framing != Delimited::Chunked {
        return data;
    }
    let mut line = [0; 20];
    let mut out = Vec::with_capacity(data.len() + 32);
    out.extend_from_slice(chunk_head(data.len(), &mut line));
    out.extend_from_slice(&data);
    out.extend_from_slice(CHUNK_END);
    out.extend_from_slice(LAST_CHUNK);
    out
}

/// The error as the dialects tell it.
fn told<'t>(error: &ProxyError, status: u16, text: &'t str, request: &'t Request) -> ErrorText<'t> {
    ErrorText {
        status,
        kind: error.kind.error_kind(),
        message: text,
        code: error.kind.as_str(),
        param: (error.kind == Reason::UnknownModel).then_some("model"),
        request_id: request.id.as_str(),
    }
}

/// Seconds after which it is worth trying again.
fn retry_after(snapshot: &Snapshot, live: &Live) -> u64 {
    let waiting = live.gauges.waiting.load(std::sync::atomic::Ordering::Relaxed);
    let rate = live.gauges.ended_per_second.load(std::sync::atomic::Ordering::Relaxed);
    let fallback = snapshot.limits.queue_wait_ms.div_ceil(1000);
    retry_after_seconds(waiting + 1, rate as f64, fallback)
}

/// What the caller is told. The log has more.
fn message(error: &ProxyError) -> Cow<'_, str> {
    match &error.cause {
        Cause::Text(text) => Cow::Borrowed(text),
        Cause::Head(head) => Cow::Owned(head.to_string()),
        Cause::Allow(methods) => {
            Cow::Owned(format!("This method is not served here. Served are: {methods}."))
        }
        Cause::Reply(reply) => told_in(&reply.body, "/error/message")
            .map_or(Cow::Borrowed("The provider answered with an error."), Cow::Owned),
        Cause::Limited { wait_s, .. } => {
            Cow::Owned(format!("Too many requests. Try again in {wait_s} s (routes.rate_limit)."))
        }
        Cause::None | Cause::Io(_) => Cow::Borrowed(match error.kind {
            Reason::ConnectionsFull
            | Reason::Busy
            | Reason::QueueTimeout
            | Reason::Memory
            | Reason::NoSocket
            | Reason::NoPort => TOO_BUSY,
            Reason::Draining => "The server is shutting down. Try again: another one will answer.",
            Reason::BodyTimeout => "The request body did not arrive in time (timeouts.body).",
            Reason::NoEndpoint => "No endpoint can take this request now.",
            Reason::ConnectFailed => "The endpoint refuses connections or cannot be reached.",
            Reason::ConnectTimeout => {
                "The endpoint did not accept a connection in time (timeouts.connect)."
            }
            Reason::TlsFailed => "The TLS handshake with the endpoint failed; the log says why.",
            Reason::EgressFailed => "The egress proxy did not open a tunnel; the log says why.",
            Reason::UpstreamClosed => "The endpoint closed the connection without a reply.",
            Reason::UpstreamCut => "The endpoint broke off in the middle of its reply.",
            Reason::EndpointDrained => "The endpoint is taken out of service.",
            Reason::FirstTokenTimeout => {
                "The provider sent nothing in time (timeouts.first_token)."
            }
            Reason::BetweenTokensTimeout => {
                "The provider fell silent in the middle of its reply (timeouts.between_tokens)."
            }
            Reason::RequestTimeout => "The endpoint did not answer in time (timeouts.request).",
            Reason::StreamTimeout => "The stream took longer than it may (timeouts.stream).",
            _ => "The request could not be served; the log says why.",
        }),
    }
}

/// A text in a provider's error reply; `error.message` and `error.code` are in all dialects' place.
fn told_in(body: &[u8], pointer: &str) -> Option<String> {
    let parsed: serde_json::Value = serde_json::from_slice(body).ok()?;
    parsed.pointer(pointer)?.as_str().map(str::to_owned)
}

/// Tells the caller of an error, in whatever way is still possible: a reply of its own, an event in
/// the stream that has begun, or a break that cannot be taken for an end.
pub(crate) async fn tell(
    shard: &Shard,
    snapshot: &Snapshot,
    client: &mut Client,
    request: &Request,
    record: &mut Record<'_>,
    error: &ProxyError,
) {
    if !error.is_passed_on() {
        record.failed(error.kind);
    }
    if matches!(error.kind, Reason::ClientGone | Reason::WriteStall) {
        client.reply.close = true;
        client.reply.broken = true;
        return;
    }
    let stall = snapshot.timeouts.write_stall;
    if !client.reply.head_sent {
        // A body that has not been read makes the connection unusable (RFC 9112 section 9.3).
        client.reply.close |= !request.is_read();
        let keep = !client.reply.close;
        let (message, status) = refusal(snapshot, shard.live(), request, record.llm, error, keep);
        record.status = status;
        return deliver(client, &message, stall).await;
    }
    client.reply.close = true;
    match record.llm.filter(|_| client.reply.stream_head) {
        Some(call) => {
            let message = in_stream(call, client, request, error);
            deliver(client, &message, stall).await;
        }
        None => {
            // No clean end: the length is not reached, the last chunk is missing, or, where the
            // body ends with the connection, the connection is reset.
            client.break_off();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unread_refusal_has_the_length_that_it_says() {
        for (message, words) in [(BUSY, TOO_BUSY), (PLAIN_HTTP, "HTTPS port")] {
            let text = std::str::from_utf8(message).unwrap_or_default();
            let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
            assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
            assert!(body.contains(words));
        }
    }

    #[test]
    fn the_providers_own_words_are_found() {
        let body = br#"{"error":{"message":"no such model","type":"x","code":null}}"#;
        assert_eq!(told_in(body, "/error/message").as_deref(), Some("no such model"));
        assert_eq!(told_in(body, "/error/code"), None);
        assert_eq!(told_in(b"<html>", "/error/message"), None);
    }
}
