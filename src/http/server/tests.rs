//! HTTP/2, which no address has without TLS.

use super::super::connections::Client;
use super::super::limits::MAX_IDLE;
use super::*;
use crate::config::addresses::Paths;
use crate::config::web::WebConfig;
use crate::exposition::exporter::ExporterMetrics;
use crate::exposition::{Options, Parts, Users};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2;
use hyper::{Request, Response, StatusCode};
use std::net::Ipv4Addr;
use std::path::Path;
use tokio::io::duplex;

type Sender = http2::SendRequest<Empty<Bytes>>;

struct Setup {
    server: Server,
    sender: Sender,
    serving: tokio::task::JoinHandle<()>,
}

/// A client on a connection of its own. An answer fills its window with one byte, so that the rest waits until the
/// client takes it.
async fn setup(limit: usize) -> Setup {
    let options =
        Options { users: Users::All, user_info: false, tags: vec![], owner_tags: vec![], access_key_id: false };
    let metrics = Arc::new(ExporterMetrics::new(Duration::from_secs(300)));
    let state = Arc::new(AppState::new(Arc::new(Parts::new(options)), metrics, None, Paths::default()));
    let connections = Connections::with_limit(limit);
    let server = Server { service: Service::Main, state, connections, draining: watch::Sender::default() };
    let client = Client::of_address(Ipv4Addr::LOCALHOST.into());
    let permit = server.connections.acquire(client).await.unwrap();
    let (near, far) = duplex(1 << 20);
    let shared = Server {
        service: server.service,
        state: Arc::clone(&server.state),
        connections: Arc::clone(&server.connections),
        draining: server.draining.clone(),
    };
    let serving = tokio::spawn(async move {
        let draining = shared.draining.subscribe();
        let _ = serve_http(far, Protocol::Http2, permit.connection(), 0, &shared, draining).await;
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    let handshake = builder.initial_stream_window_size(1).handshake(TokioIo::new(near)).await;
    let (sender, connection) = handshake.unwrap();
    tokio::spawn(connection);
    Setup { server, sender, serving }
}

async fn ask(sender: &Sender, path: &str) -> Response<Incoming> {
    let request = Request::get(format!("http://x{path}")).body(Empty::new()).unwrap();
    sender.clone().send_request(request).await.unwrap()
}

#[tokio::test]
async fn answers_that_are_not_taken_are_in_flight() {
    let Setup { sender, .. } = setup(2).await;
    let (first, second) = (ask(&sender, "/metrics").await, ask(&sender, "/livez").await);
    assert_eq!((first.status(), second.status()), (StatusCode::OK, StatusCode::OK));
    let refused = ask(&sender, "/livez").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "1");
    let text = first.into_body().collect().await.unwrap().to_bytes();
    assert!(text.starts_with(b"# HELP"));
    assert_eq!(ask(&sender, "/livez").await.status(), StatusCode::OK);
    drop(second);
}

#[tokio::test]
async fn a_request_that_is_one_too_many_is_refused_with_the_configured_headers() {
    let Setup { server, sender, .. } = setup(1).await;
    let config =
        WebConfig { headers: vec![("X-Frame-Options", "deny".into())], digest: [1; 32], ..WebConfig::default() };
    server.state.web.reload(Path::new("web.yml"), &config).unwrap();
    let first = ask(&sender, "/metrics").await;
    let refused = ask(&sender, "/livez").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    for answer in [&first, &refused] {
        assert_eq!(answer.headers()["x-frame-options"], "deny");
    }
}

#[tokio::test]
async fn an_answer_that_the_client_gives_up_is_not_in_flight() {
    let Setup { sender, .. } = setup(1).await;
    for _ in 0..20 {
        let answer = ask(&sender, "/metrics").await;
        assert_eq!(answer.status(), StatusCode::OK);
        // Resets the stream. The next request comes after that on the connection.
        drop(answer);
    }
}

#[tokio::test]
async fn a_body_is_refused_as_in_http1() {
    let Setup { sender, .. } = setup(8).await;
    let request = Request::post("http://x/metrics").header("content-length", "1000000").body(Empty::new()).unwrap();
    // A client may send less than it has declared, which is an error of its own.
    if let Ok(answer) = sender.clone().send_request(request).await {
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
    assert_eq!(ask(&sender, "/livez").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn headers_that_are_too_large_are_refused() {
    let Setup { sender, .. } = setup(8).await;
    let request = Request::get("http://x/livez").header("x-large", "x".repeat(MAX_HEADER_BYTES + 1000));
    let answer = sender.clone().send_request(request.body(Empty::new()).unwrap()).await;
    assert!(answer.as_ref().map_or(true, |a| a.status() == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE), "{answer:?}");
    assert_eq!(ask(&sender, "/livez").await.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn an_unused_connection_is_closed() {
    let Setup { sender, serving, .. } = setup(8).await;
    let answer = ask(&sender, "/livez").await;
    answer.into_body().collect().await.unwrap();
    let started = Instant::now();
    serving.await.unwrap();
    assert!((MAX_IDLE..MAX_IDLE * 2).contains(&started.elapsed()), "{:?}", started.elapsed());
    assert!(sender.is_closed());
}

#[tokio::test]
async fn draining_ends_the_connection_after_its_answers() {
    let Setup { server, sender, serving } = setup(8).await;
    let answer = ask(&sender, "/metrics").await;
    server.draining.send_replace(());
    assert!(answer.into_body().collect().await.unwrap().to_bytes().starts_with(b"# HELP"));
    serving.await.unwrap();
}
