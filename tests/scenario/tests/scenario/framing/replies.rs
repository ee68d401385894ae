//! What a hostile or careless origin says: the caller gets a sound reply or a clear failure, and no
//! byte of one reply becomes part of the next.

use tidegate_scenario::http::{Connection, get, once};
use tidegate_scenario::origin::{Answer, Origin};
use tidegate_wire::http1::head::Method;

use super::before;

/// Replies by path, so that one gateway serves a whole table.
fn saying(table: Vec<(&'static str, Answer)>) -> Origin {
    Origin::start(move |request| {
        let path = request.line().split(' ').nth(1).unwrap_or_default();
        table
            .iter()
            .find(|(name, _)| *name == path)
            .map_or_else(|| Answer::ok("ok"), |(_, answer)| answer.clone())
    })
}

#[test]
fn a_reply_that_is_not_sound_http_becomes_502_and_its_connection_is_dropped() {
    let mut bomb = b"HTTP/1.1 200 OK\r\n".to_vec();
    for number in 0..300 {
        bomb.extend_from_slice(format!("X-{number}: y\r\n").as_bytes());
    }
    bomb.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    let huge = format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 0\r\n\r\n", "y".repeat(80_000));
    let table: Vec<(&'static str, Answer)> = vec![
        (
            "/cl-te",
            Answer::keep(
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            ),
        ),
        ("/cl-sign", Answer::keep("HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok")),
        ("/cl-list", Answer::keep("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok")),
        (
            "/cl-twice",
            Answer::keep("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"),
        ),
        (
            "/cl-overflow",
            Answer::keep("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551618\r\n\r\nok"),
        ),
        ("/te-unknown", Answer::keep("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok")),
        (
            "/te-twice",
            Answer::keep(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            ),
        ),
        ("/te-10", Answer::keep("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
        ("/garbage", Answer::keep("hello, this is not HTTP\r\n\r\n")),
        ("/version", Answer::keep("HTTP/3.0 200 OK\r\nContent-Length: 2\r\n\r\nok")),
        ("/status", Answer::keep("HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok")),
        ("/bare-lf", Answer::keep("HTTP/1.1 200 OK\nContent-Length: 2\n\nok")),
        ("/fold", Answer::keep("HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok")),
        ("/nul", Answer::keep("HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok")),
        ("/blank", Answer::keep("HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 2\r\n\r\nok")),
        ("/bomb", Answer::keep(bomb)),
        ("/huge", Answer::keep(huge)),
        (
            "/101",
            Answer::keep(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            ),
        ),
        ("/100-body", Answer::keep("HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\nok")),
        ("/nothing", Answer::close("")),
        ("/half-head", Answer::close("HTTP/1.1 200 OK\r\nContent-Le")),
    ];
    let names: Vec<_> = table.iter().map(|(name, _)| *name).collect();
    let origin = saying(table);
    let gateway = before(&origin);
    for name in names {
        // POST is not repeated: one try each.
        let request = format!("POST {name} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        let mut connection = Connection::open(gateway.address);
        let reply = connection.send(request.as_bytes()).reply();
        assert_eq!(reply.status, 502, "{name}: {}", reply.text());
        assert!(reply.complete && reply.json()["error"]["message"].is_string(), "{name}");
        // The caller's own connection is as good as before.
        connection.send(b"GET /fine HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(connection.reply().text(), "ok", "{name}");
    }
    // No request came on a connection on which one of the replies above had been given.
    let requests = origin.requests();
    for (index, bad) in
        requests.iter().enumerate().filter(|(_, seen)| !seen.line().contains("/fine"))
    {
        let later = requests.iter().skip(index + 1).find(|next| next.connection == bad.connection);
        assert!(later.is_none(), "{} was reused for {later:?}", bad.line());
    }
}

#[test]
fn bytes_behind_the_end_of_a_reply_end_the_connection_and_reach_nobody() {
    let extra = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    let table = vec![
        ("/length", Answer::keep(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok{extra}"))),
        (
            "/chunked",
            Answer::keep(format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{extra}"
            )),
        ),
        ("/204", Answer::keep(format!("HTTP/1.1 204 No Content\r\n\r\n{extra}"))),
        (
            "/304",
            Answer::keep(format!(
                "HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\npoison{extra}"
            )),
        ),
        (
            "/204-length",
            Answer::keep(format!(
                "HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\npoison{extra}"
            )),
        ),
    ];
    let names: Vec<_> = table.iter().map(|(name, _)| *name).collect();
    let origin = saying(table);
    let gateway = before(&origin);
    let mut connection = Connection::open(gateway.address);
    for name in names {
        let request = format!("GET {name} HTTP/1.1\r\nHost: a\r\n\r\n");
        let reply = connection.send(request.as_bytes()).reply();
        assert!(matches!(reply.status, 200 | 204 | 304), "{name}: {}", reply.status);
        assert!(matches!(&reply.body[..], b"ok" | b""), "{name}: {}", reply.text());
        let reply = connection.send(b"GET /fine HTTP/1.1\r\nHost: a\r\n\r\n").reply();
        assert_eq!(reply.text(), "ok", "after {name}");
    }
    let requests = origin.requests();
    for (index, bad) in
        requests.iter().enumerate().filter(|(_, seen)| !seen.line().contains("/fine"))
    {
        let later = requests.iter().skip(index + 1).find(|next| next.connection == bad.connection);
        assert!(later.is_none(), "{} was reused for {later:?}", bad.line());
    }
}

#[test]
fn a_body_to_head_never_reaches_the_caller() {
    let origin =
        Origin::start(|_| Answer::keep("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"));
    let gateway = before(&origin);
    let mut connection = Connection::open(gateway.address);
    for _ in 0..3 {
        let reply = connection.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").reply_to(Method::Head);
        assert_eq!((reply.status, reply.field("content-length")), (200, Some("6")));
    }
    connection.send(b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let rest = connection.rest();
    assert!(rest.ends_with(b"\r\n\r\n"), "{}", rest.escape_ascii());
    assert_eq!(origin.connections(), 4, "a connection with bytes left over is not used again");
}

#[test]
fn interim_replies_are_skipped() {
    let origin = Origin::start(|_| {
        Answer::keep(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
             HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        )
    });
    let gateway = before(&origin);
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let said = Connection::open(gateway.address).send(request).rest();
    assert!(said.starts_with(b"HTTP/1.1 200 "), "{}", said.escape_ascii());
    assert!(said.ends_with(b"\r\n\r\nok"), "{}", said.escape_ascii());
}

#[test]
fn a_reply_that_ends_with_its_connection_is_framed_anew() {
    let origin = Origin::start(|_| {
        Answer::close("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end")
    });
    let gateway = before(&origin);
    let mut connection = Connection::open(gateway.address);
    for _ in 0..2 {
        let reply = connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").reply();
        assert_eq!((reply.status, reply.text().as_str()), (200, "until the end"));
        assert_eq!(reply.field("transfer-encoding"), Some("chunked"));
        assert!(reply.complete);
    }
    let said = once(gateway.address, b"GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!((said.status, said.text().as_str()), (200, "until the end"));
    assert_eq!(said.field("transfer-encoding"), None);
}

#[test]
fn a_reply_that_is_cut_short_is_never_taken_for_a_whole_one() {
    let table = vec![
        ("/length", Answer::close("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")),
        (
            "/chunked",
            Answer::close("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
        ),
        (
            "/chunk",
            Answer::close("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf"),
        ),
        (
            "/bad-chunk",
            Answer::close(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nZZ\r\n",
            ),
        ),
    ];
    let names: Vec<_> = table.iter().map(|(name, _)| *name).collect();
    let origin = saying(table);
    let gateway = before(&origin);
    for name in names {
        let reply = get(gateway.address, name);
        assert!(!reply.complete || reply.status == 502, "{name}: {reply:?}");
    }
}

#[test]
fn hop_by_hop_fields_of_a_reply_stay_with_the_origins_connection() {
    let origin = Origin::start(|_| {
        Answer::keep(
            "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Private\r\nKeep-Alive: timeout=5\r\n\
             X-Private: 1\r\nX-Public: 2\r\nUpgrade: h2c\r\nProxy-Connection: keep-alive\r\n\
             Trailer: X-After\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-After: 3\r\n\r\n",
        )
    });
    let gateway = before(&origin);
    let reply = get(gateway.address, "/");
    assert_eq!((reply.text().as_str(), reply.field("x-public")), ("ok", Some("2")));
    for gone in ["keep-alive", "x-private", "upgrade", "proxy-connection", "trailer", "x-after"] {
        assert_eq!(reply.field(gone), None, "{gone}");
    }
    assert_eq!(reply.field("connection"), Some("close"), "the gateway's own, as the caller asked");
}
