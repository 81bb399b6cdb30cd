//! The web configuration file: TLS, basic authentication, response headers and the rate limit of the server, in the
//! format of exporter-toolkit's `--web.config.file`.
//!
//! It is stricter than exporter-toolkit where that would leave a server open or deny every request without an error:
//! unknown keys, two forms of the same thing, checks that never happen. Nothing of a secret is in an error.

mod duration;
mod section;
mod tls;

pub use tls::{CIPHERS, CURVES, Cipher, ClientAuth, Curve, Pem, Tls, TlsVersion};

use super::file::{is_empty, one_line};
use crate::files;
use crate::text::redact::redact_hashes;
use secrecy::{ExposeSecret, SecretString};
use section::{HttpSection, RateSection, Text, WebSection};
use serde_saphyr::Spanned;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// A certificate with its chain has a few kilobytes, the hash of a password 60 bytes.
const MAX_BYTES: u64 = 1 << 20;
/// exporter-toolkit's documentation names it as slow. One more would double the time of every refusal.
const MAX_COST: u32 = 18;
/// The longest value that is possible anywhere is the name of a cipher suite. The hash of a password is longer.
const LONGEST_QUOTED: usize = 48;
/// Beyond it, computing with the burst would overflow.
const MAX_INTERVAL: Duration = Duration::from_secs(3600);
const MAX_BURST: u32 = 1_000_000;

/// Response headers that can be set, and their possible values; with none listed, any.
const HEADERS: &[(&str, &[&str])] = &[
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
    ("Content-Security-Policy", &[]),
];

/// A validated web configuration, with the content of the files that it names. The default is plain HTTP for every client.
#[derive(Debug, Default)]
pub struct WebConfig {
    /// TLS; `None` is plain HTTP.
    pub tls: Option<Tls>,
    /// Whether HTTP/2 is offered. It needs TLS.
    pub http2: bool,
    /// Headers of every response.
    pub headers: Vec<(&'static str, String)>,
    /// Users with the hashes of their passwords. Without users, requests need no authentication.
    pub users: BTreeMap<String, PasswordHash>,
    /// Limit of requests; `None` if there is none.
    pub rate_limit: Option<RateLimit>,
    /// Digest of the file and of all files that it names. Equal digests mean equal configurations.
    pub digest: [u8; 32],
}

/// A token bucket for all clients together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Time after which one more request is allowed.
    pub interval: Duration,
    /// Number of requests that can come at once.
    pub burst: NonZeroU32,
}

/// A bcrypt hash with the prefix `$2a$`, `$2b$` or `$2y$`.
#[derive(Debug, Clone)]
pub struct PasswordHash {
    text: SecretString,
    cost: u32,
}

impl PasswordHash {
    /// The hash as text, for the comparison with a password.
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }

    /// The cost: a comparison takes 2 to this power rounds.
    pub fn cost(&self) -> u32 {
        self.cost
    }
}

impl FromStr for PasswordHash {
    type Err = WrongValue;

    fn from_str(text: &str) -> Result<Self, WrongValue> {
        if !["$2a$", "$2b$", "$2y$"].iter().any(|prefix| text.starts_with(prefix)) {
            return Err(WrongValue::Hash);
        }
        let cost = bcrypt::HashParts::from_str(text).map_err(|_| WrongValue::Hash)?.get_cost();
        match cost {
            4..=MAX_COST => Ok(PasswordHash { text: text.to_owned().into(), cost }),
            _ => Err(WrongValue::Cost(cost)),
        }
    }
}

/// Why there is no valid web configuration, on one line.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WebError {
    /// The file cannot be read.
    #[error("--web.config.file: cannot read {path}: {message}")]
    Unreadable {
        /// The path of the file.
        path: String,
        /// What failed.
        message: String,
    },
    /// It is not YAML, or not in the shape of a web configuration; with line and column.
    #[error("{path}: {message}")]
    Yaml {
        /// The path of the file.
        path: String,
        /// Line, column, key and what is wrong.
        message: String,
    },
    /// A value is wrong.
    #[error("{path}: {place}: {value}")]
    Value {
        /// The path of the file.
        path: String,
        /// Where the value is.
        place: Place,
        /// What is wrong with it.
        value: WrongValue,
    },
}

/// A place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    line: u64,
    column: u64,
    key: String,
}

impl Place {
    fn of<T>(spanned: &Spanned<T>, key: impl Into<String>) -> Self {
        let at = spanned.referenced;
        // The name of a user or header can be a hash.
        Place { line: at.line(), column: at.column(), key: redact_hashes(&key.into()) }
    }

    fn wrong(self, value: WrongValue) -> (Place, WrongValue) {
        (self, value)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {} column {}: {}", self.line, self.column, self.key)
    }
}

/// What is wrong with a value, and what would be right. It quotes no secret.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WrongValue {
    /// A header that cannot be set.
    #[error("this header cannot be set; it must be one of {}", HEADERS.map_names())]
    HeaderName,
    /// A header with another value than the possible ones.
    #[error("{value} is not a possible value; it must be one of {}", expected.join(", "))]
    HeaderValue {
        /// The value.
        value: Shown,
        /// The possible values.
        expected: &'static [&'static str],
    },
    /// A header's value has control characters.
    #[error("the value must be printable ASCII on one line")]
    HeaderCharacters,
    /// It is not a bcrypt hash.
    #[error(
        "it is not a bcrypt hash; it must be 60 characters that begin with $2a$, $2b$ or $2y$ (htpasswd -nBC 10 '')"
    )]
    Hash,
    /// The cost of a hash is too small or too large.
    #[error(
        "the cost of the bcrypt hash is {0}; it must be between 4 and {MAX_COST}, because every refusal takes as long"
    )]
    Cost(u32),
    /// A user's name cannot be sent.
    #[error("the name of a user cannot contain a colon: what follows it belongs to the password")]
    Colon,
    /// It is not a duration.
    #[error("{0} is not a duration; it must be a number with a unit such as 100ms, 1s or 1m, or 0 for no limit")]
    Duration(Shown),
    /// The interval is too long.
    #[error("it must be at most one hour")]
    Interval,
    /// No request would ever be allowed.
    #[error("with a burst of 0 no request is answered; it must be between 1 and {MAX_BURST}")]
    Burst,
    /// A certificate or key has an inline and a file form.
    #[error("both {0} and {0}_file are set; leave one out")]
    Both(&'static str),
    /// A part of TLS is missing.
    #[error("one of {0} and {0}_file is needed")]
    Missing(&'static str),
    /// There is no such kind of client authentication.
    #[error(
        "{0} must be one of NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven, \
         RequireAndVerifyClientCert"
    )]
    ClientAuth(Shown),
    /// A client CA is never used.
    #[error(
        "client certificates are not verified: set client_auth_type to RequireAndVerifyClientCert, or leave it out"
    )]
    UnusedClientCa,
    /// Client certificates are to be verified with nothing.
    #[error("RequireAndVerifyClientCert needs client_ca or client_ca_file")]
    NoClientCa,
    /// Names in certificates that are not verified mean nothing.
    #[error(
        "names are compared in verified certificates only: set client_auth_type to RequireAndVerifyClientCert, or leave \
         it out"
    )]
    UnverifiedSans,
    /// No name is allowed.
    #[error("an empty list allows no certificate; name at least one, or leave it out")]
    NoSans,
    /// The TLS version cannot be used.
    #[error("{0} is not secure and not supported; it must be TLS12 or TLS13")]
    OldTls(&'static str),
    /// There is no such TLS version.
    #[error("{0} is not a TLS version; it must be TLS12 or TLS13")]
    TlsVersion(Shown),
    /// The bounds of the TLS version exclude each other.
    #[error("min_version is above max_version")]
    TlsVersions,
    /// The cipher suite cannot be used.
    #[error("{} is not supported: {reason}; possible are {}", name.bare(), tls::names(CIPHERS))]
    Cipher {
        /// The cipher suite.
        name: Shown,
        /// Why it is not supported.
        reason: &'static str,
    },
    /// No cipher suite remains for HTTP/2.
    #[error(
        "HTTP/2 needs TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 or TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: add one, set \
         min_version to TLS13, or http_server_config.http2 to false"
    )]
    CiphersWithoutHttp2,
    /// No cipher suite remains for TLS 1.2.
    #[error("none of these is for TLS 1.2, which is the only version that is allowed")]
    CiphersWithoutTls12,
    /// The curve cannot be used.
    #[error("{} is not supported: {reason}; possible are {}", name.bare(), tls::names(CURVES))]
    Curve {
        /// The curve.
        name: Shown,
        /// Why it is not supported.
        reason: &'static str,
    },
    /// A file that the configuration names cannot be read.
    #[error("cannot read {}: {message}", if path.contains('\n') { "the file" } else { path })]
    File {
        /// The path of the file.
        path: String,
        /// What failed.
        message: String,
    },
}

/// A wrong value for an error; nothing of it if it is so long that it can be a hash or key in the wrong place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown(Option<String>);

impl Shown {
    fn bare(&self) -> &str {
        self.0.as_deref().unwrap_or("the value")
    }
}

impl<T: Into<String>> From<T> for Shown {
    fn from(value: T) -> Self {
        Shown(Some(value.into()).filter(|value| value.len() <= LONGEST_QUOTED))
    }
}

/// With quotation marks.
impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(value) => write!(f, "{value:?}"),
            None => f.write_str(self.bare()),
        }
    }
}

trait Names {
    fn map_names(&self) -> String;
}

impl Names for [(&str, &[&str])] {
    fn map_names(&self) -> String {
        self.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }
}

impl WebConfig {
    /// Reads the file and the files that it names; their paths are relative to its directory. An empty file is valid.
    ///
    /// Blocks as long as reading the files does.
    ///
    /// # Errors
    /// [`WebError`], which names the file, and the line and key of what is wrong.
    pub fn load(path: &Path) -> Result<Self, WebError> {
        let name = path.display().to_string();
        let unreadable = |message: String| WebError::Unreadable { path: name.clone(), message };
        let bytes = files::read_secret(path, MAX_BYTES).map_err(|error| unreadable(error.to_string()))?;
        let text = std::str::from_utf8(&bytes).map_err(|_| unreadable("it is not UTF-8".to_owned()))?;
        WebConfig::parse(text, path)
    }

    /// Parses the content of the file of this path. Reads the files that it names, as [`WebConfig::load`] does.
    ///
    /// # Errors
    /// [`WebError`], which names the file, and the line and key of what is wrong.
    pub fn parse(text: &str, path: &Path) -> Result<Self, WebError> {
        let name = path.display().to_string();
        let section = parse(text).map_err(|message| WebError::Yaml { path: name.clone(), message: message.0 })?;
        let directory = path.parent().unwrap_or(Path::new(""));
        let mut config =
            validate(section, directory).map_err(|(place, value)| WebError::Value { path: name, place, value })?;
        config.digest = digest(text.as_bytes(), config.tls.as_ref());
        Ok(config)
    }
}

/// A message of the YAML parser.
struct YamlMessage(String);

fn parse(text: &str) -> Result<WebSection, YamlMessage> {
    if is_empty(text) {
        return Ok(WebSection::default());
    }
    serde_saphyr::from_str(text).map_err(|error| {
        // An unknown key is quoted, too.
        YamlMessage(redact_hashes(&without_value(&one_line(text, &error))))
    })
}

/// The message without the value that it quotes, which can be a secret in the wrong place.
fn without_value(message: &str) -> String {
    let quoted =
        message.split_once(" string \"").and_then(|(before, rest)| Some((before, rest.rsplit_once("\", ")?.1)));
    quoted.map_or_else(|| message.to_owned(), |(before, after)| format!("{before} string, {after}"))
}

fn validate(section: WebSection, directory: &Path) -> Result<WebConfig, (Place, WrongValue)> {
    let http = section.http_server_config.unwrap_or_default();
    let http2 = http.http2.unwrap_or(true);
    Ok(WebConfig {
        headers: headers(http)?,
        users: users(section.basic_auth_users.unwrap_or_default())?,
        rate_limit: section.rate_limit.map(rate_limit).transpose()?.flatten(),
        tls: section.tls_server_config.map(|tls| tls::validate(tls, http2, directory)).transpose()?.flatten(),
        http2,
        digest: [0; 32],
    })
}

fn headers(http: HttpSection) -> Result<Vec<(&'static str, String)>, (Place, WrongValue)> {
    let mut headers = Vec::new();
    for (name, value) in http.headers.unwrap_or_default() {
        let Text(text) = value.value.clone().unwrap_or_default();
        let place = Place::of(&value, format!("http_server_config.headers.{name}"));
        let Some((name, expected)) = HEADERS.iter().find(|(known, _)| *known == name) else {
            return Err(place.wrong(WrongValue::HeaderName));
        };
        if text.is_empty() {
            continue;
        }
        if !expected.is_empty() && !expected.contains(&text.as_str()) {
            return Err(place.wrong(WrongValue::HeaderValue { value: text.into(), expected }));
        }
        if !text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
            return Err(place.wrong(WrongValue::HeaderCharacters));
        }
        headers.push((*name, text));
    }
    Ok(headers)
}

fn users(
    given: BTreeMap<String, Spanned<section::Secret>>,
) -> Result<BTreeMap<String, PasswordHash>, (Place, WrongValue)> {
    let mut users = BTreeMap::new();
    for (name, hash) in given {
        let place = Place::of(&hash, format!("basic_auth_users.{name}"));
        if name.contains(':') {
            return Err(place.wrong(WrongValue::Colon));
        }
        let hash = hash.value.0.expose_secret().parse().map_err(|wrong| place.wrong(wrong))?;
        users.insert(name, hash);
    }
    Ok(users)
}

fn rate_limit(section: RateSection) -> Result<Option<RateLimit>, (Place, WrongValue)> {
    let Some(given) = section.interval else { return Ok(None) };
    let place = |key: &str| Place::of(&given, format!("rate_limit.{key}"));
    let interval = duration::parse(&given.value.0).map_err(|wrong| place("interval").wrong(wrong))?;
    if interval.is_zero() {
        return Ok(None);
    }
    if interval > MAX_INTERVAL {
        return Err(place("interval").wrong(WrongValue::Interval));
    }
    let burst = section.burst.as_ref().map_or(0, |burst| burst.value);
    let place = section.burst.as_ref().map_or_else(|| place("burst"), |burst| Place::of(burst, "rate_limit.burst"));
    match NonZeroU32::new(burst).filter(|burst| burst.get() <= MAX_BURST) {
        Some(burst) => Ok(Some(RateLimit { interval, burst })),
        None => Err(place.wrong(WrongValue::Burst)),
    }
}

fn digest(file: &[u8], tls: Option<&Tls>) -> [u8; 32] {
    let mut digest = Sha256::new();
    let parts = tls.map(|tls| [Some(&tls.certificate), Some(&tls.key), tls.client_ca.as_ref()]);
    let parts = parts.into_iter().flatten().flatten().map(Pem::expose);
    for part in std::iter::once(file).chain(parts) {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests;
