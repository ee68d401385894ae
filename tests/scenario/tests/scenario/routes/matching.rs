//! Host, path, method and fields pick the route, in the order that the guide gives.

use tidegate_scenario::http::Connection;

use super::{ask, before, named};

#[test]
fn the_most_particular_route_takes_the_request() {
    let names = ["any", "wild", "name", "exact", "pattern", "deep", "canary", "post"];
    let origins = names.map(|name| (name, named(name)));
    let list = origins.each_ref().map(|(name, origin)| (*name, origin));
    let gateway = before(
        &list,
        r#"  - { path: /, upstream: any }
  - { host: "*.example.com", upstream: wild }
  - { host: app.example.com, path: /api/, upstream: name }
  - { host: app.example.com, path_exact: /api/up, upstream: exact }
  - { host: app.example.com, path_pattern: "^/api/u/[0-9]+$", upstream: pattern }
  - { host: app.example.com, path: /api/u/, upstream: deep }
  - { host: app.example.com, path: /api/, headers: { X-Canary: "1" }, upstream: canary }
  - { host: app.example.com, path: /api/, methods: [POST], headers: { X-Canary: "*" }, upstream: post }
"#,
    );
    for (method, host, target, fields, expected) in [
        ("GET", "other.test", "/api/up", "", "any"),
        ("GET", "www.example.com", "/api/up", "", "wild"),
        ("GET", "example.com", "/", "", "any"),
        ("GET", "app.example.com", "/", "", "wild"),
        ("GET", "APP.example.com:80", "/api/x", "", "name"),
        ("GET", "app.example.com", "/api/up", "", "exact"),
        ("GET", "app.example.com", "/api/up?x=1", "", "exact"),
        ("GET", "app.example.com", "/api/u/12", "", "pattern"),
        ("GET", "app.example.com", "/api/u/x", "", "deep"),
        ("GET", "app.example.com", "/api/x/../u/%31", "", "pattern"),
        ("GET", "app.example.com", "/api/x", "x-canary: 1\r\n", "canary"),
        ("GET", "app.example.com", "/api/x", "x-canary: 2\r\n", "name"),
        ("GET", "app.example.com", "/api/x", "x-canary: 2\r\nX-CANARY: 1\r\n", "canary"),
        ("POST", "app.example.com", "/api/x", "x-canary: 2\r\nContent-Length: 0\r\n", "post"),
    ] {
        let reply = ask(&gateway, method, host, target, fields);
        assert_eq!(reply.text(), expected, "{method} {host}{target} {fields:?}");
    }
}

#[test]
fn a_method_that_no_route_takes_is_405_with_those_that_are() {
    let app = named("app");
    let gateway = before(
        &[("app", &app)],
        "  - { path: /read/, methods: [GET], upstream: app }\n  \
           - { path: /read/x, methods: [PUT], upstream: app }\n",
    );
    assert_eq!(ask(&gateway, "GET", "a", "/read/x", "").status, 200);
    let reply = ask(&gateway, "DELETE", "a", "/read/x", "");
    assert_eq!((reply.status, reply.field("allow")), (405, Some("GET, HEAD, PUT")));
    assert_eq!(reply.field("x-tidegate-reason"), Some("method_not_allowed"));
    assert_eq!(ask(&gateway, "DELETE", "a", "/other", "").status, 404);
    // A refusal without a body to read leaves the connection as it is.
    let mut connection = Connection::open(gateway.address);
    let delete = b"DELETE /read/x HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(connection.send(delete).reply().status, 405);
    assert_eq!(connection.send(b"GET /read/ HTTP/1.1\r\nHost: a\r\n\r\n").reply().status, 200);
}
