//! Bodies that are too large, too slow, or not what an LLM call says.

use std::time::Duration;

use tidegate_lab::provider::{ProviderOptions, spawn_provider};
use tidegate_scenario::gateway::{Gateway, KEY};
use tidegate_scenario::http::{Connection, llm_call, once};
use tidegate_scenario::origin::Origin;

use super::{told_by_anthropic, told_by_openai, with_lab};

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";

/// Everything to this origin, with further sections.
fn before(origin: &Origin, sections: &str) -> Gateway {
    Gateway::start(&format!(
        "upstreams: {{ app: {{ endpoints: [http://{}] }} }}\n\
         routes: [{{ path: /, upstream: app }}]\n{sections}",
        origin.address
    ))
}

#[test]
fn a_body_beyond_the_limit_is_refused_in_the_dialect_whether_declared_or_chunked() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&with_lab(lab.addr, "limits: { body: 64KiB }\n"));
    let large = format!(r#"{{"model":"lab-echo","messages":[],"x":"{}"}}"#, "y".repeat(70_000));
    let reply = once(gateway.address, &llm_call(CHAT, KEY, &large));
    let message = told_by_openai(&reply, 413, "invalid_request_error");
    assert!(message.contains("65536") && message.contains("limits.body"), "{message}");
    let reply = once(gateway.address, &llm_call(MESSAGES, KEY, &large));
    let message = told_by_anthropic(&reply, 413, "request_too_large");
    assert!(message.contains("65536"), "{message}");

    let head = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n\
             Transfer-Encoding: chunked\r\n\r\n"
        )
    };
    let chunks = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    let reply = once(gateway.address, (head(CHAT) + &chunks).as_bytes());
    assert!(told_by_openai(&reply, 413, "invalid_request_error").contains("65536"));
    // Without an end: refused as soon as it is too much.
    let mut connection = Connection::open(gateway.address);
    connection.send(head(MESSAGES).as_bytes());
    connection.send(format!("ffffffff\r\n{}", "y".repeat(66_000)).as_bytes());
    told_by_anthropic(&connection.reply(), 413, "request_too_large");
    assert_eq!(lab.stats().requests, 0);
}

#[test]
fn a_declared_body_beyond_the_limit_is_refused_before_it_is_sent() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&with_lab(lab.addr, "limits: { body: 64KiB }\n"));
    let mut connection = Connection::open(gateway.address);
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 65537\r\n\
         Expect: 100-continue\r\n\r\n"
    );
    let said = connection.send(head.as_bytes()).rest();
    assert!(said.starts_with(b"HTTP/1.1 413 "), "{}", said.escape_ascii());
}

#[test]
fn a_plain_body_beyond_the_limit_is_refused() {
    let origin = Origin::plain();
    let gateway = before(&origin, "limits: { body: 64KiB }\n");
    let body = "y".repeat(65_537);
    let declared = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n{body}");
    let chunked = format!(
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10001\r\n{body}\r\n0\r\n\r\n"
    );
    for request in [declared, chunked] {
        let reply = once(gateway.address, request.as_bytes());
        assert_eq!(reply.status, 413, "{}", reply.text());
        assert!(reply.text().contains("limits.body"), "{}", reply.text());
    }
    assert!(origin.requests().is_empty(), "the origin never got a whole one");
}

#[test]
fn a_route_has_its_own_limit_of_bodies_larger_or_smaller() {
    let origin = Origin::plain();
    let gateway = Gateway::start(&format!(
        "upstreams: {{ app: {{ endpoints: [http://{}] }} }}\n\
         routes:\n  - {{ path: /, upstream: app }}\n\
         \x20 - {{ path: /upload/, upstream: app, limits: {{ body: 128KiB }} }}\n\
         \x20 - {{ path: /small/, upstream: app, limits: {{ body: 1KiB }} }}\n\
         limits: {{ body: 64KiB }}\n",
        origin.address
    ));
    for (path, length, status) in [
        ("/", 65_536, 200),
        ("/", 65_537, 413),
        ("/upload/", 131_072, 200),
        ("/upload/", 131_073, 413),
        ("/small/", 1024, 200),
        ("/small/", 1025, 413),
    ] {
        let body = "y".repeat(length);
        let declared =
            format!("PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}");
        let chunked = format!(
            "PUT {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
             {length:x}\r\n{body}\r\n0\r\n\r\n"
        );
        for request in [declared, chunked] {
            let reply = Connection::open(gateway.address).send(request.as_bytes()).reply();
            assert_eq!(reply.status, status, "{length} bytes to {path}");
        }
    }
    assert!(origin.requests().iter().all(|seen| seen.body.len() <= 131_072));
}

#[test]
fn a_body_that_comes_too_slowly_is_answered_408() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&with_lab(lab.addr, "timeouts: { body: 300ms }\n"));
    let mut connection = Connection::open(gateway.address);
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 100\r\n\r\n{{"
    );
    let reply = connection.send(head.as_bytes()).reply();
    assert_eq!(reply.status, 408, "{}", reply.text());
    assert!(reply.json()["error"]["message"].as_str().unwrap().contains("timeouts.body"));
    assert_eq!(lab.stats().requests, 0);

    let origin = Origin::plain();
    let gateway = before(&origin, "timeouts: { body: 300ms }\n");
    let mut connection = Connection::open(gateway.address);
    let reply =
        connection.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf").reply();
    assert_eq!(reply.status, 408, "{}", reply.text());
    assert!(origin.requests().is_empty());
}

#[test]
fn a_body_of_known_length_that_only_trickles_is_answered_408() {
    let origin = Origin::plain();
    let gateway = before(&origin, "timeouts: { body: 500ms }\n");
    let mut connection = Connection::open(gateway.address);
    connection.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    connection.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    // A byte comes long before each deadline, until the gateway has had enough.
    let mut answered = false;
    for _ in 0..400 {
        connection.send(b"x");
        answered = connection.stream.peek(&mut [0]).is_ok();
        if answered {
            break;
        }
    }
    assert!(answered, "it may go on for ever");
    let reply = connection.reply();
    assert_eq!(reply.status, 408, "{}", reply.text());
}

#[test]
fn a_body_without_a_length_may_trickle() {
    let origin = Origin::plain();
    let gateway = before(&origin, "timeouts: { body: 500ms }\n");
    let mut connection = Connection::open(gateway.address);
    connection.send(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    connection.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    for _ in 0..12 {
        connection.send(b"1\r\nx\r\n");
        assert!(connection.stream.peek(&mut [0]).is_err(), "answered early");
    }
    connection.stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let reply = connection.send(b"0\r\n\r\n").reply();
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[test]
fn what_is_not_json_is_the_callers_400_with_its_place() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&with_lab(lab.addr, ""));
    let deep = format!(r#"{{"model":"lab-echo","x":{}"#, "[".repeat(100_000));
    for (body, place) in [
        ("", "line 1 column 1"),
        ("{", "line 1 column 2"),
        ("hello", "line 1 column 1"),
        ("{\"model\":\"lab-echo\",\n  \"messages\": [,]}", "line 2 column 16"),
        ("{\"model\":\"lab-echo\"", "line 1 column 20"),
        ("{\"model\":\"lab-echo\"} x", "line 1 column 22"),
        ("{'model':'lab-echo'}", "line 1 column 2"),
        ("[1]", "line 1 column 1"),
        ("null", "line 1 column 1"),
        ("{\"model\":\"a\\q\"}", "line 1"),
        ("{\"model\":\"a\nb\"}", "line 1"),
        (&deep, "line 1 column"),
    ] {
        let start: String = body.chars().take(40).collect();
        let reply = once(gateway.address, &llm_call(CHAT, KEY, body));
        let message = told_by_openai(&reply, 400, "invalid_request_error");
        assert!(message.contains(place), "{start:?}: {message}");
        let reply = once(gateway.address, &llm_call(MESSAGES, KEY, body));
        let message = told_by_anthropic(&reply, 400, "invalid_request_error");
        assert!(message.contains(place), "{start:?}: {message}");
    }
    assert_eq!(lab.stats().requests, 0);
}

#[test]
fn bytes_that_are_not_utf_8_are_the_callers_400() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&with_lab(lab.addr, ""));
    for body in
        [&b"{\"model\":\"lab-\xff\",\"messages\":[]}"[..], b"\xef\xbb\xbf\xfe{}", b"\x00\x01"]
    {
        let mut request = format!(
            "POST {CHAT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        let reply = once(gateway.address, &request);
        told_by_openai(&reply, 400, "invalid_request_error");
    }
    assert_eq!(lab.stats().requests, 0);
}

#[test]
fn a_model_that_is_missing_or_no_name_is_400_and_an_unknown_one_is_404() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let models = "models: [{ name: gpt-x, to: [{ provider: lab, model: lab-echo }] }]\n";
    let gateway = Gateway::start(&with_lab(lab.addr, models));
    for body in [
        r#"{"messages":[]}"#,
        r#"{"model":null,"messages":[]}"#,
        r#"{"model":7,"messages":[]}"#,
        r#"{"model":["gpt-x"],"messages":[]}"#,
        r#"{"model":{},"messages":[]}"#,
    ] {
        let reply = once(gateway.address, &llm_call(CHAT, KEY, body));
        let message = told_by_openai(&reply, 400, "invalid_request_error");
        assert!(message.contains("model"), "{body}: {message}");
        let reply = once(gateway.address, &llm_call(MESSAGES, KEY, body));
        told_by_anthropic(&reply, 400, "invalid_request_error");
    }
    let unknown = r#"{"model":"gpt-y","messages":[]}"#;
    let reply = once(gateway.address, &llm_call(CHAT, KEY, unknown));
    assert_eq!(reply.status, 404);
    assert_eq!(reply.json()["error"]["param"], "model");
    assert!(reply.text().contains("gpt-y"), "{}", reply.text());
    let reply = once(gateway.address, &llm_call(MESSAGES, KEY, unknown));
    assert!(told_by_anthropic(&reply, 404, "not_found_error").contains("gpt-y"));
    assert_eq!(lab.stats().requests, 0);
}

#[test]
fn an_unknown_path_is_404_and_says_where_llm_calls_go() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&with_lab(lab.addr, ""));
    for path in ["/", "/v2/chat", "/nothing"] {
        let reply = once(gateway.address, &llm_call(path, KEY, "{}"));
        assert_eq!(reply.status, 404, "{path}");
        assert!(reply.json()["error"]["message"].is_string(), "{path}");
    }
}
