//! Counts every attempt that goes to AWS, retries included, by operation and outcome.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::FinalizerInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use std::sync::Arc;

/// Told of every attempt.
pub trait RequestObserver: Send + Sync {
    /// `failure` is AWS's error code, or `timeout`, `connection`, `other`; `None` when the attempt succeeded.
    fn request(&self, service: &'static str, operation: &str, failure: Option<&str>);
}

/// Nobody counts.
impl RequestObserver for () {
    fn request(&self, _: &'static str, _: &str, _: Option<&str>) {}
}

pub(super) struct Counting {
    service: &'static str,
    observer: Arc<dyn RequestObserver>,
}

impl Counting {
    pub(super) fn new(service: &'static str, observer: Arc<dyn RequestObserver>) -> Self {
        Counting { service, observer }
    }
}

impl std::fmt::Debug for Counting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counting").field("service", &self.service).finish_non_exhaustive()
    }
}

#[dyn_dispatch_hint]
impl Intercept for Counting {
    fn name(&self) -> &'static str {
        "Counting"
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
            None => Some("other".to_owned()),
        };
        self.observer.request(self.service, operation, failure.as_deref());
        Ok(())
    }
}

type AttemptError = aws_smithy_runtime_api::client::orchestrator::OrchestratorError<
    aws_smithy_runtime_api::client::interceptors::context::Error,
>;

fn failure_code(context: &FinalizerInterceptorContextRef<'_>, error: &AttemptError) -> String {
    if let Some(connector) = error.as_connector_error() {
        return if connector.is_timeout() { "timeout" } else { "connection" }.to_owned();
    }
    if error.is_timeout_error() {
        return "timeout".to_owned();
    }
    let Some(response) = context.response() else { return "other".to_owned() };
    match response.body().bytes().and_then(wire_code) {
        Some(code) => code.to_owned(),
        None if response.status().is_success() => "other".to_owned(),
        None => format!("http_{}", response.status().as_u16()),
    }
}

/// The `<Code>` of an error document. Interceptors see errors with their types erased, and the SDK's names differ
/// from the wire's (`LimitExceededException`, `LimitExceeded`).
fn wire_code(body: &[u8]) -> Option<&str> {
    let body = std::str::from_utf8(body).ok()?;
    let (_, rest) = body.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    (!code.is_empty() && code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric())).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::wire_code;

    #[test]
    fn only_a_plain_code_becomes_a_label() {
        assert_eq!(wire_code(b"<Error><Code>Throttling</Code></Error>"), Some("Throttling"));
        for bad in ["", "<Code></Code>", "<Code>a b</Code>", "<Code>x", "<html>no</html>"] {
            assert_eq!(wire_code(bad.as_bytes()), None, "{bad}");
        }
    }
}
