//! Field lines: names, values, folding, and fields that only the gateway may set (RFC 9110 section
//! 5, RFC 9112 section 5).

use super::one::{Row, passed, play, refused, with};

fn named(name: &'static str, line: impl AsRef<[u8]>) -> Row {
    refused(name, with([line.as_ref(), b"\r\n"].concat()), 400, "invalid_field_name")
}

fn valued(name: &'static str, value: &[u8]) -> Row {
    refused(name, with([b"X: ", value, b"\r\n"].concat()), 400, "invalid_field_value")
}

fn spaced(name: &'static str, line: &str) -> Row {
    refused(name, with(format!("{line}\r\n")), 400, "space_before_colon")
}

fn folded(name: &'static str, lines: &str) -> Row {
    refused(name, with(lines), 400, "folded_field")
}

/// Passed on with this line in place of the one that came.
fn seen(name: &'static str, line: impl AsRef<[u8]>, seen: &str) -> Row {
    let bytes = with([line.as_ref(), b"\r\n"].concat());
    passed(name, bytes, &[&format!("GET /x HTTP/1.1\r\nHost: a\r\n{seen}\r\n\r\n")])
}

/// Passed on without this line.
fn dropped(name: &'static str, line: &str) -> Row {
    passed(name, with(format!("{line}\r\n")), &["GET /x HTTP/1.1\r\nHost: a\r\n\r\n"])
}

pub(super) fn rows() -> Vec<Row> {
    vec![
        named("an empty name", ": y"),
        named("a line without a colon", "X"),
        named("a blank in a name", "X Y: z"),
        named("NUL in a name", "X\0: y"),
        named("a CR in a name", "X\r: y"),
        named("a vertical tab in a name", "X\u{b}: y"),
        named("a letter beyond ASCII in a name", "X\u{e4}: y"),
        named("a byte that is no UTF-8 in a name", b"X\xff: y"),
        named("a name in quotes", "\"X\": y"),
        named("a name in brackets", "(X): y"),
        named("a slash in a name", "X/Y: z"),
        named("an at sign in a name", "X@Y: z"),
        named("an equals sign for the colon", "X=y"),
        named("a semicolon for the colon", "X; y"),
        named("a request line among the fields", "GET /smuggled HTTP/1.1"),
        named("a byte order mark before a name", "\u{feff}X: y"),
        spaced("a blank before the colon", "X : y"),
        spaced("a tab before the colon", "X\t: y"),
        spaced("a blank before the colon of Content-Length", "Content-Length : 5"),
        spaced("a blank before the colon of Transfer-Encoding", "Transfer-Encoding : chunked"),
        folded("a folded value", "X: y\r\n z\r\n"),
        folded("a value folded by a tab", "X: y\r\n\tz\r\n"),
        folded("a value that begins folded", "X:\r\n y\r\n"),
        folded("a fold of nothing", "X: y\r\n \r\n"),
        folded("a folded Transfer-Encoding", "Transfer-Encoding:\r\n chunked\r\n"),
        folded("a Content-Length hidden in a fold", "X: y\r\n Content-Length: 50\r\n"),
        refused(
            "a blank before the first field",
            "GET /x HTTP/1.1\r\n Host: a\r\n\r\n",
            400,
            "folded_field",
        ),
        refused(
            "a blank line before Host",
            "GET /x HTTP/1.1\r\n\r\nHost: a\r\n\r\n",
            400,
            "missing_host",
        ),
        valued("NUL in a value", b"y\0z"),
        valued("a CR in a value", b"y\rz"),
        valued("a CR before a field", b"y\rContent-Length: 5"),
        valued("a vertical tab in a value", b"y\x0bz"),
        valued("an escape in a value", b"y\x1bz"),
        valued("DEL in a value", b"y\x7fz"),
        valued("a CR at the end of a value", b"y\r"),
        seen("an empty value", "X:", "X: "),
        seen("no blank before a value", "X:y", "X: y"),
        seen("blanks around a value", "X: \t y \t ", "X: y"),
        seen("a tab in a value", "X: y\tz", "X: y\tz"),
        seen("a value in UTF-8", "X: \u{e4}", "X: \u{e4}"),
        seen("a colon in a value", "X: y: z", "X: y: z"),
        seen("special characters in a name", "!#$%&'*+-.^_`|~: y", "!#$%&'*+-.^_`|~: y"),
        seen("a field twice", "X: y\r\nX: z", "X: y\r\nX: z"),
        dropped("X-Forwarded-For of a stranger", "X-Forwarded-For: 6.6.6.6"),
        dropped("X-Forwarded-For in capitals", "X-FORWARDED-FOR: 6.6.6.6"),
        dropped("X-Forwarded-For twice", "X-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 7.7.7.7"),
        dropped("X-Forwarded-Proto of a stranger", "X-Forwarded-Proto: https"),
        dropped("X-Forwarded-Host of a stranger", "X-Forwarded-Host: evil.example"),
        dropped("X-Forwarded-Port of a stranger", "X-Forwarded-Port: 443"),
        dropped("X-Real-IP of a stranger", "X-Real-IP: 6.6.6.6"),
        dropped("True-Client-IP of a stranger", "True-Client-IP: 6.6.6.6"),
        dropped("CF-Connecting-IP of a stranger", "CF-Connecting-IP: 6.6.6.6"),
        dropped("Forwarded of a stranger", "Forwarded: for=6.6.6.6;proto=https"),
        dropped("X_Forwarded_For with underscores", "X_Forwarded_For: 6.6.6.6"),
        dropped("X-Forwarded_Proto with one underscore", "X-Forwarded_Proto: https"),
        dropped("X_Real_IP with underscores", "x_real_ip: 6.6.6.6"),
        dropped("X-Request-Id of a stranger", "X-Request-Id: evil"),
        dropped("X_Request_Id with underscores", "X_Request_Id: evil"),
        dropped("Content_Length with an underscore", "Content_Length: 50"),
        dropped("Transfer_Encoding with an underscore", "Transfer_Encoding: chunked"),
        seen("an underscore in any other name", "X_Mine: y", "X_Mine: y"),
        dropped("proxy credentials", "Proxy-Authorization: Basic eDp5"),
    ]
}

#[test]
fn a_field_is_one_line_with_a_token_before_its_colon() {
    play(&rows());
}
