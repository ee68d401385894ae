//! The caller's key never goes up, the provider's key never comes down.

use tidegate_lab::provider::{ProviderOptions, spawn_provider};
use tidegate_scenario::gateway::{Gateway, KEY};
use tidegate_scenario::http::{Connection, get, llm_call_with};
use tidegate_scenario::llm::{CHAT, FORMS, MESSAGES};
use tidegate_scenario::scripted::{STREAM_END, STREAM_HEAD, Scripted, chunk};

const THEIRS: &str = "sk-provider-secret-7f3a9c51";

fn with_keys(address: std::net::SocketAddr, key: &str) -> String {
    format!(
        "providers:\n  lab: {{ dialect: openai, base_url: http://{address}/v1, api_key: {key}, headers: {{ X-Org: acme, X-Title: ours }} }}\n  \
         claude: {{ dialect: anthropic, base_url: http://{address}, api_key: {key} }}\n"
    )
}

#[test]
fn the_provider_gets_its_own_key_where_its_dialect_wants_it_and_nothing_of_the_caller() {
    let lab = spawn_provider(ProviderOptions {
        key: Some(THEIRS.to_owned()),
        ..ProviderOptions::default()
    })
    .unwrap();
    let gateway = Gateway::start(&with_keys(lab.addr, THEIRS));
    let theirs = "Cookie: session=1\r\nX-Forwarded-For: 10.1.1.1\r\nForwarded: for=10.1.1.1\r\n\
        X-Real-IP: 10.1.1.1\r\nOrigin: http://o\r\nReferer: http://r\r\nVia: 1.1 v\r\nX-Title: theirs\r\n\
        Proxy-Authorization: Basic Zm9v\r\nX-Custom: kept\r\nAccept-Encoding: gzip\r\n";
    for form in [CHAT, MESSAGES] {
        for auth in ["", "x-api-key: "] {
            let mut ask = form.whole_with("lab-echo", theirs);
            if !auth.is_empty() {
                let text = String::from_utf8(ask).unwrap();
                ask = text
                    .replace(&format!("Authorization: Bearer {KEY}"), &format!("{auth}{KEY}"))
                    .into_bytes();
            }
            let reply = Connection::open(gateway.address).send(&ask).reply();
            assert_eq!(reply.status, 200, "{}", reply.text());
            let last = get(lab.addr, "/lab/last").json();
            let text = last["headers"].to_string();
            assert!(!text.contains(KEY), "the caller's key went up: {text}");
            for gone in ["session=1", "10.1.1.1", "http://o", "http://r", "1.1 v", "Zm9v", "gzip"] {
                assert!(!text.contains(gone), "{gone} went up: {text}");
            }
            assert!(text.contains("kept"), "{text}");
            let fields: Vec<(String, String)> = last["headers"]
                .as_array()
                .unwrap()
                .iter()
                .map(|pair| {
                    let part = |at: usize| pair[at].as_str().unwrap().to_owned();
                    (part(0).to_ascii_lowercase(), part(1))
                })
                .collect();
            let of = |name: &str| {
                fields
                    .iter()
                    .filter(|(n, _)| n == name)
                    .map(|(_, v)| v.as_str())
                    .collect::<Vec<_>>()
            };
            if form.is_anthropic() {
                assert_eq!((of("x-api-key"), of("authorization")), (vec![THEIRS], vec![]));
            } else {
                assert_eq!(of("authorization"), [format!("Bearer {THEIRS}")]);
                assert_eq!(of("x-api-key"), Vec::<&str>::new());
                assert_eq!((of("x-org"), of("x-title")), (vec!["acme"], vec!["ours"]));
            }
            assert_eq!(of("host"), [lab.addr.to_string()]);
        }
    }
}

#[test]
fn a_refusal_that_repeats_the_providers_key_arrives_without_it() {
    let lab = spawn_provider(ProviderOptions {
        key: Some("another-key".to_owned()),
        ..ProviderOptions::default()
    })
    .unwrap();
    let gateway = Gateway::start(&with_keys(lab.addr, THEIRS));
    for form in FORMS {
        for ask in [form.whole("lab-echo"), form.stream("lab-echo")] {
            let reply = Connection::open(gateway.address).send(&ask).reply();
            assert_eq!(reply.status, 401);
            assert!(!format!("{reply:?}{}", reply.text()).contains(THEIRS), "{}", reply.text());
            let message = reply.json()["error"]["message"].as_str().unwrap().to_owned();
            assert!(message.contains("Incorrect API key provided: ***"), "{message}");
        }
    }
}

/// Sends a body that has the key it was called with, split in two at each byte of the key.
fn splitting(status: &'static str, kind: &'static str) -> Scripted {
    Scripted::start(move |_, peer| {
        while let Some(request) = peer.request() {
            let at: usize = request.field("x-split").unwrap().parse().unwrap();
            let key =
                request.field("authorization").or_else(|| request.field("x-api-key")).unwrap();
            let key = key.trim_start_matches("Bearer ").to_owned();
            let data =
                format!("{{\"error\":{{\"message\":\"bad key {key} given\",\"type\":\"t\"}}}}");
            let (text, head) = if kind == "events" {
                (format!("event: error\ndata: {data}\n\n"), STREAM_HEAD.to_owned())
            } else {
                (data, STREAM_HEAD.replace("text/event-stream", "application/json"))
            };
            let border = text.find(&key).unwrap() + at;
            peer.send(head.replace("200 OK", status)).send(chunk(&text[..border]));
            peer.wait_until_read();
            peer.send(chunk(&text[border..])).send(STREAM_END);
        }
    })
}

fn never_shows(status: &'static str, kind: &'static str) {
    let provider = splitting(status, kind);
    let gateway = Gateway::start(&with_keys(provider.address, THEIRS));
    for form in [CHAT, MESSAGES] {
        for at in 0..=THEIRS.len() {
            let fields = format!("x-split: {at}\r\n");
            let mut connection = Connection::open(gateway.address);
            let ask =
                llm_call_with(form.path, KEY, &fields, form.body("m", kind == "events").as_bytes());
            let reply = connection.send(&ask).reply();
            let text = reply.text();
            assert!(text.contains("bad key") && text.contains("given"), "{text}");
            // Neither the key nor the longer part of it.
            assert!(!text.contains(THEIRS), "split at {at}: {text}");
            assert!(!text.contains(&THEIRS[THEIRS.len() / 2..]), "split at {at}: {text}");
            assert!(!text.contains(&THEIRS[..THEIRS.len() / 2]), "split at {at}: {text}");
        }
    }
}

#[test]
fn a_key_split_over_two_packets_of_an_error_reply_is_masked() {
    never_shows("401 Unauthorized", "document");
}

#[test]
fn a_key_split_over_two_packets_of_an_error_event_is_masked() {
    never_shows("200 OK", "events");
}

#[test]
fn a_key_in_a_reply_field_is_masked() {
    let provider = Scripted::start(|_, peer| {
        while peer.request().is_some() {
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nX-Debug: key={THEIRS}\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\n\r\n{{}}"
            ));
        }
    });
    let gateway = Gateway::start(&with_keys(provider.address, THEIRS));
    let reply = Connection::open(gateway.address).send(&CHAT.whole("m")).reply();
    assert_eq!(reply.field("x-debug"), Some(&*format!("key={}", "*".repeat(THEIRS.len()))));
    assert_eq!(reply.field("set-cookie"), None);
}
