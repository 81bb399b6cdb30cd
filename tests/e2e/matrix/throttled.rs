//! A worker of the library with paused time: ten minutes pass in an instant.

use super::Row;
use super::scenario::FAULTY;
use crate::metrics::Metrics;
use futures_util::future::BoxFuture;
use iam_key_exporter::model::{
    AccessKey, Account, AccountId, Collector, KeyStatus, KeysResult, LastUsed, ListedUser, Listing, Observation,
    Partition, RootKeys, Timestamp, UserName,
};
use iam_key_exporter::policy::{Policy, Status};
use iam_key_exporter::schedule::{Events, Limits, Pacing, Timing, Worker};
use iam_key_exporter::source::{Request, Source, SourceError};
use iam_key_exporter::state::AccountState;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

const MINUTE: Duration = Duration::from_secs(60);
/// The default times.
const TIMING: Timing =
    Timing { interval: Duration::from_secs(300), timeout: Duration::from_secs(600), sweep_per_second: 0.0 };
const FAULT: Duration = Duration::from_secs(600);

thread_local! {
    static START: Instant = Instant::now();
}

fn wall_clock() -> Timestamp {
    Timestamp::UNIX_EPOCH + START.with(Instant::elapsed)
}

/// One user in violation. Requests are throttled between two times.
struct Throttled {
    from: Instant,
}

impl Source for Throttled {
    fn account<'a>(&'a self, _: &'a Request) -> BoxFuture<'a, Result<Account, SourceError>> {
        let partition = Partition::default();
        Box::pin(async { Ok(Account { id: FAULTY.parse().unwrap(), name: String::new(), partition }) })
    }

    fn collect<'a>(&'a self, _: &'a Account, _: &'a Request) -> BoxFuture<'a, Result<Vec<Observation>, SourceError>> {
        Box::pin(async {
            if (self.from..self.from + FAULT).contains(&Instant::now()) {
                // Retries of the SDK take their time.
                sleep(Duration::from_secs(20)).await;
                return Err(SourceError::Throttled { operation: "ListUsers", message: "Rate exceeded".into() });
            }
            let at = wall_clock();
            let key = || AccessKey::new(None, KeyStatus::Active, Some(Timestamp::UNIX_EPOCH), LastUsed::Never);
            let keys = KeysResult::complete(vec![key(), key()]);
            let bob = ListedUser { name: UserName::new("bob"), path: "/".into(), created: None, observed_at: at, keys };
            let listing = Listing::new(Collector::Live, at, vec![bob]).unwrap();
            Ok(vec![Observation::Listing(listing), Observation::Root { at, keys: RootKeys::Active(0) }])
        })
    }
}

#[derive(Default)]
struct Recorder {
    /// When checks ended, and the reason of those that failed.
    ended: Mutex<Vec<(Instant, Option<&'static str>)>>,
    state: Mutex<Option<Arc<AccountState>>>,
}

impl Recorder {
    fn end(&self, reason: Option<&'static str>) {
        self.ended.lock().unwrap().push((Instant::now(), reason));
    }

    fn since(&self, from: Instant) -> Vec<(Instant, Option<&'static str>)> {
        self.ended.lock().unwrap().iter().filter(|(at, _)| *at >= from).copied().collect()
    }

    fn state(&self) -> Option<Arc<AccountState>> {
        self.state.lock().unwrap().clone()
    }
}

impl Events for Recorder {
    fn account_identified(&self, _: &Account) {}
    fn account_forgotten(&self, _: AccountId) {}
    fn check_succeeded(&self, _: AccountId, _: Duration, _: Timestamp) {
        self.end(None);
    }
    fn check_failed(&self, _: Option<AccountId>, _: Duration, error: &SourceError) {
        self.end(Some(error.reason()));
    }
    fn state_changed(&self, state: &Arc<AccountState>) {
        *self.state.lock().unwrap() = Some(Arc::clone(state));
    }
}

pub fn run(row: &Row) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        wall_clock();
        throttle(row, Duration::ZERO).await;
        throttle(row, 17 * MINUTE).await;
    });
    assert!(row.says("as for throttling of all requests"), "the log is that of the program");
}

/// With good data for so long before.
async fn throttle(row: &Row, good: Duration) {
    let from = Instant::now() + good;
    let recorder = Arc::new(Recorder::default());
    let (_sender, policy) = watch::channel(Arc::new(Policy::default()));
    let worker = Worker {
        account: None,
        state: None,
        identified: watch::Sender::new(None),
        source: Arc::new(Throttled { from }),
        timing: TIMING,
        pacing: Pacing::new(Limits { accounts: 64, requests: 64 }),
        policy,
        events: Arc::clone(&recorder) as Arc<dyn Events>,
        now: wall_clock,
    };
    let worker = tokio::spawn(worker.run());
    // Evaluated just before the end of the fault, after data that are as good as at its beginning.
    sleep(good.saturating_sub(Duration::from_millis(1))).await;
    let before = recorder.state();
    assert_eq!(before.is_some(), !good.is_zero());
    sleep(FAULT).await;
    let during = recorder.since(from);
    assert!(during.len() >= 2, "{during:?}");
    assert!(during.iter().all(|(_, reason)| *reason == row.value("reason ")), "{during:?}");
    // The exporter sets `up` when a check ends.
    let up = u8::from(during.last().is_some_and(|(_, reason)| reason.is_none()));
    let up = Metrics::new(format!("iam_key_exporter_account_up{{account_id=\"{FAULTY}\"}} {up}\n"));
    row.samples().iter().for_each(|sample| sample.assert(FAULTY, None, &up));

    assert!(row.says("data unchanged"));
    let after = recorder.state();
    let data = |state: &Option<Arc<AccountState>>| {
        let state = state.as_ref()?;
        Some((state.listed_at(), state.totals().users(Status::Violation), state.oldest_observation()))
    };
    assert_eq!(data(&after), data(&before));

    assert!(row.says("next check"));
    sleep(TIMING.interval * 2).await;
    // A check that began with the fault can still fail.
    let success = recorder.since(from + FAULT).into_iter().find(|(_, reason)| reason.is_none()).expect("a success").0;
    assert!(success - (from + FAULT) <= TIMING.interval * 11 / 10 + Duration::from_secs(20), "{:?}", success - from);
    assert_eq!(data(&recorder.state()).unwrap().1, 1);
    worker.abort();
}
