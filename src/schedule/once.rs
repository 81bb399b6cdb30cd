//! One pass over all accounts, within the limits of `serve`, and without its times.

use super::check::{Check, check_account};
use super::fleet::{Provider, discover, needs_discovery, policy_of};
use super::pacing::Pacing;
use crate::accounts::{Directory, DiscoveryError, Key, Target, Targets};
use crate::config::settings::Settings;
use crate::config::shard::Shard;
use crate::model::Timestamp;
use crate::policy::Policy;
use crate::source::{Progress, Request, SourceError};
use crate::state::AccountState;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The accounts of a configuration.
#[derive(Debug, Default)]
pub struct Found {
    /// What AWS answered.
    pub directory: Directory,
    /// The accounts to check, as far as they are known.
    pub targets: Targets,
    /// Why accounts can be missing.
    pub failure: Option<DiscoveryError>,
}

impl Found {
    /// Lists the accounts, if that takes a request.
    pub async fn list(provider: &dyn Provider, settings: &Settings) -> Found {
        let organization = settings.organization.as_ref();
        let mut found = Found::default();
        if needs_discovery(settings, Shard::ALL) {
            match discover(provider, organization, settings.check.timeout.0).await {
                Ok((own, members)) => {
                    found.directory.own_identified(own);
                    if let Some((members, section)) = members.zip(organization) {
                        let listed = found.directory.listed(members, section.max_removed_percent.get());
                        found.failure = listed.err().map(DiscoveryError::Shrunken);
                    }
                }
                Err(error) => found.failure = Some(DiscoveryError::Source(error)),
            }
        }
        found.targets = found.directory.targets(settings, organization, Shard::ALL);
        found
    }
}

/// Does the same for each account, of as many at once as are admitted. The results are in the order of the accounts; that of
/// work which panics is `panicked`.
pub async fn each<T: Send + 'static>(
    targets: BTreeMap<Key, Target>,
    pacing: &Arc<Pacing>,
    work: impl Fn(Key, Target) -> BoxFuture<'static, T>,
    panicked: impl Fn(Target) -> T,
) -> Vec<T> {
    let started = targets.into_iter().map(|(key, target)| {
        let (pacing, work) = (Arc::clone(pacing), work(key, target.clone()));
        let task = tokio::spawn(async move {
            let _permit = pacing.check().await;
            work.await
        });
        (target, task)
    });
    let tasks: Vec<_> = started.collect();
    let mut results = Vec::with_capacity(tasks.len());
    for (target, task) in tasks {
        // No task is cancelled: an error is a panic, which the hook has logged.
        results.push(task.await.unwrap_or_else(|_| panicked(target)));
    }
    results
}

/// Receives the progress of checks, for display.
pub trait ChecksProgress: Send + Sync {
    /// The check of an account begins.
    fn started(&self, target: &Target) -> Arc<dyn Progress>;
    /// The check of an account has ended.
    fn ended(&self);
}

/// What one check of each account needs.
pub struct Once {
    /// Where the data of accounts come from.
    pub provider: Arc<dyn Provider>,
    /// The limits over all accounts.
    pub pacing: Arc<Pacing>,
    /// The policy, before the settings of single accounts.
    pub policy: Arc<Policy>,
    /// The longest time of the check of one account.
    pub timeout: Duration,
    /// Only this user is checked; `None` for all users.
    pub only_user: Option<String>,
    /// Receives the progress.
    pub progress: Arc<dyn ChecksProgress>,
    /// The wall clock.
    pub now: fn() -> Timestamp,
}

/// How the check of an account ended.
pub struct Checked {
    /// The account.
    pub target: Target,
    /// The state of the account.
    pub result: Result<Arc<AccountState>, SourceError>,
}

impl Once {
    /// Checks each account once.
    pub async fn check(self, targets: BTreeMap<Key, Target>) -> Vec<Checked> {
        let pacing = Arc::clone(&self.pacing);
        let this = Arc::new(self);
        let panicked = |target| Checked { target, result: Err(SourceError::Internal) };
        each(targets, &pacing, |key, target| Box::pin(Arc::clone(&this).one(key, target)), panicked).await
    }

    async fn one(self: Arc<Self>, key: Key, target: Target) -> Checked {
        // A timeout is at most a year: the deadline exists.
        let started = Instant::now();
        let policy = policy_of(&target, &self.policy);
        let request = Request {
            only_user: self.only_user.clone(),
            details: policy.exemptions.needs((self.now)()),
            known_report: None,
            deadline: started.checked_add(self.timeout).unwrap_or(started),
            progress: self.progress.started(&target),
        };
        let source = self.provider.source(&target);
        let check = Check {
            source: &*source,
            expected: key.account(),
            previous: None,
            policy: &policy,
            now: self.now,
            identified: &|_| (),
        };
        let result = check_account(check, &request, self.timeout).await.map(Arc::new);
        self.progress.ended();
        Checked { target, result }
    }
}
