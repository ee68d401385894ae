//! The OpenAPI document (version 3.1), made from the table of resources.

use serde_json::{Map, Value, json};

use super::resource::{Resource, TABLE};

/// The document.
pub(crate) fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for resource in &TABLE {
        let path = paths.entry(resource.path).or_insert_with(|| json!({}));
        if let Some(methods) = path.as_object_mut() {
            methods.insert(resource.method.to_ascii_lowercase(), operation(resource));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate admin API",
            "version": "1",
            "description": "Every request needs \"Authorization: Bearer TOKEN\". The role of a token says what it may: read, operate, admin. `tidegate schema` prints the schema of the configuration.",
        },
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": {
                "Error": {
                    "type": "object",
                    "properties": {
                        "error": {
                            "type": "object",
                            "required": ["code", "message"],
                            "properties": {
                                "code": { "type": "string" },
                                "message": { "type": "string", "description": "What is wrong and what to do." },
                                "problems": {
                                    "type": "array",
                                    "items": {
                                        "type": "object",
                                        "properties": {
                                            "path": { "type": "string" },
                                            "message": { "type": "string" },
                                        },
                                    },
                                },
                            },
                        },
                        "success": { "const": false },
                        "message": { "type": "string", "description": "The same message, where SpeedMimi put it." },
                    },
                },
            },
        },
    })
}

fn operation(resource: &Resource) -> Value {
    let parameters: Vec<Value> = resource
        .query
        .iter()
        .map(|(name, meaning)| {
            json!({
                "name": name,
                "in": "query",
                "description": meaning,
                "schema": { "type": if *name == "dry_run" { "boolean" } else { "string" } },
            })
        })
        .collect();
    let refusal = |description: &str| {
        json!({
            "description": description,
            "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } },
        })
    };
    let mut operation = json!({
        "operationId": format!("{:?}", resource.operation),
        "summary": resource.summary,
        "x-role": resource.role.as_str(),
        "responses": {
            "200": { "description": "Done." },
            "401": refusal("The token is missing or wrong."),
            "403": refusal("The token's role may not do this."),
        },
    });
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if !resource.body.is_empty() {
        let example: Value = serde_json::from_str(resource.body).unwrap_or_default();
        operation["requestBody"] = json!({
            "content": { "application/json": { "schema": { "type": "object" }, "example": example } },
        });
        operation["responses"]["400"] = refusal("The body is not what is needed.");
        operation["responses"]["422"] = refusal("The change is refused: every problem is listed.");
    }
    operation
}
