use super::*;
use crate::model::{Account, Collector, KeysResult, ListedUser, Listing, Observation, Partition, UserName};
use crate::policy::{Exemption, Exemptions};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;
const NAMES: [&str; 4] = ["ann", "bob", "ci-1", "ci-2"];

fn policy(patterns: &[&str]) -> Arc<Policy> {
    let exempt = |user: &&str| Exemption::new((*user).into(), None, None, "why".into(), Timestamp::MAX);
    Arc::new(Policy { exemptions: Exemptions::new(patterns.iter().map(exempt).collect()), ..Policy::default() })
}

fn state(account: u64, users: &[usize], policy: &Arc<Policy>) -> Arc<AccountState> {
    let id = format!("{account:012}").parse().unwrap();
    let user = |name: &&str| ListedUser {
        name: UserName::new(name),
        path: "/".into(),
        created: Some(NOW),
        observed_at: NOW,
        keys: KeysResult::complete(Vec::new()),
    };
    let names: std::collections::BTreeSet<&str> = users.iter().map(|index| NAMES[*index]).collect();
    let mut state =
        AccountState::new(Account { id, name: String::new(), partition: Partition::default() }, Arc::clone(policy));
    let listing = Listing::new(Collector::Live, NOW, names.iter().map(user).collect()).unwrap();
    state.apply(Observation::Listing(listing));
    state.evaluate(policy, NOW);
    Arc::new(state)
}

fn matched(snapshot: &Snapshot) -> Vec<Option<bool>> {
    snapshot.matched_exemptions().collect()
}

proptest! {
    #[test]
    fn counting_gives_what_visiting_every_account_would(
        updates in proptest::collection::vec((0..5_u64, proptest::option::of(proptest::collection::vec(0..4_usize, 0..4))), 0..30),
    ) {
        let policy = policy(&["ann", "ci-*", "carol"]);
        let mut snapshot = Snapshot::new(Arc::clone(&policy));
        for (account, users) in updates {
            match users {
                Some(users) => snapshot.put(state(account, &users, &policy)),
                None => snapshot.remove(format!("{account:012}").parse().unwrap()),
            }
            let visited = (0..3).map(|index| Some(snapshot.accounts().any(|s| s.matched_exemptions()[index] == Some(true))));
            prop_assert_eq!(matched(&snapshot), visited.collect::<Vec<_>>());
        }
    }
}

#[test]
fn an_exemption_is_unmatched_only_when_all_accounts_were_evaluated_with_it() {
    let (old, new) = (policy(&["ann"]), policy(&["ann", "ci-*", "carol"]));
    let mut snapshot = Snapshot::new(Arc::clone(&old)).with(state(1, &[0], &old)).with(state(2, &[2], &old));
    assert_eq!(matched(&snapshot), [Some(true)]);
    snapshot.set_policy(&new);
    assert_eq!(matched(&snapshot), [None, None, None]);
    snapshot.put(state(1, &[0], &new));
    assert_eq!(matched(&snapshot), [Some(true), None, None]);
    snapshot.put(state(2, &[2], &new));
    assert_eq!(matched(&snapshot), [Some(true), Some(true), Some(false)]);
    snapshot.set_incomplete(true);
    assert_eq!(matched(&snapshot), [Some(true), Some(true), None]);
}

#[test]
fn accounts_may_have_rules_of_their_own_but_share_the_exemptions() {
    let policy = policy(&["ann"]);
    let mut own = (*policy).clone();
    own.without_root = true;
    let snapshot = Snapshot::new(Arc::clone(&policy)).with(state(1, &[1], &Arc::new(own)));
    assert_eq!(matched(&snapshot), [Some(false)]);
}
