//! The sweep: between checks, users are read live, the one that was not read for the longest time first.

use super::{Run, optional};
use crate::model::{Account, Timestamp, UserName};
use crate::schedule::pacing::Pacing;
use crate::schedule::plan::saturating_add;
use crate::source::{Source, SourceError, Swept};
use crate::state::{AccountState, Place};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// A part of the sweep is so many users as may be read in this time. It is short: the next part follows the state as
/// it is then, and a check does not wait for much.
const PART: Duration = Duration::from_secs(5);
/// The largest number of users in a part.
const MOST_USERS: f64 = 100.0;
/// Requests of one account in flight per request and second, so that high rates are reached.
const IN_FLIGHT_PER_RATE: f64 = 0.1;
/// A part that takes longer has failed.
const LONGEST: Duration = Duration::from_secs(60);
/// Until the next attempt when accounts wait for their check, or when no user is old enough.
const POSTPONED: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The sweep of one account.
#[derive(Default)]
pub(super) struct Sweep {
    running: Option<BoxFuture<'static, Part>>,
    /// The last user that was tried since the sweep began at the oldest one: users that cannot be read stay old, and must
    /// not be the only ones that are tried.
    after: Option<Place>,
    /// Why the last part failed, so that a lasting failure is reported once.
    failure: Option<&'static str>,
}

/// A part of the sweep that has ended.
pub(super) struct Part {
    started: Instant,
    places: Vec<Place>,
    swept: Swept,
}

impl Sweep {
    /// The running part, for ever if there is none.
    pub(super) async fn ended(&mut self) -> Part {
        let part = optional(&mut self.running).await;
        self.running = None;
        part
    }

    /// A check is due: what was read so far is dropped.
    pub(super) fn stop(&mut self) {
        self.running = None;
    }
}

impl Run {
    /// Whether the account is swept at all.
    fn sweeps(&self) -> bool {
        self.worker.timing.sweep_per_second > 0.0 && self.worker.source.can_recheck()
    }

    /// After a check.
    pub(super) fn plan_sweep(&mut self) {
        if self.sweeps() {
            self.plan.sweep_at(Instant::now());
        }
    }

    pub(super) fn start_sweep(&mut self) {
        let now = Instant::now();
        let Some(state) = self.state.clone().filter(|_| !self.worker.pacing.is_busy()) else {
            return self.plan.sweep_at(saturating_add(now, POSTPONED));
        };
        let rate = self.worker.timing.sweep_per_second;
        let most = (rate * PART.as_secs_f64()).ceil().clamp(1.0, MOST_USERS) as usize;
        let places = state.read_before(self.stale_before(), self.sweep.after.as_ref(), most);
        if places.is_empty() {
            // With the oldest user again.
            let is_over = self.sweep.after.take().is_none();
            let pause = if is_over { self.until_stale(&state) } else { PART };
            return self.plan.sweep_at(saturating_add(now, pause));
        }
        let (source, pacing) = (Arc::clone(&self.worker.source), Arc::clone(&self.worker.pacing));
        let at_once = pacing.sweep_at_once((rate * IN_FLIGHT_PER_RATE).ceil().max(1.0) as u32);
        self.plan.sweep_started();
        self.sweep.running = Some(Box::pin(read(source, pacing, state.account.clone(), places, at_once)));
    }

    /// Users that were read since then are not read again.
    fn stale_before(&self) -> Timestamp {
        (self.worker.now)().checked_sub(self.worker.timing.interval).unwrap_or(Timestamp::MIN)
    }

    /// Until a user was last read an interval ago.
    fn until_stale(&self, state: &AccountState) -> Duration {
        let stale_at = state.least_recently_read().and_then(|at| at.checked_add(self.worker.timing.interval).ok());
        let wait = stale_at.and_then(|at| Duration::try_from(at.duration_since((self.worker.now)())).ok());
        wait.unwrap_or_default().clamp(POSTPONED, LONGEST_PAUSE)
    }

    pub(super) fn sweep_ended(&mut self, part: Part) {
        let Part { started, places, swept } = part;
        let Some(state) = self.state.as_ref().map(Arc::clone) else { return };
        let is_stopped = swept.attempted < places.len() || swept.observations.is_empty();
        if let Some(last) = swept.attempted.checked_sub(1).and_then(|last| places.get(last)) {
            self.sweep.after = Some(last.clone());
        }
        if swept.failure.is_some() && is_stopped {
            if matches!(swept.failure, Some(SourceError::AccessDenied { .. })) {
                // Users that are denied stay the oldest ones. Others may be readable: the next part is elsewhere.
                self.sweep.after = state.any_read_before(self.stale_before(), fastrand::usize(..));
            }
            self.plan.sweep_failed(Instant::now(), self.worker.timing, fastrand::f64());
        } else {
            let took = swept.attempted as f64 / self.worker.timing.sweep_per_second;
            let took = Duration::try_from_secs_f64(took).unwrap_or(LONGEST_PAUSE);
            self.plan.sweep_succeeded(saturating_add(started, took));
        }
        self.report_sweep(&state, swept.failure.as_ref());
        if !swept.observations.is_empty() {
            self.apply_swept(&state, swept, &places);
        }
    }

    fn report_sweep(&mut self, state: &AccountState, failure: Option<&SourceError>) {
        let reason = failure.map(SourceError::reason);
        let is_new = std::mem::replace(&mut self.sweep.failure, reason) != reason;
        match failure {
            Some(error) => self.worker.events.sweep_failed(state.account.id, error, is_new),
            None if is_new => self.worker.events.sweep_recovered(state.account.id),
            None => {}
        }
    }

    /// Most answers are as expected, and published with the next check.
    fn apply_swept(&mut self, old: &Arc<AccountState>, swept: Swept, places: &[Place]) {
        let mut new = AccountState::clone(old);
        for observation in swept.observations {
            new.apply(observation);
        }
        let policy = Arc::clone(&self.worker.policy.borrow());
        new.evaluate(&policy, (self.worker.now)());
        if places.iter().all(|(_, name)| new.shows_same(old, name)) {
            self.state = Some(Arc::new(new));
            self.report_oldest();
        } else {
            self.replace(new);
        }
    }
}

/// Reads users when it is the account's turn.
async fn read(
    source: Arc<dyn Source>,
    pacing: Arc<Pacing>,
    account: Account,
    places: Vec<Place>,
    at_once: u32,
) -> Part {
    let users: Vec<UserName> = places.iter().map(|(_, name)| name.clone()).collect();
    let _permits = pacing.sweep(at_once).await;
    let started = Instant::now();
    let swept = timeout(LONGEST, source.sweep(&account, users, at_once as usize)).await.unwrap_or_else(|_| Swept {
        failure: Some(SourceError::Timeout("users were not read in the time of the sweep".into())),
        ..Swept::default()
    });
    Part { started, places, swept }
}

#[cfg(test)]
mod tests;
