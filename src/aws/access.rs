//! One account's access to AWS.

use super::process::{Limits, Process};
use super::session::RoleSession;
use super::sts;
use crate::model::{Account, AccountId, Partition};
use crate::source::SourceError;
use std::sync::{Arc, Mutex, PoisonError};

/// One account's access to AWS. It is small: a client of the SDK has 16 kB, and is kept during checks only.
pub struct Aws {
    /// The largest number of requests to IAM that are worth to begin at once.
    pub concurrency: usize,
    process: Arc<Process>,
    /// `None` for the credentials of the process.
    session: Option<Arc<RoleSession>>,
    name: String,
    limits: Limits,
    client: Mutex<Client>,
}

enum Client {
    /// Outside of checks: a client is made for each use.
    NotKept,
    /// During a check.
    Kept(Option<aws_sdk_iam::Client>),
}

impl Aws {
    pub(super) fn new(
        process: Arc<Process>,
        session: Option<Arc<RoleSession>>,
        name: String,
        concurrency: usize,
        limits: Limits,
    ) -> Self {
        Aws { concurrency, process, session, name, limits, client: Mutex::new(Client::NotKept) }
    }

    /// The IAM client.
    ///
    /// # Errors
    /// [`SourceError::Credentials`] when the SDK cannot load its configuration. What the configuration lacks shows at
    /// the first request.
    pub async fn iam(&self) -> Result<aws_sdk_iam::Client, SourceError> {
        if let Client::Kept(Some(client)) = &*self.client.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(client.clone());
        }
        let client = self.process.iam(self.session.as_ref(), &self.limits).await?;
        if let Client::Kept(kept) = &mut *self.client.lock().unwrap_or_else(PoisonError::into_inner) {
            *kept = Some(client.clone());
        }
        Ok(client)
    }

    fn set_client(&self, client: Client) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
    }

    /// The account that the credentials belong to now, at the start of a check. A role's session names it; otherwise AWS
    /// is asked.
    ///
    /// # Errors
    /// When the role cannot be assumed, or AWS does not answer; [`SourceError::UnexpectedResponse`] when the answer names
    /// no account; [`SourceError::AccountMismatch`] when the session is of another account than the role.
    pub async fn account(&self) -> Result<Account, SourceError> {
        let (id, partition) = self.identity().await?;
        self.set_client(Client::Kept(None));
        Ok(Account { id, name: self.name.clone(), partition })
    }

    async fn identity(&self) -> Result<(AccountId, Partition), SourceError> {
        match &self.session {
            Some(session) => session.get().await.map(|session| (session.account, session.partition)),
            None => sts::caller_identity(&self.process).await,
        }
    }

    /// Confirms at the end of a check that the credentials still belong to this account.
    ///
    /// # Errors
    /// [`SourceError::AccountMismatch`] when they do not, and those of [`account`](Self::account).
    pub async fn confirm(&self, account: &Account) -> Result<(), SourceError> {
        self.set_client(Client::NotKept);
        let found = match &self.session {
            // Every session is of the account of its role.
            Some(session) => session.role.arn.account,
            None => self.identity().await?.0,
        };
        if found == account.id { Ok(()) } else { Err(SourceError::AccountMismatch { expected: account.id, found }) }
    }
}
