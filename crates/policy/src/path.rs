//! One spelling for each request path: what is matched against the routes is what is forwarded.

use std::borrow::Cow;

/// Why a path is refused. Each of these can mean one thing to us and another to the server behind
/// us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The path does not begin with a slash.
    #[error("the path must begin with '/'")]
    NotAbsolute,
    /// A `%` without two hexadecimal digits.
    #[error("the path has a '%' that is not followed by two hexadecimal digits")]
    BadEscape,
    /// An encoded NUL.
    #[error("the path contains an encoded NUL")]
    Nul,
    /// A byte that a path cannot hold as it is: a control character, a blank, a backslash, `#` or
    /// `?`.
    #[error("the path contains a character that must be percent-encoded")]
    BadByte,
    /// `..` climbs above the root.
    #[error("the path climbs above the root with '..'")]
    AboveRoot,
    /// `.` or `..` beside an encoded slash or backslash, or before a `;`: a dot segment for a
    /// server that decodes first.
    #[error("the path hides a dot segment behind an encoded separator or a ';'")]
    HiddenDots,
}

/// Brings a path (without its query) into its one spelling (RFC 3986, section 6.2.2).
///
/// Percent-encoded unreserved characters are decoded; every other escape stays, its digits in upper
/// case. So `%2F` stays one segment with what surrounds it, and `%25` is never decoded twice. Then
/// `.` and `..` segments are resolved. Empty segments (`//`) are kept: they mean something to some
/// servers. Bytes above 0x7F are kept.
///
/// The result never contains a dot segment, is never longer than `path`, and normalising it again
/// changes nothing. A path that is already as it should be is borrowed.
pub fn normalise(path: &[u8]) -> Result<Cow<'_, [u8]>, PathError> {
    if path.first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    let mut after_slash = false;
    let mut plain = true;
    for byte in path {
        if is_refused(*byte) {
            return Err(PathError::BadByte);
        }
        plain &= *byte != b'%' && !(after_slash && *byte == b'.');
        after_slash = *byte == b'/';
    }
    if plain {
        return Ok(Cow::Borrowed(path));
    }
    rewritten(path).map(Cow::Owned)
}

fn is_refused(byte: u8) -> bool {
    matches!(byte, 0..=b' ' | 0x7F | b'\\' | b'#' | b'?')
}

fn rewritten(path: &[u8]) -> Result<Vec<u8>, PathError> {
    let mut out = Vec::with_capacity(path.len());
    let mut segments = path.split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(raw) = segments.next() {
        let mark = out.len();
        out.push(b'/');
        decode_unreserved(raw, &mut out)?;
        let segment = out.get(mark + 1..).unwrap_or_default();
        if segment == b"." {
            out.truncate(mark);
        } else if segment == b".." {
            out.truncate(mark);
            let parent = out.iter().rposition(|byte| *byte == b'/');
            out.truncate(parent.ok_or(PathError::AboveRoot)?);
        } else if hides_dots(segment) {
            return Err(PathError::HiddenDots);
        } else {
            continue;
        }
        // A dot segment at the end names a directory.
        if segments.peek().is_none() {
            out.push(b'/');
        }
    }
    Ok(out)
}

fn decode_unreserved(raw: &[u8], out: &mut Vec<u8>) -> Result<(), PathError> {
    let mut rest = raw;
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let (plain, escape) = rest.split_at(at);
        out.extend_from_slice(plain);
        let [b'%', high, low, after @ ..] = escape else {
            return Err(PathError::BadEscape);
        };
        match hex(*high)? << 4 | hex(*low)? {
            0 => return Err(PathError::Nul),
            byte if is_unreserved(byte) => out.push(byte),
            _ => out.extend([b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]),
        }
        rest = after;
    }
    out.extend_from_slice(rest);
    Ok(())
}

fn hex(digit: u8) -> Result<u8, PathError> {
    let value = char::from(digit).to_digit(16);
    value.and_then(|value| u8::try_from(value).ok()).ok_or(PathError::BadEscape)
}

/// RFC 3986, section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Whether a server that decodes `%2F` or `%5C` before it resolves dots, or that cuts `;parameters`
/// off a segment, would find a dot segment inside this one.
fn hides_dots(segment: &[u8]) -> bool {
    let mut rest = segment;
    loop {
        let separator = rest.windows(3).position(|escape| escape == b"%2F" || escape == b"%5C");
        let end = separator.unwrap_or(rest.len());
        let piece = rest.get(..end).unwrap_or_default();
        let name = piece.split(|byte| *byte == b';').next();
        // The segment as a whole is no dot segment, so only a part of it can be hidden.
        if matches!(name, Some(b"." | b"..")) {
            return true;
        }
        match separator.and_then(|at| rest.get(at + 3..)) {
            Some(after) => rest = after,
            None => return false,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normal(path: &str) -> Result<String, PathError> {
        normalise(path.as_bytes()).map(|path| String::from_utf8(path.into_owned()).unwrap())
    }

    fn is_dot_segment(segment: &[u8]) -> bool {
        segment == b"." || segment == b".."
    }

    #[test]
    fn plain_paths_are_borrowed() {
        for path in ["/", "//", "/a/b.c/..d/e..", "/v1/chat/completions", "/a;b=1/", "/é", "/a.b"]
        {
            // Dots at the start of a segment take the slow way, with the same result.
            assert_eq!(normal(path).as_deref(), Ok(path));
        }
        for path in ["/", "/v1/chat/completions", "/a.b//c", "/é"] {
            assert!(matches!(normalise(path.as_bytes()), Ok(Cow::Borrowed(_))), "{path}");
        }
    }

    #[test]
    fn dot_segments_are_resolved() {
        for (path, expected) in [
            ("/.", "/"),
            ("/./", "/"),
            ("/a/.", "/a/"),
            ("/a/./b", "/a/b"),
            ("/a/..", "/"),
            ("/a/../", "/"),
            ("/a/../b", "/b"),
            ("/a/b/../../c", "/c"),
            ("/a//../b", "/a/b"),
            ("/a/..//b", "//b"),
            ("/%2e/a", "/a"),
            ("/a/%2E%2e/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/.../a", "/.../a"),
            ("/.well-known/x", "/.well-known/x"),
        ] {
            assert_eq!(normal(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn only_unreserved_characters_are_decoded() {
        for (path, expected) in [
            ("/%41%7a%30%2D%2e%5f%7E", "/Az0-._~"),
            ("/group%2fproject", "/group%2Fproject"),
            ("/a%5cb", "/a%5Cb"),
            ("/%25%32%65", "/%252e"),
            ("/%252e%252e/", "/%252e%252e/"),
            ("/%20%3f%23%0a%c3%A9", "/%20%3F%23%0A%C3%A9"),
        ] {
            assert_eq!(normal(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn paths_that_mean_two_things_are_refused() {
        for (path, error) in [
            ("", PathError::NotAbsolute),
            ("*", PathError::NotAbsolute),
            ("a/b", PathError::NotAbsolute),
            ("/%", PathError::BadEscape),
            ("/%2", PathError::BadEscape),
            ("/%2g", PathError::BadEscape),
            ("/%u002e", PathError::BadEscape),
            ("/%+1", PathError::BadEscape),
            ("/a%00", PathError::Nul),
            ("/a\\..\\b", PathError::BadByte),
            ("/a b", PathError::BadByte),
            ("/a\tb", PathError::BadByte),
            ("/a\0", PathError::BadByte),
            ("/a?b", PathError::BadByte),
            ("/a#b", PathError::BadByte),
            ("/..", PathError::AboveRoot),
            ("/../a", PathError::AboveRoot),
            ("/a/../../b", PathError::AboveRoot),
            ("/%2e%2e/a", PathError::AboveRoot),
            ("/a/..%2fb", PathError::HiddenDots),
            ("/a%2F%2e%2e%2fb", PathError::HiddenDots),
            ("/a%5c..", PathError::HiddenDots),
            ("/a%2f.", PathError::HiddenDots),
            ("/a/..;/b", PathError::HiddenDots),
            ("/a/.;x=1/b", PathError::HiddenDots),
        ] {
            assert_eq!(normal(path), Err(error), "{path}");
        }
    }

    fn paths() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(vec![
            "/", "/", "/", ".", "..", "%2e", "%2E", "%2f", "%5C", "%25", "%41", "%c3", "a", ";",
            "é",
        ]);
        prop::collection::vec(piece, 0..14).prop_map(|pieces| {
            let mut path = b"/".to_vec();
            for piece in pieces {
                path.extend_from_slice(piece.as_bytes());
            }
            path
        })
    }

    /// RFC 3986, section 5.2.4, as it is written there: on text, with an input and an output.
    fn remove_dot_segments(path: &str) -> String {
        let mut input = path.to_owned();
        let mut output = String::new();
        while !input.is_empty() {
            if let Some(rest) = input.strip_prefix("/./") {
                input = format!("/{rest}");
            } else if input == "/." {
                input = "/".to_owned();
            } else if input.starts_with("/../") || input == "/.." {
                input = format!("/{}", input.get(4..).unwrap_or_default());
                output.truncate(output.rfind('/').unwrap_or(0));
            } else {
                let end = input.bytes().skip(1).position(|byte| byte == b'/');
                let rest = end.map_or(String::new(), |at| input.split_off(at + 1));
                output.push_str(&input);
                input = rest;
            }
        }
        output
    }

    proptest! {
        #[test]
        fn result_is_final_and_free_of_dot_segments(path in paths()) {
            if let Ok(once) = normalise(&path) {
                prop_assert!(once.len() <= path.len());
                prop_assert_eq!(once.first(), Some(&b'/'));
                prop_assert!(!once.split(|byte| *byte == b'/').any(is_dot_segment));
                prop_assert_eq!(normalise(&once), Ok(Cow::Borrowed(once.as_ref())));
            }
        }

        #[test]
        fn dots_are_removed_as_the_rfc_removes_them(path in "(/([a.]|\\.\\.|)){1,8}") {
            match normal(&path) {
                Ok(result) => prop_assert_eq!(result, remove_dot_segments(&path)),
                Err(error) => prop_assert_eq!(error, PathError::AboveRoot),
            }
        }

        #[test]
        fn a_server_that_decodes_everything_finds_no_new_dots(path in paths()) {
            if let Ok(result) = normalise(&path) {
                let mut decoded = Vec::new();
                let mut rest = result.as_ref();
                while let Some((byte, after)) = rest.split_first() {
                    rest = after;
                    match (byte, after) {
                        (b'%', [high, low, after @ ..]) => {
                            decoded.push(hex(*high).unwrap() << 4 | hex(*low).unwrap());
                            rest = after;
                        }
                        _ => decoded.push(*byte),
                    }
                }
                prop_assert!(!decoded.split(|byte| b"/\\".contains(byte)).any(is_dot_segment));
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic(path in prop::collection::vec(any::<u8>(), 0..40)) {
            let read = normalise(&path);
            prop_assert!(read.is_err() || path.starts_with(b"/"));
        }
    }
}
