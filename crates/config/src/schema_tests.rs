//! The schema and the reader say the same: each key of the one is a key of the other, and what
//! loads is valid.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::schema;
use crate::load::load_tracing;

const EXAMPLE: &str = include_str!("../tests/example.yaml");
const FULL: &str = include_str!("../tests/full.yaml");

fn schema_value() -> Value {
    serde_json::from_str(&schema()).unwrap()
}

/// The objects of the schema with their keys, by type.
fn schema_keys() -> BTreeMap<String, BTreeSet<String>> {
    let schema = schema_value();
    let keys = |object: &Value| -> Option<BTreeSet<String>> {
        Some(object.get("properties")?.as_object()?.keys().cloned().collect())
    };
    let mut types: BTreeMap<String, BTreeSet<String>> = schema["$defs"]
        .as_object()
        .unwrap()
        .iter()
        .filter_map(|(name, definition)| Some((name.clone(), keys(definition)?)))
        .collect();
    types.insert("Config".to_owned(), keys(&schema).unwrap());
    types
}

#[test]
fn the_schema_and_the_reader_have_the_same_keys() {
    let (loaded, accepted) = load_tracing(FULL, "full.yaml", &|_| None);
    loaded.unwrap();
    let accepted: BTreeMap<String, BTreeSet<String>> = accepted
        .into_iter()
        .map(|(name, keys)| (name.to_owned(), keys.into_iter().map(str::to_owned).collect()))
        .collect();
    assert_eq!(accepted, schema_keys());
}

#[test]
fn every_object_of_the_schema_refuses_unknown_keys() {
    let schema = schema_value();
    assert_eq!(schema["additionalProperties"], json!(false));
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        if definition.get("properties").is_some() {
            assert_eq!(definition["additionalProperties"], json!(false), "{name}");
        }
    }
}

#[test]
fn every_key_of_the_schema_is_described() {
    let schema = schema_value();
    let roots = schema["$defs"].as_object().unwrap().iter();
    for (name, definition) in roots.chain([(&"Config".to_owned(), &schema)]) {
        for (key, property) in definition["properties"].as_object().into_iter().flatten() {
            assert!(property["description"].is_string(), "{name}.{key} in {property}");
        }
    }
}

#[test]
fn what_loads_is_valid_by_the_schema() {
    let schema = schema_value();
    for text in [EXAMPLE, FULL] {
        load_tracing(text, "t.yaml", &|name| Some(format!("value-of-{name}"))).0.unwrap();
        let document = json_of(text);
        let mut errors = Vec::new();
        validate(&schema, &schema, &document, "", &mut errors);
        assert_eq!(errors, Vec::<String>::new());
    }
}

#[test]
fn what_has_another_shape_is_not_valid_by_the_schema() {
    let schema = schema_value();
    for text in [
        "listeners: 1",
        "listeners: [{ bnd: x }]",
        "listeners: [{}]",
        "limits: { requests: 0 }",
        "limits: { requests: x }",
        "allow_anonymous: 1",
        "callers: [{ name: a, key: b, priority: urgent }]",
        "upstreams: { a: { endpoints: [{ weight: 1 }] } }",
        "models: [{ name: a, to: [{ provider: b, extra: 1 }] }]",
        "providers: { a: { dialect: gemini } }",
        "upstreams: { a: { endpoints: [], balance: best } }",
    ] {
        let mut errors = Vec::new();
        validate(&schema, &schema, &json_of(text), "", &mut errors);
        assert!(!errors.is_empty(), "{text} is valid");
    }
}

#[test]
fn the_schema_names_every_dialect() {
    let names: Vec<&str> =
        tidegate_dialect::Dialect::ALL.iter().map(|dialect| dialect.as_str()).collect();
    let mut listed = Vec::new();
    collect_strings(&schema_value()["$defs"]["Dialect"], &mut listed);
    for name in &names {
        assert!(listed.iter().any(|text| text == name), "{name} not in {listed:?}");
    }
}

#[test]
fn the_defaults_of_the_schema_are_those_of_the_model() {
    let schema = schema_value();
    assert_eq!(schema["properties"]["limits"]["default"]["requests"], json!(1000));
    assert_eq!(schema["$defs"]["Limits"]["properties"]["memory"]["default"], json!("2GiB"));
    assert_eq!(schema["$defs"]["Timeouts"]["properties"]["stream"]["default"], json!("15m"));
    assert_eq!(schema["$defs"]["Provider"]["properties"]["weight"]["default"], json!(1));
}

fn collect_strings(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect_strings(item, texts)),
        Value::Object(fields) => fields.values().for_each(|item| collect_strings(item, texts)),
        _ => {}
    }
}

/// The document as an editor sees it: plain numbers and booleans are such.
fn json_of(text: &str) -> Value {
    fn convert(node: &crate::tree::Node) -> Value {
        match &node.kind {
            crate::tree::Kind::Scalar { text, plain } => {
                if !plain {
                    json!(text)
                } else if let Ok(number) = text.parse::<u64>() {
                    json!(number)
                } else if let Ok(boolean) = text.parse::<bool>() {
                    json!(boolean)
                } else {
                    json!(text)
                }
            }
            crate::tree::Kind::Seq(items) => items.iter().map(convert).collect(),
            crate::tree::Kind::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|entry| (entry.key.clone(), convert(&entry.value)))
                    .collect::<Map<_, _>>(),
            ),
        }
    }
    let mut collector = crate::problem::Collector::new("t.yaml");
    match crate::tree::parse(text, &mut collector) {
        Ok(Some(node)) => convert(&node),
        Ok(None) => Value::Null,
        Err(unreadable) => panic!("{}", unreadable.message),
    }
}

/// As much of JSON Schema as the schema uses, without `pattern` and `format`. A keyword it does not
/// know is an error, so that a new one is not passed over.
fn validate(root: &Value, schema: &Value, value: &Value, path: &str, errors: &mut Vec<String>) {
    let Some(keywords) = schema.as_object() else {
        if schema == &json!(false) {
            errors.push(format!("{path}: not allowed"));
        }
        return;
    };
    for (keyword, argument) in keywords {
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "default" | "pattern" | "format" => {}
            "$ref" => {
                let pointer = argument.as_str().unwrap().trim_start_matches('#');
                validate(root, root.pointer(pointer).unwrap(), value, path, errors);
            }
            "type" => {
                let is = |name: &Value| match name.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "integer" => value.is_u64(),
                    "number" => value.is_number(),
                    "boolean" => value.is_boolean(),
                    "null" => value.is_null(),
                    other => panic!("type {other}"),
                };
                let ok = match argument {
                    Value::Array(names) => names.iter().any(is),
                    name => is(name),
                };
                if !ok {
                    errors.push(format!("{path}: {value} is not of type {argument}"));
                }
            }
            "properties" => {
                for (key, property) in argument.as_object().unwrap() {
                    if let Some(value) = value.get(key) {
                        validate(root, property, value, &format!("{path}.{key}"), errors);
                    }
                }
            }
            "additionalProperties" => {
                let known = keywords.get("properties").and_then(Value::as_object);
                for (key, value) in value.as_object().into_iter().flatten() {
                    if !known.is_some_and(|known| known.contains_key(key)) {
                        validate(root, argument, value, &format!("{path}.{key}"), errors);
                    }
                }
            }
            "required" => {
                for key in argument.as_array().unwrap() {
                    if value.is_object() && value.get(key.as_str().unwrap()).is_none() {
                        errors.push(format!("{path}: {key} is missing"));
                    }
                }
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    validate(root, argument, item, &format!("{path}[{index}]"), errors);
                }
            }
            "enum" => {
                if !argument.as_array().unwrap().contains(value) {
                    errors.push(format!("{path}: {value} is none of {argument}"));
                }
            }
            "const" => {
                if argument != value {
                    errors.push(format!("{path}: {value} is not {argument}"));
                }
            }
            "anyOf" | "oneOf" => {
                let some = argument.as_array().unwrap().iter().any(|schema| {
                    let mut inner = Vec::new();
                    validate(root, schema, value, path, &mut inner);
                    inner.is_empty()
                });
                if !some {
                    errors.push(format!("{path}: {value} fits nothing of {argument}"));
                }
            }
            "minimum" | "maximum" => {
                if let (Some(value), Some(bound)) = (value.as_u64(), argument.as_u64())
                    && (keyword == "minimum" && value < bound
                        || keyword == "maximum" && value > bound)
                {
                    errors.push(format!("{path}: {value} is beyond {keyword} {bound}"));
                }
            }
            other => panic!("the test does not know the keyword {other}"),
        }
    }
}
