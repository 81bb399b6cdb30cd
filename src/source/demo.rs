//! The built-in demo: an example account with users of every status, one of which changes over time.
//!
//! Dates are relative to the time of the check, so that every status occurs whenever the demo is started.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod organization;

pub use organization::DemoOrganization;

use super::{Request, Source, SourceError};
use crate::model::{
    AccessKey, AccessKeyId, Account, AccountId, Collector, DetailsResult, DetailsScope, KeyStatus, KeysResult,
    LastUsed, ListedUser, Listing, Observation, Partition, RootKeys, Tag, Timestamp, UserDetails, UserName,
};
use crate::policy::after;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;

/// When, after the start, the changing user gets a second key, and how long until it is deactivated again.
const SECOND_KEY_AFTER: Duration = Duration::from_secs(45);
const FIXED_AFTER: Duration = Duration::from_secs(120);
/// The period after which the changes start again.
const PERIOD: Duration = Duration::from_secs(600);

const ACCOUNT: &str = "123456789012";

/// The demo as a source of observations.
pub struct DemoSource {
    started: Timestamp,
    account_name: String,
}

impl DemoSource {
    /// The changes begin at `started`; an empty name is `demo`.
    pub fn new(started: Timestamp, account_name: String) -> Self {
        let account_name = if account_name.is_empty() { "demo".to_owned() } else { account_name };
        DemoSource { started, account_name }
    }

    /// The account of the demo.
    pub fn demo_account(&self) -> Account {
        let id: AccountId = ACCOUNT.parse().expect("the ID is a constant");
        Account { id, name: self.account_name.clone(), partition: Partition::default() }
    }

    /// All observations of the account at that time: a listing, the root user, and tags and groups.
    pub fn observations(&self, now: Timestamp) -> Vec<Observation> {
        let mut details = Vec::new();
        let mut users = Vec::new();
        for user in constant_users(now).into_iter().chain([self.changing_user(now)]) {
            let tags = Tag::new("owner", user.owner).into_iter().collect();
            let groups = user.listed.path.split('/').filter(|part| !part.is_empty()).map(Arc::from).collect();
            details.push((user.listed.name.clone(), Arc::new(UserDetails { tags, groups })));
            users.push(user.listed);
        }
        let details = DetailsResult::Complete { scope: DetailsScope::all_tags(true), users: details };
        let listing = Listing::new(Collector::Live, now, users).expect("the names differ");
        vec![
            Observation::Listing(listing),
            Observation::Root { at: now, keys: RootKeys::Active(0) },
            Observation::Details { at: now, details },
        ]
    }

    /// `deploy-bot` gets a second key, which is first tolerated, then a violation, then deactivated.
    fn changing_user(&self, now: Timestamp) -> DemoUser {
        let since_start = Duration::try_from(now.duration_since(self.started)).unwrap_or_default();
        let periods = since_start.as_secs().checked_div(PERIOD.as_secs()).unwrap_or_default();
        let period_start = after(self.started, PERIOD.saturating_mul(u32::try_from(periods).unwrap_or(u32::MAX)));
        let second = after(period_start, SECOND_KEY_AFTER);
        let fixed = after(second, FIXED_AFTER);

        let mut keys = vec![active(now, days(30), Some(minutes(20)))];
        if now >= second {
            let status = if now < fixed { KeyStatus::Active } else { KeyStatus::Inactive };
            keys.push(AccessKey::new(None, status, Some(second), LastUsed::Never));
        }
        user(now, "deploy-bot", "/ci/", "platform", keys)
    }
}

struct DemoUser {
    listed: ListedUser,
    /// The value of the tag `owner`.
    owner: &'static str,
}

/// AWS's dates have whole seconds.
fn this_second() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default()
}

/// All users but the changing one.
fn constant_users(now: Timestamp) -> Vec<DemoUser> {
    let mut unreadable = user(now, "grace", "/", "research", vec![]);
    unreadable.listed.keys = KeysResult::Failed("access_denied");
    vec![
        user(now, "alice", "/", "payments", vec![active(now, days(12), Some(hours(2)))]),
        user(
            now,
            "bob",
            "/",
            "payments",
            vec![active(now, days(80), Some(minutes(35))), active(now, days(40), Some(days(38)))],
        ),
        user(
            now,
            "bobby",
            "/",
            "payments",
            vec![inactive(now, days(200), days(60)), active(now, days(61), Some(days(1)))],
        ),
        user(now, "carol", "/", "research", vec![active(now, days(212), Some(hours(5)))]),
        user(now, "dave", "/", "research", vec![active(now, days(140), None)]),
        user(
            now,
            "erin",
            "/",
            "platform",
            vec![active(now, days(85), Some(minutes(50))), active(now, Duration::from_secs(5), None)],
        ),
        user(
            now,
            "ci-deployer",
            "/ci/",
            "platform",
            vec![active(now, days(25), Some(minutes(3))), active(now, days(10), Some(minutes(4)))],
        ),
        unreadable,
        user(now, "heidi", "/", "finance", vec![]),
        user(now, "backup,nightly", "/ops/", "platform", vec![active(now, days(3), Some(hours(9)))]),
        user(
            now,
            "mallory",
            "/contractors/",
            "research",
            vec![active(now, days(300), Some(days(170))), active(now, days(2), None)],
        ),
        user(now, "terraform", "/ci/", "platform", vec![active(now, days(45), Some(minutes(15)))]),
    ]
}

fn user(now: Timestamp, name: &str, path: &str, owner: &'static str, keys: Vec<AccessKey>) -> DemoUser {
    let numbered = |(n, mut key): (u8, AccessKey)| {
        // IDs in the form of AWS's own examples.
        let id = format!("AKIAIOSFODNN7{:.4}{}", name.to_uppercase().replace(['-', ','], "X"), n);
        key.id = Some(AccessKeyId::new(&id));
        key
    };
    let keys = KeysResult::complete((1..).zip(keys).map(numbered).collect());
    let created = Some(before(now, days(400)));
    DemoUser {
        listed: ListedUser { name: UserName::new(name), path: path.into(), created, observed_at: now, keys },
        owner,
    }
}

fn active(now: Timestamp, age: Duration, used_ago: Option<Duration>) -> AccessKey {
    let last_used = used_ago.map_or(LastUsed::Never, |ago| LastUsed::At(before(now, ago)));
    AccessKey::new(None, KeyStatus::Active, Some(before(now, age)), last_used)
}

fn inactive(now: Timestamp, age: Duration, used_ago: Duration) -> AccessKey {
    let mut key = active(now, age, Some(used_ago));
    key.status = KeyStatus::Inactive;
    key
}

/// The time before `at`, at most back to the beginning of time.
fn before(at: Timestamp, duration: Duration) -> Timestamp {
    at.checked_sub(duration).unwrap_or(Timestamp::MIN)
}

const fn days(n: u64) -> Duration {
    hours(n.saturating_mul(24))
}

const fn hours(n: u64) -> Duration {
    minutes(n.saturating_mul(60))
}

const fn minutes(n: u64) -> Duration {
    Duration::from_secs(n.saturating_mul(60))
}

impl Source for DemoSource {
    fn account<'a>(&'a self, _: &'a Request) -> BoxFuture<'a, Result<Account, SourceError>> {
        Box::pin(async { Ok(self.demo_account()) })
    }

    fn collect<'a>(&'a self, _: &'a Account, _: &'a Request) -> BoxFuture<'a, Result<Vec<Observation>, SourceError>> {
        Box::pin(async { Ok(self.observations(this_second())) })
    }
}
