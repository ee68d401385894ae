//! Reading and renaming JSON request bodies.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tidegate_dialect::json::DEPTH_MAX;
use tidegate_dialect::{RequestFacts, push_json_string, rename_model, renamed_len, scan_request};

fn scan(body: &str) -> RequestFacts {
    scan_request(body.as_bytes()).unwrap()
}

fn refusal(body: &[u8]) -> String {
    scan_request(body).unwrap_err().to_string()
}

fn renamed(body: &str, to: &str) -> String {
    let mut out = Vec::new();
    rename_model(body.as_bytes(), &scan(body), to, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn model_stream_and_include_usage_are_read() {
    let body = r#" {"model" : "gpt-4o", "stream":true, "stream_options": {"x":[1], "include_usage":true}} "#;
    let facts = scan(body);
    assert_eq!(facts.model.as_deref(), Some("gpt-4o"));
    assert_eq!(&body[facts.model_span.clone()], "\"gpt-4o\"");
    assert!(facts.stream && facts.include_usage);
}

#[test]
fn missing_fields_and_nulls_mean_absent() {
    for body in [
        "{}",
        r#"{"model":null,"stream":null,"stream_options":null}"#,
        r#"{"stream_options":{"include_usage":null}}"#,
        r#"{"messages":[{"model":"x","stream":true}],"metadata":{"model":"y"}}"#,
    ] {
        let facts = scan(body);
        assert_eq!(facts.model, None, "{body}");
        assert_eq!(facts.model_span, 0..0, "{body}");
        assert!(!facts.stream && !facts.include_usage, "{body}");
        assert_eq!(renamed(body, "z"), body);
    }
}

#[test]
fn escapes_in_keys_and_values_are_decoded() {
    let facts = scan(r#"{"\u006dodel":"a\/b\u00e9\ud83d\ude00\n","str\u0065am":true}"#);
    assert_eq!(facts.model.as_deref(), Some("a/bé😀\n"));
    assert!(facts.stream);
}

#[test]
fn of_repeated_keys_the_last_counts_and_all_models_are_renamed() {
    let body = r#"{"model":"a","stream":true,"x":{"model":"keep"},"mod\u0065l":"b","stream":false,"model":"c"}"#;
    let facts = scan(body);
    assert_eq!(facts.model.as_deref(), Some("c"));
    assert!(!facts.stream);
    assert_eq!(
        renamed(body, "new"),
        r#"{"model":"new","stream":true,"x":{"model":"keep"},"mod\u0065l":"new","stream":false,"model":"new"}"#
    );
    assert_eq!(scan(r#"{"model":"a","model":null}"#).model, None);
}

#[test]
fn renaming_keeps_odd_spelling_of_everything_else() {
    let body = "{ \"n\" : 1e2,\t\"big\":123456789012345678901234567890, \"f\":1.0,\r\n\"model\":\"old\" ,\"e\":\"\\u0041\\/\" , \"e\":2}";
    assert_eq!(renamed(body, "neuer"), body.replace("\"old\"", "\"neuer\""));
}

#[test]
fn new_name_is_escaped() {
    let out = renamed(r#"{"model":"m"}"#, "a\"b\\c\n\u{1}é");
    assert_eq!(out, r#"{"model":"a\"b\\c\n\u0001é"}"#);
}

#[test]
fn refusals_say_where_and_what() {
    let table: &[&[u8]] = &[
        b"",
        b"  ",
        b"[]",
        b"\"text\"",
        b"\xEF\xBB\xBF{}",
        b"{",
        b"{\"a\"",
        b"{\"a\":",
        b"{\"a\":1",
        b"{\"a\":1,",
        b"{\"a\":1,}",
        b"{a:1}",
        b"{'a':1}",
        b"{\"a\" 1}",
        b"{\"a\":1 \"b\":2}",
        b"{\"a\":[1 2]}",
        b"{\"a\":[1,]}",
        b"{\"a\":[1}",
        b"{\"a\":01}",
        b"{\"a\":+1}",
        b"{\"a\":.5}",
        b"{\"a\":1.}",
        b"{\"a\":1e}",
        b"{\"a\":NaN}",
        b"{\"a\":tru}",
        b"{\"a\":\"x\ty\"}",
        b"{\"a\":\"\\x\"}",
        b"{\"a\":\"\\u12g4\"}",
        b"{\"a\":\"open",
        b"{\"a\":1}\n\n  x",
        b"{\"a\":\"\xC3\x28\"}",
        b"{\"model\":4}",
        b"{\"model\":[\"a\"]}",
        b"{\"model\":\"\\ud800\"}",
        b"{\n  \"stream\": \"yes\"\n}",
        b"{\"stream\":1}",
    ];
    let mut told = String::new();
    for body in table {
        let shown = String::from_utf8_lossy(body).replace('\n', "\u{2424}");
        writeln!(told, "{shown:<24} {}", refusal(body)).unwrap();
    }
    insta::assert_snapshot!(told);
}

#[test]
fn model_longer_than_255_bytes_is_refused() {
    let body = |len: usize| format!(r#"{{"model":"{}"}}"#, "m".repeat(len));
    assert_eq!(scan(&body(255)).model.unwrap().len(), 255);
    assert_eq!(refusal(body(256).as_bytes()), "line 1 column 10: 'model' is longer than 255 bytes");
}

#[test]
fn nesting_is_bounded_at_128_levels() {
    let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    let most = DEPTH_MAX as usize - 1;
    assert!(scan_request(nested(most).as_bytes()).is_ok());
    assert!(refusal(nested(most + 1).as_bytes()).contains("deeper than 128"));
    let objects = format!("{}1{}", "{\"a\":".repeat(128), "}".repeat(128));
    assert!(scan_request(objects.as_bytes()).is_ok());
    assert!(scan_request(format!("{{\"a\":{objects}}}").as_bytes()).is_err());
}

#[test]
fn mixed_containers_must_close_in_order() {
    assert!(scan_request(br#"{"a":[{"b":[[],{}]},[{}]]}"#).is_ok());
    assert!(scan_request(br#"{"a":[{"b":[[],{}}],[{}]]}"#).is_err());
}

#[test]
fn special_bytes_are_seen_at_every_place_of_a_string() {
    for len in 0..200 {
        for special in ["\"", "\\", "\u{1f}", "\n", "\\n", "\\u0041", "\u{7f}", "é", "\\\""] {
            for tail in [0, 5, 70] {
                let body =
                    format!("{{\"k\":\"{}{special}{}\"}}", "p".repeat(len), "q".repeat(tail));
                assert_eq!(
                    scan_request(body.as_bytes()).is_ok(),
                    serde_accepts(body.as_bytes()),
                    "{body:?}"
                );
            }
        }
    }
}

#[test]
fn lone_surrogates_pass_where_nothing_needs_decoding() {
    assert!(scan_request(br#"{"a":"\ud800","\udc00":1}"#).is_ok());
}

/// `RawValue` checks grammar and UTF-8 alone, as we do: no number is too big and no depth too deep
/// for it.
fn serde_accepts(body: &[u8]) -> bool {
    serde_json::from_slice::<Box<RawValue>>(body).is_ok_and(|raw| raw.get().starts_with('{'))
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        "[ -~]{0,120}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            objects(inner),
        ]
    })
}

fn objects(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop::collection::vec(("[a-z\"\\\\é]{0,8}", inner), 0..6)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}

/// Pieces from which texts that are nearly JSON are put together.
fn fragments() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "{", "}", "[", "]", ",", ":", " ", "\n", "\"", "\"a\"", "\"a\":", "\\", "\\u00", "\\n",
        "0", "1", "-", ".", "e", "E+", "true", "false", "null", "nul", "é", "\u{1}", "{\"b\":",
        "[[", "]]", "}}", "12.5e3",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| {
        let mut body = b"{\"a\":".to_vec();
        for piece in pieces {
            body.extend_from_slice(piece.as_bytes());
        }
        body.push(b'}');
        body
    })
}

proptest! {
    #[test]
    fn every_object_that_serde_writes_is_accepted(value in objects(values()), pretty in any::<bool>()) {
        let body = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) };
        let body = body.unwrap();
        prop_assert!(scan_request(&body).is_ok(), "{}", String::from_utf8_lossy(&body));
    }

    #[test]
    fn damaged_json_is_accepted_exactly_when_serde_accepts_it(
        value in objects(values()),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..4),
    ) {
        let mut body = serde_json::to_vec(&value).unwrap();
        for (at, byte, kind) in edits {
            let at = at.index(body.len());
            match kind {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                _ => { body.remove(at); }
            }
            if body.is_empty() {
                body.push(b'{');
            }
        }
        prop_assert_eq!(scan_request(&body).is_ok(), serde_accepts(&body), "{}", String::from_utf8_lossy(&body));
    }

    #[test]
    fn nearly_json_is_accepted_exactly_when_serde_accepts_it(body in fragments()) {
        prop_assert_eq!(scan_request(&body).is_ok(), serde_accepts(&body), "{}", String::from_utf8_lossy(&body));
    }

    #[test]
    fn any_bytes_are_read_without_panic_and_errors_point_into_the_body(body in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(error) = scan_request(&body) {
            prop_assert!(error.offset <= body.len());
            prop_assert!(error.column <= body.len() + 1);
        }
    }

    #[test]
    fn renaming_changes_the_model_and_no_other_byte(
        value in objects(values()), model in "\\PC{0,30}", to in "\\PC{0,60}", pretty in any::<bool>(),
    ) {
        let mut value = value;
        value["model"] = json!(model);
        let body = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) };
        let body = body.unwrap();
        let facts = scan_request(&body).unwrap();
        prop_assert_eq!(facts.model.as_deref(), Some(model.as_str()));

        let mut out = b"head".to_vec();
        rename_model(&body, &facts, &to, &mut out);
        prop_assert_eq!(&out[..4], b"head");
        let out = &out[4..];
        prop_assert_eq!(out.len(), renamed_len(&body, &facts, &to));
        prop_assert!(out.starts_with(&body[..facts.model_span.start]));
        prop_assert!(out.ends_with(&body[facts.model_span.end..]));
        let again = scan_request(out).unwrap();
        prop_assert_eq!(again.model.as_deref(), Some(to.as_str()));
        prop_assert_eq!(again.model_span.start, facts.model_span.start);
        prop_assert_eq!(out.len() - again.model_span.end, body.len() - facts.model_span.end);
    }

    #[test]
    fn written_strings_read_back_the_same(text in any::<String>()) {
        let mut out = Vec::new();
        push_json_string(&text, &mut out);
        prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
    }
}
