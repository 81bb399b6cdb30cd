use super::*;
use crate::exposition::exporter::ExporterMetrics;
use crate::exposition::segment::Segment;
use crate::exposition::{Options, Users};
use crate::model::{Collector, KeysResult, ListedUser, Listing, Observation, Partition, UserName};

struct Setup {
    publisher: Publisher,
    parts: Arc<Parts>,
    state: Arc<AppState>,
    policy: watch::Sender<Arc<Policy>>,
}

fn setup() -> Setup {
    let options = Options { users: Users::All, user_info: false, tags: vec![], access_key_id: false };
    let parts = Arc::new(Parts::new(options));
    let metrics = Arc::new(ExporterMetrics::new(Duration::from_secs(300)));
    let state = Arc::new(AppState::new(Arc::clone(&parts), metrics, None));
    let (sender, policy) = watch::channel(Arc::default());
    Setup { publisher: Publisher::new(policy, Arc::clone(&parts), Arc::clone(&state)), parts, state, policy: sender }
}

fn account(id: &str) -> Account {
    Account { id: id.parse().unwrap(), name: String::new(), partition: Partition::default() }
}

fn text(parts: &Parts) -> String {
    String::from_utf8(parts.page().plain(&Segment::default(), Vec::new()).into_text()).unwrap()
}

fn evaluated(id: &str, users: &[&str], policy: &Arc<Policy>) -> Arc<AccountState> {
    let at = Timestamp::UNIX_EPOCH;
    let user = |name: &&str| ListedUser {
        name: UserName::new(name),
        path: "/".into(),
        created: Some(at),
        observed_at: at,
        keys: KeysResult::complete(Vec::new()),
    };
    let mut state = AccountState::new(account(id), Arc::clone(policy));
    let listing = Listing::new(Collector::Live, at, users.iter().map(user).collect()).unwrap();
    state.apply(Observation::Listing(listing));
    state.evaluate(policy, at);
    Arc::new(state)
}

#[test]
fn a_forgotten_account_leaves_nothing() {
    let Setup { publisher, parts, state, policy } = setup();
    let (wrong, right) = (account("999999999999"), account("123456789012"));

    publisher.account_identified(&wrong);
    publisher.check_failed(Some(wrong.id), Duration::ZERO, &SourceError::Credentials(String::new()));
    publisher.state_changed(&evaluated("999999999999", &["a"], &policy.borrow()));
    publisher.check_succeeded(wrong.id, Duration::ZERO, Timestamp::UNIX_EPOCH);
    publisher.account_forgotten(wrong.id);
    publisher.account_identified(&right);

    let text = text(&parts);
    assert!(!text.contains("999999999999") && text.contains("123456789012"), "{text}");
    let accounts = state.update(|s| s.accounts().map(|(id, _)| id.to_owned()).collect::<Vec<_>>());
    assert_eq!(accounts, ["123456789012"]);
    assert_eq!(parts.user_series(), 0);
}
