//! A strict JSON scanner over bytes (RFC 8259): no allocation, no recursion, depth bounded, never
//! panics.
//!
//! It checks grammar only. That the bytes are UTF-8 is the caller's check, made once for the whole
//! body: outside strings the grammar allows ASCII alone, and inside strings every byte from 0x20 up
//! passes.

/// How deeply objects and arrays may nest; one bit per level is kept.
pub const DEPTH_MAX: u32 = 128;

/// Where and why a body is not the JSON that was expected. Safe to show to the caller: it quotes
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} column {column}: {}{what}", if *.ended { "the body ends here, " } else { "" })]
pub struct JsonError {
    /// Bytes from the start of the body to the problem.
    pub offset: usize,
    /// What was expected or found.
    pub what: &'static str,
    /// Line of the problem, from 1; lines end at LF.
    pub line: usize,
    /// Byte within that line, from 1.
    pub column: usize,
    /// The problem is that nothing follows.
    pub ended: bool,
}

impl JsonError {
    pub(crate) fn locate(body: &[u8], fault: Fault) -> Self {
        let before = body.get(..fault.at).unwrap_or(body);
        let line_start = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
        Self {
            offset: fault.at,
            what: fault.what,
            line: memchr::memchr_iter(b'\n', before).count() + 1,
            column: before.len() - line_start + 1,
            ended: fault.at >= body.len(),
        }
    }
}

/// A problem at a byte offset; [`JsonError::locate`] turns it into line and column when it is
/// reported.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) what: &'static str,
}

/// A string in the body: offsets of its first quote and of the byte after its last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) escaped: bool,
}

impl Token {
    /// The bytes between the quotes, still escaped.
    pub(crate) fn content<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.start + 1..self.end.saturating_sub(1)).unwrap_or_default()
    }
}

/// Reads one JSON text from the front of `bytes`.
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u32,
    /// One bit per open container, the innermost lowest: 1 is an object, 0 an array.
    kinds: u128,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, depth: 0, kinds: 0 }
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What has not been taken yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The next byte that is not blank, without taking it.
    #[inline]
    pub(crate) fn peek_value(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    /// A fault at the current place.
    pub(crate) fn fault<T>(&self, what: &'static str) -> Result<T, Fault> {
        Err(Fault { at: self.at, what })
    }

    /// Takes `{` and the first key with its colon; `None` when the object is empty.
    pub(crate) fn open_object(&mut self, what: &'static str) -> Result<Option<Token>, Fault> {
        if self.peek_value() != Some(b'{') {
            return self.fault(what);
        }
        self.enter(1)?;
        if self.peek_value() == Some(b'}') {
            self.leave();
            return Ok(None);
        }
        self.key("expected a key in double quotes or '}'").map(Some)
    }

    /// After a member's value: takes `,` and the next key with its colon; `None` when the object
    /// closes.
    pub(crate) fn next_member(&mut self) -> Result<Option<Token>, Fault> {
        match self.peek_value() {
            Some(b',') => {
                self.at += 1;
                self.key("expected a key in double quotes").map(Some)
            }
            Some(b'}') => {
                self.leave();
                Ok(None)
            }
            _ => self.fault("expected ',' or '}'"),
        }
    }

    /// Checks that only blanks follow.
    pub(crate) fn end(&mut self) -> Result<(), Fault> {
        match self.peek_value() {
            None => Ok(()),
            Some(_) => self.fault("unexpected text after the JSON value"),
        }
    }

    /// Takes a string; the next byte must be its opening quote.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Token, Fault> {
        let start = self.at;
        let mut escaped = false;
        self.at += 1;
        loop {
            self.at = plain_end(self.bytes, self.at);
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Token { start, end: self.at, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return self.fault("control characters in a string must be escaped"),
                None => return self.fault("the string has no closing quote"),
            }
        }
    }

    /// Takes a number, `true`, `false` or `null`, a string, or a whole object or array.
    pub(crate) fn skip_value(&mut self) -> Result<(), Fault> {
        let floor = self.depth;
        loop {
            match self.peek_value() {
                Some(b'"') => {
                    self.string()?;
                }
                Some(b'{') => {
                    if self.open_object("")?.is_some() {
                        continue;
                    }
                }
                Some(b'[') => {
                    self.enter(0)?;
                    if self.peek_value() != Some(b']') {
                        continue;
                    }
                    self.leave();
                }
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.literal(b"true")?,
                Some(b'f') => self.literal(b"false")?,
                Some(b'n') => self.literal(b"null")?,
                _ => return self.fault("expected a value"),
            }
            // A value has ended; so may have any number of the containers around it.
            loop {
                if self.depth == floor {
                    return Ok(());
                }
                if self.kinds & 1 == 1 {
                    if self.next_member()?.is_some() {
                        break;
                    }
                } else {
                    match self.peek_value() {
                        Some(b',') => {
                            self.at += 1;
                            break;
                        }
                        Some(b']') => self.leave(),
                        _ => return self.fault("expected ',' or ']'"),
                    }
                }
            }
        }
    }

    /// Takes a value and returns the unsigned integer it is; any other valid value is `None`.
    pub(crate) fn unsigned(&mut self) -> Result<Option<u64>, Fault> {
        self.peek_value();
        let start = self.at;
        self.skip_value()?;
        let digits = self.bytes.get(start..self.at).unwrap_or_default();
        Ok(std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()))
    }

    /// Takes exactly this literal.
    pub(crate) fn literal(&mut self, literal: &'static [u8]) -> Result<(), Fault> {
        if !self.rest().starts_with(literal) {
            return self.fault("expected a value");
        }
        self.at += literal.len();
        Ok(())
    }

    fn key(&mut self, what: &'static str) -> Result<Token, Fault> {
        if self.peek_value() != Some(b'"') {
            return self.fault(what);
        }
        let key = self.string()?;
        if self.peek_value() != Some(b':') {
            return self.fault("expected ':' after the key");
        }
        self.at += 1;
        Ok(key)
    }

    fn enter(&mut self, kind: u128) -> Result<(), Fault> {
        if self.depth == DEPTH_MAX {
            return self.fault("objects and arrays nest deeper than 128 levels");
        }
        self.at += 1;
        self.depth += 1;
        self.kinds = self.kinds << 1 | kind;
        Ok(())
    }

    fn leave(&mut self) {
        self.at += 1;
        self.depth -= 1;
        self.kinds >>= 1;
    }

    fn escape(&mut self) -> Result<(), Fault> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                self.at += 2;
                for _ in 0..4 {
                    match self.bytes.get(self.at) {
                        Some(digit) if digit.is_ascii_hexdigit() => self.at += 1,
                        _ => return self.fault("expected four hexadecimal digits after \\u"),
                    }
                }
            }
            _ => {
                self.at += 1;
                return self.fault("unknown escape in a string");
            }
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        if self.bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
            if self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
                return self.fault("a number must not start with 0");
            }
        } else {
            self.digits()?;
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Fault> {
        if !self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            return self.fault("expected a digit");
        }
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        Ok(())
    }
}

/// Words looked at one by one before the wide loop starts: most strings are short.
const SHORT_WORDS: usize = 3;
/// Bytes per turn of the wide loop: wide enough for the compiler to use vector registers.
const WIDE: usize = 64;

/// The first place at or after `at` that is not plain string content: a quote, a backslash, a
/// control character or the end of `bytes`.
#[inline]
fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    let mut words = 0;
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let special = specials(u64::from_le_bytes(*word));
        if special != 0 {
            return at + (special.trailing_zeros() / 8) as usize;
        }
        at += 8;
        words += 1;
        if words == SHORT_WORDS {
            at = skip_wide(bytes, at);
        }
    }
    while bytes.get(at).is_some_and(|byte| !is_special(*byte)) {
        at += 1;
    }
    at
}

/// Skips whole blocks of plain content.
fn skip_wide(bytes: &[u8], mut at: usize) -> usize {
    while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk::<WIDE>) {
        if block.iter().fold(false, |found, byte| found | is_special(*byte)) {
            break;
        }
        at += WIDE;
    }
    at
}

#[inline]
fn is_special(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || byte < 0x20
}

/// Marks special bytes of a little-endian word with their top bit. The lowest mark is exact; a
/// borrow can only set false marks above it.
#[inline]
fn specials(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = ONES << 7;
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let quote = quote.wrapping_sub(ONES) & !quote;
    let backslash = backslash.wrapping_sub(ONES) & !backslash;
    (control | quote | backslash) & TOPS
}
