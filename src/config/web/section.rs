//! The shape of the file, before its values are validated. Values know their lines.

use secrecy::SecretString;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;
use std::collections::BTreeMap;
use std::fmt;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WebSection {
    pub tls_server_config: Option<TlsSection>,
    pub http_server_config: Option<HttpSection>,
    pub basic_auth_users: Option<BTreeMap<String, Spanned<Secret>>>,
    pub rate_limit: Option<RateSection>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsSection {
    pub cert: Option<Spanned<Text>>,
    pub cert_file: Option<Spanned<Text>>,
    pub key: Option<Spanned<Secret>>,
    pub key_file: Option<Spanned<Text>>,
    pub client_ca: Option<Spanned<Text>>,
    pub client_ca_file: Option<Spanned<Text>>,
    pub client_auth_type: Option<Spanned<Text>>,
    pub client_allowed_sans: Option<Spanned<Vec<String>>>,
    pub min_version: Option<Spanned<Text>>,
    pub max_version: Option<Spanned<Text>>,
    pub cipher_suites: Option<Vec<Spanned<Text>>>,
    pub curve_preferences: Option<Vec<Spanned<Text>>>,
    pub prefer_server_cipher_suites: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpSection {
    pub http2: Option<bool>,
    pub headers: Option<BTreeMap<String, Spanned<Option<Text>>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RateSection {
    pub interval: Option<Spanned<Text>>,
    pub burst: Option<Spanned<u32>>,
}

/// A scalar as it is written, so that `1` is text as well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Text(pub String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Text)
    }
}

/// A scalar that no error quotes.
#[derive(Clone)]
pub(super) struct Secret(pub SecretString);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scalar;

        impl<'de> Visitor<'de> for Scalar {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret(text.to_owned().into()))
            }

            fn visit_string<E: Error>(self, text: String) -> Result<Secret, E> {
                Ok(Secret(text.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Secret, A::Error> {
                Err(A::Error::custom("it must be text, not a list"))
            }

            fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Secret, A::Error> {
                Err(A::Error::custom("it must be text, not a map"))
            }
        }

        deserializer.deserialize_str(Scalar)
    }
}
