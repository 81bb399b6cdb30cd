//! Many workers in paused time.

use super::*;
use crate::model::{Account, AccountId, Collector, Listing, Observation, Partition, Timestamp};
use crate::policy::Policy;
use crate::schedule::{Events, Phase, Timing, Worker};
use crate::source::{Request, Source, SourceError};
use crate::state::AccountState;
use futures_util::future::BoxFuture;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const INTERVAL: Duration = Duration::from_secs(300);
const TIMEOUT: Duration = Duration::from_secs(60);
const EPOCH: Timestamp = Timestamp::UNIX_EPOCH;

thread_local! {
    static START: Instant = Instant::now();
}

fn elapsed() -> Duration {
    START.with(|start| start.elapsed())
}

/// Paused time on a wall clock that begins at the epoch.
fn wall_clock() -> Timestamp {
    EPOCH + elapsed()
}

/// What all accounts did.
#[derive(Default)]
struct Log {
    starts: Mutex<Vec<(AccountId, Duration)>>,
    /// Accounts that are read now, and the most there ever were.
    in_flight: Mutex<(usize, usize)>,
    overruns: Mutex<HashMap<AccountId, u32>>,
    failures: Mutex<Vec<(AccountId, &'static str)>>,
}

impl Log {
    fn starts_of(&self, id: AccountId) -> Vec<Duration> {
        self.starts.lock().unwrap().iter().filter(|(account, _)| *account == id).map(|(_, at)| *at).collect()
    }
}

impl Events for Log {
    fn account_identified(&self, _: &Account) {}
    fn account_forgotten(&self, _: AccountId) {}
    fn check_succeeded(&self, _: AccountId, _: Duration, _: Timestamp) {}
    fn state_changed(&self, _: &Arc<AccountState>) {}

    fn check_failed(&self, account: Option<AccountId>, _: Duration, error: &SourceError) {
        self.failures.lock().unwrap().push((account.unwrap(), error.reason()));
    }

    fn check_overran(&self, account: Option<AccountId>) {
        *self.overruns.lock().unwrap().entry(account.unwrap()).or_default() += 1;
    }
}

/// An account whose check takes so long; `None` for one that never answers.
struct Slow {
    id: AccountId,
    takes: Option<Duration>,
    log: Arc<Log>,
}

/// Counts an account as being read for as long as it lives: a check that times out is dropped.
struct InFlight<'a>(&'a Log);

impl<'a> InFlight<'a> {
    fn new(log: &'a Log) -> Self {
        let mut counts = log.in_flight.lock().unwrap();
        counts.0 += 1;
        counts.1 = counts.1.max(counts.0);
        InFlight(log)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.lock().unwrap().0 -= 1;
    }
}

impl Source for Slow {
    fn account<'a>(&'a self, _: &'a Request) -> BoxFuture<'a, Result<Account, SourceError>> {
        Box::pin(async { Ok(Account { id: self.id, name: String::new(), partition: Partition::default() }) })
    }

    fn collect<'a>(&'a self, _: &'a Account, _: &'a Request) -> BoxFuture<'a, Result<Vec<Observation>, SourceError>> {
        Box::pin(async {
            self.log.starts.lock().unwrap().push((self.id, elapsed()));
            let _in_flight = InFlight::new(&self.log);
            let Some(takes) = self.takes else { std::future::pending().await };
            let at = wall_clock();
            sleep(takes).await;
            Ok(vec![Observation::Listing(Listing::new(Collector::Live, at, vec![]).unwrap())])
        })
    }
}

fn id(number: u64) -> AccountId {
    format!("{number:012}").parse().unwrap()
}

/// Runs workers of the accounts 0, 1, 2, ..., each of which takes as long as `takes` returns.
async fn run(accounts: u64, at_once: usize, takes: impl Fn(u64) -> Option<Duration>, duration: Duration) -> Arc<Log> {
    elapsed();
    let log = Arc::new(Log::default());
    let pacing = Pacing::new(Limits { accounts: at_once, requests: 64 });
    let (_sender, policy) = watch::channel(Arc::new(Policy::default()));
    let mut workers = JoinSet::new();
    for number in 0..accounts {
        let source = Slow { id: id(number), takes: takes(number), log: Arc::clone(&log) };
        let worker = Worker {
            account: Some(id(number)),
            state: None,
            identified: watch::Sender::new(None),
            source: Arc::new(source),
            timing: Timing { interval: INTERVAL, timeout: TIMEOUT, sweep_per_second: 0.0 },
            pacing: Arc::clone(&pacing),
            policy: policy.clone(),
            events: Arc::clone(&log) as Arc<dyn Events>,
            now: wall_clock,
        };
        workers.spawn(worker.run());
    }
    sleep(duration).await;
    log
}

#[tokio::test(start_paused = true)]
async fn a_thousand_accounts_are_checked_at_once_and_then_evenly() {
    let log = run(1000, 64, |_| Some(Duration::from_secs(2)), INTERVAL * 5).await;
    assert_eq!(log.in_flight.lock().unwrap().1, 64, "as fast as permits allow, and not faster");
    let starts = log.starts.lock().unwrap().clone();
    let first_cycle = &starts[..1000];
    assert!(first_cycle.iter().map(|(account, _)| account).collect::<std::collections::HashSet<_>>().len() == 1000);
    assert!(first_cycle.iter().all(|(_, at)| *at <= Duration::from_secs(31)), "{:?}", first_cycle.last());

    let mut slots = vec![0; 60 * 5];
    for (account, at) in &starts[1000..] {
        let late = (*at - Phase::of(*account).wait(INTERVAL, EPOCH)).as_nanos() % INTERVAL.as_nanos();
        assert!(late < 50_000_000, "{account} at {at:?}");
        slots[(at.as_nanos() * 60 / INTERVAL.as_nanos()) as usize] += 1;
    }
    for number in 0..1000 {
        let in_last_three = log.starts_of(id(number)).iter().filter(|at| **at >= INTERVAL * 2).count();
        assert_eq!(in_last_three, 3, "{number}");
    }
    assert!(slots.iter().all(|starts| *starts <= 34), "a sixtieth of them are 17: {slots:?}");
    assert!(log.overruns.lock().unwrap().is_empty() && log.failures.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_blocked_account_delays_no_other_beyond_its_own_permit() {
    let takes = |number| (number != 7).then_some(Duration::from_millis(500));
    let log = run(1000, 64, takes, INTERVAL * 3).await;
    for (account, at) in log.starts.lock().unwrap().iter().filter(|(account, _)| *account != id(7)).skip(999) {
        let late = (*at - Phase::of(*account).wait(INTERVAL, EPOCH)).as_nanos() % INTERVAL.as_nanos();
        assert!(late < 50_000_000, "{account} at {at:?}");
    }
    assert!(log.failures.lock().unwrap().iter().all(|failure| *failure == (id(7), "timeout")));
}

/// More work than permits: every account is checked in turn, and what is left out shows.
#[tokio::test(start_paused = true)]
async fn accounts_that_wait_are_not_queued_twice_and_their_deadline_has_not_begun() {
    // 20 checks of 50 s on 2 permits take 500 s, the interval is 300 s.
    let log = run(20, 2, |_| Some(Duration::from_secs(50)), INTERVAL * 10).await;
    assert!(log.failures.lock().unwrap().is_empty(), "waiting is longer than the timeout, and not part of the check");
    assert_eq!(log.in_flight.lock().unwrap().1, 2);
    for number in 0..20 {
        let starts = log.starts_of(id(number));
        assert!((5..=7).contains(&starts.len()), "{number}: {starts:?}");
        assert!(log.overruns.lock().unwrap()[&id(number)] >= 3, "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn accounts_that_hang_leave_permits_to_others() {
    let pacing = Pacing::new(Limits { accounts: 8, requests: 8 });
    let again: Vec<_> = (0..20)
        .map(|_| {
            let pacing = Arc::clone(&pacing);
            tokio::spawn(async move {
                let _permits = pacing.check_again().await;
                std::future::pending::<()>().await;
            })
        })
        .collect();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let mut others = Vec::new();
    for _ in 0..6 {
        others.push(pacing.check().await);
    }
    assert!(pacing.is_busy());
    for task in again {
        task.abort();
        let _ = task.await;
    }
    drop(others);
    assert_eq!((pacing.checks.available_permits(), pacing.hung.available_permits()), (8, 2));
}
