//! Time is paused: tokio advances it to the next timer. The wall clock is derived from it.

use super::super::pacing::Limits;
use super::*;
use crate::model::{
    AccessKey, Collector, KeyStatus, KeysResult, LastUsed, ListedUser, Listing, Observation, Partition, RootKeys,
    UserName,
};
use crate::policy::Status;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Mutex;

type Answer = Box<dyn Fn() -> Result<Vec<Observation>, SourceError> + Send + Sync>;

/// Answers from a script; the last answer repeats.
#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<Answer>>,
    /// The accounts that the credentials belong to, call by call; then the example account.
    accounts: Mutex<VecDeque<Account>>,
    hang: bool,
    hang_before_account: bool,
    /// Like AWS, unlike a file.
    can_recheck: bool,
    collected: Mutex<Vec<Duration>>,
    started: Option<Instant>,
}

impl Script {
    fn new(answers: Vec<Answer>) -> Self {
        Script { answers: Mutex::new(answers.into()), started: Some(Instant::now()), ..Script::default() }
    }

    fn collected(&self) -> Vec<Duration> {
        self.collected.lock().unwrap().clone()
    }

    fn next_account(&self) -> Account {
        self.accounts.lock().unwrap().pop_front().unwrap_or_else(|| account("123456789012"))
    }
}

impl Source for Script {
    fn account<'a>(&'a self, _: &'a Request) -> BoxFuture<'a, Result<Account, SourceError>> {
        Box::pin(async {
            if self.hang_before_account {
                std::future::pending::<()>().await;
            }
            Ok(self.next_account())
        })
    }

    fn collect<'a>(&'a self, _: &'a Account, _: &'a Request) -> BoxFuture<'a, Result<Vec<Observation>, SourceError>> {
        Box::pin(async {
            self.collected.lock().unwrap().push(self.started.unwrap().elapsed());
            if self.hang {
                std::future::pending::<()>().await;
            }
            let mut answers = self.answers.lock().unwrap();
            if answers.len() > 1 { answers.pop_front().unwrap()() } else { answers[0]() }
        })
    }

    fn can_recheck(&self) -> bool {
        self.can_recheck
    }

    fn confirm<'a>(&'a self, account: &'a Account) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(async {
            let found = self.next_account().id;
            let expected = account.id;
            if found == expected { Ok(()) } else { Err(SourceError::AccountMismatch { expected, found }) }
        })
    }
}

#[derive(Default)]
struct Recorder {
    events: Mutex<Vec<String>>,
    state: Mutex<Option<Arc<AccountState>>>,
    failed_accounts: Mutex<Vec<AccountId>>,
}

impl Recorder {
    fn events(&self) -> Vec<String> {
        self.events.lock().unwrap().clone()
    }

    fn push(&self, event: impl Into<String>) {
        self.events.lock().unwrap().push(event.into());
    }

    fn state(&self) -> Arc<AccountState> {
        self.state.lock().unwrap().clone().expect("a state was published")
    }

    fn statuses(&self) -> Vec<Status> {
        self.state().users().iter().map(|e| e.status()).collect()
    }
}

impl Events for Recorder {
    fn account_identified(&self, account: &Account) {
        self.push(format!("account {}", account.id));
    }

    fn account_forgotten(&self, account: AccountId) {
        self.push(format!("forgotten {account}"));
    }

    fn check_succeeded(&self, _: AccountId, _: Duration, _: Timestamp) {
        self.push("ok");
    }

    fn check_failed(&self, account: Option<AccountId>, _: Duration, error: &SourceError) {
        if let Some(account) = account {
            self.failed_accounts.lock().unwrap().push(account);
        }
        self.push(error.reason());
    }

    fn state_changed(&self, state: &Arc<AccountState>) {
        *self.state.lock().unwrap() = Some(Arc::clone(state));
    }
}

thread_local! {
    static START: Instant = Instant::now();
    /// By how much the wall clock was set back.
    static SET_BACK: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Paused time on a wall clock that begins at the epoch.
fn wall_clock() -> Timestamp {
    let elapsed = START.with(|start| start.elapsed());
    Timestamp::UNIX_EPOCH + elapsed - SET_BACK.get()
}

fn account(id: &str) -> Account {
    Account { id: id.parse().unwrap(), name: String::new(), partition: Partition::default() }
}

fn observations(keys: Vec<AccessKey>) -> Vec<Observation> {
    let at = wall_clock();
    let user = ListedUser {
        name: UserName::new("bob"),
        path: "/".into(),
        created: None,
        observed_at: at,
        keys: KeysResult::complete(keys),
    };
    let listing = Listing::new(Collector::Live, at, vec![user]).unwrap();
    vec![Observation::Listing(listing), Observation::Root { at, keys: RootKeys::Active(0) }]
}

fn key_created_now() -> AccessKey {
    AccessKey::new(None, KeyStatus::Active, Some(wall_clock()), LastUsed::Never)
}

fn compliant() -> Answer {
    Box::new(|| Ok(observations(vec![])))
}

fn two_keys() -> Answer {
    Box::new(|| Ok(observations(vec![key_created_now(), key_created_now()])))
}

fn failing() -> Answer {
    Box::new(|| Err(SourceError::Throttled { operation: "ListUsers", message: String::new() }))
}

const TIMING: Timing =
    Timing { interval: Duration::from_secs(300), timeout: Duration::from_secs(60), sweep_per_second: 0.0 };

fn pacing(accounts: usize) -> Arc<Pacing> {
    Pacing::new(Limits { accounts, requests: 64 })
}

/// Runs a worker for so long; the recorder has its events.
async fn run(source: Arc<Script>, duration: Duration) -> Arc<Recorder> {
    let (_sender, policy) = watch::channel(Arc::new(Policy::default()));
    run_with(source, policy, duration).await
}

async fn run_with(source: Arc<Script>, policy: watch::Receiver<Arc<Policy>>, duration: Duration) -> Arc<Recorder> {
    wall_clock();
    let recorder = Arc::new(Recorder::default());
    let events = Arc::clone(&recorder);
    let worker = Worker {
        account: None,
        state: None,
        identified: watch::Sender::new(None),
        source,
        timing: TIMING,
        pacing: pacing(64),
        policy,
        events,
        now: wall_clock,
    };
    let _ = tokio::time::timeout(duration, worker.run()).await;
    recorder
}

#[tokio::test(start_paused = true)]
async fn checks_begin_at_once_and_follow_at_the_times_of_the_account() {
    let source = Arc::new(Script::new(vec![compliant()]));
    let recorder = run(Arc::clone(&source), Duration::from_secs(3000)).await;
    let collected = source.collected();
    assert_eq!(collected[0], Duration::ZERO);
    assert_eq!(collected.len(), 11, "{collected:?}");
    let due = Phase::of(account("123456789012").id).wait(TIMING.interval, Timestamp::UNIX_EPOCH);
    for (n, at) in (0..).zip(&collected[1..]) {
        let late = at.checked_sub(due + TIMING.interval * n).expect("not early");
        assert!(late < Duration::from_millis(50), "{collected:?}");
    }
    assert_eq!(recorder.events()[..2], ["account 123456789012", "ok"]);
}

#[tokio::test(start_paused = true)]
async fn failed_checks_are_retried_soon_and_then_less_and_less_often() {
    let source = Arc::new(Script::new(vec![failing()]));
    run(Arc::clone(&source), Duration::from_secs(2000)).await;
    let collected = source.collected();
    for (pair, expected) in collected.windows(2).zip([5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]) {
        let pause = (pair[1] - pair[0]).as_secs_f64();
        assert!((0.89 * expected..=1.11 * expected).contains(&pause), "{pause}, expected {expected}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_fails_with_a_timeout() {
    let hanging = Script { hang: true, ..Script::new(vec![compliant()]) };
    let recorder = run(Arc::new(hanging), Duration::from_secs(61)).await;
    assert_eq!(recorder.events(), ["account 123456789012", "timeout"]);
    let hanging = Script { hang_before_account: true, ..Script::new(vec![compliant()]) };
    let recorder = run(Arc::new(hanging), Duration::from_secs(61)).await;
    assert_eq!(recorder.events(), ["timeout"], "identity and credentials are part of the check");
}

#[tokio::test(start_paused = true)]
async fn a_failed_check_keeps_the_last_good_state() {
    let source = Arc::new(Script::new(vec![two_keys(), failing()]));
    let recorder = run(source, Duration::from_secs(1000)).await;
    assert!(recorder.events().ends_with(&["throttled".to_owned()]));
    assert_eq!(recorder.statuses(), [Status::Violation]);
}

/// The identity is confirmed before and after each check: either can be the first to differ.
#[tokio::test(start_paused = true)]
async fn another_account_is_refused_before_and_after_a_check() {
    for other in [1, 2, 3] {
        let mut accounts = VecDeque::from(vec![account("123456789012"); 4]);
        accounts[other] = account("999999999999");
        let script = Script { accounts: Mutex::new(accounts), ..Script::new(vec![compliant(), two_keys()]) };
        let recorder = run(Arc::new(script), Duration::from_secs(400)).await;
        assert!(recorder.events().contains(&"account_mismatch".to_owned()), "call {other}");
        assert_eq!(recorder.state().account.id.as_str(), "123456789012", "call {other}");
    }
}

/// A role belongs to one account, which is known before its first check.
#[tokio::test(start_paused = true)]
async fn a_worker_of_a_certain_account_refuses_every_other_one() {
    let (_sender, policy) = watch::channel(Arc::new(Policy::default()));
    let recorder = Arc::new(Recorder::default());
    let accounts = VecDeque::from(["999999999999", "123456789012", "123456789012"].map(account));
    let worker = Worker {
        account: Some(account("123456789012").id),
        state: None,
        identified: watch::Sender::new(None),
        source: Arc::new(Script { accounts: Mutex::new(accounts), ..Script::new(vec![compliant()]) }),
        timing: TIMING,
        pacing: pacing(64),
        policy,
        events: Arc::clone(&recorder) as Arc<dyn Events>,
        now: wall_clock,
    };
    let _ = tokio::time::timeout(Duration::from_secs(10), worker.run()).await;
    assert_eq!(recorder.events(), ["account_mismatch", "account 123456789012", "ok"]);
    assert_eq!(*recorder.failed_accounts.lock().unwrap(), [account("123456789012").id]);
}

#[tokio::test(start_paused = true)]
async fn the_state_of_an_earlier_worker_is_evaluated_and_stays_when_checks_fail() {
    let earlier = run(Arc::new(Script::new(vec![two_keys()])), Duration::from_secs(1)).await.state();
    let mut lax = Policy::default();
    lax.rules.multiple_active_keys.enabled = false;
    let (_sender, policy) = watch::channel(Arc::new(lax));
    let recorder = Arc::new(Recorder::default());
    let worker = Worker {
        account: None,
        state: Some(earlier),
        identified: watch::Sender::new(None),
        source: Arc::new(Script::new(vec![failing()])),
        timing: TIMING,
        pacing: pacing(64),
        policy,
        events: Arc::clone(&recorder) as Arc<dyn Events>,
        now: wall_clock,
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), worker.run()).await;
    assert_eq!(recorder.statuses(), [Status::Compliant]);
    assert_eq!(recorder.events().last().unwrap(), "throttled");
}

/// Credentials can be corrected before the first check succeeds: nothing of the other account is kept.
#[tokio::test(start_paused = true)]
async fn an_account_without_a_successful_check_can_be_replaced() {
    let accounts = VecDeque::from(["999999999999", "999999999999", "123456789012", "123456789012"].map(account));
    let script =
        Script { accounts: Mutex::new(accounts), ..Script::new(vec![failing(), failing(), failing(), compliant()]) };
    // Failed checks do not confirm the account: three identities, then those of the successful check.
    let recorder = run(Arc::new(script), Duration::from_secs(60)).await;
    let expected = [
        "account 999999999999",
        "throttled",
        "account 999999999999",
        "throttled",
        "forgotten 999999999999",
        "account 123456789012",
        "throttled",
        "account 123456789012",
        "ok",
    ];
    assert_eq!(recorder.events()[..expected.len()], expected);
    let failed = ["999999999999", "999999999999", "123456789012"].map(|id| account(id).id);
    assert_eq!(*recorder.failed_accounts.lock().unwrap(), failed);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_does_not_freeze_the_account() {
    let set_back: Answer = Box::new(|| {
        SET_BACK.set(Duration::from_secs(86_400));
        failing()()
    });
    let script = Script { can_recheck: true, ..Script::new(vec![two_keys(), set_back, compliant()]) };
    let recorder = run(Arc::new(script), Duration::from_secs(1000)).await;
    SET_BACK.set(Duration::ZERO);
    assert_eq!(recorder.statuses(), [Status::Compliant]);
}

#[tokio::test(start_paused = true)]
async fn statuses_change_on_time_between_checks_and_while_checks_fail() {
    let mut policy = Policy::default();
    policy.rules.multiple_active_keys.rotation_grace = Duration::from_secs(100);

    let (_sender, receiver) = watch::channel(Arc::new(policy.clone()));
    let before = run_with(Arc::new(Script::new(vec![two_keys()])), receiver, Duration::from_secs(99)).await;
    assert_eq!(before.statuses(), [Status::Rotating]);

    let (_sender, receiver) = watch::channel(Arc::new(policy));
    let script = Script::new(vec![two_keys(), failing()]);
    let after = run_with(Arc::new(script), receiver, Duration::from_secs(101)).await;
    assert_eq!(after.statuses(), [Status::Violation]);
}

#[tokio::test(start_paused = true)]
async fn a_new_policy_applies_at_once() {
    let source = Arc::new(Script::new(vec![two_keys()]));
    let (sender, receiver) = watch::channel(Arc::new(Policy::default()));
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let mut lax = Policy::default();
        lax.rules.multiple_active_keys.enabled = false;
        sender.send_replace(Arc::new(lax));
        std::future::pending::<()>().await;
    });
    let recorder = run_with(Arc::clone(&source), receiver, Duration::from_secs(11)).await;
    assert_eq!(recorder.statuses(), [Status::Compliant]);
    assert_eq!(source.collected().len(), 1, "the account was not read again");
}

#[test]
fn the_plan_is_a_function_of_its_state_and_the_time() {
    let start = Instant::now();
    let wall = Timestamp::UNIX_EPOCH;
    let second = Duration::from_secs(1);
    let at = |seconds: u32| Moment { now: start + second * seconds, wall_clock: wall + second * seconds, phase: None };
    let mut plan = Plan::new(start);
    assert_eq!(plan.next(start), Action::Check);
    plan.check_started(at(0), TIMING);
    plan.evaluate_at(Some(wall + second * 30), wall, start);
    assert_eq!(plan.next(start), Action::WaitUntil(start + second * 30), "a check is running");
    plan.check_ended(true, at(0), TIMING, 0.5);
    assert_eq!(plan.next(start + second * 30), Action::Evaluate);
    plan.evaluate_at(Some(wall + second * 3600), wall, start);
    assert_eq!(plan.next(start), Action::WaitUntil(start + second * 60), "wall clocks are adjusted");
    assert!(plan.postpone_evaluation(wall + second * 60, start + second * 60), "not yet due");
    assert!(!plan.postpone_evaluation(wall + second * 3600, start + second * 120));
    plan.evaluate_at(None, wall, start);
    assert_eq!(plan.next(start), Action::WaitUntil(start + TIMING.interval));
    let endless = Timing { interval: Duration::MAX, timeout: Duration::MAX, sweep_per_second: 0.0 };
    for phase in [None, Some(Phase::of(account("999999999999").id))] {
        let moment = Moment { phase, ..at(0) };
        plan.check_started(moment, endless);
        assert!(matches!(plan.next(start), Action::WaitUntil(_)), "no arithmetic overflows");
        plan.check_ended(true, moment, endless, 1.0);
        assert!(matches!(plan.next(start), Action::WaitUntil(_)), "no arithmetic overflows");
    }
}

#[test]
fn the_sweep_comes_last_and_only_after_a_check_that_succeeded() {
    let start = Instant::now();
    let second = Duration::from_secs(1);
    let at = |seconds: u32| Moment {
        now: start + second * seconds,
        wall_clock: Timestamp::UNIX_EPOCH + second * seconds,
        phase: None,
    };
    let mut plan = Plan::new(start);
    plan.sweep_at(start);
    assert_eq!(plan.next(start), Action::Check, "a check is due");
    plan.check_started(at(0), TIMING);
    plan.sweep_at(start);
    assert!(matches!(plan.next(start), Action::WaitUntil(_)), "a check is running");
    plan.check_ended(true, at(0), TIMING, 0.5);
    plan.sweep_at(start + second);
    assert_eq!(plan.next(start), Action::WaitUntil(start + second));
    assert_eq!(plan.next(start + second), Action::Sweep);
    plan.evaluate_at(Some(Timestamp::UNIX_EPOCH), Timestamp::UNIX_EPOCH, start);
    assert_eq!(plan.next(start + second), Action::Evaluate);
    plan.evaluate_at(None, Timestamp::UNIX_EPOCH, start);
    plan.sweep_started();
    assert_eq!(plan.next(start + second), Action::WaitUntil(start + TIMING.interval), "users are being read");

    plan.sweep_failed(start + second, TIMING, 0.5);
    assert_eq!(plan.next(start + second), Action::WaitUntil(start + second * 6));
    plan.sweep_failed(start + second * 6, TIMING, 0.5);
    assert_eq!(plan.next(start + second * 6), Action::WaitUntil(start + second * 16));
    plan.check_started(at(7), TIMING);
    plan.check_ended(true, at(7), TIMING, 0.5);
    plan.sweep_at(start + second * 7);
    assert_eq!(plan.next(start + second * 7), Action::WaitUntil(start + second * 16), "a check ends no pause");
    plan.sweep_succeeded(start + second * 20);
    plan.sweep_failed(start + second * 20, TIMING, 0.5);
    assert_eq!(plan.next(start + second * 20), Action::WaitUntil(start + second * 25), "from the beginning");

    plan.check_started(at(30), TIMING);
    plan.check_ended(false, at(30), TIMING, 0.5);
    plan.sweep_at(start + second * 30);
    assert_eq!(plan.next(start + second * 30), Action::WaitUntil(start + second * 35), "for the check");
}

/// With the phase of an account, whose times are `due` and an interval later, and so on.
#[test]
fn checks_are_due_once_an_interval_whatever_happens_in_it() {
    let start = Instant::now();
    let phase = Phase::of(account("123456789012").id);
    let due = phase.wait(TIMING.interval, Timestamp::UNIX_EPOCH);
    assert!(due > Duration::from_secs(60), "else the numbers below do not fit");
    let at =
        |after: Duration| Moment { now: start + after, wall_clock: Timestamp::UNIX_EPOCH + after, phase: Some(phase) };
    let second = Duration::from_secs(1);
    let next_after = |started: Duration, ended: Duration| {
        let mut plan = Plan::new(start);
        plan.check_started(at(started), TIMING);
        plan.check_ended(true, at(ended), TIMING, 0.5);
        match plan.next(start + ended) {
            Action::WaitUntil(next) => next - start,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(next_after(Duration::ZERO, second), due, "the first check");
    assert_eq!(next_after(due, due + second), due + TIMING.interval);
    assert_eq!(next_after(due, due + second * 299), due + TIMING.interval, "a check that takes almost as long");
    assert_eq!(next_after(due, due + second * 301), due + TIMING.interval * 2, "the next one is over");
    assert_eq!(next_after(due - second, due - second), due + TIMING.interval, "just checked, as after a failure");
    assert_eq!(next_after(due - second * 31, due - second * 31), due);

    let mut plan = Plan::new(start);
    plan.check_started(at(due), TIMING);
    let next = due + TIMING.interval;
    assert_eq!(plan.next(start + next - second), Action::WaitUntil(start + next));
    assert_eq!(plan.next(start + next), Action::Overrun);
    plan.check_overran(TIMING, start + next);
    assert!(matches!(plan.next(start + next), Action::WaitUntil(_)), "each is counted once");
    assert_eq!(plan.next(start + next + TIMING.interval), Action::Overrun);

    // The first check begins at any time: its place in the interval comes soon, and is not an overrun.
    let mut plan = Plan::new(start);
    plan.check_started(at(Duration::ZERO), TIMING);
    assert!(matches!(plan.next(start + due), Action::WaitUntil(_)));
    assert_eq!(plan.next(start + due + TIMING.interval), Action::Overrun);
}

/// Leaving checks out must not keep the check from being done.
#[tokio::test(start_paused = true)]
async fn an_interval_shorter_than_a_check_lets_the_check_end() {
    let start = Instant::now();
    for interval in [Duration::from_nanos(1), Duration::from_millis(1)] {
        let timing = Timing { interval, ..TIMING };
        let mut plan = Plan::new(start);
        plan.check_started(Moment { now: start, wall_clock: wall_clock(), phase: None }, timing);
        // The worker was not scheduled for a while.
        let now = start + Duration::from_secs(5);
        assert_eq!(plan.next(now), Action::Overrun);
        plan.check_overran(timing, now);
        assert!(matches!(plan.next(now), Action::WaitUntil(_)), "{interval:?}");
    }
}
