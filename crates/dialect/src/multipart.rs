//! Reads the `model` of a `multipart/form-data` body (RFC 7578, RFC 2046) and writes another in its
//! place.

use std::ops::Range;

use memchr::memmem;

use crate::text::{Text, TextError};

/// Parts that a form may have. The largest form of the API, an image edit, has about thirty.
const PARTS_MAX: usize = 256;
/// Bytes that the head of one part may have.
const PART_HEAD_MAX: usize = 8 * 1024;
/// RFC 2046, section 5.1.1.
const BOUNDARY_MAX: usize = 70;

/// What was read from a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormFacts {
    /// The value of the field `model`; `None` when the form has none.
    pub model: Option<Text>,
    /// Where that value stands in the body; empty when there is none.
    pub model_span: Range<usize>,
    /// The field `stream` is `true` (in any case) or `1`.
    pub stream: bool,
}

/// Why a body is not a form we can route by. Safe to show to the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// Another content type.
    #[error("expected Content-Type multipart/form-data")]
    NotAForm,
    /// The content type names no boundary, or one that RFC 2046 does not allow.
    #[error("the Content-Type needs a valid boundary of 1 to 70 characters")]
    Boundary,
    /// The first boundary is not in the body.
    #[error("the boundary of the Content-Type does not occur in the body")]
    NoParts,
    /// The body ends before the closing boundary.
    #[error("the form is cut off: its closing boundary is missing (byte {offset})")]
    CutOff {
        /// Where the unfinished part begins.
        offset: usize,
    },
    /// A part's head is not a list of fields that ends in a blank line.
    #[error("the head of the part at byte {offset} is malformed or longer than 8 KiB")]
    PartHead {
        /// Where the part begins.
        offset: usize,
    },
    /// Too many parts.
    #[error("the form has more than 256 parts")]
    TooManyParts,
    /// Servers disagree on which of two fields counts.
    #[error("the form has more than one field '{0}'")]
    Repeated(&'static str),
    /// The model's value cannot be used.
    #[error("the field 'model' {0}")]
    Model(TextError),
}

/// Reads a whole form body. `content_type` is the value of the Content-Type field.
pub fn scan_form(content_type: &[u8], body: &[u8]) -> Result<FormFacts, FormError> {
    let boundary = boundary(content_type)?;
    let mut delimiter = Vec::with_capacity(boundary.len() + 4);
    delimiter.extend_from_slice(b"\r\n--");
    delimiter.extend_from_slice(boundary);
    let finder = memmem::Finder::new(&delimiter);

    let mut facts = FormFacts { model: None, model_span: 0..0, stream: false };
    let mut stream_seen = false;
    let mut at = first_part(&finder, body)?;
    for _ in 0..PARTS_MAX {
        let Some(start) = part_start(body, at)? else {
            return Ok(facts);
        };
        let rest = body.get(start..).unwrap_or_default();
        let len = finder.find(rest).ok_or(FormError::CutOff { offset: start })?;
        let (name, head_len) = field_name(rest.get(..len).unwrap_or_default())
            .ok_or(FormError::PartHead { offset: start })?;
        let span = start + head_len..start + len;
        let value = body.get(span.clone()).unwrap_or_default();
        match name {
            Some(b"model") => {
                if facts.model.is_some() {
                    return Err(FormError::Repeated("model"));
                }
                facts.model = Some(Text::from_utf8(value).map_err(FormError::Model)?);
                facts.model_span = span;
            }
            Some(b"stream") => {
                if stream_seen {
                    return Err(FormError::Repeated("stream"));
                }
                stream_seen = true;
                facts.stream = value.eq_ignore_ascii_case(b"true") || value == b"1";
            }
            _ => {}
        }
        at = start + len + delimiter.len();
    }
    // The last part may have been the last one allowed.
    match part_start(body, at)? {
        None => Ok(facts),
        Some(_) => Err(FormError::TooManyParts),
    }
}

/// Appends `body` to `out` with the value of `model` replaced by `to`; all other bytes stay as they
/// are. `facts` must come from scanning this same body. No value can hold a line break, or dashes
/// at its start, without the danger that it reads as a boundary: these are left out of `to`.
pub fn rename_form_model(body: &[u8], facts: &FormFacts, to: &str, out: &mut Vec<u8>) {
    out.reserve(renamed_form_len(body, facts, to));
    let Range { start, end } = facts.model_span;
    out.extend_from_slice(body.get(..start).unwrap_or_default());
    if facts.model.is_some() {
        out.extend(form_value(to));
    }
    out.extend_from_slice(body.get(end..).unwrap_or_default());
}

/// How many bytes [`rename_form_model`] appends.
pub fn renamed_form_len(body: &[u8], facts: &FormFacts, to: &str) -> usize {
    if facts.model.is_none() {
        return body.len();
    }
    body.len() - facts.model_span.len() + form_value(to).count()
}

fn form_value(to: &str) -> impl Iterator<Item = u8> {
    to.trim_start_matches(['\r', '\n', '-']).bytes().filter(|byte| !matches!(byte, b'\r' | b'\n'))
}

/// The boundary that a Content-Type names.
fn boundary(content_type: &[u8]) -> Result<&[u8], FormError> {
    let mut parameters = Parameters { rest: content_type };
    let kind = parameters.value_until_semicolon();
    if !kind.eq_ignore_ascii_case(b"multipart/form-data") {
        return Err(FormError::NotAForm);
    }
    let mut found = None;
    while let Some((name, value)) = parameters.next().map_err(|_| FormError::Boundary)? {
        if name.eq_ignore_ascii_case(b"boundary") && found.replace(value).is_some() {
            return Err(FormError::Boundary);
        }
    }
    match found {
        Some(boundary)
            if (1..=BOUNDARY_MAX).contains(&boundary.len())
                && boundary.iter().all(|byte| is_boundary_byte(*byte))
                && boundary.last() != Some(&b' ') =>
        {
            Ok(boundary)
        }
        _ => Err(FormError::Boundary),
    }
}

/// `bchars` of RFC 2046.
fn is_boundary_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte)
}

/// Where the text after the first delimiter begins. A preamble before it is legal and means
/// nothing.
fn first_part(finder: &memmem::Finder<'_>, body: &[u8]) -> Result<usize, FormError> {
    let delimiter = finder.needle();
    // The first delimiter needs no line break before it when it opens the body.
    let opening = delimiter.get(2..).unwrap_or_default();
    if body.starts_with(opening) {
        return Ok(opening.len());
    }
    finder.find(body).map(|at| at + delimiter.len()).ok_or(FormError::NoParts)
}

/// `at` stands behind a delimiter: where the part after it begins, or `None` when it was the
/// closing one.
fn part_start(body: &[u8], at: usize) -> Result<Option<usize>, FormError> {
    let rest = body.get(at..).unwrap_or_default();
    if rest.starts_with(b"--") {
        return Ok(None);
    }
    let padding = rest.iter().take_while(|byte| is_blank(**byte)).count();
    match rest.get(padding..) {
        Some([b'\r', b'\n', ..]) => Ok(Some(at + padding + 2)),
        Some([] | [b'\r']) | None => Err(FormError::CutOff { offset: at }),
        // The boundary with more text after it, such as another boundary that begins with this one.
        Some(_) => Err(FormError::PartHead { offset: at }),
    }
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// A head or a parameter list that does not follow its grammar; the callers know where it stands.
struct Malformed;

/// The name of a part's field and the length of its head; no name for a file or another
/// disposition. `None` when the head is malformed.
fn field_name(part: &[u8]) -> Option<(Option<&[u8]>, usize)> {
    let window = part.get(..part.len().min(PART_HEAD_MAX))?;
    let mut name = None;
    let mut at = 0;
    loop {
        let rest = window.get(at..)?;
        let len = memmem::find(rest, b"\r\n")?;
        let line = rest.get(..len)?;
        at += len + 2;
        if line.is_empty() {
            return Some((name, at));
        }
        let colon = memchr::memchr(b':', line)?;
        let (field, value) = line.split_at_checked(colon)?;
        if field.eq_ignore_ascii_case(b"content-disposition") {
            name = disposition_name(value.get(1..)?).ok()?;
        }
    }
}

/// The `name` of a `form-data; name="…"` without a `filename`.
fn disposition_name(value: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let mut parameters = Parameters { rest: value };
    if !parameters.value_until_semicolon().eq_ignore_ascii_case(b"form-data") {
        return Ok(None);
    }
    let mut found = None;
    let mut is_file = false;
    while let Some((name, value)) = parameters.next()? {
        if name.eq_ignore_ascii_case(b"name") {
            found = Some(value);
        }
        is_file |=
            name.eq_ignore_ascii_case(b"filename") || name.eq_ignore_ascii_case(b"filename*");
    }
    Ok(found.filter(|_| !is_file))
}

/// Name and value.
type Parameter<'a> = (&'a [u8], &'a [u8]);

/// The `; name=value` list of a field value.
struct Parameters<'a> {
    rest: &'a [u8],
}

impl<'a> Parameters<'a> {
    /// The text before the first semicolon, blanks trimmed.
    fn value_until_semicolon(&mut self) -> &'a [u8] {
        let end = memchr::memchr(b';', self.rest).unwrap_or(self.rest.len());
        let (value, rest) = self.rest.split_at_checked(end).unwrap_or_default();
        self.rest = rest;
        value.trim_ascii()
    }

    /// The next parameter, or `None` at the end. A quoted value comes without its quotes; one with
    /// a backslash in it keeps it, which is no name of ours.
    fn next(&mut self) -> Result<Option<Parameter<'a>>, Malformed> {
        let mut rest = self.rest.trim_ascii_start();
        // Empty parameters (`;;` or a `;` at the end) are common and harmless.
        while let Some(after) = rest.strip_prefix(b";") {
            rest = after.trim_ascii_start();
            if !rest.is_empty() && !rest.starts_with(b";") {
                return self.parameter(rest).ok_or(Malformed).map(Some);
            }
        }
        if rest.is_empty() { Ok(None) } else { Err(Malformed) }
    }

    fn parameter(&mut self, text: &'a [u8]) -> Option<Parameter<'a>> {
        let (name, value) = text.split_at_checked(memchr::memchr2(b'=', b';', text)?)?;
        let value = value.strip_prefix(b"=")?.trim_ascii_start();
        let (value, rest) = if let Some(quoted) = value.strip_prefix(b"\"") {
            let end = closing_quote(quoted)?;
            (quoted.get(..end)?, quoted.get(end + 1..)?)
        } else {
            let end = memchr::memchr(b';', value).unwrap_or(value.len());
            let (value, rest) = value.split_at_checked(end)?;
            (value.trim_ascii_end(), rest)
        };
        self.rest = rest;
        Some((name.trim_ascii(), value))
    }
}

/// Offset of the quote that ends a quoted string; a backslash hides the byte after it.
fn closing_quote(quoted: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', quoted.get(at..)?)?;
        match quoted.get(at)? {
            b'"' => return Some(at),
            _ => at += 2,
        }
    }
}
