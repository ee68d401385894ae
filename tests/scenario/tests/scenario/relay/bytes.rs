//! Request bodies go up byte for byte, but for the model's name where it is another one there.

use serde_json::Value;
use tidegate_lab::provider::{ProviderOptions, spawn_provider};
use tidegate_scenario::gateway::{Gateway, KEY};
use tidegate_scenario::http::{Connection, get, llm_call};
use tidegate_scenario::llm::{CHAT, MESSAGES, providers};
use tidegate_scenario::scripted::Scripted;

const ODD: &str = "{ \"zz\" : 1.0,\"a\":1e2, \"big\":123456789012345678901234567890,\n\t\"twice\":1,\"twice\":2,\
    \"esc\":\"\\u00e9\\/\\ud83c\\udf0a\",\"raw\":\"\u{e9}\u{1f30a}\", \"model\" : \"lab-echo\" ,\"max_tokens\":64,\
    \"unknown\":{\"model\":\"not this\",\"nested\":[null,true,-0.0,{}]},\
    \"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";

fn last_body(lab: std::net::SocketAddr) -> Value {
    get(lab, "/lab/last").json()["body"].clone()
}

/// A request in chunked coding, in pieces of odd sizes.
fn chunked(path: &str, body: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "POST {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {KEY}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    for piece in body.chunks(7919) {
        out.extend_from_slice(format!("{:x};ext=1\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\nTrailer: x\r\n\r\n");
    out
}

#[test]
fn a_body_goes_up_as_it_came_with_a_length_and_in_chunks() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&providers(lab.addr));
    let mut connection = Connection::open(gateway.address);
    for path in [CHAT.path, MESSAGES.path] {
        for ask in [llm_call(path, KEY, ODD), chunked(path, ODD.as_bytes())] {
            let reply = connection.send(&ask).reply();
            assert_eq!(reply.status, 200, "{}", reply.text());
            assert_eq!(last_body(lab.addr), ODD);
        }
    }
}

#[test]
fn only_the_models_name_changes_where_it_is_another_one_there() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&format!(
        "models:\n  - {{ name: gpt-x, to: [{{ provider: lab, model: lab-echo }}, {{ provider: claude, model: lab-echo }}] }}\n{}",
        providers(lab.addr)
    ));
    let asked = ODD.replace("\"lab-echo\"", "\"gpt\\u002dx\"");
    for path in [CHAT.path, MESSAGES.path] {
        for ask in [llm_call(path, KEY, &asked), chunked(path, asked.as_bytes())] {
            let reply = Connection::open(gateway.address).send(&ask).reply();
            assert_eq!(reply.status, 200, "{}", reply.text());
            assert_eq!(last_body(lab.addr), ODD);
        }
    }
}

#[test]
fn five_mebibytes_go_up_unchanged_and_come_down_unchanged() {
    let kept = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let theirs = std::sync::Arc::clone(&kept);
    let provider = Scripted::start(move |_, peer| {
        while let Some(request) = peer.request() {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                request.body.len()
            );
            peer.send(head).send(&request.body);
            *theirs.lock().unwrap() = request.body;
        }
    });
    let gateway = Gateway::start(&providers(provider.address));
    let text: String = (0..5 * 1024 * 1024).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
    let body = format!("{{\"text\":\"{text}\",\"model\":\"m\"}}");
    for ask in [llm_call(CHAT.path, KEY, &body), chunked(CHAT.path, body.as_bytes())] {
        let mut connection = Connection::open(gateway.address);
        let reply = connection.send(&ask).reply();
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(reply.body == body.as_bytes(), "the reply is another one");
        assert!(*kept.lock().unwrap() == body.as_bytes(), "the body is another one");
    }
}

#[test]
fn a_form_goes_up_as_it_came_but_for_the_models_name() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&format!(
        "models: [{{ name: whisper, to: [{{ provider: lab, model: lab-echo }}] }}]\n{}",
        providers(lab.addr)
    ));
    let form = |model: &str| {
        format!(
            "--b0undary\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\
             Content-Type: audio/wav\r\n\r\nRIFF--b0undar whisper\r\n\r\n--b0undary\r\n\
             Content-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n--b0undary\r\n\
             Content-Disposition: form-data; name=\"language\"\r\n\r\nen\r\n--b0undary--\r\n"
        )
    };
    let body = form("whisper");
    let ask = format!(
        "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: multipart/form-data; boundary=b0undary\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let reply = Connection::open(gateway.address).send(ask.as_bytes()).reply();
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(last_body(lab.addr), form("lab-echo"));
}
