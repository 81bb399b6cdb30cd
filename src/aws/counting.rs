//! Counts every attempt that goes to AWS, retries included, by operation and outcome.

use super::errors;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{Error, FinalizerInterceptorContextRef};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::{Metadata, OrchestratorError};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Receives the outcomes of requests to AWS.
pub trait RequestObserver: Send + Sync {
    /// An attempt has ended. `service` is `iam`, `sts` or `organizations`, `operation` the API operation. `failure` is from a closed
    /// list: one of AWS's error codes, `http_` and a status, `timeout`, `connection` or `other`; `None` when the
    /// attempt succeeded.
    fn request(&self, service: &'static str, operation: &str, failure: Option<&'static str>);

    /// AWS's clock minus the local one in whole seconds, by the `Date` header of an answer; 0 within the precision of
    /// the measurement.
    fn clock_skew(&self, _seconds: i64) {}
}

/// No-op observer.
impl RequestObserver for () {
    fn request(&self, _: &'static str, _: &str, _: Option<&'static str>) {}
}

pub(super) struct RequestCounter {
    service: &'static str,
    observer: Arc<dyn RequestObserver>,
    throttled: Throttled,
}

/// Counts the requests of one account that AWS throttled.
#[derive(Debug, Clone, Default)]
pub(super) struct Throttled(Arc<AtomicU64>);

impl Throttled {
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl RequestCounter {
    pub(super) fn new(service: &'static str, observer: Arc<dyn RequestObserver>, throttled: Throttled) -> Self {
        RequestCounter { service, observer, throttled }
    }
}

impl fmt::Debug for RequestCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestCounter").field("service", &self.service).finish_non_exhaustive()
    }
}

#[dyn_dispatch_hint]
impl Intercept for RequestCounter {
    fn name(&self) -> &'static str {
        "RequestCounter"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let operation = cfg.load::<Metadata>().map_or("unknown", Metadata::name);
        let failure = match context.output_or_error() {
            Some(Ok(_)) => None,
            Some(Err(error)) => Some(failure_code(context, error)),
            None => Some(OTHER),
        };
        if failure.is_some_and(errors::is_throttling) {
            self.throttled.0.fetch_add(1, Ordering::Relaxed);
        }
        self.observer.request(self.service, operation, failure);
        Ok(())
    }
}

const OTHER: &str = "other";
const TIMEOUT: &str = "timeout";
const CONNECTION: &str = "connection";

/// The known error code of an attempt that failed, or what stands for it.
pub(super) fn failure_code(
    context: &FinalizerInterceptorContextRef<'_>,
    error: &OrchestratorError<Error>,
) -> &'static str {
    if let Some(connector) = error.as_connector_error() {
        // An answer that is too large came from AWS.
        return match connector {
            error if error.is_timeout() => TIMEOUT,
            error if error.as_other().is_none() && !error.is_io() => OTHER,
            _ => CONNECTION,
        };
    }
    if error.is_timeout_error() {
        return TIMEOUT;
    }
    let Some(response) = context.response() else { return OTHER };
    match response.body().bytes() {
        // The connection ended before the body did.
        None => CONNECTION,
        Some(body) => match wire_code(body) {
            Some(code) => errors::known_code(&code).unwrap_or(OTHER),
            None => status_label(response.status().as_u16()),
        },
    }
}

/// The `<Code>` of an error document, or the `__type` of a JSON one. Interceptors see errors with their types erased, and the SDK's names differ
/// from the wire's (`LimitExceededException`, `LimitExceeded`).
fn wire_code(body: &[u8]) -> Option<Cow<'_, str>> {
    let body = std::str::from_utf8(body).ok()?;
    if body.trim_start().starts_with('{') {
        let error: JsonError = serde_json::from_str(body).ok()?;
        // `com.amazonaws.organizations#CODE:https://...`
        let code = error.code.rsplit('#').next()?.split(':').next()?;
        return Some(code.to_owned().into());
    }
    let (_, rest) = body.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    Some(code.into())
}

#[derive(serde::Deserialize)]
struct JsonError {
    #[serde(rename = "__type")]
    code: String,
}

/// For answers without an error code: those of AWS's load balancers and of proxies.
fn status_label(status: u16) -> &'static str {
    match status {
        400 => "http_400",
        401 => "http_401",
        403 => "http_403",
        404 => "http_404",
        407 => "http_407",
        408 => "http_408",
        413 => "http_413",
        429 => "http_429",
        500 => "http_500",
        502 => "http_502",
        503 => "http_503",
        504 => "http_504",
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_code_is_taken_from_the_error_document() {
        for (body, code) in [
            ("<Error><Code>Throttling</Code></Error>", "Throttling"),
            (r#"{"__type":"TooManyRequestsException","message":"x"}"#, "TooManyRequestsException"),
            (r#" {"__type":"com.amazonaws.organizations#AccessDeniedException:http://x/"}"#, "AccessDeniedException"),
        ] {
            assert_eq!(wire_code(body.as_bytes()).as_deref(), Some(code));
        }
        for bad in ["", "<Code>x", "<html>no</html>", "{", "{}", r#"{"__type":1}"#] {
            assert_eq!(wire_code(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(wire_code(b"<Code>\xff</Code>"), None);
    }

    proptest! {
        #[test]
        fn no_text_of_an_answer_becomes_a_label(code in ".{0,80}", status in 0_u16..1000) {
            let label = errors::known_code(&code).unwrap_or(OTHER);
            prop_assert!(label == OTHER || label == code);
            let (label, expected) = (status_label(status), format!("http_{status}"));
            prop_assert!(label == OTHER || label == expected);
        }
    }
}
