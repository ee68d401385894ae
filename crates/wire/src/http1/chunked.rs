//! The chunked transfer coding (RFC 9112 §7.1): a decoder that works in place and remembers
//! everything, and the few bytes an encoder needs.

use std::ops::Range;

use thiserror::Error;

use crate::octet::{is_field_value, is_token};

/// Most bytes of extensions behind one chunk size.
pub const EXTENSION_MAX: u16 = 256;
/// Most bytes of extensions in a body beyond those that its payload outweighs (CVE-2023-39326: a
/// peer that sends one byte of payload per 256 of extension costs work and bandwidth for nothing).
pub const EXTENSION_EXCESS_MAX: u32 = 16 * 1024;
/// Most bytes of the trailer section.
pub const TRAILER_MAX: u16 = 8 * 1024;
/// Most fields of the trailer section.
pub const TRAILER_FIELDS_MAX: u8 = 64;
/// Most digits of a chunk size: what 64 bits hold.
const SIZE_DIGITS_MAX: u8 = 16;

/// What ends the payload of a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";
/// What ends a body: a chunk of size 0 and an empty trailer section.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Why a chunked body was refused. Where the message ends is unknown from then on: the connection
/// cannot be reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum ChunkError {
    /// The size has no hex digit, another byte than hex digits, or more than 64 bits.
    #[error("a chunk size is malformed: send 1 to 16 hexadecimal digits and nothing else")]
    InvalidSize,
    /// A control byte (bare CR included) in a chunk extension, or a blank that no extension
    /// follows.
    #[error("a chunk extension is malformed: leave chunk extensions out")]
    InvalidExtension,
    /// More extension bytes than [`EXTENSION_MAX`] in a chunk, or [`EXTENSION_EXCESS_MAX`] in the
    /// body.
    #[error("the chunk extensions are too long: leave chunk extensions out")]
    ExtensionTooLong,
    /// The payload of a chunk is not followed by CRLF.
    #[error(
        "the data of a chunk does not end with CRLF where its size says: check the chunk sizes"
    )]
    MissingDataEnd,
    /// A line ends with LF alone.
    #[error("a line of the chunked body ends with a bare line feed: end every line with CRLF")]
    BareLineFeed,
    /// A trailer is not a field line.
    #[error("a trailer field is malformed: send `name: value` lines ended by CRLF, or none")]
    InvalidTrailer,
    /// The trailer section exceeds [`TRAILER_MAX`] or [`TRAILER_FIELDS_MAX`].
    #[error("the trailer section is too large: send fewer or shorter trailer fields")]
    TrailerTooLarge,
    /// The decoder was used after it had refused the body.
    #[error("the chunked body was already refused")]
    AfterError,
}

impl ChunkError {
    /// The status to answer a *request* with, if its response has not begun.
    pub const fn status(self) -> u16 {
        match self {
            Self::TrailerTooLarge => 431,
            _ => 400,
        }
    }

    /// A stable name for replies, logs and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidSize => "invalid_chunk_size",
            Self::InvalidExtension => "invalid_chunk_extension",
            Self::ExtensionTooLong => "chunk_extension_too_long",
            Self::MissingDataEnd => "missing_chunk_end",
            Self::BareLineFeed => "bare_line_feed",
            Self::InvalidTrailer => "invalid_trailer",
            Self::TrailerTooLarge => "trailer_too_large",
            Self::AfterError => "chunked_after_error",
        }
    }
}

/// What [`ChunkedDecoder::decode`] found.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Decoded {
    /// Where the payload lies in the buffer now; may be empty.
    pub data: Range<usize>,
    /// Bytes of the buffer that are used up, payload included. All of them unless the body ended
    /// before.
    pub consumed: usize,
    /// The body has ended: bytes behind `consumed` belong to the next message.
    pub done: bool,
}

/// Where the next byte belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum State {
    /// First digit of a size.
    #[default]
    SizeStart,
    /// Further digits, or what ends them.
    Size,
    /// Blanks behind a size: an extension must follow.
    SizeBlank,
    /// Inside an extension, up to CR.
    Extension,
    /// The LF of a size line.
    SizeLineFeed,
    /// Payload, `remaining` bytes of it.
    Data,
    /// CR behind the payload.
    DataReturn,
    /// LF behind the payload.
    DataLineFeed,
    /// Start of a trailer line, or the CR of the last line.
    TrailerStart,
    /// Inside the name of a trailer, up to the colon.
    TrailerName,
    /// Inside the value of a trailer, up to CR.
    TrailerValue,
    /// The LF of a trailer line.
    TrailerLineFeed,
    /// The LF of the last line.
    EndLineFeed,
    /// The body has ended.
    Done,
    /// The body was refused.
    Refused,
}

/// Decodes one chunked body, in whatever pieces it comes. Trailers are checked and dropped: nothing
/// in them can overrule a field of the head.
#[derive(Clone, Debug, Default)]
pub struct ChunkedDecoder {
    /// Payload bytes left in the chunk; the size itself while its digits are read.
    remaining: u64,
    /// Extension bytes that payload has not yet outweighed.
    excess: u32,
    /// Bytes of the extension, or of the trailer section.
    line_bytes: u16,
    /// Digits of the size, or fields of the trailer section.
    count: u8,
    state: State,
}

impl ChunkedDecoder {
    /// Reads as much of `buf` as belongs to the body and moves the payload together, so that it is
    /// one range of `buf`. Nothing is moved while `buf` holds the payload of one chunk alone.
    /// Consumed bytes are never needed again: what is left of a size or trailer line is remembered
    /// here.
    pub fn decode(&mut self, buf: &mut [u8]) -> Result<Decoded, ChunkError> {
        let mut at = 0;
        let mut data = 0..0;
        while at < buf.len() && self.state != State::Done {
            if self.state == State::Data {
                let rest = buf.len() - at;
                let length =
                    usize::try_from(self.remaining).map_or(rest, |remaining| remaining.min(rest));
                if data.is_empty() {
                    data = at..at + length;
                } else {
                    buf.copy_within(at..at + length, data.end);
                    data.end += length;
                }
                at += length;
                self.remaining -= length as u64;
                self.excess = self.excess.saturating_sub(u32::try_from(length).unwrap_or(u32::MAX));
                if self.remaining == 0 {
                    self.state = State::DataReturn;
                }
                continue;
            }
            let Some(&byte) = buf.get(at) else { break };
            match self.step(byte) {
                Ok(next) => self.state = next,
                Err(error) => {
                    self.state = State::Refused;
                    return Err(error);
                }
            }
            at += 1;
        }
        Ok(Decoded { data, consumed: at, done: self.is_done() })
    }

    /// Whether the whole body has been read.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes one byte of anything but payload; returns the state behind it.
    fn step(&mut self, byte: u8) -> Result<State, ChunkError> {
        match self.state {
            State::SizeStart => {
                self.remaining = 0;
                self.count = 0;
                self.line_bytes = 0;
                self.size_digit(byte)
            }
            State::Size => match byte {
                b'\r' => Ok(State::SizeLineFeed),
                b';' => Ok(State::Extension),
                b' ' | b'\t' => self.extension_byte(State::SizeBlank),
                b'\n' => Err(ChunkError::BareLineFeed),
                _ => self.size_digit(byte),
            },
            State::SizeBlank => match byte {
                b' ' | b'\t' => self.extension_byte(State::SizeBlank),
                b';' => Ok(State::Extension),
                _ => Err(ChunkError::InvalidExtension),
            },
            State::Extension => match byte {
                b'\r' => Ok(State::SizeLineFeed),
                b'\n' => Err(ChunkError::BareLineFeed),
                _ if is_field_value(byte) => self.extension_byte(State::Extension),
                _ => Err(ChunkError::InvalidExtension),
            },
            State::SizeLineFeed => match byte {
                b'\n' if self.remaining > 0 => Ok(State::Data),
                b'\n' => {
                    self.count = 0;
                    self.line_bytes = 0;
                    Ok(State::TrailerStart)
                }
                _ if self.line_bytes > 0 => Err(ChunkError::InvalidExtension),
                _ => Err(ChunkError::InvalidSize),
            },
            State::DataReturn if byte == b'\r' => Ok(State::DataLineFeed),
            State::DataLineFeed if byte == b'\n' => Ok(State::SizeStart),
            State::Data | State::DataReturn | State::DataLineFeed => {
                Err(ChunkError::MissingDataEnd)
            }
            State::TrailerStart => match byte {
                b'\r' => Ok(State::EndLineFeed),
                b'\n' => Err(ChunkError::BareLineFeed),
                _ if is_token(byte) => {
                    self.count += 1;
                    if self.count > TRAILER_FIELDS_MAX {
                        return Err(ChunkError::TrailerTooLarge);
                    }
                    self.trailer_byte(State::TrailerName)
                }
                _ => Err(ChunkError::InvalidTrailer),
            },
            State::TrailerName => match byte {
                b':' => self.trailer_byte(State::TrailerValue),
                b'\n' => Err(ChunkError::BareLineFeed),
                _ if is_token(byte) => self.trailer_byte(State::TrailerName),
                _ => Err(ChunkError::InvalidTrailer),
            },
            State::TrailerValue => match byte {
                b'\r' => self.trailer_byte(State::TrailerLineFeed),
                b'\n' => Err(ChunkError::BareLineFeed),
                _ if is_field_value(byte) => self.trailer_byte(State::TrailerValue),
                _ => Err(ChunkError::InvalidTrailer),
            },
            State::TrailerLineFeed if byte == b'\n' => self.trailer_byte(State::TrailerStart),
            State::EndLineFeed if byte == b'\n' => Ok(State::Done),
            State::TrailerLineFeed | State::EndLineFeed => Err(ChunkError::InvalidTrailer),
            State::Done => Ok(State::Done),
            State::Refused => Err(ChunkError::AfterError),
        }
    }

    fn size_digit(&mut self, byte: u8) -> Result<State, ChunkError> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ => return Err(ChunkError::InvalidSize),
        };
        self.count += 1;
        if self.count > SIZE_DIGITS_MAX {
            return Err(ChunkError::InvalidSize);
        }
        self.remaining = (self.remaining << 4) | u64::from(digit);
        Ok(State::Size)
    }

    fn extension_byte(&mut self, next: State) -> Result<State, ChunkError> {
        self.line_bytes += 1;
        self.excess += 1;
        if self.line_bytes > EXTENSION_MAX || self.excess > EXTENSION_EXCESS_MAX {
            return Err(ChunkError::ExtensionTooLong);
        }
        Ok(next)
    }

    fn trailer_byte(&mut self, next: State) -> Result<State, ChunkError> {
        self.line_bytes += 1;
        if self.line_bytes > TRAILER_MAX { Err(ChunkError::TrailerTooLarge) } else { Ok(next) }
    }
}

/// Writes the size line of a chunk of `len` bytes to the end of `out` and returns it. `len` must
/// not be 0, which would end the body.
pub fn chunk_head(len: usize, out: &mut [u8; 20]) -> &[u8] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut at = out.len() - 2;
    out[at] = b'\r';
    out[at + 1] = b'\n';
    let mut left = len;
    // 16 digits at most, so `at` stays above 1.
    loop {
        at -= 1;
        out[at] = DIGITS[left & 0xf];
        left >>= 4;
        if left == 0 {
            return &out[at..];
        }
    }
}
