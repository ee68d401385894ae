//! Certificates made for a test, and TLS clients that trust them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SignatureAlgorithm,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

use crate::http::Connection;

/// An authority of the test's own and the directory that its files are in.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    directory: PathBuf,
    /// Its PEM file.
    pub file: PathBuf,
}

/// A certificate with its key, in memory and in files.
#[derive(Debug)]
pub struct Issued {
    /// The certificate.
    pub der: CertificateDer<'static>,
    /// The key, PKCS#8.
    pub key: Vec<u8>,
    /// PEM file of the certificate.
    pub cert_file: PathBuf,
    /// PEM file of the key.
    pub key_file: PathBuf,
}

impl Issued {
    /// As an item of a listener's `tls`.
    pub fn yaml(&self) -> String {
        format!("{{ cert: {}, key: {} }}", self.cert_file.display(), self.key_file.display())
    }
}

/// A directory under the system's temporary one that no other test has.
pub fn own_directory(name: &str) -> PathBuf {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let path =
        std::env::temp_dir().join(format!("tidegate-{name}-{}-{nanos:x}", std::process::id()));
    fs::create_dir_all(&path).expect("a directory");
    path
}

impl Default for Authority {
    fn default() -> Self {
        let directory = own_directory("certificates");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // A certificate with the name of its issuer would pass for self-signed.
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        let certificate = params.self_signed(&key).expect("a certificate");
        let file = directory.join("authority.pem");
        fs::write(&file, certificate.pem()).expect("a file");
        let der = certificate.der().clone();
        Self { issuer: Issuer::new(params, key), certificate: der, directory, file }
    }
}

impl Authority {
    /// Issues a certificate for these names, in files of this name.
    pub fn issue(&self, file: &str, names: &[&str]) -> Issued {
        self.issue_for(file, names, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    /// As [`Authority::issue`], with a key of this algorithm.
    pub fn issue_for(
        &self,
        file: &str,
        names: &[&str],
        algorithm: &'static SignatureAlgorithm,
    ) -> Issued {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).expect("names");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let cert_file = self.directory.join(format!("{file}.pem"));
        let key_file = self.directory.join(format!("{file}.key"));
        fs::write(&cert_file, certificate.pem()).expect("a file");
        fs::write(&key_file, key.serialize_pem()).expect("a file");
        let der = certificate.der().clone();
        Issued { der, key: key.serialize_der(), cert_file, key_file }
    }

    /// The directory of the files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A client that trusts this authority and shows `identity`, if any.
    pub fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        identity: Option<&Issued>,
    ) -> Client {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("an authority");
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(issued) => builder
                .with_client_auth_cert(
                    vec![issued.der.clone()],
                    PrivateKeyDer::Pkcs8(issued.key.clone().into()),
                )
                .expect("a client certificate"),
        };
        Client(Arc::new(config))
    }

    /// A client without a certificate that speaks TLS 1.2 and 1.3.
    pub fn any_client(&self) -> Client {
        self.client(rustls::ALL_VERSIONS, None)
    }
}

/// A TLS client; it remembers sessions.
#[derive(Debug, Clone)]
pub struct Client(pub Arc<ClientConfig>);

impl Client {
    /// Connects; the handshake is made with the first bytes.
    #[track_caller]
    pub fn open(&self, address: SocketAddr, name: &str) -> Connection {
        self.on(Connection::open(address), name)
    }

    /// Speaks TLS on a connection from here on.
    #[track_caller]
    pub fn on(&self, connection: Connection, name: &str) -> Connection {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let tls = ClientConnection::new(Arc::clone(&self.0), name).expect("a client");
        connection.over_tls(tls)
    }
}
