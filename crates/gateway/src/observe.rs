//! What an LLM reply tells as it passes: whole frames only, its usage, its proper end.

use std::borrow::Cow;

use tidegate_dialect::usage::TAIL_MAX;
use tidegate_dialect::{Call, Operation, StreamWatch, Usage, usage_in_body};
use tidegate_snapshot::Provider;
use tidegate_wire::sse::FrameScanner;

/// The watch over one LLM reply.
#[derive(Debug)]
pub(crate) struct Observed {
    call: Call,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// An event stream.
    Events(Events),
    /// A document: its last bytes, where the usage stands, or the usage of one that came whole.
    Document { tail: Vec<u8>, usage: Option<Usage> },
}

#[derive(Debug)]
struct Events {
    watch: StreamWatch,
    scanner: FrameScanner,
    /// The beginning of a frame whose end has not come yet.
    held: Vec<u8>,
    /// Part of an oversized frame has been passed on.
    inside: bool,
    /// Of that frame: how it begins and how it ends so far, where its name and its usage stand.
    front: Vec<u8>,
    tail: Vec<u8>,
    limit: usize,
}

/// What of the bytes may be passed on now: first what was held, then a part of what is new.
#[derive(Debug)]
pub(crate) struct Passed {
    /// Held before, complete now.
    pub(crate) held: Vec<u8>,
    /// How many of the new bytes may follow.
    pub(crate) fresh: usize,
}

impl Observed {
    /// For an event stream. A frame is held until it is complete, up to `limit` bytes.
    pub(crate) fn events(call: Call, limit: usize) -> Self {
        Self {
            call,
            kind: Kind::Events(Events {
                watch: StreamWatch::new(call.dialect, call.operation),
                scanner: FrameScanner::default(),
                held: Vec::new(),
                inside: false,
                front: Vec::new(),
                tail: Vec::new(),
                limit,
            }),
        }
    }

    /// For anything else.
    pub(crate) fn document(call: Call) -> Self {
        Self { call, kind: Kind::Document { tail: Vec::new(), usage: None } }
    }

    /// Looks at the next bytes and says how much may be passed on. `ended`: they are the last.
    pub(crate) fn look(&mut self, bytes: &[u8], ended: bool) -> Passed {
        match &mut self.kind {
            Kind::Document { tail, usage } => {
                if ended && tail.is_empty() {
                    // Most documents come in one piece: they are read where they lie.
                    *usage = usage_in_body(self.call.dialect, self.call.operation, bytes);
                } else {
                    keep_tail(tail, bytes);
                }
                Passed { held: Vec::new(), fresh: bytes.len() }
            }
            Kind::Events(events) => events.look(bytes),
        }
    }

    /// What is still held when the reply has ended: the beginning of a frame without an end.
    pub(crate) fn leftover(&mut self) -> Vec<u8> {
        match &mut self.kind {
            Kind::Events(events) => std::mem::take(&mut events.held),
            Kind::Document { .. } => Vec::new(),
        }
    }

    /// The usage that was seen.
    pub(crate) fn usage(&self) -> Option<Usage> {
        match &self.kind {
            Kind::Document { tail, usage } => {
                usage.or_else(|| usage_in_body(self.call.dialect, self.call.operation, tail))
            }
            Kind::Events(events) => events.watch.usage(),
        }
    }

    /// Did the reply end as its dialect says it must? Without that an SDK takes a broken stream for
    /// a complete one.
    pub(crate) fn ended_properly(&self) -> bool {
        match &self.kind {
            Kind::Document { .. } => true,
            Kind::Events(events) => {
                events.watch.finished()
                    || !matches!(
                        self.call.operation,
                        Operation::ChatCompletions
                            | Operation::Completions
                            | Operation::Responses
                            | Operation::Messages
                    )
            }
        }
    }

    /// The watch of an event stream.
    pub(crate) fn watch(&self) -> Option<&StreamWatch> {
        match &self.kind {
            Kind::Events(events) => Some(&events.watch),
            Kind::Document { .. } => None,
        }
    }

    /// Is the caller in the middle of a frame?
    pub(crate) fn is_inside_frame(&self) -> bool {
        match &self.kind {
            Kind::Events(events) => events.inside,
            Kind::Document { .. } => true,
        }
    }
}

impl Events {
    fn look(&mut self, bytes: &[u8]) -> Passed {
        let complete = self.scanner.complete(bytes);
        let (whole, rest) = bytes.split_at_checked(complete).unwrap_or((bytes, &[]));
        let mut passed = Passed { held: std::mem::take(&mut self.held), fresh: 0 };
        if complete == 0 {
            passed.held.extend_from_slice(rest);
            if self.inside || passed.held.len() > self.limit {
                self.pass_part(&passed.held);
            } else {
                self.held = std::mem::take(&mut passed.held);
            }
            return passed;
        }
        if self.inside {
            self.end_part(whole);
            passed.fresh = complete;
        } else if passed.held.is_empty() {
            self.watch.observe(whole);
            passed.fresh = complete;
        } else {
            passed.held.extend_from_slice(whole);
            self.watch.observe(&passed.held);
        }
        self.held.extend_from_slice(rest);
        passed
    }

    /// Notes a part of a frame that is too large to be held until it is whole.
    fn pass_part(&mut self, part: &[u8]) {
        if !self.inside {
            self.inside = true;
            self.front.extend_from_slice(part.get(..FRONT_KEPT).unwrap_or(part));
        }
        keep_tail(&mut self.tail, part);
    }

    /// The oversized frame ends in `whole`, which other frames may follow. It is looked at as what
    /// was kept of it: keys are searched for, so that what is missing between does no harm.
    fn end_part(&mut self, whole: &[u8]) {
        keep_tail(&mut self.tail, whole);
        let mut kept = std::mem::take(&mut self.front);
        kept.append(&mut self.tail);
        self.watch.observe(&kept);
        self.tail = Vec::new();
        self.inside = false;
    }
}

/// Bytes of an oversized frame's beginning that are kept: its name and type.
const FRONT_KEPT: usize = 1024;

/// Keeps the last bytes of a document.
fn keep_tail(tail: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() >= TAIL_KEPT {
        tail.clear();
    } else if tail.len() + bytes.len() > 2 * TAIL_KEPT {
        tail.drain(..tail.len() - TAIL_KEPT);
    }
    let from = bytes.len().saturating_sub(TAIL_KEPT);
    tail.extend_from_slice(bytes.get(from..).unwrap_or_default());
}

/// Bytes of a document's end that are kept: the usage object and what vendors put behind it.
const TAIL_KEPT: usize = 8 * 1024;
const _: () = assert!(TAIL_KEPT <= TAIL_MAX);

/// Overwrites the provider's key wherever it stands, with as many asterisks: lengths stay true.
pub(crate) fn mask_key(provider: Option<&Provider>, bytes: &mut [u8]) {
    let Some(key) = provider.and_then(|p| p.key.as_ref()) else { return };
    let length = key.needle().len();
    let mut from = 0;
    while let Some(at) = bytes.get(from..).and_then(|rest| key.find(rest)) {
        if let Some(found) = bytes.get_mut(from + at..from + at + length) {
            found.fill(b'*');
        }
        from += at + length;
    }
}

/// As [`mask_key`], for a reply that comes in pieces: what may be the beginning of the key is
/// withheld until the next piece shows whether it is. `ended`: there is no next piece.
pub(crate) fn mask_pieces<'b>(
    provider: &Provider,
    withheld: &mut Vec<u8>,
    piece: &'b mut [u8],
    ended: bool,
) -> Cow<'b, [u8]> {
    let Some(key) = &provider.key else { return Cow::Borrowed(piece) };
    if withheld.is_empty() {
        mask_key(Some(provider), piece);
        let keep = if ended { 0 } else { partial_key(piece, key.needle()) };
        let (passed, rest) = piece.split_at(piece.len() - keep);
        withheld.extend_from_slice(rest);
        return Cow::Borrowed(passed);
    }
    let mut joined = std::mem::take(withheld);
    joined.extend_from_slice(piece);
    mask_key(Some(provider), &mut joined);
    let keep = if ended { 0 } else { partial_key(&joined, key.needle()) };
    withheld.extend_from_slice(joined.get(joined.len() - keep..).unwrap_or_default());
    joined.truncate(joined.len() - keep);
    Cow::Owned(joined)
}

/// How many bytes at the end are a proper beginning of the key.
fn partial_key(bytes: &[u8], key: &[u8]) -> usize {
    let longest = bytes.len().min(key.len().saturating_sub(1));
    let end = bytes.get(bytes.len() - longest..).unwrap_or_default();
    let Some(first) = key.first() else { return 0 };
    // Ends of text rarely hold the key's first byte at all, and then this is all there is to do.
    memchr::memchr_iter(*first, end)
        .map(|at| longest - at)
        .find(|length| key.starts_with(end.get(longest - length..).unwrap_or_default()))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use memchr::memmem::Finder;
    use tidegate_dialect::{Dialect, classify};

    fn provider(key: &str) -> Provider {
        Provider {
            name: "p".to_owned(),
            dialect: Dialect::OpenAi,
            base_path: String::new(),
            key_field: Vec::new(),
            key: Some(Finder::new(key.as_bytes()).into_owned()),
            fields: Vec::new(),
            field_names: Vec::new(),
        }
    }

    #[test]
    fn a_key_is_masked_wherever_a_reply_is_cut_in_two_or_three() {
        let provider = provider("sk-secret-sk-key");
        let text = b"bad key sk-secret-sk-key, sk-secret-no, sk-secret-sk-key";
        let want = b"bad key ****************, sk-secret-no, ****************";
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let mut withheld = Vec::new();
                let mut out = Vec::new();
                for (piece, ended) in [
                    (&text[..first], false),
                    (&text[first..second], false),
                    (&text[second..], true),
                ] {
                    let mut piece = piece.to_vec();
                    out.extend_from_slice(&mask_pieces(
                        &provider,
                        &mut withheld,
                        &mut piece,
                        ended,
                    ));
                }
                assert_eq!(out, want, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn an_oversized_last_event_ends_its_stream_properly_and_its_usage_counts() {
        let call = classify(b"POST", b"/v1/responses", false).expect("a known path");
        let mut frame = b"event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"output\":\"".to_vec();
        frame.resize(frame.len() + 60_000, b'x');
        frame.extend_from_slice(b"\",\"usage\":{\"input_tokens\":7,\"output_tokens\":9}}}\n\n");
        for size in [100, 8_000, 17_000, 40_000, 59_990] {
            let mut observed = Observed::events(call, 16 * 1024);
            let mut out = Vec::new();
            for piece in frame.chunks(size) {
                let passed = observed.look(piece, false);
                out.extend_from_slice(&passed.held);
                out.extend_from_slice(&piece[..passed.fresh]);
            }
            assert!(out == frame, "bytes changed with pieces of {size}");
            assert!(observed.ended_properly(), "pieces of {size}");
            let usage = observed.usage().expect("usage");
            assert_eq!((usage.input, usage.output), (7, 9), "pieces of {size}");
            assert!(!observed.is_inside_frame());
        }
    }
}
