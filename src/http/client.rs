//! A request to a running exporter, for container health checks.

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;

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
    /// There is no connection.
    #[error("cannot connect to {authority}: {source}")]
    Connect {
        /// Host and port.
        authority: String,
        /// What failed.
        source: std::io::Error,
    },
    /// There is a connection, but no HTTP response.
    #[error("{authority}: {source}")]
    Exchange {
        /// Host and port.
        authority: String,
        /// What failed.
        source: hyper::Error,
    },
    /// There is no response within five seconds.
    #[error("{url} does not answer within {} seconds", TIMEOUT.as_secs())]
    Timeout {
        /// The URL.
        url: String,
    },
}

/// Sends a GET request to a plain HTTP URL and returns the status of the response.
///
/// # Errors
/// [`HealthcheckError`] when the URL is invalid, or there is no response within five seconds.
pub async fn status(url: &str) -> Result<StatusCode, HealthcheckError> {
    match tokio::time::timeout(TIMEOUT, request(url)).await {
        Ok(answer) => answer,
        Err(_) => Err(HealthcheckError::Timeout { url: url.to_owned() }),
    }
}

async fn request(url: &str) -> Result<StatusCode, HealthcheckError> {
    let uri: Uri = url.parse().map_err(|source| HealthcheckError::Malformed { url: url.to_owned(), source })?;
    if uri.scheme_str() != Some("http") {
        return Err(HealthcheckError::NotHttp(url.to_owned()));
    }
    let authority = uri.authority().ok_or_else(|| HealthcheckError::NoHost(url.to_owned()))?.as_str();
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80)))
        .await
        .map_err(|source| HealthcheckError::Connect { authority: authority.to_owned(), source })?;
    let failed = |source| HealthcheckError::Exchange { authority: authority.to_owned(), source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    tokio::spawn(connection);
    let mut request = Request::new(Empty::<Bytes>::new());
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    *request.uri_mut() = path.parse().map_err(|source| HealthcheckError::Malformed { url: url.to_owned(), source })?;
    let host = authority.parse().expect("an authority is a header value");
    request.headers_mut().insert(hyper::header::HOST, host);
    let response = sender.send_request(request).await.map_err(failed)?;
    Ok(response.status())
}
