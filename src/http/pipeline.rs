//! What a request passes, in this order, from a connection to its answer.

use super::body::Payload;
use super::connections::Client;
use super::{AppState, routes};
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::{Request, Response};
use std::panic::AssertUnwindSafe;

/// What an address serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    /// Everything.
    Main,
    /// Health and readiness, and nothing else.
    Probe,
}

/// The answer that this makes, or 500 if that panics: neither the connection nor its other requests are affected. The panic
/// hook has logged it.
pub(super) async fn or_internal_error(answer: impl Future<Output = Response<Payload>>) -> Response<Payload> {
    // Locks that it poisons hold valid values.
    AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| routes::internal_error())
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

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn a_panic_is_an_internal_error_without_its_message() {
        let response = or_internal_error(async { panic!("hush-hush") }).await;
        assert_eq!(response.status(), 500);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "internal error; the log has the details\n");
    }
}
