//! The JSON Schema of the configuration, derived from the model.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::model::{Algorithm, Balance, Config, Endpoint, Target};

/// The JSON Schema (draft 2020-12) as indented text: for editors and for `tidegate schema`.
pub fn schema() -> String {
    // A schema is a plain JSON value: printing cannot fail.
    serde_json::to_string_pretty(&schemars::schema_for!(Config)).unwrap_or_default()
}

/// The long form of a target.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "TargetDetail")]
#[allow(dead_code)] // only its schema is used
struct TargetForm {
    /// The provider's name.
    provider: String,
    /// The model's name there. Absent: the name that the caller asked for.
    model: Option<String>,
    /// Overrides the provider's weight.
    weight: Option<u32>,
    /// Overrides the provider's priority.
    priority: Option<u32>,
}

impl JsonSchema for Target {
    fn schema_name() -> Cow<'static, str> {
        "Target".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "One provider of a model: its name, or an object with more detail.",
            "anyOf": [{ "type": "string" }, generator.subschema_for::<TargetForm>()]
        })
    }
}

/// The long form of an endpoint.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "EndpointDetail")]
#[allow(dead_code)] // only its schema is used
struct EndpointForm {
    /// A name of its own, unique in its upstream: how the admin API refers to it.
    name: Option<String>,
    /// `http://host:port` or `https://host:port` without a path, or `unix:/path/to.sock`.
    url: String,
    /// Its share where the balance looks at weights; 0 takes no part. Absent: 1.
    weight: Option<u32>,
    /// Connections to it at most, over all shards.
    connections_max: Option<u32>,
    /// Tier: lower numbers first, higher ones when no lower tier has a usable endpoint. Absent: 0.
    priority: Option<u32>,
    /// Where it stands; see the zone of the upstream.
    zone: Option<String>,
    /// Takes nothing new; what it has begun it finishes.
    draining: Option<bool>,
}

impl JsonSchema for Endpoint {
    fn schema_name() -> Cow<'static, str> {
        "Endpoint".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "One address of an upstream: its URL, or an object with more detail.",
            "anyOf": [{ "type": "string" }, generator.subschema_for::<EndpointForm>()]
        })
    }
}

/// The long form of a balance.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "BalanceDetail")]
#[allow(dead_code)] // only its schema is used
struct BalanceForm {
    /// Plain requests. Absent: round_robin.
    http: Option<Algorithm>,
    /// WebSocket connections. Absent: round_robin.
    websocket: Option<Algorithm>,
    /// Event streams. Absent: round_robin.
    sse: Option<Algorithm>,
}

impl JsonSchema for Balance {
    fn schema_name() -> Cow<'static, str> {
        "Balance".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let name = generator.subschema_for::<Algorithm>();
        let detail = generator.subschema_for::<BalanceForm>();
        json_schema!({
            "description": "One name for all traffic, or one for each kind.",
            "anyOf": [name, detail]
        })
    }
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
