//! Upstreams and their endpoints.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::ServerName;
use tidegate_config as config;
use tidegate_config::{Config, HttpUrl};
use tidegate_policy::balance::{Algorithm, MaglevTable};

use super::{CompileError, ms, parsed};
use crate::live::Live;
use crate::series::PerShard;
use crate::tls::TlsConfigs;
use crate::types::{
    Egress, EgressKind, Endpoint, EndpointQueue, Group, Member, Timeouts, TlsTarget,
};

fn algorithm(written: config::Algorithm) -> Algorithm {
    match written {
        config::Algorithm::RoundRobin => Algorithm::RoundRobin,
        config::Algorithm::WeightedRoundRobin => Algorithm::WeightedRoundRobin,
        config::Algorithm::Random => Algorithm::Random,
        config::Algorithm::LeastConnections => Algorithm::LeastConnections,
        config::Algorithm::P2c => Algorithm::P2c,
        config::Algorithm::PeakEwma => Algorithm::PeakEwma,
        config::Algorithm::IpHash => Algorithm::IpHash,
        config::Algorithm::ConsistentHash => Algorithm::ConsistentHash,
        config::Algorithm::Maglev => Algorithm::Maglev,
        config::Algorithm::Performance => Algorithm::Performance,
    }
}

/// What stands in a Host field: the port is left out where the scheme implies it.
fn authority(url: &HttpUrl) -> String {
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
    if url.port == if url.tls { 443 } else { 80 } { host } else { format!("{host}:{}", url.port) }
}

pub(super) struct EndpointParts<'c> {
    pub(super) place: String,
    pub(super) url: HttpUrl,
    pub(super) egress: Option<&'c str>,
    pub(super) ca_file: Option<&'c Path>,
    pub(super) connections_max: Option<u32>,
    pub(super) timeouts: Timeouts,
    pub(super) provider_name: Option<&'c str>,
}

pub(super) fn endpoint(
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

pub(super) fn upstreams(
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
                priority: written.priority,
                local: upstream.zone.is_some() && written.zone == upstream.zone,
                draining: written.draining,
                model: None,
            });
        }
        let members = bounded(&place, members)?;
        let group = Group {
            name: name.clone(),
            http: algorithm(upstream.balance.http),
            websocket: algorithm(upstream.balance.websocket),
            sse: algorithm(upstream.balance.sse),
            hash_by: upstream.hash.by.clone(),
            bound: upstream.hash.bound.map(config::Bound::hundredths),
            maglev: maglev(upstream.balance, &members),
            slow_start_ms: ms(upstream.slow_start),
            queue: upstream.queue.as_ref().map(|queue| EndpointQueue {
                size: queue.size as usize,
                wait_ms: ms(queue.wait),
                live: live.queue(name),
            }),
            members,
            turns: PerShard::new(live.shard_count()),
        };
        groups.insert(name.clone(), Arc::new(group));
    }
    Ok(groups)
}

/// The table of an upstream that is balanced by Maglev.
fn maglev(balance: config::Balance, members: &[Member]) -> Option<MaglevTable> {
    if !balance.uses(&[config::Algorithm::Maglev]) {
        return None;
    }
    let list: Vec<_> =
        members.iter().map(|member| (member.endpoint.live.identity, member.weight)).collect();
    MaglevTable::build(&list)
}

pub(super) fn bounded(place: &str, members: Vec<Member>) -> Result<Vec<Member>, CompileError> {
    if members.len() > Group::MEMBERS_MAX {
        return Err(CompileError::TooManyMembers { place: place.to_owned(), count: members.len() });
    }
    Ok(members)
}
