//! Certificates of the tests, made anew for each run.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize, SanType,
};
use std::sync::LazyLock;

/// A certificate with its key.
pub struct Identity {
    pub certificate: Certificate,
    pub key: KeyPair,
}

impl Identity {
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }
}

/// A certificate authority.
pub struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = params(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Authority { certificate: params.self_signed(&key).unwrap(), issuer: Issuer::new(params, key) }
    }

    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub fn der(&self) -> rustls::pki_types::CertificateDer<'static> {
        self.certificate.der().clone()
    }

    pub fn server(&self, expires: i32) -> Identity {
        self.server_with(KeyPair::generate().unwrap(), expires)
    }

    fn server_with(&self, key: KeyPair, expires: i32) -> Identity {
        let names = [SanType::DnsName("localhost".try_into().unwrap()), SanType::IpAddress([127, 0, 0, 1].into())];
        let mut params = params("server", &names);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_after = rcgen::date_time_ymd(expires, 1, 1);
        Identity { certificate: params.signed_by(&key, &self.issuer).unwrap(), key }
    }

    pub fn client(&self, names: &[SanType]) -> Identity {
        self.issue(names, ExtendedKeyUsagePurpose::ClientAuth, 4000)
    }

    pub fn issue(&self, names: &[SanType], usage: ExtendedKeyUsagePurpose, expires: i32) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = params("client", names);
        params.extended_key_usages = vec![usage];
        params.not_after = rcgen::date_time_ymd(expires, 1, 1);
        Identity { certificate: params.signed_by(&key, &self.issuer).unwrap(), key }
    }
}

fn params(name: &str, names: &[SanType]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = names.to_vec();
    params
}

/// As `openssl req -x509` makes it: an authority as well.
pub fn self_signed(names: &[SanType], expires: i32) -> Identity {
    let key = KeyPair::generate().unwrap();
    let mut params = params("self-signed", names);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_after = rcgen::date_time_ymd(expires, 1, 1);
    Identity { certificate: params.self_signed(&key).unwrap(), key }
}

pub fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

/// What most tests use.
pub struct Pki {
    pub authority: Authority,
    /// RSA, because the cipher suites of exporter-toolkit's tests are for RSA.
    pub server: Identity,
    pub client: Identity,
    /// The client's certificates of exporter-toolkit's tests.
    pub client_selfsigned: Identity,
    pub client2_selfsigned: Identity,
}

pub static PKI: LazyLock<Pki> = LazyLock::new(|| {
    let authority = Authority::new("authority");
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    Pki {
        server: authority.server_with(key, 2090),
        client: authority.client(&[dns("client")]),
        client_selfsigned: self_signed(&[], 4000),
        client2_selfsigned: self_signed(&[dns("test1"), dns("test2"), dns("test3")], 4000),
        authority,
    }
});
