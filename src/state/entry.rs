//! One user of an account, with its verdict.

use crate::model::{AccessKey, Keys, User};
use crate::policy::{Recheck, Status, Verdict};

/// A user and its verdict.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The user and its keys.
    pub user: User,
    /// `None` until the user is evaluated after a change.
    pub(super) verdict: Option<Verdict>,
    /// The most frequent recheck of the rules that the user violated at any time since the newest listing was made. A
    /// report shows the same violation until the next one, whatever rechecks show: such a user is rechecked, so that a
    /// repeated violation is found, too.
    pub(super) flagged: Option<Recheck>,
}

impl Entry {
    pub(super) fn new(user: User) -> Self {
        Entry { user, verdict: None, flagged: None }
    }

    /// The verdict of the last evaluation; `None` if the user has changed since, until the next one.
    pub fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }

    /// The status; unknown until the user is evaluated.
    pub fn status(&self) -> Status {
        self.verdict.as_ref().map_or(Status::Unknown, |v| v.status)
    }

    /// The keys, sorted by creation; `None` while they are unknown, because an unknown number is not exported.
    pub fn keys(&self) -> Option<&[AccessKey]> {
        match self.user.keys() {
            Keys::Known(keys) => Some(keys),
            Keys::Partial(keys) => (self.status() != Status::Unknown).then_some(keys),
            Keys::Unreadable { .. } => None,
        }
    }
}
