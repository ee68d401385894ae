//! Connection, Upgrade, Expect and what else speaks of one connection only (RFC 9110 section 7.6.1).

use super::one::{Row, passed, passed_last, play, post, refused, with};

const PLAIN: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

/// Passed on without these lines.
fn without(name: &'static str, lines: &str) -> Row {
    passed(name, with(lines), &[PLAIN])
}

/// Passed on with this line alone.
fn keeps(name: &'static str, lines: &str, kept: &str) -> Row {
    passed(name, with(lines), &[&format!("GET /x HTTP/1.1\r\nHost: a\r\n{kept}\r\n\r\n")])
}

pub(super) fn rows() -> Vec<Row> {
    let many = |count: usize| {
        let options: Vec<_> = (0..count).map(|at| format!("o{at}")).collect();
        with(format!("Connection: {}\r\n", options.join(",")))
    };
    let five = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    vec![
        without("Connection", "Connection: keep-alive\r\n"),
        without("an unknown option", "Connection: x\r\n"),
        without("an empty Connection", "Connection:\r\n"),
        without("commas in Connection", "Connection: ,,\r\n"),
        without("an option in quotes", "Connection: \"close\"\r\n"),
        without("a nominated field", "X-Mine: y\r\nConnection: x-mine\r\n"),
        without(
            "a field that a second Connection nominates",
            "Connection: x\r\nX-Mine: y\r\nConnection: X-MINE\r\n",
        ),
        without("Keep-Alive", "Keep-Alive: timeout=5\r\n"),
        without("Proxy-Connection", "Proxy-Connection: keep-alive\r\n"),
        without("TE", "TE: trailers\r\n"),
        without("TE with a list", "TE: trailers, deflate;q=0.5\r\nConnection: TE\r\n"),
        without("Trailer", "Trailer: X-Forwarded-For\r\n"),
        without("Upgrade without Connection", "Upgrade: websocket\r\n"),
        without(
            "an upgrade to h2c",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        ),
        without(
            "an upgrade to h2c in capitals",
            "Connection: UPGRADE, HTTP2-Settings\r\nUpgrade: H2C\r\nHTTP2-Settings: AA\r\n",
        ),
        without("an upgrade to TLS", "Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n"),
        without("two upgrades", "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n"),
        without("a list of upgrades", "Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n"),
        keeps("Host nominated", "X-Mine: y\r\nConnection: host\r\n", "X-Mine: y"),
        keeps(
            "Authorization nominated",
            "Authorization: Basic x\r\nConnection: authorization\r\n",
            "Authorization: Basic x",
        ),
        keeps("Cookie nominated", "Cookie: a=b\r\nConnection: cookie\r\n", "Cookie: a=b"),
        keeps(
            "Content-Type nominated",
            "Content-Type: a/b\r\nConnection: content-type\r\n",
            "Content-Type: a/b",
        ),
        keeps("Via nominated", "Via: 1.1 b\r\nConnection: via\r\n", "Via: 1.1 b"),
        keeps(
            "a forwarded family nominated",
            "X-Forwarded-Prefix: /p\r\nConnection: x-forwarded-prefix\r\n",
            "X-Forwarded-Prefix: /p",
        ),
        without(
            "X-Forwarded-For nominated",
            "Connection: x-forwarded-for, x-forwarded-proto, x-real-ip\r\nX-Real-IP: 6.6.6.6\r\n",
        ),
        passed("32 options", many(32), &[PLAIN]),
        refused("33 options", many(33), 400, "too_many_connection_options"),
        passed_last("close", with("Connection: close\r\n"), &[PLAIN]),
        passed_last(
            "close in capitals in a list",
            with("Connection: keep-alive, CLOSE\r\n"),
            &[PLAIN],
        ),
        passed_last(
            "close in a second Connection",
            with("Connection: keep-alive\r\nConnection: close\r\n"),
            &[PLAIN],
        ),
        passed("closed is not close", with("Connection: closed\r\n"), &[PLAIN]),
        passed(
            "Expect with its body",
            post("Expect: 100-continue\r\nContent-Length: 5\r\n", "hello"),
            &[five],
        ),
        passed(
            "Expect in capitals",
            post("EXPECT: 100-CONTINUE\r\nContent-Length: 5\r\n", "hello"),
            &[five],
        ),
        passed("Expect without a body", with("Expect: 100-continue\r\n"), &[PLAIN]),
        refused(
            "an unknown expectation",
            post("Expect: 200-ok\r\nContent-Length: 5\r\n", "hello"),
            417,
            "unknown_expectation",
        ),
        refused(
            "an empty expectation",
            post("Expect:\r\nContent-Length: 5\r\n", "hello"),
            417,
            "unknown_expectation",
        ),
        refused(
            "an expectation with a word more",
            post("Expect: x 100-continue\r\nContent-Length: 5\r\n", "hello"),
            417,
            "unknown_expectation",
        ),
        refused(
            "an expectation in a list",
            post("Expect: 100-continue, x\r\nContent-Length: 5\r\n", "hello"),
            417,
            "unknown_expectation",
        ),
        refused(
            "a second expectation",
            post("Expect: 100-continue\r\nExpect: x\r\nContent-Length: 5\r\n", "hello"),
            417,
            "unknown_expectation",
        ),
        passed_last(
            "Expect in HTTP/1.0 is ignored",
            "POST /x HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
            &[five],
        ),
    ]
}

#[test]
fn what_speaks_of_one_connection_goes_no_further() {
    play(&rows());
}
