//! Accounts by report in paused time: the report is of the start, and users are read live between checks.

use super::*;
use crate::model::{
    AccessKey, AccountId, Collector, KeyStatus, KeysResult, LastUsed, ListedUser, Listing, Observation, Partition,
};
use crate::policy::Policy;
use crate::schedule::{Events, Limits, Timing, Worker};
use crate::source::Request;
use std::collections::BTreeMap;
use std::sync::Mutex;
use tokio::sync::watch;
use tokio::time::sleep;

const INTERVAL: Duration = Duration::from_secs(300);
const TIMING: Timing = Timing { interval: INTERVAL, timeout: Duration::from_secs(60), sweep_per_second: 2.0 };
const READ: Duration = Duration::from_millis(50);

thread_local! {
    static START: Instant = Instant::now();
}

fn elapsed() -> Duration {
    START.with(|start| start.elapsed())
}

fn wall_clock() -> Timestamp {
    Timestamp::UNIX_EPOCH + elapsed()
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

type Fault = fn(&str) -> Option<SourceError>;

/// An account on AWS: a report of the start, and users that can change since.
struct Member {
    id: AccountId,
    /// When each key of a user was created.
    keys: Mutex<BTreeMap<String, Vec<Timestamp>>>,
    fault: Mutex<Option<Fault>>,
    check_fails: Mutex<bool>,
    checks: Mutex<Vec<Duration>>,
    reads: Mutex<Vec<(Duration, String)>>,
    /// Reads in flight, and the most there ever were, of all accounts.
    in_flight: Arc<Mutex<(u32, u32)>>,
}

impl Member {
    fn new(users: usize) -> Arc<Self> {
        Self::numbered(123_456_789_012, users, Arc::default())
    }

    fn numbered(id: u64, users: usize, in_flight: Arc<Mutex<(u32, u32)>>) -> Arc<Self> {
        elapsed();
        Arc::new(Member {
            id: format!("{id:012}").parse().unwrap(),
            keys: Mutex::new((0..users).map(|n| (format!("user-{n:04}"), vec![Timestamp::MIN])).collect()),
            fault: Mutex::default(),
            check_fails: Mutex::default(),
            checks: Mutex::default(),
            reads: Mutex::default(),
            in_flight,
        })
    }

    fn keys_of(&self, user: &str) -> KeysResult {
        let keys = &self.keys.lock().unwrap()[user];
        let key = |at: &Timestamp| AccessKey::new(None, KeyStatus::Active, Some(*at), LastUsed::Unknown);
        KeysResult::complete(keys.iter().map(key).collect())
    }

    fn add_key(&self, user: &str) {
        self.keys.lock().unwrap().get_mut(user).unwrap().push(wall_clock());
    }

    fn reads_since(&self, since: Duration) -> Vec<String> {
        self.reads.lock().unwrap().iter().filter(|(at, _)| *at >= since).map(|(_, user)| user.clone()).collect()
    }

    fn set_fault(&self, fault: Option<Fault>) {
        *self.fault.lock().unwrap() = fault;
    }
}

/// Counts a read for as long as it lives: a part of the sweep is dropped when a check is due.
struct InFlight<'a>(&'a Mutex<(u32, u32)>);

impl<'a> InFlight<'a> {
    fn new(counts: &'a Mutex<(u32, u32)>) -> Self {
        let mut now = counts.lock().unwrap();
        now.0 += 1;
        now.1 = now.1.max(now.0);
        InFlight(counts)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap().0 -= 1;
    }
}

impl Source for Member {
    fn account<'a>(&'a self, _: &'a Request) -> BoxFuture<'a, Result<Account, SourceError>> {
        Box::pin(async { Ok(Account { id: self.id, name: String::new(), partition: Partition::default() }) })
    }

    fn collect<'a>(
        &'a self,
        _: &'a Account,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Vec<Observation>, SourceError>> {
        Box::pin(async {
            self.checks.lock().unwrap().push(elapsed());
            if *self.check_fails.lock().unwrap() {
                return Err(throttled());
            }
            if request.known_report.is_some() {
                return Ok(vec![]);
            }
            let at = wall_clock();
            let listed = |user: &String| ListedUser {
                name: UserName::new(user),
                path: "/".into(),
                created: None,
                observed_at: at,
                keys: self.keys_of(user),
            };
            let users: Vec<String> = self.keys.lock().unwrap().keys().cloned().collect();
            let listing = Listing::new(Collector::Report, at, users.iter().map(listed).collect()).unwrap();
            Ok(vec![Observation::Listing(listing)])
        })
    }

    fn can_recheck(&self) -> bool {
        true
    }

    fn sweep<'a>(&'a self, _: &'a Account, users: Vec<UserName>, _: usize) -> BoxFuture<'a, Swept> {
        Box::pin(async move {
            let mut swept = Swept::default();
            for user in users {
                {
                    let _in_flight = InFlight::new(&self.in_flight);
                    sleep(READ).await;
                }
                swept.attempted += 1;
                self.reads.lock().unwrap().push((elapsed(), user.to_string()));
                match self.fault.lock().unwrap().and_then(|fault| fault(user.as_str())) {
                    None => {
                        let (at, keys) = (wall_clock(), self.keys_of(user.as_str()));
                        swept.observations.push(Observation::UserKeys { user, at, keys });
                    }
                    Some(error) => {
                        let is_of_user = matches!(error, SourceError::AccessDenied { .. });
                        swept.failure = Some(error);
                        if !is_of_user || swept.observations.is_empty() && swept.attempted >= 3 {
                            break;
                        }
                    }
                }
            }
            swept
        })
    }
}

fn throttled() -> SourceError {
    SourceError::Throttled { operation: "ListAccessKeys", message: String::new() }
}

fn denied() -> SourceError {
    SourceError::AccessDenied { operation: "ListAccessKeys", message: String::new() }
}

#[derive(Default)]
struct Recorder {
    published: Mutex<Vec<Duration>>,
    events: Mutex<Vec<&'static str>>,
    delays: Mutex<Vec<Duration>>,
    oldest: Mutex<Vec<Timestamp>>,
    sweep_failures: Mutex<u32>,
}

impl Events for Recorder {
    fn account_identified(&self, _: &Account) {}
    fn account_forgotten(&self, _: AccountId) {}
    fn check_succeeded(&self, _: AccountId, _: Duration, _: Timestamp) {}

    fn check_failed(&self, _: Option<AccountId>, _: Duration, _: &SourceError) {
        self.events.lock().unwrap().push("check failed");
    }

    fn state_changed(&self, _: &Arc<AccountState>) {
        self.published.lock().unwrap().push(elapsed());
    }

    fn key_detected(&self, delay: Duration) {
        self.delays.lock().unwrap().push(delay);
    }

    fn oldest_observation(&self, _: AccountId, at: Timestamp) {
        self.oldest.lock().unwrap().push(at);
    }

    fn sweep_failed(&self, _: AccountId, error: &SourceError, is_new: bool) {
        *self.sweep_failures.lock().unwrap() += 1;
        if is_new {
            self.events.lock().unwrap().push(error.reason());
        }
    }

    fn sweep_recovered(&self, _: AccountId) {
        self.events.lock().unwrap().push("recovered");
    }
}

fn start(source: &Arc<Member>, timing: Timing, pacing: &Arc<Pacing>) -> Arc<Recorder> {
    let events = Arc::new(Recorder::default());
    let worker = Worker {
        account: Some(source.id),
        state: None,
        identified: watch::Sender::new(None),
        source: Arc::clone(source) as Arc<dyn Source>,
        timing,
        pacing: Arc::clone(pacing),
        policy: watch::channel(Arc::new(Policy::default())).1,
        events: Arc::clone(&events) as Arc<dyn Events>,
        now: wall_clock,
    };
    tokio::spawn(worker.run());
    events
}

fn alone() -> Arc<Pacing> {
    Pacing::new(Limits { accounts: 1, requests: 16 })
}

#[tokio::test(start_paused = true)]
async fn a_second_key_is_seen_within_users_by_rate() {
    let source = Member::new(3000);
    let recorder = start(&source, TIMING, &alone());
    sleep(seconds(2000)).await;
    let published = recorder.published.lock().unwrap().len();
    // The one that was just read is the last to be read again.
    let user = source.reads.lock().unwrap().last().unwrap().1.clone();
    source.add_key(&user);
    sleep(seconds(1600)).await;
    let delays = recorder.delays.lock().unwrap().clone();
    assert_eq!(delays.len(), 1, "{delays:?}");
    assert!((seconds(1400)..seconds(1550)).contains(&delays[0]), "3000 users at 2 a second: {delays:?}");
    assert!(recorder.published.lock().unwrap().len() > published);
    let reads = source.reads_since(seconds(600)).len();
    assert!((5400..=6000).contains(&reads), "{reads} in 3000 s");
}

#[tokio::test(start_paused = true)]
async fn users_are_not_read_again_within_an_interval_and_nothing_is_published_without_a_change() {
    let source = Member::new(20);
    let recorder = start(&source, TIMING, &alone());
    sleep(seconds(3000)).await;
    let reads = source.reads.lock().unwrap().clone();
    for user in 0..20 {
        let user = format!("user-{user:04}");
        let of_user: Vec<Duration> = reads.iter().filter(|(_, name)| *name == user).map(|(at, _)| *at).collect();
        assert!((6..=9).contains(&of_user.len()), "{of_user:?}");
        assert!(of_user[0] >= INTERVAL && of_user.windows(2).all(|pair| pair[1] - pair[0] >= INTERVAL), "{of_user:?}");
    }
    let (published, checks) = (recorder.published.lock().unwrap().clone(), source.checks.lock().unwrap().clone());
    assert_eq!(published.len(), checks.len(), "checks publish, the sweep found nothing");
    let oldest = recorder.oldest.lock().unwrap().clone();
    assert!(oldest.windows(2).all(|pair| pair[0] <= pair[1]) && oldest.len() < reads.len() / 2, "{oldest:?}");
    assert!(wall_clock().duration_since(*oldest.last().unwrap()) < (INTERVAL * 2).try_into().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_throttled_account_is_left_alone_for_longer_and_longer() {
    let source = Member::new(1000);
    source.set_fault(Some(|_| Some(throttled())));
    let recorder = start(&source, TIMING, &alone());
    sleep(INTERVAL * 5).await;
    let reads = source.reads.lock().unwrap().clone();
    assert!((6..=11).contains(&reads.len()), "one request each time: {reads:?}");
    assert_eq!(*recorder.sweep_failures.lock().unwrap() as usize, reads.len());
    assert_eq!(*recorder.events.lock().unwrap(), ["throttled"], "reported once, and no check failed");
    source.set_fault(None);
    sleep(INTERVAL * 2).await;
    assert_eq!(*recorder.events.lock().unwrap(), ["throttled", "recovered"]);
    assert!(source.reads.lock().unwrap().len() > 500);
}

#[tokio::test(start_paused = true)]
async fn a_user_that_cannot_be_read_keeps_no_other_from_being_read() {
    // Where the next part begins after denied users is random.
    fastrand::seed(7);
    let source = Member::new(100);
    source.set_fault(Some(|user| (user.ends_with('3') || user.starts_with("user-000")).then(denied)));
    let recorder = start(&source, TIMING, &alone());
    sleep(INTERVAL * 20).await;
    let read: std::collections::BTreeSet<String> = source.reads_since(Duration::ZERO).into_iter().collect();
    let readable =
        (0..100).map(|n| format!("user-{n:04}")).filter(|user| !user.ends_with('3') && user.as_str() > "user-001");
    assert_eq!(readable.filter(|user| !read.contains(user)).collect::<Vec<_>>(), [""; 0]);
    assert!(!recorder.events.lock().unwrap().contains(&"check failed"));
}

#[tokio::test(start_paused = true)]
async fn there_is_no_sweep_while_checks_fail_and_none_if_it_is_off() {
    let source = Member::new(1000);
    start(&source, TIMING, &alone());
    sleep(INTERVAL).await;
    *source.check_fails.lock().unwrap() = true;
    sleep(INTERVAL * 2).await;
    let failing = source.checks.lock().unwrap().len();
    assert!(failing > 3);
    assert_eq!(source.reads_since(INTERVAL * 2), [""; 0]);

    let source = Member::new(1000);
    start(&source, Timing { sweep_per_second: 0.0, ..TIMING }, &alone());
    sleep(INTERVAL * 5).await;
    assert_eq!(source.reads_since(Duration::ZERO), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn over_all_accounts_the_sweep_has_half_of_the_requests_and_yields_to_checks() {
    let pacing = Pacing::new(Limits { accounts: 2, requests: 8 });
    let in_flight = Arc::default();
    let fast = Timing { sweep_per_second: 10.0, ..TIMING };
    let sources: Vec<_> = (0..20).map(|id| Member::numbered(id, 1000, Arc::clone(&in_flight))).collect();
    for source in &sources {
        start(source, fast, &pacing);
    }
    sleep(INTERVAL * 2).await;
    assert_eq!(in_flight.lock().unwrap().1, 4);
    for source in &sources {
        assert!(source.reads.lock().unwrap().len() > 50);
    }
    let permits = (pacing.check().await, pacing.check().await);
    sleep(seconds(30)).await;
    let now = elapsed();
    sleep(seconds(60)).await;
    assert!(sources.iter().all(|source| source.reads_since(now).is_empty()), "accounts wait for their check");
    drop(permits);
    sleep(seconds(60)).await;
    assert!(sources.iter().any(|source| !source.reads_since(now).is_empty()));
}

/// A check that becomes due drops the part of the sweep that is running.
#[tokio::test(start_paused = true)]
async fn a_check_does_not_wait_for_the_sweep() {
    let source = Member::new(5000);
    start(&source, Timing { sweep_per_second: 20.0, ..TIMING }, &alone());
    sleep(INTERVAL * 4).await;
    let checks = source.checks.lock().unwrap().clone();
    let phase = crate::schedule::Phase::of(source.id).wait(INTERVAL, Timestamp::UNIX_EPOCH);
    for (n, at) in (0..).zip(&checks[1..]) {
        assert!(at.abs_diff(phase + INTERVAL * n) < seconds(1), "{checks:?}");
    }
}
