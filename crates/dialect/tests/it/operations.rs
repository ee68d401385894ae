//! Which call a method and a path make, and where it goes.

use std::fmt::Write as _;

use proptest::prelude::*;
use tidegate_dialect::{Dialect, classify, upstream_path};

#[test]
fn calls_are_classified_as_the_table_says() {
    let mut told = String::new();
    for request in [
        "POST /v1/chat/completions",
        "POST /v1/chat/completions?api-version=1",
        "POST /v1/completions",
        "POST /v1/embeddings",
        "POST /v1/responses",
        "POST /v1/responses/input_tokens",
        "POST /v1/responses/compact",
        "POST /v1/moderations",
        "POST /v1/rerank",
        "POST /v1/images/generations",
        "POST /v1/images/edits",
        "POST /v1/images/variations",
        "POST /v1/audio/speech",
        "POST /v1/audio/transcriptions",
        "POST /v1/audio/translations",
        "POST /v1/messages",
        "POST /v1/messages/count_tokens",
        "GET /v1/models",
        "GET /v1/models/gpt-4o",
        "GET /v1/models/openai/gpt-oss-120b",
        "GET /v1/models/",
        "DELETE /v1/models/ft:gpt-4o",
        "GET /v1/chat/completions",
        "GET /v1/chat/completions/c_1",
        "GET /v1/responses/resp_1",
        "POST /v1/responses/resp_1/cancel",
        "POST /v1/messages/batches",
        "GET /v1/messages/batches/b_1",
        "POST /v1/messagesx",
        "POST /v1/files",
        "POST /v1/batches",
        "POST /v1/fine_tuning/jobs",
        "GET /v1/modelsx",
        "post /v1/chat/completions",
        "POST /v1/",
        "POST /v1",
        "POST /V1/chat/completions",
        "POST /v2/chat/completions",
        "POST /chat/completions",
        "POST ",
    ] {
        let (method, path) = request.split_once(' ').unwrap();
        match classify(method.as_bytes(), path.as_bytes(), false) {
            Some(call) => writeln!(
                told,
                "{request:<42} {:<9} {:<20} {:?}{}",
                call.dialect.as_str(),
                call.operation.as_str(),
                call.shape,
                if call.may_stream { " stream" } else { "" }
            ),
            None => writeln!(told, "{request:<42} -"),
        }
        .unwrap();
    }
    insta::assert_snapshot!(told);
}

#[test]
fn models_are_anthropics_when_the_request_names_its_version() {
    let dialect = |path: &[u8]| classify(b"GET", path, true).unwrap().dialect;
    assert_eq!(dialect(b"/v1/models"), Dialect::Anthropic);
    assert_eq!(dialect(b"/v1/models/claude"), Dialect::Anthropic);
    assert_eq!(dialect(b"/v1/modelsx"), Dialect::OpenAi);
    assert_eq!(dialect(b"/v1/files"), Dialect::OpenAi);
}

#[test]
fn upstream_path_replaces_the_version_for_openai_and_appends_for_anthropic() {
    let upstream = |dialect, base: &str, path: &str| {
        let mut out = b"POST ".to_vec();
        upstream_path(dialect, base, path.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    };
    for (dialect, base, path, expected) in [
        (Dialect::OpenAi, "/v1", "/v1/chat/completions", "/v1/chat/completions"),
        (Dialect::OpenAi, "/v1/", "/v1/models", "/v1/models"),
        (Dialect::OpenAi, "/v1/openai", "/v1/models?limit=2", "/v1/openai/models?limit=2"),
        (Dialect::OpenAi, "/api/paas/v4", "/v1/chat/completions", "/api/paas/v4/chat/completions"),
        (Dialect::OpenAi, "", "/v1/chat/completions", "/chat/completions"),
        (Dialect::OpenAi, "/", "/v1/chat/completions", "/chat/completions"),
        (Dialect::OpenAi, "/v1", "/v1", "/v1/v1"),
        (Dialect::OpenAi, "/v1", "/v10/x", "/v1/v10/x"),
        (Dialect::Anthropic, "", "/v1/messages", "/v1/messages"),
        (Dialect::Anthropic, "/v1", "/v1/messages", "/v1/messages"),
        (Dialect::Anthropic, "/v1/", "/v1/messages", "/v1/messages"),
        (Dialect::Anthropic, "/anthropic", "/v1/messages", "/anthropic/v1/messages"),
        (Dialect::Anthropic, "/anthropic/v1", "/v1/messages", "/anthropic/v1/messages"),
    ] {
        assert_eq!(upstream(dialect, base, path), format!("POST {expected}"), "{base} {path}");
    }
}

proptest! {
    #[test]
    fn only_paths_below_v1_are_calls(path in "/?(v1)?/?[a-z/?.]{0,12}", version in any::<bool>()) {
        let call = classify(b"POST", path.as_bytes(), version);
        prop_assert_eq!(call.is_some(), path.split('?').next().unwrap().starts_with("/v1/"));
    }
}
