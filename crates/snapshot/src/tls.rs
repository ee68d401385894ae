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

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

pub use identity::{Identity, IdentityError};
pub use inspect::{Finding, Severity, files, inspect};
pub use kept::TlsKept;

use crate::compile::CompileError;

/// Client configurations by CA file, filled while one snapshot is compiled.
#[derive(Default)]
pub(crate) struct TlsConfigs {
    by_ca: HashMap<Option<PathBuf>, Arc<ClientConfig>>,
}

impl TlsConfigs {
    /// The configuration that trusts the system's roots, or those of `ca_file` instead.
    pub(crate) fn client(
        &mut self,
        ca_file: Option<&Path>,
    ) -> Result<Arc<ClientConfig>, CompileError> {
        let key = ca_file.map(Path::to_owned);
        if let Some(known) = self.by_ca.get(&key) {
            return Ok(Arc::clone(known));
        }
        let roots = match ca_file {
            Some(path) => roots_from_file(path)?,
            None => system_roots(),
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| CompileError::Tls(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let config = Arc::new(config);
        self.by_ca.insert(key, Arc::clone(&config));
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

fn roots_from_file(path: &Path) -> Result<RootCertStore, CompileError> {
    let bad = |message: String| CompileError::CaFile { path: path.to_owned(), message };
    let mut roots = RootCertStore::empty();
    for certificate in
        CertificateDer::pem_file_iter(path).map_err(|error| bad(error.to_string()))?
    {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(bad("it holds no certificate".to_owned()));
    }
    Ok(roots)
}
