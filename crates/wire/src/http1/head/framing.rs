//! What Content-Length and Transfer-Encoding say, and nothing they might have meant (RFC 9112 §6).

use super::HeadError;
use crate::octet::trim_blank;

/// The number in a Content-Length value, in bytes.
pub(super) fn content_length(value: &[u8]) -> Result<u64, HeadError> {
    if value.is_empty() {
        return Err(HeadError::InvalidContentLength);
    }
    let mut length = 0u64;
    for &byte in value {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(HeadError::InvalidContentLength);
        }
        length = length
            .checked_mul(10)
            .and_then(|tens| tens.checked_add(u64::from(digit)))
            .ok_or(HeadError::InvalidContentLength)?;
    }
    Ok(length)
}

/// Accepts a Transfer-Encoding value that is `chunked` and nothing else.
pub(super) fn only_chunked(value: &[u8]) -> Result<(), HeadError> {
    if value.eq_ignore_ascii_case(b"chunked") { Ok(()) } else { Err(not_only_chunked(value)) }
}

#[cold]
fn not_only_chunked(value: &[u8]) -> HeadError {
    let mut chunked = 0u32;
    let mut chunked_last = false;
    for coding in value.split(|&byte| byte == b',').map(trim_blank) {
        if coding.is_empty() {
            return HeadError::RepeatedTransferEncoding;
        }
        chunked_last = coding.eq_ignore_ascii_case(b"chunked");
        chunked += u32::from(chunked_last);
    }
    match chunked {
        0 => HeadError::UnknownTransferEncoding,
        1 if chunked_last => HeadError::UnknownTransferEncoding,
        1 => HeadError::ChunkedNotLast,
        _ => HeadError::RepeatedTransferEncoding,
    }
}
