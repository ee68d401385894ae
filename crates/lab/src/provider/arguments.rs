//! Tool arguments that fit a JSON schema: its required properties, with the plainest value of each type.

use serde_json::{Map, Value};

/// Schemas nested deeper than this end in `null`.
const DEPTH_MAX: usize = 8;

/// The JSON text of an object that fits `schema`; `{}` when there is no schema.
pub(super) fn fitting(schema: Option<&Value>) -> String {
    let value = schema.map_or(Value::Null, |schema| value_for("", schema, schema, 0));
    if value.is_object() { value.to_string() } else { "{}".to_owned() }
}

fn value_for(name: &str, schema: &Value, root: &Value, depth: usize) -> Value {
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let found = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return found.map_or(Value::Null, |found| value_for(name, found, root, depth + 1));
    }
    let first = |key: &str| schema.get(key).and_then(Value::as_array).and_then(|all| all.first());
    if let Some(value) = schema.get("const").or_else(|| first("enum")) {
        return value.clone();
    }
    if let Some(choice) = first("anyOf").or_else(|| first("oneOf")).or_else(|| first("allOf")) {
        return value_for(name, choice, root, depth + 1);
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first(),
        other => other,
    };
    // Gemini writes the types in capitals.
    let kind = kind.and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    match kind.as_str() {
        "string" => Value::from(if name.is_empty() { "lab" } else { name }),
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or_else(|| Value::from(1)),
        "boolean" => Value::from(true),
        "array" => {
            let item = schema.get("items").map(|items| value_for(name, items, root, depth + 1));
            Value::from_iter(item)
        }
        "object" => object_for(schema, root, depth),
        _ if schema.get("properties").is_some() => object_for(schema, root, depth),
        _ => Value::Null,
    }
}

fn object_for(schema: &Value, root: &Value, depth: usize) -> Value {
    let required = schema.get("required").and_then(Value::as_array);
    let names = required.into_iter().flatten().filter_map(Value::as_str);
    let property = |name: &str| {
        let schema = schema.get("properties").and_then(|all| all.get(name));
        schema.map_or(Value::Null, |schema| value_for(name, schema, root, depth + 1))
    };
    Value::from(names.map(|name| (name.to_owned(), property(name))).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::fitting;
    use serde_json::json;

    #[test]
    fn required_properties_get_a_value_of_their_type() {
        let schema = json!({
            "type": "object",
            "required": ["city", "days", "unit", "tags", "place", "exact", "any"],
            "properties": {
                "city": {"type": "string"},
                "days": {"type": ["integer", "null"], "minimum": 3},
                "unit": {"type": "string", "enum": ["celsius", "kelvin"]},
                "tags": {"type": "array", "items": {"type": "string"}},
                "place": {"$ref": "#/$defs/place"},
                "exact": {"type": "BOOLEAN"},
                "any": {"anyOf": [{"type": "number"}, {"type": "null"}]},
                "optional": {"type": "string"}
            },
            "$defs": {"place": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}}
        });
        let value: serde_json::Value = fitting(Some(&schema)).parse().unwrap_or_default();
        let expected = json!({
            "city": "city", "days": 3, "unit": "celsius", "tags": ["tags"],
            "place": {"name": "name"}, "exact": true, "any": 1
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema =
            json!({"type": "object", "required": ["next"], "properties": {"next": {"$ref": "#"}}});
        assert!(fitting(Some(&schema)).ends_with('}'));
    }

    #[test]
    fn no_schema_means_no_arguments() {
        assert_eq!(fitting(None), "{}");
        assert_eq!(fitting(Some(&json!("text"))), "{}");
    }
}
