//! All accounts at one moment.

use super::AccountState;
use crate::model::{AccountId, Timestamp};
use crate::policy::{ExemptionState, Policy};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The last good state of every account. Immutable: an update makes a new snapshot.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// By account ID.
    pub accounts: BTreeMap<AccountId, Arc<AccountState>>,
    /// The policy of the last evaluation.
    pub policy: Arc<Policy>,
}

impl Snapshot {
    /// Without any account.
    pub fn new(policy: Arc<Policy>) -> Self {
        Snapshot { accounts: BTreeMap::new(), policy }
    }

    /// With one account's new state; the other accounts' stay as they are.
    #[must_use]
    pub fn with(&self, state: Arc<AccountState>) -> Self {
        let mut accounts = self.accounts.clone();
        let policy = Arc::clone(state.policy());
        accounts.insert(state.account.id, state);
        Snapshot { accounts, policy }
    }

    /// Whether each exemption of the policy matches a user of any account, or the root user, expired or not.
    pub fn matched_exemptions(&self) -> Vec<bool> {
        let mut matched = vec![false; self.policy.exemptions.len()];
        for account in self.accounts.values() {
            for (total, here) in matched.iter_mut().zip(account.matched_exemptions()) {
                *total |= here;
            }
        }
        matched
    }

    /// The state of each exemption of the policy.
    pub fn exemption_states(&self, now: Timestamp) -> Vec<ExemptionState> {
        let matched = self.matched_exemptions();
        self.policy.exemptions.iter().zip(matched).map(|(exemption, matched)| exemption.state(matched, now)).collect()
    }
}
