//! From what operators wrote to what the data plane reads.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use memchr::memmem::Finder;
use rustls_pki_types::ServerName;
use tidegate_config as config;
use tidegate_config::{AddressError, Config, HttpUrl, ResolveError};
use tidegate_dialect::Dialect;
use tidegate_dialect::vendors::{Auth, TRANSLATIONS};
use tidegate_policy::admission::AdmissionLimits;
use tidegate_policy::balance::Algorithm;
use tidegate_policy::health::CooldownPolicy;
use tidegate_policy::retry::{BudgetLimits, RetryPolicy};
use tidegate_policy::route::{RouteKey, RouteTable};

use crate::callers::Callers;
use crate::live::Live;
use crate::series::PerShard;
use crate::tls::TlsConfigs;
use crate::types::{
    Destination, Egress, EgressKind, Endpoint, Group, Limits, Member, Model, Models, Provider,
    Route, Snapshot, Timeouts, TlsTarget,
};

/// Why a configuration that passed its check cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// An address that the check let through is not usable.
    #[error("{place}: {source}")]
    Address {
        /// Field path.
        place: String,
        /// What is wrong with it.
        source: AddressError,
    },
    /// A host that TLS cannot verify.
    #[error("{place}: {host:?} cannot be verified by TLS: {message}")]
    ServerName {
        /// Field path.
        place: String,
        /// The host.
        host: String,
        /// What is wrong with it.
        message: String,
    },
    /// A provider that the check let through is not complete.
    #[error("{place}: {source}")]
    Provider {
        /// Field path.
        place: String,
        /// What it lacks.
        source: ResolveError,
    },
    /// A CA file cannot be used.
    #[error("CA file {path}: {message}", path = .path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// TLS cannot be set up at all.
    #[error("TLS: {0}")]
    Tls(String),
    /// A name refers to nothing.
    #[error("{place}: there is no {what} named {name:?}")]
    Dangling {
        /// Field path.
        place: String,
        /// `provider` or `upstream`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A group has more members than a set of tried ones can hold.
    #[error("{place}: {count} members are more than {max}", max = Group::MEMBERS_MAX)]
    TooManyMembers {
        /// Field path.
        place: String,
        /// How many there are.
        count: usize,
    },
}

/// Compiles a checked configuration against the live state, so that known endpoints, routes and
/// models keep their counters.
pub fn compile(
    config: Arc<Config>,
    live: &Live,
    generation: u64,
) -> Result<Snapshot, CompileError> {
    let mut tls = TlsConfigs::default();
    let timeouts = timeouts(&config.timeouts);
    let upstreams = upstreams(&config, live, &timeouts, &mut tls)?;
    let providers = providers(&config, live, &timeouts, &mut tls)?;
    let models = models(&config, live, &providers)?;
    let (route_table, routes) = routes(&config, live, &upstreams)?;
    Ok(Snapshot {
        generation,
        binds: config.listeners.iter().map(|listener| listener.bind).collect(),
        limits: Limits {
            connections: config.limits.connections as usize,
            admission: AdmissionLimits {
                in_flight: config.limits.requests as usize,
                waiting: config.limits.queue.size as usize,
                memory: config.limits.memory.as_u64(),
            },
            queue_wait_ms: ms(config.limits.queue.wait),
            head: config.limits.head.as_usize(),
            body: config.limits.body.as_u64(),
            stream_buffer: config.limits.stream_buffer.as_usize(),
        },
        timeouts,
        callers: Callers::new(
            config.callers.iter().map(|c| (c.name.as_str(), c.key.expose(), c.priority)),
        ),
        allow_anonymous: config.allow_anonymous,
        route_table,
        routes,
        models,
        retry: RetryPolicy {
            attempts: config.retry.attempts.max(1),
            delay: config.retry.delay,
            delay_max: config.retry.delay_max,
        },
        retry_budget: BudgetLimits {
            percent: config.retry.budget_percent,
            floor_per_second: config.retry.budget_min_per_second,
        },
        cooldown: CooldownPolicy {
            failures: config.retry.cooldown.failures.max(1),
            period: config.retry.cooldown.period,
        },
        config,
    })
}

fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

fn timeouts(written: &config::Timeouts) -> Timeouts {
    Timeouts {
        head: ms(written.head),
        body: ms(written.body),
        keep_alive: ms(written.keep_alive),
        connect: ms(written.connect),
        first_token: ms(written.first_token),
        between_tokens: ms(written.between_tokens),
        request: ms(written.request),
        stream: ms(written.stream),
        write_stall: ms(written.write_stall),
        heartbeat: ms(written.heartbeat),
        drain: ms(written.drain),
        upstream_idle: ms(written.upstream_idle),
    }
}

fn algorithm(written: config::Algorithm) -> Algorithm {
    match written {
        config::Algorithm::RoundRobin => Algorithm::RoundRobin,
        config::Algorithm::WeightedRoundRobin => Algorithm::WeightedRoundRobin,
        config::Algorithm::Random => Algorithm::Random,
        config::Algorithm::LeastConnections => Algorithm::LeastConnections,
        config::Algorithm::IpHash => Algorithm::IpHash,
    }
}

fn parsed<T: FromStr<Err = AddressError>>(place: &str, text: &str) -> Result<T, CompileError> {
    text.parse().map_err(|source| CompileError::Address { place: place.to_owned(), source })
}

/// What stands in a Host field: the port is left out where the scheme implies it.
fn authority(url: &HttpUrl) -> String {
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
    if url.port == if url.tls { 443 } else { 80 } { host } else { format!("{host}:{}", url.port) }
}

struct EndpointParts<'c> {
    place: String,
    url: HttpUrl,
    egress: Option<&'c str>,
    ca_file: Option<&'c Path>,
    connections_max: Option<u32>,
    timeouts: Timeouts,
    provider_name: Option<&'c str>,
}

fn endpoint(
    parts: &EndpointParts<'_>,
    live: &Live,
    tls: &mut TlsConfigs,
) -> Result<Endpoint, CompileError> {
    let url = &parts.url;
    let tls_target = if url.tls {
        let server_name =
            ServerName::try_from(url.host.clone()).map_err(|error| CompileError::ServerName {
                place: parts.place.clone(),
                host: url.host.clone(),
                message: error.to_string(),
            })?;
        Some(TlsTarget { config: tls.client(parts.ca_file)?, server_name })
    } else {
        None
    };
    let egress = parts
        .egress
        .map(|text| egress(&format!("{}.egress", parts.place), text, live))
        .transpose()?;
    // Two providers at one address keep counters and pools apart: their keys and health differ.
    let key = format!(
        "{}{}://{}:{}{}",
        parts.provider_name.map(|name| format!("{name}=")).unwrap_or_default(),
        if url.tls { "https" } else { "http" },
        url.host,
        url.port,
        egress.as_ref().map(|e| format!("@{}:{}", e.name.host, e.name.port)).unwrap_or_default(),
    );
    Ok(Endpoint {
        live: live.endpoint(&key),
        name: live.name(&url.host, url.port),
        tls: tls_target,
        authority: authority(url),
        egress,
        connections_max: parts.connections_max.unwrap_or(u32::MAX),
        timeouts: parts.timeouts,
        provider: None,
    })
}

fn egress(place: &str, text: &str, live: &Live) -> Result<Egress, CompileError> {
    let written: config::Egress = parsed(place, text)?;
    Ok(Egress {
        kind: match written.kind {
            config::EgressKind::HttpConnect => EgressKind::HttpConnect,
            config::EgressKind::Socks5 => EgressKind::Socks5,
        },
        name: live.name(&written.host, written.port),
        credentials: written
            .credentials
            .map(|(user, password)| (user, password.expose().to_owned())),
    })
}

fn upstreams(
    config: &Config,
    live: &Live,
    timeouts: &Timeouts,
    tls: &mut TlsConfigs,
) -> Result<HashMap<String, Arc<Group>>, CompileError> {
    let mut groups = HashMap::new();
    for (name, upstream) in &config.upstreams {
        let place = format!("upstreams.{name}.endpoints");
        let mut members = Vec::with_capacity(upstream.endpoints.len());
        for (index, written) in upstream.endpoints.iter().enumerate() {
            let place = format!("{place}[{index}]");
            let parts = EndpointParts {
                url: parsed(&place, &written.url)?,
                place,
                egress: None,
                ca_file: upstream.ca_file.as_deref(),
                connections_max: written.connections_max,
                timeouts: *timeouts,
                provider_name: None,
            };
            let endpoint = endpoint(&parts, live, tls)?;
            members.push(Member {
                endpoint: Arc::new(endpoint),
                weight: written.weight,
                priority: 0,
                model: None,
            });
        }
        let group = Group {
            name: name.clone(),
            http: algorithm(upstream.balance.http),
            sse: algorithm(upstream.balance.sse),
            members: bounded(&place, members)?,
            turns: PerShard::new(live.shard_count()),
        };
        groups.insert(name.clone(), Arc::new(group));
    }
    Ok(groups)
}

fn bounded(place: &str, members: Vec<Member>) -> Result<Vec<Member>, CompileError> {
    if members.len() > Group::MEMBERS_MAX {
        return Err(CompileError::TooManyMembers { place: place.to_owned(), count: members.len() });
    }
    Ok(members)
}

fn providers(
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
            url: resolved.base_url.clone(),
            egress: written.egress.as_deref(),
            ca_file: written.ca_file.as_deref(),
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

fn models(
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
            sse: algorithm,
            members: bounded(place, members)?,
            turns: PerShard::new(live.shard_count()),
        };
        groups.push((from, Arc::new(group)));
    }
    Ok(Model { name: entry.name.clone(), groups, series: live.model(&entry.name) })
}

fn routes(
    config: &Config,
    live: &Live,
    upstreams: &HashMap<String, Arc<Group>>,
) -> Result<(RouteTable, Vec<Arc<Route>>), CompileError> {
    let implicit = [config::Route { path: "/v1/".to_owned(), llm: true, ..Default::default() }];
    let written: &[config::Route] = if config.routes.is_empty() && !config.providers.is_empty() {
        &implicit
    } else {
        &config.routes
    };
    let mut keys = Vec::with_capacity(written.len());
    let mut routes = Vec::with_capacity(written.len());
    for (index, route) in written.iter().enumerate() {
        let to = match &route.upstream {
            None => Destination::Llm,
            Some(name) => {
                Destination::Upstream(Arc::clone(upstreams.get(name).ok_or_else(|| {
                    CompileError::Dangling {
                        place: format!("routes[{index}].upstream"),
                        what: "upstream",
                        name: name.clone(),
                    }
                })?))
            }
        };
        keys.push(RouteKey { host: route.host.clone(), path: route.path.clone() });
        let name = format!("{}{}", route.host.as_deref().unwrap_or_default(), route.path);
        routes.push(Arc::new(Route { to, series: live.route(&name) }));
    }
    Ok((RouteTable::build(keys), routes))
}
