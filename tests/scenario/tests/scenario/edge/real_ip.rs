//! Where a caller is: nobody is believed unless the listener says so.

use tidegate_scenario::h2raw::{Raw, request};
use tidegate_scenario::http::once;
use tidegate_scenario::origin::{Origin, Received};

use super::{gateway, get_with};

const TRUSTED: &str = "trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]";

fn seen(origin: &Origin) -> Received {
    origin.requests().pop().expect("a request")
}

#[test]
fn nobody_is_believed_by_default() {
    let origin = Origin::plain();
    let gateway = gateway(origin.address, "", "");
    let fields = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\
                  X-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n";
    assert_eq!(once(gateway.address, &get_with(fields)).status, 200);
    let seen = seen(&origin);
    assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.field("x-forwarded-proto"), Some("http"));
    for name in ["x-forwarded-host", "x-real-ip", "forwarded"] {
        assert_eq!(seen.field(name), None, "{name}");
    }
}

#[test]
fn what_a_trusted_proxy_says_is_kept_and_its_own_address_appended() {
    let origin = Origin::plain();
    let gateway = gateway(origin.address, TRUSTED, "");
    let fields = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 1.1.1.1, 10.2.2.2\r\n\
                  X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n\
                  X-Forwarded-Port: 443\r\nX-Real-IP: 6.6.6.6\r\n";
    assert_eq!(once(gateway.address, &get_with(fields)).status, 200);
    let seen = seen(&origin);
    let way = "6.6.6.6, 1.1.1.1, 10.2.2.2, 127.0.0.1";
    assert_eq!(seen.field("x-forwarded-for"), Some(way));
    assert_eq!(seen.field("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.field("x-forwarded-host"), Some("shop.example"));
    assert_eq!(seen.field("x-forwarded-port"), Some("443"));
    assert_eq!(seen.field("x-real-ip"), None, "only the field that is configured is believed");
}

#[test]
fn another_field_can_tell_the_address() {
    let origin = Origin::plain();
    for (header, line) in [
        ("X-Real-IP", "X-Real-IP: 1.1.1.1"),
        ("CF-Connecting-IP", "CF-Connecting-IP: 1.1.1.1"),
        ("Forwarded", "Forwarded: for=6.6.6.6, for=\"1.1.1.1:80\";proto=https"),
    ] {
        let keys = format!("{TRUSTED}, real_ip_header: {header}");
        let gateway = gateway(origin.address, &keys, "");
        let fields = format!("{line}\r\nX-Forwarded-For: 6.6.6.6\r\n");
        assert_eq!(once(gateway.address, &get_with(&fields)).status, 200);
        let seen = seen(&origin);
        assert_eq!(seen.field("x-forwarded-for"), Some("1.1.1.1, 127.0.0.1"), "{header}");
        if header != "Forwarded" {
            assert_eq!(seen.field(header), Some("1.1.1.1"));
        }
    }
}

#[test]
fn a_callers_connection_field_cannot_take_away_what_we_set() {
    let origin = Origin::plain();
    let nominated = "Connection: X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Real-IP\r\n\
                     X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Host: shop.example\r\n";
    for (keys, way) in [("", "127.0.0.1"), (TRUSTED, "1.1.1.1, 127.0.0.1")] {
        let gateway = gateway(origin.address, keys, "");
        assert_eq!(once(gateway.address, &get_with(nominated)).status, 200);
        assert_eq!(seen(&origin).field("x-forwarded-for"), Some(way));
        assert_eq!(seen(&origin).field("x-forwarded-proto"), Some("http"));
    }
}

#[test]
fn streams_of_http2_are_believed_like_requests_of_http1() {
    let origin = Origin::plain();
    for (keys, way) in [("", "127.0.0.1"), (TRUSTED, "1.1.1.1, 127.0.0.1")] {
        let gateway = gateway(origin.address, keys, "");
        let mut raw = Raw::open(gateway.address);
        raw.head(1, &request("GET", "/x", &[("x-forwarded-for", "1.1.1.1")]), true);
        assert_eq!(raw.outcome(1).status, 200);
        assert_eq!(seen(&origin).field("x-forwarded-for"), Some(way));
    }
}
