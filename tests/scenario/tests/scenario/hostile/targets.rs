//! Request targets: the four forms, and one spelling for each path (RFC 9112 section 3.2, RFC 3986
//! section 6.2.2).

use super::one::{Row, declined, get, passed, play, refused};

/// Not a target.
fn no(name: &'static str, target: &str) -> Row {
    refused(name, get(target), 400, "invalid_target")
}

/// A target with a fragment.
fn fragment(name: &'static str, target: &str) -> Row {
    refused(name, get(target), 400, "fragment_in_target")
}

/// A path that two servers could read differently.
fn two_fold(name: &'static str, target: &str) -> Row {
    declined(name, get(target), 400, "bad_request")
}

/// A path that is passed on in this spelling.
fn spelled(name: &'static str, target: &str, seen: &str) -> Row {
    passed(name, get(target), &[&format!("GET {seen} HTTP/1.1\r\nHost: a\r\n\r\n")])
}

/// An absolute target: its authority is the host, its path the target.
fn absolute(name: &'static str, target: &str, host: &str, path: &str) -> Row {
    passed(name, get(target), &[&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")])
}

fn other(name: &'static str, line: &str, status: u16, code: &'static str) -> Row {
    refused(name, format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n"), status, code)
}

pub(super) fn rows() -> Vec<Row> {
    vec![
        no("a path without a slash", "x"),
        no("a query alone", "?x"),
        no("an asterisk for GET", "*"),
        no("an authority for GET", "a:443"),
        no("a scheme without an authority", "http:///x"),
        no("a scheme with one slash", "http:/a/x"),
        no("a user in the target", "http://u@a/x"),
        no("a user and a password in the target", "http://u:p@a/x"),
        no("a scheme that is not ours", "ftp://a/x"),
        no("a file", "file:///etc/passwd"),
        no("a port that is none", "http://a:b/x"),
        no("a port beyond 16 bits", "http://a:65536/x"),
        no("a colon without a port", "http://a:/x"),
        no("a backslash behind the authority", "http://a\\@b/x"),
        no("a backslash for a slash", "\\x"),
        no("an escape in the authority", "http://a%2eb/x"),
        no("bytes beyond ASCII", "/\u{e4}"),
        fragment("a fragment", "/x#y"),
        fragment("a fragment behind a query", "/x?y#z"),
        fragment("a fragment alone", "#x"),
        fragment("a fragment in an absolute target", "http://a/#x"),
        fragment("a fragment behind an authority", "http://a#@b/"),
        two_fold("an encoded NUL", "/x%00"),
        two_fold("a % without digits", "/x%"),
        two_fold("a % with one digit", "/x%2"),
        two_fold("a % with letters", "/x%zz"),
        two_fold("a % in the manner of IIS", "/x%u002e"),
        two_fold("a backslash in a path", "/x\\y"),
        two_fold("above the root", "/../x"),
        two_fold("above the root behind a segment", "/x/../../y"),
        two_fold("above the root in escapes", "/%2e%2e/x"),
        two_fold("above the root in an absolute target", "http://a/../x"),
        two_fold("dots before an encoded slash", "/x/..%2fy"),
        two_fold("dots between encoded slashes", "/x%2f..%2fy"),
        two_fold("dots behind an encoded backslash", "/x%5c..%5cy"),
        two_fold("dots with a parameter", "/x/..;/y"),
        two_fold("one dot with a parameter", "/x/.;a=b/y"),
        spelled("dot segments", "/a/./b/../x", "/a/x"),
        spelled("dot segments in escapes", "/a/%2e%2E/x", "/x"),
        spelled("dot segments in half escapes", "/a/.%2e/x", "/x"),
        spelled("dot segments at the end", "/a/b/..", "/a/"),
        spelled("escapes of plain letters", "/%61%7E%2d", "/a~-"),
        spelled("an encoded slash stays one", "/a%2fx", "/a%2Fx"),
        spelled("an escape is decoded once", "/%252e%252e/x", "/%252e%252e/x"),
        spelled("an encoded line stays encoded", "/x%0d%0aA:%20b", "/x%0D%0AA:%20b"),
        spelled("an encoded question mark", "/x%3fy", "/x%3Fy"),
        spelled("empty segments stay", "//x//y", "//x//y"),
        spelled("three dots are a name", "/.../x", "/.../x"),
        spelled("dots in a query are not a path", "/x?/../y", "/x?/../y"),
        spelled("a query of another question mark", "/x?y?z", "/x?y?z"),
        spelled("an empty query", "/x?", "/x?"),
        absolute(
            "an absolute target overrides Host",
            "http://b.example:81/x?y",
            "b.example:81",
            "/x?y",
        ),
        absolute("an absolute target in capitals", "HTTP://b/x", "b", "/x"),
        absolute("an absolute target without a path", "http://b", "b", "/"),
        absolute("an absolute target with a query alone", "http://b?x", "b", "/?x"),
        absolute("an absolute target with an address", "http://[::1]:80/x", "[::1]:80", "/x"),
        absolute("a target that begins with two slashes is a path", "//b/x", "a", "//b/x"),
        other("an asterisk for POST", "POST *", 400, "invalid_target"),
        other("two asterisks for OPTIONS", "OPTIONS **", 400, "invalid_target"),
        other("a path for CONNECT", "CONNECT /x", 400, "invalid_target"),
        other("CONNECT without a port", "CONNECT b", 400, "invalid_target"),
        other("CONNECT to a user", "CONNECT u@b:443", 400, "invalid_target"),
        other("CONNECT to a URL", "CONNECT http://b:443/", 400, "invalid_target"),
        declined(
            "CONNECT to a host",
            "CONNECT b:443 HTTP/1.1\r\nHost: a\r\n\r\n",
            400,
            "bad_request",
        ),
        declined("TRACE", "TRACE /x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"),
        refused(
            "CONNECT with a body",
            "CONNECT b:443 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
            400,
            "body_not_allowed",
        ),
        declined(
            "an asterisk for OPTIONS",
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            400,
            "bad_request",
        ),
    ]
}

#[test]
fn a_target_has_one_spelling_or_is_refused() {
    play(&rows());
}
