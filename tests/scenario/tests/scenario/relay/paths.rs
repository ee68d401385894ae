//! Every path of the APIs finds its provider; errors keep the provider's words and the dialect's form.

use tidegate_lab::provider::{ProviderOptions, spawn_provider};
use tidegate_scenario::gateway::{Gateway, KEY};
use tidegate_scenario::http::{Connection, Reply, get};
use tidegate_scenario::llm::{CHAT, FORMS, MESSAGES, providers};
use tidegate_scenario::scripted::{Scripted, json_reply};

fn ask(gateway: &Gateway, method: &str, target: &str, fields: &str) -> Reply {
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {KEY}\r\n{fields}\r\n"
    );
    Connection::open(gateway.address).send(request.as_bytes()).reply()
}

#[test]
fn a_file_of_twenty_mebibytes_is_passed_on_as_it_comes() {
    const SIZE: usize = 20 * 1024 * 1024;
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&providers(lab.addr));
    get(gateway.address, "/health");
    let before = gateway.resident();
    let open = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n";
    let body = [open.as_bytes(), &vec![b'z'; SIZE], b"\r\n--b--\r\n"].concat();
    let head = format!(
        "POST /v1/files HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut connection = Connection::open(gateway.address);
    let reply = connection.send(head.as_bytes()).send(&body).reply();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let last = get(lab.addr, "/lab/last").json();
    assert_eq!(
        (last["body_bytes"].as_u64(), &last["target"]),
        (Some(body.len() as u64), &"/v1/files".into())
    );
    let grown = gateway.resident().saturating_sub(before);
    println!("RSS grew by {} KiB", grown / 1024);
    assert!(grown < SIZE as u64 / 2, "the file is not held: {grown}");
}

#[test]
fn paths_without_a_model_go_to_the_default_provider_with_their_query() {
    let provider = Scripted::start(|_, peer| {
        while let Some(request) = peer.request() {
            let line = request.head.lines().next().unwrap_or_default().to_owned();
            peer.send(json_reply(200, &format!("{{\"line\":\"{line}\"}}")));
        }
    });
    let gateway = Gateway::start(&providers(provider.address));
    for (method, target) in [
        ("GET", "/v1/batches?limit=2&after=b%2F1"),
        ("DELETE", "/v1/files/file-1"),
        ("GET", "/v1/files/file-1/content"),
        ("GET", "/v1/vector_stores?x=%20&&y"),
        ("GET", "/v1/messages/batches?limit=1"),
        ("GET", "/v1/models?page=1"),
        ("GET", "/v1/models/org%2Fname"),
    ] {
        let reply = ask(&gateway, method, target, "");
        assert_eq!(reply.status, 200, "{target}: {}", reply.text());
        assert_eq!(reply.json()["line"], format!("{method} {target} HTTP/1.1"));
    }
    let reply = ask(&gateway, "GET", "/other", "");
    assert_eq!(reply.status, 404);
}

#[test]
fn the_models_that_are_named_are_listed_in_both_dialects() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&format!(
        "models:\n  - {{ name: gpt-x, to: [lab] }}\n  - {{ name: claude-y, to: [claude] }}\n  - {{ name: \"*\", to: [lab, claude] }}\n{}",
        providers(lab.addr)
    ));
    let version = "anthropic-version: 2023-06-01\r\n";
    let list = ask(&gateway, "GET", "/v1/models", "").json();
    assert_eq!(list["object"], "list");
    assert_eq!(
        (&list["data"][0]["id"], &list["data"][0]["object"]),
        (&"gpt-x".into(), &"model".into())
    );
    let list = ask(&gateway, "GET", "/v1/models", version).json();
    assert_eq!(
        (&list["data"][1]["id"], &list["data"][1]["type"]),
        (&"claude-y".into(), &"model".into())
    );
    assert_eq!((&list["has_more"], &list["last_id"]), (&false.into(), &"claude-y".into()));
    let one = ask(&gateway, "GET", "/v1/models/gpt-x", "").json();
    assert_eq!((&one["id"], &one["object"]), (&"gpt-x".into(), &"model".into()));
    assert_eq!(lab.stats().requests, 0, "what is named is answered here");
    let one = ask(&gateway, "GET", "/v1/models/lab-echo", "").json();
    assert_eq!(one["owned_by"], "lab");
}

#[test]
fn without_named_models_the_provider_is_asked_for_its_list() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&providers(lab.addr));
    let theirs = get(lab.addr, "/v1/models").json();
    assert_eq!(ask(&gateway, "GET", "/v1/models", "").json(), theirs);
    let list = ask(&gateway, "GET", "/v1/models", "anthropic-version: 2023-06-01\r\n").json();
    assert_eq!(list["data"][0]["type"], "model");
}

#[test]
fn a_model_that_nothing_serves_is_the_dialects_404() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&format!(
        "models: [{{ name: gpt-x, to: [lab, claude] }}]\n{}",
        providers(lab.addr)
    ));
    let reply = Connection::open(gateway.address).send(&CHAT.whole("nope")).reply();
    assert_eq!(reply.status, 404);
    let error = &reply.json()["error"];
    assert_eq!((&error["code"], &error["param"]), (&"model_not_found".into(), &"model".into()));
    let reply = Connection::open(gateway.address).send(&MESSAGES.whole("nope")).reply();
    assert_eq!(reply.status, 404);
    assert_eq!(reply.json()["type"], "error");
    assert_eq!(reply.json()["error"]["type"], "not_found_error");
}

#[test]
fn an_overloaded_provider_is_503_for_openai_callers_and_529_for_anthropics() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&format!("retry: {{ attempts: 1 }}\n{}", providers(lab.addr)));
    for form in FORMS {
        for ask in [form.whole("lab-error-529"), form.stream("lab-error-529")] {
            let reply = Connection::open(gateway.address).send(&ask).reply();
            assert_eq!(reply.status, if form.is_anthropic() { 529 } else { 503 });
            assert_eq!(reply.json()["error"]["message"], "Overloaded");
            assert_eq!(reply.field("retry-after"), Some("1"));
        }
    }
}

#[test]
fn errors_of_the_provider_arrive_with_their_status_fields_and_bytes() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&format!("retry: {{ attempts: 1 }}\n{}", providers(lab.addr)));
    for form in FORMS {
        for status in [400, 402, 403, 404, 409, 413, 422, 429, 500, 503] {
            for stream in [false, true] {
                let model = format!("lab-error-{status}");
                let ask = if stream { form.stream(&model) } else { form.whole(&model) };
                let theirs = Connection::open(lab.addr).send(&ask).reply();
                let ours = Connection::open(gateway.address).send(&ask).reply();
                assert_eq!((ours.status, &ours.body), (status, &theirs.body));
                for (name, value) in &theirs.fields {
                    if name != "connection" {
                        assert_eq!(ours.field(name), Some(value.as_str()), "{name}");
                    }
                }
            }
        }
    }
}
