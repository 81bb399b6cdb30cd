//! TLS of the server: certificates, verification of clients, handshakes.
//!
//! Each configuration has its own storage of sessions, so that no session survives a change of what clients have to show.

mod client;
mod handshake;

pub use handshake::HandshakeError;
pub(super) use handshake::handshake;

use crate::config::web::{Cipher, ClientAuth, Curve, Pem, Tls, TlsVersion};
use crate::model::Timestamp;
use client::ClientVerifier;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoClientAuth;
use rustls::sign::CertifiedKey;
use rustls::{ProtocolVersion, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};
use std::sync::Arc;

/// Why certificates, keys or the client CA cannot be used. Each names the place in the web configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// There is no certificate, or a broken one.
    #[error("{0}: {1}; it must have at least one certificate in PEM form")]
    Certificate(String, PemProblem),
    /// There is no key, or a broken one.
    #[error("{0}: {1}; it must have one private key in PEM form that is not encrypted")]
    Key(String, PemProblem),
    /// The key cannot be used, or is that of another certificate.
    #[error("{place}: the key does not fit the certificate: {error}")]
    KeyPair {
        /// The place of the key.
        place: String,
        /// What is wrong.
        error: rustls::Error,
    },
    /// A certificate of the client CA cannot be used.
    #[error("{place}: a certificate of the client CA cannot be used: {error}")]
    ClientCa {
        /// The place of the client CA.
        place: String,
        /// What is wrong.
        error: rustls::Error,
    },
    /// Versions and cipher suites exclude each other.
    #[error("tls_server_config: {0}")]
    Combination(rustls::Error),
}

/// What is wrong with a text in PEM form.
#[derive(Debug, thiserror::Error)]
pub enum PemProblem {
    /// It has no section of this kind.
    #[error("none found")]
    Empty,
    /// A section is broken.
    #[error("{0}")]
    Broken(&'static str),
    /// A certificate is not in the form of X.509.
    #[error("it is not an X.509 certificate")]
    NotX509,
}

/// Without the library's own text: it quotes lines, which can be those of a key.
impl From<PemError> for PemProblem {
    fn from(error: PemError) -> Self {
        match error {
            PemError::NoItemsFound => PemProblem::Empty,
            PemError::MissingSectionEnd { .. } => PemProblem::Broken("a section has no line that ends it"),
            PemError::IllegalSectionStart { .. } => PemProblem::Broken("the first line of a section is malformed"),
            PemError::Base64Decode(_) => PemProblem::Broken("a section is not base64"),
            _ => PemProblem::Broken("it cannot be read"),
        }
    }
}

/// TLS that connections can be accepted with.
pub(super) struct ServerTls {
    /// For new connections.
    pub config: Arc<ServerConfig>,
    /// When the first certificate of the chain, the server's own, expires.
    pub expires: Timestamp,
    /// What clients have to show.
    pub client_auth: ClientAuth,
    /// What decides which clients are accepted: connections of before a change of it are closed.
    pub trust: Arc<Trust>,
}

/// Which clients are accepted.
#[derive(PartialEq, Eq)]
pub(super) struct Trust {
    client_auth: ClientAuth,
    client_ca: Vec<CertificateDer<'static>>,
    pub allowed_sans: Option<Vec<String>>,
}

impl ServerTls {
    pub(super) fn new(tls: &Tls, http2: bool) -> Result<Self, TlsError> {
        let provider = Arc::new(provider(tls));
        let chain = certificates(&tls.certificate)?;
        let expires =
            expiry(&chain).ok_or_else(|| TlsError::Certificate(tls.certificate.to_string(), PemProblem::NotX509))?;
        let key = PrivateKeyDer::from_pem_slice(tls.key.expose())
            .map_err(|error| TlsError::Key(tls.key.to_string(), error.into()))?;
        let certified = CertifiedKey::from_der(chain, key, &provider)
            .map_err(|error| TlsError::KeyPair { place: tls.key.to_string(), error })?;
        let client_ca = tls.client_ca.as_ref().map(certificates).transpose()?.unwrap_or_default();
        let verifier = match tls.client_auth {
            ClientAuth::None => Arc::new(NoClientAuth),
            _ => ClientVerifier::build(tls, &client_ca, &provider).map_err(|error| {
                let place = tls.client_ca.as_ref().map_or_else(String::new, ToString::to_string);
                TlsError::ClientCa { place, error }
            })?,
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions(tls))
            .map_err(TlsError::Combination)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
        config.ignore_client_order = tls.prefer_server_ciphers;
        config.alpn_protocols = if http2 { vec![H2.into(), b"http/1.1".into()] } else { vec![b"http/1.1".into()] };
        let trust =
            Arc::new(Trust { client_auth: tls.client_auth, client_ca, allowed_sans: tls.client_allowed_sans.clone() });
        Ok(ServerTls { config: Arc::new(config), expires, client_auth: tls.client_auth, trust })
    }
}

/// The name of HTTP/2 in the negotiation of protocols.
pub(super) const H2: &[u8] = b"h2";

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |problem| TlsError::Certificate(pem.to_string(), problem);
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.expose()).collect();
    let certificates = certificates.map_err(|error| failed(error.into()))?;
    if certificates.is_empty() { Err(failed(PemProblem::Empty)) } else { Ok(certificates) }
}

fn expiry(chain: &[CertificateDer<'_>]) -> Option<Timestamp> {
    let (_, certificate) = x509_parser::parse_x509_certificate(chain.first()?).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

fn versions(tls: &Tls) -> Vec<&'static SupportedProtocolVersion> {
    let all = [(TlsVersion::Tls12, &rustls::version::TLS12), (TlsVersion::Tls13, &rustls::version::TLS13)];
    let allowed = all.into_iter().filter(|(v, _)| (tls.min_version..=tls.max_version).contains(v));
    // Only suites of TLS 1.3 leave nothing for TLS 1.2.
    let only_13 = tls.ciphers.as_ref().is_some_and(|list| list.iter().all(|cipher| *cipher == Cipher::Tls13));
    allowed.map(|(_, version)| version).filter(|v| !only_13 || v.version == ProtocolVersion::TLSv1_3).collect()
}

/// The provider with what the lists allow.
fn provider(tls: &Tls) -> CryptoProvider {
    let mut provider = default_provider();
    if let Some(list) = &tls.ciphers {
        provider.cipher_suites.retain(|suite| suite.tls13().is_some());
        provider.cipher_suites.extend(list.iter().filter_map(|cipher| suite(*cipher)));
    }
    if let Some(list) = &tls.curves {
        provider.kx_groups = list.iter().map(|curve| group(*curve)).collect();
    }
    provider
}

fn suite(cipher: Cipher) -> Option<SupportedCipherSuite> {
    Some(match cipher {
        Cipher::EcdsaAes128 => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        Cipher::EcdsaAes256 => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        Cipher::EcdsaChacha20 => cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        Cipher::RsaAes128 => cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        Cipher::RsaAes256 => cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        Cipher::RsaChacha20 => cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        Cipher::Tls13 => return None,
    })
}

fn group(curve: Curve) -> &'static dyn SupportedKxGroup {
    match curve {
        Curve::X25519 => kx_group::X25519,
        Curve::P256 => kx_group::SECP256R1,
        Curve::P384 => kx_group::SECP384R1,
    }
}

#[cfg(test)]
mod tests;
