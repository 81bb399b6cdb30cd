use super::*;
use crate::exposition::exporter::ExporterMetrics;
use crate::exposition::segment::Segment;
use crate::exposition::{Options, Users};
use crate::model::{Collector, KeysResult, ListedUser, Listing, Observation, Partition, UserName};
use crate::policy::{Exemption, Exemptions};

struct Setup {
    publisher: Publisher,
    parts: Arc<Parts>,
    state: Arc<AppState>,
    policy: watch::Sender<Arc<Policy>>,
}

fn setup() -> Setup {
    let options =
        Options { users: Users::All, user_info: false, tags: vec![], owner_tags: vec![], access_key_id: false };
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

const MATCHED: &str = r#"aws_iam_exemption_matched{account="",rule="",user="carol"}"#;

fn exempting(user: &str) -> Arc<Policy> {
    let exemption = Exemption::new(user.into(), None, None, "why".into(), Timestamp::MAX);
    Arc::new(Policy { exemptions: Exemptions::new(vec![exemption]), ..Policy::default() })
}

#[test]
fn an_exemption_is_unmatched_once_every_account_had_its_first_check() {
    let Setup { publisher, parts, state, policy } = setup();
    policy.send_replace(exempting("carol"));
    let accounts = [account("111111111111"), account("222222222222")];
    accounts.iter().for_each(|account| publisher.account_identified(account));
    let first = evaluated("111111111111", &["ann"], &policy.borrow());
    publisher.state_changed(&first);
    publisher.check_succeeded(accounts[0].id, Duration::ZERO, Timestamp::UNIX_EPOCH);
    assert!(!state.is_ready() && !text(&parts).contains(MATCHED), "{}", text(&parts));

    publisher.check_failed(Some(accounts[1].id), Duration::ZERO, &SourceError::Credentials(String::new()));
    assert!(text(&parts).contains(&format!("{MATCHED} 0")), "{}", text(&parts));

    publisher.state_changed(&evaluated("222222222222", &["carol"], &policy.borrow()));
    assert!(text(&parts).contains(&format!("{MATCHED} 1")), "{}", text(&parts));

    // Another policy: what it matches is not known until the accounts are evaluated with it.
    policy.send_replace(exempting("dave"));
    publisher.state_changed(&evaluated("111111111111", &["ann"], &policy.borrow()));
    assert!(!text(&parts).contains("aws_iam_exemption_matched{"), "{}", text(&parts));
    publisher.account_forgotten(accounts[1].id);
    assert!(text(&parts).contains(r#"user="dave"} 0"#), "{}", text(&parts));
}

#[derive(Clone, Default)]
struct Records(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Records {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        lock(&self.0).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs `work` and returns what it logs.
fn logged(work: impl FnOnce()) -> String {
    let records = Records::default();
    let writer = records.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, work);
    String::from_utf8(lock(&records.0).clone()).unwrap()
}

#[test]
fn a_lasting_condition_is_logged_once_for_each_account() {
    let Setup { publisher, policy, .. } = setup();
    let accounts = ["111111111111", "222222222222"].map(account);
    // Root's keys are not known, so that its rule is not evaluated.
    let states = ["111111111111", "222222222222"].map(|id| evaluated(id, &["ann"], &policy.borrow()));
    let error = SourceError::Credentials(String::new());
    let round = |failing: usize| {
        for (index, (account, state)) in accounts.iter().zip(&states).enumerate() {
            publisher.account_identified(account);
            if index == failing {
                publisher.check_failed(Some(account.id), Duration::ZERO, &error);
            } else {
                publisher.state_changed(state);
                publisher.check_succeeded(account.id, Duration::ZERO, Timestamp::UNIX_EPOCH);
            }
        }
    };
    let first = logged(|| round(usize::MAX));
    assert_eq!(first.matches("rule not evaluated").count(), 2, "{first}");
    assert_eq!(first.matches("check succeeded").count(), 2, "{first}");
    let again = logged(|| round(usize::MAX));
    assert_eq!(again, "");
    let failed = logged(|| round(1));
    assert!(failed.contains("222222222222") && failed.lines().count() == 1, "{failed}");
    assert_eq!(logged(|| round(1)), "");
    let recovered = logged(|| round(usize::MAX));
    assert!(recovered.contains("check succeeded") && recovered.lines().count() == 1, "{recovered}");
}

#[test]
fn many_series_of_users_are_logged_once() {
    let mut log = Log::default();
    let mut lines = |series: usize| logged(|| log.user_series_changed(series)).lines().count();
    let numbers = [99_999, 100_000, 100_001, 100_000, 100_001, 2_000_000, 90_000, 100_001];
    assert_eq!(numbers.map(&mut lines), [0, 0, 1, 0, 0, 0, 0, 1]);
}
