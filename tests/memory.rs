//! Memory per user, counted by the allocator: one process holds hundreds of thousands of users.

use iam_key_exporter::model::{
    AccessKey, AccessKeyId, Account, Collector, KeyStatus, KeysResult, LastUsed, ListedUser, Listing, Observation,
    Partition, Timestamp, UserName,
};
use iam_key_exporter::policy::Policy;
use iam_key_exporter::state::AccountState;
use peak_alloc::PeakAlloc;
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const USERS: usize = 5000;
/// Bytes of a user with two keys: inventory and verdict, without the exposition.
const MOST: usize = 250;

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

/// The bytes that one account's state keeps, per user.
fn bytes_per_user(second_key: KeyStatus) -> usize {
    let before = ALLOCATOR.current_usage();
    let account = Account { id: "123456789012".parse().unwrap(), name: String::new(), partition: Partition::default() };
    let policy = Arc::new(Policy::default());
    let mut state = AccountState::new(account, Arc::clone(&policy));
    state.apply(listing(second_key));
    state.evaluate(&policy, at(1_772_000_100));
    let bytes = ALLOCATOR.current_usage() - before;
    assert_eq!(state.users().len(), USERS);
    bytes / USERS
}

#[test]
fn a_user_with_two_keys_takes_at_most_250_bytes() {
    let compliant = bytes_per_user(KeyStatus::Inactive);
    let violating = bytes_per_user(KeyStatus::Active);
    println!("bytes per user with two keys: {compliant} compliant, {violating} in violation");
    assert!(compliant <= MOST, "{compliant} bytes per compliant user");
    assert!(violating <= MOST, "{violating} bytes per user in violation");
}
