//! Publishes what workers report: metrics, the page, the status of accounts, and log records.

use crate::exposition::exporter::{ExporterMetrics, UNKNOWN_ACCOUNT};
use crate::exposition::{Encoder, Options};
use crate::http::{AppState, Failure};
use crate::model::{Account, AccountId, Timestamp};
use crate::policy::{ExemptionState, Policy, Status};
use crate::schedule::Events;
use crate::source::SourceError;
use crate::state::{AccountState, Snapshot};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(super) struct Publisher {
    metrics: Arc<ExporterMetrics>,
    state: Arc<AppState>,
    store: Mutex<Store>,
    logged: Mutex<Logged>,
}

/// The last good state of every account, and its encoding.
struct Store {
    snapshot: Snapshot,
    encoder: Encoder,
}

/// What was logged, so that a lasting condition is logged once.
#[derive(Default)]
struct Logged {
    accounts: BTreeSet<AccountId>,
    /// The reason of the last failed check, by account; `None` while the account is not known.
    failures: HashMap<Option<AccountId>, &'static str>,
    warnings: BTreeSet<Warning>,
}

/// A condition that needs attention.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Warning {
    ExemptionExpired { user: String },
    ExemptionUnmatched { user: String },
    RuleNotEvaluated { account: AccountId, rule: &'static str },
    UsersUnknown { account: AccountId, users: u64 },
}

impl Publisher {
    pub(super) fn new(
        options: Options,
        policy: Arc<Policy>,
        metrics: Arc<ExporterMetrics>,
        state: Arc<AppState>,
    ) -> Self {
        let store = Store { snapshot: Snapshot::new(policy), encoder: Encoder::new(options) };
        Publisher { metrics, state, store: Mutex::new(store), logged: Mutex::default() }
    }

    fn update_status(&self, state: &AccountState) {
        let totals = state.totals();
        self.state.update(|status| {
            status.account(state.account.id.as_str(), |account| {
                account.name.clone_from(&state.account.name);
                account.users = state.users().len() as u64;
                account.unknown_users = totals.users(Status::Unknown);
                account.violations = state.rule_totals(&totals).iter().map(|t| (t.rule.name(), t.violations)).collect();
            });
        });
    }

    fn log_warnings(&self, snapshot: &Snapshot) {
        let warnings = warnings(snapshot, Timestamp::now());
        let mut logged = lock(&self.logged);
        for warning in warnings.difference(&logged.warnings) {
            warning.log();
        }
        logged.warnings = warnings;
    }
}

impl Events for Publisher {
    fn account_identified(&self, account: &Account) {
        if !lock(&self.logged).accounts.insert(account.id) {
            return;
        }
        let account_id = account.id.as_str();
        self.metrics.account_known(account_id);
        self.state.update(|s| {
            s.remove(UNKNOWN_ACCOUNT);
            s.account(account_id, |_| ());
        });
        tracing::info!(account_id, "account identified");
    }

    fn account_forgotten(&self, account: AccountId) {
        let account_id = account.as_str();
        {
            let mut logged = lock(&self.logged);
            logged.accounts.remove(&account);
            logged.failures.remove(&Some(account));
        }
        self.metrics.account_forgotten(account_id);
        self.state.update(|s| s.remove(account_id));
        tracing::info!(account_id, "account forgotten, the credentials belong to another one");
    }

    fn check_succeeded(&self, account: AccountId, took: Duration, listed_at: Timestamp) {
        let account_id = account.as_str();
        let now = Timestamp::now();
        self.metrics.check_succeeded(account_id, took, now, listed_at);
        let first = self.state.update(|s| {
            s.account(account_id, |account| {
                account.failure = None;
                account.last_success.replace(now).is_none()
            })
        });
        let duration_seconds = took.as_secs_f64();
        let mut logged = lock(&self.logged);
        logged.failures.remove(&None);
        if logged.failures.remove(&Some(account)).is_some() || first {
            tracing::info!(account_id, duration_seconds, "check succeeded");
        } else {
            tracing::debug!(account_id, duration_seconds, "check succeeded");
        }
    }

    fn check_failed(&self, account: Option<AccountId>, took: Duration, error: &SourceError) {
        let account_id = account.as_ref().map_or(UNKNOWN_ACCOUNT, AccountId::as_str);
        let (reason, error) = (error.reason(), error.to_string());
        self.metrics.check_failed(account_id, took, reason);
        let failure = Failure { at: Timestamp::now(), reason };
        self.state.update(|s| s.account(account_id, |account| account.failure = Some(failure)));
        let duration_seconds = took.as_secs_f64();
        // Messages carry request IDs; only another reason is a change.
        if lock(&self.logged).failures.insert(account, reason) == Some(reason) {
            tracing::debug!(account_id, reason, error, duration_seconds, "check failed again");
        } else {
            tracing::warn!(account_id, reason, error, duration_seconds, "check failed, last good data kept");
        }
    }

    fn check_overran(&self, account: Option<AccountId>) {
        self.metrics.check_overran(account.as_ref().map_or(UNKNOWN_ACCOUNT, AccountId::as_str));
    }

    fn state_changed(&self, state: &Arc<AccountState>) {
        let (page, snapshot) = {
            let mut store = lock(&self.store);
            store.snapshot = store.snapshot.with(Arc::clone(state));
            let Store { snapshot, encoder } = &mut *store;
            (encoder.encode(snapshot, Timestamp::now()), snapshot.clone())
        };
        let (plain, gzip) = page.sizes();
        self.state.show(page);
        self.metrics.published(plain, gzip);
        self.update_status(state);
        self.log_warnings(&snapshot);
    }
}

fn warnings(snapshot: &Snapshot, now: Timestamp) -> BTreeSet<Warning> {
    let mut warnings = BTreeSet::new();
    for (exemption, state) in snapshot.policy.exemptions.iter().zip(snapshot.exemption_states(now)) {
        let user = exemption.user.clone();
        match state {
            ExemptionState::Used => {}
            ExemptionState::Expired => {
                warnings.insert(Warning::ExemptionExpired { user });
            }
            ExemptionState::Unmatched => {
                warnings.insert(Warning::ExemptionUnmatched { user });
            }
        }
    }
    for (&account, state) in &snapshot.accounts {
        let totals = state.totals();
        for total in state.rule_totals(&totals).iter().filter(|t| t.violations.is_none()) {
            warnings.insert(Warning::RuleNotEvaluated { account, rule: total.rule.name() });
        }
        let users = totals.users(Status::Unknown);
        if users > 0 {
            warnings.insert(Warning::UsersUnknown { account, users });
        }
    }
    warnings
}

impl Warning {
    fn log(&self) {
        match self {
            Warning::ExemptionExpired { user } => tracing::warn!(user, "exemption expired"),
            Warning::ExemptionUnmatched { user } => tracing::warn!(user, "exemption matches no user"),
            Warning::RuleNotEvaluated { account, rule } => {
                tracing::warn!(account_id = account.as_str(), rule, "rule not evaluated, data is missing");
            }
            Warning::UsersUnknown { account, users } => {
                tracing::warn!(account_id = account.as_str(), users, "keys of some users are unknown");
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::Users;
    use crate::model::Partition;

    #[test]
    fn a_forgotten_account_is_neither_in_the_metrics_nor_on_the_status_page() {
        let metrics = Arc::new(ExporterMetrics::new(Duration::from_secs(300)));
        let state = Arc::new(AppState::new(Arc::clone(&metrics), None));
        let options = Options { users: Users::All, user_info: false, tags: vec![], access_key_id: false };
        let publisher = Publisher::new(options, Arc::default(), Arc::clone(&metrics), Arc::clone(&state));
        let account =
            |id: &str| Account { id: id.parse().unwrap(), name: String::new(), partition: Partition::default() };
        let (wrong, right) = (account("999999999999"), account("123456789012"));

        publisher.account_identified(&wrong);
        publisher.check_failed(Some(wrong.id), Duration::ZERO, &SourceError::Credentials(String::new()));
        publisher.account_forgotten(wrong.id);
        publisher.account_identified(&right);

        let text = String::from_utf8(metrics.own().plain().to_vec()).unwrap();
        assert!(!text.contains("999999999999") && text.contains("123456789012"), "{text}");
        let accounts = state.update(|s| s.accounts().map(|(id, _)| id.to_owned()).collect::<Vec<_>>());
        assert_eq!(accounts, ["123456789012"]);
    }
}
