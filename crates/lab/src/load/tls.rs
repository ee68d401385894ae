//! TLS of the load: which certificates are believed, and whether sessions are resumed.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, HandshakeKind, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::stream::Stream;
use super::{Handshakes, LoadError};

/// Sessions that one connection of the load remembers: it resumes the last one.
const SESSIONS_REMEMBERED: usize = 8;

/// How the connections of a run handshake.
#[derive(Debug)]
pub(super) struct TlsPlan {
    config: ClientConfig,
    name: ServerName<'static>,
    resume: bool,
}

impl TlsPlan {
    /// For `authority` (host and port) at `addr`. Certificates are checked against `ca`; without it a loopback target
    /// may show any, and any other target is refused.
    pub(super) fn new(
        authority: &str,
        addr: SocketAddr,
        ca: Option<&Path>,
        handshakes: Option<Handshakes>,
    ) -> Result<TlsPlan, LoadError> {
        let refused = |option, problem: String| LoadError::Option { option, problem };
        let provider = Arc::new(provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| refused("url", error.to_string()))?;
        let builder = match ca {
            Some(path) => builder.with_root_certificates(authorities(path)?),
            None if addr.ip().is_loopback() => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)))
            }
            None => {
                let problem = "a target on another machine needs the authority of its certificate";
                return Err(refused("ca", problem.to_owned()));
            }
        };
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        let host = authority.rsplit_once(':').map_or(authority, |(host, port)| {
            // The colons of a bare IPv6 address are not those before a port.
            if port.ends_with(']') { authority } else { host }
        });
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host)
            .map_err(|_| refused("url", "its host is no name for a certificate".to_owned()))?;
        // One handshake for each connection is the usual load: what is measured is then the traffic.
        Ok(TlsPlan { config, name, resume: handshakes == Some(Handshakes::Resumed) })
    }

    /// The connector of one connection. Each has its own sessions: a ticket is good for one connection only, and a store
    /// for all would run dry while thousands reconnect.
    pub(super) fn connector(&self) -> TlsConnector {
        let mut config = self.config.clone();
        if self.resume {
            config.resumption = Resumption::in_memory_sessions(SESSIONS_REMEMBERED);
        }
        TlsConnector::from(Arc::new(config))
    }

    /// Handshakes over `stream`; says whether the session was resumed.
    pub(super) async fn connect(
        &self,
        connector: &TlsConnector,
        stream: TcpStream,
    ) -> io::Result<(Stream, bool)> {
        let stream = connector.connect(self.name.clone(), stream).await?;
        let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        Ok((Stream::Tls(Box::new(stream)), resumed))
    }
}

/// The same choice for every target, whatever it knows besides: X25519, then P-256; AES-128 first.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519, aws_lc_rs::kx_group::SECP256R1];
    // A stable sort: the rest stays in its order.
    provider.cipher_suites.sort_by_key(|suite| !format!("{:?}", suite.suite()).contains("AES_128"));
    provider
}

fn authorities(path: &Path) -> Result<RootCertStore, LoadError> {
    let refused = |cause: String| LoadError::Option {
        option: "ca",
        problem: format!("{} cannot be used: {cause}", path.display()),
    };
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| refused(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| refused(error.to_string()))?;
        roots.add(certificate).map_err(|error| refused(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(refused("it holds no certificate".to_owned()));
    }
    Ok(roots)
}

/// Believes every certificate: for loopback, where a benchmark's certificate is its own authority.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer,
        _: &[CertificateDer],
        _: &ServerName,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
