//! The embedded demonstration: a made-up account with users in every status, and a story that moves.
//!
//! Dates are relative to the moment of looking, so that every status holds whenever it is started.

use super::{Request, Source, SourceError, retain_only};
use crate::model::{AccessKey, Account, Collector, Inventory, KeyStatus, Keys, LastUsed, Tag, Timestamp, User};
use futures_util::future::BoxFuture;
use std::time::Duration;

/// The demonstration's policy, used where no configuration file is given.
pub const CONFIG: &str = include_str!("demo.yaml");
/// Often enough to follow the story.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// When, after the start, the story's user gets a second key, and how long until it is deactivated again.
const SECOND_KEY_AFTER: Duration = Duration::from_secs(45);
const FIXED_AFTER: Duration = Duration::from_secs(120);
/// The story begins anew, so that a late visitor sees it as well.
const STORY: Duration = Duration::from_secs(600);

const ACCOUNT: &str = "123456789012";

pub struct DemoSource {
    started: Timestamp,
    account_name: String,
}

impl DemoSource {
    pub fn new(started: Timestamp, account_name: String) -> Self {
        let account_name = if account_name.is_empty() { "demo".to_owned() } else { account_name };
        DemoSource { started, account_name }
    }

    fn account(&self) -> Account {
        Account { id: ACCOUNT.into(), name: self.account_name.clone(), partition: "aws".into() }
    }

    /// The account at that moment.
    pub fn inventory(&self, now: Timestamp) -> Inventory {
        let mut users = cast(now);
        users.push(self.story(now));
        let mut inventory = Inventory {
            account: self.account(),
            collector: Collector::Live,
            facts_at: now,
            root_active_keys: Some(0),
            users,
        };
        inventory.sort_users().expect("the cast has names of their own");
        inventory
    }

    /// `deploy-bot` gets a second key, which is first tolerated, then a violation, then deactivated.
    fn story(&self, now: Timestamp) -> User {
        let since_start = Duration::try_from(now.duration_since(self.started)).unwrap_or_default();
        let chapters = since_start.as_secs() / STORY.as_secs();
        let this_chapter = self.started + Duration::from_secs(chapters * STORY.as_secs());
        let second = this_chapter + SECOND_KEY_AFTER;
        let fixed = second + FIXED_AFTER;

        let mut keys = vec![active(now, days(30), Some(minutes(20)))];
        if now >= second {
            let status = if now < fixed { KeyStatus::Active } else { KeyStatus::Inactive };
            keys.push(AccessKey { id: None, status, created: Some(second), last_used: LastUsed::Never });
        }
        user(now, "deploy-bot", "/ci/", "platform", keys)
    }
}

/// AWS's dates have whole seconds.
fn this_second() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default()
}

/// Everybody but the story's user.
fn cast(now: Timestamp) -> Vec<User> {
    let mut unreadable = user(now, "grace", "/", "research", vec![]);
    unreadable.keys = Keys::unknown("access_denied");
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

fn user(now: Timestamp, name: &str, path: &str, owner: &str, keys: Vec<AccessKey>) -> User {
    let numbered = |(n, key): (usize, AccessKey)| AccessKey {
        // Made-up IDs in AWS's own example form.
        id: Some(format!("AKIAIOSFODNN7{:.4}{}", name.to_uppercase().replace(['-', ','], "X"), n + 1)),
        ..key
    };
    User {
        name: name.into(),
        arn: format!("arn:aws:iam::{ACCOUNT}:user{path}{name}"),
        path: path.into(),
        created: Some(now - days(400)),
        tags: vec![Tag { key: "owner".into(), value: owner.into() }],
        observed_at: now,
        keys: Keys::known(keys.into_iter().enumerate().map(numbered).collect()),
    }
}

fn active(now: Timestamp, age: Duration, used_ago: Option<Duration>) -> AccessKey {
    let last_used = used_ago.map_or(LastUsed::Never, |ago| LastUsed::At(now - ago));
    AccessKey { id: None, status: KeyStatus::Active, created: Some(now - age), last_used }
}

fn inactive(now: Timestamp, age: Duration, used_ago: Duration) -> AccessKey {
    AccessKey { status: KeyStatus::Inactive, ..active(now, age, Some(used_ago)) }
}

const fn days(n: u64) -> Duration {
    hours(24 * n)
}

const fn hours(n: u64) -> Duration {
    minutes(60 * n)
}

const fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

impl Source for DemoSource {
    fn account(&self) -> BoxFuture<'_, Result<Account, SourceError>> {
        Box::pin(async { Ok(DemoSource::account(self)) })
    }

    fn collect<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Inventory, SourceError>> {
        Box::pin(async {
            let mut inventory = self.inventory(this_second());
            retain_only(&mut inventory, request.only_user.as_deref())?;
            Ok(inventory)
        })
    }
}
