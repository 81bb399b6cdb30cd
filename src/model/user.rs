//! IAM users.

use super::arn::user_arn;
use super::compact::{CompactTimestamp, OptionalSecond};
use super::{AccessKey, Account, Timestamp, UserDetails, count_active};
use compact_str::CompactString;
use std::fmt;
use std::sync::Arc;

/// The name of an IAM user. Names keep their case, are ordered by bytes, and are unique in an account without regard to
/// ASCII case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(CompactString);

impl UserName {
    /// Any text is accepted; IAM allows up to 64 characters of `A-Za-z0-9+=,.@_-` (IAM User Guide, "IAM and AWS STS
    /// quotas").
    pub fn new(name: &str) -> Self {
        UserName(name.into())
    }

    /// The name as AWS writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `other` is this user's name without regard to ASCII case, as IAM compares names.
    pub fn is_same_user(&self, other: &str) -> bool {
        self.0.eq_ignore_ascii_case(other)
    }

    /// The name with ASCII letters in lower case: the same for all spellings of one user's name.
    pub fn folded(&self) -> CompactString {
        let mut folded = self.0.clone();
        folded.make_ascii_lowercase();
        folded
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// What is known of a user's keys, in the order of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys<'a> {
    /// All keys of the user.
    Known(&'a [AccessKey]),
    /// The user has these keys, and may have more.
    Partial(&'a [AccessKey]),
    /// The last attempt to read them failed.
    Unreadable {
        /// A reason from a closed list.
        reason: &'static str,
        /// The keys of the last successful observation; `None` if there was none.
        last_known: Option<&'a [AccessKey]>,
    },
}

/// Why a user with [`Keys::Partial`] is unknown.
pub const COLUMNS_INCOMPLETE: &str = "columns_incomplete";

impl<'a> Keys<'a> {
    /// The keys of the last successful observation, sorted by creation; `None` if there was none.
    pub fn latest(self) -> Option<&'a [AccessKey]> {
        match self {
            Keys::Known(keys) | Keys::Partial(keys) => Some(keys),
            Keys::Unreadable { last_known, .. } => last_known,
        }
    }

    /// Why the keys are not fully known, from a closed list; `None` if they are.
    pub fn unknown_reason(self) -> Option<&'static str> {
        match self {
            Keys::Known(_) => None,
            Keys::Partial(_) => Some(COLUMNS_INCOMPLETE),
            Keys::Unreadable { reason, .. } => Some(reason),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Failure {
    at: Timestamp,
    reason: &'static str,
}

/// An IAM user with the newest observation of its keys. The root user is not an IAM user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name of the user.
    pub name: UserName,
    /// Begins and ends with `/`. Shared by the users of a path.
    pub path: Arc<str>,
    created: OptionalSecond,
    /// Shared by users with the same tags and groups; `None` if there are none, or none are known.
    details: Option<Arc<UserDetails>>,
    keys: Option<Box<[AccessKey]>>,
    /// When `keys` were true; when the user was listed, as long as no observation of its keys succeeded.
    observed_at: CompactTimestamp,
    /// The failed attempt to read the keys that followed `observed_at`.
    failure: Option<Box<Failure>>,
    keys_are_partial: bool,
}

impl User {
    /// A user whose keys are not known yet.
    pub fn new(name: UserName, path: Arc<str>, created: Option<Timestamp>, listed_at: Timestamp) -> Self {
        User {
            name,
            path,
            created: OptionalSecond::new(created),
            details: None,
            keys: None,
            observed_at: CompactTimestamp::new(listed_at),
            failure: None,
            keys_are_partial: false,
        }
    }

    /// The ARN, derived from account, path and name.
    pub fn arn(&self, account: &Account) -> String {
        user_arn(&account.partition, account.id, &self.path, &self.name)
    }

    /// When the user was created, in whole seconds; `None` where the data lack it.
    pub fn created(&self) -> Option<Timestamp> {
        self.created.get()
    }

    /// Replaces the time of creation.
    pub fn set_created(&mut self, created: Option<Timestamp>) {
        self.created = OptionalSecond::new(created);
    }

    /// When the known keys were true, in microseconds; when the user was listed, if no keys are known.
    pub fn observed_at(&self) -> Timestamp {
        self.observed_at.get()
    }

    /// When the keys were last read, successfully or not.
    pub fn attempted_at(&self) -> Timestamp {
        self.failure.as_ref().map_or(self.observed_at(), |f| f.at)
    }

    /// Limits the times of the observations to `latest`.
    pub fn limit_times(&mut self, latest: Timestamp) {
        self.observed_at = self.observed_at.min(CompactTimestamp::new(latest));
        if let Some(failure) = &mut self.failure {
            failure.at = failure.at.min(latest);
        }
    }

    /// What is known of the keys, sorted by creation.
    pub fn keys(&self) -> Keys<'_> {
        match (&self.keys, &self.failure) {
            (keys, Some(failure)) => Keys::Unreadable { reason: failure.reason, last_known: keys.as_deref() },
            (Some(keys), None) if self.keys_are_partial => Keys::Partial(keys),
            (Some(keys), None) => Keys::Known(keys),
            (None, None) => Keys::Unreadable { reason: "not_observed", last_known: None },
        }
    }

    /// The number of active keys; `None` unless all keys are known.
    pub fn active_keys(&self) -> Option<usize> {
        match self.keys() {
            Keys::Known(keys) => Some(count_active(keys)),
            Keys::Partial(_) | Keys::Unreadable { .. } => None,
        }
    }

    /// Tags and groups, of those that are configured to be read; empty if there are none, or none are known.
    pub fn details(&self) -> &UserDetails {
        match &self.details {
            Some(details) => details,
            None => UserDetails::empty(),
        }
    }

    /// Replaces tags and groups; `None` removes them.
    pub fn set_details(&mut self, details: Option<Arc<UserDetails>>) {
        self.details = details;
    }

    /// The value of the tag with this key; `None` if there is none, or it is not read.
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.details().tags.iter().find(|tag| tag.has_key(key)).map(|tag| &*tag.value)
    }

    /// The owner: the first value that is not empty, of the tags with these keys in the order of preference.
    pub fn owner(&self, keys: &[String]) -> Option<&str> {
        keys.iter().filter_map(|key| self.tag(key)).find(|value| !value.trim().is_empty())
    }

    /// Replaces the keys; `keys` are in the order of creation.
    pub(super) fn set_keys(&mut self, at: Timestamp, keys: Box<[AccessKey]>, partial: bool) {
        self.observed_at = CompactTimestamp::new(at);
        self.keys = Some(keys);
        self.keys_are_partial = partial;
        if self.failure.as_ref().is_some_and(|f| f.at <= at) {
            self.failure = None;
        }
    }

    pub(super) fn keys_mut(&mut self) -> Option<&mut [AccessKey]> {
        self.keys.as_deref_mut()
    }

    pub(super) fn set_failure(&mut self, at: Timestamp, reason: &'static str) {
        self.failure = Some(Box::new(Failure { at, reason }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Tag;

    #[test]
    fn names_are_compared_as_iam_does() {
        let name = UserName::new("Bob");
        assert!(name.is_same_user("bOB") && !name.is_same_user("Bobby"));
        assert_eq!(name.folded(), UserName::new("BOB").folded());
        assert_ne!(name, UserName::new("bob"));
    }

    #[test]
    fn the_owner_is_the_first_tag_that_says_something() {
        let mut user = User::new(UserName::new("bob"), "/".into(), None, Timestamp::UNIX_EPOCH);
        let keys = ["owner", "team"].map(String::from);
        assert_eq!(user.owner(&keys), None);
        let tags = |tags: &[(&str, &str)]| {
            let tags = tags.iter().filter_map(|(key, value)| Tag::new(key, value)).collect();
            Some(Arc::new(UserDetails { tags, groups: Box::default() }))
        };
        user.set_details(tags(&[("Team", "web"), ("Owner", "ann"), ("stage", "prod")]));
        assert_eq!((user.owner(&keys), user.owner(&[])), (Some("ann"), None));
        user.set_details(tags(&[("TEAM", "web"), ("owner", " ")]));
        assert_eq!(user.owner(&keys), Some("web"));
    }
}
