//! The request received last, byte for byte: tests of what a gateway sends upstream read it at `GET /lab/last`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tidegate_wire::http1::head::{HeadLimits, RequestHead, parse_request};

use crate::connection::Request;
use crate::json::{put, put_number, put_text};

/// Bytes of a body that are kept.
const BODY_KEPT_MAX: usize = 4 << 20;

/// A buffer larger than this is not kept for the next request.
const BODY_IDLE_MAX: usize = 64 << 10;

/// The last request.
#[derive(Debug, Default)]
pub(super) struct LastRequest {
    head: Vec<u8>,
    body: Vec<u8>,
    body_bytes: usize,
}

impl LastRequest {
    /// Remembers `request` and forgets the one before.
    pub(super) fn remember(&mut self, request: &Request) {
        self.head.clear();
        self.head.extend_from_slice(request.raw_head);
        if self.body.capacity() > BODY_IDLE_MAX {
            self.body = Vec::new();
        }
        self.body.clear();
        let kept = request.body.get(..BODY_KEPT_MAX).unwrap_or(request.body);
        self.body.extend_from_slice(kept);
        self.body_bytes = request.body.len();
    }

    /// `{"method","target","headers":[[name,value]…],"body":text or "body_base64":text,"body_bytes":N}`. The body is cut
    /// at 4 MiB; `body_bytes` tells its real length. `null` when there was no request.
    pub(super) fn page(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512 + self.body.len());
        let mut head = RequestHead::default();
        if parse_request(&self.head, &HeadLimits::default(), &mut head)
            .is_ok_and(|end| end.is_some())
        {
            put(&mut out, "{");
            put_request(&mut out, &head, &self.head, &self.body);
            put(&mut out, ",\"body_bytes\":");
            put_number(&mut out, self.body_bytes as u64);
            put(&mut out, "}");
        } else {
            put(&mut out, "null");
        }
        out
    }
}

/// Appends method, target, headers and body of a request as fields of a JSON object (without the braces). Bytes that are
/// not UTF-8 appear as U+FFFD in the head; such a body is base64.
pub(crate) fn put_request(out: &mut Vec<u8>, head: &RequestHead, raw_head: &[u8], body: &[u8]) {
    put(out, "\"method\":");
    put_text(out, &String::from_utf8_lossy(head.method_name.of(raw_head)));
    put(out, ",\"target\":");
    put_text(out, &String::from_utf8_lossy(head.target.of(raw_head)));
    put(out, ",\"headers\":[");
    for (at, field) in head.fields.iter().enumerate() {
        put(out, if at == 0 { "[" } else { ",[" });
        put_text(out, &String::from_utf8_lossy(field.name.of(raw_head)));
        put(out, ",");
        put_text(out, &String::from_utf8_lossy(field.value.of(raw_head)));
        put(out, "]");
    }
    if let Ok(text) = std::str::from_utf8(body) {
        put(out, "],\"body\":");
        put_text(out, text);
    } else {
        put(out, "],\"body_base64\":");
        put_text(out, &BASE64_STANDARD.encode(body));
    }
}
