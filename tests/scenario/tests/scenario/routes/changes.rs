//! Paths and header fields that a route changes, and those that it cannot.

use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::{Connection, get};
use tidegate_scenario::origin::{Answer, Origin};

use super::{ask, before, named};

#[test]
fn what_was_rewritten_is_what_is_forwarded_with_its_query() {
    let app = named("app");
    let gateway = before(
        &[("app", &app)],
        r#"  - { path: /old/, upstream: app, rewrite: { prefix: /new/ } }
  - { path: /cut/, upstream: app, rewrite: { prefix: / } }
  - { path_exact: /one, upstream: app, rewrite: { prefix: /other } }
  - { path: /v1/, upstream: app, rewrite: { pattern: "^/v1/([a-z]+)/(.*)$", to: "/$2/$1" } }
  - { path: /a, upstream: app, rewrite: { prefix: /b/ } }
"#,
    );
    for (target, forwarded) in [
        ("/old/x/y?q=1&r=%2F", "/new/x/y?q=1&r=%2F"),
        ("/old/x/../%7Ey", "/new/~y"),
        ("/cut/x", "/x"),
        ("/cut/", "/"),
        ("/one?x", "/other?x"),
        ("/v1/user/7/me?x", "/7/me/user?x"),
        ("/v1/7", "/v1/7"),
        ("/a/x", "/b//x"),
    ] {
        let before = app.requests().len();
        assert_eq!(ask(&gateway, "GET", "h", target, "").status, 200, "{target}");
        let line = app.requests()[before].line().to_owned();
        assert_eq!(line, format!("GET {forwarded} HTTP/1.1"), "{target}");
    }
    // Put together, the pieces would climb: nginx's alias does, and reads other directories.
    let before = app.requests().len();
    let reply = ask(&gateway, "GET", "h", "/a../secret", "");
    assert_eq!((reply.status, reply.field("x-tidegate-reason")), (400, Some("bad_request")));
    assert_eq!(app.requests().len(), before);
}

#[test]
fn fields_are_set_added_and_removed_both_ways() {
    let app = Origin::start(|_| {
        Answer::keep(
            "HTTP/1.1 200 OK\r\nServer: inner\r\nX-Powered-By: php\r\nVary: Accept\r\n\
             Content-Length: 2\r\n\r\nok",
        )
    });
    let gateway = before(
        &[("app", &app)],
        r"  - path: /
    upstream: app
    request_headers: { set: { Host: inner.test, X-Tenant: a }, add: { X-Trace: gate }, remove: [Cookie] }
    reply_headers: { set: { Server: gate, X-Frame-Options: DENY }, add: { Vary: X-Tenant }, remove: [x-powered-by] }
",
    );
    let fields = "X-Tenant: forged\r\nx-tenant: again\r\nX-Trace: mine\r\nCookie: a=1\r\n\
                  X-Forwarded-For: 9.9.9.9\r\nAccept: */*\r\n";
    let reply = ask(&gateway, "GET", "outer.test", "/", fields);
    let head = app.requests()[0].head.to_ascii_lowercase();
    for (line, count) in [
        ("host: inner.test\r\n", 1),
        ("x-tenant: a\r\n", 1),
        ("x-tenant:", 1),
        ("x-trace: mine\r\n", 1),
        ("x-trace: gate\r\n", 1),
        ("cookie:", 0),
        ("x-forwarded-for: 127.0.0.1\r\n", 1),
        ("x-forwarded-for:", 1),
        ("accept: */*\r\n", 1),
    ] {
        assert_eq!(head.matches(line).count(), count, "{line} in {head}");
    }
    let values = |name: &str| -> Vec<&str> {
        reply.fields.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect()
    };
    assert_eq!(values("server"), ["gate"]);
    assert_eq!(values("x-frame-options"), ["DENY"]);
    assert_eq!(values("vary"), ["Accept", "X-Tenant"]);
    assert_eq!(values("x-powered-by"), [""; 0]);
    assert_eq!(values("content-length"), ["2"]);
}

#[test]
fn a_routes_own_deadline_counts() {
    let gate = tidegate_scenario::gate::Gate::default();
    let held = gate.clone();
    let slow = Origin::start(move |_| {
        held.pass();
        Answer::ok("late")
    });
    let gateway = Gateway::start(&format!(
        "upstreams: {{ app: {{ endpoints: [http://{}] }} }}\n\
         routes:\n  - {{ path: /, upstream: app }}\n  \
         - {{ path: /quick/, upstream: app, timeouts: {{ request: 100ms }} }}\n",
        slow.address
    ));
    let mut patient = Connection::open(gateway.address);
    patient.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let reply = get(gateway.address, "/quick/");
    assert_eq!((reply.status, reply.field("x-tidegate-reason")), (504, Some("request_timeout")));
    gate.open();
    assert_eq!(patient.reply().text(), "late");
}
