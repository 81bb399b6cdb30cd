//! When the accounts are listed, and one listing.

use super::{Discovered, Provider};
use crate::accounts::DiscoveryError;
use crate::config::Config;
use crate::config::accounts::OrganizationSection;
use crate::config::settings::Settings;
use crate::config::shard::Shard;
use crate::model::Access;
use crate::schedule::plan::saturating_add;
use crate::source::SourceError;
use crate::source::retry::spread;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// Whether the accounts to check follow from an answer of AWS.
pub(in super::super) fn needs_discovery(settings: &Settings, shard: Shard) -> bool {
    // With nothing else, the check of the account of the credentials identifies it.
    let is_alone = settings.accounts.iter().all(|entry| entry.access == Access::Own) && shard == Shard::ALL;
    // Settings of one account are found by its ID. The configuration refuses them for a file.
    settings.organization.is_some() || !settings.account_overrides.is_empty() || !is_alone
}

/// One listing, which fails after `limit`. A panic fails it, too.
pub(in super::super) fn discover(
    provider: &dyn Provider,
    organization: Option<&OrganizationSection>,
    limit: Duration,
) -> BoxFuture<'static, Discovered> {
    let listing = AssertUnwindSafe(provider.discover(organization)).catch_unwind();
    let late = move |_| SourceError::Timeout(format!("the listing took longer than {} s", limit.as_secs()));
    Box::pin(async move { timeout(limit, listing).await.map_err(late)?.unwrap_or(Err(SourceError::Internal)) })
}

/// Lists the accounts again and again.
pub(super) struct Discovery {
    provider: Arc<dyn Provider>,
    pub(super) organization: Option<OrganizationSection>,
    /// The longest time that a listing may take.
    limit: Duration,
    /// When the next listing is due; `None` while one is running, and when none is needed.
    next: Option<Instant>,
    pub(super) running: Option<BoxFuture<'static, Discovered>>,
    failures_in_a_row: u32,
}

impl Discovery {
    pub(super) fn new(provider: Arc<dyn Provider>, config: &Config) -> Self {
        let settings = &config.settings;
        Discovery {
            provider,
            organization: settings.organization.clone(),
            limit: settings.check.timeout.0,
            next: needs_discovery(settings, config.shard).then(Instant::now),
            running: None,
            failures_in_a_row: 0,
        }
    }

    /// The result of the next listing. A caller may stop waiting at any time, and call again.
    pub(super) async fn next(&mut self) -> Discovered {
        let running = match &mut self.running {
            Some(running) => running,
            None => {
                sleep_until_some(self.next).await;
                self.next = None;
                self.running.insert(discover(&*self.provider, self.organization.as_ref(), self.limit))
            }
        };
        let result = running.await;
        self.running = None;
        result
    }

    /// Plans the next listing.
    pub(super) fn ended(&mut self, error: Option<&DiscoveryError>) {
        let refresh_interval = self.organization.as_ref().map(|o| o.refresh_interval.0);
        self.failures_in_a_row = if error.is_some() { self.failures_in_a_row.saturating_add(1) } else { 0 };
        let pause = match error {
            Some(error) => {
                Some(error.pause(self.failures_in_a_row, refresh_interval.unwrap_or(Duration::from_secs(300))))
            }
            // Credentials of one process stay those of one account, and each check confirms that.
            None => refresh_interval,
        };
        self.next = pause.map(|pause| saturating_add(Instant::now(), spread(pause, fastrand::f64())));
    }
}

pub(super) async fn sleep_until_some(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
