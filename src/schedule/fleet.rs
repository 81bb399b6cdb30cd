//! Starts and stops a worker for each account, as the configuration and the organisation require.

mod discovery;
mod supervisor;

pub(super) use discovery::{discover, needs_discovery};

use super::pacing::Pacing;
use super::plan::{Timing, saturating_add};
use super::worker::Events;
use crate::accounts::{Departure, Directory, DiscoveryError, Key, Target, Targets};
use crate::config::Config;
use crate::config::accounts::OrganizationSection;
use crate::model::{Account, AccountId, Timestamp};
use crate::policy::Policy;
use crate::source::organization::Members;
use crate::source::{Source, SourceError};
use crate::state::AccountState;
use discovery::{Discovery, sleep_until_some};
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use supervisor::Supervisor;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Where the data of accounts come from.
pub trait Provider: Send + Sync {
    /// The source of an account's observations. Nothing is read or called yet.
    fn source(&self, target: &Target) -> Arc<dyn Source>;

    /// The account of the credentials, and with `organization` the accounts of the organisation.
    ///
    /// # Errors
    /// When AWS does not answer, or not completely.
    fn discover(&self, organization: Option<&OrganizationSection>) -> BoxFuture<'static, Discovered>;
}

/// Receives what happens to the list of accounts, beside the events of each account.
pub trait FleetEvents: Events {
    /// An account is checked from now on; `None` for that of the credentials, until it is identified.
    fn account_added(&self, account: Option<AccountId>);
    /// An account is not checked any more. Its last data stay until [`account_removed`](Self::account_removed).
    fn account_left(&self, account: AccountId, departure: Departure);
    /// The account is forgotten with all its data.
    fn account_removed(&self, account: AccountId);
    /// The last good state of an account; `None` if there is none.
    fn last_state(&self, account: AccountId) -> Option<Arc<AccountState>>;
    /// The accounts that are checked from now on. With `has_organization` and without states, the organisation has not
    /// been listed yet.
    fn targets_changed(&self, targets: &Targets, has_organization: bool);
    /// The account of the credentials is identified, and the organisation is listed.
    fn discovered(&self);
    /// The list of accounts could not be read, or is not believed. The last one stays in force.
    fn discovery_failed(&self, error: &DiscoveryError);
}

/// Checks all accounts for as long as the process runs.
pub struct Fleet {
    /// Where the data of accounts come from.
    pub provider: Arc<dyn Provider>,
    /// The configuration in force. Of a changed one, accounts and policy take effect.
    pub config: watch::Receiver<Arc<Config>>,
    /// The configured times of checks.
    pub timing: Timing,
    /// The limits that all workers share.
    pub pacing: Arc<Pacing>,
    /// Receives what happens.
    pub events: Arc<dyn FleetEvents>,
    /// The wall clock.
    pub now: fn() -> Timestamp,
}

impl Fleet {
    /// Runs until dropped, which ends all workers.
    pub async fn run(self) {
        let mut config = self.config.clone();
        let mut running = Running::new(self);
        running.reconcile().await;
        loop {
            let removal = running.next_removal();
            tokio::select! {
                discovered = running.discovery.next() => running.discovered(discovered),
                changed = config.changed() => {
                    if changed.is_err() {
                        // The process is ending.
                        std::future::pending::<()>().await;
                    }
                    let new = Arc::clone(&config.borrow_and_update());
                    running.reconfigure(new);
                }
                () = sleep_until_some(removal) => running.remove_due(),
            }
            running.reconcile().await;
        }
    }
}

struct Running {
    fleet: Fleet,
    /// The configuration in force.
    config: Arc<Config>,
    directory: Directory,
    /// The section that the listing of the directory was made for.
    organization: Option<OrganizationSection>,
    /// The directory at the last reconciliation, and the section that it was used with.
    reconciled: (Directory, Option<OrganizationSection>),
    discovery: Discovery,
    workers: BTreeMap<Key, Employed>,
    /// Accounts that left, with the time at which their data are removed.
    leaving: BTreeMap<AccountId, Instant>,
}

/// A running worker.
struct Employed {
    target: Target,
    /// `None` until it is identified.
    account: watch::Receiver<Option<AccountId>>,
    policy: watch::Sender<Arc<Policy>>,
    task: JoinHandle<()>,
}

impl Drop for Employed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    fn new(mut fleet: Fleet) -> Self {
        let config = Arc::clone(&fleet.config.borrow_and_update());
        Running {
            discovery: Discovery::new(Arc::clone(&fleet.provider), &config),
            organization: config.settings.organization.clone(),
            fleet,
            config,
            directory: Directory::default(),
            reconciled: Default::default(),
            workers: BTreeMap::new(),
            leaving: BTreeMap::new(),
        }
    }

    /// Takes another configuration over. Until the organisation is listed as that requires, its accounts stay.
    fn reconfigure(&mut self, config: Arc<Config>) {
        let organization = &config.settings.organization;
        if organization.is_none() {
            self.directory.forget_organization();
        }
        let lists_as_before = |(before, after): (&OrganizationSection, &OrganizationSection)| {
            before.discovery_role_arn == after.discovery_role_arn
                && Directory::wanted(before) == Directory::wanted(after)
        };
        if self.organization.as_ref().zip(organization.as_ref()).is_none_or(lists_as_before) {
            self.organization.clone_from(organization);
        }
        let discovery = Discovery::new(Arc::clone(&self.fleet.provider), &config);
        // A listing under way goes on. One that has to confirm another waits for its time, also if there are reloads.
        let is_same = discovery.organization == self.discovery.organization;
        if !is_same || self.discovery.running.is_none() && !self.directory.is_doubted() {
            self.discovery = discovery;
        }
        self.config = config;
    }

    fn discovered(&mut self, discovered: Discovered) {
        let organization = self.config.settings.organization.as_ref();
        let result = discovered.map_err(DiscoveryError::Source).and_then(|(own, members)| {
            self.directory.own_identified(own);
            let (Some(members), Some(organization)) = (members, organization) else { return Ok(()) };
            if self.organization.as_ref().map(|o| &o.discovery_role_arn) != Some(&organization.discovery_role_arn) {
                // It can be another organisation.
                self.directory.forget_organization();
            }
            let limit = organization.max_removed_percent.get();
            self.directory.listed(members, limit).map_err(DiscoveryError::Shrunken)
        });
        self.discovery.ended(result.as_ref().err());
        match &result {
            Ok(()) => {
                self.organization = organization.cloned();
                self.fleet.events.discovered();
            }
            Err(error) => self.fleet.events.discovery_failed(error),
        }
    }

    /// Starts and stops workers, so that there is one for each target.
    async fn reconcile(&mut self) {
        let targets = self.directory.targets(&self.config.settings, self.organization.as_ref(), self.config.shard);
        let gone: Vec<Key> = self.workers.keys().filter(|key| !targets.accounts.contains_key(key)).copied().collect();
        let kept: BTreeSet<AccountId> = targets.accounts.values().filter_map(|target| target.account).collect();
        for key in gone {
            self.stop(key, &kept).await;
        }
        for (key, target) in &targets.accounts {
            // A worker that does not know its account would report what happens as that of an unknown one.
            let is_unidentified = |worker: &Employed| worker.account.borrow().is_none();
            if target.account.is_some() && self.workers.get(key).is_some_and(is_unidentified) {
                self.dismiss(*key).await;
            }
            if !self.workers.contains_key(key) {
                self.fleet.events.account_added(target.account);
            }
        }
        // Before the first check of an account can end.
        self.fleet.events.targets_changed(&targets, self.organization.is_some());
        let base = Arc::clone(&self.config.policy);
        for (key, target) in &targets.accounts {
            self.start_or_update(*key, target, &base).await;
        }
        self.reconciled = (self.directory.clone(), self.organization.clone());
    }

    async fn start_or_update(&mut self, key: Key, target: &Target, base: &Arc<Policy>) {
        let policy = policy_of(target, base);
        if let Some(worker) = self.workers.get_mut(&key) {
            if worker.target.is_reached_as(target) {
                worker.target = target.clone();
                worker.policy.send_if_modified(|current| {
                    let is_other = **current != *policy;
                    *current = policy;
                    is_other
                });
                return;
            }
            self.dismiss(key).await;
        }
        if let Some(account) = target.account {
            self.leaving.remove(&account);
        }
        let (policy, receiver) = watch::channel(policy);
        let (identified, account) = watch::channel(target.account);
        let supervisor = Supervisor {
            key,
            target: target.clone(),
            provider: Arc::clone(&self.fleet.provider),
            timing: self.fleet.timing,
            pacing: Arc::clone(&self.fleet.pacing),
            policy: receiver,
            identified,
            events: Arc::clone(&self.fleet.events),
            now: self.fleet.now,
        };
        let worker = supervisor.worker();
        let task = tokio::spawn(supervisor.run(worker));
        self.workers.insert(key, Employed { target: target.clone(), account, policy, task });
    }

    /// Stops a worker without a target. An account of `kept` is checked by another worker.
    async fn stop(&mut self, key: Key, kept: &BTreeSet<AccountId>) {
        let Some(account) = self.dismiss(key).await.filter(|account| !kept.contains(account)) else { return };
        let (before, organization) = &self.reconciled;
        let departure = self.directory.departure(account, before, *organization == self.organization);
        match departure.zip(self.organization.as_ref()) {
            Some((departure, organization)) => {
                self.fleet.events.account_left(account, departure);
                self.leaving.insert(account, saturating_add(Instant::now(), organization.retention));
            }
            None => self.fleet.events.account_removed(account),
        }
    }

    /// Ends a worker, and waits until it has ended: it must not publish anything afterwards. Returns its account.
    async fn dismiss(&mut self, key: Key) -> Option<AccountId> {
        let mut worker = self.workers.remove(&key)?;
        worker.task.abort();
        // An error is the cancellation.
        let _ = (&mut worker.task).await;
        *worker.account.borrow()
    }

    fn next_removal(&self) -> Option<Instant> {
        self.leaving.values().min().copied()
    }

    fn remove_due(&mut self) {
        let now = Instant::now();
        let events = &self.fleet.events;
        let is_checked = |account| self.workers.values().any(|worker| *worker.account.borrow() == Some(account));
        self.leaving.retain(|account, at| {
            let is_kept = *at > now;
            if !is_kept && !is_checked(*account) {
                events.account_removed(*account);
            }
            is_kept
        });
    }
}

/// The policy with the settings of the account's rules.
pub(super) fn policy_of(target: &Target, base: &Arc<Policy>) -> Arc<Policy> {
    if target.rules == base.rules {
        Arc::clone(base)
    } else {
        Arc::new(Policy { rules: target.rules, ..Policy::clone(base) })
    }
}

/// The account of the credentials, and the accounts of the organisation if there is one.
pub type Discovered = Result<(Account, Option<Members>), SourceError>;

#[cfg(test)]
mod tests;
