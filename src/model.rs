//! Neutral facts: what AWS said about one account. No policy, no I/O, no clock.

use std::fmt;

pub use jiff::Timestamp;

/// An AWS account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The twelve digits.
    pub id: String,
    /// A name for people; empty when nobody gave one.
    pub name: String,
    /// `aws`, `aws-cn`, `aws-us-gov`, `aws-iso`, `aws-iso-b`, `eusc`, ...
    pub partition: String,
}

/// Where an inventory came from. `auto` is not here: it picks one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collector {
    Live,
    Report,
    File,
}

impl Collector {
    pub fn as_str(self) -> &'static str {
        match self {
            Collector::Live => "live",
            Collector::Report => "report",
            Collector::File => "file",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStatus {
    Active,
    Inactive,
}

impl KeyStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            KeyStatus::Active => "active",
            KeyStatus::Inactive => "inactive",
        }
    }
}

/// What is known of a key's last use.
///
/// AWS tracks it since 2015-04-22, at a resolution of 15 minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastUsed {
    /// Nobody asked, or the source does not say.
    Unknown,
    Never,
    At(Timestamp),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// `AKIA...`; a credential report does not have it.
    pub id: Option<String>,
    pub status: KeyStatus,
    /// When the key was created; by a credential report, created or last changed.
    pub created: Option<Timestamp>,
    pub last_used: LastUsed,
}

impl AccessKey {
    pub fn is_active(&self) -> bool {
        self.status == KeyStatus::Active
    }
}

/// A user's keys, in the order of creation, or the fact that they could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keys {
    Known(Vec<AccessKey>),
    Unknown {
        /// From the closed list of `SourceError::reason`, or `columns_incomplete`.
        reason: &'static str,
        /// What an earlier check saw, so that a failed look does not end a finding.
        last_known: Option<Vec<AccessKey>>,
    },
}

impl Keys {
    /// Keys sorted by creation (undated ones last, otherwise in the given order).
    pub fn known(mut keys: Vec<AccessKey>) -> Self {
        sort_by_creation(&mut keys);
        Keys::Known(keys)
    }

    pub fn unknown(reason: &'static str) -> Self {
        Keys::Unknown { reason, last_known: None }
    }

    pub fn as_known(&self) -> Option<&[AccessKey]> {
        match self {
            Keys::Known(keys) => Some(keys),
            Keys::Unknown { .. } => None,
        }
    }

    /// The keys, or what was last known of them.
    pub fn latest(&self) -> Option<&[AccessKey]> {
        match self {
            Keys::Known(keys) => Some(keys),
            Keys::Unknown { last_known, .. } => last_known.as_deref(),
        }
    }
}

/// Orders keys by creation; the key ID breaks ties so that the order is stable between checks.
fn sort_by_creation(keys: &mut [AccessKey]) {
    keys.sort_by(|a, b| {
        let dated = |k: &AccessKey| (k.created.is_none(), k.created);
        dated(a).cmp(&dated(b)).then_with(|| a.id.cmp(&b.id))
    });
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    pub key: String,
    pub value: String,
}

impl Tag {
    /// AWS keeps the console's description of an access key in a user tag whose name is the key's ID.
    /// Such a tag would show key IDs where nobody asked for them.
    pub fn names_an_access_key(&self) -> bool {
        self.key.starts_with("AKIA") || self.key.starts_with("ASIA")
    }
}

/// An IAM user. Root is not one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub arn: String,
    /// Begins and ends with `/`.
    pub path: String,
    pub created: Option<Timestamp>,
    pub tags: Vec<Tag>,
    /// When `keys` was true.
    pub observed_at: Timestamp,
    pub keys: Keys,
}

impl User {
    pub fn active_keys(&self) -> Option<usize> {
        self.keys.as_known().map(count_active)
    }
}

pub fn count_active(keys: &[AccessKey]) -> usize {
    keys.iter().filter(|k| k.is_active()).count()
}

/// What AWS said about one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    pub account: Account,
    pub collector: Collector,
    /// When the facts as a whole were true: the report's or file's own time, or the start of the live reading.
    pub facts_at: Timestamp,
    /// Active access keys of the root user, when known.
    pub root_active_keys: Option<u32>,
    /// Sorted by name, each name once.
    pub users: Vec<User>,
}

/// A user that occurs twice, which would become duplicate series.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("user {0:?} occurs twice (IAM user names are unique without regard to case)")]
pub struct DuplicateUser(pub String);

impl Inventory {
    /// Sorts the users by name.
    ///
    /// # Errors
    /// When a name occurs twice; IAM's names are unique case-insensitively.
    pub fn sort_users(&mut self) -> Result<(), DuplicateUser> {
        let mut folded: Vec<String> = self.users.iter().map(|u| u.name.to_ascii_lowercase()).collect();
        folded.sort_unstable();
        if let Some(pair) = folded.windows(2).find(|w| w[0] == w[1]) {
            return Err(DuplicateUser(pair[0].clone()));
        }
        self.users.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(())
    }

    /// The user of that name; names are compared exactly.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.binary_search_by(|u| u.name.as_str().cmp(name)).ok().map(|i| &self.users[i])
    }

    /// Takes over from an earlier inventory what is newer there, and what this one could not read.
    ///
    /// A user read live after the credential report was made keeps the live reading (other collectors bring nothing
    /// older than what was known); a user whose keys are
    /// unknown now remembers what was last known. Root's keys are remembered as long as nothing is known, that it had
    /// none is not: that would be an all-clear for ever. Users that only the earlier inventory has are gone.
    pub fn keep_newer(&mut self, earlier: &Inventory) {
        if earlier.account.id != self.account.id {
            return;
        }
        self.root_active_keys = self.root_active_keys.or(earlier.root_active_keys.filter(|&keys| keys > 0));
        for user in &mut self.users {
            let Some(before) = earlier.user(&user.name).filter(|b| b.arn == user.arn) else { continue };
            match &mut user.keys {
                Keys::Unknown { last_known, .. } => {
                    if last_known.is_none() {
                        *last_known = before.keys.latest().map(<[AccessKey]>::to_vec);
                    }
                }
                Keys::Known(_)
                    if self.collector == Collector::Report
                        && before.observed_at > user.observed_at
                        && before.keys.as_known().is_some() =>
                {
                    user.keys = before.keys.clone();
                    user.observed_at = before.observed_at;
                }
                Keys::Known(_) => {}
            }
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() { f.write_str(&self.id) } else { write!(f, "{} ({})", self.id, self.name) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn key(id: &str, created: i64) -> AccessKey {
        AccessKey {
            id: Some(id.into()),
            status: KeyStatus::Active,
            created: Some(at(created)),
            last_used: LastUsed::Unknown,
        }
    }

    fn user(name: &str, observed: i64, keys: Keys) -> User {
        User {
            name: name.into(),
            arn: format!("arn:aws:iam::123456789012:user/{name}"),
            path: "/".into(),
            created: None,
            tags: vec![],
            observed_at: at(observed),
            keys,
        }
    }

    fn inventory(users: Vec<User>) -> Inventory {
        let account = Account { id: "123456789012".into(), name: String::new(), partition: "aws".into() };
        let mut inv = Inventory { account, collector: Collector::Live, facts_at: at(0), root_active_keys: None, users };
        inv.sort_users().unwrap();
        inv
    }

    #[test]
    fn keys_are_numbered_by_creation_not_by_arrival() {
        let keys = Keys::known(vec![key("B", 20), key("A", 30), key("C", 10)]);
        let ids: Vec<_> = keys.as_known().unwrap().iter().map(|k| k.id.clone().unwrap()).collect();
        assert_eq!(ids, ["C", "B", "A"]);
    }

    #[test]
    fn names_are_unique_without_regard_to_case() {
        let mut inv = inventory(vec![user("bob", 0, Keys::known(vec![]))]);
        inv.users.push(user("Bob", 0, Keys::known(vec![])));
        assert_eq!(inv.sort_users(), Err(DuplicateUser("bob".into())));
    }

    #[test]
    fn the_newer_reading_wins_whichever_inventory_it_is_in() {
        let live = inventory(vec![user("bob", 100, Keys::known(vec![key("A", 1)]))]);
        let mut file = inventory(vec![user("bob", 50, Keys::known(vec![]))]);
        file.collector = Collector::File;
        file.keep_newer(&live);
        assert_eq!(file.user("bob").unwrap().active_keys(), Some(0), "a file says what it says");

        let mut report = inventory(vec![user("bob", 50, Keys::known(vec![key("A", 1), key("B", 2)]))]);
        report.collector = Collector::Report;
        report.keep_newer(&live);
        assert_eq!(report.user("bob").unwrap().active_keys(), Some(1));

        let mut newer = inventory(vec![user("bob", 150, Keys::known(vec![key("A", 1), key("B", 2)]))]);
        newer.collector = Collector::Report;
        newer.keep_newer(&live);
        assert_eq!(newer.user("bob").unwrap().active_keys(), Some(2));
    }

    #[test]
    fn an_unreadable_user_remembers_what_was_last_known_over_several_checks() {
        let first = inventory(vec![user("bob", 1, Keys::known(vec![key("A", 1)]))]);
        let mut second = inventory(vec![user("bob", 2, Keys::unknown("throttled"))]);
        second.keep_newer(&first);
        let mut third = inventory(vec![user("bob", 3, Keys::unknown("throttled"))]);
        third.keep_newer(&second);
        let bob = third.user("bob").unwrap();
        assert_eq!(bob.keys.as_known(), None);
        assert_eq!(bob.keys.latest().unwrap().len(), 1);
    }

    #[test]
    fn a_user_that_was_deleted_and_made_anew_elsewhere_inherits_nothing() {
        let first = inventory(vec![user("bob", 9, Keys::known(vec![key("A", 1)]))]);
        let mut moved = user("bob", 1, Keys::known(vec![]));
        moved.arn = "arn:aws:iam::123456789012:user/team/bob".into();
        let mut second = inventory(vec![moved]);
        second.keep_newer(&first);
        assert_eq!(second.user("bob").unwrap().active_keys(), Some(0));
    }

    #[test]
    fn roots_keys_are_remembered_until_something_newer_is_known() {
        let mut first = inventory(vec![]);
        first.root_active_keys = Some(1);
        let mut second = inventory(vec![]);
        second.keep_newer(&first);
        assert_eq!(second.root_active_keys, Some(1));
        let mut third = inventory(vec![]);
        third.root_active_keys = Some(0);
        third.keep_newer(&second);
        assert_eq!(third.root_active_keys, Some(0));
        let mut fourth = inventory(vec![]);
        fourth.keep_newer(&third);
        assert_eq!(fourth.root_active_keys, None);
    }

    #[test]
    fn another_accounts_facts_are_never_taken_over() {
        let mut other = inventory(vec![user("bob", 9, Keys::known(vec![key("A", 1)]))]);
        other.account.id = "999999999999".into();
        let mut inv = inventory(vec![user("bob", 1, Keys::known(vec![]))]);
        inv.keep_newer(&other);
        assert_eq!(inv.user("bob").unwrap().active_keys(), Some(0));
    }
}
