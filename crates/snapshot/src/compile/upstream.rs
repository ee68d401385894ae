//! Upstreams and their endpoints.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;

use rustls_pki_types::ServerName;
use tidegate_config as config;
use tidegate_config::{Config, EndpointAddress, HttpUrl};
use tidegate_policy::balance::{Algorithm, MaglevTable};

use super::{CompileError, health, ms, parsed};
use crate::live::Live;
use crate::live::Name;
use crate::series::PerShard;
use crate::tls::{ClientTls, TlsConfigs};
use crate::types::{
    Egress, EgressKind, Endpoint, EndpointQueue, Group, Member, Timeouts, TlsTarget,
};
use crate::types::{Protocol, ProxyHeader};

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
    pub(super) address: EndpointAddress,
    pub(super) egress: Option<&'c str>,
    pub(super) tls: ClientTls<'c>,
    pub(super) server_name: Option<&'c str>,
    pub(super) protocol: config::UpstreamProtocol,
    pub(super) proxy_header: Option<config::ProxyHeader>,
    pub(super) connections_max: Option<u32>,
    pub(super) timeouts: Timeouts,
    pub(super) provider_name: Option<&'c str>,
}

pub(super) fn endpoint(
    parts: &EndpointParts<'_>,
    live: &Live,
    tls: &mut TlsConfigs,
) -> Result<Endpoint, CompileError> {
    let (url, raw) = match &parts.address {
        EndpointAddress::Http(url) => (url, false),
        EndpointAddress::Raw(url) => (url, true),
        EndpointAddress::Unix(path) => return Ok(unix_endpoint(parts, path, live)),
    };
    let protocol = protocol(parts.protocol, url.tls);
    let tls_target = if url.tls {
        let host = parts.server_name.unwrap_or(&url.host).to_owned();
        let server_name =
            ServerName::try_from(host.clone()).map_err(|error| CompileError::ServerName {
                place: parts.place.clone(),
                host,
                message: error.to_string(),
            })?;
        Some(TlsTarget { config: tls.client(&parts.tls, protocol)?, server_name })
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
        match (raw, url.tls) {
            (false, false) => "http",
            (false, true) => "https",
            (true, false) => "tcp",
            (true, true) => "tls",
        },
        url.host,
        url.port,
        egress.as_ref().map(|e| format!("@{}:{}", e.name.host, e.name.port)).unwrap_or_default(),
    );
    Ok(Endpoint {
        live: live.endpoint(&key),
        name: live.name(&url.host, url.port),
        unix: None,
        pool: live.pool(&pool_key(parts, &key, protocol)),
        protocol,
        proxy_header: proxy_header(parts.proxy_header),
        tls: tls_target,
        authority: authority(url),
        egress,
        connections_max: parts.connections_max.unwrap_or(u32::MAX),
        timeouts: parts.timeouts,
        provider: None,
    })
}

/// An endpoint behind a socket of this machine. Its name is never looked up.
fn unix_endpoint(parts: &EndpointParts<'_>, path: &str, live: &Live) -> Endpoint {
    let protocol = protocol(parts.protocol, false);
    let key = format!("unix:{path}");
    let path = path.strip_prefix('@').map_or_else(|| path.to_owned(), |name| format!("\0{name}"));
    Endpoint {
        live: live.endpoint(&key),
        name: Arc::new(Name {
            host: key.clone(),
            port: 0,
            addresses: ArcSwap::default(),
            failures: AtomicU64::new(0),
        }),
        unix: Some(PathBuf::from(path).into_boxed_path()),
        pool: live.pool(&pool_key(parts, &key, protocol)),
        protocol,
        proxy_header: proxy_header(parts.proxy_header),
        tls: None,
        authority: "localhost".to_owned(),
        egress: None,
        connections_max: parts.connections_max.unwrap_or(u32::MAX),
        timeouts: parts.timeouts,
        provider: None,
    }
}

/// What distinguishes the connections of two upstreams to one address: a connection that was opened
/// with one certificate must not serve those who have another, or none.
fn pool_key(parts: &EndpointParts<'_>, key: &str, protocol: Protocol) -> String {
    format!("{key} {protocol:?} {:?} {:?} {:?}", parts.tls, parts.server_name, parts.proxy_header)
}

fn protocol(written: config::UpstreamProtocol, tls: bool) -> Protocol {
    match (written, tls) {
        (config::UpstreamProtocol::Http2, _) => Protocol::Http2,
        (config::UpstreamProtocol::Auto, true) => Protocol::Negotiated,
        _ => Protocol::Http1,
    }
}

fn proxy_header(written: Option<config::ProxyHeader>) -> Option<ProxyHeader> {
    written.map(|version| match version {
        config::ProxyHeader::V1 => ProxyHeader::V1,
        config::ProxyHeader::V2 => ProxyHeader::V2,
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
                address: parsed(&place, &written.url)?,
                place,
                egress: None,
                tls: ClientTls {
                    ca: upstream.ca(),
                    identity: upstream
                        .tls
                        .as_ref()
                        .and_then(|tls| tls.cert.as_deref().zip(tls.key.as_deref())),
                },
                server_name: upstream.tls.as_ref().and_then(|tls| tls.server_name.as_deref()),
                protocol: upstream.protocol,
                proxy_header: upstream.proxy_protocol,
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
            live: live.upstream(name),
            health: health::group(upstream),
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
