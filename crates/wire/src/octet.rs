//! Byte classes of RFC 9110 §5.5 and §5.6.2 as tables: one load per byte instead of a chain of
//! ranges.

/// `tchar`: what methods, field names and connection options are made of.
static TOKEN: [bool; 256] = token_table();

const fn token_table() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0usize;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let marks = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < marks.len() {
        table[marks[at] as usize] = true;
        at += 1;
    }
    table
}

/// Whether `byte` may occur in a token.
pub(crate) fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// Whether `byte` may occur in a field value: visible ASCII, blank, tab and obs-text (0x80 and up);
/// never NUL, CR, LF, DEL or another control.
pub(crate) const fn is_field_value(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// `bytes` without the optional whitespace (blanks and tabs) around it.
pub(crate) fn trim_blank(bytes: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let Some(first) = bytes.iter().position(|byte| !blank(byte)) else { return &[] };
    let end = bytes.iter().rposition(|byte| !blank(byte)).map_or(first, |last| last + 1);
    bytes.get(first..end).unwrap_or(&[])
}
