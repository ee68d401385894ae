//! Error bodies and events, word for word.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::Value;
use tidegate_dialect::{
    Dialect, ErrorKind, ErrorText, Operation, StreamWatch, envelope, plain_envelope, status_for,
    stream_error,
};

const KINDS: [ErrorKind; 10] = [
    ErrorKind::InvalidRequest,
    ErrorKind::Authentication,
    ErrorKind::Permission,
    ErrorKind::NotFound,
    ErrorKind::RequestTooLarge,
    ErrorKind::RateLimit,
    ErrorKind::Overloaded,
    ErrorKind::Timeout,
    ErrorKind::Upstream,
    ErrorKind::Internal,
];

fn busy() -> ErrorText<'static> {
    ErrorText {
        status: 503,
        kind: ErrorKind::Overloaded,
        message: "Server too busy, please try again later",
        code: "admission_full",
        param: None,
        request_id: "req_1",
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn openai_envelope() {
    insta::assert_snapshot!(text(envelope(Dialect::OpenAi, &busy())), @r#"{"error":{"message":"Server too busy, please try again later","type":"server_error","param":null,"code":"admission_full"}}"#);
    let named = ErrorText {
        kind: ErrorKind::NotFound,
        message: "No model \"x\"",
        param: Some("model"),
        ..busy()
    };
    insta::assert_snapshot!(text(envelope(Dialect::OpenAi, &named)), @r#"{"error":{"message":"No model \"x\"","type":"invalid_request_error","param":"model","code":"admission_full"}}"#);
}

#[test]
fn anthropic_envelope() {
    insta::assert_snapshot!(text(envelope(Dialect::Anthropic, &busy())), @r#"{"type":"error","error":{"type":"overloaded_error","message":"Server too busy, please try again later"},"request_id":"req_1"}"#);
}

#[test]
fn plain_envelope_has_code_and_request_id() {
    insta::assert_snapshot!(text(plain_envelope(&busy())), @r#"{"error":{"message":"Server too busy, please try again later","code":"admission_full","request_id":"req_1"}}"#);
}

#[test]
fn openai_chat_stream_error() {
    insta::assert_snapshot!(text(stream_error(Dialect::OpenAi, Operation::ChatCompletions, &busy())), @r#"data: {"error":{"message":"Server too busy, please try again later","type":"server_error","param":null,"code":"admission_full"}}"#);
}

#[test]
fn openai_responses_stream_error() {
    insta::assert_snapshot!(text(stream_error(Dialect::OpenAi, Operation::Responses, &busy())), @r#"
    event: error
    data: {"type":"error","sequence_number":0,"code":"admission_full","message":"Server too busy, please try again later","param":null,"error":{"message":"Server too busy, please try again later","type":"server_error","param":null,"code":"admission_full"}}
    "#);
}

#[test]
fn anthropic_stream_error() {
    insta::assert_snapshot!(text(stream_error(Dialect::Anthropic, Operation::Messages, &busy())), @r#"
    event: error
    data: {"type":"error","error":{"type":"overloaded_error","message":"Server too busy, please try again later"},"request_id":"req_1"}
    "#);
}

#[test]
fn types_are_the_vendors_own() {
    let mut told = String::new();
    for kind in KINDS {
        let openai = kind.type_name(Dialect::OpenAi);
        let anthropic = kind.type_name(Dialect::Anthropic);
        writeln!(told, "{:<16} {openai:<22} {anthropic}", format!("{kind:?}")).unwrap();
    }
    insta::assert_snapshot!(told, @r"
    InvalidRequest   invalid_request_error  invalid_request_error
    Authentication   authentication_error   authentication_error
    Permission       permission_error       permission_error
    NotFound         invalid_request_error  not_found_error
    RequestTooLarge  invalid_request_error  request_too_large
    RateLimit        rate_limit_exceeded    rate_limit_error
    Overloaded       server_error           overloaded_error
    Timeout          server_error           timeout_error
    Upstream         server_error           api_error
    Internal         server_error           api_error
    ");
}

#[test]
fn statuses_stand_for_kinds() {
    for (status, kind) in [
        (400, ErrorKind::InvalidRequest),
        (401, ErrorKind::Authentication),
        (403, ErrorKind::Permission),
        (404, ErrorKind::NotFound),
        (405, ErrorKind::InvalidRequest),
        (408, ErrorKind::Timeout),
        (413, ErrorKind::RequestTooLarge),
        (422, ErrorKind::InvalidRequest),
        (429, ErrorKind::RateLimit),
        (500, ErrorKind::Upstream),
        (502, ErrorKind::Upstream),
        (503, ErrorKind::Overloaded),
        (504, ErrorKind::Timeout),
        (529, ErrorKind::Overloaded),
    ] {
        assert_eq!(ErrorKind::from_status(status), kind, "{status}");
    }
}

#[test]
fn status_529_becomes_503_for_openai_callers_and_no_other_changes() {
    for status in 100..600 {
        assert_eq!(status_for(Dialect::Anthropic, status), status);
        let expected = if status == 529 { 503 } else { status };
        assert_eq!(status_for(Dialect::OpenAi, status), expected);
    }
}

proptest! {
    #[test]
    fn any_text_makes_valid_json_and_one_frame(message in any::<String>(), code in any::<String>(), param in any::<Option<String>>()) {
        let error = ErrorText { message: &message, code: &code, param: param.as_deref(), ..busy() };
        let body: Value = serde_json::from_slice(&envelope(Dialect::OpenAi, &error)).unwrap();
        prop_assert_eq!(&body["error"]["message"], &message);
        prop_assert_eq!(&body["error"]["code"], &code);
        let body: Value = serde_json::from_slice(&envelope(Dialect::Anthropic, &error)).unwrap();
        prop_assert_eq!(&body["error"]["message"], &message);
        let body: Value = serde_json::from_slice(&plain_envelope(&error)).unwrap();
        prop_assert_eq!(&body["error"]["code"], &code);
        for (dialect, operation) in [
            (Dialect::OpenAi, Operation::ChatCompletions),
            (Dialect::OpenAi, Operation::Responses),
            (Dialect::OpenAi, Operation::ImageGenerations),
            (Dialect::Anthropic, Operation::Messages),
        ] {
            let frame = text(stream_error(dialect, operation, &error));
            prop_assert_eq!(frame.find("\n\n"), Some(frame.len() - 2));
            let data = frame.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
            let data: Value = serde_json::from_str(data).unwrap();
            prop_assert_eq!(&data["error"]["message"], &message);
            // What we send as an error we would take for one.
            let mut watch = StreamWatch::new(dialect, operation);
            watch.observe(frame.as_bytes());
            prop_assert!(watch.errored() && watch.finished());
        }
    }
}
