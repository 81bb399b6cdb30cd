//! What a request passes, in this order, from a connection to its answer.

use super::body::Payload;
use super::connections::Client;
use super::{AppState, routes};
use hyper::body::Incoming;
use hyper::{Request, Response};

/// What an address serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    /// Everything.
    Main,
    /// Health and readiness, and nothing else.
    Probe,
}

/// The answer to a request of this client.
pub(super) async fn respond(
    service: Service,
    state: &AppState,
    _client: Client,
    request: Request<Incoming>,
) -> Response<Payload> {
    match service {
        Service::Main => routes::respond(state, request).await,
        Service::Probe => routes::probe(state, &request),
    }
}
