//! What a worker does next: a pure function of its plan and the time.

use super::phase::Phase;
use crate::model::Timestamp;
use crate::source::retry::{backoff, spread};
use std::time::Duration;
use tokio::time::Instant;

/// The first pause after a failed check; it doubles up to the interval.
pub(super) const FIRST_RETRY: Duration = Duration::from_secs(5);
/// Wall clocks are adjusted and machines are suspended: no wait for a wall-clock time is longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A check that is running goes on for so long before the next one is left out.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);

/// The configured times of checks.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Time between two checks.
    pub interval: Duration,
    /// The longest time that a check may take, from the moment at which it may run.
    pub timeout: Duration,
    /// Requests per second with which users are read between checks; 0 for none.
    pub sweep_per_second: f64,
}

/// A moment by both clocks, and when the account is due by its ID; `None` while that is not known.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// By the clock that is never adjusted.
    pub now: Instant,
    /// By the wall clock.
    pub wall_clock: Timestamp,
    /// Of the account.
    pub phase: Option<Phase>,
}

impl Moment {
    /// The first time at which the account is due, `earliest` from now at the soonest.
    fn due_after(self, earliest: Duration, interval: Duration) -> Instant {
        let at = saturating_add(self.now, earliest);
        let from = self.wall_clock.checked_add(earliest).unwrap_or(Timestamp::MAX);
        self.phase.map_or(at, |phase| saturating_add(at, phase.wait(interval, from)))
    }
}

/// What a worker does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Starts a check.
    Check,
    /// Another check is due while one is running or waiting: it is left out.
    Overrun,
    /// Evaluates the state again: a verdict can have changed by the passing of time.
    Evaluate,
    /// Reads some users live: there is nothing else to do.
    Sweep,
    /// Nothing is due before this time.
    WaitUntil(Instant),
}

/// When things are due.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    check: PlannedCheck,
    /// The wall-clock time at which a verdict can change, and when to read the wall clock again.
    next_evaluation: Option<(Timestamp, Instant)>,
    failures_in_a_row: u32,
    /// When users are read again; `None` while some are being read, and after a failed check.
    next_sweep: Option<Instant>,
    /// Failures of the sweep in a row, and the time before which it is not tried again.
    sweep_failures: (u32, Instant),
}

#[derive(Debug, Clone, Copy)]
enum PlannedCheck {
    /// The next check is due at this time.
    At(Instant),
    /// A check that was due at `due` is running, or waits until it may; another one is due at `next`.
    Started { due: Instant, next: Instant },
}

impl Plan {
    /// The first check is due at once.
    pub fn new(now: Instant) -> Self {
        Plan {
            check: PlannedCheck::At(now),
            next_evaluation: None,
            failures_in_a_row: 0,
            next_sweep: None,
            sweep_failures: (0, now),
        }
    }

    /// What is due at this time.
    pub fn next(&self, now: Instant) -> Action {
        let next_check = match self.check {
            PlannedCheck::At(at) if at <= now => return Action::Check,
            PlannedCheck::Started { next, .. } if next <= now => return Action::Overrun,
            PlannedCheck::At(at) => at,
            // Wakes the worker from time to time, which reports what the check has done so far.
            PlannedCheck::Started { next, .. } => next.min(saturating_add(now, LONGEST_WAIT)),
        };
        if self.next_evaluation.is_some_and(|(_, at)| at <= now) {
            return Action::Evaluate;
        }
        // A check that is due or running comes first, and so does an account that cannot be read at all.
        let next_sweep = self.next_sweep.filter(|_| matches!(self.check, PlannedCheck::At(_)));
        if next_sweep.is_some_and(|at| at <= now) {
            return Action::Sweep;
        }
        let others = self.next_evaluation.map(|(_, at)| at).into_iter().chain(next_sweep);
        Action::WaitUntil(others.fold(next_check, Instant::min))
    }

    /// A check is running, or waits until it may: none is started until it ends.
    pub fn check_started(&mut self, moment: Moment, timing: Timing) {
        // A first check, or a repeated one, is not followed by an overrun for being late in its interval.
        let nearly = scaled(timing.interval, if moment.phase.is_some() { 0.9 } else { 1.0 });
        let next = moment.due_after(nearly, timing.interval);
        self.check = PlannedCheck::Started { due: moment.now, next };
        self.next_sweep = None;
    }

    /// The check that was due is left out: checks do not pile up. With an interval that is shorter than the time that it takes
    /// to leave one out, nothing else would ever be done.
    pub fn check_overran(&mut self, timing: Timing, now: Instant) {
        if let PlannedCheck::Started { next, .. } = &mut self.check {
            *next = saturating_add(*next, timing.interval).max(saturating_add(now, SHORTEST_WAIT));
        }
    }

    /// Plans the next check: when the account is due again, at the soonest a tenth of the interval after the last check
    /// was due; and after a failure in 5 seconds, doubled for each further failure up to the interval. `jitter` from 0
    /// to 1 stands for -10 % to +10 % of that pause: many exporters must not call AWS in step.
    pub fn check_ended(&mut self, succeeded: bool, moment: Moment, timing: Timing, jitter: f64) {
        self.failures_in_a_row = if succeeded { 0 } else { self.failures_in_a_row.saturating_add(1) };
        let next = match self.failures_in_a_row {
            0 if moment.phase.is_some() => {
                let since_due = match self.check {
                    PlannedCheck::Started { due, .. } => moment.now.saturating_duration_since(due),
                    PlannedCheck::At(_) => Duration::ZERO,
                };
                moment.due_after(scaled(timing.interval, 0.1).saturating_sub(since_due), timing.interval)
            }
            0 => saturating_add(moment.now, spread(timing.interval, jitter)),
            n => saturating_add(moment.now, pause(n, timing, jitter)),
        };
        self.check = PlannedCheck::At(next);
    }

    /// Plans the next part of the sweep, not before the end of the pause after a failed one. There is none while checks
    /// fail.
    pub fn sweep_at(&mut self, at: Instant) {
        self.next_sweep = (self.failures_in_a_row == 0).then(|| at.max(self.sweep_failures.1));
    }

    /// A part of the sweep is running.
    pub fn sweep_started(&mut self) {
        self.next_sweep = None;
    }

    /// A part of the sweep was read, and the next one follows at that time.
    pub fn sweep_succeeded(&mut self, next: Instant) {
        self.sweep_failures.0 = 0;
        self.sweep_at(next);
    }

    /// The sweep pauses as checks do after failures.
    pub fn sweep_failed(&mut self, now: Instant, timing: Timing, jitter: f64) {
        let failures = self.sweep_failures.0.saturating_add(1);
        self.sweep_failures = (failures, saturating_add(now, pause(failures, timing, jitter)));
        self.sweep_at(now);
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

/// The pause after so many failures in a row.
fn pause(failures: u32, timing: Timing, jitter: f64) -> Duration {
    spread(backoff(FIRST_RETRY, timing.interval, failures), jitter)
}

fn scaled(duration: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(duration)
}

/// An instant is at most some centuries away.
pub(super) fn saturating_add(now: Instant, duration: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);
    now.checked_add(duration).or_else(|| now.checked_add(CENTURY)).unwrap_or(now)
}
