//! What happens in every row about AWS. The account of the credentials has the fault, another one, which is reached by a role,
//! has none. The fault is there from the start, ends, begins again when there are good data, and ends again.

use super::Row;
use crate::common::{
    Account, Authority, FakeIam, Fault, Gateway, Key, Member, On, Organization, Report, User, Way, now,
};
use crate::exporter::{Cli, Exporter, cli, wait_for, wait_until};
use crate::metrics::Metrics;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

pub const FAULTY: &str = "123456789012";
pub const HEALTHY: &str = "222222222222";

/// The live collector reads no last use, so that the rule `unused_key` is not evaluated.
const CONFIG: &str = "policy: { unused_key: { enabled: false } }
accounts:
- self: true
- role_arn: arn:aws:iam::222222222222:role/iam-key-exporter
";
/// Unless a scenario has the flag.
const INTERVAL: (&str, &str) = ("IAM_KEY_EXPORTER_CHECK_INTERVAL", "500ms");

/// Four users: `bob` violates the policy, and the name of the one without keys has a comma.
pub fn faulty_account() -> Account {
    Account::new([
        User::new("alice", [Key::active(12)]),
        User::new("bob", [Key::active(50), Key::active(20)]),
        User::new("carol,c", []),
        User::new("dave", [Key::active(40), Key::inactive(80)]),
    ])
}

/// Two users: `eve` violates the policy.
fn healthy_account() -> Account {
    Account::new([User::new("eve", [Key::active(200), Key::active(3)]), User::new("frank", [Key::active(5)])])
}

/// What surrounds the exporter.
pub struct World {
    pub iam: FakeIam,
    pub home: PathBuf,
    /// The way to AWS, if it is not a direct one.
    gateway: Option<Gateway>,
    /// The authority that the exporter trusts.
    pub authority: Option<Authority>,
}

impl World {
    /// For requests of the account with the fault, apart from those for the session of the other one.
    pub fn fail(&self, on: On, fault: Fault) {
        self.iam.fail(On::operation("AssumeRole"), Fault::Right);
        self.iam.fail(on.in_account(FAULTY), fault);
    }

    /// The account gets this credential report, which is so old that checks transfer it each time.
    pub fn report(&self, content: impl Into<Vec<u8>>) {
        self.report_of(content, now() - SignedDuration::from_hours(4));
    }

    /// The account gets this credential report.
    pub fn report_of(&self, content: impl Into<Vec<u8>>, generated_at: Timestamp) {
        let report = Report::Fixed { content: content.into(), generated_at };
        self.fail(On::operation("GetCredentialReport"), Fault::Reported(report));
    }

    /// The right credential report of the account with the fault.
    pub fn right_report(&self) -> String {
        self.iam.account().credential_report()
    }

    pub fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().expect("the scenario has one")
    }
}

/// How the exporter reaches AWS.
#[derive(Clone, Copy)]
enum Route {
    Direct,
    Gateway,
    Tls,
}

/// The parts of the scenario in which rows differ.
pub struct Scenario {
    flags: Vec<&'static str>,
    route: Route,
    command: fn(Cli, &World) -> Cli,
    inject: fn(&World),
    heal: fn(&World),
}

impl Scenario {
    /// With the live collector.
    pub fn live(inject: fn(&World)) -> Scenario {
        let flags = vec!["--collector=live"];
        Scenario { flags, route: Route::Direct, command: |command, _| command, inject, heal: |_| {} }
    }

    /// With a [`Gateway`] before AWS.
    pub fn gateway(inject: fn(&World)) -> Scenario {
        let scenario = Scenario { route: Route::Gateway, ..Scenario::live(inject) };
        // Requests that cannot be sent are repeated for a minute otherwise.
        scenario.flag("--check.timeout=6s").heal(|world| world.gateway().set(Way::Open))
    }

    /// With a [`Gateway`] before AWS, to which TLS is used.
    pub fn tls(inject: fn(&World)) -> Scenario {
        let heal = |world: &World| world.gateway().set(world.authority.as_ref().unwrap().tls(2099));
        Scenario { route: Route::Tls, ..Scenario::gateway(inject) }.heal(heal)
    }

    /// The account with the fault is read by credential report, the other one live.
    pub fn report(inject: fn(&World)) -> Scenario {
        Scenario { flags: vec!["--collector.report-above=3"], ..Scenario::live(inject) }
    }

    #[must_use]
    pub fn flag(mut self, flag: &'static str) -> Scenario {
        self.flags.push(flag);
        self
    }

    /// Changes the command line, or puts files beside it.
    #[must_use]
    pub fn command(self, command: fn(Cli, &World) -> Cli) -> Scenario {
        Scenario { command, ..self }
    }

    /// Ends what does not end with [`FakeIam::heal`].
    #[must_use]
    pub fn heal(self, heal: fn(&World)) -> Scenario {
        Scenario { heal, ..self }
    }

    pub fn run(&self, row: &Row) {
        let after = row.fault.ends_with("(after a first check)");
        let (world, command) = self.prepare();
        if !after {
            (self.inject)(&world);
        }
        let run = Run { row, scenario: self, exporter: command.serve(), world };
        if !after {
            let data = run.observe(None);
            run.heal(None);
            assert!(
                data.is_none_or(|data| data == of_account(&run.exporter.metrics(), FAULTY)),
                "other data than later"
            );
            if row.fault.ends_with("(from the start)") {
                return;
            }
        }
        let before = run.between_checks();
        (self.inject)(&run.world);
        run.observe(Some(&before));
        run.heal(Some(&before));
    }

    fn prepare(&self) -> (World, Cli) {
        let organization = Organization::new([Member::new(HEALTHY, healthy_account())]);
        let iam = FakeIam::start(faulty_account()).organization(organization);
        // Old enough to be transferred by every check.
        iam.set_report(Report::Fresh { age: SignedDuration::from_hours(4) });
        let flags = ["serve", "--config.file=c.yaml", "--sweep.max-requests-per-second=0"];
        let mut command = cli(flags).args(&self.flags).env(INTERVAL.0, INTERVAL.1).aws(&iam).file("c.yaml", CONFIG);
        let mut world = World { home: command.home().to_owned(), iam, gateway: None, authority: None };
        if !matches!(self.route, Route::Direct) {
            let gateway = Gateway::start(world.iam.address());
            let scheme = if matches!(self.route, Route::Tls) { "https" } else { "http" };
            command = command.env("AWS_ENDPOINT_URL", format!("{scheme}://{}", gateway.address()));
            world.gateway = Some(gateway);
        }
        if let (Route::Tls, Some(gateway)) = (self.route, &world.gateway) {
            let authority = Authority::new();
            gateway.set(authority.tls(2099));
            let file = world.home.join("authority.pem");
            command = command.file("authority.pem", &authority.pem).env("SSL_CERT_FILE", file);
            world.authority = Some(authority);
        }
        let command = (self.command)(command, &world);
        (world, command)
    }
}

struct Run<'a> {
    row: &'a Row,
    scenario: &'a Scenario,
    world: World,
    exporter: Exporter,
}

impl Run<'_> {
    /// Good data, soon after the end of a check of the account with the fault.
    fn between_checks(&self) -> Metrics {
        let start = last_success(&self.exporter.metrics(), FAULTY);
        let ended = |metrics: &Metrics| last_success(metrics, FAULTY) > start && is_complete(metrics);
        wait_for("good data", || Some(self.exporter.metrics()).filter(ended))
    }

    /// While the fault is there. `before` are the metrics before it, `None` from the start. Returns the data of the account if
    /// they are expected to be the same as without the fault.
    fn observe(&self, before: Option<&Metrics>) -> Option<String> {
        let logged = self.logged(before);
        let (first, last) = self.two_checks(before);
        for sample in self.row.samples() {
            let grown = || self.exporter.metrics();
            let now = if sample.grows() { sample.wait(FAULTY, before, grown) } else { last.clone() };
            sample.assert(identified(&now), before, &now);
        }
        let mut data = None;
        if self.row.says("data unchanged") {
            // The check under way can succeed with what it read before the fault began.
            let under_way = before.filter(|before| last_success(before, FAULTY) < last_success(&first, FAULTY));
            let good = if under_way.is_some() { Some(&first) } else { before };
            assert_eq!(of_account(&last, FAULTY), good.map(|m| of_account(m, FAULTY)).unwrap_or_default());
            assert_eq!(violations(&last, FAULTY), before.and_then(|before| violations(before, FAULTY)));
            assert_eq!(dates(&last, FAULTY), dates(&first, FAULTY), "dates stand still");
        }
        if self.row.says("data as without the fault") {
            data = Some(of_account(&last, FAULTY));
            assert!(before.is_none_or(|before| data == Some(of_account(before, FAULTY))), "{}", last.without_help());
            assert!(last_success(&last, FAULTY) > last_success(&first, FAULTY));
        }
        self.others(before);
        self.log(before, &logged);
        assert_memory(self.row, &self.exporter);
        assert!(!self.exporter.has_ended(), "{}", self.exporter.log());
        data
    }

    /// The metrics after one and after two checks that the fault was there for. All of them end as the row says.
    fn two_checks(&self, before: Option<&Metrics>) -> (Metrics, Metrics) {
        let start = before.cloned().unwrap_or(Metrics::new(String::new()));
        let reason = self.row.value("reason ");
        let ended = |metrics: &Metrics| match reason {
            Some(reason) => {
                let count = |metrics| failures(metrics).get(reason).copied().unwrap_or(0.0);
                count(metrics) - count(&start)
            }
            // The check under way may have begun before the fault.
            None => checks(metrics) - checks(&start) - f64::from(u8::from(before.is_some())),
        };
        let wait = |number: f64| {
            wait_for(&format!("check {number} with {:?}", self.row.fault), || {
                Some(self.exporter.metrics()).filter(|metrics| ended(metrics) >= number)
            })
        };
        let (first, last) = (wait(1.0), wait(2.0));
        let of_reason = reason.map_or(0.0, |_| ended(&last));
        let others = total(&failures(&last)) - total(&failures(&start)) - of_reason;
        // The check under way can fail for another reason when the fault begins.
        assert!(others == 0.0 || reason.is_some() && before.is_some() && others <= 1.0, "{:?}", failures(&last));
        (first, last)
    }

    fn others(&self, before: Option<&Metrics>) {
        let at_the_start = self.row.says("at the start all accounts");
        let all = self.row.says("all accounts") || at_the_start && before.is_none();
        let data = before.map(|before| of_account(before, HEALTHY)).unwrap_or_default();
        let up = format!("iam_key_exporter_account_up{{account_id=\"{HEALTHY}\"}}");
        if all {
            let failed = self.exporter.wait_for_sample(&up, 0.0);
            assert_eq!(of_account(&failed, HEALTHY), data, "the other account");
            assert_eq!(self.exporter.get("/readyz").status, if before.is_some() { 200 } else { 503 });
            return;
        }
        let start = last_success(&self.exporter.metrics(), HEALTHY);
        let fresh = wait_for("another check of the other account", || {
            Some(self.exporter.metrics()).filter(|m| last_success(m, HEALTHY) > start)
        });
        assert_eq!(fresh.value(&up), Some(1.0), "the other account");
        assert_eq!(violations(&fresh, HEALTHY), Some(1.0), "the other account");
        assert!(before.is_none() || of_account(&fresh, HEALTHY) == data, "the other account");
        assert_eq!(self.exporter.get("/readyz").status, 200);
    }

    /// How often each line was logged so far; without lines, the number of warnings.
    fn logged(&self, before: Option<&Metrics>) -> Vec<usize> {
        // From the start, nothing was.
        let counted = |n: usize| if before.is_some() { n } else { 0 };
        if self.row.log().is_empty() {
            return vec![counted(warnings(&self.exporter))];
        }
        self.row.log().iter().map(|texts| counted(lines(&self.exporter, texts))).collect()
    }

    /// Each line was logged once more.
    fn log(&self, before: Option<&Metrics>, logged: &[usize]) {
        let when = if before.is_some() { "after good data" } else { "from the start" };
        if self.row.log().is_empty() {
            assert_eq!(warnings(&self.exporter), logged[0], "warnings {when}:\n{}", self.exporter.log());
        }
        for (texts, earlier) in self.row.log().iter().zip(logged) {
            wait_until(&format!("{texts:?} {when} in the log"), || lines(&self.exporter, texts) > *earlier);
            let logged = lines(&self.exporter, texts) - earlier;
            assert_eq!(logged, 1, "{texts:?} {when}: once a change\n{}", self.exporter.log());
        }
    }

    /// Ends the fault. The first check that begins then succeeds, with all data.
    fn heal(&self, before: Option<&Metrics>) {
        self.world.iam.heal();
        (self.scenario.heal)(&self.world);
        let start = self.exporter.metrics();
        let failed = total(&failures(&start));
        let not_needed = self.row.says("not needed");
        assert!(not_needed || self.row.says("next check"), "how {:?} ends", self.row.fault);
        let done = wait_for("recovery", || {
            let metrics = self.exporter.metrics();
            // The check under way may have begun before.
            let checked = up(&metrics) == Some(1.0) && last_success(&metrics, FAULTY) > last_success(&start, FAULTY);
            (checked && (!not_needed || checks(&metrics) >= checks(&start) + 2.0)).then_some(metrics)
        });
        let failed = total(&failures(&done)) - failed;
        assert!(failed <= 1.0, "{failed} checks failed after the end of the fault: {}", self.exporter.log());
        let mut complete = wait_for("the other account", || Some(self.exporter.metrics()).filter(is_complete));
        if let Some(before) = before {
            // A check that was under way when the fault ended can have read a part of it.
            if of_account(&complete, FAULTY) != of_account(before, FAULTY) {
                complete = self.between_checks();
            }
            assert_eq!(of_account(&complete, FAULTY), of_account(before, FAULTY));
            assert_eq!(of_account(&complete, HEALTHY), of_account(before, HEALTHY));
        }
    }
}

/// Whether all data of both accounts are there.
fn is_complete(metrics: &Metrics) -> bool {
    let complete = |account| {
        let unknown = metrics.value(&format!("aws_iam_users{{account_id=\"{account}\",status=\"unknown\"}}"));
        let up = metrics.value(&format!("iam_key_exporter_account_up{{account_id=\"{account}\"}}"));
        let root = metrics.value(&format!("aws_iam_account_root_active_access_keys{{account_id=\"{account}\"}}"));
        violations(metrics, account) == Some(1.0) && unknown == Some(0.0) && root == Some(0.0) && up == Some(1.0)
    };
    complete(FAULTY) && complete(HEALTHY)
}

/// The label of the account with the fault, which is not known in each case.
fn identified(metrics: &Metrics) -> &'static str {
    let known = metrics.text().contains(&format!("iam_key_exporter_account_up{{account_id=\"{FAULTY}\"}}"));
    if known { FAULTY } else { "unknown" }
}

fn up(metrics: &Metrics) -> Option<f64> {
    metrics.value(&format!("iam_key_exporter_account_up{{account_id=\"{}\"}}", identified(metrics)))
}

fn violations(metrics: &Metrics, account: &str) -> Option<f64> {
    metrics.value(&format!("aws_iam_access_key_violations{{account_id=\"{account}\",rule=\"multiple_active_keys\"}}"))
}

/// All samples about the users of an account.
fn of_account(metrics: &Metrics, account: &str) -> String {
    let label = format!("account_id=\"{account}\"");
    let lines = metrics.text().lines().filter(|line| line.starts_with("aws_iam_") && line.contains(&label));
    lines.map(|line| format!("{line}\n")).collect()
}

fn last_success(metrics: &Metrics, account: &str) -> Option<f64> {
    metrics.value(&format!("iam_key_exporter_account_last_success_timestamp_seconds{{account_id=\"{account}\"}}"))
}

/// When the data of the account were true, and when its last check succeeded.
fn dates(metrics: &Metrics, account: &str) -> (Option<f64>, Option<f64>) {
    let series = format!("iam_key_exporter_account_facts_timestamp_seconds{{account_id=\"{account}\"}}");
    (metrics.value(&series), last_success(metrics, account))
}

/// Checks of the account with the fault that have ended.
fn checks(metrics: &Metrics) -> f64 {
    let series = format!("iam_key_exporter_checks_total{{account_id=\"{}\"}}", identified(metrics));
    metrics.value(&series).unwrap_or(0.0)
}

/// Failed checks of the account with the fault, by reason.
fn failures(metrics: &Metrics) -> BTreeMap<String, f64> {
    let of_account = format!("iam_key_exporter_check_failures_total{{account_id=\"{}\",reason=\"", identified(metrics));
    let reasons = metrics.text().lines().filter_map(|line| {
        let (reason, count) = line.strip_prefix(&of_account)?.split_once("\"} ")?;
        Some((reason.to_owned(), count.parse().ok()?))
    });
    reasons.collect()
}

fn total(failures: &BTreeMap<String, f64>) -> f64 {
    failures.values().sum()
}

/// Log lines that contain all of these, apart from those about the other account.
fn lines(exporter: &Exporter, texts: &[String]) -> usize {
    let is_one = |line: &&str| !line.contains(HEALTHY) && texts.iter().all(|text| line.contains(text));
    exporter.log().lines().filter(is_one).count()
}

fn warnings(exporter: &Exporter) -> usize {
    exporter.logged(" WARN ") + exporter.logged(" ERROR ")
}

/// Fails if the process has ever used more memory than the row allows.
#[track_caller]
pub fn assert_memory(row: &Row, exporter: &Exporter) {
    let most = idle_memory() + row.memory_limit();
    let peak = peak_memory(exporter);
    assert!(peak <= most, "{peak} KiB, expected at most {most}");
}

/// The peak of the resident memory, in KiB.
pub fn peak_memory(exporter: &Exporter) -> u64 {
    let path = format!("/proc/{}/status", exporter.pid());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux has it");
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The same of an exporter that checks these accounts without a fault.
fn idle_memory() -> u64 {
    static IDLE: OnceLock<u64> = OnceLock::new();
    *IDLE.get_or_init(|| {
        let (_world, command) = Scenario::live(|_| {}).prepare();
        let exporter = command.serve();
        wait_for("good data", || Some(exporter.metrics()).filter(is_complete));
        exporter.wait_for_another_check();
        peak_memory(&exporter)
    })
}
