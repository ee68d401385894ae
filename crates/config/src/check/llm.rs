//! Whether callers, providers, models and retries make sense.

use std::collections::BTreeSet;

use super::{Check, MEMBERS_MAX, connections_max, is_name, is_token, is_visible_ascii};
use crate::address::{Egress, is_loopback};
use crate::model::{Config, Model, Provider, Retry};
use crate::problem::quote;
use crate::reader::below;
use crate::suggest::nearest;

/// A shorter key of a caller can be found by trying. No more than a warning, because the
/// environment files of the service before may hold such keys and work as they are.
const CALLER_KEY_ADVISED: usize = 8;

/// Longest key in bytes; what is longer does not fit a request's head.
const KEY_MAX: usize = 1024;

/// Longest name of a caller or model in bytes.
const NAME_MAX: usize = 256;

/// Weights and priorities stay far from overflow when they are added up.
const WEIGHT_MAX: u32 = 1_000_000;

/// Fields that frame the message or belong to one connection (RFC 9110, 7.6.1), and those that we
/// write ourselves.
const RESERVED_HEADERS: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

pub(super) fn callers(check: &mut Check, config: &Config) {
    for (index, caller) in config.callers.iter().enumerate() {
        let path = format!("callers[{index}]");
        if check.is_reported(&path) {
            continue;
        }
        if caller.name.trim().is_empty()
            || caller.name.len() > NAME_MAX
            || caller.name.contains(char::is_control)
        {
            check.problem(
                &below(&path, "name"),
                format!("must be 1 to {NAME_MAX} bytes without control characters"),
            );
        }
        let key = caller.key.expose();
        let key_path = below(&path, "key");
        if key.is_empty() {
            check.problem(&key_path, "is empty");
        } else if key.len() > KEY_MAX {
            check.problem(&key_path, format!("must have {KEY_MAX} characters at most"));
        } else if !is_visible_ascii(key) {
            check.problem(&key_path, "must be visible ASCII characters without spaces");
        } else if key.len() < CALLER_KEY_ADVISED {
            check.warning(
                &key_path,
                format!(
                    "has fewer than {CALLER_KEY_ADVISED} characters: it can be found by trying"
                ),
            );
        }
    }
    let paths = |field: &'static str| move |index: usize| format!("callers[{index}].{field}");
    let (names, keys) = (paths("name"), paths("key"));
    let callers = || config.callers.iter().enumerate();
    check.unique(callers().map(|(index, caller)| (names(index), caller.name.as_str())), "name");
    check.unique(callers().map(|(index, caller)| (keys(index), caller.key.expose())), "key");
    let llm = config.routes.iter().any(|route| route.llm);
    if config.callers.is_empty() {
        if llm && !config.allow_anonymous {
            check.problem(
                "callers",
                "LLM routes need callers with keys: add one, or write allow_anonymous: true to serve anyone",
            );
        }
    } else if config.allow_anonymous {
        check.warning(
            "allow_anonymous",
            "LLM routes serve anyone although there are callers with keys",
        );
    }
}

pub(super) fn providers(check: &mut Check, config: &Config) {
    for (name, provider) in &config.providers {
        let path = below("providers", name);
        if check.is_reported(&path) {
            continue;
        }
        if !is_name(name) {
            check.problem(&path, "a name has 1 to 64 letters, digits, \".\", \"_\" or \"-\"");
        }
        self::provider(check, &path, name, provider);
    }
    let used: BTreeSet<&str> = config
        .models
        .iter()
        .flat_map(|model| model.to.iter().map(|target| target.provider.as_str()))
        .collect();
    for name in config.providers.keys().filter(|name| !used.contains(name.as_str())) {
        check.warning(&below("providers", name), "no model leads to it");
    }
}

fn provider(check: &mut Check, path: &str, name: &str, provider: &Provider) {
    // What could not be read would only be reported again as missing.
    let unread = ["vendor", "dialect", "base_url", "api_key"]
        .iter()
        .any(|key| check.is_reported(&below(path, key)));
    let resolved = if unread { None } else { Some(provider.resolve(name)) };
    match resolved {
        Some(Err(error)) => {
            let field = match error.field() {
                "" => path.to_owned(),
                field => below(path, field),
            };
            check.problem_suggesting(&field, error.to_string(), error.suggestion());
        }
        Some(Ok(resolved)) => {
            let url = &resolved.base_url;
            if resolved.key.is_some() && !url.tls && !is_loopback(&url.host) {
                check.warning(
                    &below(path, "base_url"),
                    format!("the key goes to {} without encryption", url.host),
                );
            }
        }
        None => {}
    }
    if let Some(key) = &provider.api_key {
        let key_path = below(path, "api_key");
        if key.expose().len() > KEY_MAX {
            check.problem(&key_path, format!("must have {KEY_MAX} characters at most"));
        } else if !is_visible_ascii(key.expose()) {
            check.problem(&key_path, "must be visible ASCII characters without spaces");
        }
    }
    check.within(&below(path, "weight"), &provider.weight, 0..=WEIGHT_MAX);
    if let Some(egress) = &provider.egress
        && let Err(error) = egress.parse::<Egress>()
    {
        check.problem(&below(path, "egress"), error.to_string());
    }
    headers(check, &below(path, "headers"), provider);
    connections_max(check, path, provider.connections_max);
    if let Some(timeouts) = &provider.timeouts {
        let path = below(path, "timeouts");
        for (key, value) in [
            ("connect", timeouts.connect),
            ("first_token", timeouts.first_token),
            ("between_tokens", timeouts.between_tokens),
            ("request", timeouts.request),
            ("stream", timeouts.stream),
        ] {
            if let Some(value) = value {
                check.deadline(&below(&path, key), value);
            }
        }
    }
}

fn headers(check: &mut Check, path: &str, provider: &Provider) {
    for (name, value) in &provider.headers {
        let path = below(path, name);
        let lower = name.to_ascii_lowercase();
        if !is_token(name) {
            check.problem(&path, "this is not the name of a header field");
        } else if RESERVED_HEADERS.contains(&lower.as_str()) {
            check.problem(
                &path,
                "this header field belongs to the connection and is set by the gateway",
            );
        } else if value.trim() != value || value.contains(|c: char| c != '\t' && c.is_control()) {
            check.problem(
                &path,
                "a header field's value has no control characters and no spaces around it",
            );
        }
    }
    let names = provider.headers.keys().map(|name| (below(path, name), name.to_ascii_lowercase()));
    check.unique(names, "header field");
}

pub(super) fn models(check: &mut Check, config: &Config) {
    for (index, model) in config.models.iter().enumerate() {
        let path = format!("models[{index}]");
        if !check.is_reported(&path) {
            self::model(check, config, &path, model);
        }
    }
    let names = config
        .models
        .iter()
        .enumerate()
        .map(|(index, model)| (format!("models[{index}].name"), model.name.as_str()));
    check.unique(names, "model name");
}

fn model(check: &mut Check, config: &Config, path: &str, model: &Model) {
    let name = below(path, "name");
    if model.name.is_empty() || model.name.len() > NAME_MAX || model.name.contains(char::is_control)
    {
        check.problem(&name, format!("must be 1 to {NAME_MAX} bytes without control characters"));
    } else if model.name.strip_suffix('*').unwrap_or(&model.name).contains('*') {
        check.problem(&name, "a \"*\" may stand at the end only");
    }
    let to = below(path, "to");
    if model.to.is_empty() {
        check.problem(&to, "needs at least one provider");
        return;
    }
    if model.to.len() > MEMBERS_MAX {
        check.problem(&to, format!("has more than {MEMBERS_MAX} providers"));
        return;
    }
    let mut share: u64 = 0;
    let mut unread = false;
    for (index, target) in model.to.iter().enumerate() {
        let path = format!("{to}[{index}]");
        // A bare name has no keys below it.
        let provider = below(&path, "provider");
        let provider = if check.places.contains_key(&provider) { provider } else { path.clone() };
        unread |= check.is_reported(&path) || check.is_reported(&provider);
        match config.providers.get(&target.provider) {
            Some(found) => share += u64::from(target.weight.unwrap_or(found.weight)),
            None if check.is_reported("providers") || check.is_reported(&path) => {}
            None => check.problem_suggesting(
                &provider,
                format!("no provider is named {}", quote(&target.provider)),
                nearest(&target.provider, config.providers.keys().map(String::as_str)),
            ),
        }
        if let Some(weight) = target.weight {
            check.within(&below(&path, "weight"), &weight, 0..=WEIGHT_MAX);
        }
        if let Some(renamed) = &target.model
            && (renamed.is_empty()
                || renamed.len() > NAME_MAX
                || renamed.contains(char::is_control))
        {
            check.problem(
                &below(&path, "model"),
                format!("must be 1 to {NAME_MAX} bytes without control characters"),
            );
        }
    }
    let known = model.to.iter().all(|target| config.providers.contains_key(&target.provider));
    if share == 0 && known && !unread {
        check.problem(&to, "every provider here has weight 0: none could ever be chosen");
    }
    let targets = model.to.iter().enumerate().map(|(index, target)| {
        (format!("{to}[{index}]"), (target.provider.as_str(), target.model.as_deref()))
    });
    check.unique(targets, "provider and model");
}

pub(super) fn retry(check: &mut Check, retry: &Retry) {
    check.within("retry.attempts", &retry.attempts, 1..=10);
    check.deadline_or_zero("retry.delay", retry.delay);
    check.deadline_or_zero("retry.delay_max", retry.delay_max);
    if retry.delay_max < retry.delay && !check.is_reported("retry.delay") {
        check.problem("retry.delay_max", "must not be less than retry.delay");
    }
    for (index, status) in retry.on.iter().enumerate() {
        check.within(&format!("retry.on[{index}]"), status, 502..=504);
    }
    let statuses = retry.on.iter().enumerate();
    check.unique(statuses.map(|(index, status)| (format!("retry.on[{index}]"), *status)), "status");
    check.within("retry.budget_percent", &retry.budget_percent, 0..=100);
    check.within("retry.budget_min_per_second", &retry.budget_min_per_second, 0..=100_000);
    check.within("retry.cooldown.failures", &retry.cooldown.failures, 1..=1000);
    check.deadline("retry.cooldown.period", retry.cooldown.period);
}
