//! Memory per user, counted by the allocator: one process holds hundreds of thousands of users.

use iam_key_exporter::aws::{self, Process};
use iam_key_exporter::exposition::{Options, Parts, Users};
use iam_key_exporter::model::{
    Access, AccessKey, AccessKeyId, Account, Collector, DetailsResult, DetailsScope, KeyStatus, KeysResult, LastUsed,
    ListedUser, Listing, Observation, Partition, Role, Tag, Timestamp, UserDetails, UserName,
};
use iam_key_exporter::policy::Policy;
use iam_key_exporter::state::{AccountState, Snapshot};
use peak_alloc::PeakAlloc;
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const USERS: usize = 5000;
/// Bytes of the access to one of many accounts.
const MOST_OF_ACCESS: usize = 3000;
/// Bytes of a user with two keys: inventory and verdict, without the exposition.
const MOST: usize = 250;
/// Bytes of such a user in the exposition, of which all text is compressed: eight series, about 800 bytes as plain text.
const MOST_EXPOSED: usize = 60;
/// Bytes of the tags and groups of a user, where they are read.
const MOST_OF_DETAILS: usize = 50;

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
    let parts =
        Parts::new(Options { users, user_info: false, tags: Vec::new(), owner_tags: Vec::new(), access_key_id: false });
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

/// What a user with one of 40 owners and two of 20 groups takes besides, where exemptions need both.
fn bytes_of_details() -> usize {
    let mut state = evaluated(123_456_789_012, KeyStatus::Inactive, &Arc::default());
    let before = ALLOCATOR.current_usage();
    let shared: Vec<Arc<UserDetails>> = (0..40)
        .map(|team: usize| {
            let tags = Tag::new("owner", &format!("team-{team}")).into_iter().collect();
            let groups = [team % 20, (team + 1) % 20].iter().map(|group| Arc::from(format!("group-{group}"))).collect();
            Arc::new(UserDetails { tags, groups })
        })
        .collect();
    let users = (0..USERS).map(|i| (UserName::new(&format!("first.last-{i:05}")), Arc::clone(&shared[i % 40])));
    let details = DetailsResult::Complete { scope: DetailsScope::all_tags(true), users: users.collect() };
    drop(shared);
    state.apply(Observation::Details { at: at(1_772_000_100), details });
    state.evaluate(&Arc::new(Policy::default()), at(1_772_000_200));
    let bytes = ALLOCATOR.current_usage() - before;
    assert_eq!(state.users().iter().filter(|e| e.user.tag("owner").is_some()).count(), USERS);
    bytes / USERS
}

/// The bytes of access to one account by a role, without its session, and without clients of the SDK, which checks make.
fn bytes_of_access() -> usize {
    const ACCOUNTS: usize = 1000;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _runtime = runtime.enter();
    let process = Process::new(aws::Settings { region: None, profile: None, concurrency: 64 }, Arc::new(()));
    let before = ALLOCATOR.current_usage();
    let access = |i: usize| {
        let role = Role::new(format!("arn:aws:iam::{i:012}:role/iam-key-exporter").parse().unwrap());
        process.account(Access::Role(Box::new(role)), format!("account-{i}"), 10.0)
    };
    let _accounts: Vec<_> = (0..ACCOUNTS).map(access).collect();
    (ALLOCATOR.current_usage() - before) / ACCOUNTS
}

/// One test: the allocator counts for the process.
#[test]
fn a_user_with_two_keys_takes_at_most_250_bytes_and_60_in_the_exposition() {
    let compliant = bytes_per_user(KeyStatus::Inactive);
    let violating = bytes_per_user(KeyStatus::Active);
    let all = exposed_bytes_per_user(Users::All, KeyStatus::Active);
    let none = exposed_bytes_per_user(Users::Violating, KeyStatus::Inactive);
    let access = bytes_of_access();
    println!("bytes of the access to an account: {access}");
    assert!(access <= MOST_OF_ACCESS, "{access} bytes of the access to an account");
    println!("bytes per user with two keys: {compliant} compliant, {violating} in violation");
    println!("in the exposition: {all} with series of its own, {none} without");
    let details = bytes_of_details();
    println!("bytes per user for tags and groups, if they are needed: {details}");
    assert!(details <= MOST_OF_DETAILS, "{details} bytes for tags and groups");
    assert!(compliant <= MOST, "{compliant} bytes per compliant user");
    assert!(violating <= MOST, "{violating} bytes per user in violation");
    assert!(all <= MOST_EXPOSED, "{all} bytes per user with series of its own");
    assert!(none <= 2, "{none} bytes per user without");
}
