//! Server-sent events (WHATWG HTML §9.2): frame boundaries in a stream that is passed on, and the
//! events in frames.
//!
//! A frame is everything up to and including a blank line; lines end with CRLF, LF or CR. A
//! boundary is where something of our own (a heartbeat, an error event) may be put without cutting
//! an event of the origin in two.

use std::borrow::Cow;

use memchr::{memchr, memchr2, memrchr2};
use thiserror::Error;

/// Finds the last frame boundary in each piece of a stream, however it is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameScanner {
    /// The last byte was inside a line.
    in_line: bool,
    /// The last byte was CR: an LF that follows belongs to it.
    after_return: bool,
    /// Bytes have come since the last boundary.
    in_frame: bool,
}

impl FrameScanner {
    /// How many of the next `bytes` of the stream lie up to and including the last frame boundary;
    /// 0 if there is none. A boundary is seen at the CR of a CRLF; its LF then counts as part of
    /// the same boundary. Looks from the end, so it costs next to nothing for a piece that ends
    /// with a frame.
    pub fn complete(&mut self, bytes: &[u8]) -> usize {
        let Some(&last) = bytes.last() else { return 0 };
        let complete = self.last_boundary(bytes);
        self.in_line = !is_line_end(last);
        self.after_return = last == b'\r';
        self.in_frame = complete < bytes.len();
        complete
    }

    /// Whether the stream is between two frames (or at its start).
    pub fn at_boundary(&self) -> bool {
        !self.in_frame
    }

    fn last_boundary(self, bytes: &[u8]) -> usize {
        let mut end = bytes.len();
        while let Some(at) = bytes.get(..end).and_then(|seen| memrchr2(b'\n', b'\r', seen)) {
            let is_feed = bytes.get(at) == Some(&b'\n');
            // The line ends with one or two bytes, from `start` to `at`.
            let start = match at.checked_sub(1) {
                None if is_feed && self.after_return => return usize::from(!self.in_frame),
                None => 0,
                Some(before) if is_feed && bytes.get(before) == Some(&b'\r') => before,
                Some(_) => at,
            };
            let is_blank = match start.checked_sub(1).and_then(|before| bytes.get(before)) {
                None => !self.in_line,
                Some(&before) => is_line_end(before),
            };
            if is_blank {
                return at + 1;
            }
            end = start;
        }
        0
    }
}

const fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// Length of the first line of `bytes` without and with its end; `None` if it has no end.
fn first_line(bytes: &[u8]) -> Option<(usize, usize)> {
    let at = memchr2(b'\n', b'\r', bytes)?;
    let is_pair = bytes.get(at..at + 2) == Some(b"\r\n");
    Some((at, at + 1 + usize::from(is_pair)))
}

/// The complete frames at the start of `bytes`, each with the blank line that ends it: put together
/// they are the complete part of `bytes`. A blank line too many is a frame of its own.
pub fn frames(bytes: &[u8]) -> Frames<'_> {
    Frames { rest: bytes }
}

/// Iterator over complete frames; made by [`frames`].
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let mut length = 0;
        loop {
            let (content, line) = first_line(self.rest.get(length..)?)?;
            length += line;
            if content == 0 {
                let (frame, rest) = self.rest.split_at_checked(length)?;
                self.rest = rest;
                return Some(frame);
            }
        }
    }
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The event's type; empty means `message`.
    pub event: &'a [u8],
    /// The new last event id; `Some` and empty resets it.
    pub id: Option<&'a [u8]>,
    /// The new reconnection time in milliseconds.
    pub retry: Option<u64>,
    /// The data, several lines joined by LF. Borrowed if there is one line.
    pub data: Cow<'a, [u8]>,
    /// Whether there was a data line at all. A frame without one (a comment, a blank line) is no
    /// event.
    pub has_data: bool,
}

/// Reads the lines of one frame. Comments and unknown fields are skipped, as is a byte order mark
/// at the start (it belongs at the start of a stream alone; at the start of a later frame it means
/// nothing that is worth losing the line for).
pub fn parse_frame(frame: &[u8]) -> Event<'_> {
    let mut event =
        Event { event: b"", id: None, retry: None, data: Cow::Borrowed(b""), has_data: false };
    let mut rest = frame.strip_prefix(b"\xef\xbb\xbf").unwrap_or(frame);
    while !rest.is_empty() {
        let (content, length) = first_line(rest).unwrap_or((rest.len(), rest.len()));
        let (line, after) = (rest.get(..content).unwrap_or(&[]), rest.get(length..).unwrap_or(&[]));
        rest = after;
        let (name, value) = match memchr(b':', line).and_then(|colon| line.split_at_checked(colon))
        {
            Some((name, value)) => {
                let value = value.get(1..).unwrap_or(&[]);
                (name, value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &b""[..]),
        };
        match name {
            b"data" if event.has_data => {
                let data = event.data.to_mut();
                data.push(b'\n');
                data.extend_from_slice(value);
            }
            b"data" => {
                event.data = Cow::Borrowed(value);
                event.has_data = true;
            }
            b"event" => event.event = value,
            b"id" if memchr(0, value).is_none() => event.id = Some(value),
            b"retry" => event.retry = milliseconds(value).or(event.retry),
            _ => {}
        }
    }
    event
}

fn milliseconds(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Why a stream cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SseError {
    /// A frame exceeds the limit given to [`SseDecoder::new`].
    #[error("an event is larger than the limit of {limit} bytes")]
    FrameTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
}

/// Reads the events of a stream, for clients. Holds an incomplete frame of at most `limit` bytes
/// and what was pushed last.
#[derive(Clone, Debug)]
pub struct SseDecoder {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were handed out by the last `push`.
    handed_out: usize,
    scanner: FrameScanner,
    limit: usize,
}

impl SseDecoder {
    /// A decoder at the start of a stream; `limit` is the largest frame in bytes.
    pub fn new(limit: usize) -> Self {
        Self { buffer: Vec::new(), handed_out: 0, scanner: FrameScanner::default(), limit }
    }

    /// Takes the next bytes of the stream; returns the events that they complete. Frames without
    /// data are left out. After an error the decoder is of no further use: the stream has a gap.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Events<'_>, SseError> {
        self.buffer.drain(..self.handed_out);
        self.handed_out = 0;
        let pending = self.buffer.len();
        let complete = self.scanner.complete(bytes);
        let (left, right) = (pending + complete, bytes.len() - complete);
        if right > self.limit || (complete == 0 && left + right > self.limit) {
            return Err(SseError::FrameTooLarge { limit: self.limit });
        }
        self.buffer.extend_from_slice(bytes);
        self.handed_out = if complete == 0 { 0 } else { left };
        Ok(Events { frames: frames(self.buffer.get(..self.handed_out).unwrap_or(&[])) })
    }
}

/// Iterator over the events of complete frames; made by [`SseDecoder::push`].
#[derive(Clone, Debug)]
pub struct Events<'a> {
    frames: Frames<'a>,
}

impl<'a> Iterator for Events<'a> {
    type Item = Event<'a>;

    fn next(&mut self) -> Option<Event<'a>> {
        self.frames.by_ref().map(parse_frame).find(|event| event.has_data)
    }
}
