//! What a request passes, in this order, from a connection to its answer: the limit of requests in flight, form and body,
//! rate limit, authentication, routes, and the configured headers of every answer.

use super::body::Payload;
use super::connections::{Connection, InFlight};
use super::limits::{BODY_TIMEOUT, MAX_BODY_BYTES};
use super::routes::text;
use super::{AppState, routes};
use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HOST, HeaderValue, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode, Version};
use std::panic::AssertUnwindSafe;

/// What an address serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    /// Everything.
    Main,
    /// Health and readiness, and nothing else, without TLS, authentication and limit.
    Probe,
}

/// The answer that this makes, or 500 if that panics: neither the connection nor its other requests are affected. The panic
/// hook has logged it.
async fn or_internal_error(answer: impl Future<Output = Response<Payload>>) -> Response<Payload> {
    // Locks that it poisons hold valid values.
    AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| routes::internal_error())
}

/// The answer to a request of this connection. Without `in_flight` the request is one too many.
pub(super) async fn respond(
    service: Service,
    state: &AppState,
    connection: &Connection,
    in_flight: Option<&InFlight>,
    request: Request<Incoming>,
) -> Response<Payload> {
    let web = state.web.current();
    let answer = async {
        if in_flight.is_none() {
            tracing::debug!(client = %connection.client(), "request refused: too many are in flight");
            return Err(overloaded());
        }
        let request = without_body(request, connection).await?;
        if service == Service::Probe {
            return Ok(routes::probe(state, &request));
        }
        let admitted = state.web.admit(&web, connection.client(), request.headers()).await;
        admitted.map_err(|refusal| refusal.response())?;
        Ok(routes::respond(state, request).await)
    };
    let answer = async { answer.await.unwrap_or_else(|refusal: Response<Payload>| refusal) };
    let mut response = or_internal_error(answer).await;
    if service == Service::Main {
        response.headers_mut().extend(web.headers.clone());
    }
    response
}

/// The answer to a request that is one too many.
fn overloaded() -> Response<Payload> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "too many requests are being answered");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// The request after its body was discarded, or the answer to one that cannot be accepted.
async fn without_body(request: Request<Incoming>, connection: &Connection) -> Result<Request<()>, Response<Payload>> {
    let (head, body) = request.into_parts();
    if !has_one_host(&head) {
        return Err(text(StatusCode::BAD_REQUEST, "bad request: HTTP/1.1 requires one header Host"));
    }
    discard(body, connection).await.map_err(|status| too_much(status, head.version))?;
    Ok(Request::from_parts(head, ()))
}

/// HTTP/1.1 requires one host (RFC 9112, section 3.2): without it, a proxy can take the request for another one.
fn has_one_host(head: &Parts) -> bool {
    let hosts = head.headers.get_all(HOST).iter().count();
    hosts == 1 || (hosts == 0 && head.version != Version::HTTP_11)
}

/// Reads a body to its end, for the next request of the connection. No route needs one.
async fn discard(mut body: Incoming, connection: &Connection) -> Result<(), StatusCode> {
    if body.is_end_stream() {
        return Ok(());
    }
    connection.set_lingers();
    if body.size_hint().lower() > MAX_BODY_BYTES {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let read = async {
        let mut left = MAX_BODY_BYTES;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            left = left.checked_sub(length).ok_or(StatusCode::PAYLOAD_TOO_LARGE)?;
        }
        Ok(())
    };
    tokio::time::timeout(BODY_TIMEOUT, read).await.unwrap_or(Err(StatusCode::REQUEST_TIMEOUT))
}

fn too_much(status: StatusCode, version: Version) -> Response<Payload> {
    let line = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "body too large: no request needs one",
        StatusCode::REQUEST_TIMEOUT => "the body did not come in time",
        _ => "bad request: the body cannot be read",
    };
    let mut response = text(status, line);
    // The rest of the body is not read. HTTP/2 ends the stream instead.
    if version < Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_internal_error_without_its_message() {
        let response = or_internal_error(async { panic!("hush-hush") }).await;
        assert_eq!(response.status(), 500);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "internal error; the log has the details\n");
    }
}
