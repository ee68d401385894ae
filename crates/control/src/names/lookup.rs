//! One look-up: the name servers of the system, or those that the configuration names.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
    ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::read_system_conf;
use tidegate_config::Resolver;
use tokio::time::timeout;

/// How long one answer is waited for, all name servers and attempts together.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one name server may take.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);

/// Addresses that are kept of one answer.
const ADDRESSES_MAX: usize = 32;

/// An answer is used for this long at least and at most, whatever its TTL says.
pub(super) const TTL_MIN: Duration = Duration::from_secs(1);
pub(super) const TTL_MAX: Duration = Duration::from_hours(1);

/// Answers without a TTL of their own (/etc/hosts) come with a day: they are looked at as often as
/// the system's files are.
const STATIC_TTL: Duration = Duration::from_hours(23);

/// How old the view of /etc/resolv.conf and /etc/hosts may be.
pub(super) const FILES_INTERVAL: Duration = Duration::from_secs(30);

/// What a name resolves to.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) addresses: Vec<SocketAddr>,
    /// How long it is used.
    pub(super) ttl: Duration,
}

/// Why a name has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    #[error("{0}")]
    Dns(#[from] NetError),
    #[error("no answer in {} s", LOOKUP_TIMEOUT.as_secs())]
    Timeout,
    #[error("the name has no address")]
    NoAddress,
    #[error("no name server is known")]
    NoResolver,
}

/// Reads the system's files, or takes the name servers that are configured; /etc/hosts counts in
/// both cases.
pub(super) fn resolver(settings: &Resolver) -> Result<TokioResolver, NetError> {
    let (config, mut options) = if settings.servers.is_empty() {
        read_system_conf()?
    } else {
        let servers = settings.servers.iter().map(|server| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut way| {
                way.port = server.port();
                way
            });
            NameServerConfig::new(server.ip(), true, connections.into())
        });
        (ResolverConfig::from_name_servers(servers.collect()), ResolverOpts::default())
    };
    // What is known is kept in the live state; a second copy would only be older.
    options.cache_size = 0;
    options.timeout = SERVER_TIMEOUT;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Always;
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder.build()
}

/// Asks for all addresses of a name.
pub(super) async fn look_up(
    resolver: &TokioResolver,
    host: &str,
    port: u16,
) -> Result<Answer, LookupError> {
    let found = timeout(LOOKUP_TIMEOUT, resolver.lookup_ip(host))
        .await
        .map_err(|_| LookupError::Timeout)??;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for ip in found.iter() {
        let address = SocketAddr::new(ip, port);
        if addresses.len() < ADDRESSES_MAX && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(LookupError::NoAddress);
    }
    let ttl = found.valid_until().saturating_duration_since(Instant::now());
    let ttl = if ttl > STATIC_TTL { FILES_INTERVAL } else { ttl.clamp(TTL_MIN, TTL_MAX) };
    Ok(Answer { addresses, ttl })
}
