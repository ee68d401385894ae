//! LLM providers and models.

use std::collections::HashMap;
use std::sync::Arc;

use memchr::memmem::Finder;
use tidegate_config as config;
use tidegate_config::Config;
use tidegate_dialect::Dialect;
use tidegate_dialect::vendors::{Auth, TRANSLATIONS};
use tidegate_policy::balance::Algorithm;

use super::upstream::{EndpointParts, bounded, endpoint};
use super::{CompileError, health, ms};
use crate::live::Live;
use crate::series::PerShard;
use crate::tls::{ClientTls, TlsConfigs};
use crate::types::{Endpoint, Group, Member, Model, Models, Provider, Timeouts};

pub(super) fn providers(
    config: &Config,
    live: &Live,
    timeouts: &Timeouts,
    tls: &mut TlsConfigs,
) -> Result<HashMap<String, Arc<Endpoint>>, CompileError> {
    let mut endpoints = HashMap::new();
    for (name, written) in &config.providers {
        let place = format!("providers.{name}");
        let resolved = written
            .resolve(name)
            .map_err(|source| CompileError::Provider { place: place.clone(), source })?;
        let parts = EndpointParts {
            place,
            address: config::EndpointAddress::Http(resolved.base_url.clone()),
            egress: written.egress.as_deref(),
            tls: ClientTls { ca: written.ca_file.as_deref(), identity: None },
            server_name: None,
            protocol: config::UpstreamProtocol::Http1,
            proxy_header: None,
            connections_max: written.connections_max,
            timeouts: provider_timeouts(timeouts, written.timeouts.as_ref()),
            provider_name: Some(name),
        };
        let mut endpoint = endpoint(&parts, live, tls)?;
        let key = resolved.key.map(config::Secret::expose);
        let key_field = match (key, resolved.auth) {
            (None, _) => String::new(),
            (Some(key), Auth::Bearer) => format!("Authorization: Bearer {key}\r\n"),
            (Some(key), Auth::XApiKey) => format!("x-api-key: {key}\r\n"),
        };
        let mut fields = String::new();
        for (field, value) in &written.headers {
            fields.extend([field, ": ", value, "\r\n"]);
        }
        endpoint.provider = Some(Provider {
            name: name.clone(),
            dialect: resolved.dialect,
            base_path: resolved.base_url.path.trim_end_matches('/').to_owned(),
            key_field: key_field.into_bytes(),
            key: key
                .filter(|key| key.len() >= Provider::MASKED_KEY_MIN)
                .map(|key| Finder::new(key.as_bytes()).into_owned()),
            fields: fields.into_bytes(),
            field_names: written.headers.keys().map(|field| field.to_ascii_lowercase()).collect(),
        });
        endpoints.insert(name.clone(), Arc::new(endpoint));
    }
    Ok(endpoints)
}

fn provider_timeouts(base: &Timeouts, own: Option<&config::ProviderTimeouts>) -> Timeouts {
    let Some(own) = own else { return *base };
    Timeouts {
        connect: own.connect.map_or(base.connect, ms),
        first_token: own.first_token.map_or(base.first_token, ms),
        between_tokens: own.between_tokens.map_or(base.between_tokens, ms),
        request: own.request.map_or(base.request, ms),
        stream: own.stream.map_or(base.stream, ms),
        ..*base
    }
}

pub(super) fn models(
    config: &Config,
    live: &Live,
    providers: &HashMap<String, Arc<Endpoint>>,
) -> Result<Models, CompileError> {
    let any = || config::Model {
        name: "*".to_owned(),
        to: config.providers.keys().map(config::Target::provider).collect(),
        balance: config::ModelBalance::Weighted,
    };
    let mut models = Models::default();
    let implicit = [any()];
    let written: &[config::Model] =
        if config.models.is_empty() && !providers.is_empty() { &implicit } else { &config.models };
    for (index, entry) in written.iter().enumerate() {
        let place = format!("models[{index}].to");
        let model = Arc::new(model(&place, entry, config, live, providers)?);
        match entry.name.strip_suffix('*') {
            Some(prefix) => models.prefixes.push((prefix.to_owned(), model)),
            None => {
                models.listed.push(Arc::clone(&model));
                models.exact.insert(entry.name.clone(), model);
            }
        }
    }
    models.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
    let wildcard = models.prefixes.iter().find(|(prefix, _)| prefix.is_empty());
    models.default = match wildcard {
        Some((_, model)) => Some(Arc::clone(model)),
        None if providers.is_empty() => None,
        None => Some(Arc::new(model("providers", &any(), config, live, providers)?)),
    };
    Ok(models)
}

fn model(
    place: &str,
    entry: &config::Model,
    config: &Config,
    live: &Live,
    providers: &HashMap<String, Arc<Endpoint>>,
) -> Result<Model, CompileError> {
    let mut groups = Vec::new();
    for from in [Dialect::OpenAi, Dialect::Anthropic] {
        let mut members = Vec::new();
        for (order, target) in entry.to.iter().enumerate() {
            let (Some(endpoint), Some(written)) =
                (providers.get(&target.provider), config.providers.get(&target.provider))
            else {
                return Err(CompileError::Dangling {
                    place: place.to_owned(),
                    what: "provider",
                    name: target.provider.clone(),
                });
            };
            let to = endpoint.provider.as_ref().map_or(Dialect::OpenAi, |p| p.dialect);
            if !TRANSLATIONS.contains(&(from, to)) {
                continue;
            }
            let tier = target.priority.unwrap_or(written.priority);
            members.push(Member {
                endpoint: Arc::clone(endpoint),
                weight: target.weight.unwrap_or(written.weight),
                priority: match entry.balance {
                    // In the order written within a tier.
                    config::ModelBalance::Priority => {
                        tier.saturating_mul(Group::MEMBERS_MAX as u32).saturating_add(order as u32)
                    }
                    _ => tier,
                },
                local: false,
                draining: false,
                model: target.model.clone(),
            });
        }
        if members.is_empty() {
            continue;
        }
        let algorithm = match entry.balance {
            config::ModelBalance::Weighted => Algorithm::WeightedRoundRobin,
            config::ModelBalance::Priority | config::ModelBalance::RoundRobin => {
                Algorithm::RoundRobin
            }
        };
        let group = Group {
            name: entry.name.clone(),
            http: algorithm,
            websocket: algorithm,
            sse: algorithm,
            hash_by: config::HashBy::default(),
            bound: None,
            maglev: None,
            slow_start_ms: 0,
            queue: None,
            members: bounded(place, members)?,
            turns: PerShard::new(live.shard_count()),
            live: live.upstream(&format!("model:{}", entry.name)),
            health: health::model(&config.retry.cooldown),
        };
        groups.push((from, Arc::new(group)));
    }
    Ok(Model { name: entry.name.clone(), groups, series: live.model(&entry.name) })
}
