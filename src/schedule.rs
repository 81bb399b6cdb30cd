//! When to check and when to judge again: interval with jitter, back-off after failures, a deadline for each check,
//! and re-evaluation as time passes.

use crate::model::{Inventory, Timestamp};
use crate::policy::Policy;
use crate::policy::settings::format_duration;
use crate::source::{Request, Silent, Source, SourceError};
use crate::state::Snapshot;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

/// The first pause after a failed check; it doubles up to the interval.
const FIRST_RETRY: Duration = Duration::from_secs(5);
/// Wall clocks jump and machines sleep: no wait for a moment of the wall clock is longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub interval: Duration,
    pub timeout: Duration,
}

/// Where the scheduler's news go.
pub trait Board: Send + Sync {
    /// AWS has told which account it is.
    fn account_known(&self, account_id: &str);
    fn check_succeeded(&self, account_id: &str, took: Duration, facts_at: Timestamp);
    /// `account_id` is `None` as long as it is not known.
    fn check_failed(&self, account_id: Option<&str>, took: Duration, error: &SourceError);
    /// A snapshot to show from now on.
    fn publish(&self, snapshot: &Arc<Snapshot>);
}

/// Checks one account, again and again.
pub struct Scheduler {
    pub source: Arc<dyn Source>,
    pub timing: Timing,
    pub policy: watch::Receiver<Arc<Policy>>,
    pub board: Arc<dyn Board>,
    /// The wall clock.
    pub now: fn() -> Timestamp,
}

/// What has been learnt so far.
struct Known {
    account_id: Option<String>,
    snapshot: Arc<Snapshot>,
    failures_in_a_row: u32,
}

type Outcome = (Duration, Result<Looked, SourceError>);
type Check = BoxFuture<'static, Outcome>;

/// A check in two steps, so that the account is known before the long one.
enum Looked {
    Account(String),
    Facts(Box<Inventory>),
}

impl Scheduler {
    /// Runs until dropped. A check under way is then given up.
    pub async fn run(mut self) {
        let policy = self.policy.borrow_and_update().clone();
        let mut known = Known { account_id: None, snapshot: Arc::new(Snapshot::new(policy)), failures_in_a_row: 0 };
        let mut check: Option<Check> = Some(self.begin(&known));
        let mut next_check = Instant::now();
        loop {
            let judge_at = self.next_judgement(&known.snapshot);
            tokio::select! {
                outcome = async { check.as_mut().expect("the branch is guarded").await }, if check.is_some() => {
                    check = self.absorb(outcome, &mut known);
                    if check.is_none() {
                        next_check = Instant::now() + self.pause(known.failures_in_a_row);
                    }
                }
                () = sleep_until(next_check), if check.is_none() => check = Some(self.begin(&known)),
                () = sleep_until(judge_at.unwrap_or_else(Instant::now)), if judge_at.is_some() => {
                    let due = known.snapshot.next_change.is_some_and(|at| at <= (self.now)());
                    if due {
                        let policy = Arc::clone(&known.snapshot.policy);
                        self.judge_again(&mut known, policy);
                    }
                }
                changed = self.policy.changed() => {
                    // The sender lives as long as the program; without it nothing more will change.
                    if changed.is_err() {
                        std::future::pending::<()>().await;
                    }
                    let policy = self.policy.borrow_and_update().clone();
                    self.judge_again(&mut known, policy);
                }
            }
        }
    }

    fn begin(&self, known: &Known) -> Check {
        let source = Arc::clone(&self.source);
        let limit = self.timing.timeout;
        let account_known = known.account_id.is_some();
        let previous = known.snapshot.accounts.values().next().map(|facts| Arc::clone(&facts.inventory));
        Box::pin(async move {
            let started = Instant::now();
            let deadline = started + limit;
            let request = Request { previous, only_user: None, deadline, progress: Arc::new(Silent) };
            let look = async {
                if account_known {
                    source.collect(&request).await.map(|i| Looked::Facts(Box::new(i)))
                } else {
                    source.account().await.map(|a| Looked::Account(a.id))
                }
            };
            let result = timeout_at(deadline, look).await.unwrap_or_else(|_| Err(too_long(limit)));
            (started.elapsed(), result)
        })
    }

    /// Takes in what a check found; another one where the account was only just learnt.
    fn absorb(&self, (took, result): Outcome, known: &mut Known) -> Option<Check> {
        let expected = known.account_id.clone();
        let result = match result {
            Ok(Looked::Account(id)) => {
                self.board.account_known(&id);
                known.account_id = Some(id);
                return Some(self.begin(known));
            }
            Ok(Looked::Facts(inventory)) => match expected {
                Some(expected) if expected != inventory.account.id => {
                    Err(SourceError::AccountMismatch { expected, found: inventory.account.id })
                }
                _ => Ok(*inventory),
            },
            Err(error) => Err(error),
        };
        match result {
            Ok(inventory) => self.succeed(inventory, took, known),
            Err(error) => {
                known.failures_in_a_row = known.failures_in_a_row.saturating_add(1);
                self.board.check_failed(known.account_id.as_deref(), took, &error);
            }
        }
        None
    }

    fn succeed(&self, mut inventory: Inventory, took: Duration, known: &mut Known) {
        known.failures_in_a_row = 0;
        let (id, facts_at) = (inventory.account.id.clone(), inventory.facts_at);
        if let Some(before) = known.snapshot.accounts.get(&id) {
            inventory.keep_newer(&before.inventory);
        }
        known.snapshot = Arc::new(known.snapshot.with_facts(inventory, (self.now)()));
        // Facts first: whoever sees the account up finds them.
        self.board.publish(&known.snapshot);
        self.board.check_succeeded(&id, took, facts_at);
    }

    fn judge_again(&self, known: &mut Known, policy: Arc<Policy>) {
        known.snapshot = Arc::new(known.snapshot.reevaluated(policy, (self.now)()));
        self.board.publish(&known.snapshot);
    }

    fn next_judgement(&self, snapshot: &Snapshot) -> Option<Instant> {
        let at = snapshot.next_change?;
        let wait = Duration::try_from(at.duration_since((self.now)())).unwrap_or(Duration::ZERO);
        Some(Instant::now() + wait.min(LONGEST_WAIT))
    }

    fn pause(&self, failures: u32) -> Duration {
        let interval = self.timing.interval;
        let pause = match failures {
            0 => interval,
            n => FIRST_RETRY.saturating_mul(1_u32.checked_shl(n - 1).unwrap_or(u32::MAX)).min(interval),
        };
        // A tenth either way keeps many exporters from asking in step.
        pause.mul_f64(0.9 + 0.2 * fastrand::f64())
    }
}

/// A check that used up its time.
pub fn too_long(limit: Duration) -> SourceError {
    SourceError::Timeout(format!("the check took longer than --check.timeout={}", format_duration(limit)))
}

#[cfg(test)]
mod tests;
