//! Publishing one account of 500 users among 10 and among 1,000 accounts, and what a scrape adds.
//!
//! `cargo bench --bench publish`. Everything runs on one thread.

use divan::{Bencher, black_box};
use iam_key_exporter::exposition::{Options, Parts, Users};
use iam_key_exporter::model::{
    AccessKey, Account, AccountId, Collector, KeyStatus, KeysResult, LastUsed, ListedUser, Listing, Observation,
    Partition, Timestamp, UserName,
};
use iam_key_exporter::policy::Policy;
use iam_key_exporter::state::{AccountState, Snapshot};
use std::sync::Arc;
use std::time::Duration;

const ACCOUNTS: [u64; 2] = [10, 1000];
const USERS: usize = 500;
/// One user in a hundred has two active keys.
const VIOLATING: usize = 100;

fn main() {
    divan::main();
}

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn id(account: u64) -> AccountId {
    // As evenly spread as AWS's.
    format!("{:012}", account * 7_654_321_987 % 999_999_999_989).parse().unwrap()
}

/// The state after a check at which the keys were last used at this time.
fn state(account: u64, used_at: Timestamp, policy: &Arc<Policy>) -> Arc<AccountState> {
    let user = |number: usize| {
        let created = Timestamp::from_second(1_768_000_000 + number as i64).ok();
        let key = |_| AccessKey::new(None, KeyStatus::Active, created, LastUsed::At(used_at));
        ListedUser {
            name: UserName::new(&format!("first.last-{number:05}")),
            path: "/".into(),
            created,
            observed_at: used_at,
            keys: KeysResult::complete((0..1 + usize::from(number.is_multiple_of(VIOLATING))).map(key).collect()),
        }
    };
    let account = Account { id: id(account), name: String::new(), partition: Partition::default() };
    let listing = Listing::new(Collector::Report, used_at, (0..USERS).map(user).collect()).unwrap();
    let mut state = AccountState::new(account, Arc::clone(policy));
    state.apply(Observation::Listing(listing));
    state.evaluate(policy, now());
    Arc::new(state)
}

struct Fleet {
    parts: Parts,
    snapshot: Snapshot,
    policy: Arc<Policy>,
}

impl Fleet {
    fn new(accounts: u64, users: Users) -> Self {
        let options =
            Options { users, user_info: false, tags: Vec::new(), owner_tags: Vec::new(), access_key_id: false };
        let policy = Arc::new(Policy::default());
        let snapshot = Snapshot::new(Arc::clone(&policy));
        let mut fleet = Fleet { parts: Parts::new(options), snapshot, policy };
        for account in 0..accounts {
            fleet.publish(state(account, now(), &fleet.policy));
        }
        fleet.parts.page();
        fleet
    }

    /// What a successful check publishes.
    fn publish(&mut self, state: Arc<AccountState>) {
        let account = state.account.id;
        let inventory = self.parts.encode(&state);
        self.snapshot.put(state);
        self.parts.publish(inventory, &self.snapshot, now());
        self.parts.check_succeeded(account.as_str(), Duration::from_millis(1500), now(), now());
    }

    /// Two states of the same account that differ in when keys were last used.
    fn states(&self, account: u64) -> [Arc<AccountState>; 2] {
        [1, 2].map(|hours| state(account, now() + Duration::from_secs(hours * 3600), &self.policy))
    }
}

/// A check after which every user has new data in one family.
#[divan::bench(args = ACCOUNTS)]
fn publish_one_account(bencher: Bencher, accounts: u64) {
    let mut fleet = Fleet::new(accounts, Users::All);
    let mut states = fleet.states(accounts / 2).into_iter().cycle();
    let mut states = std::iter::from_fn(move || states.next());
    bencher.bench_local(move || fleet.publish(states.next().unwrap()));
}

/// A check that changed nothing but the times of the account.
#[divan::bench(args = ACCOUNTS)]
fn publish_an_unchanged_account(bencher: Bencher, accounts: u64) {
    let mut fleet = Fleet::new(accounts, Users::All);
    let [state, _] = fleet.states(accounts / 2);
    bencher.bench_local(move || fleet.publish(Arc::clone(&state)));
}

/// The first scrape after one account was published.
#[divan::bench(args = ACCOUNTS)]
fn page_after_one_account(bencher: Bencher, accounts: u64) {
    page_after(bencher, accounts, 1);
}

/// The first scrape after so many accounts were published that every group of accounts has changed.
#[divan::bench(args = ACCOUNTS)]
fn page_after_all_accounts(bencher: Bencher, accounts: u64) {
    page_after(bencher, accounts, accounts);
}

fn page_after(bencher: Bencher, accounts: u64, published: u64) {
    let mut fleet = Fleet::new(accounts, Users::All);
    let states: Vec<_> = (0..published).map(|account| fleet.states(account)).collect();
    let fleet = std::cell::RefCell::new(&mut fleet);
    let round = std::cell::Cell::new(0);
    bencher
        .with_inputs(|| {
            round.set(round.get() + 1);
            for state in &states {
                fleet.borrow_mut().publish(Arc::clone(&state[round.get() % 2]));
            }
        })
        .bench_local_refs(|()| black_box(fleet.borrow().parts.page()));
}

/// A scrape after which nothing has changed: the pieces of the answer.
#[divan::bench(args = ACCOUNTS)]
fn scrape_again(bencher: Bencher, accounts: u64) {
    let fleet = Fleet::new(accounts, Users::All);
    bencher.bench_local(move || fleet.parts.page().gzip(&Default::default(), b"tail"));
}

/// The same as plain text, which is decompressed.
#[divan::bench(args = ACCOUNTS)]
fn scrape_again_as_plain_text(bencher: Bencher, accounts: u64) {
    let fleet = Fleet::new(accounts, Users::All);
    bencher
        .bench_local(move || fleet.parts.page().plain(&Default::default(), Vec::new()).map(|c| c.len()).sum::<usize>());
}
