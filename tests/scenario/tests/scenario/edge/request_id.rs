//! What an exchange is called: by a trusted proxy, else by us.

use tidegate_scenario::http::once;
use tidegate_scenario::origin::Origin;

use super::{gateway, get_with};

const TRUSTED: &str = "trusted_proxies: [127.0.0.0/8]";

/// What the endpoint is told, once each for these fields of a request.
fn told(origin: &Origin, listener: &str, route: &str, fields: &str) -> Vec<String> {
    let gateway = gateway(origin.address, listener, route);
    assert_eq!(once(gateway.address, &get_with(fields)).status, 200);
    let seen = origin.requests().pop().expect("a request");
    let lines = seen.head.lines().filter_map(|line| line.split_once(": "));
    let ids = lines.filter(|(name, _)| name.eq_ignore_ascii_case("x-request-id"));
    ids.map(|(_, id)| id.to_owned()).collect()
}

#[track_caller]
fn is_ours(ids: &[String]) {
    let [id] = ids else { panic!("one field: {ids:?}") };
    assert!(id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
}

#[test]
fn a_request_is_named_and_a_stranger_s_name_for_it_is_dropped() {
    let origin = Origin::plain();
    let first = told(&origin, "", "", "");
    let second = told(&origin, "", "", "X-Request-Id: stranger\r\nX_Request_Id: stranger\r\n");
    is_ours(&first);
    is_ours(&second);
    assert_ne!(first, second);
    assert!(!origin.requests()[1].head.contains("stranger"), "{}", origin.requests()[1].head);
}

#[test]
fn the_name_that_a_trusted_proxy_gave_is_kept() {
    let origin = Origin::plain();
    for id in ["7", "Root=1-67891233-abcdef", "b1946ac9-2ab1-4a8f-9f6e-0e1f2a3b4c5d"] {
        let ids = told(&origin, TRUSTED, "", &format!("x-request-id: {id}\r\n"));
        assert_eq!(ids, [id]);
    }
    is_ours(&told(&origin, TRUSTED, "", ""));
}

#[test]
fn what_is_no_name_is_not_taken_from_a_trusted_proxy_either() {
    let origin = Origin::plain();
    let long = "x".repeat(129);
    for fields in [
        "X-Request-Id:\r\n".to_owned(),
        "X-Request-Id: a b\r\n".to_owned(),
        "X-Request-Id: \"a\"\r\n".to_owned(),
        "X-Request-Id: one\r\nX-Request-Id: two\r\n".to_owned(),
        format!("X-Request-Id: {long}\r\n"),
    ] {
        is_ours(&told(&origin, TRUSTED, "", &fields));
    }
}

#[test]
fn a_route_may_set_or_remove_it() {
    let origin = Origin::plain();
    let set = "request_headers: { set: { X-Request-Id: mine } }";
    assert_eq!(told(&origin, TRUSTED, set, "X-Request-Id: theirs\r\n"), ["mine"]);
    let remove = "request_headers: { remove: [x-request-id] }";
    assert_eq!(told(&origin, TRUSTED, remove, "X-Request-Id: theirs\r\n"), [""; 0]);
}

#[test]
fn a_refusal_of_ours_says_the_name() {
    let origin = Origin::plain();
    let gateway = gateway(origin.address, TRUSTED, "path: /only/");
    let reply = once(gateway.address, &get_with("X-Request-Id: abc-1\r\n"));
    assert_eq!(reply.status, 404);
    assert_eq!(reply.field("x-request-id"), Some("abc-1"));
}
