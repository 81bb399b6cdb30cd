//! A panic ends the worker of one account, and nothing else: it counts as a failed check, and the worker starts again.

use super::{FleetEvents, Provider};
use crate::accounts::{Key, Target};
use crate::model::{AccountId, Timestamp};
use crate::policy::Policy;
use crate::schedule::pacing::Pacing;
use crate::schedule::plan::{FIRST_RETRY, Timing};
use crate::schedule::worker::{Events, Worker};
use crate::source::SourceError;
use crate::source::retry::{backoff, spread};
use futures_util::FutureExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// What the worker of an account is made of.
pub(super) struct Supervisor {
    pub(super) key: Key,
    pub(super) target: Target,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) timing: Timing,
    pub(super) pacing: Arc<Pacing>,
    pub(super) policy: watch::Receiver<Arc<Policy>>,
    pub(super) identified: watch::Sender<Option<AccountId>>,
    pub(super) events: Arc<dyn FleetEvents>,
    pub(super) now: fn() -> Timestamp,
}

impl Supervisor {
    /// A worker that continues with the last good state of the account.
    pub(super) fn worker(&self) -> Worker {
        let known = *self.identified.borrow();
        Worker {
            // The account of the credentials is the one that the credentials belong to, at any time.
            account: self.key.account(),
            state: known.and_then(|account| self.events.last_state(account)),
            identified: self.identified.clone(),
            source: self.provider.source(&self.target),
            timing: self.timing,
            pacing: Arc::clone(&self.pacing),
            policy: self.policy.clone(),
            events: Arc::clone(&self.events) as Arc<dyn Events>,
            now: self.now,
        }
    }

    /// Runs until dropped, first with this worker. After a panic the next one starts after a pause, which doubles up to the
    /// interval of checks while workers end within an interval.
    pub(super) async fn run(self, first: Worker) {
        let (mut first, mut failures_in_a_row) = (Some(first), 0_u32);
        loop {
            let started = Instant::now();
            let next = first.take();
            // What a worker leaves behind is under locks that are valid after a panic, or is dropped with it.
            let running = AssertUnwindSafe(async { next.unwrap_or_else(|| self.worker()).run().await });
            // The panic hook has logged it.
            let _ = running.catch_unwind().await;
            self.report();
            let lasted = started.elapsed() >= self.timing.interval;
            failures_in_a_row = if lasted { 1 } else { failures_in_a_row.saturating_add(1) };
            sleep(spread(backoff(FIRST_RETRY, self.timing.interval, failures_in_a_row), fastrand::f64())).await;
        }
    }

    fn report(&self) {
        let account = *self.identified.borrow();
        let report = || self.events.check_failed(account, Duration::ZERO, &SourceError::Internal);
        // If this panics as well, the worker still starts again.
        let _ = catch_unwind(AssertUnwindSafe(report));
    }
}
