//! A request to a running exporter, for container health checks.

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;

/// Whoever takes longer is not healthy.
const PATIENCE: Duration = Duration::from_secs(5);

/// The status that a plain HTTP URL answers with.
///
/// # Errors
/// What is wrong with the URL, or why there is no answer.
pub async fn status(url: &str) -> Result<StatusCode, String> {
    match tokio::time::timeout(PATIENCE, ask(url)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("{url} does not answer within {} seconds", PATIENCE.as_secs())),
    }
}

async fn ask(url: &str) -> Result<StatusCode, String> {
    let uri: Uri = url.parse().map_err(|e| format!("{url:?} is not a URL: {e}"))?;
    if uri.scheme_str() != Some("http") {
        return Err(format!("{url:?} is not an http:// URL"));
    }
    let authority = uri.authority().ok_or_else(|| format!("{url:?} names no host"))?;
    let stream =
        TcpStream::connect((uri.host().unwrap_or_default().trim_matches(['[', ']']), uri.port_u16().unwrap_or(80)))
            .await
            .map_err(|e| format!("cannot connect to {authority}: {e}"))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|e| format!("{authority}: {e}"))?;
    tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let request = Request::get(path)
        .header(hyper::header::HOST, authority.as_str())
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    let response = sender.send_request(request).await.map_err(|e| format!("{authority}: {e}"))?;
    Ok(response.status())
}
