//! Many accounts: bad configuration, and faults of one account or of what all share.

use crate::accounts::{ORGANIZATION, accounts, command, failures, fake, ready, serve, violating, violations};
use crate::common::{Account, FakeIam, Fault, Member, On, Organization};
use crate::exporter::{Exporter, cli, wait_until};
use jiff::SignedDuration;

const UP_2: &str = "iam_key_exporter_account_up{account_id=\"222222222222\"}";
const ROLE_2: &str = "{ role_arn: 'arn:aws:iam::222222222222:role/iam-key-exporter' }";

/// Checks every second.
fn often(iam: &FakeIam, config: &str) -> Exporter {
    let args = ["serve", "--config.file=c.yaml", "--check.interval=1s"];
    cli(args).aws(iam).file("c.yaml", config).serve()
}

#[test]
fn an_account_that_is_not_identified_yet_is_visible_and_waited_for() {
    let iam = fake("2");
    iam.fail(On::operation("GetCallerIdentity"), Fault::Hang);
    let exporter = serve(&iam, &format!("accounts: [{ROLE_2}, {{ self: true }}]\n"));
    let metrics = exporter.wait_for_sample(UP_2, 1.0);
    assert_eq!(metrics.value("iam_key_exporter_account_up{account_id=\"unknown\"}"), Some(0.0), "{}", metrics.text());
    assert_eq!(exporter.get("/readyz").status, 503, "the account of the credentials was not checked");
}

#[test]
fn an_account_that_is_listed_as_a_role_and_as_own_is_checked_once() {
    let iam = fake("2");
    let own = "{ role_arn: 'arn:aws:iam::123456789012:role/iam-key-exporter' }";
    for config in [format!("accounts: [{own}, {{ self: true }}]\n"), format!("accounts: [{{ self: true }}, {own}]\n")] {
        let exporter = serve(&iam, &config);
        wait_until("one account", || {
            let text = exporter.metrics().text().to_owned();
            exporter.get("/readyz").status == 200 && !text.contains("account_id=\"unknown\"")
        });
        assert_eq!(accounts(&exporter.metrics(), 1.0), "1");
    }
}

#[test]
fn settings_of_the_own_account_apply_without_a_list_of_accounts() {
    let iam = fake("2");
    let rules = "policy: { multiple_active_keys: { limit: 9 } }";
    let exporter = serve(&iam, &format!("account_overrides: {{ '123456789012': {{ name: mine, {rules} }} }}\n"));
    let series = "aws_iam_access_key_violations{account_id=\"123456789012\",rule=\"multiple_active_keys\"}";
    let metrics = exporter.wait_for_sample(series, 0.0);
    assert!(metrics.text().contains("account_name=\"mine\""));
    assert_eq!(exporter.logged("account_overrides names an account that is not checked"), 0, "{}", exporter.log());
}

#[test]
fn mistakes_in_lists_of_accounts_are_refused_with_the_reason() {
    for (config, expected) in [
        (format!("accounts: [{ROLE_2}, {ROLE_2}]"), "number 2 repeats account 222222222222"),
        ("accounts: [{ self: true }, { self: true }]".into(), "number 2 repeats"),
        ("accounts: [{ role_arn: 'arn:aws:iam::22222222222:role/x' }]".into(), "the account with twelve digits"),
        ("organization: { role_name: x, exclude: { accounts: ['1'] } }".into(), "twelve digits, in quotation marks"),
        ("account_overrides: { '1': {} }".into(), "twelve digits, in quotation marks"),
        (
            "organization: { role_name: x, include: { organizational_units: [prod] } }".into(),
            "\"prod\" is not the ID of an",
        ),
    ] {
        let stderr = cli(["verify-config", "--config.file=c.yaml"]).file("c.yaml", &config).run().expect(2).stderr();
        assert!(stderr.contains(expected), "{config}: {stderr}");
    }
}

#[test]
fn no_message_about_an_external_id_contains_it() {
    for value in
        ["9081726354", "[x-sekret]", "{ a: x-sekret }", "'x sekret'", "!!int x-sekret", "12.50817263", "é-sekret"]
    {
        for config in [
            format!("accounts:\n  - role_arn: arn:aws:iam::222222222222:role/x\n    external_id: {value}\n    x: 1\n"),
            format!("organization:\n  role_name: x\n  external_id: {value}\n  x: 1\n"),
        ] {
            let ran = cli(["verify-config", "--config.file=c.yaml"]).file("c.yaml", &config).run().expect(2);
            let output = ran.stderr() + &ran.stdout();
            assert!(!output.contains("sekret") && !output.contains("817263"), "{config}: {output}");
        }
    }
}

#[test]
fn an_account_whose_session_is_refused_gets_a_new_one() {
    let iam = fake("23");
    let exporter = often(&iam, ORGANIZATION);
    ready(&exporter);
    iam.fail(On::operation("ListUsers").in_account("222222222222"), Fault::EXPIRED_TOKEN);
    let metrics = exporter.wait_for_sample(UP_2, 0.0);
    assert_eq!(metrics.value(&violations('2')), Some(1.0), "the last data stay");
    assert!(failures(&metrics, '2', "credentials") >= Some(1.0));
    assert_eq!(accounts(&metrics, 1.0), "13");
    iam.heal();
    exporter.wait_for_sample(UP_2, 1.0);
    assert!(iam.assumed("222222222222") >= 2, "the session that AWS refuses is not used for ever");
}

#[test]
fn short_sessions_are_renewed_between_checks() {
    let iam = fake("2");
    iam.change_organization(|o| o.session = SignedDuration::from_secs(4));
    let exporter = often(&iam, &format!("accounts: [{ROLE_2}]\n"));
    ready(&exporter);
    wait_until("another session", || iam.assumed("222222222222") > 2);
    assert_eq!(accounts(&exporter.metrics(), 1.0), "2");
    assert_eq!(exporter.logged("check failed"), 0, "{}", exporter.log());
}

#[test]
fn an_account_whose_role_or_requests_hang_does_not_hold_up_others() {
    for on in [On::assuming("222222222222"), On::operation("ListUsers").in_account("222222222222")] {
        let iam = fake("2345");
        iam.fail(on, Fault::Hang);
        let exporter = command(&iam, ORGANIZATION).arg("--aws.max-accounts=2").serve();
        wait_until("the other accounts", || accounts(&exporter.metrics(), 1.0) == "1345");
        assert_eq!(accounts(&exporter.metrics(), 0.0), "2");
        assert_eq!(exporter.get("/readyz").status, 503, "one account was not checked");
    }
}

#[test]
fn the_management_account_is_not_mistaken_for_the_account_of_a_delegated_administrator() {
    let iam = fake("23");
    iam.change_organization(|o| o.management = Some("333333333333".into()));
    let metrics = ready(&serve(&iam, ORGANIZATION));
    assert_eq!((accounts(&metrics, 1.0), accounts(&metrics, 0.0)), ("12".into(), "3".into()));
    assert!(failures(&metrics, '3', "account_mismatch") >= Some(1.0));
    assert_eq!(metrics.value(&violations('3')), None);
}

#[test]
fn an_account_of_another_partition_fails_alone() {
    let iam = fake("23");
    let china = "{ role_arn: 'arn:aws-cn:iam::333333333333:role/iam-key-exporter' }";
    let exporter = serve(&iam, &format!("accounts: [{ROLE_2}, {china}]\n"));
    let metrics = ready(&exporter);
    assert_eq!((accounts(&metrics, 1.0), accounts(&metrics, 0.0)), ("2".into(), "3".into()));
    assert!(exporter.log().contains("arn:aws-cn:iam::333333333333:role/iam-key-exporter"), "{}", exporter.log());
}

#[test]
fn an_account_that_returns_is_checked_again() {
    let iam = fake("234");
    let config = "organization: { role_name: iam-key-exporter, refresh_interval: 1s, retention: 1h }\n";
    let exporter = serve(&iam, config);
    ready(&exporter);
    iam.change_organization(|o| o.member("222222222222").listed = false);
    exporter.wait_for_sample(UP_2, 0.0);
    iam.forget_calls();
    iam.change_organization(|o| {
        let member = o.member("222222222222");
        member.listed = true;
        member.account = Account { id: "222222222222".into(), ..Account::example() };
    });
    let metrics = exporter.wait_for_sample(UP_2, 1.0);
    assert_eq!(metrics.value(&violations('2')), Some(2.0), "the data are new");
}

#[test]
fn nothing_confidential_is_logged_at_trace() {
    let iam = fake("23");
    iam.change_organization(|o| {
        o.member("222222222222").external_id = Some("x-sekret-1".into());
        o.member("333333333333").external_id = Some("y-sekret-2".into());
    });
    let config = "organization: { role_name: iam-key-exporter, external_id: x-sekret-1, refresh_interval: 1s }\n";
    let exporter = command(&iam, config).arg("--log.level=trace").serve();
    let metrics = ready(&exporter);
    assert_eq!((accounts(&metrics, 1.0), accounts(&metrics, 0.0)), ("12".into(), "3".into()));
    wait_until("another listing", || iam.calls_in("123456789012") > 10);
    let log = exporter.log() + &exporter.get("/").text() + metrics.text();
    for secret in ["sekret", "ASIA", "IQoJb3JpZ2lu", "a-secret-that-is-none"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

#[test]
fn hundreds_of_accounts_are_reloaded() {
    let iam = FakeIam::start(Account::example()).organization(Organization::of_size(300));
    let exporter = serve(&iam, ORGANIZATION);
    ready(&exporter);
    iam.change_organization(|o| {
        for member in o.members.iter_mut().take(60) {
            member.state = Some("CLOSED");
        }
        o.members.push(Member::new("200000000000", violating()));
    });
    wait_until("240 of the members, the own account and the new one", || {
        let text = exporter.metrics().text().to_owned();
        text.lines().filter(|l| l.starts_with("iam_key_exporter_account_up{") && l.ends_with(" 1")).count() == 242
    });
}
