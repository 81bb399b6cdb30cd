//! Tags and groups of users. They come with the authorization details, a page of users at a time; ListUsers leaves them
//! out. They are no condition of a check: when they cannot be read, the last known ones stay.

use super::users::{PAGE, UserReader};
use crate::aws::errors;
use crate::aws::pages::Pages;
use crate::model::{Account, Arn, DetailsResult, DetailsScope, Observation, Tag, Timestamp, UserDetails, UserName};
use crate::source::{Request, SourceError};
use aws_sdk_iam::types::{EntityType, UserDetail};
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use tokio::time::{Instant, timeout_at};

const OPERATION: &str = "GetAccountAuthorizationDetails";

impl UserReader {
    /// Tags and groups of all users, as far as settings or the policy need any; `None` if they do not.
    ///
    /// They may take half of the time that is left of the check, so that rechecks have the rest.
    pub(super) async fn details(&self, account: &Account, request: &Request) -> Option<Observation> {
        let mut scope = self.options.details.clone();
        scope.add(&request.details);
        if scope.is_empty() {
            return None;
        }
        request.progress.phase("reading tags and groups", None);
        let at = Timestamp::now();
        let read = match timeout_at(halfway(request.deadline), self.read_details(account, scope)).await {
            Ok(read) => read,
            Err(_) => Err(SourceError::Timeout(format!("{OPERATION} was not answered in half of the check's time"))),
        };
        self.log_details_failure(account, read.as_ref().err());
        let details = read.unwrap_or_else(|error| DetailsResult::Failed(error.reason()));
        Some(Observation::Details { at, details })
    }

    async fn read_details(&self, account: &Account, scope: DetailsScope) -> Result<DetailsResult, SourceError> {
        let iam = self.aws.iam().await?;
        let mut shared = Shared::default();
        let mut users = Vec::new();
        let mut pages = Pages::new(OPERATION, self.most_users.load(Ordering::Relaxed));
        loop {
            let request = iam.get_account_authorization_details().filter(EntityType::User).max_items(PAGE);
            let answer =
                request.set_marker(pages.marker()).send().await.map_err(|e| errors::classify(OPERATION, &e))?;
            for user in answer.user_detail_list() {
                check_account(account, user)?;
                let details = shared.details(user, &scope);
                if let (Some(name), false) = (user.user_name(), details.is_empty()) {
                    users.push((UserName::new(name), details));
                }
            }
            if !pages.next(answer.user_detail_list().len(), answer.is_truncated(), answer.marker())? {
                return Ok(DetailsResult::Complete { scope, users });
            }
        }
    }

    fn log_details_failure(&self, account: &Account, failure: Option<&SourceError>) {
        let reason = failure.map(SourceError::reason);
        let mut last = self.last_details_failure.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = failure.filter(|_| *last != reason) {
            tracing::warn!(
                account_id = account.id.as_str(),
                reason,
                %error,
                permission = "iam:GetAccountAuthorizationDetails",
                "tags and groups of users could not be read, the last known ones stay"
            );
        }
        *last = reason;
    }
}

/// Credentials can change between two requests; the data of two accounts must never mix.
fn check_account(account: &Account, user: &UserDetail) -> Result<(), SourceError> {
    match user.arn().and_then(Arn::parse) {
        Some(arn) if arn.account != account.id => {
            Err(SourceError::AccountMismatch { expected: account.id, found: arn.account })
        }
        _ => Ok(()),
    }
}

/// The middle between now and the deadline.
fn halfway(deadline: Instant) -> Instant {
    let now = Instant::now();
    let half = deadline.saturating_duration_since(now).checked_div(2);
    half.and_then(|half| now.checked_add(half)).unwrap_or(deadline)
}

/// Users with the same tags and groups share them, and others the equal texts.
#[derive(Default)]
struct Shared {
    texts: HashSet<Arc<str>>,
    details: HashSet<Arc<UserDetails>>,
}

impl Shared {
    fn details(&mut self, user: &UserDetail, scope: &DetailsScope) -> Arc<UserDetails> {
        let wanted = user.tags().iter().filter(|tag| scope.has_tag(tag.key()));
        let tags = wanted.filter_map(|tag| Tag::new(tag.key(), tag.value()));
        let tags = tags.map(|tag| Tag { key: self.text(tag.key), value: self.text(tag.value) }).collect();
        let groups = user.group_list().iter().filter(|_| scope.groups);
        let groups = groups.map(|name| self.text(name.as_str().into())).collect();
        let details = Arc::new(UserDetails { tags, groups });
        if let Some(known) = self.details.get(&details) {
            return Arc::clone(known);
        }
        self.details.insert(Arc::clone(&details));
        details
    }

    fn text(&mut self, text: Arc<str>) -> Arc<str> {
        if let Some(known) = self.texts.get(&text) {
            return Arc::clone(known);
        }
        self.texts.insert(Arc::clone(&text));
        text
    }
}
