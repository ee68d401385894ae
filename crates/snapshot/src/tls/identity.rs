//! A certificate with its key, as two PEM files hold them.

use std::io::Read as _;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, InconsistentKeys, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tidegate_config::Certificate;

use super::x509;

/// Bytes of a PEM file that are read at most.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A certificate chain and its key, ready to be shown to peers.
#[derive(Debug)]
pub struct Identity {
    /// What rustls shows and signs with.
    pub key: Arc<CertifiedKey>,
    /// Host names of the certificate, in lower case; wildcards as `*.example.com`.
    pub hosts: Vec<String>,
    /// IP addresses of the certificate.
    pub addresses: Vec<IpAddr>,
    /// Valid from, in seconds since 1970.
    pub not_before: i64,
    /// Valid until, in seconds since 1970.
    pub not_after: i64,
}

/// Why two files are not a usable certificate and key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct IdentityError {
    /// The key of the configuration that names the file: `cert` or `key`.
    pub field: &'static str,
    /// One sentence, with the file's name, without a full stop.
    pub message: String,
}

impl Identity {
    /// Reads both files.
    pub fn read(files: &Certificate) -> Result<Self, IdentityError> {
        let cert = |message| IdentityError { field: "cert", message };
        let key = |message| IdentityError { field: "key", message };
        let chain = certificates(&files.cert).map_err(cert)?;
        let secret = private_key(&files.key).map_err(key)?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let (cert_file, key_file) = (files.cert.display(), files.key.display());
        let facts = chain.first().and_then(|end_entity| x509::facts(end_entity));
        let facts = facts.ok_or_else(|| cert(format!("{cert_file} holds no X.509 certificate")))?;
        let certified =
            CertifiedKey::from_der(chain, secret, &provider).map_err(|error| match error {
                Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => key(format!(
                    "{key_file} does not belong to the first certificate of {cert_file}"
                )),
                Error::InvalidCertificate(CertificateError::BadEncoding) => {
                    cert(format!("{cert_file} holds no X.509 certificate"))
                }
                other => key(format!("{key_file} cannot be used: {other}")),
            })?;
        Ok(Self {
            key: Arc::new(certified),
            hosts: facts.hosts,
            addresses: facts.addresses,
            not_before: facts.not_before,
            not_after: facts.not_after,
        })
    }
}

/// The certificates of a PEM file: at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(path)?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err(format!("{} holds no certificate in PEM form", path.display()))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(format!("{} is not PEM: {error}", path.display())),
    }
}

/// The authorities of a PEM file: at least one.
pub(super) fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| format!("{} holds what is no authority: {error}", path.display()))?;
    }
    Ok(roots)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let pem = read(path)?;
    // PKCS#8 says so in the section's name, older forms in a line of its own.
    let says = |words: &[u8]| pem.windows(words.len()).any(|window| window == words);
    if says(b"BEGIN ENCRYPTED PRIVATE KEY") || says(b"Proc-Type: 4,ENCRYPTED") {
        return Err(format!(
            "{} is encrypted; write it without a passphrase (openssl pkey -in … -out …)",
            path.display()
        ));
    }
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        rustls_pki_types::pem::Error::NoItemsFound => {
            format!("{} holds no private key in PEM form", path.display())
        }
        other => format!("{} is not PEM: {other}", path.display()),
    })
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(cannot)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("{} is larger than {FILE_BYTES_MAX} bytes", path.display()));
    }
    Ok(bytes)
}
