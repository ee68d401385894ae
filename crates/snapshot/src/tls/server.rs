//! TLS towards callers: one server configuration for each listener that terminates it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SignatureAlgorithm, SupportedProtocolVersion};
use sha2::{Digest as _, Sha256};
use tidegate_config::{ClientAuth, Listener, Protocol, TlsVersion};

use super::identity::{self, Identity};
use super::kept::TicketScope;
use crate::compile::CompileError;
use crate::live::Live;

/// Session tickets that a TLS 1.3 handshake gives the client: each costs a record and an encryption.
const TICKETS_PER_HANDSHAKE: usize = 1;

/// The protocols offered by ALPN, most wanted first.
pub(crate) fn alpn(http2: bool) -> Vec<Vec<u8>> {
    let h2 = http2.then(|| b"h2".to_vec());
    h2.into_iter().chain([b"http/1.1".to_vec()]).collect()
}

/// The configuration of a listener with TLS. `place`: its field path; `complaints`: certificates
/// that could not be read anew, so that the ones before stay.
pub(crate) fn server_config(
    listener: &Listener,
    place: &str,
    live: &Live,
    complaints: &mut Vec<String>,
) -> Result<Arc<ServerConfig>, CompileError> {
    let tls = |error: rustls::Error| CompileError::Tls(error.to_string());
    let mut identities = Vec::with_capacity(listener.tls.len());
    for (index, files) in listener.tls.iter().enumerate() {
        let place = format!("{place}.tls[{index}]");
        let (identity, complaint) = live.tls.identity(files).map_err(|error| {
            let place = format!("{place}.{}", error.field);
            CompileError::Certificate { place, message: error.message }
        })?;
        if let Some(error) = complaint {
            complaints.push(format!("{place}.{}: {error}; the one before stays", error.field));
        }
        identities.push(identity);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(listener.tls_min))
        .map_err(tls)?;
    let (builder, scope) = match &listener.client_ca {
        None => (builder.with_no_client_auth(), TicketScope::Anyone),
        Some(path) => {
            let (roots, digest) = authorities(path)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match listener.client_auth {
                ClientAuth::Required => verifier,
                ClientAuth::Optional => verifier.allow_unauthenticated(),
            };
            let verifier = verifier
                .build()
                .map_err(|error| CompileError::CaFile(format!("{}: {error}", path.display())))?;
            let scope = TicketScope::Clients(listener.client_auth, digest);
            (builder.with_client_cert_verifier(verifier), scope)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(ByName::new(&identities)));
    if listener.protocol == Protocol::Http {
        // What is spoken on a TCP listener is for caller and endpoint to agree on.
        config.alpn_protocols = alpn(listener.http2);
    }
    // Stateless: all shards open each other's tickets, and a reload forgets none.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = live.tls.tickets(scope).map_err(tls)?;
    config.send_tls13_tickets = TICKETS_PER_HANDSHAKE;
    // Early data can be replayed (RFC 8446 section 8), and we cannot know which requests mind.
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

fn versions(oldest: TlsVersion) -> Vec<&'static SupportedProtocolVersion> {
    match oldest {
        TlsVersion::V12 => vec![&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V13 => vec![&rustls::version::TLS13],
    }
}

/// The authorities in a file, and the file's SHA-256.
fn authorities(path: &Path) -> Result<(RootCertStore, [u8; 32]), CompileError> {
    let digest = Sha256::digest(identity::read(path).map_err(CompileError::CaFile)?);
    let roots = identity::authorities(path).map_err(CompileError::CaFile)?;
    Ok((roots, digest.into()))
}

/// Picks the certificate by the name that the client asks for: exact before wildcard, and the first
/// certificate where none has it. Of several for one name, that which the client can verify; elliptic
/// curves before RSA, whose signature costs ten times as much.
#[derive(Debug)]
struct ByName {
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what follows the `*.`.
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// The first certificate, then those that share a name with it, then all others.
    default: Vec<Arc<CertifiedKey>>,
}

impl ByName {
    fn new(identities: &[Arc<Identity>]) -> Self {
        let mut exact: HashMap<String, Vec<Arc<CertifiedKey>>> = HashMap::new();
        let mut wildcard: HashMap<String, Vec<Arc<CertifiedKey>>> = HashMap::new();
        for identity in identities {
            for host in &identity.hosts {
                let keys = match host.strip_prefix("*.") {
                    Some(suffix) => wildcard.entry(suffix.to_owned()).or_default(),
                    None => exact.entry(host.clone()).or_default(),
                };
                keys.push(Arc::clone(&identity.key));
            }
        }
        for keys in exact.values_mut().chain(wildcard.values_mut()) {
            cheapest_first(keys);
        }
        let mut default: Vec<Arc<CertifiedKey>> = Vec::new();
        if let Some(first) = identities.first() {
            let shares = |other: &&Arc<Identity>| {
                Arc::ptr_eq(first, other) || other.hosts.iter().any(|h| first.hosts.contains(h))
            };
            let (same, others): (Vec<_>, Vec<_>) = identities.iter().partition(shares);
            default.extend(same.iter().map(|identity| Arc::clone(&identity.key)));
            cheapest_first(&mut default);
            default.extend(others.iter().map(|identity| Arc::clone(&identity.key)));
        }
        Self { exact, wildcard, default }
    }

    fn candidates(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let found = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let above = || name.split_once('.').and_then(|(_, rest)| self.wildcard.get(rest));
            self.exact.get(&name).or_else(above)
        });
        found.unwrap_or(&self.default)
    }
}

fn cheapest_first(keys: &mut [Arc<CertifiedKey>]) {
    // Stable: the order of the configuration decides among equals.
    keys.sort_by_key(|key| key.key.algorithm() == SignatureAlgorithm::RSA);
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let candidates = self.candidates(hello.server_name());
        let schemes = hello.signature_schemes();
        let usable = candidates.iter().find(|key| key.key.choose_scheme(schemes).is_some());
        // Without a usable one rustls says the right alert.
        usable.or(candidates.first()).cloned()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn identity(hosts: &[&str], algorithm: &'static rcgen::SignatureAlgorithm) -> Arc<Identity> {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let names: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        let secret = rustls_pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let chain = vec![certificate.der().clone()];
        Arc::new(Identity {
            key: Arc::new(CertifiedKey::from_der(chain, secret, &provider).unwrap()),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            addresses: Vec::new(),
            not_before: 0,
            not_after: 0,
        })
    }

    #[test]
    fn an_exact_name_comes_before_a_wildcard_and_the_first_is_the_default() {
        let ecdsa = &rcgen::PKCS_ECDSA_P256_SHA256;
        let identities = [
            identity(&["a.example", "*.b.example"], ecdsa),
            identity(&["x.b.example"], ecdsa),
            identity(&["*.example"], ecdsa),
        ];
        let by_name = ByName::new(&identities);
        for (name, expected) in [
            (Some("a.example"), 0),
            (Some("A.Example"), 0),
            (Some("y.b.example"), 0),
            (Some("x.b.example"), 1),
            (Some("c.example"), 2),
            (Some("deep.c.example"), 0),
            (Some("example"), 0),
            (Some("unknown.test"), 0),
            (None, 0),
        ] {
            let first = &by_name.candidates(name)[0];
            assert!(Arc::ptr_eq(first, &identities[expected].key), "{name:?}");
        }
    }

    #[test]
    fn the_cheaper_of_two_keys_for_one_name_is_shown_first() {
        let identities = [
            identity(&["other.example"], &rcgen::PKCS_ED25519),
            identity(&["a.example"], &rcgen::PKCS_ECDSA_P384_SHA384),
            identity(&["a.example"], &rcgen::PKCS_ECDSA_P256_SHA256),
        ];
        let by_name = ByName::new(&identities);
        let keys = by_name.candidates(Some("a.example"));
        assert_eq!(keys.len(), 2);
        assert!(Arc::ptr_eq(&keys[0], &identities[1].key), "the order written decides");
        assert_eq!(by_name.candidates(None).len(), 3, "any certificate is better than none");
    }
}
