//! From the SDK's errors to ours, by wire code.

use crate::source::SourceError;
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use std::error::Error;

/// Sorts an SDK error into our closed list of reasons.
pub fn classify<E>(operation: &'static str, error: &SdkError<E, Response>) -> SourceError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::TimeoutError(_) => SourceError::Timeout(format!("{operation} timed out")),
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            by_code(operation, service.err().code(), status, service.err().message())
        }
        SdkError::ResponseError(_) => SourceError::UnexpectedResponse { operation, message: causes(error) },
        _ if caused_by_credentials(error) => SourceError::Credentials(causes(error)),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => {
            SourceError::Timeout(format!("{operation} timed out"))
        }
        SdkError::DispatchFailure(_) => SourceError::Connection { operation, message: causes(error) },
        _ => SourceError::UnexpectedResponse { operation, message: causes(error) },
    }
}

/// Whether AWS says that the user is not, or no longer, there.
pub fn is_no_such_entity<E: ProvideErrorMetadata>(error: &SdkError<E, Response>) -> bool {
    matches!(error, SdkError::ServiceError(e) if e.err().code() == Some("NoSuchEntity"))
}

fn by_code(operation: &'static str, code: Option<&str>, status: u16, message: Option<&str>) -> SourceError {
    let text = match (code, message) {
        (Some(code), Some(message)) => one_line(&format!("{code}: {message}")),
        (Some(code), None) => code.to_owned(),
        (None, _) => format!("HTTP status {status} without an error code"),
    };
    match code.unwrap_or_default() {
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" | "OptInRequired" => {
            SourceError::AccessDenied { operation, message: text }
        }
        "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "AuthFailure"
        | "InvalidSignatureException" => SourceError::Credentials(text),
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "RequestThrottled"
        | "SlowDown"
        | "PriorRequestNotComplete" => SourceError::Throttled { operation, message: text },
        "RequestTimeout" | "RequestTimeoutException" => SourceError::Timeout(format!("{operation}: {text}")),
        "ServiceFailure" | "InternalFailure" | "InternalError" | "ServiceUnavailable" => {
            SourceError::ServiceFailure { operation, message: text }
        }
        _ if status == 429 => SourceError::Throttled { operation, message: text },
        _ if status >= 500 => SourceError::ServiceFailure { operation, message: text },
        _ => SourceError::UnexpectedResponse { operation, message: text },
    }
}

fn caused_by_credentials(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(e) = cause {
        if e.downcast_ref::<CredentialsError>().is_some() {
            return true;
        }
        cause = e.source();
    }
    false
}

/// An error and what caused it, without the repetitions of errors that only wrap another one.
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
    one_line(&text)
}

/// Error texts go to the log and the page, one line each, and not endlessly.
fn one_line(text: &str) -> String {
    const LIMIT: usize = 500;
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((cut, _)) = line.char_indices().nth(LIMIT) {
        line.truncate(cut);
        line.push_str(" ...");
    }
    line
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
        ] {
            assert_eq!(by_code("ListUsers", code, status, Some("m")).reason(), reason, "{code:?} {status}");
        }
    }

    #[test]
    fn messages_are_one_short_line() {
        assert_eq!(one_line("a\n  b\tc"), "a b c");
        assert!(one_line(&"é".repeat(2000)).len() < 1100);
    }
}
