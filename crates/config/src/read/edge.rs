//! The located tree to the model: access, rate limits, compression.

use std::time::Duration;

use super::listener::ranges;
use crate::model::{Access, Compression, LimitBy, RateLimit};
use crate::reader::{Reader, Value, set};

pub(super) fn access(reader: &mut Reader, value: &Value) -> Option<Access> {
    let mut access = Access::default();
    let mut fields = reader.fields(value, "Access")?;
    for (key, place) in [("allow", &mut access.allow), ("deny", &mut access.deny)] {
        if let Some(value) = fields.section(reader, key) {
            *place = ranges(reader, &value);
        }
    }
    reader.finish(fields);
    Some(access)
}

pub(super) fn rate_limit(reader: &mut Reader, value: &Value) -> Option<RateLimit> {
    let mut limit =
        RateLimit { requests: 1, per: Duration::from_secs(1), burst: None, by: LimitBy::default() };
    let mut fields = reader.fields(value, "RateLimit")?;
    if let Some(value) = fields.required(reader, "requests") {
        set(&mut limit.requests, reader.number(&value));
    }
    if let Some(value) = fields.required(reader, "per") {
        set(&mut limit.per, reader.duration(&value));
    }
    if let Some(value) = fields.take(reader, "burst") {
        limit.burst = reader.number(&value);
    }
    if let Some(value) = fields.take(reader, "by") {
        let what = "by what requests are counted, such as client";
        set(&mut limit.by, reader.parsed(&value, what, str::parse));
    }
    reader.finish(fields);
    Some(limit)
}

pub(super) fn compress(reader: &mut Reader, value: &Value) -> Vec<Compression> {
    let names = Compression::ALL.map(|coding| (coding.as_str(), coding));
    let items = reader.list(value);
    items.iter().filter_map(|value| reader.one_of(value, &names)).collect()
}
