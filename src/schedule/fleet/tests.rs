//! Time is paused.

use super::*;
use crate::config::settings::Settings;
use crate::config::shard::Shard;
use crate::config::{Config, Input};
use crate::model::{Collector, Listing, Observation, Partition};
use crate::schedule::once::{ChecksProgress, Found, Once};
use crate::source::organization::{Member, MemberState};
use crate::source::{NoProgress, Progress, Request};
use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

fn id(digit: char) -> AccountId {
    digit.to_string().repeat(12).parse().unwrap()
}

fn account(id: AccountId) -> Account {
    Account { id, name: String::new(), partition: Partition::default() }
}

/// An empty account; that of the credentials is 1. Checks of an account panic as often as the script wants.
struct Empty(AccountId, Arc<Mutex<BTreeMap<AccountId, usize>>>);

impl Source for Empty {
    fn account<'a>(&'a self, _: &'a Request) -> BoxFuture<'a, Result<Account, SourceError>> {
        Box::pin(async { Ok(account(self.0)) })
    }

    fn collect<'a>(&'a self, _: &'a Account, _: &'a Request) -> BoxFuture<'a, Result<Vec<Observation>, SourceError>> {
        Box::pin(async {
            let panics =
                self.1.lock().unwrap().get_mut(&self.0).and_then(|left| left.checked_sub(1).map(|n| *left = n));
            assert!(panics.is_none(), "the test wants a panic");
            let listing = Listing::new(Collector::Live, Timestamp::UNIX_EPOCH, Vec::new()).unwrap();
            Ok(vec![Observation::Listing(listing)])
        })
    }
}

type Listed = Result<Vec<Member>, SourceError>;

/// Lists the organisation from a script, whose last answer repeats; `None` never answers.
#[derive(Default)]
struct Script {
    listings: Mutex<VecDeque<Option<Listed>>>,
    listed: Mutex<Vec<Duration>>,
    sources: Mutex<Vec<String>>,
    panics: Arc<Mutex<BTreeMap<AccountId, usize>>>,
    /// How many of the next listings panic.
    listings_that_panic: Mutex<usize>,
    started: Option<Instant>,
}

impl Provider for Script {
    fn source(&self, target: &Target) -> Arc<dyn Source> {
        self.sources.lock().unwrap().push(target.name.clone());
        Arc::new(Empty(target.account.unwrap_or(id('1')), Arc::clone(&self.panics)))
    }

    fn discover(&self, organization: Option<&OrganizationSection>) -> BoxFuture<'static, Discovered> {
        self.listed.lock().unwrap().push(self.started.unwrap().elapsed());
        let mut listings = self.listings.lock().unwrap();
        let listing = if listings.len() > 1 { listings.pop_front().unwrap() } else { listings[0].clone() };
        let wanted = organization.is_some();
        let mut panics = self.listings_that_panic.lock().unwrap();
        let is_panic = *panics > 0;
        *panics = panics.saturating_sub(1);
        Box::pin(async move {
            assert!(!is_panic, "the test wants a panic");
            let Some(listing) = listing else { return std::future::pending().await };
            let members = Members { management: id('1'), members: listing? };
            Ok((account(id('1')), wanted.then_some(members)))
        })
    }
}

#[derive(Default)]
struct Recorder {
    events: Mutex<Vec<String>>,
    states: Mutex<BTreeMap<AccountId, Arc<AccountState>>>,
    successes: Mutex<BTreeMap<AccountId, usize>>,
    /// Whether the next report of a failure panics.
    panics_at_failures: Mutex<bool>,
}

impl Recorder {
    fn push(&self, event: String) {
        self.events.lock().unwrap().push(event);
    }

    /// The events since the last call.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.events.lock().unwrap())
    }

    fn accounts(&self) -> String {
        self.states.lock().unwrap().keys().map(|id| &id.as_str()[..1]).collect()
    }
}

impl Events for Recorder {
    fn account_identified(&self, _: &Account) {}

    fn account_forgotten(&self, account: AccountId) {
        self.states.lock().unwrap().remove(&account);
    }

    fn check_succeeded(&self, account: AccountId, _: Duration, _: Timestamp) {
        *self.successes.lock().unwrap().entry(account).or_default() += 1;
    }

    fn check_failed(&self, account: Option<AccountId>, _: Duration, error: &SourceError) {
        self.push(format!("failed {} {}", error.reason(), account.map_or("-".into(), |a| a.as_str()[..1].to_owned())));
        let panics = std::mem::take(&mut *self.panics_at_failures.lock().unwrap());
        assert!(!panics, "the test wants a panic");
    }

    fn state_changed(&self, state: &Arc<AccountState>) {
        self.states.lock().unwrap().insert(state.account.id, Arc::clone(state));
    }
}

impl FleetEvents for Recorder {
    fn account_added(&self, account: Option<AccountId>) {
        self.push(format!(
            "added {}",
            account.map_or("own", |_| "").to_owned() + &account.map_or(String::new(), |a| a.as_str()[..1].into())
        ));
    }

    fn account_left(&self, account: AccountId, departure: Departure) {
        self.push(format!("{departure:?} {}", &account.as_str()[..1]));
    }

    fn account_removed(&self, account: AccountId) {
        self.states.lock().unwrap().remove(&account);
        self.push(format!("removed {}", &account.as_str()[..1]));
    }

    fn last_state(&self, account: AccountId) -> Option<Arc<AccountState>> {
        let state = self.states.lock().unwrap().get(&account).cloned();
        if state.is_some() {
            self.push(format!("continued {}", &account.as_str()[..1]));
        }
        state
    }

    fn targets_changed(&self, _: &Targets, _: bool) {}

    fn discovered(&self) {
        self.push("discovered".into());
    }

    fn discovery_failed(&self, error: &DiscoveryError) {
        self.push(error.reason().into());
    }
}

fn config(yaml: &str) -> Arc<Config> {
    let settings = Settings::from_yaml(yaml).unwrap();
    Arc::new(Config { input: Input::Aws, policy: Arc::new(settings.policy()), shard: Shard::ALL, settings })
}

/// Accounts of these digits.
fn members(digits: &str) -> Vec<Member> {
    let member = |digit: char| Member {
        id: id(digit),
        name: format!("n{digit}"),
        state: MemberState::Active,
        units: vec![],
        tags: vec![],
    };
    digits.chars().map(member).collect()
}

struct Running {
    script: Arc<Script>,
    recorder: Arc<Recorder>,
    config: watch::Sender<Arc<Config>>,
    _task: tokio::task::JoinHandle<()>,
}

fn start(yaml: &str, listings: Vec<Option<Listed>>) -> Running {
    let started = Some(Instant::now());
    let script = Arc::new(Script { listings: Mutex::new(listings.into()), started, ..Script::default() });
    let recorder = Arc::new(Recorder::default());
    let (sender, receiver) = watch::channel(config(yaml));
    let fleet = Fleet {
        provider: Arc::clone(&script) as Arc<dyn Provider>,
        config: receiver,
        timing: Timing { interval: Duration::from_secs(300), timeout: Duration::from_secs(60), sweep_per_second: 0.0 },
        pacing: Pacing::new(super::super::pacing::Limits { accounts: 64, requests: 64 }),
        events: Arc::clone(&recorder) as Arc<dyn FleetEvents>,
        now: || Timestamp::UNIX_EPOCH,
    };
    Running { script, recorder, config: sender, _task: tokio::spawn(fleet.run()) }
}

/// Lets time pass, in steps that end between two ticks of the timer.
async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_millis(seconds * 1000 + 1)).await;
}

fn throttled() -> Option<Listed> {
    Some(Err(SourceError::Throttled { operation: "ListAccounts", message: String::new() }))
}

const ORGANIZATION: &str = "organization: { role_name: audit, refresh_interval: 15m, retention: 1h }\n";

#[tokio::test(start_paused = true)]
async fn the_account_of_the_credentials_needs_no_discovery() {
    let fleet = start("", vec![throttled()]);
    pass(3600).await;
    assert_eq!(fleet.recorder.take(), ["added own"]);
    assert_eq!((fleet.recorder.accounts(), fleet.script.listed.lock().unwrap().len()), ("1".into(), 0));
}

#[tokio::test(start_paused = true)]
async fn accounts_come_and_go_with_the_organisation() {
    let fleet = start(ORGANIZATION, vec![Some(Ok(members("123"))), Some(Ok(members("1245")))]);
    pass(1).await;
    assert_eq!(fleet.recorder.take(), ["discovered", "added 1", "added 2", "added 3"]);
    pass(1000).await;
    assert_eq!(fleet.recorder.take(), ["discovered", "Left 3", "added 4", "added 5"]);
    assert_eq!(fleet.recorder.accounts(), "12345", "the last data stay");
    pass(3600).await;
    let events = fleet.recorder.take();
    assert_eq!(events.iter().filter(|e| *e != "discovered").collect::<Vec<_>>(), ["removed 3"]);
    assert_eq!(fleet.recorder.accounts(), "1245");
}

#[tokio::test(start_paused = true)]
async fn an_account_that_returns_continues_with_its_data() {
    let listings = ["123", "12", "123"].map(|digits| Some(Ok(members(digits))));
    let fleet = start(ORGANIZATION, listings.into());
    pass(2400).await;
    let events = fleet.recorder.take();
    let of_3: Vec<_> = events.iter().filter(|e| e.ends_with('3')).collect();
    assert_eq!(of_3, ["added 3", "Left 3", "added 3", "continued 3"]);
    pass(7200).await;
    assert_eq!(fleet.recorder.accounts(), "123", "it is not removed later");
}

#[tokio::test(start_paused = true)]
async fn failed_listings_drop_nothing_and_are_retried() {
    let fleet = start(ORGANIZATION, vec![Some(Ok(members("123"))), throttled()]);
    pass(7200).await;
    let events = fleet.recorder.take();
    assert_eq!(events[..4], ["discovered", "added 1", "added 2", "added 3"]);
    assert!(events.len() > 10 && events[4..].iter().all(|e| e == "throttled"), "{events:?}");
    let listed = fleet.script.listed.lock().unwrap().clone();
    let pauses: Vec<f64> = listed.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    for (pause, expected) in pauses.iter().zip([900.0, 5.0, 10.0, 20.0, 40.0]) {
        assert!((0.89 * expected..=1.11 * expected).contains(pause), "{pauses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_hangs_is_given_up() {
    let fleet = start(ORGANIZATION, vec![None, Some(Ok(members("1")))]);
    pass(599).await;
    assert_eq!(fleet.recorder.take(), [""; 0]);
    pass(10).await;
    assert_eq!(fleet.recorder.take(), ["timeout", "discovered", "added 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_shrunken_listing_is_confirmed_by_the_next_one() {
    let fleet = start(ORGANIZATION, vec![Some(Ok(members("12345"))), Some(Ok(members("1")))]);
    pass(1100).await;
    assert_eq!(fleet.recorder.take().last().unwrap(), "shrunken");
    pass(1000).await;
    assert_eq!(fleet.recorder.take(), ["discovered", "Left 2", "Left 3", "Left 4", "Left 5"]);
}

#[tokio::test(start_paused = true)]
async fn a_reload_adds_and_removes_accounts_and_keeps_the_data_of_the_others() {
    let role = |digit: char| format!("{{ role_arn: 'arn:aws:iam::{}:role/x' }}", id(digit));
    let accounts = |list: &[String]| format!("accounts: [{}]\n", list.join(", "));
    let fleet = start(&accounts(&[role('2'), role('3')]), vec![Some(Ok(vec![]))]);
    pass(1).await;
    assert_eq!(fleet.recorder.take(), ["added 2", "added 3", "discovered"]);
    fleet.config.send_replace(config(&accounts(&[role('3'), role('4')])));
    pass(1).await;
    assert_eq!(fleet.recorder.take(), ["removed 2", "added 4", "discovered"], "3 goes on as it was");
    let renamed = accounts(&[role('3').replace(" }", ", name: three }"), role('4')]);
    fleet.config.send_replace(config(&renamed));
    pass(1).await;
    assert_eq!(fleet.recorder.take(), ["continued 3", "discovered"]);
    assert_eq!(fleet.script.sources.lock().unwrap().last().unwrap(), "three");
}

#[tokio::test(start_paused = true)]
async fn rules_of_an_account_change_without_a_new_worker() {
    let fleet = start("", vec![throttled()]);
    pass(1).await;
    fleet.recorder.take();
    fleet.config.send_replace(config("policy: { key_age: { enabled: false } }"));
    pass(1).await;
    assert_eq!(fleet.recorder.take(), [""; 0]);
    let state = fleet.recorder.last_state(id('1')).unwrap();
    assert!(!state.policy().rules.key_age.enabled);
}

#[tokio::test(start_paused = true)]
async fn other_credentials_for_the_same_account_keep_its_data() {
    let fleet = start("", vec![Some(Ok(vec![]))]);
    pass(1).await;
    fleet.recorder.take();
    fleet.config.send_replace(config(&format!("accounts: [{{ role_arn: 'arn:aws:iam::{}:role/x' }}]", id('1'))));
    pass(1).await;
    assert_eq!(fleet.recorder.take(), ["added 1", "continued 1", "discovered"]);
}

/// Filters by tag need tags, which the listing before them does not have.
#[tokio::test(start_paused = true)]
async fn accounts_stay_until_the_organisation_is_listed_for_new_filters() {
    let fleet = start(ORGANIZATION, vec![Some(Ok(members("123"))), throttled(), Some(Ok(members("123")))]);
    pass(1).await;
    fleet.recorder.take();
    let filtered = ORGANIZATION.replace(" }", ", include: { tags: { env: prod }, accounts: ['222222222222'] } }");
    fleet.config.send_replace(config(&filtered));
    pass(1).await;
    assert_eq!(fleet.recorder.take(), ["throttled"]);
    pass(10).await;
    assert_eq!(fleet.recorder.take(), ["discovered", "removed 1", "removed 3"]);
}

#[tokio::test(start_paused = true)]
async fn without_the_organisation_its_accounts_end_at_once() {
    let fleet = start(ORGANIZATION, vec![Some(Ok(members("123")))]);
    pass(1).await;
    fleet.recorder.take();
    fleet.config.send_replace(config("accounts: [{ self: true }]"));
    pass(1).await;
    let events = fleet.recorder.take();
    assert_eq!(events[..2], ["removed 2", "removed 3"], "{events:?}");
    assert_eq!(fleet.recorder.accounts(), "1");
}

#[tokio::test(start_paused = true)]
async fn a_reload_does_not_confirm_a_shrunken_listing() {
    let fleet = start(ORGANIZATION, vec![Some(Ok(members("12345"))), Some(Ok(members("1")))]);
    pass(1100).await;
    assert_eq!(fleet.recorder.take().last().unwrap(), "shrunken");
    fleet.config.send_replace(config(&format!("{ORGANIZATION}policy: {{ key_age: {{ enabled: false }} }}")));
    pass(1).await;
    assert_eq!(fleet.recorder.take(), [""; 0], "two listings within seconds can share a mistake");
    pass(1000).await;
    assert_eq!(fleet.recorder.take(), ["discovered", "Left 2", "Left 3", "Left 4", "Left 5"]);
}

#[tokio::test(start_paused = true)]
async fn accounts_and_reloads_leave_nothing_behind() {
    let list = |from: u64| {
        let role = |n: u64| format!("- role_arn: arn:aws:iam::{:012}:role/x\n", 100_000_000_000 + n);
        format!("accounts:\n{}", (from..from + 1000).map(role).collect::<String>())
    };
    let lists = [config(&list(0)), config(&list(500))];
    let fleet = start(&list(0), vec![Some(Ok(vec![]))]);
    pass(1).await;
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    for turn in 1..=10 {
        fleet.config.send_replace(Arc::clone(&lists[turn % 2]));
        pass(1).await;
    }
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), tasks);
    assert_eq!(fleet.recorder.states.lock().unwrap().len(), 1000);
}

/// The next checks of an account panic. The tests print these panics.
fn panics(fleet: &Running, digit: char, times: usize) {
    fleet.script.panics.lock().unwrap().insert(id(digit), times);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failed_check_of_one_account() {
    let fleet = start(ORGANIZATION, vec![Some(Ok(members("123")))]);
    pass(1).await;
    fleet.recorder.take();
    let data = fleet.recorder.states.lock().unwrap()[&id('2')].clone();
    fleet.recorder.successes.lock().unwrap().clear();
    panics(&fleet, '2', 1);
    pass(310).await;
    let events = fleet.recorder.take();
    assert_eq!(events, ["failed internal 2", "continued 2"], "the worker has started again with the last good data");
    let last = fleet.recorder.states.lock().unwrap()[&id('2')].clone();
    assert_eq!(last.listed_at(), data.listed_at());
    pass(900).await;
    let successes = fleet.recorder.successes.lock().unwrap().clone();
    for digit in ['1', '2', '3'] {
        assert!(successes[&id(digit)] >= 3, "account {digit} is checked on: {successes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_always_panics_is_tried_less_and_less_often() {
    let fleet = start(ORGANIZATION, vec![Some(Ok(members("12")))]);
    panics(&fleet, '2', usize::MAX);
    pass(1).await;
    assert_eq!(fleet.recorder.take(), ["discovered", "added 1", "added 2", "failed internal 2"]);
    pass(154).await;
    let failures = fleet.recorder.take().iter().filter(|e| *e == "failed internal 2").count();
    assert!((4..=5).contains(&failures), "after 5, 10, 20, 40, 80 seconds: {failures}");
    pass(24 * 3600).await;
    let failures = fleet.recorder.take().iter().filter(|e| *e == "failed internal 2").count();
    assert!((250..=330).contains(&failures), "once per interval: {failures}");
    assert!(fleet.recorder.successes.lock().unwrap()[&id('1')] > 280, "the other account is checked in its time");
    panics(&fleet, '2', 0);
    pass(660).await;
    assert!(fleet.recorder.successes.lock().unwrap().contains_key(&id('2')));
}

#[tokio::test(start_paused = true)]
async fn the_account_of_the_credentials_that_panics_is_reported_as_it_is_known() {
    let fleet = start("", vec![throttled()]);
    panics(&fleet, '1', 2);
    // A report that panics stops nothing.
    *fleet.recorder.panics_at_failures.lock().unwrap() = true;
    pass(60).await;
    assert_eq!(fleet.recorder.take(), ["added own", "failed internal 1", "failed internal 1"]);
    assert_eq!(fleet.recorder.accounts(), "1");
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_panics_is_tried_again() {
    let fleet = start(ORGANIZATION, vec![Some(Ok(members("12")))]);
    *fleet.script.listings_that_panic.lock().unwrap() = 2;
    pass(60).await;
    assert_eq!(fleet.recorder.take(), ["internal", "internal", "discovered", "added 1", "added 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_panicking_account_leaves_nothing_behind() {
    let fleet = start(ORGANIZATION, vec![Some(Ok(members("12")))]);
    pass(1).await;
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    panics(&fleet, '2', 50);
    pass(24 * 3600).await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), tasks);
}

struct NotDisplayed;

impl ChecksProgress for NotDisplayed {
    fn started(&self, _: &Target) -> Arc<dyn Progress> {
        Arc::new(NoProgress)
    }

    fn ended(&self) {}
}

/// `check` reports what it could read.
#[tokio::test(start_paused = true)]
async fn a_single_check_that_panics_fails_alone() {
    let script = Arc::new(Script {
        listings: Mutex::new(vec![Some(Ok(members("123")))].into()),
        panics: Arc::new(Mutex::new(BTreeMap::from([(id('2'), 1)]))),
        started: Some(Instant::now()),
        ..Script::default()
    });
    let settings = Settings::from_yaml(ORGANIZATION).unwrap();
    let targets = Found::list(&*script, &settings).await.targets.accounts;
    let once = Once {
        provider: Arc::clone(&script) as Arc<dyn Provider>,
        pacing: Pacing::new(super::super::pacing::Limits { accounts: 64, requests: 64 }),
        policy: Arc::new(settings.policy()),
        timeout: Duration::from_secs(60),
        only_user: None,
        progress: Arc::new(NotDisplayed),
        now: || Timestamp::UNIX_EPOCH,
    };
    let checked = once.check(targets).await;
    let results: Vec<_> = checked.iter().map(|c| (c.target.account.unwrap(), c.result.as_ref().err())).collect();
    assert_eq!(results, [(id('1'), None), (id('2'), Some(&SourceError::Internal)), (id('3'), None)]);
}
