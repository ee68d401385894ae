//! One request and its reply: method, target, fields, body, connection.

use tidegate_lab::origin::{OriginOptions, spawn_origin};
use tidegate_scenario::http::{Connection, get, once};
use tidegate_scenario::origin::{Answer, Origin};
use tidegate_scenario::until;
use tidegate_wire::http1::head::Method;

use super::before;

#[test]
fn method_target_query_and_host_are_passed_on() {
    let origin = Origin::plain();
    let gateway = before(&[origin.address], "", "");
    let mut connection = Connection::open(gateway.address);
    for (method, has_length) in [
        ("GET", false),
        ("DELETE", false),
        ("OPTIONS", false),
        ("POST", true),
        ("PUT", true),
        ("PATCH", true),
        ("PROPFIND", false),
        ("get", false),
    ] {
        let request =
            format!("{method} /a/b?x=1&y=%20&z=/../%2F HTTP/1.1\r\nHost: app.example:81\r\n\r\n");
        assert_eq!(connection.send(request.as_bytes()).reply().status, 200, "{method}");
        let seen = origin.requests().pop().unwrap();
        assert_eq!(seen.line(), format!("{method} /a/b?x=1&y=%20&z=/../%2F HTTP/1.1"));
        assert_eq!(seen.field("host"), Some("app.example:81"));
        assert_eq!(seen.field("content-length"), has_length.then_some("0"), "{method}");
        assert_eq!(seen.field("transfer-encoding"), None);
    }
    assert_eq!(origin.connections(), 1, "one connection served them all");
}

#[test]
fn what_was_matched_is_what_is_forwarded() {
    let [private, public] = [Origin::plain(), Origin::plain()];
    let gateway = tidegate_scenario::gateway::Gateway::start(&format!(
        "upstreams:\n  private: {{ endpoints: [http://{}] }}\n  public: {{ endpoints: [http://{}] }}\n\
         routes:\n  - {{ path: /private/, upstream: private }}\n  - {{ path: /, upstream: public }}\n",
        private.address, public.address
    ));
    for (path, forwarded) in [
        ("/private/a", "/private/a"),
        ("/x/../private/a", "/private/a"),
        ("/x/%2e%2e/private/a", "/private/a"),
        ("/./private/./a", "/private/a"),
        ("/%70rivate/a", "/private/a"),
        ("/private/%7Ea", "/private/~a"),
    ] {
        assert_eq!(get(gateway.address, path).status, 200, "{path}");
        let seen = private.requests().pop().unwrap();
        assert_eq!(seen.line(), format!("GET {forwarded} HTTP/1.1"), "{path}");
    }
    assert!(public.requests().is_empty());
    for (path, forwarded) in [
        ("/private%2fa", "/private%2Fa"),
        ("/private/../a", "/a"),
        ("/%2570rivate/a", "/%2570rivate/a"),
        ("//private/a", "//private/a"),
    ] {
        assert_eq!(get(gateway.address, path).status, 200, "{path}");
        let seen = public.requests().pop().unwrap();
        assert_eq!(seen.line(), format!("GET {forwarded} HTTP/1.1"), "{path}");
    }
    assert_eq!(private.requests().len(), 6);
}

#[test]
fn where_a_request_came_from_is_written_anew() {
    let origin = Origin::plain();
    let gateway = before(&[origin.address], "", "");
    let reply = once(
        gateway.address,
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 7.7.7.7\r\n\
          X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\n\
          Forwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nTrue-Client-IP: 6.6.6.6\r\n\
          CF-Connecting-IP: 6.6.6.6\r\nX-Kept: 1\r\n\r\n",
    );
    assert_eq!(reply.status, 200);
    let seen = &origin.requests()[0];
    assert_eq!(seen.head.to_ascii_lowercase().matches("x-forwarded-for").count(), 1);
    assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.field("x-forwarded-proto"), Some("http"));
    assert!(!seen.head.contains("6.6.6.6") && !seen.head.contains("evil"), "{}", seen.head);
    assert_eq!(seen.field("x-kept"), Some("1"));
}

#[test]
fn hop_by_hop_fields_of_a_request_stay_here() {
    let origin = Origin::plain();
    let gateway = before(&[origin.address], "", "");
    let reply = once(
        gateway.address,
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: 5\r\nX-Hop: 1\r\n\
          Proxy-Connection: keep-alive\r\nTE: trailers\r\nUpgrade: h2c\r\nProxy-Authorization: Basic x\r\n\
          HTTP2-Settings: AAMAAABkAAQAAP__\r\nX-End: 2\r\nCookie: a=b\r\n\r\n",
    );
    assert_eq!(reply.status, 200);
    let seen = &origin.requests()[0];
    for gone in ["keep-alive", "x-hop", "proxy-connection", "te", "upgrade", "proxy-authorization"]
    {
        assert_eq!(seen.field(gone), None, "{gone}");
    }
    assert_eq!((seen.field("x-end"), seen.field("cookie")), (Some("2"), Some("a=b")));
}

#[test]
fn a_chunked_upload_is_framed_anew_and_one_with_a_length_keeps_it() {
    let origin = Origin::plain();
    let gateway = before(&[origin.address], "", "");
    let mut connection = Connection::open(gateway.address);
    connection.send(b"PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in ["1\r\na\r\n", "0002;x=y\r\nbc\r\n", "3\r\nde", "f\r\n", "0\r\nX: y\r\n\r\n"] {
        connection.send(piece.as_bytes());
    }
    assert_eq!(connection.reply().status, 200);
    let reply =
        connection.send(b"PUT /l HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabcdef").reply();
    assert_eq!(reply.status, 200);
    let requests = origin.requests();
    let [chunked, sized] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!((&chunked.body[..], &sized.body[..]), (&b"abcdef"[..], &b"abcdef"[..]));
    assert_eq!(chunked.field("transfer-encoding"), Some("chunked"));
    assert_eq!((chunked.field("content-length"), sized.field("content-length")), (None, Some("6")));
    assert!(!String::from_utf8_lossy(&origin.bytes()).contains("x=y"));
}

#[test]
fn requests_in_one_packet_are_answered_in_order() {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let gateway = before(&[lab.addr], "", "");
    let mut bytes = Vec::new();
    for number in 0..20 {
        let body = "b".repeat(number * 7);
        bytes.extend_from_slice(
            format!(
                "POST /echo?n={number} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        );
        bytes.extend_from_slice(
            b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        );
    }
    let mut connection = Connection::open(gateway.address);
    connection.send(&bytes);
    for number in 0..20 {
        let reply = connection.reply();
        assert_eq!(reply.status, 200, "{number}");
        assert_eq!(reply.json()["target"], format!("/echo?n={number}"));
        assert_eq!(reply.json()["body"].as_str().map(str::len), Some(number * 7));
        assert_eq!(connection.reply().json()["body"], "hi");
    }
}

#[test]
fn http_1_0_clients_are_served_with_and_without_keep_alive() {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let gateway = before(&[lab.addr], "", "");
    let mut connection = Connection::open(gateway.address);
    let reply = connection.send(b"GET /small HTTP/1.0\r\n\r\n").reply();
    assert_eq!((reply.status, reply.body.len()), (200, 1024));
    assert_eq!(connection.rest(), b"", "closed, as HTTP/1.0 has it");
    let mut connection = Connection::open(gateway.address);
    for _ in 0..3 {
        let ask = b"GET /small HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n";
        let reply = connection.send(ask).reply();
        assert_eq!((reply.status, reply.field("connection")), (200, Some("keep-alive")));
    }
    // What has no length is ended by the close, not by chunks that HTTP/1.0 does not know.
    let ask = b"GET /chunked HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n";
    let reply = connection.send(ask).reply();
    assert_eq!((reply.field("transfer-encoding"), reply.field("connection")), (None, None));
    assert!(reply.text().ends_with("line 10\n"), "{}", reply.text());
}

#[test]
fn head_has_the_fields_of_get_and_no_body() {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let gateway = before(&[lab.addr], "", "");
    let mut connection = Connection::open(gateway.address);
    for path in ["/small", "/big", "/chunked", "/status/404", "/health"] {
        let ask = format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let reply = connection.send(ask.as_bytes()).reply_to(Method::Head);
        assert!(matches!(reply.status, 200 | 404), "{path}");
        let length = reply.field("content-length").map(str::to_owned);
        match path {
            "/small" => assert_eq!(length.as_deref(), Some("1024")),
            "/big" => assert_eq!(length.as_deref(), Some("1048576")),
            _ => {}
        }
    }
    connection.send(b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(connection.reply().body.len(), 1024, "nothing of a body was in between");
}

#[test]
fn statuses_without_a_body_pass_and_leave_the_connection_usable() {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let gateway = before(&[lab.addr], "", "");
    let mut connection = Connection::open(gateway.address);
    for status in [204, 304, 404, 500, 503, 599, 200] {
        let ask = format!("GET /status/{status} HTTP/1.1\r\nHost: a\r\n\r\n");
        let reply = connection.send(ask.as_bytes()).reply();
        assert_eq!((reply.status, reply.complete), (status, true));
    }
}

#[test]
fn fields_of_a_reply_pass_unchanged_and_repeated() {
    let origin = Origin::start(|_| {
        Answer::keep(
            "HTTP/1.1 207 Anything\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Odd:   spaced \r\n\
             Content-Type: x/y\r\nContent-Length: 2\r\n\r\nok",
        )
    });
    let gateway = before(&[origin.address], "", "");
    let reply = get(gateway.address, "/");
    assert_eq!((reply.status, reply.text().as_str()), (207, "ok"));
    let cookies: Vec<_> =
        reply.fields.iter().filter(|(n, _)| n == "set-cookie").map(|(_, v)| v.as_str()).collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    assert_eq!((reply.field("x-odd"), reply.field("content-type")), (Some("spaced"), Some("x/y")));
}

#[test]
fn a_client_that_goes_cancels_its_request_at_the_origin() {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let gateway = before(&[lab.addr], "", "");
    let mut connection = Connection::open(gateway.address);
    connection.send(b"GET /slow?ms=600000 HTTP/1.1\r\nHost: a\r\n\r\n");
    until("it is in flight", || (gateway.status()["current_connections"] == 1).then_some(()));
    drop(connection);
    until("its place is free", || (gateway.status()["current_connections"] == 0).then_some(()));
    // Ending the sending side alone counts as going too: nobody can tell the two apart.
    let mut connection = Connection::open(gateway.address);
    connection.send(b"GET /slow?ms=600000 HTTP/1.1\r\nHost: a\r\n\r\n").finish();
    assert_eq!(connection.rest(), b"");
    until("its place is free", || (gateway.status()["current_connections"] == 0).then_some(()));
}
