//! What a request passes, in this order, from a connection to its answer.

use super::body::Payload;
use super::connections::Client;
use super::{AppState, routes};
use hyper::body::Incoming;
use hyper::{Request, Response};

/// The answer to a request of this client.
pub(super) async fn respond(state: &AppState, _client: Client, request: Request<Incoming>) -> Response<Payload> {
    routes::respond(state, request).await
}
