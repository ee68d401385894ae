//! From what operators wrote to what the data plane reads.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use memchr::memmem::Finder;
use rustls_pki_types::ServerName;
use tidegate_config as config;
use tidegate_config::Config;
use tidegate_dialect::Dialect;
use tidegate_dialect::vendors::{Auth, TRANSLATIONS, vendor};
use tidegate_policy::admission::AdmissionLimits;
use tidegate_policy::balance::Algorithm;
use tidegate_policy::health::CooldownPolicy;
use tidegate_policy::retry::{BudgetLimits, RetryPolicy};
use tidegate_policy::route::{RouteKey, RouteTable};
use url::Url;

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
    /// A URL that the check let through is not usable here.
    #[error("{place}: {url:?} is not a usable URL: {message}")]
    Url {
        /// Field path.
        place: String,
        /// The URL without credentials.
        url: String,
        /// What is wrong with it.
        message: String,
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

/// Scheme, host, port and path of a URL, with what a connection needs.
struct Address {
    https: bool,
    host: String,
    port: u16,
    authority: String,
    path: String,
}

fn address(place: &str, text: &str) -> Result<Address, CompileError> {
    let bad = |message: &str| CompileError::Url {
        place: place.to_owned(),
        url: text.rsplit('@').next().unwrap_or_default().to_owned(),
        message: message.to_owned(),
    };
    let url = Url::parse(text).map_err(|error| bad(&error.to_string()))?;
    let https = match url.scheme() {
        "http" => false,
        "https" => true,
        _ => return Err(bad("it must begin with http:// or https://")),
    };
    let host = url.host_str().filter(|h| !h.is_empty()).ok_or_else(|| bad("it has no host"))?;
    let port = url.port_or_known_default().ok_or_else(|| bad("it has no port"))?;
    Ok(Address {
        https,
        host: host.to_owned(),
        port,
        authority: match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        },
        path: url.path().trim_end_matches('/').to_owned(),
    })
}

struct EndpointParts<'c> {
    place: String,
    url: &'c str,
    egress: Option<&'c str>,
    ca_file: Option<&'c std::path::Path>,
    connections_max: Option<u32>,
    timeouts: Timeouts,
    provider_name: Option<&'c str>,
}

fn endpoint(
    parts: &EndpointParts<'_>,
    live: &Live,
    tls: &mut TlsConfigs,
) -> Result<(Endpoint, String), CompileError> {
    let to = address(&parts.place, parts.url)?;
    let tls_target = if to.https {
        let host = to.host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let server_name = ServerName::try_from(host).map_err(|error| CompileError::Url {
            place: parts.place.clone(),
            url: parts.url.to_owned(),
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
        if to.https { "https" } else { "http" },
        to.host,
        to.port,
        egress.as_ref().map(|e| format!("@{}:{}", e.name.host, e.name.port)).unwrap_or_default(),
    );
    let endpoint = Endpoint {
        live: live.endpoint(&key),
        name: live.name(&to.host, to.port),
        tls: tls_target,
        authority: to.authority,
        egress,
        connections_max: parts.connections_max.unwrap_or(u32::MAX),
        timeouts: parts.timeouts,
        provider: None,
    };
    Ok((endpoint, to.path))
}

fn egress(place: &str, text: &str, live: &Live) -> Result<Egress, CompileError> {
    let bad = |message: &str| CompileError::Url {
        place: place.to_owned(),
        url: text.rsplit('@').next().unwrap_or_default().to_owned(),
        message: message.to_owned(),
    };
    let url = Url::parse(text).map_err(|error| bad(&error.to_string()))?;
    let (kind, default_port) = match url.scheme() {
        "http" => (EgressKind::HttpConnect, 80),
        "socks5" | "socks5h" => (EgressKind::Socks5, 1080),
        _ => return Err(bad("it must begin with http:// or socks5://")),
    };
    let host = url.host_str().filter(|h| !h.is_empty()).ok_or_else(|| bad("it has no host"))?;
    let credentials = (!url.username().is_empty()).then(|| {
        (percent_decoded(url.username()), percent_decoded(url.password().unwrap_or_default()))
    });
    if credentials.as_ref().is_some_and(|(user, word)| user.len() > 255 || word.len() > 255) {
        return Err(bad("user and password have 255 bytes at most"));
    }
    Ok(Egress { kind, name: live.name(host, url.port().unwrap_or(default_port)), credentials })
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if let ([high, low, after @ ..], b'%') = (tail, *first)
            && let (Some(high), Some(low)) =
                ((*high as char).to_digit(16), (*low as char).to_digit(16))
        {
            bytes.push((high * 16 + low) as u8);
            rest = after;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
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
            let parts = EndpointParts {
                place: format!("{place}[{index}]"),
                url: &written.url,
                egress: None,
                ca_file: upstream.ca_file.as_deref(),
                connections_max: written.connections_max,
                timeouts: *timeouts,
                provider_name: None,
            };
            let (endpoint, _) = endpoint(&parts, live, tls)?;
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
        let row = vendor(written.vendor.as_deref().unwrap_or(name));
        let url = written.base_url.as_deref().or(row.map(|v| v.base_url)).unwrap_or_default();
        let dialect = written.dialect.or(row.map(|v| v.dialect)).unwrap_or(Dialect::OpenAi);
        let parts = EndpointParts {
            place,
            url,
            egress: written.egress.as_deref(),
            ca_file: written.ca_file.as_deref(),
            connections_max: written.connections_max,
            timeouts: provider_timeouts(timeouts, written.timeouts.as_ref()),
            provider_name: Some(name),
        };
        let (mut endpoint, base_path) = endpoint(&parts, live, tls)?;
        let auth = row.filter(|v| v.dialect == dialect).map_or(
            match dialect {
                Dialect::OpenAi => Auth::Bearer,
                Dialect::Anthropic => Auth::XApiKey,
            },
            |v| v.auth,
        );
        let key = written.api_key.as_ref().map(config::Secret::expose).filter(|key| *key != "none");
        let key_field = match (key, auth) {
            (None, _) => String::new(),
            (Some(key), Auth::Bearer) => format!("Authorization: Bearer {key}\r\n"),
            (Some(key), Auth::XApiKey) => format!("x-api-key: {key}\r\n"),
        };
        let mut fields = String::new();
        for (field, value) in &written.headers {
            fields.extend([
                field, ": ", value, "
",
            ]);
        }
        endpoint.provider = Some(Provider {
            name: name.clone(),
            dialect,
            base_path,
            key_field: key_field.into_bytes(),
            key: key
                .filter(|key| key.len() >= Provider::MASKED_KEY_MIN)
                .map(|key| Finder::new(key.as_bytes()).into_owned()),
            auth,
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
