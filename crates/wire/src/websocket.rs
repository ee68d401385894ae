//! The handshake of WebSocket over HTTP/1.1 (RFC 6455 section 4): a key, and the answer that only
//! who has read it as one can give.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha1::{Digest as _, Sha1};

/// What a server appends to the key (RFC 6455 section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The length of a key: 16 bytes in base64.
pub const KEY_LEN: usize = 24;

/// The `Sec-WebSocket-Key` that these random bits make.
pub fn key(random: [u64; 2]) -> String {
    let [high, low] = random.map(u64::to_be_bytes);
    BASE64_STANDARD.encode([high, low].concat())
}

/// The `Sec-WebSocket-Accept` that answers this key.
pub fn accept(key: &[u8]) -> String {
    BASE64_STANDARD.encode(Sha1::digest([key, GUID].concat()))
}

/// Can this be a key? That it was never used before is the caller's affair.
pub fn is_key(value: &[u8]) -> bool {
    let Some((b"==", digits)) = value.split_last_chunk().map(|(digits, end)| (end, digits)) else {
        return false;
    };
    value.len() == KEY_LEN
        && digits.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_answered_as_in_the_rfc() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn keys_are_16_bytes_in_base64() {
        assert_eq!(key([0, 0]), "AAAAAAAAAAAAAAAAAAAAAA==");
        assert_eq!(key([u64::MAX; 2]), "/////////////////////w==");
        assert!(is_key(key([7, 1 << 60]).as_bytes()));
        for bad in [
            &b""[..],
            b"==",
            b"dGhlIHNhbXBsZSBub25jZQ=",
            b"dGhlIHNhbXBsZSBub25jZQAA",
            b"dGhlIHNhbXBsZSBub25jZQA==",
            b"dGhlIHNhbXBsZSBub25 ZQ==",
        ] {
            assert!(!is_key(bad), "{}", bad.escape_ascii());
        }
    }
}
