//! One account's access to AWS.

use super::process::{Limits, Process};
use super::reception::Reception;
use super::session::RoleSession;
use super::{errors, sts};
use crate::model::{Account, AccountId, Partition};
use crate::source::SourceError;
use aws_config::retry::RetryConfig;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// The longest time that a check waits for the account's alias.
const ALIAS_TIMEOUT: Duration = Duration::from_secs(10);

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
    /// The account's alias, once AWS has answered or refused; `None` if there is none.
    alias: OnceLock<Option<String>>,
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
        Aws { concurrency, process, session, name, limits, client: Mutex::new(Client::NotKept), alias: OnceLock::new() }
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

    /// For an operation of IAM with a large answer, which is received in its turn.
    ///
    /// # Errors
    /// As [`iam`](Self::iam).
    pub(super) async fn large_answer(&self) -> Result<(aws_sdk_iam::config::Builder, Reception), SourceError> {
        self.process.large_answer(&self.limits).await
    }

    /// Answers of IAM so far with which it throttled a request, retries included.
    pub fn throttled_requests(&self) -> u64 {
        self.limits.throttled.count()
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
        let name = if self.name.is_empty() { self.alias().await } else { self.name.clone() };
        Ok(Account { id, name, partition })
    }

    /// The account's alias, or nothing: it is for display only. It is requested until AWS has answered or refused once.
    async fn alias(&self) -> String {
        if let Some(alias) = self.alias.get() {
            return alias.clone().unwrap_or_default();
        }
        let alias = match timeout(ALIAS_TIMEOUT, self.request_alias()).await {
            Ok(Ok(alias)) => alias,
            Ok(Err(error)) => {
                tracing::debug!(reason = error.reason(), %error, "the account's alias is not known");
                if !matches!(error, SourceError::AccessDenied { .. } | SourceError::UnexpectedResponse { .. }) {
                    return String::new();
                }
                None
            }
            Err(_) => return String::new(),
        };
        self.alias.get_or_init(|| alias).clone().unwrap_or_default()
    }

    /// One attempt: a check must not wait for a name.
    async fn request_alias(&self) -> Result<Option<String>, SourceError> {
        let once = aws_sdk_iam::config::Builder::new().retry_config(RetryConfig::standard().with_max_attempts(1));
        let request = self.iam().await?.list_account_aliases().customize().config_override(once);
        let answer = request.send().await.map_err(|e| errors::classify("ListAccountAliases", &e))?;
        Ok(answer.account_aliases.into_iter().next())
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
