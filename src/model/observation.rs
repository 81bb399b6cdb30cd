//! Observations: answers about an account, each with the time at which it was true.

use super::{AccessKey, DetailsScope, Keys, LastUsed, Timestamp, User, UserDetails, UserName};
use std::cmp::Ordering;
use std::sync::Arc;

/// How observations are obtained. `auto` is a setting: it picks one of the first two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collector {
    /// ListUsers, then ListAccessKeys for each user (IAM API Reference).
    Live,
    /// The credential report of IAM (IAM API Reference, GetCredentialReport).
    Report,
    /// A file.
    File,
}

impl Collector {
    /// The value of the label `collector`.
    pub fn as_str(self) -> &'static str {
        match self {
            Collector::Live => "live",
            Collector::Report => "report",
            Collector::File => "file",
        }
    }
}

/// One answer about an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// Which users there are, and the keys of each.
    Listing(Listing),
    /// One user's keys, or why they could not be read.
    UserKeys {
        /// The name of the user.
        user: UserName,
        /// When `keys` were true.
        at: Timestamp,
        /// The keys, or why they could not be read.
        keys: KeysResult,
    },
    /// The user does not exist: ListAccessKeys returned `NoSuchEntity`.
    UserGone {
        /// The name of the user.
        user: UserName,
        /// When the user did not exist.
        at: Timestamp,
    },
    /// The root user's active access keys.
    Root {
        /// When `keys` were true.
        at: Timestamp,
        /// The number of keys, or why it is not known.
        keys: RootKeys,
    },
    /// Tags and groups of all users.
    Details {
        /// When they were read.
        at: Timestamp,
        /// What they are, or why they could not be read.
        details: DetailsResult,
    },
}

/// The result of reading tags and groups of all users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DetailsResult {
    /// All that was requested.
    Complete {
        /// What was requested.
        scope: DetailsScope,
        /// In any order; users without tags and groups are absent.
        users: Vec<(UserName, Arc<UserDetails>)>,
    },
    /// Reading them failed, with this reason from a closed list.
    Failed(&'static str),
}

/// The root user's active access keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootKeys {
    /// The number of active keys (`AccountAccessKeysPresent` of GetAccountSummary).
    Active(u32),
    /// The data do not include the root user.
    NotIncluded,
    /// Reading them failed, with this reason from a closed list.
    Failed(&'static str),
}

/// The result of reading one user's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeysResult {
    /// All keys of the user.
    Complete(Box<[AccessKey]>),
    /// The user has these keys, and may have more.
    Partial(Box<[AccessKey]>),
    /// Reading them failed, with this reason from a closed list.
    Failed(&'static str),
}

impl KeysResult {
    /// All keys of a user, given in any order and sorted by creation; a key that is listed twice counts once.
    pub fn complete(keys: Vec<AccessKey>) -> Self {
        KeysResult::Complete(ordered(keys))
    }

    /// Some of a user's keys, treated as by [`complete`](Self::complete).
    pub fn partial(keys: Vec<AccessKey>) -> Self {
        KeysResult::Partial(ordered(keys))
    }
}

/// Keys in the order of creation, undated ones last. The ID breaks ties, so that numbers of keys are stable between
/// checks.
fn ordered(mut keys: Vec<AccessKey>) -> Box<[AccessKey]> {
    keys.sort_by(|a, b| {
        let dated = |k: &AccessKey| (k.created().is_none(), k.created());
        dated(a).cmp(&dated(b)).then_with(|| a.id.cmp(&b.id))
    });
    // Active wins where two entries of one key differ: a violation is not lost.
    keys.dedup_by(|later, earlier| {
        let same = later.id.is_some() && later.id == earlier.id;
        if same && later.is_active() {
            earlier.status = later.status;
        }
        same
    });
    keys.into_boxed_slice()
}

/// A user of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedUser {
    /// The name of the user.
    pub name: UserName,
    /// Begins and ends with `/`.
    pub path: Arc<str>,
    /// When the user was created; `None` where the data lack it.
    pub created: Option<Timestamp>,
    /// When `keys` were true.
    pub observed_at: Timestamp,
    /// The keys, or why they could not be read.
    pub keys: KeysResult,
}

/// All users of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    collector: Collector,
    at: Timestamp,
    users: Vec<ListedUser>,
}

/// Two users of a listing have the same name, here in lower case. They would become duplicate series.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("user {0:?} occurs twice (IAM user names are unique without regard to case)")]
pub struct DuplicateUser(pub String);

impl Listing {
    /// Sorts the users by name. `at` is the time of the report or file, or the start of the live listing.
    ///
    /// # Errors
    /// [`DuplicateUser`] when two names are the same without regard to ASCII case, as IAM compares them.
    pub fn new(collector: Collector, at: Timestamp, mut users: Vec<ListedUser>) -> Result<Self, DuplicateUser> {
        let mut folded: Vec<_> = users.iter().map(|u| u.name.folded()).collect();
        folded.sort_unstable();
        if let Some(pair) = folded.windows(2).find(|w| w[0] == w[1]) {
            return Err(DuplicateUser(pair[0].to_string()));
        }
        users.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(Listing { collector, at, users })
    }

    /// How the listing was obtained.
    pub fn collector(&self) -> Collector {
        self.collector
    }

    /// When the listing was true.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Sorted by name, each name once.
    pub fn users(&self) -> &[ListedUser] {
        &self.users
    }

    /// The users, sorted by name.
    pub fn into_users(self) -> Vec<ListedUser> {
        self.users
    }

    /// Removes all users but the one of this name, compared without regard to ASCII case. Returns whether there is one.
    pub fn retain_user(&mut self, name: &str) -> bool {
        self.users.retain(|u| u.name.is_same_user(name));
        !self.users.is_empty()
    }
}

impl User {
    /// Applies an observation of the user's keys: the newest one wins, and a failed one keeps what is known.
    /// Returns whether anything changed.
    pub fn observe(&mut self, at: Timestamp, keys: KeysResult) -> bool {
        let known = self.keys().latest().is_some();
        match keys {
            KeysResult::Failed(_) if at < self.attempted_at() || known && at <= self.observed_at() => false,
            KeysResult::Failed(reason) => {
                self.set_failure(at, reason);
                true
            }
            KeysResult::Complete(keys) => self.observe_keys(at, keys, false),
            KeysResult::Partial(keys) => self.observe_keys(at, keys, true),
        }
    }

    fn observe_keys(&mut self, at: Timestamp, mut keys: Box<[AccessKey]>, partial: bool) -> bool {
        match at.cmp(&self.observed_at()) {
            Ordering::Less => self.keys_mut().is_some_and(|known| fill_last_used(known, &keys)),
            Ordering::Equal if self.keys() == Keys::Known(&keys) && !partial => false,
            Ordering::Equal | Ordering::Greater => {
                fill_last_used(&mut keys, self.keys().latest().unwrap_or_default());
                self.set_keys(at, keys, partial);
                true
            }
        }
    }
}

/// Fills in last uses that an observation lacks from an older one: ListAccessKeys does not return them, the report does.
/// The report has no key IDs: keys are the same when no other key was created in the same second.
fn fill_last_used(keys: &mut [AccessKey], older: &[AccessKey]) -> bool {
    let mut changed = false;
    for key in keys.iter_mut().filter(|k| k.last_used() == LastUsed::Unknown) {
        let mut same = older.iter().filter(|k| k.created().is_some() && k.created() == key.created());
        if let (Some(known), None) = (same.next(), same.next())
            && known.last_used() != LastUsed::Unknown
        {
            key.set_last_used(known.last_used());
            changed = true;
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccessKeyId, KeyStatus};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn key(id: &str, created: i64, status: KeyStatus) -> AccessKey {
        AccessKey::new(Some(AccessKeyId::new(id)), status, Some(at(created)), LastUsed::Unknown)
    }

    fn active(id: &str, created: i64) -> AccessKey {
        key(id, created, KeyStatus::Active)
    }

    fn user() -> User {
        User::new(UserName::new("bob"), "/".into(), None, at(0))
    }

    fn ids(keys: &[AccessKey]) -> Vec<&str> {
        keys.iter().filter_map(|k| k.id.as_ref()).map(AccessKeyId::as_str).collect()
    }

    #[test]
    fn keys_are_numbered_by_creation() {
        let KeysResult::Complete(keys) = KeysResult::complete(vec![active("B", 20), active("A", 30), active("C", 10)])
        else {
            unreachable!()
        };
        assert_eq!(ids(&keys), ["C", "B", "A"]);
    }

    #[test]
    fn a_key_that_is_listed_twice_counts_once_and_stays_active() {
        let twice = vec![key("A", 10, KeyStatus::Inactive), active("B", 10), active("A", 10)];
        let KeysResult::Complete(keys) = KeysResult::complete(twice) else { unreachable!() };
        assert_eq!(ids(&keys), ["A", "B"]);
        assert!(keys[0].is_active());
    }

    #[test]
    fn names_are_unique_without_regard_to_case() {
        let listed = |name: &str| ListedUser {
            name: UserName::new(name),
            path: "/".into(),
            created: None,
            observed_at: at(0),
            keys: KeysResult::complete(vec![]),
        };
        let listing = Listing::new(Collector::Live, at(0), vec![listed("bob"), listed("Bob")]);
        assert_eq!(listing.unwrap_err(), DuplicateUser("bob".into()));
    }

    #[test]
    fn the_newest_observation_wins_in_either_order() {
        let old = (at(10), KeysResult::complete(vec![active("A", 1), active("B", 2)]));
        let new = (at(20), KeysResult::complete(vec![active("A", 1)]));
        for order in [[&old, &new], [&new, &old]] {
            let mut user = user();
            for (at, keys) in order {
                user.observe(*at, keys.clone());
            }
            assert_eq!(user.active_keys(), Some(1));
        }
    }

    #[test]
    fn a_failure_keeps_what_was_known_until_a_newer_success() {
        let mut user = user();
        user.observe(at(10), KeysResult::complete(vec![active("A", 1)]));
        assert!(user.observe(at(20), KeysResult::Failed("throttled")));
        let Keys::Unreadable { reason, last_known } = user.keys() else { panic!("{:?}", user.keys()) };
        assert_eq!((reason, last_known.unwrap().len()), ("throttled", 1));
        assert!(!user.observe(at(5), KeysResult::Failed("timeout")), "an older failure changes nothing");
        user.observe(at(15), KeysResult::complete(vec![active("A", 1), active("B", 2)]));
        assert_eq!(user.keys().latest().unwrap().len(), 2, "newer than what was known, older than the failure");
        assert_eq!(user.active_keys(), None);
        user.observe(at(30), KeysResult::complete(vec![]));
        assert_eq!(user.active_keys(), Some(0));
    }

    #[test]
    fn last_use_is_taken_over_from_a_report() {
        let report = AccessKey::new(None, KeyStatus::Active, Some(at(1)), LastUsed::At(at(5)));
        let live = KeysResult::complete(vec![active("A", 1)]);
        for live_first in [false, true] {
            let mut user = user();
            let observe_report = |user: &mut User| user.observe(at(10), KeysResult::complete(vec![report.clone()]));
            if !live_first {
                observe_report(&mut user);
            }
            user.observe(at(20), live.clone());
            if live_first {
                observe_report(&mut user);
            }
            let keys = user.keys().latest().unwrap();
            assert_eq!((ids(keys), keys[0].last_used()), (vec!["A"], LastUsed::At(at(5))));
        }
    }
}
