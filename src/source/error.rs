//! Why a check failed, and the closed list of reasons.

use crate::model::{AccountId, RoleArn};

/// Why a check failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// There are no credentials, or AWS refuses them.
    #[error("no usable AWS credentials: {0}")]
    Credentials(String),
    /// AWS denied a request for lack of permission.
    #[error("AWS denied {operation}: {message}")]
    AccessDenied {
        /// The API operation.
        operation: &'static str,
        /// The error code and the text of AWS, redacted.
        message: String,
    },
    /// AWS does not allow to assume the role of an account.
    #[error(
        "cannot assume {role}: {message}; check that the role exists, that its trust policy names the caller and the \
         external ID, and that the caller has the permission sts:AssumeRole"
    )]
    RoleDenied {
        /// The role.
        role: RoleArn,
        /// The error code and the text of AWS, redacted.
        message: String,
    },
    /// AWS throttled a request and all its retries.
    #[error("AWS throttled {operation}, all retries used up: {message}")]
    Throttled {
        /// The API operation.
        operation: &'static str,
        /// The error code and the text of AWS, redacted.
        message: String,
    },
    /// A request, or the check as a whole, took too long.
    #[error("{0}")]
    Timeout(String),
    /// No connection, or one that ended before the answer did.
    #[error("cannot reach AWS for {operation}: {message}")]
    Connection {
        /// The API operation.
        operation: &'static str,
        /// What failed, redacted.
        message: String,
    },
    /// AWS reported a failure of its own, in general with an HTTP status from 500 on.
    #[error("AWS failed to serve {operation}: {message}")]
    ServiceFailure {
        /// The API operation.
        operation: &'static str,
        /// The error code and the text of AWS, redacted.
        message: String,
    },
    /// The credential report cannot be parsed.
    #[error("the credential report is malformed: {0}")]
    ReportMalformed(String),
    /// The credential report was not complete within the time of the check.
    #[error("the credential report did not become ready: {0}")]
    ReportPending(String),
    /// The file cannot be read.
    #[error("cannot read {path}: {message}")]
    FileUnreadable {
        /// The path of the file.
        path: String,
        /// What failed.
        message: String,
    },
    /// The file cannot be parsed.
    #[error("{path}: {message}")]
    FileMalformed {
        /// The path of the file.
        path: String,
        /// What is wrong, with row or line.
        message: String,
    },
    /// The answers are about another account than the one that is checked.
    #[error("the answer is about account {found}, expected {expected}")]
    AccountMismatch {
        /// The account that is checked.
        expected: AccountId,
        /// The account of the answer.
        found: AccountId,
    },
    /// The pages of a list contradict each other, or do not end.
    #[error("{operation} cannot be read to its end: {message}")]
    Pagination {
        /// The API operation that returns the list.
        operation: &'static str,
        /// The contradiction.
        message: String,
    },
    /// The answer is not one that the API reference describes.
    #[error("AWS returned an unexpected answer to {operation}: {message}")]
    UnexpectedResponse {
        /// The API operation.
        operation: &'static str,
        /// What is unexpected.
        message: String,
    },
    /// Two answers about the account contradict each other: one lacks users.
    #[error("the answers about the account are incomplete: {0}")]
    Incomplete(String),
    /// A panic, which the log describes. Its message is not repeated here.
    #[error("internal error, which the log describes; please report it")]
    Internal,
    /// The account is not in the organisation any more.
    #[error("the account has left the organisation")]
    LeftOrganization,
    /// The account has changed so that the filters of the organisation do not select it any more.
    #[error("the filters of the organisation do not select the account any more")]
    AccountExcluded,
    /// The account is suspended, closed or not yet active.
    #[error("the account is suspended or closed")]
    AccountSuspended,
    /// The account has no user of the requested name.
    #[error("there is no IAM user named {0:?} in the account")]
    NoSuchUser(String),
}

/// Every reason that can become a label, in the order of the documentation.
pub const REASONS: &[&str] = &[
    "credentials",
    "access_denied",
    "role_denied",
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
    "internal",
    "left_organization",
    "account_suspended",
    "account_excluded",
];

impl SourceError {
    /// Whether the reason concerns the whole account, also where only one user was read: the other answers of the check
    /// are then not to be relied on.
    pub fn concerns_account(&self) -> bool {
        matches!(self, SourceError::Credentials(_) | SourceError::RoleDenied { .. } | SourceError::Connection { .. })
    }

    /// The reason from the closed list [`REASONS`]: the only error text that may become a label.
    pub fn reason(&self) -> &'static str {
        match self {
            SourceError::Credentials(_) => "credentials",
            SourceError::AccessDenied { .. } => "access_denied",
            SourceError::RoleDenied { .. } => "role_denied",
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
            SourceError::Internal => "internal",
            SourceError::LeftOrganization => "left_organization",
            SourceError::AccountSuspended => "account_suspended",
            SourceError::AccountExcluded => "account_excluded",
            SourceError::UnexpectedResponse { .. } | SourceError::Incomplete(_) | SourceError::NoSuchUser(_) => {
                "unexpected_response"
            }
        }
    }
}
