//! Accept loop, limits, shutdown.

use super::connections::{Connections, Guard};
use super::{AppState, routes};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use std::convert::Infallible;
use std::future::Future;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_io_timeout::TimeoutStream;

/// A client that takes longer for its headers, or is idle for longer between two requests, is let go.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// A client that takes nothing of the answer for so long is let go.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Prometheus sends well under a kilobyte.
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Accepting fails when file descriptors run out; trying again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Answers under way at shutdown get this long.
const DRAIN: Duration = Duration::from_secs(3);

/// Bound sockets.
pub struct Listeners(Vec<TcpListener>);

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
    /// When one of them cannot be bound.
    pub async fn bind(addresses: &[String]) -> Result<Self, ListenError> {
        let mut listeners = Vec::with_capacity(addresses.len());
        for address in addresses {
            let listener = bind(address).await.map_err(|source| ListenError { address: address.clone(), source })?;
            listeners.push(listener);
        }
        Ok(Listeners(listeners))
    }

    /// What was bound; tells the port where 0 was asked for.
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

/// Serves until `shutdown`, then finishes answers under way, for three seconds at most.
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
        tracing::info!("some clients did not take their answer in time");
    }
}

async fn accept(
    listener: TcpListener,
    state: Arc<AppState>,
    connections: Arc<Connections>,
    graceful: Arc<GracefulShutdown>,
) {
    loop {
        match listener.accept().await {
            // Until there is room for this one, the next ones wait in the kernel's queue.
            Ok((stream, _)) => connection(stream, Arc::clone(&state), connections.admit().await, &graceful),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn connection(stream: TcpStream, state: Arc<AppState>, guard: Guard, graceful: &GracefulShutdown) {
    // Answers are written whole; waiting to fill a packet only delays the last one.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let client = guard.connection();
    let service = service_fn(move |request| {
        let (state, client) = (Arc::clone(&state), Arc::clone(&client));
        async move {
            client.busy();
            let response = routes::respond(&state, request).await;
            client.waiting();
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        tokio::select! {
            ended = connection => if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended badly");
            },
            () = guard.asked_to_leave() => tracing::debug!("an idle connection made room for another one"),
        }
    });
}
