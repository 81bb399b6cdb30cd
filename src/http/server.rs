//! Accept loop, the way of a connection, shutdown.

use super::connections::{Connection, Connections, Permit};
use super::held::Held;
use super::limits::{
    ACCEPT_PAUSE, DRAIN, HEADER_TIMEOUT, MAX_HEADER_BYTES, MAX_HEADERS, MAX_PROBE_CONNECTIONS, MAX_RESET_STREAMS,
    MAX_SEND_BUFFER, MAX_STREAMS, PING_INTERVAL, PING_TIMEOUT, RECEIVE_WINDOW, WRITE_TIMEOUT,
};
use super::listen::{Bound, Listeners};
use super::pipeline::Service;
use super::refusal::Refusing;
use super::stream::Stream;
use super::tracked::Tracked;
use super::{AppState, pipeline, tls};
use futures_util::future::select_all;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::future::Future;
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_io_timeout::TimeoutStream;

/// Without a failure for so long, the next one is logged again.
const EPISODE: Duration = Duration::from_secs(60);

/// What the connections of an address share.
struct Server {
    service: Service,
    state: Arc<AppState>,
    connections: Arc<Connections>,
    /// A change tells the connections to finish. Each holds a receiver until its end.
    draining: watch::Sender<()>,
}

/// Connections to an address are not accepted any more, because of a panic.
#[derive(Debug, thiserror::Error)]
#[error("connections are not accepted any more")]
pub struct AcceptError;

/// Serves until `shutdown`, then finishes responses under way, for three seconds at most. At most `max_connections`
/// connections are open at the same time, and fewer if the limit of file descriptors requires it. The address of probes
/// has connections of its own, so that no scrape and no flood keeps a probe waiting.
///
/// # Errors
/// When an address stops accepting connections before; the panic is logged by then.
pub async fn serve(
    listeners: Listeners,
    state: Arc<AppState>,
    max_connections: usize,
    shutdown: impl Future<Output = ()>,
) -> Result<(), AcceptError> {
    let draining = watch::Sender::default();
    let for_probes = listeners.probe.as_ref().map_or(0, |_| MAX_PROBE_CONNECTIONS);
    let connections = Connections::new(max_connections, for_probes);
    let server = |service, connections| {
        Arc::new(Server { service, state: Arc::clone(&state), connections, draining: draining.clone() })
    };
    let main = server(Service::Main, connections);
    let probe = server(Service::Probe, Connections::with_limit(MAX_PROBE_CONNECTIONS));
    let mut accepting: Vec<_> =
        listeners.main.into_iter().map(|bound| tokio::spawn(accept(bound, Arc::clone(&main)))).collect();
    accepting.extend(listeners.probe.map(|bound| tokio::spawn(accept(bound, probe))));
    tokio::select! {
        () = shutdown => {}
        // It has no end but a panic.
        _ = select_all(&mut accepting) => return Err(AcceptError),
    }
    for task in accepting {
        task.abort();
        // Waiting for the end of the task closes its socket.
        let _ = task.await;
    }
    draining.send_replace(());
    if tokio::time::timeout(DRAIN, draining.closed()).await.is_err() {
        tracing::info!("drain timeout reached, closing remaining connections");
    }
    Ok(())
}

async fn accept(bound: Bound, server: Arc<Server>) {
    let mut last_failure: Option<Instant> = None;
    loop {
        match bound.listener.accept().await {
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
    let overdue = permit.connection();
    tokio::select! {
        ended = secure_and_serve(stream, permit.connection(), &server, draining) => if let Err(error) = ended {
            tracing::debug!(%error, "connection failed");
        },
        () = overdue.overdue() => tracing::debug!("connection cut: an answer took too long"),
        () = permit.evicted() => tracing::debug!("connection evicted"),
    }
}

/// Why a connection ended.
type ConnectionError = Box<dyn std::error::Error + Send + Sync>;

/// HTTP versions: over TLS the handshake selects one, a plain stream has HTTP/1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

async fn secure_and_serve(
    stream: Stream,
    connection: Arc<Connection>,
    server: &Server,
    mut draining: watch::Receiver<()>,
) -> Result<(), ConnectionError> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let stream = Box::pin(stream);
    let web = server.state.web.current();
    let generation = web.generation;
    let Some(tls) = web.tls.as_ref().filter(|_| server.service == Service::Main) else {
        drop(web);
        return serve_http(stream, Protocol::Http1, connection, generation, server, draining).await;
    };
    // Until the end of the handshake the connection is a silent one for the limits.
    let stream = tokio::select! {
        secured = tls::handshake(stream, tls) => secured?,
        // Nothing was asked yet.
        _ = draining.changed() => return Ok(()),
    };
    drop(web);
    let protocol = match stream.get_ref().1.alpn_protocol() {
        Some(tls::H2) => Protocol::Http2,
        _ => Protocol::Http1,
    };
    serve_http(Box::pin(stream), protocol, connection, generation, server, draining).await
}

/// Answers requests on a stream, plain or secured, until its end; once the server is draining, or a reload requires new
/// connections, until the end of the answers under way.
async fn serve_http<S>(
    stream: S,
    protocol: Protocol,
    connection: Arc<Connection>,
    generation: u64,
    server: &Server,
    mut draining: watch::Receiver<()>,
) -> Result<(), ConnectionError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = Tracked::new(stream, Arc::clone(&connection));
    let stream = TokioIo::new(Refusing::new(stream, Arc::clone(&connection)));
    let watched = Arc::clone(&connection);
    let (state, routes) = (Arc::clone(&server.state), server.service);
    let outdated = server.state.web.outdated(generation);
    let service = service_fn(move |request| {
        let (state, connection) = (Arc::clone(&state), Arc::clone(&connection));
        async move {
            let in_flight = connection.request();
            let response = pipeline::respond(routes, &state, &connection, in_flight.as_ref(), request).await;
            if protocol == Protocol::Http1 {
                // Until the next flush. A stream of HTTP/2 may have ended meanwhile, without a byte to be written.
                connection.writing();
            }
            Ok::<_, Infallible>(response.map(|payload| Held::new(payload, in_flight)))
        }
    });
    let builder = builder(protocol);
    let mut serving = pin!(builder.serve_connection(stream, service));
    tokio::select! {
        ended = serving.as_mut() => return ended,
        () = watched.unused() => tracing::debug!("idle connection closed"),
        _ = draining.changed() => {}
        () = outdated => {}
    }
    serving.as_mut().graceful_shutdown();
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

#[cfg(test)]
mod tests;
