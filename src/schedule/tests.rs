//! Time is paused: tokio advances it to the next timer. The wall clock is derived from it.

use super::*;
use crate::model::{AccessKey, Account, Collector, KeyStatus, Keys, LastUsed, User};
use crate::policy::Status;
use std::collections::VecDeque;
use std::sync::Mutex;

type Answer = Box<dyn Fn() -> Result<Inventory, SourceError> + Send + Sync>;

/// Answers from a script; the last answer repeats.
struct Script {
    answers: Mutex<VecDeque<Answer>>,
    hang: bool,
    asked: Mutex<Vec<Duration>>,
    started: Instant,
}

impl Script {
    fn new(answers: Vec<Answer>) -> Arc<Self> {
        Arc::new(Script {
            answers: Mutex::new(answers.into()),
            hang: false,
            asked: Mutex::default(),
            started: Instant::now(),
        })
    }

    fn asked(&self) -> Vec<Duration> {
        self.asked.lock().unwrap().clone()
    }
}

impl Source for Script {
    fn account(&self) -> BoxFuture<'_, Result<Account, SourceError>> {
        Box::pin(async { Ok(inventory(vec![]).account) })
    }

    fn collect<'a>(&'a self, _: &'a Request) -> BoxFuture<'a, Result<Inventory, SourceError>> {
        Box::pin(async {
            self.asked.lock().unwrap().push(self.started.elapsed());
            if self.hang {
                std::future::pending::<()>().await;
            }
            let mut answers = self.answers.lock().unwrap();
            if answers.len() > 1 { answers.pop_front().unwrap()() } else { answers[0]() }
        })
    }
}

#[derive(Default)]
struct Notes {
    events: Mutex<Vec<String>>,
    snapshot: Mutex<Option<Arc<Snapshot>>>,
}

impl Notes {
    fn events(&self) -> Vec<String> {
        self.events.lock().unwrap().clone()
    }

    fn status(&self) -> Vec<Status> {
        let snapshot = self.snapshot.lock().unwrap().clone().expect("something was published");
        snapshot.accounts.values().flat_map(|a| a.evaluation.statuses.clone()).collect()
    }
}

impl Board for Notes {
    fn account_known(&self, account_id: &str) {
        self.events.lock().unwrap().push(format!("account {account_id}"));
    }

    fn check_succeeded(&self, _: &str, _: Duration, _: Timestamp) {
        self.events.lock().unwrap().push("ok".into());
    }

    fn check_failed(&self, _: Option<&str>, _: Duration, error: &SourceError) {
        self.events.lock().unwrap().push(error.reason().into());
    }

    fn publish(&self, snapshot: &Arc<Snapshot>) {
        *self.snapshot.lock().unwrap() = Some(Arc::clone(snapshot));
    }
}

/// Paused time on a wall clock that begins at the epoch.
fn wall_clock() -> Timestamp {
    thread_local!(static START: Instant = Instant::now());
    let elapsed = START.with(|start| start.elapsed());
    Timestamp::UNIX_EPOCH + elapsed
}

fn inventory(keys: Vec<AccessKey>) -> Inventory {
    let user = User {
        name: "bob".into(),
        arn: "arn:aws:iam::123456789012:user/bob".into(),
        path: "/".into(),
        created: None,
        tags: vec![],
        observed_at: wall_clock(),
        keys: Keys::known(keys),
    };
    Inventory {
        account: Account { id: "123456789012".into(), name: String::new(), partition: "aws".into() },
        collector: Collector::Live,
        facts_at: wall_clock(),
        root_active_keys: Some(0),
        users: vec![user],
    }
}

fn key_created_now() -> AccessKey {
    AccessKey { id: None, status: KeyStatus::Active, created: Some(wall_clock()), last_used: LastUsed::Never }
}

fn fine() -> Answer {
    Box::new(|| Ok(inventory(vec![])))
}

fn failing() -> Answer {
    Box::new(|| Err(SourceError::Throttled { operation: "ListUsers", message: String::new() }))
}

const TIMING: Timing = Timing { interval: Duration::from_secs(300), timeout: Duration::from_secs(60) };

/// Runs the scheduler for so long; what it asked and said is in `source` and the notes.
async fn run(source: Arc<Script>, for_how_long: Duration) -> Arc<Notes> {
    let (_sender, policy) = watch::channel(Arc::new(Policy::default()));
    run_with(source, policy, for_how_long).await
}

async fn run_with(source: Arc<Script>, policy: watch::Receiver<Arc<Policy>>, for_how_long: Duration) -> Arc<Notes> {
    wall_clock();
    let notes = Arc::new(Notes::default());
    let board = Arc::clone(&notes);
    let scheduler = Scheduler { source, timing: TIMING, policy, board, now: wall_clock };
    let _ = tokio::time::timeout(for_how_long, scheduler.run()).await;
    notes
}

#[tokio::test(start_paused = true)]
async fn checks_begin_at_once_and_come_back_after_the_interval_within_a_tenth() {
    let source = Script::new(vec![fine()]);
    let notes = run(Arc::clone(&source), Duration::from_secs(3000)).await;
    let asked = source.asked();
    assert_eq!(asked[0], Duration::ZERO);
    assert!((9..=11).contains(&asked.len()), "{asked:?}");
    for pair in asked.windows(2) {
        let pause = (pair[1] - pair[0]).as_secs_f64();
        assert!((269.0..=331.0).contains(&pause), "{pause}");
    }
    assert_eq!(notes.events()[..2], ["account 123456789012", "ok"]);
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again_soon_and_then_less_and_less_often() {
    let source = Script::new(vec![failing()]);
    run(Arc::clone(&source), Duration::from_secs(2000)).await;
    let asked = source.asked();
    for (pair, expected) in asked.windows(2).zip([5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]) {
        let pause = (pair[1] - pair[0]).as_secs_f64();
        assert!((0.89 * expected..=1.11 * expected).contains(&pause), "{pause}, expected {expected}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_is_given_up_with_that_reason() {
    let mut source = Script::new(vec![fine()]);
    Arc::get_mut(&mut source).unwrap().hang = true;
    let notes = run(source, Duration::from_secs(61)).await;
    assert_eq!(notes.events(), ["account 123456789012", "timeout"]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_leaves_the_facts_in_place() {
    let bad = || Box::new(|| Ok(inventory(vec![key_created_now(), key_created_now()]))) as Answer;
    let source = Script::new(vec![bad(), failing()]);
    let notes = run(source, Duration::from_secs(1000)).await;
    assert!(notes.events().ends_with(&["throttled".to_owned()]));
    assert_eq!(notes.status(), [Status::Violation]);
}

#[tokio::test(start_paused = true)]
async fn another_account_is_refused() {
    let other = || {
        Box::new(|| {
            let mut other = inventory(vec![]);
            other.account.id = "999999999999".into();
            Ok(other)
        }) as Answer
    };
    let notes = run(Script::new(vec![fine(), other()]), Duration::from_secs(400)).await;
    assert!(notes.events().contains(&"account_mismatch".to_owned()));
    let snapshot = notes.snapshot.lock().unwrap().clone().unwrap();
    assert_eq!(snapshot.accounts.keys().collect::<Vec<_>>(), ["123456789012"]);
}

#[tokio::test(start_paused = true)]
async fn statuses_change_on_time_between_checks_and_while_nothing_can_be_found_out() {
    let mut policy = Policy::default();
    policy.rules.multiple_active_keys.rotation_grace = Duration::from_secs(100);
    let two_keys = || Box::new(|| Ok(inventory(vec![key_created_now(), key_created_now()]))) as Answer;

    let (_sender, receiver) = watch::channel(Arc::new(policy.clone()));
    let before = run_with(Script::new(vec![two_keys()]), receiver, Duration::from_secs(99)).await;
    assert_eq!(before.status(), [Status::Rotating]);

    let (_sender, receiver) = watch::channel(Arc::new(policy));
    let after = run_with(Script::new(vec![two_keys(), failing()]), receiver, Duration::from_secs(101)).await;
    assert_eq!(after.status(), [Status::Violation]);
}

#[tokio::test(start_paused = true)]
async fn a_new_policy_counts_at_once() {
    let two_keys = || Box::new(|| Ok(inventory(vec![key_created_now(), key_created_now()]))) as Answer;
    let source = Script::new(vec![two_keys()]);
    let (sender, receiver) = watch::channel(Arc::new(Policy::default()));
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let mut lax = Policy::default();
        lax.rules.multiple_active_keys.enabled = false;
        sender.send_replace(Arc::new(lax));
        std::future::pending::<()>().await;
    });
    let notes = run_with(Arc::clone(&source), receiver, Duration::from_secs(11)).await;
    assert_eq!(notes.status(), [Status::Compliant]);
    assert_eq!(source.asked().len(), 1, "AWS was not asked again");
}
