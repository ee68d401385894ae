//! What an LLM reply tells as it passes: whole frames only, its usage, its proper end.

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
    /// A document: its last bytes, where the usage stands.
    Document { tail: Vec<u8> },
}

#[derive(Debug)]
struct Events {
    watch: StreamWatch,
    scanner: FrameScanner,
    /// The beginning of a frame whose end has not come yet.
    held: Vec<u8>,
    /// Part of an oversized frame has been passed on.
    inside: bool,
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
                limit,
            }),
        }
    }

    /// For anything else.
    pub(crate) fn document(call: Call) -> Self {
        Self { call, kind: Kind::Document { tail: Vec::new() } }
    }

    /// Looks at the next bytes and says how much may be passed on.
    pub(crate) fn look(&mut self, bytes: &[u8]) -> Passed {
        match &mut self.kind {
            Kind::Document { tail } => {
                keep_tail(tail, bytes);
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
            Kind::Document { tail } => usage_in_body(self.call.dialect, self.call.operation, tail),
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
                self.inside = true;
            } else {
                self.held = std::mem::take(&mut passed.held);
            }
            return passed;
        }
        if passed.held.is_empty() {
            self.watch.observe(whole);
            passed.fresh = complete;
        } else {
            passed.held.extend_from_slice(whole);
            self.watch.observe(&passed.held);
        }
        self.inside = false;
        self.held.extend_from_slice(rest);
        passed
    }
}

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
