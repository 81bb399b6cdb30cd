//! Checks one account for as long as the process runs.

mod sweep;

use super::check::{Check, check_account};
use super::pacing::Pacing;
use super::phase::Phase;
use super::plan::{Action, Moment, Plan, Timing, saturating_add};
use crate::model::{Account, AccountId, Collector, Timestamp};
use crate::policy::Policy;
use crate::source::{KnownReport, NoProgress, Request, Source, SourceError};
use crate::state::AccountState;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use sweep::Sweep;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// A check that fails after so long a time has held a permit for it: requests hang.
const LONG: Duration = Duration::from_secs(20);

/// Receives what happens to an account.
pub trait Events: Send + Sync {
    /// AWS, or the file, named the account. Called at every check.
    fn account_identified(&self, account: &Account);
    /// The account that was not identified before is, after [`account_identified`](Self::account_identified).
    fn unknown_account_identified(&self) {}
    /// The credentials belong to another account than before, of which no check has succeeded.
    fn account_forgotten(&self, account: AccountId);
    /// A check ended after `took`; its listing was true at `listed_at`.
    fn check_succeeded(&self, account: AccountId, took: Duration, listed_at: Timestamp);
    /// A check failed after `took`; `account` is `None` as long as it is not identified.
    fn check_failed(&self, account: Option<AccountId>, took: Duration, error: &SourceError);
    /// A new state to publish. It precedes [`check_succeeded`](Self::check_succeeded).
    fn state_changed(&self, state: &Arc<AccountState>);
    /// A check was due while the one before it was running, or waiting until it may; `account` is `None` as long as it
    /// is not identified.
    fn check_overran(&self, _account: Option<AccountId>) {}
    /// A state that was just published shows a key that was created so long ago, and that was not known before.
    fn key_detected(&self, _delay: Duration) {}
    /// The oldest observation of a user of the account was true at this time. Called when it moves noticeably.
    fn oldest_observation(&self, _account: AccountId, _at: Timestamp) {}
    /// AWS has throttled so many more requests.
    fn requests_throttled(&self, _account: AccountId, _requests: u64) {}
    /// Users could not be read between checks; `is_new` when the reason is another one than before.
    fn sweep_failed(&self, _account: AccountId, _error: &SourceError, _is_new: bool) {}
    /// Users can be read between checks again.
    fn sweep_recovered(&self, _account: AccountId) {}
}

/// Checks one account, and evaluates it again as time passes or the policy changes.
pub struct Worker {
    /// The account to check; `None` for that of the credentials or the file.
    pub account: Option<AccountId>,
    /// The state that an earlier worker of this account left; `None` if there is none.
    pub state: Option<Arc<AccountState>>,
    /// Receives the account as soon as it is identified.
    pub identified: watch::Sender<Option<AccountId>>,
    /// Where observations come from.
    pub source: Arc<dyn Source>,
    /// The configured times of checks.
    pub timing: Timing,
    /// The limits that all workers of the process share.
    pub pacing: Arc<Pacing>,
    /// The policy in force; a change is applied at once.
    pub policy: watch::Receiver<Arc<Policy>>,
    /// Receives what happens.
    pub events: Arc<dyn Events>,
    /// The wall clock.
    pub now: fn() -> Timestamp,
}

/// How a check ended: its duration, the account if it was identified, and the result.
type Ended = (Duration, Option<AccountId>, Result<AccountState, SourceError>);

impl Worker {
    /// Runs until dropped, which cancels a running check.
    pub async fn run(self) {
        Run::new(self).run().await;
    }

    /// `has_hung` is whether the last check failed after a long time.
    fn check(
        &self,
        previous: Option<Arc<AccountState>>,
        known: Option<AccountId>,
        has_hung: bool,
    ) -> BoxFuture<'static, Ended> {
        let source = Arc::clone(&self.source);
        let policy = Arc::clone(&self.policy.borrow());
        let events = Arc::clone(&self.events);
        let pacing = Arc::clone(&self.pacing);
        let reported = self.identified.clone();
        let (expected, limit, now) = (self.account, self.timing.timeout, self.now);
        Box::pin(async move {
            let _permits = if has_hung { (None, pacing.check_again().await) } else { (pacing.check().await, None) };
            // Time in the queue is not time of the check.
            let started = Instant::now();
            let deadline = saturating_add(started, limit);
            let details = policy.exemptions.needs(now());
            let known_report = previous.as_deref().and_then(known_report);
            let progress = Arc::new(NoProgress);
            let request = Request { only_user: None, details, known_report, deadline, progress };
            let account = std::sync::OnceLock::new();
            let identified = |a: &Account| {
                if let Some(other) = known.filter(|known| *known != a.id) {
                    events.account_forgotten(other);
                }
                let _ = account.set(a.id);
                let before = reported.send_replace(Some(a.id));
                events.account_identified(a);
                if before.is_none() {
                    events.unknown_account_identified();
                }
            };
            let check = Check {
                source: &*source,
                expected,
                previous: previous.as_deref(),
                policy: &policy,
                now,
                identified: &identified,
            };
            let result = check_account(check, &request, limit).await;
            (started.elapsed(), account.get().copied(), result)
        })
    }
}

/// A worker at work.
struct Run {
    worker: Worker,
    plan: Plan,
    state: Option<Arc<AccountState>>,
    account: Option<AccountId>,
    check: Option<BoxFuture<'static, Ended>>,
    /// Whether the last check failed after a long time.
    has_hung: bool,
    sweep: Sweep,
    /// Keys that were created earlier are not new: the account was not checked then.
    started: Timestamp,
    /// The oldest observation as it was last reported.
    oldest: Option<Timestamp>,
    /// The number of throttled requests as it was last reported.
    throttled: u64,
}

impl Run {
    fn new(mut worker: Worker) -> Self {
        let state = worker.state.take();
        Run {
            plan: Plan::new(Instant::now()),
            account: worker.account.or_else(|| state.as_ref().map(|s| s.account.id)),
            state,
            check: None,
            has_hung: false,
            sweep: Sweep::default(),
            started: (worker.now)(),
            oldest: None,
            throttled: 0,
            worker,
        }
    }

    async fn run(mut self) {
        // The policy can be another one than that of the earlier worker.
        self.evaluate();
        loop {
            match self.plan.next(Instant::now()) {
                Action::Check => self.start_check(),
                Action::Overrun => {
                    self.plan.check_overran(self.worker.timing, Instant::now());
                    self.worker.events.check_overran(self.known_account());
                }
                Action::Evaluate => self.evaluate_if_due(),
                Action::Sweep => self.start_sweep(),
                Action::WaitUntil(at) => self.wait(at).await,
            }
            self.report_throttling();
        }
    }

    async fn wait(&mut self, until: Instant) {
        tokio::select! {
            ended = optional(&mut self.check) => self.check_ended(ended),
            part = self.sweep.ended() => self.sweep_ended(part),
            () = policy_change(&mut self.worker.policy) => self.evaluate(),
            () = sleep_until(until) => {}
        }
    }

    fn moment(&self) -> Moment {
        Moment { now: Instant::now(), wall_clock: (self.worker.now)(), phase: self.account.map(Phase::of) }
    }

    fn start_check(&mut self) {
        self.sweep.stop();
        self.plan.check_started(self.moment(), self.worker.timing);
        self.check = Some(self.worker.check(self.state.clone(), self.account, self.has_hung));
    }

    fn check_ended(&mut self, (took, identified, result): Ended) {
        self.check = None;
        self.account = identified.or(self.account);
        self.has_hung = result.is_err() && took >= LONG;
        self.plan.check_ended(result.is_ok(), self.moment(), self.worker.timing, fastrand::f64());
        match result {
            Ok(new) => {
                let (id, listed_at) = (new.account.id, new.listed_at().unwrap_or_default());
                // The policy can have changed while the check was running.
                self.replace(new);
                self.worker.events.check_succeeded(id, took, listed_at);
                self.plan_sweep();
            }
            Err(error) => self.worker.events.check_failed(self.known_account(), took, &error),
        }
    }

    /// Publishes a new state, and reports the new keys that it shows.
    fn replace(&mut self, new: AccountState) {
        let new_keys = new.new_keys(self.state.as_deref(), self.started);
        self.state = Some(Arc::new(new));
        self.evaluate();
        let now = (self.worker.now)();
        for created in new_keys {
            self.worker.events.key_detected(Duration::try_from(now.duration_since(created)).unwrap_or_default());
        }
        self.oldest = None;
        self.report_oldest();
    }

    /// Evaluates the state at the current time, and publishes it.
    fn evaluate(&mut self) {
        let Some(state) = &mut self.state else { return };
        let now = (self.worker.now)();
        let policy = Arc::clone(&self.worker.policy.borrow());
        Arc::make_mut(state).evaluate(&policy, now);
        self.plan.evaluate_at(state.next_change(now), now, Instant::now());
        self.worker.events.state_changed(state);
    }

    /// The wait for a wall-clock time is cut short; the time itself can still be ahead.
    fn evaluate_if_due(&mut self) {
        if !self.plan.postpone_evaluation((self.worker.now)(), Instant::now()) {
            self.evaluate();
        }
    }

    /// Reports the oldest observation if it moved by a tenth of the interval or more: the sweep moves it all the time.
    fn report_oldest(&mut self) {
        let Some(state) = &self.state else { return };
        let Some(oldest) = state.oldest_observation() else { return };
        let step = self.worker.timing.interval.as_secs_f64() / 10.0;
        if self.oldest.is_none_or(|last| oldest.duration_since(last).as_secs_f64().abs() >= step) {
            self.oldest = Some(oldest);
            self.worker.events.oldest_observation(state.account.id, oldest);
        }
    }

    /// A running check may have identified it, or the discovery.
    fn known_account(&self) -> Option<AccountId> {
        self.worker.identified.borrow().or(self.account)
    }

    /// Also while a check is running: one that is throttled can take long.
    fn report_throttling(&mut self) {
        let total = self.worker.source.throttled_requests();
        if let (Some(account), Some(new)) =
            (self.known_account(), total.checked_sub(self.throttled).filter(|new| *new > 0))
        {
            self.throttled = total;
            self.worker.events.requests_throttled(account, new);
        }
    }
}

fn known_report(state: &AccountState) -> Option<KnownReport> {
    let generated_at = state.listed_at().filter(|_| state.collector() == Some(Collector::Report))?;
    Some(KnownReport { generated_at, users: state.users().len() })
}

/// The result of a future that is running, if there is one. The future stays: it is not to be polled after its end.
async fn optional<T>(running: &mut Option<BoxFuture<'static, T>>) -> T {
    match running {
        Some(running) => running.await,
        None => std::future::pending().await,
    }
}

/// Waits for a change of the policy; for ever when the sender is gone.
async fn policy_change(policy: &mut watch::Receiver<Arc<Policy>>) {
    if policy.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests;
