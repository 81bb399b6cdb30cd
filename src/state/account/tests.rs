use super::*;
use crate::model::{
    AccessKey, DetailsResult, DetailsScope, KeyStatus, KeysResult, LastUsed, ListedUser, Partition, Tag, UserDetails,
};
use crate::policy::{Exemption, FindingState, Selector};
use proptest::prelude::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn account() -> Account {
    Account { id: "123456789012".parse().unwrap(), name: String::new(), partition: Partition::default() }
}

fn state() -> AccountState {
    AccountState::new(account(), Arc::default())
}

/// So many active keys, created one second after the other.
fn keys(count: usize) -> KeysResult {
    let key = |i| AccessKey::new(None, KeyStatus::Active, Some(at(i64::try_from(i).unwrap())), LastUsed::Never);
    KeysResult::complete((0..count).map(key).collect())
}

fn listed(name: &str, observed_at: i64, keys: KeysResult) -> ListedUser {
    ListedUser { name: UserName::new(name), path: "/".into(), created: Some(at(0)), observed_at: at(observed_at), keys }
}

fn listing(second: i64, users: Vec<ListedUser>) -> Observation {
    Observation::Listing(Listing::new(Collector::Report, at(second), users).unwrap())
}

fn user_keys(name: &str, second: i64, keys: KeysResult) -> Observation {
    Observation::UserKeys { user: UserName::new(name), at: at(second), keys }
}

fn gone(name: &str, second: i64) -> Observation {
    Observation::UserGone { user: UserName::new(name), at: at(second) }
}

/// Name, number of active keys if all are known, number of last known keys.
fn visible(state: &AccountState) -> Vec<(String, Option<usize>, Option<usize>)> {
    let user = |e: &crate::state::Entry| {
        (e.user.name.to_string(), e.user.active_keys(), e.user.keys().latest().map(<[AccessKey]>::len))
    };
    state.users().iter().map(user).collect()
}

fn evaluated(mut state: AccountState) -> AccountState {
    state.evaluate(&Arc::new(Policy::default()), at(1000));
    state
}

#[test]
fn a_user_that_is_not_listed_is_removed_unless_it_was_seen_later() {
    let mut state = state();
    state.apply(listing(10, vec![listed("ann", 10, keys(1)), listed("bob", 10, keys(1))]));
    state.apply(listing(20, vec![listed("ann", 20, keys(1))]));
    assert_eq!(visible(&state), [("ann".into(), Some(1), Some(1))]);
    let change = state.apply(listing(15, vec![listed("bob", 15, keys(2))]));
    assert!(change.is_none(), "an older listing adds nothing");
    state.apply(user_keys("eve", 25, keys(2)));
    assert_eq!(state.users().len(), 1, "a user is visible when a listing contains it");
    state.apply(listing(22, vec![listed("ann", 22, keys(1)), listed("eve", 22, keys(1))]));
    assert_eq!(visible(&state)[1], ("eve".into(), Some(2), Some(2)), "its newest keys are those read before");
}

#[test]
fn a_user_that_is_gone_stays_gone_until_it_is_seen_again() {
    let mut state = state();
    state.apply(listing(10, vec![listed("bob", 10, keys(2))]));
    assert_eq!(state.apply(gone("bob", 20)).users, 1);
    assert!(state.apply(listing(10, vec![listed("bob", 10, keys(2))])).users <= 1);
    assert_eq!(visible(&state), [], "the same report once more");
    state.apply(user_keys("bob", 30, keys(1)));
    assert_eq!(visible(&state), [("bob".into(), Some(1), Some(1))]);
    state.apply(gone("bob", 25));
    assert_eq!(state.users().len(), 1);
}

#[test]
fn a_user_that_moves_to_another_path_keeps_its_keys_unless_it_was_created_again() {
    for (created, known) in [(Some(at(0)), Some(2)), (Some(at(15)), None), (None, None)] {
        let mut state = state();
        state.apply(listing(10, vec![listed("bob", 10, keys(2))]));
        let moved = ListedUser { path: "/team/".into(), created, ..listed("bob", 20, KeysResult::Failed("throttled")) };
        state.apply(listing(20, vec![moved]));
        assert_eq!(visible(&state), [("bob".into(), None, known)], "{created:?}");
        assert_eq!(&*state.users().iter().next().unwrap().user.path, "/team/");
    }
}

#[test]
fn roots_keys_are_remembered_while_they_cannot_be_read_unless_there_were_none() {
    let root = |second, keys| Observation::Root { at: at(second), keys };
    let mut state = state();
    assert_eq!((state.root.active_keys(), state.root.failure()), (None, None));
    state.apply(root(1, RootKeys::Active(1)));
    state.apply(root(2, RootKeys::Failed("access_denied")));
    assert_eq!((state.root.active_keys(), state.root.failure()), (Some(1), Some("access_denied")));
    state.apply(root(3, RootKeys::Active(0)));
    assert_eq!((state.root.active_keys(), state.root.failure()), (Some(0), None));
    state.apply(root(5, RootKeys::Failed("throttled")));
    state.apply(root(4, RootKeys::Active(0)));
    assert_eq!((state.root.active_keys(), state.root.failure()), (None, Some("throttled")), "in any order");
    state.apply(root(6, RootKeys::NotIncluded));
    assert_eq!((state.root.active_keys(), state.root.failure()), (None, None));
}

#[test]
fn an_undetermined_rule_has_no_number_unless_a_violation_is_known() {
    let old = |last_used| {
        KeysResult::complete(vec![AccessKey::new(None, KeyStatus::Active, Some(at(-100 * 86_400)), last_used)])
    };
    let total = |users| {
        let mut state = state();
        state.apply(listing(10, users));
        let state = evaluated(state);
        let totals = state.rule_totals(&state.totals());
        totals.iter().find(|t| t.rule.name() == "unused_key").unwrap().violations
    };
    let unknown = || listed("ann", 10, old(LastUsed::Unknown));
    assert_eq!(total(vec![unknown()]), None);
    assert_eq!(total(vec![unknown(), listed("bob", 10, old(LastUsed::Never))]), Some(1));
    assert_eq!(total(vec![listed("bob", 10, keys(1))]), Some(0));
}

#[test]
fn users_in_violation_are_rechecked_until_the_next_report() {
    let mut state = state();
    state.apply(listing(10, vec![listed("ann", 10, keys(1)), listed("bob", 10, keys(2))]));
    let mut state = evaluated(state);
    let names = |state: &AccountState, second| -> Vec<String> {
        state.recheck_candidates(at(second), 100).iter().map(ToString::to_string).collect()
    };
    assert_eq!(names(&state, 20), ["bob"]);
    assert!(names(&state, 10).is_empty(), "it was read no earlier");
    state.apply(user_keys("bob", 20, keys(1)));
    let mut state = evaluated(state);
    assert_eq!(names(&state, 30), ["bob"], "a relapse is found although the report is old");
    state.apply(user_keys("ann", 25, KeysResult::Failed("throttled")));
    let mut state = evaluated(state);
    assert_eq!(names(&state, 30), ["ann", "bob"], "unknown users are rechecked");
    state.apply(listing(40, vec![listed("ann", 40, keys(1)), listed("bob", 40, keys(1))]));
    assert!(names(&evaluated(state), 50).is_empty());
}

#[test]
fn users_that_violate_other_rules_are_rechecked_in_turn() {
    let old = AccessKey::new(None, KeyStatus::Active, Some(at(-100 * 86_400)), LastUsed::At(at(0)));
    let user = |i: i64| listed(&format!("user-{i}"), 10 - i, KeysResult::complete(vec![old.clone()]));
    let mut state = state();
    state.apply(listing(10, (0..5).map(user).collect()));
    let names = evaluated(state).recheck_candidates(at(20), 2);
    assert_eq!(names, ["user-4", "user-3"].map(UserName::new), "the oldest observations first");
}

#[test]
fn a_user_that_is_unchanged_in_the_next_report_is_still_rechecked() {
    let old = AccessKey::new(None, KeyStatus::Active, Some(at(-100 * 86_400)), LastUsed::At(at(0)));
    let mut state = state();
    for second in [10, 40] {
        state.apply(listing(second, vec![listed("ann", second, KeysResult::complete(vec![old.clone()]))]));
        state = evaluated(state);
        assert_eq!(state.recheck_candidates(at(50), 100), [UserName::new("ann")], "report of second {second}");
    }
}

/// A verdict is kept while the keys are the same, but a wrong clock can have made it.
#[test]
fn a_clock_that_is_set_back_evaluates_all_users_again() {
    let policy = Arc::new(Policy::default());
    let mut state = state();
    state.apply(listing(10, vec![listed("ann", 10, keys(1))]));
    for (second, status) in [(1000, Status::Compliant), (1_000_000_000, Status::Violation), (1000, Status::Compliant)] {
        state.evaluate(&policy, at(second));
        assert_eq!(state.totals().users(status), 1, "second {second}");
    }
}

#[test]
fn observations_from_the_future_are_not_newer_than_later_ones() {
    let root = |second, keys| Observation::Root { at: at(second), keys: RootKeys::Active(keys) };
    let mut state = state();
    state.apply(listing(1000, vec![listed("ann", 1000, keys(2)), listed("bob", 1000, keys(2))]));
    state.apply(user_keys("ann", 1010, KeysResult::Failed("throttled")));
    state.apply(gone("bob", 1010));
    state.apply(root(1000, 1));
    state.limit_times(at(20));
    assert_eq!(visible(&state), [("ann".into(), None, Some(2))], "what is known stays known");
    state.apply(root(30, 0));
    state.apply(listing(30, vec![listed("ann", 30, keys(1)), listed("bob", 30, keys(1))]));
    assert_eq!(visible(&state), [("ann".into(), Some(1), Some(1)), ("bob".into(), Some(1), Some(1))]);
    assert_eq!(state.root.active_keys(), Some(0));
}

#[test]
fn exemptions_are_matched_to_users_whether_they_violate_a_rule_or_not() {
    let exemption = |user: &str| Exemption::new(user.into(), None, None, "r".into(), Timestamp::MAX);
    let exemptions = ["bob", "unmatched", "<root_account>"].map(exemption).to_vec().into();
    let policy = Arc::new(Policy { exemptions, ..Policy::default() });
    for count in [0, 2] {
        let mut state = state();
        state.apply(listing(10, vec![listed("bob", 10, keys(count))]));
        state.evaluate(&policy, at(1000));
        assert_eq!(state.matched_exemptions(), [true, false, true].map(Some));
        let findings = &state.users().iter().next().unwrap().verdict().unwrap().findings;
        assert!(findings.iter().all(|f| f.state == FindingState::Exempt { exemption: 0 }));
    }
}

fn teams(scope: &[&str], teams: &[(&str, &str)]) -> DetailsResult {
    let scope = DetailsScope::new(&scope.iter().map(ToString::to_string).collect::<Vec<_>>(), false);
    let details = |team| UserDetails { tags: Tag::new("team", team).into_iter().collect(), groups: Box::default() };
    let users = teams.iter().map(|(name, team)| (UserName::new(name), Arc::new(details(team)))).collect();
    DetailsResult::Complete { scope, users }
}

fn details(second: i64, details: DetailsResult) -> Observation {
    Observation::Details { at: at(second), details }
}

fn exempting(tag: &[(&str, &str)], user: Option<&str>) -> Arc<Policy> {
    let tag = tag.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let selector = Selector { user: user.map(String::from), tag, ..Selector::default() };
    let exemption = Exemption::new(selector, None, None, "r".into(), Timestamp::MAX);
    Arc::new(Policy { exemptions: vec![exemption].into(), ..Policy::default() })
}

fn statuses(state: &AccountState) -> Vec<&'static str> {
    state.users().iter().map(|e| e.status().as_str()).collect()
}

/// Reads of tags: changed, failed, and after a success.
#[test]
fn exemptions_follow_the_newest_tags_that_are_known() {
    let policy = exempting(&[("team", "web")], None);
    let needed = policy.exemptions.needs(at(1000));
    let mut state = state();
    state.apply(listing(10, vec![listed("ann", 10, keys(2)), listed("bob", 10, keys(2))]));
    let mut step = |observation: Observation| {
        state.apply(observation);
        state.evaluate(&policy, at(1000));
        (statuses(&state), state.matched_exemptions()[0], state.details_failure(&needed))
    };
    let (exempt, violation) = ("exempt", "violation");
    let failed = |second| details(second, DetailsResult::Failed("access_denied"));
    assert_eq!(step(failed(11)), (vec![violation, violation], None, Some("access_denied")), "never known");
    assert_eq!(step(details(12, teams(&["team"], &[("bob", "web")]))), (vec![violation, exempt], Some(true), None));
    assert_eq!(step(failed(13)), (vec![violation, exempt], Some(true), Some("access_denied")), "the last known stay");
    let renewed = listing(14, vec![listed("ann", 14, keys(2)), listed("bob", 14, keys(2)), listed("cid", 14, keys(2))]);
    assert_eq!(step(renewed), (vec![violation, exempt, violation], Some(true), Some("access_denied")));
    assert_eq!(step(details(12, teams(&["team"], &[]))).0, [violation, violation, violation], "the same time, later");
    assert_eq!(step(details(11, teams(&["team"], &[("bob", "web")]))).1, Some(false), "older");
    let all = details(15, teams(&["team"], &[("ann", "web"), ("bob", "db"), ("cid", "web")]));
    assert_eq!(step(all), (vec![exempt, violation, exempt], Some(true), None));
    assert_eq!(step(failed(14)).2, None, "older than what is known");
    assert_eq!(step(details(16, teams(&["stage"], &[]))).1, None, "other tags were read");
}

/// As after a reload that adds an exemption: its tags are read with the next check.
#[test]
fn tags_that_were_not_requested_are_not_known() {
    let mut state = state();
    state.apply(listing(10, vec![listed("ann", 10, keys(2))]));
    state.apply(details(11, teams(&["owner"], &[])));
    for (policy, failure, matched) in [
        (exempting(&[], Some("ann")), None, Some(true)),
        (exempting(&[], Some("bob")), None, Some(false)),
        (exempting(&[("Owner", "*")], None), None, Some(false)),
        (exempting(&[("team", "*")], None), Some("not_observed"), None),
        (exempting(&[("team", "*"), ("owner", "*")], None), Some("not_observed"), None),
    ] {
        state.evaluate(&policy, at(1000));
        assert_eq!(state.details_failure(&policy.exemptions.needs(at(1000))), failure);
        assert_eq!(state.matched_exemptions(), [matched]);
    }
}

/// The tags of a user that was deleted are not those of a later one with the same name.
#[test]
fn a_user_that_is_created_again_has_no_tags_of_the_earlier_one() {
    let policy = exempting(&[("team", "web")], None);
    let created = |second, path: &str| ListedUser {
        created: Some(at(second)),
        path: path.into(),
        ..listed("bob", 10 + second, keys(2))
    };
    for path in ["/", "/other/"] {
        for tags_first in [true, false] {
            let mut state = state();
            state.apply(listing(10, vec![created(0, "/")]));
            state.apply(details(12, teams(&["team"], &[("bob", "web")])));
            state.evaluate(&policy, at(1000));
            assert_eq!(statuses(&state), ["exempt"]);
            let events = [listing(30, vec![created(20, path)]), details(31, DetailsResult::Failed("throttled"))];
            let order = if tags_first { [1, 0] } else { [0, 1] };
            for index in order {
                state.apply(events[index].clone());
            }
            state.evaluate(&policy, at(1000));
            assert_eq!(statuses(&state), ["violation"], "{path}");
            state.apply(details(32, teams(&["team"], &[("bob", "web")])));
            state.evaluate(&policy, at(1000));
            assert_eq!(statuses(&state), ["exempt"], "{path}");
        }
    }
}

#[test]
fn one_changed_user_changes_one_block() {
    let users = |count| (0..count).map(|i| listed(&format!("user-{i:04}"), 10, keys(1))).collect::<Vec<_>>();
    let mut state = state();
    state.apply(listing(10, users(2000)));
    let before = evaluated(state);
    assert!(before.users().blocks().len() > 5);
    let shared = |state: &AccountState| {
        let same = |b: &&Arc<crate::state::Block>| before.users().blocks().iter().any(|old| Arc::ptr_eq(old, b));
        state.users().blocks().iter().filter(same).count()
    };
    let blocks = before.users().blocks().len();
    let mut changed = before.clone();
    changed.apply(user_keys("user-0777", 20, keys(2)));
    let changed = evaluated(changed);
    assert_eq!(shared(&changed), blocks - 1);
    assert_eq!(changed.totals().users(Status::Violation), 1);

    let mut inserted = before.clone();
    let mut more = users(2000);
    more.push(listed("user-0777-b", 10, keys(1)));
    inserted.apply(listing(11, more));
    assert!(shared(&evaluated(inserted)) >= blocks - 2, "a new user changes its own block");

    let mut same = before.clone();
    same.apply(listing(10, users(2000)));
    assert_eq!(shared(&evaluated(same)), blocks, "the same report changes nothing");
}

#[derive(Debug, Clone)]
enum Event {
    Keys(usize, Option<usize>),
    Gone(usize),
    Listing(Vec<(usize, Option<usize>)>),
    /// Users with a tag each; `None` for a failure.
    Details(Option<Vec<(usize, bool)>>),
}

const NAMES: [&str; 4] = ["ann", "bob", "cid", "dan"];

fn result(count: Option<usize>) -> KeysResult {
    count.map_or(KeysResult::Failed("throttled"), keys)
}

fn observation(second: i64, event: &Event) -> Observation {
    match event {
        Event::Keys(user, count) => user_keys(NAMES[*user], second, result(*count)),
        Event::Gone(user) => gone(NAMES[*user], second),
        Event::Listing(users) => {
            listing(second, users.iter().map(|(user, count)| listed(NAMES[*user], second, result(*count))).collect())
        }
        Event::Details(users) => {
            let read = users.as_ref().map(|users| {
                let tags: Vec<_> =
                    users.iter().map(|(user, web)| (NAMES[*user], if *web { "web" } else { "db" })).collect();
                teams(&["team"], &tags)
            });
            details(second, read.unwrap_or(DetailsResult::Failed("throttled")))
        }
    }
}

/// The tag of each visible user.
fn tags(state: &AccountState) -> Vec<(String, Option<String>)> {
    state.users().iter().map(|e| (e.user.name.to_string(), e.user.tag("team").map(String::from))).collect()
}

/// By the newest answer about tags that did not fail.
fn expected_tags(
    events: &[Event],
    visible: &[(String, Option<usize>, Option<usize>)],
) -> Vec<(String, Option<String>)> {
    let newest = events.iter().rev().find_map(|e| if let Event::Details(Some(users)) = e { Some(users) } else { None });
    let tag = |name: &String| {
        let (_, web) = newest?.iter().find(|(user, _)| NAMES[*user] == name)?;
        Some(if *web { "web" } else { "db" }.to_owned())
    };
    visible.iter().map(|(name, ..)| (name.clone(), tag(name))).collect()
}

/// What the newest observations say, computed from all of them at once.
fn expected(events: &[Event]) -> Vec<(String, Option<usize>, Option<usize>)> {
    let newest = events.iter().rposition(|e| matches!(e, Event::Listing(_)));
    let Some(newest) = newest else { return vec![] };
    let Event::Listing(listed) = &events[newest] else { unreachable!() };
    let mut users = vec![];
    for (user, name) in NAMES.iter().enumerate() {
        if !listed.iter().any(|(u, _)| *u == user) {
            continue;
        }
        let gone = events.iter().enumerate().skip(newest).filter(|(_, e)| matches!(e, Event::Gone(u) if *u == user));
        let gone = gone.map(|(i, _)| i).max();
        let answers = events.iter().enumerate().filter_map(|(i, event)| match event {
            Event::Keys(u, count) if *u == user => Some((i, *count)),
            Event::Listing(users) => users.iter().find(|(u, _)| *u == user).map(|(_, count)| (i, *count)),
            _ => None,
        });
        // A user that was not listed at some time is another one afterwards.
        let lists = |e: &Event| matches!(e, Event::Listing(users) if users.iter().any(|(u, _)| *u == user));
        let is_listing = |e: &Event| matches!(e, Event::Listing(_));
        let unlisted = events[..newest].iter().rposition(|e| is_listing(e) && !lists(e));
        let start = events.iter().enumerate().skip(unlisted.map_or(0, |i| i + 1)).find(|(_, e)| lists(e));
        let start = start.map(|(i, _)| i).unwrap();
        let answers: Vec<(usize, Option<usize>)> = answers.filter(|(i, _)| *i >= start).collect();
        let known = answers.iter().rfind(|(_, count)| count.is_some());
        if gone > known.map(|(i, _)| *i) && gone.is_some() {
            continue;
        }
        let last = answers.last().copied();
        users.push(((*name).to_owned(), last.and_then(|(_, c)| c), known.and_then(|(_, c)| *c)));
    }
    users
}

fn event() -> impl Strategy<Value = Event> {
    let count = proptest::option::weighted(0.7, 0..3_usize);
    prop_oneof![
        4 => (0..NAMES.len(), count.clone()).prop_map(|(user, count)| Event::Keys(user, count)),
        1 => (0..NAMES.len()).prop_map(Event::Gone),
        2 => proptest::collection::btree_map(0..NAMES.len(), count, 0..4)
            .prop_map(|users| Event::Listing(users.into_iter().collect())),
        2 => proptest::option::weighted(0.7, proptest::collection::btree_map(0..NAMES.len(), any::<bool>(), 0..4))
            .prop_map(|users| Event::Details(users.map(|users| users.into_iter().collect()))),
    ]
}

proptest! {
    /// In the order of their times, and then each of them again.
    #[test]
    fn the_state_is_what_the_newest_observations_say(events in proptest::collection::vec(event(), 0..12)) {
        let observations: Vec<Observation> =
            events.iter().enumerate().map(|(i, e)| observation(i as i64 * 10 + 10, e)).collect();
        let mut state = state();
        for observation in observations.iter().chain(&observations) {
            state.apply(observation.clone());
        }
        prop_assert_eq!(visible(&state), expected(&events));
        prop_assert_eq!(tags(&state), expected_tags(&events, &visible(&state)));
    }

    /// Any order and repetition since a listing gives the same state.
    #[test]
    fn order_and_repetition_do_not_matter(
        users in proptest::collection::btree_map(0..NAMES.len(), proptest::option::of(0..3_usize), 0..4),
        events in proptest::collection::vec(event().prop_filter("no listing", |e| !matches!(e, Event::Listing(_))), 0..8),
        order in proptest::collection::vec(any::<prop::sample::Index>(), 0..24),
    ) {
        let all: Vec<Event> =
            std::iter::once(Event::Listing(users.into_iter().collect())).chain(events).collect();
        let observations: Vec<Observation> =
            all.iter().enumerate().map(|(i, e)| observation(i as i64 * 10 + 10, e)).collect();
        let mut state = state();
        // Shuffled, with repetitions; what is left out follows in reverse order.
        for index in &order {
            state.apply(observations[index.index(observations.len())].clone());
        }
        for observation in observations.iter().rev() {
            state.apply(observation.clone());
        }
        prop_assert_eq!(visible(&state), expected(&all));
        prop_assert_eq!(tags(&state), expected_tags(&all, &visible(&state)));
    }

    /// A failed observation, however late, neither removes a user nor a key.
    #[test]
    fn a_failure_removes_nothing(events in proptest::collection::vec(event(), 0..12), user in 0..NAMES.len()) {
        let mut state = state();
        for (i, event) in events.iter().enumerate() {
            state.apply(observation(i as i64 * 10 + 10, event));
        }
        let before = visible(&state);
        state.apply(user_keys(NAMES[user], 10_000, KeysResult::Failed("timeout")));
        let after = visible(&state);
        prop_assert_eq!(before.len(), after.len());
        for (old, new) in before.iter().zip(&after) {
            prop_assert_eq!((&old.0, &old.2), (&new.0, &new.2));
        }
    }
}

#[test]
fn a_finding_of_the_root_user_is_dated_by_the_first_observation_of_its_keys() {
    let mut state = state();
    let mut since = |second, keys| {
        state.apply(Observation::Root { at: at(second), keys });
        state.evaluate(&Arc::default(), at(second));
        state.root.verdict.findings.first().map(|f| f.since)
    };
    assert_eq!(since(1, RootKeys::Active(1)), Some(at(1)));
    assert_eq!(since(2, RootKeys::Active(1)), Some(at(1)));
    assert_eq!(since(3, RootKeys::Failed("throttled")), Some(at(1)));
    assert_eq!(since(4, RootKeys::Active(2)), Some(at(1)));
    assert_eq!(since(5, RootKeys::Active(0)), None);
    assert_eq!(since(6, RootKeys::Active(1)), Some(at(6)));
}
