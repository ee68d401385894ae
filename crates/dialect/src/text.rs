//! `Text`: a short decoded string that lives inline, so that reading a model's name allocates
//! nothing.

use std::fmt;
use std::ops::Deref;

/// A decoded string of at most [`Text::MAX_BYTES`] bytes of UTF-8, stored inline.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text {
    len: u8,
    bytes: [u8; Text::MAX_BYTES],
}

/// Why a string cannot become a [`Text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// More than [`Text::MAX_BYTES`] bytes once decoded.
    #[error("is longer than 255 bytes")]
    TooLong,
    /// A `\uD800`-`\uDFFF` escape without its other half: it stands for no character.
    #[error("contains half of a surrogate pair")]
    LoneSurrogate,
    /// Not UTF-8, or an escape that JSON does not have.
    #[error("is not valid text")]
    Invalid,
}

impl Text {
    /// The longest text, in bytes. Model names are far shorter; file paths used as names by local
    /// servers fit too.
    pub const MAX_BYTES: usize = 255;

    const EMPTY: Self = Self { len: 0, bytes: [0; Self::MAX_BYTES] };

    /// Copies UTF-8 bytes that carry no escapes.
    pub fn from_utf8(bytes: &[u8]) -> Result<Self, TextError> {
        std::str::from_utf8(bytes).map_err(|_| TextError::Invalid)?;
        let mut text = Self::EMPTY;
        text.push(bytes)?;
        Ok(text)
    }

    /// Decodes what stands between the quotes of a JSON string (RFC 8259, section 7).
    pub fn from_json_content(content: &[u8]) -> Result<Self, TextError> {
        let mut text = Self::EMPTY;
        let mut rest = content;
        while let Some(at) = memchr::memchr(b'\\', rest) {
            let (plain, escape) = rest.split_at_checked(at).ok_or(TextError::Invalid)?;
            text.push(plain)?;
            let (decoded, used) = decode_escape(escape)?;
            text.push(decoded.encode_utf8(&mut [0; 4]).as_bytes())?;
            rest = escape.get(used..).ok_or(TextError::Invalid)?;
        }
        text.push(rest)?;
        std::str::from_utf8(text.filled()).map_err(|_| TextError::Invalid)?;
        Ok(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // The constructors let nothing but UTF-8 in.
        std::str::from_utf8(self.filled()).unwrap_or_default()
    }

    fn filled(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    fn push(&mut self, more: &[u8]) -> Result<(), TextError> {
        let start = usize::from(self.len);
        let end = start + more.len();
        self.bytes.get_mut(start..end).ok_or(TextError::TooLong)?.copy_from_slice(more);
        self.len = u8::try_from(end).map_err(|_| TextError::TooLong)?;
        Ok(())
    }
}

/// Decodes one escape that starts at a backslash. Returns the character and how many bytes it took.
fn decode_escape(escape: &[u8]) -> Result<(char, usize), TextError> {
    let simple = match escape.get(1) {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return decode_unicode(escape),
        _ => return Err(TextError::Invalid),
    };
    Ok((simple, 2))
}

fn decode_unicode(escape: &[u8]) -> Result<(char, usize), TextError> {
    let first = code_unit(escape)?;
    if let Some(plain) = char::from_u32(first) {
        return Ok((plain, 6));
    }
    let rest = escape.get(6..).unwrap_or_default();
    let pair = match code_unit(rest) {
        Ok(second) if first < 0xDC00 && (0xDC00..0xE000).contains(&second) => {
            0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
        }
        _ => return Err(TextError::LoneSurrogate),
    };
    let joined = char::from_u32(pair).ok_or(TextError::LoneSurrogate)?;
    Ok((joined, 12))
}

/// The 16-bit unit of the `\uXXXX` at the start of `escape`.
fn code_unit(escape: &[u8]) -> Result<u32, TextError> {
    let [b'\\', b'u', digits @ ..] = escape else {
        return Err(TextError::Invalid);
    };
    let mut unit = 0;
    for digit in digits.first_chunk::<4>().ok_or(TextError::Invalid)? {
        let value = char::from(*digit).to_digit(16).ok_or(TextError::Invalid)?;
        unit = unit * 16 + value;
    }
    Ok(unit)
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.filled() == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.filled() == other.as_bytes()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
