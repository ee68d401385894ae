//! The located tree to the model: callers, providers, models and retries.

use indexmap::IndexMap;
use tidegate_dialect::Dialect;

use crate::model::{
    Caller, Cooldown, Model, ModelBalance, Priority, Provider, ProviderTimeouts, Retry, Target,
};
use crate::reader::{Reader, Value, set};
use crate::secret::Secret;
use crate::tree::Kind;

pub(super) fn callers(reader: &mut Reader, value: &Value) -> Vec<Caller> {
    let items = reader.list(value);
    items.iter().map(|value| caller(reader, value)).collect()
}

fn caller(reader: &mut Reader, value: &Value) -> Caller {
    let mut caller =
        Caller { name: String::new(), key: Secret::new(""), priority: Priority::default() };
    let Some(mut fields) = reader.fields(value, "Caller") else {
        return caller;
    };
    if let Some(value) = fields.required(reader, "name") {
        set(&mut caller.name, reader.text(&value));
    }
    if let Some(value) = fields.required(reader, "key") {
        set(&mut caller.key, reader.secret(&value));
    }
    if let Some(value) = fields.take(reader, "priority") {
        let priority =
            reader.one_of(&value, &Priority::ALL.map(|priority| (priority.as_str(), priority)));
        set(&mut caller.priority, priority);
    }
    reader.finish(fields);
    caller
}

pub(super) fn providers(reader: &mut Reader, value: &Value) -> IndexMap<String, Provider> {
    let items = reader.named(value);
    items.iter().map(|(name, value)| ((*name).to_owned(), provider(reader, value))).collect()
}

fn provider(reader: &mut Reader, value: &Value) -> Provider {
    let mut provider = Provider::default();
    if value.node.is_null() {
        return provider;
    }
    let Some(mut fields) = reader.fields(value, "Provider") else {
        return provider;
    };
    if let Some(value) = fields.take(reader, "vendor") {
        provider.vendor = reader.text(&value);
    }
    if let Some(value) = fields.take(reader, "dialect") {
        provider.dialect =
            reader.one_of(&value, &Dialect::ALL.map(|dialect| (dialect.as_str(), dialect)));
    }
    if let Some(value) = fields.take(reader, "base_url") {
        provider.base_url = reader.text(&value);
    }
    if let Some(value) = fields.take(reader, "api_key") {
        provider.api_key = reader.secret(&value);
    }
    if let Some(value) = fields.take(reader, "weight") {
        set(&mut provider.weight, reader.number(&value));
    }
    if let Some(value) = fields.take(reader, "priority") {
        set(&mut provider.priority, reader.number(&value));
    }
    if let Some(value) = fields.take(reader, "egress") {
        provider.egress = reader.text(&value);
    }
    if let Some(value) = fields.take(reader, "ca_file") {
        provider.ca_file = reader.text(&value).map(Into::into);
    }
    if let Some(value) = fields.section(reader, "headers") {
        let items = reader.named(&value);
        provider.headers = items
            .iter()
            .filter_map(|(name, value)| Some(((*name).to_owned(), reader.text(value)?)))
            .collect();
    }
    if let Some(value) = fields.take(reader, "connections_max") {
        provider.connections_max = reader.number(&value);
    }
    if let Some(value) = fields.section(reader, "timeouts") {
        provider.timeouts = provider_timeouts(reader, &value);
    }
    reader.finish(fields);
    provider
}

fn provider_timeouts(reader: &mut Reader, value: &Value) -> Option<ProviderTimeouts> {
    let mut timeouts = ProviderTimeouts::default();
    let mut fields = reader.fields(value, "ProviderTimeouts")?;
    for (key, place) in [
        ("connect", &mut timeouts.connect),
        ("first_token", &mut timeouts.first_token),
        ("between_tokens", &mut timeouts.between_tokens),
        ("request", &mut timeouts.request),
        ("stream", &mut timeouts.stream),
    ] {
        if let Some(value) = fields.take(reader, key) {
            *place = reader.duration(&value);
        }
    }
    reader.finish(fields);
    Some(timeouts)
}

pub(super) fn models(reader: &mut Reader, value: &Value) -> Vec<Model> {
    let items = reader.list(value);
    items.iter().map(|value| model(reader, value)).collect()
}

fn model(reader: &mut Reader, value: &Value) -> Model {
    let mut model = Model { name: String::new(), to: Vec::new(), balance: ModelBalance::default() };
    let Some(mut fields) = reader.fields(value, "Model") else {
        return model;
    };
    if let Some(value) = fields.required(reader, "name") {
        set(&mut model.name, reader.text(&value));
    }
    if let Some(value) = fields.required(reader, "to") {
        let items = reader.list(&value);
        model.to = items.iter().map(|value| target(reader, value)).collect();
    }
    if let Some(value) = fields.take(reader, "balance") {
        let balance =
            reader.one_of(&value, &ModelBalance::ALL.map(|balance| (balance.as_str(), balance)));
        set(&mut model.balance, balance);
    }
    reader.finish(fields);
    model
}

fn target(reader: &mut Reader, value: &Value) -> Target {
    let mut target = Target::provider("");
    if !matches!(value.node.kind, Kind::Map(_)) {
        set(&mut target.provider, reader.text(value));
        return target;
    }
    let Some(mut fields) = reader.fields(value, "TargetDetail") else {
        return target;
    };
    if let Some(value) = fields.required(reader, "provider") {
        set(&mut target.provider, reader.text(&value));
    }
    if let Some(value) = fields.take(reader, "model") {
        target.model = reader.text(&value);
    }
    if let Some(value) = fields.take(reader, "weight") {
        target.weight = reader.number(&value);
    }
    if let Some(value) = fields.take(reader, "priority") {
        target.priority = reader.number(&value);
    }
    reader.finish(fields);
    target
}

pub(super) fn retry(reader: &mut Reader, value: &Value, retry: &mut Retry) {
    let Some(mut fields) = reader.fields(value, "Retry") else {
        return;
    };
    if let Some(value) = fields.take(reader, "attempts") {
        set(&mut retry.attempts, reader.number(&value));
    }
    for (key, place) in [("delay", &mut retry.delay), ("delay_max", &mut retry.delay_max)] {
        if let Some(value) = fields.take(reader, key) {
            set(place, reader.duration(&value));
        }
    }
    if let Some(value) = fields.section(reader, "on") {
        let items = reader.list(&value);
        // What cannot be read is reported; any status that is allowed stands in for it.
        retry.on = items.iter().map(|value| reader.number(value).unwrap_or(503)).collect();
    }
    for (key, place) in [
        ("budget_percent", &mut retry.budget_percent),
        ("budget_min_per_second", &mut retry.budget_min_per_second),
    ] {
        if let Some(value) = fields.take(reader, key) {
            set(place, reader.number(&value));
        }
    }
    if let Some(value) = fields.section(reader, "cooldown") {
        cooldown(reader, &value, &mut retry.cooldown);
    }
    reader.finish(fields);
}

fn cooldown(reader: &mut Reader, value: &Value, cooldown: &mut Cooldown) {
    let Some(mut fields) = reader.fields(value, "Cooldown") else {
        return;
    };
    if let Some(value) = fields.take(reader, "failures") {
        set(&mut cooldown.failures, reader.number(&value));
    }
    if let Some(value) = fields.take(reader, "period") {
        set(&mut cooldown.period, reader.duration(&value));
    }
    reader.finish(fields);
}
