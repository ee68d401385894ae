//! A configuration as YAML text that loads to the same configuration: what imports print.

mod balance;
mod edge;
mod health;
mod route;

use std::fmt::Write;

use indexmap::IndexMap;

use crate::duration::format_duration;
use crate::expand::escape;
use crate::model::{
    Admin, Caller, Certificate, Config, Endpoint, Limits, Listener, Log, Model, ModelBalance,
    Priority, Protocol, Provider, Queue, Retry, Target, Timeouts, Upstream,
};
use crate::model::{ProxyHeader, UpstreamProtocol};
use crate::secret::Secret;

/// Stands for the admin token in a file, whatever the token was: a printed file never opens the
/// admin listener.
const ADMIN_TOKEN: &str = "${TIDEGATE_ADMIN_TOKEN}";

/// A value to print; mappings leave out what has its default.
enum Yaml {
    /// A text whose `${` are its own.
    Literal(String),
    /// A text whose `${…}` are references.
    Reference(String),
    List(Vec<Yaml>),
    Map(Fields),
}

type Fields = Vec<(String, Yaml)>;

/// Prints `config`. Fields that have their default are left out. A secret that came from the
/// environment is printed as its `${NAME}`; any other is printed as it is, so the text is as secret
/// as they are. The admin token is always a reference. The variables that the text needs stand in a
/// comment at its top.
pub fn to_yaml(config: &Config) -> String {
    let mut top: Fields = Vec::new();
    top.push(("listeners".to_owned(), Yaml::List(config.listeners.iter().map(listener).collect())));
    if let Some(admin) = &config.admin {
        top.push(("admin".to_owned(), Yaml::Map(admin_fields(admin))));
    }
    add_map(&mut top, "limits", limits(&config.limits));
    add_map(&mut top, "timeouts", timeouts(&config.timeouts));
    if let Some(shards) = config.shards {
        top.push(literal("shards", &shards));
    }
    if config.allow_anonymous {
        top.push(literal("allow_anonymous", &true));
    }
    add_list(&mut top, "callers", config.callers.iter().map(caller));
    add_map(&mut top, "providers", named(&config.providers, provider));
    add_list(&mut top, "models", config.models.iter().map(model));
    add_map(&mut top, "upstreams", named(&config.upstreams, upstream));
    add_list(&mut top, "routes", config.routes.iter().map(route::route));
    add_map(&mut top, "retry", retry(&config.retry));
    add_map(&mut top, "resolver", health::resolver(&config.resolver));
    add_map(&mut top, "log", log(&config.log));

    let mut text = String::new();
    let references = references(&top);
    if !references.is_empty() {
        text.push_str("# Reads from the environment: ");
        text.push_str(&references.join(", "));
        text.push('\n');
    }
    if config.admin.is_none() {
        text.push_str("# admin: { bind: 127.0.0.1:9091, token: \"");
        text.push_str(ADMIN_TOKEN);
        text.push_str("\" }\n");
    }
    for (key, value) in &top {
        section(&mut text, key, value);
    }
    text
}

fn literal(key: &str, value: &(impl ToString + ?Sized)) -> (String, Yaml) {
    (key.to_owned(), Yaml::Literal(value.to_string()))
}

fn secret(value: &Secret) -> Yaml {
    match value.reference() {
        Some(reference) => Yaml::Reference(reference.to_owned()),
        None => Yaml::Literal(value.expose().to_owned()),
    }
}

fn add_map(fields: &mut Fields, key: &str, map: Fields) {
    if !map.is_empty() {
        fields.push((key.to_owned(), Yaml::Map(map)));
    }
}

fn add_list(fields: &mut Fields, key: &str, items: impl Iterator<Item = Yaml>) {
    let items: Vec<Yaml> = items.collect();
    if !items.is_empty() {
        fields.push((key.to_owned(), Yaml::List(items)));
    }
}

/// Adds a field unless it has its default.
fn add<T: PartialEq>(
    fields: &mut Fields,
    key: &str,
    value: &T,
    default: &T,
    print: impl FnOnce(&T) -> String,
) {
    if value != default {
        fields.push(literal(key, &print(value)));
    }
}

fn add_optional<T: ToString>(fields: &mut Fields, key: &str, value: Option<T>) {
    if let Some(value) = value {
        fields.push(literal(key, &value.to_string()));
    }
}

fn named<T>(items: &IndexMap<String, T>, print: impl Fn(&T) -> Yaml) -> Fields {
    items.iter().map(|(name, item)| (name.clone(), print(item))).collect()
}

fn admin_fields(admin: &Admin) -> Fields {
    let mut fields = vec![literal("bind", &admin.bind)];
    if let Some(token) = &admin.token {
        let reference = token.reference().unwrap_or(ADMIN_TOKEN);
        fields.push(("token".to_owned(), Yaml::Reference(reference.to_owned())));
    }
    add_list(
        &mut fields,
        "tokens",
        admin.tokens.iter().map(|more| {
            Yaml::Map(vec![
                literal("name", &more.name),
                ("token".to_owned(), secret(&more.token)),
                literal("role", more.role.as_str()),
            ])
        }),
    );
    fields
}

fn listener(listener: &Listener) -> Yaml {
    let default = Listener::at(listener.bind);
    let mut fields = vec![literal("bind", &listener.bind)];
    add(&mut fields, "http2", &listener.http2, &default.http2, bool::to_string);
    add_list(&mut fields, "tls", listener.tls.iter().map(certificate));
    add_optional(&mut fields, "client_ca", listener.client_ca.as_ref().map(|path| path.display()));
    add(&mut fields, "client_auth", &listener.client_auth, &default.client_auth, |mode| {
        mode.as_str().to_owned()
    });
    add(&mut fields, "tls_min", &listener.tls_min, &default.tls_min, |version| {
        version.as_str().to_owned()
    });
    let ranges = listener.trusted_proxies.iter().map(|range| Yaml::Literal(range.to_string()));
    add_list(&mut fields, "trusted_proxies", ranges);
    add(
        &mut fields,
        "real_ip_header",
        &listener.real_ip_header,
        &default.real_ip_header,
        |header| header.as_str().to_owned(),
    );
    add(
        &mut fields,
        "proxy_protocol",
        &listener.proxy_protocol,
        &default.proxy_protocol,
        bool::to_string,
    );
    add(&mut fields, "protocol", &listener.protocol, &Protocol::default(), |protocol| {
        protocol.as_str().to_owned()
    });
    add_optional(&mut fields, "upstream", listener.upstream.as_ref());
    add_map(&mut fields, "sni", named(&listener.sni, |upstream| Yaml::Literal(upstream.clone())));
    Yaml::Map(fields)
}

fn certificate(certificate: &Certificate) -> Yaml {
    Yaml::Map(vec![
        literal("cert", &certificate.cert.display()),
        literal("key", &certificate.key.display()),
    ])
}

fn limits(limits: &Limits) -> Fields {
    let default = Limits::default();
    let mut fields = Vec::new();
    add(&mut fields, "connections", &limits.connections, &default.connections, u32::to_string);
    add(&mut fields, "requests", &limits.requests, &default.requests, u32::to_string);
    add_map(&mut fields, "queue", queue(&limits.queue));
    for (key, value, default) in [
        ("memory", limits.memory, default.memory),
        ("head", limits.head, default.head),
        ("body", limits.body, default.body),
        ("stream_buffer", limits.stream_buffer, default.stream_buffer),
    ] {
        add(&mut fields, key, &value, &default, ToString::to_string);
    }
    fields
}

fn queue(queue: &Queue) -> Fields {
    let default = Queue::default();
    let mut fields = Vec::new();
    add(&mut fields, "size", &queue.size, &default.size, u32::to_string);
    add(&mut fields, "wait", &queue.wait, &default.wait, |wait| format_duration(*wait));
    fields
}

fn timeouts(timeouts: &Timeouts) -> Fields {
    let default = Timeouts::default();
    let mut fields = Vec::new();
    for (key, value, default) in [
        ("head", timeouts.head, default.head),
        ("body", timeouts.body, default.body),
        ("keep_alive", timeouts.keep_alive, default.keep_alive),
        ("tls_handshake", timeouts.tls_handshake, default.tls_handshake),
        ("connect", timeouts.connect, default.connect),
        ("first_token", timeouts.first_token, default.first_token),
        ("between_tokens", timeouts.between_tokens, default.between_tokens),
        ("request", timeouts.request, default.request),
        ("stream", timeouts.stream, default.stream),
        ("write_stall", timeouts.write_stall, default.write_stall),
        ("heartbeat", timeouts.heartbeat, default.heartbeat),
        ("drain", timeouts.drain, default.drain),
        ("tunnel", timeouts.tunnel, default.tunnel),
        ("upstream_idle", timeouts.upstream_idle, default.upstream_idle),
        ("upgrade", timeouts.upgrade, default.upgrade),
    ] {
        add(&mut fields, key, &value, &default, |value| format_duration(*value));
    }
    fields
}

fn caller(caller: &Caller) -> Yaml {
    let mut fields = vec![literal("name", &caller.name), ("key".to_owned(), secret(&caller.key))];
    add(&mut fields, "priority", &caller.priority, &Priority::default(), |priority| {
        priority.as_str().to_owned()
    });
    Yaml::Map(fields)
}

fn provider(provider: &Provider) -> Yaml {
    let default = Provider::default();
    let mut fields = Vec::new();
    add_optional(&mut fields, "vendor", provider.vendor.as_ref());
    add_optional(&mut fields, "dialect", provider.dialect);
    add_optional(&mut fields, "base_url", provider.base_url.as_ref());
    if let Some(key) = &provider.api_key {
        fields.push(("api_key".to_owned(), secret(key)));
    }
    add(&mut fields, "weight", &provider.weight, &default.weight, u32::to_string);
    add(&mut fields, "priority", &provider.priority, &default.priority, u32::to_string);
    add_optional(&mut fields, "egress", provider.egress.as_ref());
    add_optional(&mut fields, "ca_file", provider.ca_file.as_ref().map(|path| path.display()));
    add_map(&mut fields, "headers", named(&provider.headers, |value| Yaml::Literal(value.clone())));
    add_optional(&mut fields, "connections_max", provider.connections_max);
    if let Some(timeouts) = &provider.timeouts {
        let mut inner = Vec::new();
        for (key, value) in [
            ("connect", timeouts.connect),
            ("first_token", timeouts.first_token),
            ("between_tokens", timeouts.between_tokens),
            ("request", timeouts.request),
            ("stream", timeouts.stream),
        ] {
            add_optional(&mut inner, key, value.map(format_duration));
        }
        fields.push(("timeouts".to_owned(), Yaml::Map(inner)));
    }
    Yaml::Map(fields)
}

fn model(model: &Model) -> Yaml {
    let mut fields = vec![
        literal("name", &model.name),
        ("to".to_owned(), Yaml::List(model.to.iter().map(target).collect())),
    ];
    add(&mut fields, "balance", &model.balance, &ModelBalance::default(), |balance| {
        balance.as_str().to_owned()
    });
    Yaml::Map(fields)
}

fn target(target: &Target) -> Yaml {
    let mut fields = vec![literal("provider", &target.provider)];
    add_optional(&mut fields, "model", target.model.as_ref());
    add_optional(&mut fields, "weight", target.weight);
    add_optional(&mut fields, "priority", target.priority);
    short_form(fields)
}

fn upstream(upstream: &Upstream) -> Yaml {
    let mut fields = vec![(
        "endpoints".to_owned(),
        Yaml::List(upstream.endpoints.iter().map(endpoint).collect()),
    )];
    balance::fields(&mut fields, upstream);
    health::upstream(&mut fields, upstream);
    add_optional(&mut fields, "ca_file", upstream.ca_file.as_ref().map(|path| path.display()));
    add(&mut fields, "protocol", &upstream.protocol, &UpstreamProtocol::default(), |protocol| {
        protocol.as_str().to_owned()
    });
    if let Some(tls) = &upstream.tls {
        let mut inner = Vec::new();
        for (key, path) in [("ca", &tls.ca), ("cert", &tls.cert), ("key", &tls.key)] {
            add_optional(&mut inner, key, path.as_ref().map(|path| path.display()));
        }
        add_optional(&mut inner, "server_name", tls.server_name.as_ref());
        add_map(&mut fields, "tls", inner);
    }
    add_optional(&mut fields, "proxy_protocol", upstream.proxy_protocol.map(ProxyHeader::as_str));
    Yaml::Map(fields)
}

fn endpoint(endpoint: &Endpoint) -> Yaml {
    let mut fields = vec![literal("url", &endpoint.url)];
    add(&mut fields, "weight", &endpoint.weight, &1, u32::to_string);
    add_optional(&mut fields, "connections_max", endpoint.connections_max);
    add(&mut fields, "priority", &endpoint.priority, &0, u32::to_string);
    add_optional(&mut fields, "zone", endpoint.zone.as_ref());
    add(&mut fields, "draining", &endpoint.draining, &false, bool::to_string);
    add_optional(&mut fields, "name", endpoint.name.as_ref());
    short_form(fields)
}

/// An object with nothing but its first field is that field's text.
fn short_form(mut fields: Fields) -> Yaml {
    match (fields.len(), fields.pop()) {
        (1, Some((_, first))) => first,
        (_, Some(last)) => {
            fields.push(last);
            Yaml::Map(fields)
        }
        (_, None) => Yaml::Map(fields),
    }
}

fn retry(retry: &Retry) -> Fields {
    let default = Retry::default();
    let mut fields = Vec::new();
    add(&mut fields, "attempts", &retry.attempts, &default.attempts, u32::to_string);
    add(&mut fields, "delay", &retry.delay, &default.delay, |delay| format_duration(*delay));
    add(&mut fields, "delay_max", &retry.delay_max, &default.delay_max, |delay| {
        format_duration(*delay)
    });
    add_list(&mut fields, "on", retry.on.iter().map(|status| Yaml::Literal(status.to_string())));
    for (key, value, default) in [
        ("budget_percent", retry.budget_percent, default.budget_percent),
        ("budget_min_per_second", retry.budget_min_per_second, default.budget_min_per_second),
    ] {
        add(&mut fields, key, &value, &default, u32::to_string);
    }
    let mut cooldown = Vec::new();
    let rest = &retry.cooldown;
    add(&mut cooldown, "failures", &rest.failures, &default.cooldown.failures, u32::to_string);
    add(&mut cooldown, "period", &rest.period, &default.cooldown.period, |period| {
        format_duration(*period)
    });
    add_map(&mut fields, "cooldown", cooldown);
    fields
}

fn log(log: &Log) -> Fields {
    let default = Log::default();
    let mut fields = Vec::new();
    add(&mut fields, "level", &log.level, &default.level, |level| level.as_str().to_owned());
    add(&mut fields, "format", &log.format, &default.format, |format| format.as_str().to_owned());
    fields
}

/// The variables that the printed text reads, each once.
fn references(fields: &Fields) -> Vec<String> {
    let mut names = Vec::new();
    for (_, value) in fields {
        collect_references(value, &mut names);
    }
    names
}

fn collect_references(value: &Yaml, names: &mut Vec<String>) {
    match value {
        Yaml::Literal(_) => {}
        Yaml::Reference(text) => {
            for part in text.split("${").skip(1) {
                let name = part.split(['}', ':']).next().unwrap_or("").to_owned();
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        Yaml::List(items) => items.iter().for_each(|item| collect_references(item, names)),
        Yaml::Map(fields) => fields.iter().for_each(|(_, item)| collect_references(item, names)),
    }
}

/// One top-level key: its items or fields stand on lines of their own, what is inside them on the
/// same line.
fn section(out: &mut String, key: &str, value: &Yaml) {
    let _ = write!(out, "{key}:");
    match value {
        Yaml::List(items) => {
            for item in items {
                out.push_str("\n  - ");
                flow(out, item);
            }
        }
        Yaml::Map(fields) => {
            for (key, value) in fields {
                out.push_str("\n  ");
                scalar(out, key);
                out.push_str(": ");
                flow(out, value);
            }
        }
        text => {
            out.push(' ');
            flow(out, text);
        }
    }
    out.push('\n');
}

fn flow(out: &mut String, value: &Yaml) {
    match value {
        Yaml::Literal(text) => scalar(out, &escape(text)),
        Yaml::Reference(text) => scalar(out, text),
        Yaml::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                flow(out, item);
            }
            out.push(']');
        }
        Yaml::Map(fields) if fields.is_empty() => out.push_str("{}"),
        Yaml::Map(fields) => {
            out.push_str("{ ");
            for (index, (key, item)) in fields.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                scalar(out, key);
                out.push_str(": ");
                flow(out, item);
            }
            out.push_str(" }");
        }
    }
}

/// A text without quotes where no reader of YAML could take it for anything else, otherwise in
/// double quotes.
pub(crate) fn scalar(out: &mut String, text: &str) {
    if is_plain(text) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            // Not printable in YAML 1.2 (production 1) or a line break there (productions 24 to
            // 26).
            '\0'..='\x1f'
            | '\x7f'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

fn is_plain(text: &str) -> bool {
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    // What is all digits is printed for numbers only: their readers take text.
    let number = text.bytes().all(|b| b.is_ascii_digit()) || text.parse::<f64>().is_err();
    text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
        && !text.ends_with(':')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_./:@-".contains(&b))
        && number
        && (text == "true" || !words.contains(&text.to_ascii_lowercase().as_str()))
}
