//! The located tree to the model: balance and hash.

use crate::model::{Algorithm, Balance, Hash};
use crate::reader::{Reader, Value, set};
use crate::tree::Kind;

fn algorithm(reader: &mut Reader, value: &Value) -> Option<Algorithm> {
    reader.one_of(value, &Algorithm::ALL.map(|algorithm| (algorithm.as_str(), algorithm)))
}

pub(super) fn balance(reader: &mut Reader, value: &Value) -> Option<Balance> {
    if !matches!(value.node.kind, Kind::Map(_)) {
        return algorithm(reader, value).map(Balance::all);
    }
    let mut balance = Balance::default();
    let mut fields = reader.fields(value, "BalanceDetail")?;
    for (key, place) in [
        ("http", &mut balance.http),
        ("websocket", &mut balance.websocket),
        ("sse", &mut balance.sse),
    ] {
        if let Some(value) = fields.take(reader, key) {
            set(place, algorithm(reader, &value));
        }
    }
    reader.finish(fields);
    Some(balance)
}

pub(super) fn hash(reader: &mut Reader, value: &Value) -> Option<Hash> {
    let mut hash = Hash::default();
    let mut fields = reader.fields(value, "Hash")?;
    if let Some(value) = fields.take(reader, "by") {
        set(&mut hash.by, reader.parsed(&value, "what is hashed, such as client", str::parse));
    }
    if let Some(value) = fields.take(reader, "bound") {
        hash.bound = reader.parsed(&value, "a factor such as 1.25", str::parse);
    }
    reader.finish(fields);
    Some(hash)
}
