//! The last good facts of every account, and the verdicts on them. Pure: time and policy are handed in.

use crate::model::{Inventory, Timestamp};
use crate::policy::{Evaluation, ExemptionState, Policy, evaluate};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One account's last good facts, judged.
#[derive(Debug)]
pub struct AccountFacts {
    pub inventory: Arc<Inventory>,
    pub evaluation: Evaluation,
}

/// Everything that is published about AWS. Immutable; a new one takes its place.
#[derive(Debug)]
pub struct Snapshot {
    pub accounts: BTreeMap<String, Arc<AccountFacts>>,
    pub policy: Arc<Policy>,
    /// One per exemption of the policy.
    pub exemptions: Vec<ExemptionState>,
    /// The earliest moment at which any verdict can change without new facts.
    pub next_change: Option<Timestamp>,
}

impl Snapshot {
    /// No account is known yet.
    pub fn new(policy: Arc<Policy>) -> Self {
        Snapshot { accounts: BTreeMap::new(), exemptions: Vec::new(), next_change: None, policy }
    }

    /// With an account's new facts; the other accounts' stay as they are.
    #[must_use]
    pub fn with_facts(&self, inventory: Inventory, now: Timestamp) -> Self {
        let evaluation = evaluate(&inventory, &self.policy, now);
        let mut accounts = self.accounts.clone();
        let id = inventory.account.id.clone();
        accounts.insert(id, Arc::new(AccountFacts { inventory: Arc::new(inventory), evaluation }));
        Snapshot::of(accounts, Arc::clone(&self.policy), now)
    }

    /// The same facts, judged by this policy at this time.
    #[must_use]
    pub fn reevaluated(&self, policy: Arc<Policy>, now: Timestamp) -> Self {
        let judge = |facts: &Arc<AccountFacts>| {
            let evaluation = evaluate(&facts.inventory, &policy, now);
            if evaluation == facts.evaluation {
                return Arc::clone(facts);
            }
            Arc::new(AccountFacts { inventory: Arc::clone(&facts.inventory), evaluation })
        };
        let accounts = self.accounts.iter().map(|(id, facts)| (id.clone(), judge(facts))).collect();
        Snapshot::of(accounts, policy, now)
    }

    fn of(accounts: BTreeMap<String, Arc<AccountFacts>>, policy: Arc<Policy>, now: Timestamp) -> Self {
        let exemptions = policy
            .exemptions
            .iter()
            .enumerate()
            .map(|(i, exemption)| {
                let used = accounts.values().any(|a| a.evaluation.exemptions_used.get(i) == Some(&true));
                exemption.state(used, now)
            })
            .collect();
        let next_change = accounts.values().filter_map(|a| a.evaluation.next_change).min();
        Snapshot { accounts, policy, exemptions, next_change }
    }
}
