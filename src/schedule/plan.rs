//! What a worker does next: a pure function of its plan and the time.

use crate::model::Timestamp;
use std::time::Duration;
use tokio::time::Instant;

/// The first pause after a failed check; it doubles up to the interval.
const FIRST_RETRY: Duration = Duration::from_secs(5);
/// Wall clocks are adjusted and machines are suspended: no wait for a wall-clock time is longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The configured times of checks.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Time between two checks, before jitter.
    pub interval: Duration,
    /// The longest time that a check may take.
    pub timeout: Duration,
}

/// What a worker does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Starts a check.
    Check,
    /// Evaluates the state again: a verdict can have changed by the passing of time.
    Evaluate,
    /// Nothing is due before this time.
    WaitUntil(Instant),
}

/// When things are due.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// `None` while a check is running.
    next_check: Option<Instant>,
    /// The wall-clock time at which a verdict can change, and when to read the wall clock again.
    next_evaluation: Option<(Timestamp, Instant)>,
    failures_in_a_row: u32,
}

impl Plan {
    /// The first check is due at once.
    pub fn new(now: Instant) -> Self {
        Plan { next_check: Some(now), next_evaluation: None, failures_in_a_row: 0 }
    }

    /// What is due at this time.
    pub fn next(&self, now: Instant) -> Action {
        if self.next_check.is_some_and(|at| at <= now) {
            return Action::Check;
        }
        if self.next_evaluation.is_some_and(|(_, at)| at <= now) {
            return Action::Evaluate;
        }
        let due = self.next_check.into_iter().chain(self.next_evaluation.map(|(_, at)| at)).min();
        Action::WaitUntil(due.unwrap_or_else(|| saturating_add(now, LONGEST_WAIT)))
    }

    /// A check is running: none is due until it ends.
    pub fn check_started(&mut self) {
        self.next_check = None;
    }

    /// Plans the next check: after the interval, and after a failure in 5 seconds, doubled for each further failure up
    /// to the interval. `jitter` from 0 to 1 stands for -10 % to +10 % of that: many exporters must not call AWS in
    /// step.
    pub fn check_ended(&mut self, succeeded: bool, now: Instant, timing: Timing, jitter: f64) {
        self.failures_in_a_row = if succeeded { 0 } else { self.failures_in_a_row.saturating_add(1) };
        let pause = match self.failures_in_a_row {
            0 => timing.interval,
            n => FIRST_RETRY
                .saturating_mul(1_u32.checked_shl(n.saturating_sub(1)).unwrap_or(u32::MAX))
                .min(timing.interval),
        };
        let pause = Duration::try_from_secs_f64(pause.as_secs_f64() * (0.9 + 0.2 * jitter)).unwrap_or(pause);
        self.next_check = Some(saturating_add(now, pause));
    }

    /// Plans the next evaluation; `at` is the time at which a verdict can change, `None` if none can.
    pub fn evaluate_at(&mut self, at: Option<Timestamp>, wall_clock: Timestamp, now: Instant) {
        self.next_evaluation = at.map(|at| {
            let wait = Duration::try_from(at.duration_since(wall_clock)).unwrap_or_default();
            (at, saturating_add(now, wait.min(LONGEST_WAIT)))
        });
    }

    /// Waits again if the planned evaluation is still in the future by the wall clock. Returns whether it is.
    pub fn postpone_evaluation(&mut self, wall_clock: Timestamp, now: Instant) -> bool {
        match self.next_evaluation {
            Some((at, _)) if at > wall_clock => {
                self.evaluate_at(Some(at), wall_clock, now);
                true
            }
            _ => false,
        }
    }
}

/// An instant is at most some centuries away.
pub(super) fn saturating_add(now: Instant, duration: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);
    now.checked_add(duration).or_else(|| now.checked_add(CENTURY)).unwrap_or(now)
}
