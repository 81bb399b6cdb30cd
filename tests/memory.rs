//! Memory per user, counted by the allocator: one process holds hundreds of thousands of users.

use iam_key_exporter::exposition::{Options, Parts, Users};
use iam_key_exporter::model::{
    AccessKey, AccessKeyId, Account, Collector, KeyStatus, KeysResult, LastUsed, ListedUser, Listing, Observation,
    Partition, Timestamp, UserName,
};
use iam_key_exporter::policy::Policy;
use iam_key_exporter::state::{AccountState, Snapshot};
use peak_alloc::PeakAlloc;
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const USERS: usize = 5000;
/// Bytes of a user with two keys: inventory and verdict, without the exposition.
const MOST: usize = 250;
/// Bytes of such a user in the exposition, of which all text is compressed: eight series, about 800 bytes as plain text.
const MOST_EXPOSED: usize = 60;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn listing(second_key: KeyStatus) -> Observation {
    let paths: Vec<Arc<str>> = (0..40).map(|team| format!("/division/team-{team}/").into()).collect();
    let user = |i: usize| {
        let key = |n: usize, status| {
            let id = AccessKeyId::new(&format!("AKIA{i:015}{n}"));
            AccessKey::new(Some(id), status, Some(at(1_768_000_000)), LastUsed::At(at(1_772_000_000)))
        };
        ListedUser {
            name: UserName::new(&format!("first.last-{i:05}")),
            path: Arc::clone(&paths[i % paths.len()]),
            created: Some(at(1_700_000_000)),
            observed_at: at(1_772_000_000),
            keys: KeysResult::complete(vec![key(1, KeyStatus::Active), key(2, second_key)]),
        }
    };
    Observation::Listing(Listing::new(Collector::Live, at(1_772_000_000), (0..USERS).map(user).collect()).unwrap())
}

fn evaluated(account: u64, second_key: KeyStatus, policy: &Arc<Policy>) -> AccountState {
    let id = format!("{account:012}").parse().unwrap();
    let account = Account { id, name: String::new(), partition: Partition::default() };
    let mut state = AccountState::new(account, Arc::clone(policy));
    state.apply(listing(second_key));
    state.evaluate(policy, at(1_772_000_100));
    assert_eq!(state.users().len(), USERS);
    state
}

/// The bytes that one account's state keeps, per user.
fn bytes_per_user(second_key: KeyStatus) -> usize {
    let policy = Arc::new(Policy::default());
    let before = ALLOCATOR.current_usage();
    let _state = evaluated(123_456_789_012, second_key, &policy);
    (ALLOCATOR.current_usage() - before) / USERS
}

/// The bytes that the exposition of another account keeps, per user, once it was scraped as plain text and with gzip.
fn exposed_bytes_per_user(users: Users, second_key: KeyStatus) -> usize {
    let policy = Arc::new(Policy::default());
    let mut snapshot = Snapshot::new(Arc::clone(&policy));
    let parts = Parts::new(Options { users, user_info: false, tags: Vec::new(), access_key_id: false });
    let mut publish = |account| {
        let state = Arc::new(evaluated(account, second_key, &policy));
        let before = ALLOCATOR.current_usage();
        let inventory = parts.encode(&state);
        snapshot.put(state);
        parts.publish(inventory, &snapshot, at(1_772_000_100));
        let page = parts.page();
        let text = page.plain(&Default::default(), Vec::new()).map(|chunk| chunk.len()).sum::<usize>();
        assert!(users != Users::All || text > 700 * USERS, "{text} bytes");
        drop(page.gzip(&Default::default(), b""));
        ALLOCATOR.current_usage() - before
    };
    // What all accounts have in common is allocated with the first one.
    publish(1);
    publish(2) / USERS
}

/// One test: the allocator counts for the process.
#[test]
fn a_user_with_two_keys_takes_at_most_250_bytes_and_60_in_the_exposition() {
    let compliant = bytes_per_user(KeyStatus::Inactive);
    let violating = bytes_per_user(KeyStatus::Active);
    let all = exposed_bytes_per_user(Users::All, KeyStatus::Active);
    let none = exposed_bytes_per_user(Users::Violating, KeyStatus::Inactive);
    println!("bytes per user with two keys: {compliant} compliant, {violating} in violation");
    println!("in the exposition: {all} with series of its own, {none} without");
    assert!(compliant <= MOST, "{compliant} bytes per compliant user");
    assert!(violating <= MOST, "{violating} bytes per user in violation");
    assert!(all <= MOST_EXPOSED, "{all} bytes per user with series of its own");
    assert!(none <= 2, "{none} bytes per user without");
}
