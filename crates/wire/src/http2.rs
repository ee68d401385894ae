//! HTTP/2 where it must be watched from outside of the library that speaks it (RFC 9113).

pub mod calm;

/// What a client sends first on a connection that speaks HTTP/2 (RFC 9113 §3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether `bytes` are the beginning of the [`PREFACE`], or begin with it.
pub fn begins_like_preface(bytes: &[u8]) -> bool {
    let shared = bytes.len().min(PREFACE.len());
    bytes.get(..shared) == PREFACE.get(..shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_preface_begins_like_one() {
        for length in 0..=PREFACE.len() {
            assert!(begins_like_preface(&PREFACE[..length]));
        }
        assert!(begins_like_preface(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04"));
        for other in
            [&b"POST / HTTP/1.1"[..], b"PRI * HTTP/1.1\r\n", b"\r\n", b"PRI * HTTP/2.0\r\n\r\nXX"]
        {
            assert!(!begins_like_preface(other), "{}", other.escape_ascii());
        }
    }
}
