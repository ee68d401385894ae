//! Usage in the bodies of replies.

use proptest::prelude::*;
use serde_json::json;
use tidegate_dialect::{Dialect, Operation, Usage, usage_in_body};

#[expect(clippy::unnecessary_wraps, reason = "stands for what it is compared with")]
fn usage(input: u64, output: u64, cached: u64) -> Option<Usage> {
    Some(Usage { input, output, cached })
}

fn openai(body: &str) -> Option<Usage> {
    usage_in_body(Dialect::OpenAi, Operation::ChatCompletions, body.as_bytes())
}

fn anthropic(body: &str) -> Option<Usage> {
    usage_in_body(Dialect::Anthropic, Operation::Messages, body.as_bytes())
}

#[test]
fn openai_chat_usage() {
    let body = r#"{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":7,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":4}},"service_tier":"default"}"#;
    assert_eq!(openai(body), usage(19, 10, 7));
}

#[test]
fn openai_responses_usage_is_found_past_schemas_and_metadata_of_that_name() {
    let body = r#"{"tools":[{"parameters":{"properties":{"usage":{"type":"string","input_tokens":{}}}}}],"usage":{"input_tokens":36,"input_tokens_details":{"cached_tokens":30},"output_tokens":87,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":123},"user":null,"metadata":{"usage":"{}"}}"#;
    assert_eq!(openai(body), usage(36, 87, 30));
}

#[test]
fn embeddings_usage_has_no_output() {
    assert_eq!(
        openai(r#"{"data":[],"usage":{"prompt_tokens":8,"total_tokens":8}}"#),
        usage(8, 0, 0)
    );
}

#[test]
fn rerank_usage_may_have_a_total_only() {
    assert_eq!(openai(r#"{"results":[],"usage":{"total_tokens":15}}"#), usage(15, 0, 0));
}

#[test]
fn reasoning_that_only_the_total_counts_is_output() {
    let body = r#"{"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":45}}"#;
    assert_eq!(openai(body), usage(10, 35, 0));
}

#[test]
fn vendors_own_names_for_cached_tokens_are_known() {
    assert_eq!(
        openai(
            r#"{"usage":{"prompt_tokens":10,"completion_tokens":1,"prompt_cache_hit_tokens":6}}"#
        ),
        usage(10, 1, 6)
    );
    assert_eq!(
        openai(r#"{"usage":{"prompt_tokens":10,"completion_tokens":1,"cached_tokens":5}}"#),
        usage(10, 1, 5)
    );
}

#[test]
fn anthropic_input_includes_what_went_through_the_cache() {
    let body = r#"{"content":[],"usage":{"input_tokens":2095,"cache_creation_input_tokens":100,"cache_read_input_tokens":2051,"cache_creation":{"ephemeral_5m_input_tokens":100},"output_tokens":503,"server_tool_use":null}}"#;
    assert_eq!(anthropic(body), usage(2095 + 100 + 2051, 503, 2051));
    assert_eq!(
        anthropic(
            r#"{"usage":{"input_tokens":5,"cache_read_input_tokens":null,"output_tokens":1}}"#
        ),
        usage(5, 1, 0)
    );
}

#[test]
fn counting_tokens_costs_none() {
    let body = br#"{"input_tokens":14,"usage":{"input_tokens":14}}"#;
    assert_eq!(usage_in_body(Dialect::Anthropic, Operation::CountTokens, body), None);
}

#[test]
fn text_about_usage_is_not_usage() {
    for body in [
        "",
        "{}",
        r#"{"usage":null}"#,
        r#"{"usage":{}}"#,
        r#"{"usage":{"prompt_tokens":null}}"#,
        r#"{"usage":{"prompt_tokens":"19"}}"#,
        r#"{"usage":{"prompt_tokens":-1}}"#,
        r#"{"usage":{"prompt_tokens":1"#,
        r#"{"usage":{"type":"duration","seconds":3}}"#,
        r#"{"content":"{\"usage\":{\"prompt_tokens\":1}}"}"#,
        r#"{"content":", \"usage\":{\"prompt_tokens\":1}"}"#,
        r#"{"list":["usage",{"prompt_tokens":1}]}"#,
        r#"{"key":"usage"}"#,
        r#""usage":{"prompt_tokens":1}"#,
    ] {
        assert_eq!(openai(body), None, "{body}");
    }
}

#[test]
fn huge_counts_do_not_overflow() {
    let max = u64::MAX;
    let body = format!(
        r#"{{"usage":{{"input_tokens":{max},"cache_read_input_tokens":{max},"output_tokens":1}}}}"#
    );
    assert_eq!(anthropic(&body), usage(max, 1, max));
    assert_eq!(
        openai(r#"{"usage":{"prompt_tokens":18446744073709551616,"completion_tokens":2}}"#),
        usage(0, 2, 0)
    );
}

#[test]
fn many_false_usages_hide_the_true_one_rather_than_cost_time() {
    let body =
        format!(r#"{{"usage":{{"prompt_tokens":1}}{}}}"#, r#","x":{"usage":{"a":1}}"#.repeat(8));
    assert_eq!(openai(&body), None);
    let body =
        format!(r#"{{"usage":{{"prompt_tokens":1}}{}}}"#, r#","x":{"usage":{"a":1}}"#.repeat(7));
    assert_eq!(openai(&body), usage(1, 0, 0));
}

proptest! {
    #[test]
    fn usage_is_found_in_any_tail_that_holds_it(
        content in ".{0,200}", cut in any::<prop::sample::Index>(), input in 0..1_u64 << 40, output in 0..1_u64 << 40, pretty in any::<bool>(),
    ) {
        let value = json!({
            "a_content": content,
            "usage": {"prompt_tokens": input, "completion_tokens": output},
            "z_content": content,
        });
        let body = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let body = body.unwrap();
        // The tail keeps the comma (and what blanks follow it) before the key.
        let key = body.rfind("\"usage\"").unwrap();
        let comma = body[..key].rfind(',').unwrap();
        let tail = &body.as_bytes()[cut.index(comma + 1)..];
        prop_assert_eq!(usage_in_body(Dialect::OpenAi, Operation::ChatCompletions, tail), usage(input, output, 0));
    }

    #[test]
    fn any_bytes_are_read_without_panic(pieces in prop::collection::vec(prop::sample::select(vec![
        "{", "}", ",", ":", " ", "\"usage\"", "\"usage\":{", "\"prompt_tokens\":", "\"input_tokens_details\":", "{\"cached_tokens\":", "1", "99999999999999999999", "null", "\"", "\\", "[",
    ]), 0..30)) {
        let body = pieces.concat();
        let told = openai(&body).or(anthropic(&body));
        prop_assert!(told.is_none() || body.contains("\"usage\""));
    }
}
