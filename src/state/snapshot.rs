//! All accounts at one moment.

use super::AccountState;
use crate::model::{AccountId, Timestamp};
use crate::policy::{ExemptionState, Policy};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The last good state of every account. An update costs what its account costs, however many others there are.
#[derive(Debug, Clone)]
pub struct Snapshot {
    accounts: BTreeMap<AccountId, Member>,
    policy: Arc<Policy>,
    /// For each exemption of the policy, the number of accounts in which it matches.
    matching: Vec<u32>,
    /// For each exemption, the number of accounts in which it depends on tags or groups that are not known.
    unknown: Vec<u32>,
    /// The number of accounts that were last evaluated with other exemptions.
    outdated: usize,
    incomplete: bool,
}

#[derive(Debug, Clone)]
struct Member {
    state: Arc<AccountState>,
    /// `None` if it was last evaluated with other exemptions.
    exemptions: Option<Matched>,
}

/// Indices of exemptions.
#[derive(Debug, Clone, Default)]
struct Matched {
    /// Those that match in the account.
    matching: Box<[usize]>,
    /// Those of which that is not known.
    unknown: Box<[usize]>,
}

impl Snapshot {
    /// Without any account.
    pub fn new(policy: Arc<Policy>) -> Self {
        let matching = vec![0; policy.exemptions.len()];
        let unknown = matching.clone();
        Snapshot { accounts: BTreeMap::new(), policy, matching, unknown, outdated: 0, incomplete: false }
    }

    /// With one account's new state.
    #[must_use]
    pub fn with(mut self, state: Arc<AccountState>) -> Self {
        self.put(state);
        self
    }

    /// The states of all accounts, by account ID.
    pub fn accounts(&self) -> impl ExactSizeIterator<Item = &Arc<AccountState>> {
        self.accounts.values().map(|member| &member.state)
    }

    /// The last good state of an account; `None` if there is none.
    pub fn account(&self, account: AccountId) -> Option<&Arc<AccountState>> {
        self.accounts.get(&account).map(|member| &member.state)
    }

    /// Whether there is no account.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// The policy in force: its exemptions are those of all accounts.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Sets the policy in force. Accounts follow when they are evaluated with it.
    pub fn set_policy(&mut self, policy: &Arc<Policy>) {
        if Arc::ptr_eq(&self.policy, policy) {
            return;
        }
        self.policy = Arc::clone(policy);
        self.matching = vec![0; policy.exemptions.len()];
        self.unknown.clone_from(&self.matching);
        self.outdated = 0;
        for member in std::mem::take(&mut self.accounts).into_values() {
            self.put(member.state);
        }
    }

    /// Sets whether there are accounts of which nothing is known yet; there are none in a new snapshot.
    pub fn set_incomplete(&mut self, incomplete: bool) {
        self.incomplete = incomplete;
    }

    /// Whether there are accounts of which nothing is known yet.
    pub fn is_incomplete(&self) -> bool {
        self.incomplete
    }

    /// Adds an account, or replaces its state.
    pub fn put(&mut self, state: Arc<AccountState>) {
        let exemptions = (state.policy().exemptions == self.policy.exemptions).then(|| {
            let matched = state.matched_exemptions();
            let with = |wanted| (0..).zip(&matched).filter(|(_, m)| **m == wanted).map(|(index, _)| index).collect();
            Matched { matching: with(Some(true)), unknown: with(None) }
        });
        match &exemptions {
            Some(matched) => {
                matched.matching.iter().for_each(|index| self.matching[*index] += 1);
                matched.unknown.iter().for_each(|index| self.unknown[*index] += 1);
            }
            None => self.outdated += 1,
        }
        let old = self.accounts.insert(state.account.id, Member { state, exemptions });
        self.discount(old);
    }

    /// Removes an account.
    pub fn remove(&mut self, account: AccountId) {
        let old = self.accounts.remove(&account);
        self.discount(old);
    }

    fn discount(&mut self, old: Option<Member>) {
        match old.map(|old| old.exemptions) {
            None => {}
            Some(None) => self.outdated -= 1,
            Some(Some(matched)) => {
                matched.matching.iter().for_each(|index| self.matching[*index] -= 1);
                matched.unknown.iter().for_each(|index| self.unknown[*index] -= 1);
            }
        }
    }

    /// Whether each exemption of the policy matches a user of any account, or the root user, expired or not. `None` as
    /// long as that is not known: it matches in no account so far, and not all accounts have been evaluated with it, or
    /// it depends on tags or groups that are not known.
    pub fn matched_exemptions(&self) -> impl Iterator<Item = Option<bool>> {
        let all_are_known = self.outdated == 0 && !self.incomplete;
        let exemptions = self.matching.iter().zip(&self.unknown);
        exemptions.map(move |(accounts, unknown)| match (*accounts > 0, *unknown == 0 && all_are_known) {
            (true, _) => Some(true),
            (false, is_known) => is_known.then_some(false),
        })
    }

    /// The state of each exemption of the policy; `None` as long as it is not known.
    pub fn exemption_states(&self, now: Timestamp) -> impl Iterator<Item = Option<ExemptionState>> {
        let exemptions = self.policy.exemptions.iter().zip(self.matched_exemptions());
        exemptions.map(move |(exemption, matched)| match matched {
            None if exemption.expired(now) => Some(ExemptionState::Expired),
            None => None,
            Some(matched) => Some(exemption.state(matched, now)),
        })
    }
}

#[cfg(test)]
mod tests;
