//! The `live` collector: lists users, then each user's keys.

use super::{Request, Source, SourceError, retain_only};
use crate::aws::pages::{Pages, most_keys, most_users};
use crate::aws::{Aws, errors, timestamp};
use crate::model::{AccessKey, Account, Collector, Inventory, KeyStatus, Keys, LastUsed, Tag, Timestamp, User};
use aws_sdk_iam::types::{EntityType, StatusType};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use std::collections::HashMap;
use std::sync::Arc;

/// IAM's largest page.
const PAGE: i32 = 1000;

/// What to ask beside the keys.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// When each key was last used: one more request a key.
    pub last_used: bool,
    /// Names of user tags to keep; empty asks for none.
    pub tags: Vec<String>,
}

pub struct LiveSource {
    aws: Arc<Aws>,
    options: Options,
}

/// A user as lists show it, without keys.
struct Listed {
    name: String,
    arn: String,
    path: String,
    created: Option<Timestamp>,
    tags: Vec<Tag>,
}

impl LiveSource {
    pub fn new(aws: Arc<Aws>, options: Options) -> Self {
        LiveSource { aws, options }
    }

    /// Reads one user's keys from AWS now: `None` when there is no such user (any more).
    ///
    /// # Errors
    /// When AWS does not say.
    pub async fn read_keys(&self, user_name: &str) -> Result<Option<(Timestamp, Vec<AccessKey>)>, SourceError> {
        let observed_at = Timestamp::now();
        let Some(mut keys) = self.list_access_keys(user_name).await? else { return Ok(None) };
        if self.options.last_used {
            for key in &mut keys {
                if let Some(id) = &key.id {
                    key.last_used = self.last_used(id).await?;
                }
            }
        }
        Ok(Some((observed_at, keys)))
    }

    /// The number of users and root's keys; root's are `None` when AWS leaves them out.
    ///
    /// # Errors
    /// When AWS does not say.
    pub async fn account_summary(&self) -> Result<AccountSummary, SourceError> {
        const OPERATION: &str = "GetAccountSummary";
        let answer = self.aws.iam.get_account_summary().send().await.map_err(|e| errors::classify(OPERATION, &e))?;
        let number = |name: &str| {
            let value = answer.summary_map()?.iter().find(|(key, _)| key.as_str() == name)?.1;
            u32::try_from(*value).ok()
        };
        Ok(AccountSummary { users: number("Users"), root_active_keys: number("AccountAccessKeysPresent") })
    }

    async fn list_users(&self, request: &Request) -> Result<Vec<Listed>, SourceError> {
        const OPERATION: &str = "ListUsers";
        request.progress.phase("listing users", None);
        let mut users = Vec::new();
        let mut pages = Pages::new(OPERATION, most_users(None));
        loop {
            let answer = self
                .aws
                .iam
                .list_users()
                .max_items(PAGE)
                .set_marker(pages.marker())
                .send()
                .await
                .map_err(|e| errors::classify(OPERATION, &e))?;
            users.extend(answer.users().iter().map(|u| Listed {
                name: u.user_name().to_owned(),
                arn: u.arn().to_owned(),
                path: u.path().to_owned(),
                created: timestamp(u.create_date()),
                tags: Vec::new(),
            }));
            if !pages.next(answer.users().len(), answer.is_truncated(), answer.marker())? {
                return Ok(users);
            }
        }
    }

    /// The wanted tags, by user. They come with the authorization details, a page of users at a time; ListUsers
    /// leaves them out. Asks nothing where no tags are wanted.
    ///
    /// # Errors
    /// When AWS does not say.
    pub async fn tags(&self) -> Result<HashMap<String, Vec<Tag>>, SourceError> {
        const OPERATION: &str = "GetAccountAuthorizationDetails";
        let mut tags = HashMap::new();
        if self.options.tags.is_empty() {
            return Ok(tags);
        }
        let mut pages = Pages::new(OPERATION, most_users(None));
        loop {
            let answer = self
                .aws
                .iam
                .get_account_authorization_details()
                .filter(EntityType::User)
                .max_items(PAGE)
                .set_marker(pages.marker())
                .send()
                .await
                .map_err(|e| errors::classify(OPERATION, &e))?;
            for user in answer.user_detail_list() {
                let kept: Vec<Tag> = user
                    .tags()
                    .iter()
                    .map(|t| Tag { key: t.key().to_owned(), value: t.value().to_owned() })
                    .filter(|t| self.options.tags.contains(&t.key) && !t.names_an_access_key())
                    .collect();
                if let (Some(name), false) = (user.user_name(), kept.is_empty()) {
                    tags.insert(name.to_owned(), kept);
                }
            }
            if !pages.next(answer.user_detail_list().len(), answer.is_truncated(), answer.marker())? {
                return Ok(tags);
            }
        }
    }

    /// `None` when there is no such user (any more).
    async fn list_access_keys(&self, user_name: &str) -> Result<Option<Vec<AccessKey>>, SourceError> {
        const OPERATION: &str = "ListAccessKeys";
        let mut keys = Vec::new();
        let mut pages = Pages::new(OPERATION, most_keys());
        loop {
            // Without a user name IAM would answer for the caller.
            let answer = self
                .aws
                .iam
                .list_access_keys()
                .user_name(user_name)
                .max_items(PAGE)
                .set_marker(pages.marker())
                .send()
                .await;
            let answer = match answer {
                Ok(answer) => answer,
                Err(e) if errors::is_no_such_entity(&e) => return Ok(None),
                Err(e) => return Err(errors::classify(OPERATION, &e)),
            };
            for key in answer.access_key_metadata() {
                let status = match key.status() {
                    Some(StatusType::Active) => KeyStatus::Active,
                    Some(StatusType::Inactive | StatusType::Expired) => KeyStatus::Inactive,
                    other => {
                        return Err(SourceError::UnexpectedResponse {
                            operation: OPERATION,
                            message: format!("a key of user {user_name:?} has the status {other:?}"),
                        });
                    }
                };
                keys.push(AccessKey {
                    id: key.access_key_id().map(str::to_owned),
                    status,
                    created: key.create_date().and_then(timestamp),
                    last_used: LastUsed::Unknown,
                });
            }
            if !pages.next(answer.access_key_metadata().len(), answer.is_truncated(), answer.marker())? {
                return Ok(Some(keys));
            }
        }
    }

    async fn last_used(&self, access_key_id: &str) -> Result<LastUsed, SourceError> {
        const OPERATION: &str = "GetAccessKeyLastUsed";
        let answer = self.aws.iam.get_access_key_last_used().access_key_id(access_key_id).send().await;
        match answer {
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

    /// `None`: the user vanished. A user whose keys cannot be read stays, with unknown keys.
    async fn user(&self, listed: Listed, request: &Request) -> (Option<User>, Option<SourceError>) {
        let read = self.read_keys(&listed.name).await;
        request.progress.step();
        let Listed { name, arn, path, created, tags } = listed;
        let (observed_at, keys, error) = match read {
            Ok(None) => return (None, None),
            Ok(Some((observed_at, keys))) => (observed_at, Keys::known(keys), None),
            Err(error) => (Timestamp::now(), Keys::unknown(error.reason()), Some(error)),
        };
        (Some(User { name, arn, path, created, tags, observed_at, keys }), error)
    }

    async fn read(&self, request: &Request) -> Result<Inventory, SourceError> {
        self.aws.account().await?;
        let root_active_keys = self.root_active_keys().await?;
        self.read_knowing_root(request, root_active_keys).await
    }

    /// As [`Source::collect`], for whoever has asked for the account's summary already.
    ///
    /// # Errors
    /// As there.
    pub async fn read_knowing_root(
        &self,
        request: &Request,
        root_active_keys: Option<u32>,
    ) -> Result<Inventory, SourceError> {
        let account = self.aws.account().await?.clone();
        let facts_at = Timestamp::now();
        let mut listed = self.list_users(request).await?;
        check_accounts(&listed, &account)?;
        if let Some(only) = &request.only_user {
            listed.retain(|u| u.name.eq_ignore_ascii_case(only));
        }
        let mut tags = self.tags().await?;
        for user in &mut listed {
            user.tags = tags.remove(&user.name).unwrap_or_default();
        }
        let users = self.read_users(listed, request).await?;
        let mut inventory = Inventory { account, collector: Collector::Live, facts_at, root_active_keys, users };
        inventory
            .sort_users()
            .map_err(|e| SourceError::UnexpectedResponse { operation: "ListUsers", message: e.to_string() })?;
        retain_only(&mut inventory, request.only_user.as_deref())?;
        Ok(inventory)
    }

    /// Without the permission root is not known; any other failure is one of the check.
    async fn root_active_keys(&self) -> Result<Option<u32>, SourceError> {
        match self.account_summary().await {
            Ok(summary) => Ok(summary.root_active_keys),
            Err(error @ SourceError::AccessDenied { .. }) => {
                tracing::debug!(%error, "root's keys are not known");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn read_users(&self, listed: Vec<Listed>, request: &Request) -> Result<Vec<User>, SourceError> {
        request.progress.phase("reading access keys", Some(listed.len() as u64));
        let anybody = !listed.is_empty();
        let mut users = Vec::with_capacity(listed.len());
        let mut first_error = None;
        let mut known = 0_usize;
        let mut readings =
            futures_util::stream::iter(listed).map(|l| self.user(l, request)).buffer_unordered(self.aws.concurrency);
        while let Some((user, error)) = readings.next().await {
            known += usize::from(error.is_none());
            first_error = first_error.or(error);
            users.extend(user);
        }
        match first_error {
            // Nothing could be read: that is no look at the account at all.
            Some(error) if known == 0 => Err(error),
            Some(error) => {
                let unknown = users.iter().filter(|u| u.keys.as_known().is_none()).count();
                tracing::debug!(unknown, reason = error.reason(), %error, "keys of some users could not be read");
                Ok(users)
            }
            // Users vanish one by one. All at once they do when the credentials have become those of another account.
            None if anybody && users.is_empty() => Err(SourceError::UnexpectedResponse {
                operation: "ListAccessKeys",
                message: "it knows none of the users that ListUsers had just named".into(),
            }),
            None => Ok(users),
        }
    }
}

/// What GetAccountSummary says that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountSummary {
    pub users: Option<u32>,
    pub root_active_keys: Option<u32>,
}

/// Credentials can change under a running process; facts of two accounts must never mix.
fn check_accounts(users: &[Listed], account: &Account) -> Result<(), SourceError> {
    for user in users {
        match super::credential_report::split_arn(&user.arn) {
            Some((_, id)) if id == account.id => {}
            Some((_, id)) => {
                return Err(SourceError::AccountMismatch { expected: account.id.clone(), found: id.to_owned() });
            }
            None => {
                return Err(SourceError::UnexpectedResponse {
                    operation: "ListUsers",
                    message: format!("user {:?} has the ARN {:?}", user.name, user.arn),
                });
            }
        }
    }
    Ok(())
}

impl Source for LiveSource {
    fn account(&self) -> BoxFuture<'_, Result<Account, SourceError>> {
        Box::pin(async { self.aws.account().await.cloned() })
    }

    fn collect<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Inventory, SourceError>> {
        Box::pin(self.read(request))
    }
}
