use super::*;
use crate::config::Given;
use crate::config::addresses::Paths;
use crate::exposition::exporter::ExporterMetrics;
use crate::exposition::segment::Segment;
use crate::exposition::{Options, Users};
use crate::model::{Collector, KeysResult, ListedUser, Listing, Observation, Partition, UserName};
use crate::policy::{Exemption, Exemptions, Policy};

struct Setup {
    publisher: Publisher,
    metrics: Arc<ExporterMetrics>,
    parts: Arc<Parts>,
    state: Arc<AppState>,
    config: watch::Sender<Arc<Config>>,
}

fn setup() -> Setup {
    let options =
        Options { users: Users::All, user_info: false, tags: vec![], owner_tags: vec![], access_key_id: false };
    let parts = Arc::new(Parts::new(options));
    let metrics = Arc::new(ExporterMetrics::new(Duration::from_secs(300)));
    let state = Arc::new(AppState::new(Arc::clone(&parts), Arc::clone(&metrics), None, Paths::default()));
    let (config, receiver) = watch::channel(Arc::new(Config::load(&Given::default()).unwrap()));
    let publisher = Publisher::new(receiver, Arc::clone(&metrics), Arc::clone(&parts), Arc::clone(&state));
    Setup { publisher, metrics, parts, state, config }
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
    let Setup { publisher, parts, state, config, .. } = setup();
    let (wrong, right) = (account("999999999999"), account("123456789012"));

    publisher.account_identified(&wrong);
    publisher.check_failed(Some(wrong.id), Duration::ZERO, &SourceError::Credentials(String::new()));
    publisher.state_changed(&evaluated("999999999999", &["a"], &config.borrow().policy));
    publisher.check_succeeded(wrong.id, Duration::ZERO, Timestamp::UNIX_EPOCH);
    publisher.account_forgotten(wrong.id);
    publisher.account_identified(&right);

    let text = text(&parts);
    assert!(!text.contains("999999999999") && text.contains("123456789012"), "{text}");
    let accounts = state.update(|s| s.accounts().map(|(id, _)| id.to_owned()).collect::<Vec<_>>());
    assert_eq!(accounts, ["123456789012"]);
    assert_eq!(parts.user_series(), 0);
}

fn apply(config: &watch::Sender<Arc<Config>>, policy: Arc<Policy>) {
    config.send_modify(|config| *config = Arc::new(Config { policy, ..Config::clone(config) }));
}

const MATCHED: &str = r#"aws_iam_exemption_matched{account="",rule="",user="carol"}"#;

fn exempting(user: &str) -> Arc<Policy> {
    let exemption = Exemption::new(user.into(), None, None, "why".into(), Timestamp::MAX);
    Arc::new(Policy { exemptions: Exemptions::new(vec![exemption]), ..Policy::default() })
}

#[test]
fn an_exemption_is_unmatched_once_every_account_had_its_first_check() {
    let Setup { publisher, parts, state, config, .. } = setup();
    apply(&config, exempting("carol"));
    let accounts = [account("111111111111"), account("222222222222")];
    accounts.iter().for_each(|account| publisher.account_identified(account));
    publisher.targets_changed(&Targets::default(), false);
    let first = evaluated("111111111111", &["ann"], &config.borrow().policy);
    publisher.state_changed(&first);
    publisher.check_succeeded(accounts[0].id, Duration::ZERO, Timestamp::UNIX_EPOCH);
    assert!(!state.is_ready() && !text(&parts).contains(MATCHED), "{}", text(&parts));

    publisher.check_failed(Some(accounts[1].id), Duration::ZERO, &SourceError::Credentials(String::new()));
    assert!(text(&parts).contains(&format!("{MATCHED} 0")), "{}", text(&parts));

    publisher.state_changed(&evaluated("222222222222", &["carol"], &config.borrow().policy));
    assert!(text(&parts).contains(&format!("{MATCHED} 1")), "{}", text(&parts));

    // Another policy: what it matches is not known until the accounts are evaluated with it.
    apply(&config, exempting("dave"));
    publisher.state_changed(&evaluated("111111111111", &["ann"], &config.borrow().policy));
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
    // Without one, a test in another thread can make `tracing` remember that nothing receives a record.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::fmt().with_writer(std::io::sink).finish());
    let records = Records::default();
    let writer = records.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, work);
    String::from_utf8(lock(&records.0).clone()).unwrap()
}

#[test]
fn a_lasting_condition_is_logged_once_for_each_account() {
    let Setup { publisher, config, .. } = setup();
    let accounts = ["111111111111", "222222222222"].map(account);
    // Root's keys are not known, so that its rule is not evaluated.
    let states = ["111111111111", "222222222222"].map(|id| evaluated(id, &["ann"], &config.borrow().policy));
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

#[test]
fn an_account_that_left_keeps_its_data_until_it_is_removed() {
    let Setup { publisher, parts, state, config, .. } = setup();
    let account = account("123456789012");
    publisher.account_added(Some(account.id));
    assert!(text(&parts).contains("iam_key_exporter_account_up{account_id=\"123456789012\"} 0"));
    publisher.targets_changed(&Targets::default(), false);
    assert!(!state.is_ready(), "it has not been checked yet");
    publisher.account_identified(&account);
    publisher.state_changed(&evaluated("123456789012", &["a"], &config.borrow().policy));
    publisher.check_succeeded(account.id, Duration::ZERO, Timestamp::UNIX_EPOCH);
    assert!(state.is_ready());

    publisher.account_left(account.id, Departure::Left);
    let left = text(&parts);
    for line in [
        "iam_key_exporter_account_up{account_id=\"123456789012\"} 0",
        "iam_key_exporter_check_failures_total{account_id=\"123456789012\",reason=\"left_organization\"} 1",
        "aws_iam_user_active_access_keys{account_id=\"123456789012\",user_name=\"a\"} 0",
    ] {
        assert!(left.lines().any(|l| l == line), "{line} is not in {left}");
    }
    assert_eq!(publisher.last_state(account.id).unwrap().users().len(), 1);

    publisher.account_removed(account.id);
    assert!(!text(&parts).contains("123456789012"));
    assert!(publisher.last_state(account.id).is_none());
}

#[test]
fn the_organisation_has_to_be_listed_before_the_process_is_ready() {
    let Setup { publisher, metrics, state, .. } = setup();
    publisher.targets_changed(&Targets::default(), true);
    assert!(!state.is_ready());
    let listed = Targets { states: Some([("active", 3)].into()), ..Targets::default() };
    publisher.targets_changed(&listed, true);
    assert!(state.is_ready(), "no account is of this shard");
    let own = String::from_utf8(metrics.own().text()).unwrap();
    assert!(own.contains("iam_key_exporter_organization_accounts{state=\"active\"} 3"), "{own}");
}
