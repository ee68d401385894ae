//! Exactly one valid Host (RFC 9112 section 3.2).

use super::one::{Row, passed, passed_last, play, refused};

fn invalid(name: &'static str, host: &str) -> Row {
    let bytes = format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n");
    refused(name, bytes, 400, "invalid_host")
}

fn valid(name: &'static str, host: &str) -> Row {
    let bytes = format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n");
    passed(name, bytes.clone(), &[&bytes])
}

fn lines(name: &'static str, lines: &str, code: &'static str) -> Row {
    refused(name, format!("GET /x HTTP/1.1\r\n{lines}\r\n"), 400, code)
}

pub(super) fn rows() -> Vec<Row> {
    let longest = "a".repeat(255);
    let too_long = "a".repeat(256);
    vec![
        lines("no Host", "X: y\r\n", "missing_host"),
        lines("two Hosts", "Host: a\r\nHost: b\r\n", "repeated_host"),
        lines("two equal Hosts", "Host: a\r\nhost: a\r\n", "repeated_host"),
        lines("two Hosts with a field between", "Host: a\r\nX: y\r\nHOST: b\r\n", "repeated_host"),
        lines(
            "a Host and one with a blank before the colon",
            "Host: a\r\nHost : b\r\n",
            "space_before_colon",
        ),
        lines("a Host and a folded one", "Host: a\r\n Host: b\r\n", "folded_field"),
        lines("a folded Host", "Host:\r\n a\r\n", "folded_field"),
        invalid("an empty Host", ""),
        invalid("a blank in Host", "a b"),
        invalid("a list in Host", "a, b"),
        invalid("a path in Host", "a/b"),
        invalid("a query in Host", "a?b"),
        invalid("a fragment in Host", "a#b"),
        invalid("a user in Host", "u@a"),
        invalid("a URL in Host", "http://a"),
        invalid("a backslash in Host", "a\\b"),
        invalid("an escape in Host", "a%2eb"),
        invalid("a quote in Host", "\"a\""),
        invalid("a semicolon in Host", "a;b"),
        invalid("a letter beyond ASCII in Host", "\u{e4}"),
        invalid("a port without a host", ":80"),
        invalid("an empty port", "a:"),
        invalid("a port of letters", "a:b"),
        invalid("a port with a sign", "a:+80"),
        invalid("a port beyond 65535", "a:65536"),
        invalid("two ports", "a:80:80"),
        invalid("an address without brackets", "::1"),
        invalid("half a bracket", "[::1"),
        invalid("something behind a bracket", "[::1]a"),
        invalid("no address in brackets", "[a]"),
        invalid("a zone in an address", "[fe80::1%25eth0]"),
        invalid("a host of 256 bytes", &too_long),
        valid("a host of 255 bytes", &longest),
        valid("the largest port", "a:65535"),
        valid("a host with a dot at its end", "a.example."),
        valid("an address in brackets", "[::1]:8080"),
        refused(
            "a bad Host behind a good target",
            "GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n",
            400,
            "invalid_host",
        ),
        refused(
            "an absolute target without Host",
            "GET http://a/ HTTP/1.1\r\n\r\n",
            400,
            "missing_host",
        ),
        refused(
            "two Hosts in HTTP/1.0",
            "GET /x HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
            400,
            "repeated_host",
        ),
        passed_last(
            "Host among the options of Connection",
            "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close, host\r\n\r\n",
            &["GET /x HTTP/1.1\r\nHost: a\r\n\r\n"],
        ),
    ]
}

#[test]
fn there_is_exactly_one_valid_host_or_none_is_asked() {
    play(&rows());
}
