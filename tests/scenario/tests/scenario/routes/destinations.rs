//! Splits, redirects and fixed replies.

use tidegate_scenario::http::{Connection, get};
use tidegate_wire::http1::head::Method;

use super::{ask, before, named};

#[test]
fn a_split_gives_each_upstream_its_share() {
    let (old, new) = (named("old"), named("new"));
    let gateway = before(
        &[("old", &old), ("new", &new)],
        "  - { split: [{ upstream: old, weight: 80 }, { upstream: new, weight: 20 }] }\n",
    );
    let mut connection = Connection::open(gateway.address);
    for _ in 0..1000 {
        assert_eq!(connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").reply().status, 200);
    }
    let shares = [old.requests().len(), new.requests().len()];
    // Five standard deviations: 1 in 3 million runs falls outside.
    assert!((137..=263).contains(&shares[1]), "{shares:?}");
    assert_eq!(shares[0] + shares[1], 1000);
}

#[test]
fn a_redirect_leads_to_the_parts_of_the_request() {
    let app = named("app");
    let gateway = before(
        &[("app", &app)],
        r#"  - { path: /, redirect: { to: "https://{host}{path}" } }
  - { path: /old/, rewrite: { prefix: /new/ }, redirect: { to: "{path}", status: 302 } }
  - { path: /find, redirect: { to: "https://search.test/?from=gate&{query}", status: 303 } }
  - { path: /app/, upstream: app }
"#,
    );
    for (target, status, location) in [
        ("/x/y?q=1", 308, "https://a.test/x/y?q=1"),
        ("/x/./y", 308, "https://a.test/x/y"),
        ("/old/a/b", 302, "/new/a/b"),
        ("/old//evil.test", 302, "/new//evil.test"),
        ("/find?q=%20x", 303, "https://search.test/?from=gate&q=%20x"),
    ] {
        let reply = ask(&gateway, "GET", "a.test:8080", target, "");
        assert_eq!((reply.status, reply.field("location")), (status, Some(location)), "{target}");
        assert_eq!((reply.field("content-length"), reply.complete), (Some("0"), true));
    }
    let reply = Connection::open(gateway.address).send(b"GET /x HTTP/1.0\r\n\r\n").reply();
    assert_eq!(reply.status, 400, "an address without a host leads nowhere");
    assert!(app.requests().is_empty());
}

#[test]
fn a_fixed_reply_keeps_the_connection_and_frames_itself() {
    let app = named("app");
    let gateway = before(
        &[("app", &app)],
        r#"  - { path_exact: /robots.txt, reply: { body: "Disallow: /\n", headers: { Cache-Control: no-cache } } }
  - { path: /gone, reply: { status: 410 }, reply_headers: { set: { X-Why: moved } } }
  - { path: /none, reply: { status: 204 } }
  - { path: /, upstream: app }
"#,
    );
    let mut connection = Connection::open(gateway.address);
    let reply = connection.send(b"GET /robots.txt HTTP/1.1\r\nHost: a\r\n\r\n").reply();
    assert_eq!((reply.status, reply.text().as_str()), (200, "Disallow: /\n"));
    assert_eq!(reply.field("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(reply.field("cache-control"), Some("no-cache"));
    let head = b"HEAD /robots.txt HTTP/1.1\r\nHost: a\r\n\r\n";
    let reply = connection.send(head).reply_to(Method::Head);
    assert_eq!((reply.field("content-length"), reply.body.len()), (Some("12"), 0));
    let reply = connection.send(b"GET /gone HTTP/1.1\r\nHost: a\r\n\r\n").reply();
    assert_eq!((reply.status, reply.field("x-why")), (410, Some("moved")));
    assert_eq!(reply.field("content-length"), Some("0"));
    let reply = connection.send(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n").reply();
    assert_eq!((reply.status, reply.field("content-length")), (204, None));
    assert_eq!(connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").reply().text(), "app");
    // A body that is whole is passed over; one that is not ends the connection.
    let post = b"POST /gone HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(connection.send(post).reply().status, 410);
    assert_eq!(connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").reply().text(), "app");
    let post = b"POST /gone HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\nhi";
    let reply = connection.send(post).reply();
    assert_eq!((reply.status, reply.field("connection")), (410, Some("close")));
    assert_eq!(connection.finish().rest(), b"");
    assert_eq!(app.requests().len(), 2);
}

#[test]
fn fixed_replies_need_no_place_among_the_requests_in_flight() {
    let gate = tidegate_scenario::gate::Gate::default();
    let held = gate.clone();
    let slow = tidegate_scenario::origin::Origin::start(move |_| {
        held.pass();
        tidegate_scenario::origin::Answer::ok("slow")
    });
    let gateway = tidegate_scenario::gateway::Gateway::start(&format!(
        "upstreams: {{ app: {{ endpoints: [http://{}] }} }}\n\
         routes: [{{ upstream: app }}, {{ path: /fixed, reply: {{ body: here }} }}]\n\
         limits: {{ requests: 1, queue: {{ size: 0 }} }}\n",
        slow.address
    ));
    let mut waiting = Connection::open(gateway.address);
    waiting.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    tidegate_scenario::until("the slow request is there", || {
        (!slow.bytes().is_empty()).then_some(())
    });
    assert_eq!(get(gateway.address, "/").status, 503);
    assert_eq!(get(gateway.address, "/fixed").text(), "here");
    gate.open();
    assert_eq!(waiting.reply().text(), "slow");
}
