//! The located tree to the model: routes.

use super::health;
use crate::model::Route;
use crate::reader::{Reader, Value, set};

pub(super) fn routes(reader: &mut Reader, value: &Value) -> Vec<Route> {
    let items = reader.list(value);
    items.iter().map(|value| route(reader, value)).collect()
}

fn route(reader: &mut Reader, value: &Value) -> Route {
    let mut route = Route::default();
    let Some(mut fields) = reader.fields(value, "Route") else {
        return route;
    };
    if let Some(value) = fields.take(reader, "name") {
        route.name = reader.text(&value);
    }
    if let Some(value) = fields.take(reader, "host") {
        route.host = reader.text(&value);
    }
    if let Some(value) = fields.take(reader, "path") {
        set(&mut route.path, reader.text(&value));
    }
    if let Some(value) = fields.take(reader, "llm") {
        set(&mut route.llm, reader.boolean(&value));
    }
    if let Some(value) = fields.take(reader, "upstream") {
        route.upstream = reader.text(&value);
    }
    if let Some(value) = fields.section(reader, "hedge") {
        route.hedge = health::hedge(reader, &value);
    }
    reader.finish(fields);
    route
}
