//! From the SDK's errors to ours, by wire code. Everything that AWS or a credential process wrote is redacted here.

use super::transport::LARGEST_ANSWER;
use crate::model::Role;
use crate::source::SourceError;
use crate::text::redact::{REDACTED, redact, shorten};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_iam::operation::RequestId;
use aws_smithy_runtime_api::client::result::{SdkError, ServiceError};
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use http_body_util::LengthLimitError;
use std::error::Error;

/// What an error code means for a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    AccessDenied,
    Credentials,
    Throttled,
    Timeout,
    ServiceFailure,
    /// Handled where it can occur, or a mistake in the request.
    Other,
}

/// The error codes that are known, as they are on the wire: those of IAM, STS and Organizations, of their
/// protocols, and what the SDK classifies. A code that is not here never becomes a label.
const CODES: &[(&str, Meaning)] = &[
    ("AccessDenied", Meaning::AccessDenied),
    ("AccessDeniedException", Meaning::AccessDenied),
    ("AccessDeniedForDependencyException", Meaning::AccessDenied),
    ("OptInRequired", Meaning::AccessDenied),
    ("UnauthorizedOperation", Meaning::AccessDenied),
    ("AuthFailure", Meaning::Credentials),
    ("ExpiredToken", Meaning::Credentials),
    ("ExpiredTokenException", Meaning::Credentials),
    ("IDPCommunicationError", Meaning::Credentials),
    ("IDPRejectedClaim", Meaning::Credentials),
    ("IncompleteSignature", Meaning::Credentials),
    ("InvalidClientTokenId", Meaning::Credentials),
    ("InvalidIdentityToken", Meaning::Credentials),
    ("InvalidSignatureException", Meaning::Credentials),
    ("MissingAuthenticationToken", Meaning::Credentials),
    ("RegionDisabledException", Meaning::Credentials),
    ("RequestExpired", Meaning::Credentials),
    ("SignatureDoesNotMatch", Meaning::Credentials),
    ("UnrecognizedClientException", Meaning::Credentials),
    ("PriorRequestNotComplete", Meaning::Throttled),
    ("RequestLimitExceeded", Meaning::Throttled),
    ("RequestThrottled", Meaning::Throttled),
    ("SlowDown", Meaning::Throttled),
    ("ThrottledException", Meaning::Throttled),
    ("Throttling", Meaning::Throttled),
    ("ThrottlingException", Meaning::Throttled),
    ("TooManyRequestsException", Meaning::Throttled),
    ("ConcurrentModificationException", Meaning::Throttled),
    ("RequestTimeout", Meaning::Timeout),
    ("RequestTimeoutException", Meaning::Timeout),
    ("InternalError", Meaning::ServiceFailure),
    ("InternalFailure", Meaning::ServiceFailure),
    ("ServiceFailure", Meaning::ServiceFailure),
    ("ServiceException", Meaning::ServiceFailure),
    ("ServiceUnavailable", Meaning::ServiceFailure),
    ("AWSOrganizationsNotInUseException", Meaning::Other),
    ("ChildNotFoundException", Meaning::Other),
    ("InvalidAction", Meaning::Other),
    ("InvalidInput", Meaning::Other),
    ("InvalidInputException", Meaning::Other),
    ("InvalidParameterValue", Meaning::Other),
    ("LimitExceeded", Meaning::Other),
    ("MalformedQueryString", Meaning::Other),
    ("NoSuchEntity", Meaning::Other),
    ("PackedPolicyTooLarge", Meaning::Other),
    ("ParentNotFoundException", Meaning::Other),
    ("ReportExpired", Meaning::Other),
    ("ReportInProgress", Meaning::Other),
    ("ReportNotPresent", Meaning::Other),
    ("TargetNotFoundException", Meaning::Other),
    ("UnsupportedAPIEndpointException", Meaning::Other),
    ("ValidationError", Meaning::Other),
];

/// The code if it is from the closed list.
pub(super) fn known_code(code: &str) -> Option<&'static str> {
    CODES.iter().find(|(known, _)| *known == code).map(|(known, _)| *known)
}

/// Whether a failure, as requests are counted by it, means that AWS throttled the request.
pub(super) fn is_throttling(failure: &str) -> bool {
    failure == "http_429" || CODES.contains(&(failure, Meaning::Throttled))
}

/// The error of a check for an error of the SDK, by the error code (IAM API Reference, "Common Errors", and the errors
/// of each operation), or else by the HTTP status. Texts are redacted and at most 500 characters long.
pub fn classify<E>(operation: &'static str, error: &SdkError<E, Response>) -> SourceError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    // From the session of a role that a client uses.
    if let Some(error) = cause::<SourceError>(error) {
        return error.clone();
    }
    match error {
        _ if cause::<LengthLimitError>(error).is_some() => SourceError::UnexpectedResponse {
            operation,
            message: format!("it is larger than {} MiB, the maximum", LARGEST_ANSWER >> 20),
        },
        SdkError::TimeoutError(_) => SourceError::Timeout(format!("{operation} timed out")),
        SdkError::ServiceError(service) => by_service(operation, service, request_id(error, service)),
        SdkError::ResponseError(_) => SourceError::UnexpectedResponse { operation, message: causes(error) },
        _ if cause::<CredentialsError>(error).is_some() => SourceError::Credentials(causes(error)),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => {
            SourceError::Timeout(format!("{operation} timed out"))
        }
        SdkError::DispatchFailure(_) => SourceError::Connection { operation, message: causes(error) },
        _ => SourceError::UnexpectedResponse { operation, message: causes(error) },
    }
}

/// The error for a role that could not be assumed, which it names. Texts are without the external ID, which AWS quotes when
/// it is not valid.
pub(super) fn not_assumed<E>(role: &Role, error: &SdkError<E, Response>) -> SourceError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    // The credentials that assume the role are not there: the role has no part in it.
    if let Some(error) = cause::<SourceError>(error) {
        return error.clone();
    }
    let arn = &role.arn;
    let hidden = |message: String| match &role.external_id {
        Some(id) => message.replace(id.expose(), REDACTED),
        None => message,
    };
    let named = |message: String| format!("{} (for {arn})", hidden(message));
    match classify("AssumeRole", error) {
        SourceError::AccessDenied { message, .. } => {
            SourceError::RoleDenied { role: arn.clone(), message: hidden(message) }
        }
        SourceError::Credentials(message) => SourceError::Credentials(named(message)),
        SourceError::Timeout(message) => SourceError::Timeout(named(message)),
        SourceError::Throttled { operation, message } => SourceError::Throttled { operation, message: named(message) },
        SourceError::Connection { operation, message } => {
            SourceError::Connection { operation, message: named(message) }
        }
        SourceError::ServiceFailure { operation, message } => {
            SourceError::ServiceFailure { operation, message: named(message) }
        }
        SourceError::UnexpectedResponse { operation, message } => {
            SourceError::UnexpectedResponse { operation, message: named(message) }
        }
        other => other,
    }
}

/// Whether AWS returned `NoSuchEntity`: the user or key does not exist, or no longer.
pub fn is_no_such_entity<E: ProvideErrorMetadata>(error: &SdkError<E, Response>) -> bool {
    matches!(error, SdkError::ServiceError(e) if e.err().code() == Some("NoSuchEntity"))
}

/// For AWS's support: from the answer's header, or from the error document.
fn request_id<'a, E: ProvideErrorMetadata>(
    error: &'a SdkError<E, Response>,
    service: &'a ServiceError<E, Response>,
) -> Option<&'a str> {
    error.request_id().or_else(|| service.err().meta().request_id()).filter(|id| !id.is_empty())
}

fn by_service<E>(operation: &'static str, error: &ServiceError<E, Response>, request_id: Option<&str>) -> SourceError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let status = error.raw().status();
    let (code, message) = (error.err().code(), error.err().message());
    if code.is_none() && status.is_success() {
        let message = format!("it cannot be parsed: {}", causes(error.err()));
        return SourceError::UnexpectedResponse { operation, message };
    }
    by_code(operation, code, status.as_u16(), message, request_id)
}

fn by_code(
    operation: &'static str,
    code: Option<&str>,
    status: u16,
    message: Option<&str>,
    request_id: Option<&str>,
) -> SourceError {
    let mut text = match code {
        // Some codes are as long as a token.
        Some(code) => known_code(code).map_or_else(|| shorten(redact(code)), str::to_owned),
        None => format!("HTTP status {status} without an error code"),
    };
    if let Some(message) = message.filter(|_| code.is_some()) {
        text = format!("{text}: {}", shorten(redact(message)));
    }
    if let Some(id) = request_id {
        text = format!("{text} (request ID {})", shorten(redact(id)));
    }
    let meaning = code.and_then(|code| CODES.iter().find(|(known, _)| *known == code)).map(|(_, meaning)| *meaning);
    let message = text;
    match meaning {
        Some(Meaning::AccessDenied) => SourceError::AccessDenied { operation, message },
        Some(Meaning::Credentials) => SourceError::Credentials(message),
        Some(Meaning::Throttled) => SourceError::Throttled { operation, message },
        Some(Meaning::Timeout) => SourceError::Timeout(format!("{operation}: {message}")),
        Some(Meaning::ServiceFailure) => SourceError::ServiceFailure { operation, message },
        _ if status == 429 => SourceError::Throttled { operation, message },
        _ if status >= 500 => SourceError::ServiceFailure { operation, message },
        _ => SourceError::UnexpectedResponse { operation, message },
    }
}

/// The error itself or the first of its causes that is of this type.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn Error + 'static) = *error;
        error.source()
    })
    .find_map(|error| error.downcast_ref())
}

/// An error and what caused it, redacted, without the repetitions of errors that only wrap another one.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        let next = e.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = e.source();
    }
    shorten(redact(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_codes_become_reasons() {
        for (code, status, reason) in [
            (Some("AccessDenied"), 403, "access_denied"),
            (Some("Throttling"), 400, "throttled"),
            (Some("InvalidClientTokenId"), 403, "credentials"),
            (Some("ServiceFailure"), 500, "service_failure"),
            (None, 503, "service_failure"),
            (None, 429, "throttled"),
            (Some("Wonderful"), 400, "unexpected_response"),
            (Some("ReportExpired"), 410, "unexpected_response"),
            (Some("AWSOrganizationsNotInUseException"), 400, "unexpected_response"),
            (Some("AccessDeniedForDependencyException"), 400, "access_denied"),
        ] {
            let error = by_code("ListUsers", code, status, Some("m"), None);
            assert_eq!(error.reason(), reason, "{code:?} {status}");
            assert!(error.to_string().contains(code.unwrap_or("without an error code")), "{error}");
        }
    }

    #[test]
    fn no_code_is_listed_twice() {
        let mut codes: Vec<&str> = CODES.iter().map(|(code, _)| *code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), CODES.len());
    }

    #[test]
    fn code_operation_and_request_id_stay_when_the_message_is_redacted() {
        let id = "3f1e9c42-0000-4000-8000-00000000abcd";
        let message = "no key AKIAIOSFODNN7EXAMPLE.\nThe Canonical String for this request should have been\n'POST";
        let error = by_code("ListUsers", Some("AccessDenied"), 403, Some(message), Some(id));
        assert_eq!(
            error.to_string(),
            format!("AWS denied ListUsers: AccessDenied: no key [redacted]. The [redacted] (request ID {id})")
        );
    }
}
