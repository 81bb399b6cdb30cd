//! An HTTPS client without anything between the test and the wire.

use super::pki::{Authority, Identity, PKI};
use crate::http::{self, Response};
use crate::metrics::Metrics;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

pub type Tls = StreamOwned<ClientConnection, TcpStream>;

/// How a client connects. Clones share their TLS sessions.
#[derive(Clone)]
pub struct Client(Arc<ClientConfig>);

/// What a client offers.
pub struct Offer<'a> {
    pub authority: &'a Authority,
    pub identity: Option<&'a Identity>,
    pub versions: &'a [&'static SupportedProtocolVersion],
    pub ciphers: &'a [rustls::CipherSuite],
    pub curves: &'a [rustls::NamedGroup],
    pub alpn: &'a [&'a str],
}

impl Default for Offer<'_> {
    fn default() -> Self {
        Offer {
            authority: &PKI.authority,
            identity: None,
            versions: rustls::ALL_VERSIONS,
            ciphers: &[],
            curves: &[],
            alpn: &[],
        }
    }
}

impl Offer<'_> {
    pub fn client(&self) -> Client {
        let mut provider = default_provider();
        if !self.ciphers.is_empty() {
            let all = default_provider().cipher_suites;
            let named = |name| all.iter().find(|suite| suite.suite() == name).copied().unwrap();
            provider.cipher_suites = self.ciphers.iter().map(|name| named(*name)).collect();
        }
        if !self.curves.is_empty() {
            let all = [kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];
            provider.kx_groups = all.into_iter().filter(|group| self.curves.contains(&group.name())).collect();
        }
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match self.identity {
            Some(identity) => builder
                .with_client_auth_cert(
                    vec![identity.certificate.der().clone()],
                    PrivateKeyDer::try_from(identity.key.serialize_der()).unwrap(),
                )
                .unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Client(Arc::new(config))
    }
}

/// Without a certificate.
pub fn client() -> Client {
    Offer::default().client()
}

pub fn client_with(identity: &Identity) -> Client {
    Offer { identity: Some(identity), ..Offer::default() }.client()
}

impl Client {
    /// A connection after its handshake.
    pub fn connect(&self, address: SocketAddr) -> std::io::Result<Tls> {
        let name = "localhost".try_into().unwrap();
        let connection = ClientConnection::new(Arc::clone(&self.0), name).map_err(std::io::Error::other)?;
        let mut stream = StreamOwned::new(connection, http::connect(address)?);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }

    /// One request on a connection of its own. TLS 1.3 reports a refused client only after the handshake.
    pub fn request(&self, address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> std::io::Result<Response> {
        let mut stream = self.connect(address)?;
        send(&mut stream, "GET", path, headers)?;
        http::read_to_end(stream)
    }

    pub fn status(&self, address: SocketAddr) -> std::io::Result<u16> {
        Ok(self.request(address, "/-/healthy", &[])?.status)
    }

    pub fn metrics(&self, address: SocketAddr) -> Metrics {
        Metrics::new(self.request(address, "/metrics", &[]).unwrap().text())
    }

    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0)
    }
}

/// Writes a request that is the last one of its connection.
pub fn send(stream: &mut impl Write, method: &str, path: &str, headers: &[(&str, &str)]) -> std::io::Result<()> {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes())?;
    stream.flush()
}

/// The value of the header `Authorization`.
pub fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}")))
}
