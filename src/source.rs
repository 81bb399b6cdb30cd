//! Ways to get facts about one account.
//!
//! A collector is one file below `source/` that implements [`Source`] and passes the shared collector tests.

pub mod auto;
pub mod credential_report;
pub mod demo;
pub mod file;
pub mod inventory_file;
pub mod live;
pub mod report;

use crate::model::{Account, Inventory};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use tokio::time::Instant;

/// A way to get facts about one account.
pub trait Source: Send + Sync {
    /// The account, as soon as it is known; AWS is asked only the first time.
    fn account<'a>(&'a self) -> BoxFuture<'a, Result<Account, SourceError>>;

    /// One look at the account.
    ///
    /// # Errors
    /// When the facts as a whole could not be had. A user whose keys alone could not be read is in the inventory,
    /// with unknown keys.
    fn collect<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Inventory, SourceError>>;
}

/// What a check asks of a source.
#[derive(Clone)]
pub struct Request {
    /// What the previous check knew: newer readings of single users are kept.
    pub previous: Option<Arc<Inventory>>,
    /// Only the user of this name matters; others may be left out.
    pub only_user: Option<String>,
    /// The check is given up at this moment.
    pub deadline: Instant,
    pub progress: Arc<dyn Progress>,
}

/// Told how far a look has come, for people who wait.
pub trait Progress: Send + Sync {
    /// A new phase begins; `total` is the number of steps, when known.
    fn phase(&self, _name: &'static str, _total: Option<u64>) {}
    fn step(&self) {}
}

/// Nobody watches.
pub struct Silent;

impl Progress for Silent {}

/// Why facts could not be had.
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
    AccountMismatch { expected: String, found: String },
    #[error("{operation} cannot be read to its end: {message}")]
    Pagination { operation: &'static str, message: String },
    #[error("AWS answered {operation} with something unexpected: {message}")]
    UnexpectedResponse { operation: &'static str, message: String },
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
            SourceError::UnexpectedResponse { .. } | SourceError::NoSuchUser(_) => "unexpected_response",
        }
    }
}

/// Keeps only the user that was asked for.
///
/// # Errors
/// When there is none of that name (compared without regard to case, as IAM does).
pub(crate) fn retain_only(inventory: &mut Inventory, only: Option<&str>) -> Result<(), SourceError> {
    let Some(name) = only else { return Ok(()) };
    inventory.users.retain(|u| u.name.eq_ignore_ascii_case(name));
    if inventory.users.is_empty() { Err(SourceError::NoSuchUser(name.to_owned())) } else { Ok(()) }
}
