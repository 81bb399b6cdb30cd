//! Many accounts: listed, and those of an organisation; what goes wrong with one of them, or with the list; shards.

use crate::common::{Account, FakeIam, Fault, Key, Member, On, Organization, Pages, User};
use crate::exporter::{Cli, Exporter, cli, wait_until};
use crate::metrics::Metrics;
use std::collections::{BTreeMap, BTreeSet};

pub const ORGANIZATION: &str = "organization: { role_name: iam-key-exporter, refresh_interval: 1s }\n";
pub const ORGANIZATION_UP: &str = "iam_key_exporter_organization_up";

/// The own account is 123456789012 with two users in violation; each member has one.
pub fn fake(digits: &str) -> FakeIam {
    let member = |digit: char| Member::new(&digit.to_string().repeat(12), violating());
    FakeIam::start(Account::example()).organization(Organization::new(digits.chars().map(member)))
}

pub fn violating() -> Account {
    Account::new([User::new("eve", [Key::active(200), Key::active(3)]), User::new("frank", [Key::active(5)])])
}

/// `serve` with this configuration, that checks once an hour: nothing but the accounts changes.
pub fn command(iam: &FakeIam, config: &str) -> Cli {
    cli(["serve", "--config.file=c.yaml", "--check.interval=1h", "--metrics.users=violating"])
        .aws(iam)
        .file("c.yaml", config)
}

pub fn serve(iam: &FakeIam, config: &str) -> Exporter {
    command(iam, config).serve()
}

pub fn ready(exporter: &Exporter) -> Metrics {
    wait_until("readiness", || exporter.get("/readyz").status == 200);
    exporter.metrics()
}

/// The first digits of the accounts with this value of `up`.
pub fn accounts(metrics: &Metrics, up: f64) -> String {
    let of = |line: &str| line.split("account_id=\"").nth(1).map(|rest| rest[..1].to_owned());
    let lines = metrics.text().lines().filter(|l| l.starts_with("iam_key_exporter_account_up{"));
    lines.filter(|l| l.ends_with(&format!(" {up}"))).filter_map(of).collect()
}

pub fn failures(metrics: &Metrics, digit: char, reason: &str) -> Option<f64> {
    let account = digit.to_string().repeat(12);
    metrics.value(&format!("iam_key_exporter_check_failures_total{{account_id=\"{account}\",reason=\"{reason}\"}}"))
}

pub fn violations(digit: char) -> String {
    format!(
        "aws_iam_access_key_violations{{account_id=\"{}\",rule=\"multiple_active_keys\"}}",
        digit.to_string().repeat(12)
    )
}

pub fn reconfigure(exporter: &Exporter, config: &str) {
    std::fs::write(exporter.home().join("c.yaml"), config).unwrap();
    exporter.signal("HUP");
}

#[test]
fn every_member_is_checked_with_its_role_and_the_management_account_without() {
    let iam = fake("234");
    let metrics = ready(&serve(&iam, ORGANIZATION));
    assert_eq!(accounts(&metrics, 1.0), "1234");
    for digit in ['2', '3', '4'] {
        assert_eq!(metrics.value(&violations(digit)), Some(1.0));
        assert_eq!(iam.assumed(&digit.to_string().repeat(12)), 1);
    }
    assert_eq!(iam.assumed("123456789012"), 0);
    let info = r#"aws_iam_account_info{account_id="222222222222",account_name="account-222222222222",collector="live",partition="aws"}"#;
    assert_eq!(metrics.value(info), Some(1.0));
    assert_eq!(metrics.value("iam_key_exporter_organization_accounts{state=\"active\"}"), Some(4.0));
    assert_eq!(metrics.value(ORGANIZATION_UP), Some(1.0));
}

#[test]
fn accounts_that_cannot_be_reached_leave_the_others_alone() {
    let iam = fake("2345");
    iam.change_organization(|o| {
        o.member("222222222222").role = None;
        o.member("333333333333").external_id = Some("expected-external-id".into());
    });
    iam.fail(On::operation("ListUsers").in_account("444444444444"), Fault::ACCESS_DENIED);
    let config = "organization: { role_name: iam-key-exporter, external_id: wrong-external-id }\n";
    let exporter = serve(&iam, config);
    let metrics = ready(&exporter);
    assert_eq!((accounts(&metrics, 1.0), accounts(&metrics, 0.0)), ("15".into(), "234".into()));
    for (digit, reason) in [('2', "role_denied"), ('3', "role_denied"), ('4', "access_denied")] {
        assert!(failures(&metrics, digit, reason) >= Some(1.0), "{digit}");
        assert_eq!(metrics.value(&violations(digit)), None, "no reassuring zero");
    }
    let log = exporter.log();
    let line = log.lines().find(|l| l.contains("333333333333") && l.contains("check failed")).unwrap();
    for part in ["arn:aws:iam::333333333333:role/iam-key-exporter", "external ID", "trust policy", "sts:AssumeRole"] {
        assert!(line.contains(part), "{part:?} is not in {line}");
    }
    assert!(!log.contains("wrong-external-id") && !log.contains("expected-external-id"), "{log}");
}

#[test]
fn without_a_list_of_the_organisation_listed_accounts_are_checked() {
    let iam = fake("23");
    iam.fail(On::operation("ListAccounts"), Fault::Error { status: 400, code: "AccessDeniedException", message: "no" });
    let config =
        format!("{ORGANIZATION}accounts: [{{ role_arn: 'arn:aws:iam::222222222222:role/iam-key-exporter' }}]\n");
    let exporter = serve(&iam, &config);
    exporter.wait_for_sample(&violations('2'), 1.0);
    let denied = "iam_key_exporter_organization_failures_total{reason=\"access_denied\"}";
    wait_until("the failure", || exporter.metrics().value(denied) >= Some(1.0));
    let metrics = exporter.metrics();
    assert_eq!(accounts(&metrics, 1.0), "2");
    assert_eq!(metrics.value(ORGANIZATION_UP), Some(0.0));
    assert_eq!(metrics.value("iam_key_exporter_organization_accounts{state=\"active\"}"), None);
    assert_eq!(exporter.get("/readyz").status, 503, "not all accounts are known");
    iam.heal();
    let metrics = ready(&exporter);
    assert_eq!(accounts(&metrics, 1.0), "123");
}

#[test]
fn a_list_with_an_empty_page_is_complete() {
    let iam = fake("234").pages(Pages::Of(20));
    iam.change_organization(|o| o.pages = Pages::WithEmptyOnes);
    assert_eq!(accounts(&ready(&serve(&iam, ORGANIZATION)), 1.0), "1234");
}

#[test]
fn a_list_that_fails_in_the_middle_drops_no_account() {
    let iam = fake("2345");
    iam.change_organization(|o| o.pages = Pages::Of(2));
    let exporter = serve(&iam, ORGANIZATION);
    ready(&exporter);
    iam.change_organization(|o| o.pages = Pages::RepeatedMarker);
    let metrics = exporter.wait_for_sample(ORGANIZATION_UP, 0.0);
    assert_eq!(accounts(&metrics, 1.0), "12345");
    assert!(metrics.value("iam_key_exporter_organization_failures_total{reason=\"pagination\"}") >= Some(1.0));
}

#[test]
fn accounts_without_a_known_state_are_checked_and_suspended_ones_are_not() {
    let iam = fake("23456");
    iam.change_organization(|o| {
        (o.member("222222222222").state, o.member("222222222222").status) = (None, None);
        o.member("333333333333").state = Some("FROZEN_BY_A_NEW_FEATURE");
        (o.member("444444444444").state, o.member("444444444444").status) = (Some("SUSPENDED"), Some("ACTIVE"));
        (o.member("555555555555").state, o.member("555555555555").status) = (None, Some("SUSPENDED"));
    });
    let metrics = ready(&serve(&iam, ORGANIZATION));
    assert_eq!(accounts(&metrics, 1.0), "1236");
    for (state, count) in [("active", 2.0), ("unknown", 2.0), ("suspended", 2.0), ("pending", 0.0)] {
        let series = format!("iam_key_exporter_organization_accounts{{state=\"{state}\"}}");
        assert_eq!(metrics.value(&series), Some(count), "{state}");
    }
}

#[test]
fn an_account_that_is_listed_and_discovered_is_checked_once() {
    let iam = fake("23");
    iam.change_organization(|o| o.member("222222222222").role = Some("special".into()));
    let role = "{ role_arn: 'arn:aws:iam::222222222222:role/special', name: by-hand }";
    let metrics = ready(&serve(&iam, &format!("{ORGANIZATION}accounts: [{role}, {{ self: true }}]\n")));
    assert_eq!(accounts(&metrics, 1.0), "123");
    assert_eq!(iam.assumed("222222222222"), 1);
    assert!(metrics.text().contains("account_id=\"222222222222\",account_name=\"by-hand\""));
}

#[test]
fn filters_select_accounts_and_those_without_effect_are_named() {
    let iam = fake("23456");
    iam.change_organization(|o| {
        o.member("222222222222").units = vec!["ou-fake-11111111".into(), "ou-fake-22222222".into()];
        o.member("333333333333").units = vec!["ou-fake-11111111".into()];
        o.member("444444444444").tags = vec![("env".into(), "prod-eu".into())];
    });
    let include = "{ organizational_units: [ou-fake-11111111, ou-fake-99999999], tags: { env: 'prod-*' } }";
    let exclude = "{ accounts: ['333333333333', '999999999999'] }";
    let config = format!(
        "organization: {{ role_name: iam-key-exporter, include: {include}, exclude: {exclude}, management_account: skip }}\n"
    );
    for paths in [true, false] {
        iam.change_organization(|o| o.paths = paths);
        let exporter = serve(&iam, &config);
        let metrics = ready(&exporter);
        assert_eq!(accounts(&metrics, 1.0), "24", "paths: {paths}");
        assert_eq!(metrics.value("iam_key_exporter_organization_unmatched_filters"), Some(2.0));
        assert_eq!(exporter.logged("ou-fake-99999999") + exporter.logged("account 999999999999"), 2);
    }
}

#[test]
fn accounts_come_and_go_with_the_organisation() {
    let iam = fake("2345");
    let config = "organization:\n  role_name: iam-key-exporter\n  refresh_interval: 1s\n  retention: 3s\n  \
        exclude: { tags: { checked: 'no' } }\n";
    let exporter = serve(&iam, config);
    ready(&exporter);
    iam.change_organization(|o| {
        o.remove("222222222222");
        o.member("333333333333").state = Some("SUSPENDED");
        o.member("444444444444").tags.push(("checked".into(), "no".into()));
        o.members.push(Member::new("666666666666", violating()));
    });
    exporter.wait_for_sample(&violations('6'), 1.0);
    let metrics = exporter.metrics();
    assert_eq!((accounts(&metrics, 1.0), accounts(&metrics, 0.0)), ("156".into(), "234".into()));
    assert_eq!(failures(&metrics, '2', "left_organization"), Some(1.0));
    assert_eq!(failures(&metrics, '3', "account_suspended"), Some(1.0));
    assert_eq!(failures(&metrics, '4', "account_excluded"), Some(1.0));
    assert_eq!(metrics.value(&violations('2')), Some(1.0), "the last data stay");
    wait_until("all series of the account to end", || !exporter.metrics().text().contains("222222222222"));
    wait_until("all series of the account to end", || !exporter.metrics().text().contains("333333333333"));
    wait_until("all series of the account to end", || !exporter.metrics().text().contains("444444444444"));
    assert_eq!(accounts(&exporter.metrics(), 1.0), "156");
}

#[test]
fn a_list_that_shrinks_is_not_believed_at_once() {
    let iam = fake("23456");
    let exporter = serve(&iam, "organization: { role_name: iam-key-exporter, refresh_interval: 2s, retention: 0 }\n");
    ready(&exporter);
    iam.change_organization(|o| o.members.truncate(1));
    let metrics = exporter.wait_for_sample(ORGANIZATION_UP, 0.0);
    assert_eq!(accounts(&metrics, 1.0), "123456");
    assert!(metrics.value("iam_key_exporter_organization_failures_total{reason=\"shrunken\"}") >= Some(1.0));
    exporter.wait_for_sample(ORGANIZATION_UP, 1.0);
    wait_until("the accounts to end", || accounts(&exporter.metrics(), 1.0) == "12");
}

#[test]
fn a_reload_changes_accounts_and_keeps_the_data_of_the_others() {
    let iam = fake("234");
    let role =
        |digit: char| format!("  - role_arn: arn:aws:iam::{}:role/iam-key-exporter\n", digit.to_string().repeat(12));
    let exporter = serve(&iam, &format!("accounts:\n{}{}", role('2'), role('3')));
    assert_eq!(accounts(&ready(&exporter), 1.0), "23");
    iam.forget_calls();
    reconfigure(&exporter, &format!("accounts:\n{}{}", role('3'), role('4')));
    let metrics = exporter.wait_for_sample(&violations('4'), 1.0);
    wait_until("the account to end", || accounts(&exporter.metrics(), 1.0) == "34");
    assert_eq!(metrics.value(&violations('3')), Some(1.0));
    assert_eq!(iam.calls_in("333333333333"), 0, "it is not checked again");
}

#[test]
fn rules_and_names_of_one_account_can_differ() {
    let iam = fake("23");
    let config = format!(
        "{ORGANIZATION}account_overrides:\n  '222222222222': {{ name: two, policy: {{ multiple_active_keys: {{ limit: 2 }} }} }}\n"
    );
    let metrics = ready(&serve(&iam, &config));
    assert_eq!(metrics.value(&violations('2')), Some(0.0));
    assert_eq!(metrics.value(&violations('3')), Some(1.0));
    assert!(metrics.text().contains("account_id=\"222222222222\",account_name=\"two\""));
}

/// All samples about accounts, without times of the checks.
fn samples_of_accounts(metrics: &Metrics) -> BTreeSet<String> {
    let lines =
        metrics.text().lines().filter(|l| l.starts_with("aws_iam_") || l.starts_with("iam_key_exporter_account_up"));
    lines.filter(|l| l.contains("account_id=\"")).map(str::to_owned).collect()
}

#[test]
fn shards_together_have_every_account_once() {
    let iam = FakeIam::start(Account::example()).organization(Organization::of_size(30));
    let whole = samples_of_accounts(&ready(&serve(&iam, ORGANIZATION)));
    assert!(whole.iter().any(|l| l.contains("100000000029")), "{whole:?}");
    for total in 1..=7 {
        let mut union = BTreeSet::new();
        let mut sum = 0;
        for shard in 0..total {
            let exporter = command(&iam, ORGANIZATION)
                .env("POD_NAME", format!("iam-key-exporter-{shard}"))
                .args(["--shard=auto", &format!("--total-shards={total}")])
                .serve();
            let metrics = ready(&exporter);
            assert_eq!(metrics.value("iam_key_exporter_shard_ordinal"), Some(f64::from(shard)));
            assert_eq!(metrics.value("iam_key_exporter_total_shards"), Some(f64::from(total)));
            assert_eq!(metrics.value("iam_key_exporter_organization_accounts{state=\"active\"}"), Some(31.0));
            let samples = samples_of_accounts(&metrics);
            sum += samples.len();
            union.extend(samples);
        }
        assert_eq!(union, whole, "{total} shards");
        assert_eq!(sum, whole.len(), "no account is in two of {total} shards");
    }
}

/// Each process knows a part of the users: the maximum over the processes is what one process with all accounts exports.
#[test]
fn the_maximum_over_shards_says_which_exemptions_match() {
    let iam = fake("2345678");
    iam.change_member("333333333333", |account| account.user("eve").tags = vec![("team".into(), "web".into())]);
    let exemptions = "exemptions:
- {user: eve, account: '222222222222', reason: r, expires: 2099-01-01}
- {tag: {team: web}, reason: r, expires: 2099-01-01}
- {path: /nowhere/, reason: r, expires: 2099-01-01}
- {user: frank, account: '999999999999', reason: r, expires: 2099-01-01}
";
    let exempting = |flags: &[&str], warnings: usize| {
        let exporter = command(&iam, &format!("{ORGANIZATION}{exemptions}")).args(flags).serve();
        let metrics = ready(&exporter);
        let matched = metrics.of("aws_iam_exemption_matched");
        let samples = matched.lines().filter_map(|l| l.rsplit_once(' ')).filter(|(series, _)| !series.starts_with('#'));
        let samples = samples.map(|(series, value)| (series.to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>();
        // No shard knows all users.
        wait_until("the warnings", || exporter.logged("matches no user") == warnings);
        samples
    };
    let all = exempting(&[], 2);
    assert_eq!(all.values().collect::<Vec<_>>(), ["0", "1", "1", "0"], "{all:?}");
    for total in [2, 3] {
        let mut most = BTreeMap::new();
        for index in 0..total {
            let shard = [&*format!("--shard={index}"), &*format!("--total-shards={total}")];
            for (series, value) in exempting(&shard, 0) {
                let most: &mut String = most.entry(series).or_default();
                *most = value.max(most.clone());
            }
        }
        assert_eq!(most, all, "{total} shards");
    }
}

#[test]
fn a_shard_that_cannot_be_is_refused() {
    for (args, expected) in [
        (&["--shard=2", "--total-shards=2"][..], "--shard: 2 is not below --total-shards=2; shards are counted from 0"),
        (&["--total-shards=2"], "--total-shards=2 needs --shard: a number below 2, or auto"),
        (&["--shard=one", "--total-shards=2"], "is not a number from 0 on, or auto"),
    ] {
        let stderr = cli(["serve"]).args(args).run().expect(2).stderr();
        assert!(stderr.contains(expected), "{stderr}");
    }
    let no_ordinal =
        cli(["serve", "--shard=auto", "--total-shards=2"]).env("POD_NAME", "exporter").run().expect(2).stderr();
    assert!(
        no_ordinal.contains("--shard=auto: the name of the pod, \"exporter\", does not end in a hyphen and a number")
    );
}

#[test]
fn the_demo_has_an_organisation() {
    let exporter = cli(["serve", "--demo", "--demo.scenario=organization"]).serve();
    let metrics = ready(&exporter);
    let up = metrics.text().lines().filter(|l| l.starts_with("iam_key_exporter_account_up{")).count();
    assert_eq!(up, 11);
    assert_eq!(metrics.value("iam_key_exporter_account_up{account_id=\"201000000008\"}"), Some(0.0));
    assert!(metrics.sum("aws_iam_access_key_violations") > 5.0);
}
