//! Who may come in, by address.

use tidegate_scenario::gateway::{Gateway, KEY};
use tidegate_scenario::http::{llm_call, once};
use tidegate_scenario::origin::Origin;

use super::{gateway, get_with};

#[test]
fn who_is_denied_is_refused_before_the_endpoint_hears_of_it() {
    let origin = Origin::plain();
    let gateway = gateway(origin.address, "", "access: { deny: [127.0.0.0/8] }");
    let refused = once(gateway.address, &get_with(""));
    assert_eq!(refused.status, 403);
    assert_eq!(refused.field("x-tidegate-reason"), Some("access_denied"));
    assert!(origin.requests().is_empty());
}

#[test]
fn the_address_that_counts_is_the_one_that_a_trusted_proxy_tells() {
    let origin = Origin::plain();
    let listener = "trusted_proxies: [127.0.0.1]";
    let route = "access: { allow: [10.0.0.0/8, \"2001:db8::/32\"], deny: [10.1.0.0/16] }";
    let gateway = gateway(origin.address, listener, route);
    for (told, status) in [
        ("10.2.3.4", 200),
        ("10.1.3.4", 403),
        ("::ffff:10.2.3.4", 200),
        ("2001:db8::7", 200),
        ("192.0.2.1", 403),
        ("10.2.3.4, 192.0.2.1", 403),
        ("nonsense", 403),
    ] {
        let reply = once(gateway.address, &get_with(&format!("X-Forwarded-For: {told}\r\n")));
        assert_eq!(reply.status, status, "{told}");
    }
}

#[test]
fn a_refused_llm_caller_is_told_in_its_dialect_and_before_its_key_is_looked_at() {
    let origin = Origin::plain();
    let gateway = Gateway::start(&format!(
        "providers: {{ p: {{ dialect: openai, base_url: http://{}/v1, api_key: none }} }}\n\
         models: [{{ name: m, to: [p] }}]\n\
         routes: [{{ path: /v1/, llm: true, access: {{ deny: [127.0.0.1] }} }}]\n",
        origin.address
    ));
    for (path, kind) in [("/v1/chat/completions", "/error/code"), ("/v1/messages", "/error/type")] {
        let call = llm_call(path, KEY, r#"{"model":"m","messages":[]}"#);
        let refused = once(gateway.address, &call);
        assert_eq!(refused.status, 403, "{path}");
        assert!(refused.json().pointer(kind).is_some(), "{}", refused.text());
        let stranger = llm_call(path, "sk-nobody", "{}");
        assert_eq!(once(gateway.address, &stranger).status, 403);
    }
}
