//! The answers that collectors have in common: lists of users, keys of one user, the account's summary.

use crate::aws::pages::{Pages, most_keys, most_users};
use crate::aws::{Aws, errors, timestamp};
use crate::model::{
    AccessKey, AccessKeyId, Account, Arn, DetailsScope, KeyStatus, KeysResult, LastUsed, Observation, RootKeys,
    Timestamp, UserName,
};
use crate::source::{Request, SourceError};
use aws_sdk_iam as iam;
use aws_sdk_iam::config::retry::RetryConfig;
use aws_sdk_iam::types::{AccessKeyMetadata, StatusType};
use futures_util::StreamExt;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::time::{Instant, timeout_at};

/// The largest page of IAM, in members (`MaxItems` in the IAM API Reference).
pub(super) const PAGE: i32 = 1000;

/// What to read beside users and keys.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// Whether to read the last use of each key: one more request a key (GetAccessKeyLastUsed).
    pub last_used: bool,
    /// Tags to keep besides those that the policy needs (GetAccountAuthorizationDetails).
    pub details: DetailsScope,
}

/// Reads users of one account.
pub struct UserReader {
    pub(super) aws: Arc<Aws>,
    pub(super) options: Options,
    /// The largest number of users that the account can have, by its last summary.
    pub(super) most_users: AtomicUsize,
    /// Why tags and groups could not be read at the last check, so that a lasting failure is logged once.
    pub(super) last_details_failure: Mutex<Option<&'static str>>,
}

/// How often a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retries {
    /// As the SDK is configured.
    Configured,
    /// Once.
    None,
}

/// A user as ListUsers returns it.
#[derive(PartialEq)]
pub(super) struct ListedName {
    pub(super) name: UserName,
    pub(super) path: Arc<str>,
    pub(super) created: Option<Timestamp>,
}

/// The fields of GetAccountSummary that matter here; `None` where AWS leaves them out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AccountSummary {
    pub(super) users: Option<u32>,
    root_active_keys: Option<u32>,
}

impl AccountSummary {
    pub(super) fn root_keys(self) -> RootKeys {
        // AWS was asked, and has not answered: the account is not one without keys.
        self.root_active_keys.map_or(RootKeys::Failed("unexpected_response"), RootKeys::Active)
    }
}

impl UserReader {
    pub(super) fn new(aws: Arc<Aws>, options: Options) -> Self {
        let most_users = AtomicUsize::new(most_users(None));
        UserReader { aws, options, most_users, last_details_failure: Mutex::new(None) }
    }

    /// The number of users, and the root user's keys.
    pub(super) async fn account_summary(&self) -> Result<AccountSummary, SourceError> {
        const OPERATION: &str = "GetAccountSummary";
        let iam = self.aws.iam().await?;
        let answer = iam.get_account_summary().send().await.map_err(|e| errors::classify(OPERATION, &e))?;
        let number = |name: &str| {
            let value = answer.summary_map()?.iter().find(|(key, _)| key.as_str() == name)?.1;
            u32::try_from(*value).ok()
        };
        self.most_users.store(most_users(number("UsersQuota")), Ordering::Relaxed);
        Ok(AccountSummary { users: number("Users"), root_active_keys: number("AccountAccessKeysPresent") })
    }

    /// All users of the account, which every ARN has to name. A user that several pages repeat is there once.
    pub(super) async fn list_users(&self, account: &Account) -> Result<Vec<ListedName>, SourceError> {
        const OPERATION: &str = "ListUsers";
        let iam = self.aws.iam().await?;
        let mut paths: HashSet<Arc<str>> = HashSet::new();
        let mut users = Vec::new();
        let mut pages = Pages::new(OPERATION, self.most_users.load(Ordering::Relaxed));
        loop {
            let request = iam.list_users().max_items(PAGE).set_marker(pages.marker());
            let answer = request.send().await.map_err(|e| errors::classify(OPERATION, &e))?;
            for user in answer.users() {
                check_account(account, user.user_name(), user.arn(), user.path())?;
                let path = paths.get(user.path()).cloned().unwrap_or_else(|| user.path().into());
                paths.insert(Arc::clone(&path));
                let (name, created) = (UserName::new(user.user_name()), timestamp(user.create_date()));
                users.push(ListedName { name, path, created });
            }
            if !pages.next(answer.users().len(), answer.is_truncated(), answer.marker())? {
                users.sort_unstable_by(|a: &ListedName, b| a.name.cmp(&b.name));
                users.dedup();
                return Ok(users);
            }
        }
    }

    /// One user's keys, read now; [`Observation::UserGone`] if AWS returns `NoSuchEntity`.
    pub(super) async fn user_keys(
        &self,
        name: &UserName,
        retries: Retries,
        last_used: bool,
    ) -> Result<Observation, SourceError> {
        let at = Timestamp::now();
        let Some(mut keys) = self.list_access_keys(name, retries).await? else {
            return Ok(Observation::UserGone { user: name.clone(), at });
        };
        if last_used {
            for key in &mut keys {
                if let Some(id) = &key.id {
                    let last_used = self.last_used(id).await?;
                    key.set_last_used(last_used);
                }
            }
        }
        Ok(Observation::UserKeys { user: name.clone(), at, keys: KeysResult::complete(keys) })
    }

    /// `None` when there is no such user.
    async fn list_access_keys(&self, name: &UserName, retries: Retries) -> Result<Option<Vec<AccessKey>>, SourceError> {
        const OPERATION: &str = "ListAccessKeys";
        let iam = self.aws.iam().await?;
        let mut keys = Vec::new();
        let mut pages = Pages::new(OPERATION, most_keys());
        loop {
            // Without a user name IAM would answer for the caller.
            let request = iam.list_access_keys().user_name(name.as_str()).max_items(PAGE).set_marker(pages.marker());
            let answer = match retries {
                Retries::Configured => request.send().await,
                Retries::None => {
                    let once = iam::config::Builder::new().retry_config(RetryConfig::disabled());
                    request.customize().config_override(once).send().await
                }
            };
            let answer = match answer {
                Ok(answer) => answer,
                Err(e) if errors::is_no_such_entity(&e) => return Ok(None),
                Err(e) => return Err(errors::classify(OPERATION, &e)),
            };
            for metadata in answer.access_key_metadata() {
                keys.push(key(name, metadata)?);
            }
            if !pages.next(answer.access_key_metadata().len(), answer.is_truncated(), answer.marker())? {
                return Ok(Some(keys));
            }
        }
    }

    async fn last_used(&self, id: &AccessKeyId) -> Result<LastUsed, SourceError> {
        const OPERATION: &str = "GetAccessKeyLastUsed";
        let iam = self.aws.iam().await?;
        match iam.get_access_key_last_used().access_key_id(id.as_str()).send().await {
            Ok(answer) => {
                let date = answer.access_key_last_used().and_then(|u| u.last_used_date());
                // No date is "never, or not since 2015-04-22".
                Ok(date.and_then(timestamp).map_or(LastUsed::Never, LastUsed::At))
            }
            // Deleted between two requests: the next check will not list it.
            Err(e) if errors::is_no_such_entity(&e) => Ok(LastUsed::Unknown),
            Err(e) => Err(errors::classify(OPERATION, &e)),
        }
    }

    /// Reads the keys of many users at once, and calls `done` with each result. The result is a timeout for those that
    /// are not read by `until`.
    pub(super) async fn read_all<T>(
        &self,
        users: Vec<(UserName, T)>,
        request: &Request,
        until: Option<Instant>,
        mut done: impl FnMut(UserName, T, Result<Observation, SourceError>),
    ) {
        let reads = futures_util::stream::iter(users).map(|(name, extra)| async move {
            let keys = self.user_keys(&name, Retries::Configured, self.options.last_used);
            let read = match until {
                None => keys.await,
                Some(until) => timeout_at(until, keys).await.unwrap_or_else(|_| {
                    Err(SourceError::Timeout("ListAccessKeys was not answered in the time of the check".into()))
                }),
            };
            request.progress.step();
            (name, extra, read)
        });
        let mut reads = std::pin::pin!(reads.buffer_unordered(self.aws.concurrency));
        while let Some((name, extra, read)) = reads.next().await {
            done(name, extra, read);
        }
    }

    /// Confirms that users do not exist for which ListAccessKeys returned NoSuchEntity. One user can be deleted during a
    /// check; for several, ListUsers has to agree.
    ///
    /// # Errors
    /// [`SourceError::Incomplete`] when ListUsers still lists some of them: the answers are of different accounts, or
    /// wrong.
    pub(super) async fn confirm_gone(
        &self,
        account: &Account,
        gone: &[UserName],
        of: usize,
    ) -> Result<(), SourceError> {
        if gone.len() <= 1 && gone.len() < of {
            return Ok(());
        }
        let listed: HashSet<UserName> = self.list_users(account).await?.into_iter().map(|u| u.name).collect();
        let still_listed = gone.iter().filter(|name| listed.contains(name)).count();
        if still_listed > 1 || still_listed == of {
            return Err(SourceError::Incomplete(format!(
                "ListAccessKeys does not know {} of {of} users, and ListUsers still lists {still_listed} of them",
                gone.len()
            )));
        }
        Ok(())
    }
}

fn key(user: &UserName, metadata: &AccessKeyMetadata) -> Result<AccessKey, SourceError> {
    if let Some(other) = metadata.user_name().filter(|name| !user.is_same_user(name)) {
        return Err(SourceError::UnexpectedResponse {
            operation: "ListAccessKeys",
            message: format!("it has a key of user {other:?} instead of user {user:?}"),
        });
    }
    let status = match metadata.status() {
        Some(StatusType::Active) => KeyStatus::Active,
        Some(StatusType::Inactive | StatusType::Expired) => KeyStatus::Inactive,
        other => {
            return Err(SourceError::UnexpectedResponse {
                operation: "ListAccessKeys",
                message: format!("a key of user {user:?} has the status {other:?}"),
            });
        }
    };
    let id = metadata.access_key_id().map(AccessKeyId::new);
    Ok(AccessKey::new(id, status, metadata.create_date().and_then(timestamp), LastUsed::Unknown))
}

/// Credentials can change under a running process; the data of two accounts must never mix.
fn check_account(account: &Account, name: &str, arn: &str, path: &str) -> Result<(), SourceError> {
    match Arn::parse(arn) {
        Some(parsed) if parsed.account != account.id => {
            Err(SourceError::AccountMismatch { expected: account.id, found: parsed.account })
        }
        Some(parsed) if parsed.path_of(name) == Some(path) => Ok(()),
        _ => Err(SourceError::UnexpectedResponse {
            operation: "ListUsers",
            message: format!("user {name:?} with the path {path:?} has the ARN {arn:?}"),
        }),
    }
}
