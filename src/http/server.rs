//! Listeners, accept loop, timeouts, shutdown.

use super::connections::{Connections, Permit};
use super::tracked::Tracked;
use super::{AppState, routes};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use std::convert::Infallible;
use std::future::Future;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_io_timeout::TimeoutStream;

/// A connection that is idle for longer, or takes longer for the headers of a request, is closed.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection on which nothing of an answer can be written for so long is closed.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Prometheus sends well under a kilobyte.
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Pause between two attempts to accept while that fails, for example without file descriptors. It ends early when a
/// connection is closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Without a failure for so long, the next one is logged again.
const EPISODE: Duration = Duration::from_secs(60);
/// At shutdown, unfinished answers have so much time.
const DRAIN: Duration = Duration::from_secs(3);

/// Bound sockets.
pub struct Listeners(Vec<TcpListener>);

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("--web.listen-address: cannot listen on {address}: {source}")]
pub struct ListenError {
    address: String,
    source: std::io::Error,
}

impl Listeners {
    /// Binds all addresses, `host:port` or `:port` (every interface, IPv4 and IPv6).
    ///
    /// # Errors
    /// [`ListenError`] for the first one that cannot be bound.
    pub async fn bind(addresses: &[String]) -> Result<Self, ListenError> {
        let mut listeners = Vec::with_capacity(addresses.len());
        for address in addresses {
            let listener = bind(address).await.map_err(|source| ListenError { address: address.clone(), source })?;
            listeners.push(listener);
        }
        Ok(Listeners(listeners))
    }

    /// The bound addresses, with the actual port where 0 was given.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().filter_map(|l| l.local_addr().ok()).collect()
    }
}

async fn bind(address: &str) -> std::io::Result<TcpListener> {
    let Some(port) = address.strip_prefix(':') else { return TcpListener::bind(address).await };
    let port: u16 = port.parse().map_err(std::io::Error::other)?;
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        // No IPv6 on this machine.
        Err(e) if e.kind() != std::io::ErrorKind::AddrInUse => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await,
        bound => bound,
    }
}

/// Serves until `shutdown`, then finishes responses under way, for three seconds at most. At most `max_connections`
/// connections are open at the same time, and fewer if the limit of file descriptors requires it.
pub async fn serve(
    listeners: Listeners,
    state: Arc<AppState>,
    max_connections: usize,
    shutdown: impl Future<Output = ()>,
) {
    let connections = Connections::new(max_connections);
    let graceful = Arc::new(GracefulShutdown::new());
    let accepting: Vec<_> = listeners
        .0
        .into_iter()
        .map(|listener| {
            tokio::spawn(accept(listener, Arc::clone(&state), Arc::clone(&connections), Arc::clone(&graceful)))
        })
        .collect();
    shutdown.await;
    for task in accepting {
        task.abort();
        // Waiting for the end of the task closes its socket.
        let _ = task.await;
    }
    let Some(graceful) = Arc::into_inner(graceful) else { return };
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::info!("drain timeout reached, closing remaining connections");
    }
}

async fn accept(
    listener: TcpListener,
    state: Arc<AppState>,
    connections: Arc<Connections>,
    graceful: Arc<GracefulShutdown>,
) {
    let mut last_failure: Option<Instant> = None;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => match connections.acquire(peer.ip()).await {
                Some(permit) => connection(stream, Arc::clone(&state), permit, &graceful),
                None => tracing::debug!(%peer, "connection refused: all connections of this client are busy"),
            },
            // The client went away while it was waiting.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if last_failure.is_none_or(|at| at.elapsed() >= EPISODE) {
                    tracing::warn!(%error, "cannot accept connections, evicting idle ones to free file descriptors");
                }
                last_failure = Some(Instant::now());
                connections.make_room(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn connection(stream: TcpStream, state: Arc<AppState>, permit: Permit, graceful: &GracefulShutdown) {
    // Answers are written whole; waiting to fill a packet only delays the last one.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let client = permit.connection();
    let stream = Tracked::new(Box::pin(stream), Arc::clone(&client));
    let service = service_fn(move |request| {
        let (state, client) = (Arc::clone(&state), Arc::clone(&client));
        async move {
            client.request();
            let response = routes::respond(&state, request).await;
            client.answered();
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        tokio::select! {
            ended = connection => if let Err(error) = ended {
                tracing::debug!(%error, "connection failed");
            },
            () = permit.evicted() => tracing::debug!("connection evicted"),
        }
    });
}
