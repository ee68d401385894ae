//! TLS towards endpoints: one client configuration per set of roots, shared by all that use it. TLS
//! towards callers is in `server`, the certificates of both in `identity`.

mod identity;
mod inspect;
mod kept;
pub(crate) mod server;
mod x509;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use tidegate_config::Certificate;

pub use identity::{Identity, IdentityError};
pub use inspect::{Finding, Severity, files, inspect};
pub use kept::TlsKept;

use crate::compile::CompileError;
use crate::types::Protocol;

/// What a client configuration is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientTls<'c> {
    /// The file of the roots to trust instead of the system's.
    pub(crate) ca: Option<&'c Path>,
    /// The files of our certificate and its key.
    pub(crate) identity: Option<(&'c Path, &'c Path)>,
}

/// CA file, our certificate and key, the protocols offered.
type Key = (Option<PathBuf>, Option<(PathBuf, PathBuf)>, &'static [&'static [u8]]);

/// Client configurations by what they are made of, filled while one snapshot is compiled.
#[derive(Default)]
pub(crate) struct TlsConfigs {
    known: HashMap<Key, Arc<ClientConfig>>,
}

/// What is offered by ALPN (RFC 7301), the preferred one first.
fn offered(protocol: Protocol) -> &'static [&'static [u8]] {
    match protocol {
        Protocol::Http1 => &[b"http/1.1"],
        Protocol::Http2 => &[b"h2"],
        Protocol::Negotiated => &[b"h2", b"http/1.1"],
    }
}

impl TlsConfigs {
    /// The configuration that trusts these roots, shows this certificate and offers this protocol.
    pub(crate) fn client(
        &mut self,
        tls: &ClientTls<'_>,
        protocol: Protocol,
    ) -> Result<Arc<ClientConfig>, CompileError> {
        let identity = tls.identity.map(|(cert, key)| (cert.to_owned(), key.to_owned()));
        let key = (tls.ca.map(Path::to_owned), identity, offered(protocol));
        if let Some(known) = self.known.get(&key) {
            return Ok(Arc::clone(known));
        }
        let roots = match tls.ca {
            Some(path) => identity::authorities(path).map_err(CompileError::CaFile)?,
            None => system_roots(),
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| CompileError::Tls(error.to_string()))?
            .with_root_certificates(roots);
        let mut config = match tls.identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let files = Certificate { cert: cert.to_owned(), key: key.to_owned() };
                let identity = Identity::read(&files)
                    .map_err(|error| CompileError::ClientCertificate(error.message))?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.key)))
            }
        };
        config.alpn_protocols = key.2.iter().map(|name| name.to_vec()).collect();
        let config = Arc::new(config);
        self.known.insert(key, Arc::clone(&config));
        Ok(config)
    }
}

/// The system's roots. Unreadable ones are left out; without any, every handshake fails with
/// `unknown issuer`, which names the cause better than a refusal to start would.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}
