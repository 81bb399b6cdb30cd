//! Why a check failed, and the closed list of reasons.

use crate::model::AccountId;

/// Why a check failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    #[error("no usable AWS credentials: {0}")]
    Credentials(String),
    #[error("AWS denied {operation}: {message}")]
    AccessDenied { operation: &'static str, message: String },
    #[error("AWS throttled {operation}, all retries used up: {message}")]
    Throttled { operation: &'static str, message: String },
    #[error("{0}")]
    Timeout(String),
    #[error("cannot reach AWS for {operation}: {message}")]
    Connection { operation: &'static str, message: String },
    #[error("AWS failed to serve {operation}: {message}")]
    ServiceFailure { operation: &'static str, message: String },
    #[error("the credential report is malformed: {0}")]
    ReportMalformed(String),
    #[error("the credential report did not become ready: {0}")]
    ReportPending(String),
    #[error("cannot read {path}: {message}")]
    FileUnreadable { path: String, message: String },
    #[error("{path}: {message}")]
    FileMalformed { path: String, message: String },
    #[error("the answer is about account {found}, expected {expected}")]
    AccountMismatch { expected: AccountId, found: AccountId },
    #[error("{operation} cannot be read to its end: {message}")]
    Pagination { operation: &'static str, message: String },
    #[error("AWS returned an unexpected answer to {operation}: {message}")]
    UnexpectedResponse { operation: &'static str, message: String },
    #[error("the answers about the account are incomplete: {0}")]
    Incomplete(String),
    #[error("there is no IAM user named {0:?} in the account")]
    NoSuchUser(String),
}

/// Every reason that can become a label, in the order of the documentation.
pub const REASONS: &[&str] = &[
    "credentials",
    "access_denied",
    "throttled",
    "timeout",
    "connection",
    "service_failure",
    "report_malformed",
    "report_pending",
    "file_unreadable",
    "file_malformed",
    "account_mismatch",
    "pagination",
    "unexpected_response",
];

impl SourceError {
    /// Whether the reason concerns the whole account, also where only one user was read: the other answers of the check
    /// are then not to be relied on.
    pub fn concerns_account(&self) -> bool {
        matches!(self, SourceError::Credentials(_) | SourceError::Connection { .. })
    }

    /// The reason from the closed list [`REASONS`]: the only error text that may become a label.
    pub fn reason(&self) -> &'static str {
        match self {
            SourceError::Credentials(_) => "credentials",
            SourceError::AccessDenied { .. } => "access_denied",
            SourceError::Throttled { .. } => "throttled",
            SourceError::Timeout(_) => "timeout",
            SourceError::Connection { .. } => "connection",
            SourceError::ServiceFailure { .. } => "service_failure",
            SourceError::ReportMalformed(_) => "report_malformed",
            SourceError::ReportPending(_) => "report_pending",
            SourceError::FileUnreadable { .. } => "file_unreadable",
            SourceError::FileMalformed { .. } => "file_malformed",
            SourceError::AccountMismatch { .. } => "account_mismatch",
            SourceError::Pagination { .. } => "pagination",
            SourceError::UnexpectedResponse { .. } | SourceError::Incomplete(_) | SourceError::NoSuchUser(_) => {
                "unexpected_response"
            }
        }
    }
}
