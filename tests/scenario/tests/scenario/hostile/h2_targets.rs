//! HTTP/2: pseudo-fields, and the request line and Host that become of them (RFC 9113 section 8.3).

use tidegate_scenario::h2raw::request;

use super::two::{End, PROTOCOL, Row, head, passed, play, unseen, with};

type Field<'f> = (&'f str, &'f str);

const M: Field = (":method", "GET");
const S: Field = (":scheme", "http");
const A: Field = (":authority", "localhost");
const P: Field = (":path", "/x");

/// A stream error: the fields are no request.
fn reset(name: &'static str, fields: &[Field]) -> Row {
    unseen(name, head(fields), End::Reset(PROTOCOL))
}

/// What is no method and no field at all ends the connection.
fn ends(name: &'static str, fields: &[Field]) -> Row {
    unseen(name, head(fields), End::Goaway(PROTOCOL))
}

/// Refused with a reply.
fn told(name: &'static str, fields: &[Field], code: &'static str) -> Row {
    unseen(name, head(fields), End::Told(400, code))
}

/// A path that the library takes for none.
fn no_path(name: &'static str, path: &str) -> Row {
    unseen(name, head(&request("GET", path, &[])), End::Reset(PROTOCOL))
}

fn path(name: &'static str, path: &str) -> Row {
    unseen(name, head(&request("GET", path, &[])), End::Told(400, "bad_request"))
}

fn spelled(name: &'static str, path: &str, seen: &str) -> Row {
    let seen = format!("GET {seen} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    passed(name, head(&request("GET", path, &[])), &[&seen])
}

fn authority(name: &'static str, authority: &str) -> Row {
    reset(name, &[M, S, (":authority", authority), P])
}

fn method(name: &'static str, method: &str) -> Row {
    ends(name, &[(":method", method), S, A, P])
}

pub(super) fn rows() -> Vec<Row> {
    const BAD: &str = "bad_request";
    let plain = "GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n";
    vec![
        passed("h2: a plain request", with(&[]), &[plain]),
        passed("h2: pseudo-fields in another order", head(&[P, A, S, M]), &[plain]),
        passed(
            "h2: the scheme https over plain text",
            head(&[M, (":scheme", "https"), A, P]),
            &[plain],
        ),
        passed(
            "h2: Host in place of :authority",
            head(&[M, S, P, ("host", "localhost")]),
            &[plain],
        ),
        passed("h2: Host equal to :authority", with(&[("host", "localhost")]), &[plain]),
        passed(
            "h2: Host equal to :authority but for its case",
            with(&[("host", "LOCALHOST")]),
            &[plain],
        ),
        reset("h2: no :method", &[S, A, P]),
        reset("h2: no :scheme", &[M, A, P]),
        reset("h2: no :path", &[M, S, A]),
        reset("h2: no pseudo-field", &[("host", "localhost")]),
        reset("h2: no field at all", &[]),
        told("h2: nobody asked", &[M, S, P], "missing_host"),
        reset("h2: two :method", &[M, M, S, A, P]),
        reset("h2: two different :method", &[M, (":method", "POST"), S, A, P]),
        reset("h2: two :path", &[M, S, A, P, (":path", "/y")]),
        reset("h2: two :authority", &[M, S, A, A, P]),
        reset("h2: two :scheme", &[M, S, S, A, P]),
        reset("h2: :status in a request", &[M, S, A, P, (":status", "200")]),
        ends("h2: a pseudo-field that nobody knows", &[M, S, A, P, (":x", "y")]),
        ends("h2: a pseudo-field without a name", &[M, S, A, P, (":", "y")]),
        ends("h2: a pseudo-field in capitals", &[M, S, A, (":PATH", "/x")]),
        reset("h2: :path behind a field", &[M, S, A, ("x", "y"), P]),
        reset("h2: :method behind a field", &[S, A, P, ("x", "y"), M]),
        reset("h2: :authority behind Host", &[M, S, P, ("host", "localhost"), A]),
        method("h2: an empty method", ""),
        method("h2: a blank in a method", "GE T"),
        method("h2: a request line as a method", "GET /y HTTP/1.1\r\nHost: a\r\n\r\nGET"),
        method("h2: NUL in a method", "GET\0"),
        method("h2: a colon in a method", "GET:"),
        told("h2: an empty scheme", &[M, (":scheme", ""), A, P], BAD),
        reset("h2: a blank in a scheme", &[M, (":scheme", "ht tp"), A, P]),
        reset("h2: a URL as a scheme", &[M, (":scheme", "http://a/x?"), A, P]),
        reset("h2: a line in a scheme", &[M, (":scheme", "http\r\nX: y"), A, P]),
        told("h2: a scheme that is not ours", &[M, (":scheme", "ftp"), A, P], BAD),
        reset("h2: CONNECT with a path", &[(":method", "CONNECT"), S, A, P]),
        told("h2: CONNECT without an authority", &[(":method", "CONNECT")], BAD),
        told("h2: CONNECT without a port", &[(":method", "CONNECT"), A], "invalid_target"),
        told("h2: CONNECT to a host", &[(":method", "CONNECT"), (":authority", "a:443")], BAD),
        reset("h2: :protocol of a GET", &[M, (":protocol", "websocket"), S, A, P]),
        told("h2: TRACE", &[(":method", "TRACE"), S, A, P], BAD),
        no_path("h2: an empty path", ""),
        no_path("h2: a path without a slash", "x"),
        no_path("h2: a URL as a path", "http://evil.example/x"),
        no_path("h2: an authority as a path", "evil.example:80"),
        path("h2: an asterisk for GET", "*"),
        path("h2: a query as a path", "?x"),
        no_path("h2: a version in a path", "/x HTTP/1.1"),
        no_path("h2: lines in a path", "/x HTTP/1.1\r\nHost: a\r\n\r\nGET /y"),
        no_path("h2: a LF in a path", "/x\n"),
        no_path("h2: NUL in a path", "/x\0"),
        no_path("h2: a tab in a path", "/x\ty"),
        no_path("h2: DEL in a path", "/x\u{7f}"),
        told(
            "h2: a byte beyond ASCII in a path",
            &[M, S, A, (":path", "/\u{e4}")],
            "invalid_target",
        ),
        spelled("h2: a fragment is cut off", "/x#y", "/x"),
        path("h2: a path above the root", "/../x"),
        path("h2: a path above the root in escapes", "/%2e%2e/x"),
        path("h2: dots before an encoded slash", "/x/..%2fy"),
        path("h2: an encoded NUL", "/x%00"),
        path("h2: half an escape", "/x%2"),
        path("h2: a backslash in a path", "/x\\y"),
        spelled("h2: dot segments", "/a/../x", "/x"),
        spelled("h2: escapes of plain letters", "/%61", "/a"),
        spelled("h2: an encoded line stays encoded", "/x%0d%0a", "/x%0D%0A"),
        spelled("h2: empty segments stay", "//x", "//x"),
        spelled("h2: an empty query", "/x?", "/x?"),
        told("h2: an asterisk for OPTIONS", &[(":method", "OPTIONS"), S, A, (":path", "*")], BAD),
        authority("h2: an empty :authority", ""),
        told("h2: a user in :authority", &[M, S, (":authority", "u@localhost"), P], "invalid_host"),
        authority("h2: a blank in :authority", "local host"),
        authority("h2: a path in :authority", "localhost/x"),
        authority("h2: a line in :authority", "localhost\r\nX: y"),
        authority("h2: a list in :authority", "localhost, a"),
        told("h2: a port that is none", &[M, S, (":authority", "localhost:x"), P], "invalid_host"),
        told(
            "h2: a port beyond 65535",
            &[M, S, (":authority", "localhost:65536"), P],
            "invalid_host",
        ),
        told("h2: an empty port", &[M, S, (":authority", "localhost:"), P], "invalid_host"),
        authority("h2: an escape in :authority", "a%2eb"),
        authority("h2: half a bracket", "[::1"),
        told("h2: Host that differs from :authority", &[M, S, A, P, ("host", "evil.example")], BAD),
        told(
            "h2: Host with another port than :authority",
            &[M, S, A, P, ("host", "localhost:81")],
            BAD,
        ),
        told(
            "h2: two Hosts beside :authority",
            &[M, S, A, P, ("host", "localhost"), ("host", "evil.example")],
            BAD,
        ),
        told(
            "h2: two Hosts without :authority",
            &[M, S, P, ("host", "a"), ("host", "a")],
            "repeated_host",
        ),
        told("h2: a bad Host without :authority", &[M, S, P, ("host", "a/b")], "invalid_host"),
    ]
}

#[test]
fn pseudo_fields_make_one_request_line_and_one_host_or_none() {
    play(&rows());
}
