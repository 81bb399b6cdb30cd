//! Listeners, accept loop, the way of a connection, shutdown.

use super::connections::{Connection, Connections, Permit};
use super::limits::{
    ACCEPT_PAUSE, DRAIN, HEADER_TIMEOUT, MAX_HEADER_BYTES, MAX_HEADERS, MAX_RESET_STREAMS, MAX_SEND_BUFFER,
    MAX_STREAMS, PING_INTERVAL, PING_TIMEOUT, RECEIVE_WINDOW, WRITE_TIMEOUT,
};
use super::stream::{Listener, Stream};
use super::tracked::Tracked;
use super::{AppState, pipeline};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::future::Future;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_io_timeout::TimeoutStream;

/// Without a failure for so long, the next one is logged again.
const EPISODE: Duration = Duration::from_secs(60);

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

/// What all connections share.
struct Server {
    state: Arc<AppState>,
    connections: Arc<Connections>,
    /// A change tells the connections to finish. Each holds a receiver until its end.
    draining: watch::Sender<()>,
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
    let server = Arc::new(Server { state, connections, draining: watch::Sender::default() });
    let accepting: Vec<_> =
        listeners.0.into_iter().map(|l| tokio::spawn(accept(Listener::Tcp(l), Arc::clone(&server)))).collect();
    shutdown.await;
    for task in accepting {
        task.abort();
        // Waiting for the end of the task closes its socket.
        let _ = task.await;
    }
    server.draining.send_replace(());
    if tokio::time::timeout(DRAIN, server.draining.closed()).await.is_err() {
        tracing::info!("drain timeout reached, closing remaining connections");
    }
}

async fn accept(listener: Listener, server: Arc<Server>) {
    let mut last_failure: Option<Instant> = None;
    loop {
        match listener.accept().await {
            Ok((stream, client)) => match server.connections.acquire(client).await {
                Some(permit) => {
                    tokio::spawn(connection(stream, permit, Arc::clone(&server), server.draining.subscribe()));
                }
                None => tracing::debug!(%client, "connection refused: all connections of this client are busy"),
            },
            // The client went away while it was waiting.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if last_failure.is_none_or(|at| at.elapsed() >= EPISODE) {
                    tracing::warn!(%error, "cannot accept connections, evicting idle ones to free file descriptors");
                }
                last_failure = Some(Instant::now());
                server.connections.make_room(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves a connection to its end, or until it is evicted.
async fn connection(stream: Stream, permit: Permit, server: Arc<Server>, draining: watch::Receiver<()>) {
    tokio::select! {
        ended = secure_and_serve(stream, permit.connection(), &server, draining) => if let Err(error) = ended {
            tracing::debug!(%error, "connection failed");
        },
        () = permit.evicted() => tracing::debug!("connection evicted"),
    }
}

/// Why a connection ended.
type ConnectionError = Box<dyn std::error::Error + Send + Sync>;

/// HTTP versions: over TLS the handshake selects one, a plain stream has HTTP/1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    #[allow(dead_code, reason = "selected by TLS")]
    Http2,
}

async fn secure_and_serve(
    stream: Stream,
    connection: Arc<Connection>,
    server: &Server,
    draining: watch::Receiver<()>,
) -> Result<(), ConnectionError> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let stream = Box::pin(stream);
    // The place of a TLS handshake: it returns its own stream and the protocol that was negotiated. Until its end the
    // connection is a silent one for the limits.
    serve_http(stream, Protocol::Http1, connection, &server.state, draining).await
}

/// Answers requests on a stream, plain or secured, until its end; once the server is draining, until the end of the
/// answers under way.
async fn serve_http<S>(
    stream: S,
    protocol: Protocol,
    connection: Arc<Connection>,
    state: &Arc<AppState>,
    mut draining: watch::Receiver<()>,
) -> Result<(), ConnectionError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = TokioIo::new(Tracked::new(stream, Arc::clone(&connection)));
    let state = Arc::clone(state);
    let service = service_fn(move |request| {
        let (state, connection) = (Arc::clone(&state), Arc::clone(&connection));
        async move {
            connection.request();
            let response = pipeline::respond(&state, connection.client(), request).await;
            connection.answered();
            Ok::<_, Infallible>(response)
        }
    });
    let builder = builder(protocol);
    let mut serving = pin!(builder.serve_connection(stream, service));
    tokio::select! {
        ended = serving.as_mut() => return ended,
        _ = draining.changed() => serving.as_mut().graceful_shutdown(),
    }
    serving.await
}

fn builder(protocol: Protocol) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .max_pending_accept_reset_streams(MAX_RESET_STREAMS)
        .initial_stream_window_size(RECEIVE_WINDOW)
        .initial_connection_window_size(RECEIVE_WINDOW)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    match protocol {
        Protocol::Http1 => builder.http1_only(),
        Protocol::Http2 => builder.http2_only(),
    }
}
