//! Ways to obtain observations of an account. The collectors that call AWS are in [`aws::collect`](crate::aws::collect);
//! here are those that do not, and what all have in common.

pub mod credential_report;
pub mod demo;
pub mod error;
pub mod file;
pub mod inventory_file;
pub mod organization;
pub mod retry;

pub use error::{REASONS, SourceError};
pub use organization::{Member, MemberLister, MemberState, Members, Wanted};

use crate::model::{Account, DetailsScope, Observation, Timestamp, UserName};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use tokio::time::Instant;

/// A way to obtain observations of one account. A check calls the methods in the order in which they stand here.
pub trait Source: Send + Sync {
    /// The account that the credentials or the file belong to. Nothing is cached: credentials can change.
    ///
    /// # Errors
    /// When AWS does not answer, or the file cannot be read or parsed.
    fn account<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Account, SourceError>>;

    /// Observations of the whole account; one of them is a listing, unless the known report is still AWS's newest one.
    ///
    /// # Errors
    /// When the account as a whole could not be read. A user whose keys alone could not be read is in the listing.
    fn collect<'a>(
        &'a self,
        account: &'a Account,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Vec<Observation>, SourceError>>;

    /// Whether single users can be read live; by default they cannot.
    fn can_recheck(&self) -> bool {
        false
    }

    /// Reads users live. A user that could not be read is left out: what is known of it is older, not wrong.
    ///
    /// # Errors
    /// When the answers contradict each other.
    fn recheck<'a>(
        &'a self,
        _account: &'a Account,
        _users: Vec<UserName>,
        _request: &'a Request,
    ) -> BoxFuture<'a, Result<Vec<Observation>, SourceError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Reads users live between checks, in this order, at most `at_once` at the same time. It ends at the first failure
    /// that other users would share. The account is confirmed before and after.
    fn sweep<'a>(&'a self, _account: &'a Account, _users: Vec<UserName>, _at_once: usize) -> BoxFuture<'a, Swept> {
        Box::pin(async { Swept::default() })
    }

    /// Answers so far with which AWS throttled a request, retries included.
    fn throttled_requests(&self) -> u64 {
        0
    }

    /// Confirms at the end of a check that its answers are of this account.
    ///
    /// # Errors
    /// [`SourceError::AccountMismatch`] when the credentials changed during the check.
    fn confirm<'a>(&'a self, _account: &'a Account) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(async { Ok(()) })
    }
}

/// What a part of a sweep read.
#[derive(Debug, Default)]
pub struct Swept {
    /// How many of the users were read, or could not be; the others were not tried.
    pub attempted: usize,
    /// Of the users that were read.
    pub observations: Vec<Observation>,
    /// The last failure, if there was one.
    pub failure: Option<SourceError>,
}

/// The conditions of one check.
#[derive(Clone)]
pub struct Request {
    /// Only this user is needed, keys of others need not be read; `None` for all users.
    pub only_user: Option<String>,
    /// Tags and groups of users that the policy needs.
    pub details: DetailsScope,
    /// The credential report that is known already. A newer one is read only if AWS can have one.
    pub known_report: Option<KnownReport>,
    /// The check fails at this time.
    pub deadline: Instant,
    /// Receives the progress of the check.
    pub progress: Arc<dyn Progress>,
}

/// A credential report whose users are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownReport {
    /// When it was generated.
    pub generated_at: Timestamp,
    /// The number of users.
    pub users: usize,
}

/// Receives the progress of a check, for display.
pub trait Progress: Send + Sync {
    /// A new phase begins; `total` is its number of steps, `None` if that is not known.
    fn phase(&self, _name: &'static str, _total: Option<u64>) {}
    /// One step of the phase is done.
    fn step(&self) {}
}

/// Progress that is not displayed.
pub struct NoProgress;

impl Progress for NoProgress {}
