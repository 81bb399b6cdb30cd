//! The `live` collector: lists users, then each user's keys.

use super::users::{AccountSummary, ListedName, UserReader};
use crate::model::{Account, Collector, KeysResult, ListedUser, Listing, Observation, RootKeys, Timestamp, UserName};
use crate::source::{Request, SourceError};
use std::sync::Arc;

pub(super) struct LiveCollector {
    pub(super) reader: Arc<UserReader>,
}

impl LiveCollector {
    pub(super) async fn read(&self, account: &Account, request: &Request) -> Result<Vec<Observation>, SourceError> {
        let (root, users) = match self.reader.account_summary().await {
            Ok(summary) => (summary.root_keys(), summary.users),
            // The permission is optional: the root user is unknown then, and the list has no count to compare with.
            Err(error @ SourceError::AccessDenied { .. }) => {
                tracing::debug!(%error, "root user's keys are not known");
                (RootKeys::Failed(error.reason()), None)
            }
            Err(error) => return Err(error),
        };
        self.read_with_summary(account, request, root, users).await
    }

    /// Reads the account, whose summary is known: the root user's keys, and the number of users.
    pub(super) async fn read_with_summary(
        &self,
        account: &Account,
        request: &Request,
        root: RootKeys,
        count: Option<u32>,
    ) -> Result<Vec<Observation>, SourceError> {
        let at = Timestamp::now();
        request.progress.phase("listing users", None);
        let mut names = self.reader.list_users(account).await?;
        check_count(names.len(), count)?;
        if let Some(only) = &request.only_user {
            names.retain(|u| u.name.is_same_user(only));
        }
        let users = self.read_keys(account, names, request).await?;
        let listing = Listing::new(Collector::Live, at, users)
            .map_err(|e| SourceError::UnexpectedResponse { operation: "ListUsers", message: e.to_string() })?;
        // After the keys, which then have all the time that they need.
        let details = self.reader.details(account, request).await;
        Ok([Observation::Listing(listing), Observation::Root { at, keys: root }].into_iter().chain(details).collect())
    }

    async fn read_keys(
        &self,
        account: &Account,
        names: Vec<ListedName>,
        request: &Request,
    ) -> Result<Vec<ListedUser>, SourceError> {
        request.progress.phase("reading access keys", Some(names.len() as u64));
        let listed = names.len();
        let mut users = Vec::with_capacity(listed);
        let mut gone: Vec<UserName> = Vec::new();
        let mut failures: Vec<SourceError> = Vec::new();
        let names = names.into_iter().map(|u| (u.name, (u.path, u.created))).collect();
        self.reader
            .read_all(names, request, None, |name, (path, created), read| {
                let (observed_at, keys) = match read {
                    Ok(Observation::UserKeys { at, keys, .. }) => (at, keys),
                    Ok(_) => return gone.push(name),
                    Err(error) => {
                        let reason = error.reason();
                        failures.push(error);
                        (Timestamp::now(), KeysResult::Failed(reason))
                    }
                };
                users.push(ListedUser { name, path, created, observed_at, keys });
            })
            .await;
        // Without any answer the account was not read at all.
        let read = users.len().saturating_sub(failures.len());
        let unknown = failures.len();
        if let Some(error) = failures.into_iter().find(|e| read == 0 || e.concerns_account()) {
            return Err(error);
        }
        if unknown > 0 {
            tracing::debug!(unknown, "keys of some users could not be read");
        }
        if !gone.is_empty() {
            self.reader.confirm_gone(account, &gone, listed).await?;
        }
        Ok(users)
    }
}

/// Compares the list with the account's own count. IAM is eventually consistent: the count may be ahead of the list by
/// two users, or by one in a hundred.
fn check_count(listed: usize, counted: Option<u32>) -> Result<(), SourceError> {
    let Some(counted) = counted.map(|n| n as usize) else { return Ok(()) };
    if counted.saturating_sub(listed) > (counted / 100).max(2) {
        return Err(SourceError::Incomplete(format!(
            "ListUsers returned {listed} users, GetAccountSummary counts {counted}"
        )));
    }
    Ok(())
}

impl AccountSummary {
    /// The number of users, which decides between the collectors.
    pub(super) fn users(self) -> Result<u32, SourceError> {
        self.users.ok_or(SourceError::UnexpectedResponse {
            operation: "GetAccountSummary",
            message: "the number of users is missing".into(),
        })
    }
}
