use super::super::encoder::{write_account, write_block};
use super::super::{Options, Users};
use super::*;
use crate::model::{
    AccessKey, Account, Collector, KeyStatus, KeysResult, LastUsed, ListedUser, Listing, Observation, Partition,
    UserName,
};
use crate::policy::{Exemption, Exemptions, Policy};
use crate::source::REASONS;
use flate2::read::GzDecoder;
use proptest::prelude::*;
use std::io::Read;
use std::time::Duration;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// What happens to an account.
#[derive(Debug, Clone)]
enum Event {
    /// Its users, by number, have so many active keys.
    Published(Vec<(u16, usize)>),
    Succeeded,
    Failed(usize),
    Removed,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => proptest::collection::vec((0..600_u16, 0..3_usize), 0..40).prop_map(Event::Published),
        2 => Just(Event::Succeeded),
        2 => (0..REASONS.len()).prop_map(Event::Failed),
        1 => Just(Event::Removed),
    ]
}

fn options() -> Options {
    Options { users: Users::All, user_info: true, tags: Vec::new(), owner_tags: Vec::new(), access_key_id: false }
}

fn policy() -> Arc<Policy> {
    let exempt = |user: &str| Exemption::new(user.into(), None, None, "why".into(), Timestamp::MAX);
    let exemptions = Exemptions::new(vec![exempt("user-1*"), exempt("user-42"), exempt("another")]);
    Arc::new(Policy { exemptions, ..Policy::default() })
}

fn state(account: &str, users: &[(u16, usize)], policy: &Arc<Policy>) -> Arc<AccountState> {
    let users: BTreeMap<u16, usize> = users.iter().copied().collect();
    let user = |(number, keys): (u16, usize)| {
        let key = |_| AccessKey::new(None, KeyStatus::Active, Some(NOW), LastUsed::At(NOW));
        ListedUser {
            name: UserName::new(&format!("user-{number}")),
            path: "/".into(),
            created: Some(NOW),
            observed_at: NOW,
            keys: KeysResult::complete((0..keys).map(key).collect()),
        }
    };
    let account = Account { id: account.parse().unwrap(), name: String::new(), partition: Partition::default() };
    let listing = Listing::new(Collector::Live, NOW, users.into_iter().map(user).collect()).unwrap();
    let mut state = AccountState::new(account, Arc::clone(policy));
    state.apply(Observation::Listing(listing));
    state.evaluate(policy, NOW);
    Arc::new(state)
}

/// Runs the events as the publisher does.
struct Run {
    parts: Parts,
    snapshot: Snapshot,
    /// What the metrics about the exporter must be.
    exporter: BTreeMap<String, AccountMetrics>,
}

impl Run {
    fn new() -> Self {
        Run { parts: Parts::new(options()), snapshot: Snapshot::new(policy()), exporter: BTreeMap::new() }
    }

    fn apply(&mut self, account: &str, event: &Event) {
        let took = Duration::from_millis(1500);
        match event {
            Event::Published(users) => {
                let state = state(account, users, &Arc::clone(self.snapshot.policy()));
                let inventory = self.parts.encode(&state);
                self.snapshot.put(state);
                self.parts.publish(inventory, &self.snapshot, NOW);
            }
            Event::Succeeded => {
                self.parts.check_succeeded(account, took, NOW, NOW);
                self.exporter.entry(account.into()).or_default().succeeded(took, NOW, NOW);
            }
            Event::Failed(reason) => {
                self.parts.check_failed(account, took, REASONS[*reason]);
                self.exporter.entry(account.into()).or_default().failed(took, REASONS[*reason]);
            }
            Event::Removed => {
                self.snapshot.remove(account.parse().unwrap());
                self.parts.remove(account, &self.snapshot, NOW);
                self.exporter.remove(account);
            }
        }
    }

    /// The page by definition: for each family its header and the samples of all accounts, in their order.
    fn expected(&self) -> String {
        let mut page = Vec::new();
        let mut add = |name, help, kind, samples: Vec<u8>| {
            if !samples.is_empty() {
                page.extend(header(name, help, kind));
                page.extend(samples);
            }
        };
        for family in FAMILIES {
            let mut samples = Vec::new();
            for state in self.snapshot.accounts() {
                write_account(family, state, &options(), &mut samples);
                for block in state.users().blocks() {
                    write_block(family, state, block, &options(), &mut samples);
                }
            }
            if let Write::Whole(write) = family.samples
                && !self.snapshot.is_empty()
            {
                write(&self.snapshot, NOW, &mut Samples::new(&mut samples, family.name));
            }
            add(family.name, family.help, Kind::Gauge, samples);
        }
        for family in ACCOUNT_FAMILIES {
            let samples = self.exporter.iter().flat_map(|(account, metrics)| family.text(account, metrics)).collect();
            add(family.name, family.help, family.kind, samples);
        }
        String::from_utf8(page).unwrap()
    }
}

fn text(parts: &Parts) -> String {
    let page = parts.page();
    let text = page.plain(&Segment::default(), Vec::new()).into_text();
    let mut unpacked = Vec::new();
    let gzip = page.gzip(&Segment::default(), &[]).concat();
    GzDecoder::new(&gzip[..]).read_to_end(&mut unpacked).unwrap();
    assert!(unpacked == text, "the two forms of a page differ");
    String::from_utf8(text).unwrap()
}

fn series_of_users(text: &str) -> usize {
    text.lines().filter(|line| !line.starts_with('#') && line.contains("user_name=")).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_happens_the_page_holds_every_account_once(
        events in proptest::collection::vec((0..120_u64, event(), any::<bool>()), 0..200),
    ) {
        let mut run = Run::new();
        for (account, event, scraped) in &events {
            // Different leading digits, so that groups are divided at different places.
            run.apply(&format!("{:012}", account * 7_654_321_987 % 999_999_999_989), event);
            if *scraped {
                run.parts.page();
            }
        }
        let page = text(&run.parts);
        pretty_assertions::assert_str_eq!(&page, &run.expected());
        prop_assert_eq!(run.parts.user_series(), series_of_users(&page));

        let accounts: Vec<String> = run.snapshot.accounts().map(|s| s.account.id.to_string()).collect();
        let others = run.exporter.keys().cloned().collect::<Vec<_>>();
        for account in accounts.iter().chain(&others) {
            run.apply(account, &Event::Removed);
        }
        prop_assert_eq!(text(&run.parts), "");
        prop_assert_eq!(run.parts.user_series(), 0);
    }
}

#[test]
fn a_page_is_shared_until_something_changes() {
    let mut run = Run::new();
    let publish = Event::Published(vec![(1, 1)]);
    run.apply("123456789012", &publish);
    let page = run.parts.page();
    assert!(Arc::ptr_eq(&page, &run.parts.page()));
    run.apply("123456789012", &Event::Failed(0));
    assert!(!Arc::ptr_eq(&page, &run.parts.page()));
}

#[test]
fn what_has_not_changed_is_not_encoded_again() {
    let policy = policy();
    let mut account = (*state("123456789012", &(0..600).map(|n| (n, 1)).collect::<Vec<_>>(), &policy)).clone();
    let parts = Parts::new(options());
    let first = parts.encode(&account);
    let snapshot = Snapshot::new(Arc::clone(&policy));
    parts.publish(first, &snapshot, NOW);
    let first = parts.store().inventory("123456789012").unwrap();
    let used_at = Timestamp::from_second(1).unwrap();
    let keys = vec![AccessKey::new(None, KeyStatus::Active, Some(NOW), LastUsed::At(used_at))];
    account.apply(Observation::UserKeys {
        user: UserName::new("user-5"),
        at: used_at,
        keys: KeysResult::complete(keys),
    });
    account.evaluate(&policy, NOW);
    let second = parts.encode(&account);
    let mut changed = Vec::new();
    for (index, family) in FAMILIES.iter().enumerate() {
        let shared = |(a, b): &(&Arc<Segment>, &Arc<Segment>)| !Arc::ptr_eq(a, b);
        let segments = first.segments(index).zip(second.segments(index)).filter(shared).count();
        changed.extend((segments > 0).then_some((family.name, segments)));
        assert_eq!(first.is_same(&second, index), segments == 0);
    }
    assert_eq!(changed, [("aws_iam_access_key_last_used_timestamp_seconds", 1)]);
}

/// Values of an account's series by which a page could show half of an update.
fn consistent(page: &str, account: &str) -> Option<usize> {
    let of = |name: &str| {
        let series = format!("{name}{{account_id=\"{account}\"");
        page.lines().filter(move |line| line.starts_with(&series)).map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let value = |line: &String| line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap();
    let users: usize = of("aws_iam_users").iter().map(value).sum();
    let keys: usize = of("aws_iam_access_keys").iter().map(value).sum();
    assert_eq!(of("aws_iam_user_active_access_keys").len(), users);
    assert_eq!(of("aws_iam_access_key_active").len(), keys);
    // The last of the families, and one that describes all accounts.
    assert_eq!(of("aws_iam_user_info").len(), users);
    (users > 0).then_some(users)
}

#[test]
fn no_page_holds_half_of_an_update() {
    const ACCOUNTS: [&str; 3] = ["111111111111", "222222222222", "333333333333"];
    let parts = Parts::new(options());
    let policy = policy();
    let states = |account: &&'static str| {
        let users = |count: u16| (0..count).map(|n| (n, usize::from(n % 3))).collect::<Vec<_>>();
        [state(account, &users(20), &policy), state(account, &users(300), &policy)]
    };
    let states: Vec<_> = ACCOUNTS.iter().map(states).collect();
    let running = std::sync::atomic::AtomicUsize::new(ACCOUNTS.len());
    let mut seen = std::collections::BTreeSet::new();
    std::thread::scope(|scope| {
        for states in &states {
            let (parts, running, policy) = (&parts, &running, &policy);
            scope.spawn(move || {
                let mut snapshot = Snapshot::new(Arc::clone(policy));
                for round in 0..60 {
                    let inventory = parts.encode(&states[round % 2]);
                    snapshot.put(Arc::clone(&states[round % 2]));
                    parts.publish(inventory, &snapshot, NOW);
                }
                running.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            });
        }
        while running.load(std::sync::atomic::Ordering::SeqCst) > 0 {
            let page = text(&parts);
            seen.extend(ACCOUNTS.iter().filter_map(|account| consistent(&page, account)));
        }
    });
    let page = text(&parts);
    assert!(ACCOUNTS.iter().all(|account| consistent(&page, account) == Some(300)), "the last update is missing");
    assert!(seen.iter().all(|users| [20, 300].contains(users)), "{seen:?}");
}
