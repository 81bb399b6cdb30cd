//! A request to a running exporter, for container health checks.

use super::stream::Stream;
use crate::config::addresses::ListenAddress;
use crate::config::settings::WebSection;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};

/// An exporter that takes longer is not healthy.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why a request has no status.
#[derive(Debug, thiserror::Error)]
pub enum HealthcheckError {
    /// The text is not a URL.
    #[error("{url:?} is not a URL: {source}")]
    Malformed {
        /// The text.
        url: String,
        /// What is wrong with it.
        source: hyper::http::uri::InvalidUri,
    },
    /// The URL has another scheme than `http`.
    #[error("{0:?} is not an http:// URL")]
    NotHttp(String),
    /// The URL has no host.
    #[error("{0:?} names no host")]
    NoHost(String),
    /// The configuration has no address that is known before the start.
    #[error("the address is not known: {0}; set --web.probe-address or --url")]
    UnknownAddress(&'static str),
    /// There is no connection.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Host and port, or the path of the socket.
        address: String,
        /// What failed.
        source: std::io::Error,
    },
    /// There is a connection, but no HTTP response.
    #[error("{address}: {source}")]
    Exchange {
        /// Host and port, or the path of the socket.
        address: String,
        /// What failed.
        source: hyper::Error,
    },
    /// There is no response within five seconds.
    #[error("{address} does not answer within {} seconds", TIMEOUT.as_secs())]
    Timeout {
        /// Host and port, or the path of the socket.
        address: String,
    },
}

/// What to request, and from where.
#[derive(Debug, PartialEq, Eq)]
pub struct Target {
    address: Address,
    path: Uri,
}

#[derive(Debug, PartialEq, Eq)]
enum Address {
    /// The first host that accepts a connection is asked.
    Tcp {
        hosts: Vec<String>,
        port: u16,
    },
    Unix(PathBuf),
}

impl Target {
    /// The target of a plain HTTP URL.
    ///
    /// # Errors
    /// [`HealthcheckError`] when the URL is invalid.
    pub fn of_url(url: &str) -> Result<Self, HealthcheckError> {
        let malformed = |source| HealthcheckError::Malformed { url: url.to_owned(), source };
        let uri: Uri = url.parse().map_err(malformed)?;
        if uri.scheme_str() != Some("http") {
            return Err(HealthcheckError::NotHttp(url.to_owned()));
        }
        let host = uri.host().ok_or_else(|| HealthcheckError::NoHost(url.to_owned()))?;
        let hosts = vec![host.trim_matches(['[', ']']).to_owned()];
        let path = uri.path_and_query().map_or("/", |p| p.as_str()).parse().map_err(malformed)?;
        Ok(Target { address: Address::Tcp { hosts, port: uri.port_u16().unwrap_or(80) }, path })
    }

    /// The health of an exporter with these settings: at the address of probes if there is one, else at the first
    /// address that it listens on.
    ///
    /// # Errors
    /// [`HealthcheckError::UnknownAddress`] when systemd or the kernel selects the address.
    pub fn of_settings(web: &WebSection) -> Result<Self, HealthcheckError> {
        let (address, prefix) = match &web.probe_address {
            Some(address) => (address, String::new()),
            None if web.systemd_socket => return Err(HealthcheckError::UnknownAddress("sockets come from systemd")),
            None => (&web.listen_address.0[0], web.paths().routes),
        };
        let path = format!("{prefix}/-/healthy").parse().expect("a route prefix is a valid path");
        Ok(Target { address: Address::of(address)?, path })
    }
}

impl Address {
    fn of(address: &ListenAddress) -> Result<Self, HealthcheckError> {
        let address = match address {
            ListenAddress::Unix { path, .. } => return Ok(Address::Unix(path.clone())),
            ListenAddress::Tcp(address) => address,
        };
        let (host, port) = address.rsplit_once(':').expect("a listen address has a port");
        let port: u16 = port.parse().expect("a listen address has a port");
        if port == 0 {
            return Err(HealthcheckError::UnknownAddress("the port is 0"));
        }
        // A machine without IPv6 listens on IPv4 only.
        let hosts = match host.trim_matches(['[', ']']) {
            "" => vec!["127.0.0.1", "::1"],
            "0.0.0.0" => vec!["127.0.0.1"],
            "::" => vec!["::1", "127.0.0.1"],
            host => vec![host],
        };
        Ok(Address::Tcp { hosts: hosts.into_iter().map(ToOwned::to_owned).collect(), port })
    }

    async fn connect(&self) -> Result<Stream, std::io::Error> {
        let (hosts, port) = match self {
            Address::Unix(path) => return UnixStream::connect(path).await.map(Stream::Right),
            Address::Tcp { hosts, port } => (hosts, *port),
        };
        let mut failure = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
        for host in hosts {
            match TcpStream::connect((host.as_str(), port)).await {
                Ok(stream) => return Ok(Stream::Left(stream)),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
            Address::Tcp { hosts, port } => {
                let host = hosts.first().map_or("", String::as_str);
                if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
            }
        }
    }
}

/// Sends a GET request and returns the status of the response.
///
/// # Errors
/// [`HealthcheckError`] when there is no response within five seconds.
pub async fn status(target: &Target) -> Result<StatusCode, HealthcheckError> {
    match tokio::time::timeout(TIMEOUT, request(target)).await {
        Ok(answer) => answer,
        Err(_) => Err(HealthcheckError::Timeout { address: target.address.to_string() }),
    }
}

async fn request(target: &Target) -> Result<StatusCode, HealthcheckError> {
    let address = target.address.to_string();
    let stream = target.address.connect().await;
    let stream = stream.map_err(|source| HealthcheckError::Connect { address: address.clone(), source })?;
    let failed = |source| HealthcheckError::Exchange { address: address.clone(), source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    tokio::spawn(connection);
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = target.path.clone();
    let host = match &target.address {
        Address::Tcp { .. } => &address,
        Address::Unix(_) => "localhost",
    };
    let host = host.parse().expect("an address is a header value");
    request.headers_mut().insert(hyper::header::HOST, host);
    let response = sender.send_request(request).await.map_err(failed)?;
    Ok(response.status())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(listen: &str, probe: Option<&str>, prefix: Option<&str>) -> Result<String, HealthcheckError> {
        let mut web = WebSection::default();
        web.listen_address.0 = vec![listen.parse().unwrap()];
        web.probe_address = probe.map(|text| text.parse().unwrap());
        web.route_prefix = prefix.map(|text| text.parse().unwrap());
        Target::of_settings(&web).map(|target| format!("{} {}", target.address, target.path))
    }

    #[test]
    fn the_address_follows_from_the_settings() {
        for (listen, probe, prefix, expected) in [
            (":19674", None, None, "127.0.0.1:19674 /-/healthy"),
            ("0.0.0.0:80", None, None, "127.0.0.1:80 /-/healthy"),
            ("[::]:80", None, None, "[::1]:80 /-/healthy"),
            ("[2001:db8::1]:80", None, None, "[2001:db8::1]:80 /-/healthy"),
            ("localhost:80", None, Some("/iam/"), "localhost:80 /iam/-/healthy"),
            ("unix:///run/s?mode=0600", None, Some("/iam"), "unix:///run/s /iam/-/healthy"),
            (":80", Some(":81"), Some("/iam"), "127.0.0.1:81 /-/healthy"),
            (":80", Some("unix:///p"), None, "unix:///p /-/healthy"),
        ] {
            assert_eq!(of(listen, probe, prefix).unwrap(), expected);
        }
        assert!(of(":0", None, None).unwrap_err().to_string().contains("port is 0"));
        let systemd = WebSection { systemd_socket: true, ..WebSection::default() };
        assert!(Target::of_settings(&systemd).unwrap_err().to_string().contains("systemd"));
    }
}
