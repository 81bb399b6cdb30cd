//! The built-in demo organisation: twelve accounts, of which one cannot be read, one is throttled, one is new and one is
//! being closed.

use super::{DemoSource, DemoUser, active, before, days, inactive, this_second, user};
use crate::model::{
    AccessKey, Account, AccountId, Collector, DetailsResult, DetailsScope, KeyStatus, LastUsed, Listing, Observation,
    Partition, RootKeys, Tag, Timestamp, UserDetails,
};
use crate::policy::after;
use crate::source::organization::{Member, MemberLister, MemberState, Members, Wanted};
use crate::source::{Request, Source, SourceError};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// When, after the start, the new account appears, and the account that is being closed is suspended.
const NEW_AFTER: Duration = Duration::from_secs(60);
const CLOSED_AFTER: Duration = Duration::from_secs(120);

/// What an account shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ordinary,
    /// The role cannot be assumed.
    Denied,
    /// AWS throttles every check but the first.
    Throttled,
    New,
    Closing,
}

/// Account ID, name, and what it shows, of the members; the management account is that of [`DemoSource`].
const MEMBERS: &[(&str, &str, Kind)] = &[
    ("201000000001", "payments", Kind::Ordinary),
    ("201000000002", "research", Kind::Ordinary),
    ("201000000003", "platform", Kind::Ordinary),
    ("201000000004", "finance", Kind::Ordinary),
    ("201000000005", "web-production", Kind::Ordinary),
    ("201000000006", "web-staging", Kind::Ordinary),
    ("201000000007", "data-lake", Kind::Ordinary),
    ("201000000008", "sandbox", Kind::Denied),
    ("201000000009", "legacy-erp", Kind::Throttled),
    ("201000000010", "acquisition", Kind::New),
    ("201000000011", "old-website", Kind::Closing),
];

/// The demo organisation, as AWS Organizations would list it.
#[derive(Debug, Clone)]
pub struct DemoOrganization {
    started: Timestamp,
}

impl DemoOrganization {
    /// The changes begin at `started`.
    pub fn new(started: Timestamp) -> Self {
        DemoOrganization { started }
    }

    /// The source of an account, which has this name; `None` for an account that the organisation does not have.
    pub fn source(&self, account: AccountId, name: String) -> Option<Arc<dyn Source>> {
        let management = DemoSource::new(self.started, name.clone());
        if management.demo_account().id == account {
            return Some(Arc::new(management));
        }
        let (number, (_, _, kind)) = (1..).zip(MEMBERS).find(|(_, (id, _, _))| *id == account.as_str())?;
        let account = Account { id: account, name, partition: Partition::default() };
        Some(Arc::new(MemberSource { account, number, kind: *kind, was_read: AtomicBool::new(false) }))
    }

    fn members_at(&self, now: Timestamp) -> Members {
        let management = DemoSource::new(self.started, String::new()).demo_account().id;
        let member = |id, name: &str, state| Member {
            id,
            name: name.to_owned(),
            state,
            units: Vec::new(),
            tags: Tag::new("environment", "demo").into_iter().collect(),
        };
        let listed = MEMBERS.iter().filter_map(|(id, name, kind)| {
            let state = match kind {
                Kind::New if now < after(self.started, NEW_AFTER) => return None,
                Kind::Closing if now >= after(self.started, CLOSED_AFTER) => MemberState::Suspended,
                _ => MemberState::Active,
            };
            Some(member(id.parse().expect("the ID is a constant"), name, state))
        });
        let mut members = vec![member(management, "management", MemberState::Active)];
        members.extend(listed);
        Members { management, members }
    }
}

impl MemberLister for DemoOrganization {
    fn members<'a>(&'a self, _: &'a Wanted) -> BoxFuture<'a, Result<Members, SourceError>> {
        Box::pin(async { Ok(self.members_at(this_second())) })
    }
}

struct MemberSource {
    account: Account,
    /// Counted from 1; the account has so many users more than the smallest one.
    number: u8,
    kind: Kind,
    was_read: AtomicBool,
}

impl Source for MemberSource {
    fn account<'a>(&'a self, _: &'a Request) -> BoxFuture<'a, Result<Account, SourceError>> {
        Box::pin(async {
            if self.kind == Kind::Denied {
                let role = format!("arn:aws:iam::{}:role/iam-key-exporter", self.account.id);
                let role = role.parse().expect("the ARN is well-formed");
                return Err(SourceError::RoleDenied { role, message: "AccessDenied".into() });
            }
            Ok(self.account.clone())
        })
    }

    fn collect<'a>(&'a self, _: &'a Account, _: &'a Request) -> BoxFuture<'a, Result<Vec<Observation>, SourceError>> {
        Box::pin(async {
            if self.kind == Kind::Throttled && self.was_read.swap(true, Ordering::Relaxed) {
                return Err(SourceError::Throttled {
                    operation: "ListUsers",
                    message: "Throttling: Rate exceeded".into(),
                });
            }
            Ok(self.observations(this_second()))
        })
    }
}

impl MemberSource {
    fn observations(&self, now: Timestamp) -> Vec<Observation> {
        let mut details = Vec::new();
        let mut listed = Vec::new();
        for index in 0..self.number.saturating_mul(3).saturating_add(5) {
            let DemoUser { listed: user, owner } = self.user(now, index);
            let tags = Tag::new("owner", owner).into_iter().collect();
            details.push((user.name.clone(), Arc::new(UserDetails { tags, groups: Vec::new().into() })));
            listed.push(user);
        }
        let details = DetailsResult::Complete { scope: DetailsScope::all_tags(true), users: details };
        let listing = Listing::new(Collector::Live, now, listed).expect("the names differ");
        let root = RootKeys::Active(u32::from(self.number == 4));
        vec![
            Observation::Listing(listing),
            Observation::Root { at: now, keys: root },
            Observation::Details { at: now, details },
        ]
    }

    /// Most users have one young key; some have two, an old one, or none.
    fn user(&self, now: Timestamp, index: u8) -> DemoUser {
        let age = |days_ago: u64| days(days_ago.saturating_add(u64::from(index)));
        let used = Some(Duration::from_secs(3600));
        let spread = u32::from(self.number).saturating_mul(7).saturating_add(u32::from(index));
        let keys = match spread.checked_rem(11) {
            Some(0) => vec![active(now, age(50), used), active(now, age(5), used)],
            Some(1) => vec![active(now, age(120), used)],
            Some(2) => Vec::new(),
            Some(3) => vec![inactive(now, age(150), age(90)), active(now, age(30), used)],
            Some(4) => vec![AccessKey::new(None, KeyStatus::Active, Some(before(now, age(20))), LastUsed::Never)],
            _ => vec![active(now, age(10), used)],
        };
        let owner = ["payments", "platform", "research"].get(usize::from(index).checked_rem(3).unwrap_or_default());
        let name = format!("{}-{index:02}", if index < 10 { "app" } else { "batch" });
        user(now, &name, "/service/", owner.copied().unwrap_or_default(), keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twelve_accounts_of_which_one_comes_and_one_goes() {
        let started: Timestamp = "2026-06-01T12:00:00Z".parse().unwrap();
        let demo = DemoOrganization::new(started);
        let states = |after_seconds: u64| {
            let members = demo.members_at(started + Duration::from_secs(after_seconds)).members;
            assert!(members.is_sorted_by_key(|m| m.id));
            let active = members.iter().filter(|m| m.state == MemberState::Active).count();
            (active, members.len() - active)
        };
        assert_eq!([0, 60, 120].map(states), [(11, 0), (12, 0), (11, 1)]);
        for member in demo.members_at(started + CLOSED_AFTER).members {
            assert!(demo.source(member.id, String::new()).is_some(), "{}", member.id);
        }
        assert!(demo.source("999999999999".parse().unwrap(), String::new()).is_none());
    }
}
