//! Publishes what workers report: metrics, the page, the status of accounts, and log records.

pub(super) mod log;

use crate::accounts::{Departure, DiscoveryError, Notice, Targets};
use crate::config::Config;
use crate::exposition::Parts;
use crate::exposition::exporter::{ExporterMetrics, UNKNOWN_ACCOUNT};
use crate::http::{AppState, Failure, Status};
use crate::model::{Account, AccountId, Timestamp};
use crate::policy;
use crate::schedule::Events;
use crate::schedule::fleet::FleetEvents;
use crate::source::SourceError;
use crate::state::{AccountState, Snapshot};
use log::Log;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Every method costs what its account costs, however many others there are.
pub(super) struct Publisher {
    config: watch::Receiver<Arc<Config>>,
    metrics: Arc<ExporterMetrics>,
    parts: Arc<Parts>,
    state: Arc<AppState>,
    /// Locked after `snapshot`, if both are.
    log: Mutex<Log>,
    /// The last good state of every account.
    snapshot: Mutex<Snapshot>,
}

impl Publisher {
    /// `config` has the policy in force, of which accounts may override settings of rules, but not exemptions.
    pub(super) fn new(
        config: watch::Receiver<Arc<Config>>,
        metrics: Arc<ExporterMetrics>,
        parts: Arc<Parts>,
        state: Arc<AppState>,
    ) -> Self {
        let mut snapshot = Snapshot::new(Arc::clone(&config.borrow().policy));
        snapshot.set_incomplete(true);
        Publisher { config, metrics, parts, state, log: Mutex::default(), snapshot: Mutex::new(snapshot) }
    }

    /// Removes an account with all its series.
    fn remove(&self, account: AccountId) {
        lock(&self.log).forget(account);
        self.state.update(|s| s.remove(account.as_str()));
        self.update(|snapshot, now| {
            snapshot.remove(account);
            self.parts.remove(account.as_str(), snapshot, now);
        });
    }

    fn update_status(&self, state: &AccountState) {
        let totals = state.totals();
        self.state.update(|status| {
            status.account(state.account.id.as_str(), |account| {
                account.name.clone_from(&state.account.name);
                account.users = state.users().len() as u64;
                account.unknown_users = totals.users(policy::Status::Unknown);
                account.violations = state.rule_totals(&totals).iter().map(|t| (t.rule.name(), t.violations)).collect();
            });
        });
    }

    /// A check has ended: it may have been the last one that was missing.
    fn check_ended(&self) {
        if lock(&self.snapshot).is_incomplete() && self.state.is_ready() {
            self.update(|snapshot, now| {
                snapshot.set_incomplete(false);
                self.parts.publish_whole(snapshot, now);
            });
        }
    }

    /// Changes the snapshot and publishes it in one step.
    fn update(&self, update: impl FnOnce(&mut Snapshot, Timestamp)) {
        let (policy, shard) = {
            let config = self.config.borrow();
            (Arc::clone(&config.policy), config.shard)
        };
        let mut snapshot = lock(&self.snapshot);
        let now = Timestamp::now();
        snapshot.set_policy(&policy);
        update(&mut snapshot, now);
        lock(&self.log).exemptions_changed(&snapshot, shard.total == 1, now);
    }
}

impl Events for Publisher {
    fn account_identified(&self, account: &Account) {
        if !lock(&self.log).identified(account.id) {
            return;
        }
        let account_id = account.id.as_str();
        self.parts.account_known(account_id);
        self.state.update(|s| s.account(account_id, |_| ()));
    }

    fn unknown_account_identified(&self) {
        self.update(|snapshot, now| self.parts.remove(UNKNOWN_ACCOUNT, snapshot, now));
        self.state.update(|s| s.remove(UNKNOWN_ACCOUNT));
        lock(&self.log).unknown_identified();
    }

    fn account_forgotten(&self, account: AccountId) {
        self.remove(account);
        tracing::info!(account_id = account.as_str(), "account forgotten, the credentials belong to another one");
    }

    fn check_succeeded(&self, account: AccountId, took: Duration, listed_at: Timestamp) {
        let account_id = account.as_str();
        let now = Timestamp::now();
        // Readiness before `up`: a client that sees `up` 1 can rely on it. The data were published before both.
        let is_first = self.state.update(|s| {
            s.account(account_id, |account| {
                account.failure = None;
                account.last_success.replace(now).is_none()
            })
        });
        self.parts.check_succeeded(account_id, took, now, listed_at);
        lock(&self.log).succeeded(account, took.as_secs_f64(), is_first);
        self.check_ended();
    }

    fn check_failed(&self, account: Option<AccountId>, took: Duration, error: &SourceError) {
        let account_id = account.as_ref().map_or(UNKNOWN_ACCOUNT, AccountId::as_str);
        let reason = error.reason();
        self.parts.check_failed(account_id, took, reason);
        let failure = Failure { at: Timestamp::now(), reason };
        self.state.update(|s| s.account(account_id, |account| account.failure = Some(failure)));
        lock(&self.log).failed(account, account_id, reason, &error.to_string(), took.as_secs_f64());
        self.check_ended();
    }

    fn check_overran(&self, account: Option<AccountId>) {
        self.parts.check_overran(account.as_ref().map_or(UNKNOWN_ACCOUNT, AccountId::as_str));
    }

    fn key_detected(&self, delay: Duration) {
        self.metrics.key_detected(delay);
    }

    fn oldest_observation(&self, account: AccountId, at: Timestamp) {
        self.parts.oldest_observation(account.as_str(), at);
    }

    fn requests_throttled(&self, account: AccountId, requests: u64) {
        self.parts.requests_throttled(account.as_str(), requests);
    }

    fn sweep_failed(&self, account: AccountId, error: &SourceError, is_new: bool) {
        let account_id = account.as_str();
        self.parts.sweep_failed(account_id);
        let reason = error.reason();
        if is_new {
            tracing::warn!(account_id, reason, %error, "sweep failed, users are read again later");
        } else {
            tracing::debug!(account_id, reason, %error, "sweep failed again");
        }
    }

    fn sweep_recovered(&self, account: AccountId) {
        tracing::info!(account_id = account.as_str(), "sweep succeeded");
    }

    fn state_changed(&self, state: &Arc<AccountState>) {
        // The expensive part, at the same time as those of other accounts.
        let inventory = self.parts.encode(state);
        self.update(|snapshot, now| {
            snapshot.put(Arc::clone(state));
            self.parts.publish(inventory, snapshot, now);
        });
        self.update_status(state);
        let mut log = lock(&self.log);
        log.account_changed(state);
        log.user_series_changed(self.parts.user_series());
    }
}

impl FleetEvents for Publisher {
    fn account_added(&self, account: Option<AccountId>) {
        let account_id = account.as_ref().map_or(UNKNOWN_ACCOUNT, AccountId::as_str);
        self.parts.account_known(account_id);
        self.state.update(|s| s.account(account_id, |_| ()));
    }

    fn account_left(&self, account: AccountId, departure: Departure) {
        let error = match departure {
            Departure::Suspended => SourceError::AccountSuspended,
            Departure::Left => SourceError::LeftOrganization,
            Departure::Excluded => SourceError::AccountExcluded,
        };
        self.check_failed(Some(account), Duration::ZERO, &error);
    }

    fn account_removed(&self, account: AccountId) {
        self.remove(account);
        tracing::info!(account_id = account.as_str(), "account is not checked any more, its series end");
    }

    fn last_state(&self, account: AccountId) -> Option<Arc<AccountState>> {
        lock(&self.snapshot).account(account).cloned()
    }

    fn targets_changed(&self, targets: &Targets, has_organization: bool) {
        self.metrics.organization_configured(has_organization);
        if targets.accounts.values().all(|target| target.account.is_some()) {
            // It is identified, or not checked any more.
            self.unknown_account_identified();
        }
        let is_complete = !has_organization || targets.states.is_some();
        if is_complete {
            self.state.update(Status::set_complete);
        }
        if let Some(states) = &targets.states {
            let unmatched = targets.notices.iter().filter(|n| matches!(n, Notice::UnmatchedFilter(_))).count();
            self.metrics.organization_accounts(states, unmatched);
        }
        lock(&self.log).targets_changed(targets);
        self.check_ended();
    }

    fn discovered(&self) {
        if self.config.borrow().settings.organization.is_some() {
            self.metrics.organization_listed(Timestamp::now());
        }
        lock(&self.log).discovered();
    }

    fn discovery_failed(&self, error: &DiscoveryError) {
        if self.config.borrow().settings.organization.is_some() {
            self.metrics.organization_failed(error.reason());
        }
        lock(&self.log).discovery_failed(error);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
