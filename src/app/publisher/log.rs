//! Log records about accounts and exemptions. A lasting condition is logged once.

use crate::accounts::{DiscoveryError, Notice, Targets};
use crate::model::{AccountId, Timestamp};
use crate::policy::{ExemptionState, Selector, Status};
use crate::state::{AccountState, Snapshot};
use std::collections::{BTreeSet, HashMap};
use std::mem;

/// Above this number of series of users, one Prometheus server notices.
const MANY_SERIES: usize = 100_000;

/// What was logged.
#[derive(Default)]
pub(super) struct Log {
    /// By account; `None` is the account that is not identified yet.
    accounts: HashMap<Option<AccountId>, Logged>,
    exemptions: Vec<Option<ExemptionState>>,
    /// Those that have expired (true), or match no user (false).
    exemption_warnings: BTreeSet<(Selector, bool)>,
    many_series: bool,
    notices: BTreeSet<Notice>,
    /// The reason of the last failed discovery.
    discovery_failure: Option<&'static str>,
    /// The number of accounts; `None` before the first.
    targets: Option<usize>,
}

/// What was logged about an account.
#[derive(Default)]
struct Logged {
    is_identified: bool,
    /// The reason of the last failed check.
    failure: Option<&'static str>,
    warnings: BTreeSet<Warning>,
}

/// A condition of an account that needs attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Warning {
    DetailsUnknown,
    RuleNotEvaluated { rule: &'static str },
    UsersUnknown { users: u64 },
}

impl Log {
    /// Returns whether it is the first time.
    pub(super) fn identified(&mut self, account: AccountId) -> bool {
        let is_first = !mem::replace(&mut self.account(Some(account)).is_identified, true);
        if is_first {
            tracing::info!(account_id = account.as_str(), "account identified");
        }
        is_first
    }

    /// The account of the credentials is identified, or not checked any more.
    pub(super) fn unknown_identified(&mut self) {
        self.accounts.remove(&None);
    }

    /// The next record about this account is the first one again.
    pub(super) fn forget(&mut self, account: AccountId) {
        self.accounts.remove(&Some(account));
    }

    /// A check succeeded; `is_first` is whether none has before.
    pub(super) fn succeeded(&mut self, account: AccountId, duration_seconds: f64, is_first: bool) {
        let account_id = account.as_str();
        if self.account(Some(account)).failure.take().is_some() || is_first {
            tracing::info!(account_id, duration_seconds, "check succeeded");
        } else {
            tracing::debug!(account_id, duration_seconds, "check succeeded");
        }
    }

    /// A check failed. Messages carry request IDs; only another reason is a change.
    pub(super) fn failed(
        &mut self,
        account: Option<AccountId>,
        account_id: &str,
        reason: &'static str,
        error: &str,
        duration_seconds: f64,
    ) {
        if self.account(account).failure.replace(reason) == Some(reason) {
            tracing::debug!(account_id, reason, error, duration_seconds, "check failed again");
        } else {
            tracing::warn!(account_id, reason, error, duration_seconds, "check failed, last good data kept");
        }
    }

    /// The state of an account has changed.
    pub(super) fn account_changed(&mut self, state: &AccountState) {
        let account_id = state.account.id.as_str();
        let warnings = warnings(state);
        let logged = self.account(Some(state.account.id));
        for warning in warnings.difference(&logged.warnings) {
            match warning {
                Warning::DetailsUnknown => {
                    tracing::warn!(account_id, "tags or groups of users are not known, exemptions need them");
                }
                Warning::RuleNotEvaluated { rule } => {
                    tracing::warn!(account_id, rule, "rule not evaluated, data is missing");
                }
                Warning::UsersUnknown { users } => tracing::warn!(account_id, users, "keys of some users are unknown"),
            }
        }
        logged.warnings = warnings;
    }

    /// The states of exemptions may have changed. What was logged about one whose state is not known for now stays. An
    /// exemption that matches no user is a warning where this process checks all accounts; another shard can have the user.
    pub(super) fn exemptions_changed(&mut self, snapshot: &Snapshot, all_accounts: bool, now: Timestamp) {
        let states: Vec<_> = snapshot.exemption_states(now).collect();
        if states == self.exemptions {
            return;
        }
        let exemptions = snapshot.policy().exemptions.iter().zip(&states);
        let warnings: BTreeSet<_> = exemptions
            .filter_map(|(exemption, state)| {
                let warning = |is_expired| (exemption.selector.clone(), is_expired);
                match state {
                    Some(ExemptionState::Used) => None,
                    Some(ExemptionState::Expired) => Some(warning(true)),
                    Some(ExemptionState::Unmatched) => Some(warning(false)).filter(|_| all_accounts),
                    None => Some(warning(false)).filter(|w| self.exemption_warnings.contains(w)),
                }
            })
            .collect();
        for (selector, is_expired) in warnings.difference(&self.exemption_warnings) {
            let (Selector { user, path, group, .. }, tag) = (selector, selector.tag_text());
            if *is_expired {
                tracing::warn!(user, path, group, tag, "exemption expired");
            } else {
                tracing::warn!(user, path, group, tag, "exemption matches no user");
            }
        }
        (self.exemptions, self.exemption_warnings) = (states, warnings);
    }

    /// The list of accounts may have changed.
    pub(super) fn targets_changed(&mut self, targets: &Targets) {
        for notice in targets.notices.difference(&self.notices) {
            warn(notice);
        }
        self.notices.clone_from(&targets.notices);
        let accounts = targets.accounts.len();
        if self.targets.replace(accounts) != Some(accounts) {
            tracing::info!(accounts, "list of accounts changed");
        }
    }

    /// The organisation was listed, or the account of the credentials identified.
    pub(super) fn discovered(&mut self) {
        if self.discovery_failure.take().is_some() {
            tracing::info!("accounts discovered");
        }
    }

    /// The organisation was not listed. Messages carry request IDs; only another reason is a change.
    pub(super) fn discovery_failed(&mut self, error: &DiscoveryError) {
        let reason = error.reason();
        if self.discovery_failure.replace(reason) == Some(reason) {
            tracing::debug!(reason, %error, "discovery of accounts failed again");
        } else {
            tracing::warn!(reason, %error, "discovery of accounts failed, last list kept");
        }
    }

    /// The number of series of users has changed.
    pub(super) fn user_series_changed(&mut self, series: usize) {
        let are_many = series > MANY_SERIES;
        if are_many && !self.many_series {
            tracing::warn!(series, "many series of users, see docs/performance.md; --metrics.users bounds them");
        }
        // Lower, so that a number that varies around the limit is logged once.
        self.many_series = are_many || self.many_series && series > MANY_SERIES / 10 * 9;
    }

    fn account(&mut self, account: Option<AccountId>) -> &mut Logged {
        self.accounts.entry(account).or_default()
    }
}

/// Logs that a part of the configuration has no effect.
pub(in crate::app) fn warn(notice: &Notice) {
    match notice {
        Notice::UnmatchedFilter(filter) => {
            tracing::warn!(filter, "entry of include or exclude matches no account of the organization");
        }
        Notice::UnusedOverride(account) => {
            tracing::warn!(account_id = account.as_str(), "account_overrides names an account that is not checked");
        }
    }
}

fn warnings(state: &AccountState) -> BTreeSet<Warning> {
    let totals = state.totals();
    let rules = state.rule_totals(&totals).into_iter().filter(|total| total.violations.is_none());
    let mut warnings: BTreeSet<_> = rules.map(|total| Warning::RuleNotEvaluated { rule: total.rule.name() }).collect();
    let users = totals.users(Status::Unknown);
    if users > 0 {
        warnings.insert(Warning::UsersUnknown { users });
    }
    if state.lacks_details() {
        warnings.insert(Warning::DetailsUnknown);
    }
    warnings
}
