//! Status of the accounts' checks, for readiness and for the status page.

use crate::model::Timestamp;
use std::collections::BTreeMap;

/// Status of every account, by account ID. An account whose ID is not known yet has a placeholder as its key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Status {
    accounts: BTreeMap<String, AccountStatus>,
    /// Whether all accounts are there.
    complete: bool,
    ready: bool,
}

/// Outcome of the latest check of one account, and the totals of its last good data.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AccountStatus {
    /// Configured name; empty if there is none.
    pub name: String,
    /// End of the last successful check; `None` before the first one.
    pub last_success: Option<Timestamp>,
    /// Failure of the latest check; `None` if it succeeded or none has ended yet.
    pub failure: Option<Failure>,
    /// The number of users in the last good data.
    pub users: u64,
    /// The number of users with the status unknown.
    pub unknown_users: u64,
    /// The number of violations of each enabled rule, in the order of the rules; `None` if the inventory lacks what the
    /// rule needs.
    pub violations: Vec<(&'static str, Option<u64>)>,
}

/// A failed check.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// When the check ended.
    pub at: Timestamp,
    /// From the closed list of reasons: AWS's own text may hold names and identifiers and stays in the log.
    pub reason: &'static str,
}

impl Status {
    /// Adds the account unless it is there, applies `change` to it, and returns the result.
    pub fn account<T>(&mut self, account_id: &str, change: impl FnOnce(&mut AccountStatus) -> T) -> T {
        if !self.accounts.contains_key(account_id) {
            self.accounts.insert(account_id.to_owned(), AccountStatus::default());
        }
        let account = self.accounts.get_mut(account_id).expect("it was inserted above");
        let result = change(account);
        // Not asked again: with many accounts it takes a while.
        self.ready = self.ready || self.all_attempted();
        result
    }

    /// Every account that is to be checked has been added: the organisation, if there is one, has been listed.
    pub fn set_complete(&mut self) {
        self.complete = true;
        self.ready = self.ready || self.all_attempted();
    }

    /// Removes an account, for example the placeholder of one whose ID has become known.
    pub fn remove(&mut self, account_id: &str) {
        self.accounts.remove(account_id);
    }

    /// True once all accounts are known ([`set_complete`](Self::set_complete)), every account has had its first check and at least one check has succeeded, and true from then on:
    /// the last good data stay available whatever fails later, and one denied account must not keep the others'
    /// data from being scraped. With one account that is its first successful check.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// All accounts, sorted by account ID.
    pub fn accounts(&self) -> impl ExactSizeIterator<Item = (&str, &AccountStatus)> {
        self.accounts.iter().map(|(id, account)| (id.as_str(), account))
    }

    fn all_attempted(&self) -> bool {
        // A shard can have no account.
        self.complete
            && self.accounts.values().all(|a| a.last_success.is_some() || a.failure.is_some())
            && (self.accounts.is_empty() || self.accounts.values().any(|a| a.last_success.is_some()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::UNIX_EPOCH;

    fn complete() -> Status {
        Status { complete: true, ..Status::default() }
    }

    fn succeed(status: &mut Status, id: &str) {
        status.account(id, |a| (a.last_success, a.failure) = (Some(AT), None));
    }

    fn fail(status: &mut Status, id: &str) {
        status.account(id, |a| a.failure = Some(Failure { at: AT, reason: "access_denied" }));
    }

    #[test]
    fn one_account_is_ready_from_its_first_success_on() {
        let mut status = complete();
        status.account("unknown", |_| ());
        fail(&mut status, "unknown");
        assert!(!status.is_ready());
        status.remove("unknown");
        succeed(&mut status, "1");
        assert!(status.is_ready());
        fail(&mut status, "1");
        assert!(status.is_ready(), "the last good data stay");
    }

    #[test]
    fn several_accounts_are_ready_after_a_check_each_and_a_success_at_all() {
        let mut status = complete();
        for id in ["1", "2", "3"] {
            status.account(id, |_| ());
        }
        succeed(&mut status, "1");
        fail(&mut status, "2");
        assert!(!status.is_ready(), "the third has had no check");
        fail(&mut status, "3");
        assert!(status.is_ready());
        status.account("4", |_| ());
        assert!(status.is_ready(), "an account found later does not take readiness back");
    }

    #[test]
    fn accounts_that_are_not_discovered_yet_are_waited_for() {
        let mut status = Status::default();
        succeed(&mut status, "1");
        assert!(!status.is_ready());
        status.set_complete();
        assert!(status.is_ready());
        let mut empty = Status::default();
        empty.set_complete();
        assert!(empty.is_ready(), "a shard without accounts");
    }

    #[test]
    fn failures_alone_are_not_ready() {
        let mut status = complete();
        fail(&mut status, "1");
        fail(&mut status, "2");
        assert!(!status.is_ready());
    }
}
