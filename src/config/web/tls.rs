//! The section `tls_server_config`.

use super::section::{Secret, Text, TlsSection};
use super::{MAX_BYTES, Place, WrongValue};
use crate::files::{self, ReadError};
use crate::text::redact::redact_hashes;
use secrecy::{ExposeSecret, SecretSlice};
use serde_saphyr::Spanned;
use std::fmt;
use std::path::Path;

/// TLS of the server.
#[derive(Debug)]
pub struct Tls {
    /// The server's certificate, followed by its chain.
    pub certificate: Pem,
    /// The key of the certificate.
    pub key: Pem,
    /// Certificates that client certificates are verified with.
    pub client_ca: Option<Pem>,
    /// What clients have to show.
    pub client_auth: ClientAuth,
    /// Names of which a client certificate has to have one; `None` if any name is allowed.
    pub client_allowed_sans: Option<Vec<String>>,
    /// The lowest TLS version.
    pub min_version: TlsVersion,
    /// The highest TLS version.
    pub max_version: TlsVersion,
    /// Cipher suites of TLS 1.2, most preferred first; `None` for all.
    pub ciphers: Option<Vec<Cipher>>,
    /// Groups of the key exchange, most preferred first; `None` for all.
    pub curves: Option<Vec<Curve>>,
    /// Whether the server's order of cipher suites counts, not the client's.
    pub prefer_server_ciphers: bool,
}

/// A part in PEM form, from a file or from the web configuration itself.
pub struct Pem {
    place: Place,
    /// `None` if it is inline.
    path: Option<String>,
    content: SecretSlice<u8>,
}

impl Pem {
    /// The content.
    pub fn expose(&self) -> &[u8] {
        self.content.expose_secret()
    }
}

/// Where it is from: for errors.
impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{}: {path}", self.place),
            None => write!(f, "{}", self.place),
        }
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem({self})")
    }
}

/// What clients have to show, by the names of Go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientAuth {
    /// No certificate is requested.
    None,
    /// A certificate is requested; it need not be sent, and is not verified.
    Request,
    /// A certificate has to be sent; it is not verified.
    RequireAny,
    /// A certificate need not be sent; one that is sent is verified.
    VerifyIfGiven,
    /// A certificate has to be sent, and is verified.
    RequireAndVerify,
}

impl ClientAuth {
    /// Whether a certificate that is sent has to be signed by the client CA.
    pub fn verifies(self) -> bool {
        matches!(self, ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify)
    }

    /// Whether a connection without a certificate is refused.
    pub fn requires(self) -> bool {
        matches!(self, ClientAuth::RequireAny | ClientAuth::RequireAndVerify)
    }

    fn parse(name: &str) -> Result<Self, WrongValue> {
        match name {
            "" | "NoClientCert" => Ok(ClientAuth::None),
            "RequestClientCert" => Ok(ClientAuth::Request),
            "RequireAnyClientCert" | "RequireClientCert" => Ok(ClientAuth::RequireAny),
            "VerifyClientCertIfGiven" => Ok(ClientAuth::VerifyIfGiven),
            "RequireAndVerifyClientCert" => Ok(ClientAuth::RequireAndVerify),
            other => Err(WrongValue::ClientAuth(other.into())),
        }
    }
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2
    Tls12,
    /// TLS 1.3
    Tls13,
}

impl TlsVersion {
    fn parse(name: &str) -> Result<Self, WrongValue> {
        match name {
            "TLS12" => Ok(TlsVersion::Tls12),
            "TLS13" => Ok(TlsVersion::Tls13),
            "TLS10" => Err(WrongValue::OldTls("TLS10")),
            "TLS11" => Err(WrongValue::OldTls("TLS11")),
            other => Err(WrongValue::TlsVersion(other.into())),
        }
    }
}

/// A cipher suite that can be used. Those of TLS 1.3 are always on, as in Go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the standard, in CIPHERS")]
pub enum Cipher {
    EcdsaAes128,
    EcdsaAes256,
    EcdsaChacha20,
    RsaAes128,
    RsaAes256,
    RsaChacha20,
    Tls13,
}

/// Names of the cipher suites that can be used.
pub const CIPHERS: &[(&str, Cipher)] = &[
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", Cipher::EcdsaAes128),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", Cipher::EcdsaAes256),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", Cipher::EcdsaChacha20),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", Cipher::RsaAes128),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", Cipher::RsaAes256),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", Cipher::RsaChacha20),
    ("TLS_AES_128_GCM_SHA256", Cipher::Tls13),
    ("TLS_AES_256_GCM_SHA384", Cipher::Tls13),
    ("TLS_CHACHA20_POLY1305_SHA256", Cipher::Tls13),
];

/// A group of the key exchange that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the standard, in CURVES")]
pub enum Curve {
    X25519,
    P256,
    P384,
}

/// Names of the curves that can be used.
pub const CURVES: &[(&str, Curve)] =
    &[("CurveP256", Curve::P256), ("CurveP384", Curve::P384), ("X25519", Curve::X25519)];

pub(super) fn names<T>(table: &[(&str, T)]) -> String {
    table.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

fn cipher(name: &str) -> Result<Cipher, WrongValue> {
    let reason = if name.contains("_CBC_") {
        "CBC is not offered by rustls, for its weaknesses"
    } else if name.starts_with("TLS_RSA_WITH_") {
        "the key exchange has no forward secrecy"
    } else {
        "there is no such cipher suite"
    };
    let known = CIPHERS.iter().find(|(known, _)| *known == name);
    known.map(|(_, cipher)| *cipher).ok_or_else(|| WrongValue::Cipher { name: name.into(), reason })
}

fn curve(name: &str) -> Result<Curve, WrongValue> {
    let reason = if name == "CurveP521" { "rustls does not offer it" } else { "there is no such curve" };
    let known = CURVES.iter().find(|(known, _)| *known == name);
    known.map(|(_, curve)| *curve).ok_or_else(|| WrongValue::Curve { name: name.into(), reason })
}

type Wrong = (Place, WrongValue);

/// `None` if the section is empty.
pub(super) fn validate(section: TlsSection, http2: bool, directory: &Path) -> Result<Option<Tls>, Wrong> {
    let section = Section { directory, given: section };
    let Some(first) = section.first_place() else { return Ok(None) };
    let client_auth = section.client_auth()?;
    let (min_version, max_version) = section.versions()?;
    let ciphers = section.ciphers(http2, min_version, max_version)?;
    let curves = section.given.curve_preferences.as_deref().unwrap_or_default();
    let curves = each(curves, "tls_server_config.curve_preferences", curve)?;
    let client_allowed_sans = section.sans(client_auth)?;
    let missing = |part| first.clone().wrong(WrongValue::Missing(part));
    let given = &section.given;
    // All of these are checked before a file is read.
    let certificate = section.one_of("cert", text(&given.cert), text(&given.cert_file))?;
    let certificate = certificate.ok_or_else(|| missing("cert"))?;
    let key = section.one_of("key", secret(&given.key), text(&given.key_file))?.ok_or_else(|| missing("key"))?;
    let client_ca = section.one_of("client_ca", text(&given.client_ca), text(&given.client_ca_file))?;
    match &client_ca {
        Some(ca) if client_auth == ClientAuth::None => return Err(ca.place.clone().wrong(WrongValue::UnusedClientCa)),
        None if client_auth == ClientAuth::RequireAndVerify => return Err(first.wrong(WrongValue::NoClientCa)),
        _ => {}
    }
    Ok(Some(Tls {
        certificate: certificate.load()?,
        key: key.load()?,
        client_ca: client_ca.map(Origin::load).transpose()?,
        client_auth,
        client_allowed_sans,
        min_version,
        max_version,
        ciphers,
        curves: Some(curves).filter(|curves| !curves.is_empty()),
        prefer_server_ciphers: section.given.prefer_server_cipher_suites.unwrap_or(true),
    }))
}

struct Section<'a> {
    directory: &'a Path,
    given: TlsSection,
}

/// A part that is set: inline, or as the path of a file.
struct Origin {
    place: Place,
    path: Option<std::path::PathBuf>,
    inline: SecretSlice<u8>,
}

impl Origin {
    fn load(self) -> Result<Pem, Wrong> {
        let Some(path) = self.path else {
            return Ok(Pem { place: self.place, path: None, content: self.inline });
        };
        let name = redact_hashes(&path.display().to_string());
        let failed = |error: ReadError| WrongValue::File { path: name.clone(), message: error.to_string() };
        let content = match files::read_secret(&path, MAX_BYTES) {
            // The copy has the exact size, so that the vector is not moved once more.
            Ok(bytes) => SecretSlice::from(bytes.to_vec()),
            Err(error) => return Err(self.place.wrong(failed(error))),
        };
        Ok(Pem { place: self.place, path: Some(name), content })
    }
}

/// A value with its place. An empty one is like an absent one.
type Given<'a> = Option<(&'a str, Place)>;

fn text(value: &Option<Spanned<Text>>) -> Given<'_> {
    let value = value.as_ref().filter(|value| !value.value.0.is_empty())?;
    Some((&value.value.0, Place::of(value, "")))
}

fn secret(value: &Option<Spanned<Secret>>) -> Given<'_> {
    let value = value.as_ref().filter(|value| !value.value.0.expose_secret().is_empty())?;
    Some((value.value.0.expose_secret(), Place::of(value, "")))
}

fn each<T>(list: &[Spanned<Text>], key: &str, parse: fn(&str) -> Result<T, WrongValue>) -> Result<Vec<T>, Wrong> {
    list.iter().map(|name| parse(&name.value.0).map_err(|wrong| Place::of(name, key).wrong(wrong))).collect()
}

impl Section<'_> {
    /// The place of the first key that is set.
    fn first_place(&self) -> Option<Place> {
        let given = &self.given;
        let texts = [
            &given.cert,
            &given.cert_file,
            &given.key_file,
            &given.client_ca,
            &given.client_ca_file,
            &given.client_auth_type,
            &given.min_version,
            &given.max_version,
        ];
        let texts = texts.into_iter().flatten().map(|value| Place::of(value, "tls_server_config"));
        let key = given.key.as_ref().map(|value| Place::of(value, "tls_server_config"));
        let sans = given.client_allowed_sans.as_ref().map(|value| Place::of(value, "tls_server_config"));
        let lists = [&given.cipher_suites, &given.curve_preferences];
        let lists = lists.into_iter().flatten().flatten().map(|value| Place::of(value, "tls_server_config"));
        texts.chain(key).chain(sans).chain(lists).min_by_key(|place| (place.line, place.column))
    }

    fn one_of(&self, key: &'static str, inline: Given<'_>, file: Given<'_>) -> Result<Option<Origin>, Wrong> {
        let place = |place: Place, suffix: &str| Place { key: format!("tls_server_config.{key}{suffix}"), ..place };
        Ok(Some(match (inline, file) {
            (Some(_), Some((_, at))) => return Err(place(at, "_file").wrong(WrongValue::Both(key))),
            (Some((pem, at)), None) => {
                Origin { place: place(at, ""), path: None, inline: SecretSlice::from(pem.as_bytes().to_vec()) }
            }
            (None, Some((path, at))) => Origin {
                place: place(at, "_file"),
                path: Some(self.directory.join(path)),
                inline: SecretSlice::from(Vec::new()),
            },
            (None, None) => return Ok(None),
        }))
    }

    fn client_auth(&self) -> Result<ClientAuth, Wrong> {
        let Some(given) = &self.given.client_auth_type else { return Ok(ClientAuth::None) };
        ClientAuth::parse(&given.value.0)
            .map_err(|wrong| Place::of(given, "tls_server_config.client_auth_type").wrong(wrong))
    }

    fn sans(&self, client_auth: ClientAuth) -> Result<Option<Vec<String>>, Wrong> {
        let Some(sans) = &self.given.client_allowed_sans else { return Ok(None) };
        let place = Place::of(sans, "tls_server_config.client_allowed_sans");
        match &sans.value {
            _ if !client_auth.verifies() => Err(place.wrong(WrongValue::UnverifiedSans)),
            sans if sans.is_empty() => Err(place.wrong(WrongValue::NoSans)),
            sans => Ok(Some(sans.clone())),
        }
    }

    fn versions(&self) -> Result<(TlsVersion, TlsVersion), Wrong> {
        let version = |given: &Option<Spanned<Text>>, key: &str, default| match given {
            Some(given) => TlsVersion::parse(&given.value.0)
                .map_err(|wrong| Place::of(given, format!("tls_server_config.{key}")).wrong(wrong)),
            None => Ok(default),
        };
        let minimum = version(&self.given.min_version, "min_version", TlsVersion::Tls12)?;
        let maximum = version(&self.given.max_version, "max_version", TlsVersion::Tls13)?;
        match &self.given.max_version {
            Some(given) if minimum > maximum => {
                Err(Place::of(given, "tls_server_config.max_version").wrong(WrongValue::TlsVersions))
            }
            _ => Ok((minimum, maximum)),
        }
    }

    fn ciphers(&self, http2: bool, minimum: TlsVersion, maximum: TlsVersion) -> Result<Option<Vec<Cipher>>, Wrong> {
        let key = "tls_server_config.cipher_suites";
        let Some(list) = self.given.cipher_suites.as_deref().filter(|list| !list.is_empty()) else { return Ok(None) };
        let ciphers = each(list, key, cipher)?;
        let wrong = |value| list.first().map_or(Ok(None), |first| Err(Place::of(first, key).wrong(value)));
        // RFC 9113, section 9.2.2.
        let for_http2 = ciphers.iter().any(|c| matches!(c, Cipher::RsaAes128 | Cipher::EcdsaAes128));
        if http2 && minimum == TlsVersion::Tls12 && !for_http2 {
            return wrong(WrongValue::CiphersWithoutHttp2);
        }
        if maximum == TlsVersion::Tls12 && ciphers.iter().all(|c| *c == Cipher::Tls13) {
            return wrong(WrongValue::CiphersWithoutTls12);
        }
        Ok(Some(ciphers))
    }
}
