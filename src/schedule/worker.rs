//! Checks one account for as long as the process runs.

use super::check::{Check, check_account};
use super::pacing::Pacing;
use super::phase::Phase;
use super::plan::{Action, Moment, Plan, Timing, saturating_add};
use crate::model::{Account, AccountId, Timestamp};
use crate::policy::Policy;
use crate::source::{NoProgress, Request, Source, SourceError};
use crate::state::AccountState;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Receives what happens to an account.
pub trait Events: Send + Sync {
    /// AWS, or the file, named the account. Called at every check.
    fn account_identified(&self, account: &Account);
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
    pub async fn run(mut self) {
        let mut plan = Plan::new(Instant::now());
        let mut state = self.state.take();
        let mut account = self.account.or_else(|| state.as_ref().map(|s| s.account.id));
        let mut check: Option<BoxFuture<'static, Ended>> = None;
        // The policy can be another one than that of the earlier worker.
        self.evaluate(&mut state, &mut plan);
        loop {
            let wake_up = match plan.next(Instant::now()) {
                Action::Check => {
                    plan.check_started(self.moment(account), self.timing);
                    check = Some(self.check(state.clone(), account));
                    continue;
                }
                Action::Overrun => {
                    plan.check_overran(self.timing);
                    self.events.check_overran(account);
                    continue;
                }
                Action::Evaluate => {
                    self.evaluate_if_due(&mut state, &mut plan);
                    continue;
                }
                Action::WaitUntil(at) => at,
            };
            let ended = async {
                match &mut check {
                    Some(check) => check.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                (took, identified, result) = ended => {
                    check = None;
                    account = identified.or(account);
                    plan.check_ended(result.is_ok(), self.moment(account), self.timing, fastrand::f64());
                    match result {
                        Ok(new) => self.succeeded(new, took, &mut state, &mut plan),
                        Err(error) => self.events.check_failed(account, took, &error),
                    }
                }
                () = policy_change(&mut self.policy) => self.evaluate(&mut state, &mut plan),
                () = sleep_until(wake_up) => {}
            }
        }
    }

    fn moment(&self, account: Option<AccountId>) -> Moment {
        Moment { now: Instant::now(), wall_clock: (self.now)(), phase: account.map(Phase::of) }
    }

    fn check(&self, previous: Option<Arc<AccountState>>, known: Option<AccountId>) -> BoxFuture<'static, Ended> {
        let source = Arc::clone(&self.source);
        let policy = Arc::clone(&self.policy.borrow());
        let events = Arc::clone(&self.events);
        let pacing = Arc::clone(&self.pacing);
        let reported = self.identified.clone();
        let (expected, limit, now) = (self.account, self.timing.timeout, self.now);
        Box::pin(async move {
            let _permit = pacing.check().await;
            // Time in the queue is not time of the check.
            let started = Instant::now();
            let deadline = saturating_add(started, limit);
            let details = policy.exemptions.needs(now());
            let request = Request { only_user: None, details, deadline, progress: Arc::new(NoProgress) };
            let account = std::sync::OnceLock::new();
            let identified = |a: &Account| {
                if let Some(other) = known.filter(|known| *known != a.id) {
                    events.account_forgotten(other);
                }
                let _ = account.set(a.id);
                reported.send_replace(Some(a.id));
                events.account_identified(a);
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

    fn succeeded(&self, new: AccountState, took: Duration, state: &mut Option<Arc<AccountState>>, plan: &mut Plan) {
        let (id, listed_at) = (new.account.id, new.listed_at().unwrap_or_default());
        *state = Some(Arc::new(new));
        // The policy can have changed while the check was running.
        self.evaluate(state, plan);
        self.events.check_succeeded(id, took, listed_at);
    }

    /// Evaluates the state at the current time, and publishes it.
    fn evaluate(&self, state: &mut Option<Arc<AccountState>>, plan: &mut Plan) {
        let Some(state) = state else { return };
        let now = (self.now)();
        let policy = Arc::clone(&self.policy.borrow());
        Arc::make_mut(state).evaluate(&policy, now);
        plan.evaluate_at(state.next_change(now), now, Instant::now());
        self.events.state_changed(state);
    }

    /// The wait for a wall-clock time is cut short; the time itself can still be ahead.
    fn evaluate_if_due(&self, state: &mut Option<Arc<AccountState>>, plan: &mut Plan) {
        if !plan.postpone_evaluation((self.now)(), Instant::now()) {
            self.evaluate(state, plan);
        }
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
