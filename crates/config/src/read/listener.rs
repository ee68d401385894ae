//! The located tree to the model: listeners.

use crate::model::Listener;
use crate::reader::{Reader, Value, set};

pub(super) fn listeners(reader: &mut Reader, value: &Value) -> Vec<Listener> {
    let items = reader.list(value);
    items.iter().map(|value| listener(reader, value)).collect()
}

fn listener(reader: &mut Reader, value: &Value) -> Listener {
    let mut listener = Listener::default();
    if let Some(mut fields) = reader.fields(value, "Listener") {
        if let Some(value) = fields.required(reader, "bind") {
            set(&mut listener.bind, reader.socket_address(&value));
        }
        reader.finish(fields);
    }
    listener
}
