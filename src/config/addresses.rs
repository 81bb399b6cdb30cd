//! Where `serve` listens, and under which URL and paths it is reached.

use super::settings::WebSection;
use super::values::{InvalidValue, Shape, Value, last};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Owner and group may connect, others may not.
const SOCKET_MODE: u32 = 0o660;

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// `host:port`, or `:port` for every interface.
    Tcp(String),
    /// `unix:///path`, optionally with `?mode=0660`.
    Unix {
        /// The path of the socket, absolute.
        path: PathBuf,
        /// The permissions of the socket.
        mode: u32,
    },
}

impl FromStr for ListenAddress {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let wrong = || InvalidValue::ListenAddress(text.to_owned());
        let Some(rest) = text.strip_prefix("unix://") else {
            return is_host_and_port(text).then(|| ListenAddress::Tcp(text.to_owned())).ok_or_else(wrong);
        };
        let (path, mode) = match rest.split_once('?') {
            None => (rest, SOCKET_MODE),
            Some((path, query)) => {
                let mode = query.strip_prefix("mode=").filter(|digits| digits.bytes().all(|d| d.is_ascii_digit()));
                let mode = mode.and_then(|digits| u32::from_str_radix(digits, 8).ok()).filter(|mode| *mode <= 0o777);
                (path, mode.ok_or_else(wrong)?)
            }
        };
        if !path.starts_with('/') || path.ends_with('/') {
            return Err(wrong());
        }
        Ok(ListenAddress::Unix { path: path.into(), mode })
    }
}

fn is_host_and_port(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, port)| {
        let bracketed = host.starts_with('[') && host.ends_with(']');
        port.parse::<u16>().is_ok() && (bracketed || !host.contains([':', '/']))
    })
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp(address) => f.write_str(address),
            ListenAddress::Unix { path, mode: SOCKET_MODE } => write!(f, "unix://{}", path.display()),
            ListenAddress::Unix { path, mode } => write!(f, "unix://{}?mode={mode:04o}", path.display()),
        }
    }
}

/// A type that is written in the file as it is on the command line.
macro_rules! as_text {
    ($($name:ident)+) => { $(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }

        impl Value for Option<$name> {
            const SHAPE: Shape = Shape::One;

            fn parse(texts: &[&OsStr]) -> Result<Self, InvalidValue> {
                last(texts)?.parse().map(Some)
            }

            fn is_absent(&self) -> bool {
                self.is_none()
            }
        }
    )+ };
}

as_text! { ListenAddress RoutePrefix ExternalUrl }

/// Addresses to listen on, at least one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListenAddresses(pub Vec<ListenAddress>);

impl ListenAddresses {
    fn new(addresses: Vec<ListenAddress>) -> Result<Self, InvalidValue> {
        if addresses.is_empty() { Err(InvalidValue::NoListenAddress) } else { Ok(ListenAddresses(addresses)) }
    }

    /// The port that the exporter has on every interface, unless it is configured.
    pub fn standard() -> Self {
        ListenAddresses(vec![ListenAddress::Tcp(":19674".into())])
    }
}

impl Value for ListenAddresses {
    const SHAPE: Shape = Shape::List;

    fn parse(texts: &[&OsStr]) -> Result<Self, InvalidValue> {
        let texts: Vec<String> = Value::parse(texts)?;
        ListenAddresses::new(texts.iter().map(|text| text.parse()).collect::<Result<_, _>>()?)
    }
}

/// In the file, one address needs no list.
impl<'de> Deserialize<'de> for ListenAddresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = ListenAddresses;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address or a list of addresses")
            }

            fn visit_str<E: serde::de::Error>(self, address: &str) -> Result<ListenAddresses, E> {
                Ok(ListenAddresses(vec![address.parse().map_err(E::custom)?]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<ListenAddresses, A::Error> {
                let mut addresses = Vec::new();
                while let Some(address) = seq.next_element()? {
                    addresses.push(address);
                }
                ListenAddresses::new(addresses).map_err(A::Error::custom)
            }
        }

        deserializer.deserialize_any(OneOrMany)
    }
}

/// The path that all routes are below: empty, or beginning with a slash and not ending in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePrefix(String);

impl FromStr for RoutePrefix {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let segments = text.trim_matches('/');
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@".contains(c);
        if !segments.is_empty()
            && segments.split('/').any(|s| s.is_empty() || s == "." || s == ".." || !s.chars().all(plain))
        {
            return Err(InvalidValue::RoutePrefix(text.to_owned()));
        }
        Ok(RoutePrefix(if segments.is_empty() { String::new() } else { format!("/{segments}") }))
    }
}

impl fmt::Display for RoutePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "/" } else { &self.0 })
    }
}

/// The URL under which browsers reach the exporter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalUrl {
    text: String,
    path: RoutePrefix,
}

impl FromStr for ExternalUrl {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let wrong = || InvalidValue::ExternalUrl(text.to_owned());
        let url = url::Url::parse(text).map_err(|_| wrong())?;
        let bare =
            url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
        if !["http", "https"].contains(&url.scheme()) || !url.has_host() || !bare {
            return Err(wrong());
        }
        Ok(ExternalUrl { text: text.to_owned(), path: url.path().parse().map_err(|_| wrong())? })
    }
}

impl fmt::Display for ExternalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The paths of requests and of links. They differ behind a proxy that removes a part of the path. Each is empty, or
/// begins with a slash and does not end in one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paths {
    /// What the path of every request begins with.
    pub routes: String,
    /// What the path of every link begins with.
    pub links: String,
}

impl WebSection {
    /// As in Prometheus: without a route prefix the path of the external URL is the prefix, and links begin with the
    /// path of the external URL if there is one.
    pub fn paths(&self) -> Paths {
        let external = self.external_url.as_ref().map(|url| &url.path.0);
        let routes = self.route_prefix.as_ref().map(|prefix| &prefix.0).or(external).cloned().unwrap_or_default();
        Paths { links: external.unwrap_or(&routes).clone(), routes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_addresses() {
        for good in [
            ":19674",
            "0.0.0.0:1",
            "127.0.0.1:0",
            "localhost:80",
            "[::1]:19674",
            "[::]:1",
            "unix:///run/exporter/web.sock",
            "unix:///s?mode=0666",
        ] {
            assert_eq!(good.parse::<ListenAddress>().map(|a| a.to_string()), Ok(good.to_owned()));
        }
        for bad in [
            "19674",
            "::1:80",
            "localhost",
            ":99999",
            "host:port",
            "",
            ":",
            "[::1]",
            "http://x:80",
            "unix://run/s",
            "unix:/s",
            "unix:///",
            "unix:///s?mode=888",
            "unix:///s?mode=+7",
            "unix:///s?mode=1777",
            "unix:///s?mode",
            "unix:///s?",
        ] {
            assert!(bad.parse::<ListenAddress>().is_err(), "{bad}");
        }
        let socket = ListenAddress::Unix { path: "/s".into(), mode: 0o660 };
        assert_eq!("unix:///s".parse(), Ok(socket.clone()));
        assert_eq!("unix:///s?mode=660".parse(), Ok(socket));
    }

    fn section(prefix: Option<&str>, url: Option<&str>) -> WebSection {
        WebSection {
            route_prefix: prefix.map(|text| text.parse().unwrap()),
            external_url: url.map(|text| text.parse().unwrap()),
            ..WebSection::default()
        }
    }

    #[test]
    fn paths_follow_prefix_and_external_url() {
        for (prefix, url, routes, links) in [
            (None, None, "", ""),
            (Some("/"), None, "", ""),
            (Some("iam"), None, "/iam", "/iam"),
            (Some("/iam/keys/"), None, "/iam/keys", "/iam/keys"),
            (None, Some("http://x"), "", ""),
            (None, Some("https://x:8443/iam/"), "/iam", "/iam"),
            (Some("/"), Some("https://x/iam"), "", "/iam"),
            (Some("/a"), Some("https://x/iam"), "/a", "/iam"),
            (Some("/a"), Some("https://x"), "/a", ""),
        ] {
            let expected = Paths { routes: routes.into(), links: links.into() };
            assert_eq!(section(prefix, url).paths(), expected, "{prefix:?} {url:?}");
        }
    }

    #[test]
    fn prefixes_and_urls_that_no_request_can_have_are_refused() {
        for bad in ["/a b", "/a//b", "/../a", "/a?b", "/a#b", "/%41", "/ä", "/<script>"] {
            assert!(bad.parse::<RoutePrefix>().is_err(), "{bad}");
        }
        for bad in ["", "x", "ftp://x/", "http://", "http://x/?a=b", "http://x/#a", "http://u:p@x/", "http://x/a%20b"] {
            assert!(bad.parse::<ExternalUrl>().is_err(), "{bad}");
        }
    }
}
