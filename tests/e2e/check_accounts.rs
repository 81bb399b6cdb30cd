//! `check` of many accounts: what is read is shown, what is not is named, and the exit code is 3 then.

use crate::common::{Account, FakeIam, Fault, Key, Member, On, Organization, User};
use crate::exporter::{Cli, Ran, cli};
use crate::metrics::Metrics;
use serde_json::Value;

const ORGANIZATION: &str = "organization: { role_name: iam-key-exporter }\n";
const DENIED: Fault =
    Fault::Error { status: 400, code: "AccessDeniedException", message: "You don't have permissions" };

fn compliant() -> Account {
    Account::new([User::new("frank", [Key::active(5)])])
}

fn violating() -> Account {
    Account::new([User::new("eve", [Key::active(200), Key::active(3)]), User::new("frank", [Key::active(5)])])
}

/// The own account is 123456789012 without any violation; so are the members, apart from that of the digit 2.
fn fake(digits: &str) -> FakeIam {
    let member = |digit: char| {
        let account = if digit == '2' { violating() } else { compliant() };
        Member::new(&digit.to_string().repeat(12), account).name(&format!("name-{digit}"))
    };
    FakeIam::start(compliant()).organization(Organization::new(digits.chars().map(member)))
}

fn command(iam: &FakeIam, config: &str) -> Cli {
    cli(["check", "--config.file=c.yaml"]).aws(iam).file("c.yaml", config)
}

fn check(iam: &FakeIam, args: &[&str]) -> Ran {
    command(iam, ORGANIZATION).args(args).run()
}

fn ids(json: &Value) -> Vec<&str> {
    json["accounts"].as_array().unwrap().iter().map(|a| a["account"]["id"].as_str().unwrap()).collect()
}

#[test]
fn every_account_is_checked_with_the_requests_of_serve() {
    let iam = FakeIam::start(compliant()).organization(Organization::of_size(20));
    let ran = check(&iam, &["--output=json"]).expect(0);
    assert_eq!(ran.stderr(), "");
    let json = ran.json();
    assert_eq!(ids(&json).len(), 21);
    assert_eq!(json["summary"]["accounts"], 21);
    assert_eq!(json["summary"]["users"]["compliant"], 41);
    assert_eq!(json["listing_failure"], Value::Null);
    assert_eq!((iam.calls_of("AssumeRole"), iam.calls_of("DescribeOrganization")), (20, 1));
    // A summary, a list of users and the keys of two users each.
    assert_eq!(iam.calls_in("100000000007"), 4);
}

#[test]
fn violations_of_any_account_are_one_exit_code_and_the_table_is_grouped_by_account() {
    let iam = fake("234");
    let text = check(&iam, &[]).expect(1).stdout();
    let lines: Vec<&str> = text.lines().collect();
    let place =
        |start: &str| lines.iter().position(|l| l.starts_with(start)).unwrap_or_else(|| panic!("{start}: {text}"));
    let two = place("Account 222222222222 (name-2), 2 users: 1 compliant, 1 violation");
    assert!(place("Account 123456789012 (management), 1 user: 1 compliant") + 2 == two, "{text}");
    let three = place("Account 333333333333 (name-3), 1 user: 1 compliant");
    assert!(two < place(" USER") && place(" eve") < three && lines[three - 1].is_empty(), "{text}");
    assert_eq!(lines[three + 1], "Account 444444444444 (name-4), 1 user: 1 compliant", "{text}");
    assert_eq!(lines.last(), Some(&"4 accounts, 5 users: 4 compliant, 1 violation"));
    let csv = check(&iam, &["--output=csv"]).expect(1).stdout();
    let rows: Vec<_> = csv::Reader::from_reader(csv.as_bytes()).records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 6, "eve has two findings");
    let eve = rows.iter().find(|r| &r[1] == "eve").unwrap();
    assert_eq!((&eve[0], &eve[11]), ("222222222222", "name-2"));
}

#[test]
fn accounts_that_cannot_be_read_are_named_and_the_others_are_shown() {
    let iam = fake("23456");
    iam.change_organization(|o| {
        o.member("333333333333").role = None;
        o.member("444444444444").external_id = Some("expected-external-id".into());
    });
    iam.fail(On::operation("ListUsers").in_account("555555555555"), Fault::THROTTLED);
    let config = "organization: { role_name: iam-key-exporter, external_id: wrong-external-id }\n";
    for output in ["table", "json", "csv", "prometheus"] {
        let ran = command(&iam, config).arg(format!("--output={output}")).run().expect(3);
        let (stdout, stderr) = (ran.stdout(), ran.stderr());
        assert!(stdout.contains("eve") && stdout.contains("222222222222"), "violations are shown: {stdout}");
        for (account, reason) in
            [("333333333333", "role_denied"), ("444444444444", "role_denied"), ("555555555555", "throttled")]
        {
            let line = stderr.lines().find(|l| l.contains(&format!("account_id=\"{account}\""))).expect(&stderr);
            assert!(line.contains(&format!("reason=\"{reason}\"")) && line.contains("could not be read"), "{line}");
        }
        assert!(!stderr.contains("666666666666") && !stderr.contains("external-id"), "{stderr}");
        assert!(!stdout.contains("external-id"), "{stdout}");
        match output {
            "table" => {
                assert!(stdout.contains("Account 555555555555 (name-5), not read (throttled): "), "{stdout}");
                assert!(stdout.contains("\n3 accounts, 3 not read, 4 users: 3 compliant, 1 violation\n"), "{stdout}");
            }
            "json" => {
                let json = ran.json();
                assert_eq!(ids(&json), ["123456789012", "222222222222", "666666666666"]);
                let failed = json["failed"].as_array().unwrap();
                assert_eq!((failed.len(), &failed[2]["reason"]), (3, &Value::from("throttled")));
                assert_eq!(failed[0]["account"]["id"], "333333333333");
            }
            "prometheus" => {
                let metrics = Metrics::new(stdout);
                let up = |id: &str| metrics.value(&format!("iam_key_exporter_account_up{{account_id=\"{id}\"}}"));
                assert_eq!((up("222222222222"), up("333333333333")), (Some(1.0), Some(0.0)));
                assert_eq!(metrics.value("iam_key_exporter_organization_up"), Some(1.0));
            }
            _ => {}
        }
    }
}

#[test]
fn a_textfile_keeps_the_series_of_an_account_that_cannot_be_read() {
    let iam = fake("23");
    iam.fail(On::assuming("222222222222"), Fault::ACCESS_DENIED);
    let mut command = command(&iam, ORGANIZATION).args(["--output=prometheus", "--output-file=iam.prom"]);
    command = command.file("iam.prom", "old\n");
    let ran = command.run().expect(3);
    assert!(ran.stderr().contains("--output-file stays as it is"), "{}", ran.stderr());
    assert_eq!(std::fs::read_to_string(command.home().join("iam.prom")).unwrap(), "old\n");
}

#[test]
fn without_any_account_there_is_no_result() {
    let iam = fake("2");
    iam.fail(On::operation("GetAccountSummary"), Fault::ACCESS_DENIED);
    let mut command = command(&iam, ORGANIZATION).arg("--output-file=result").file("result", "old\n");
    let ran = command.run().expect(3);
    assert_eq!(ran.stderr().matches("account could not be read").count(), 2, "{}", ran.stderr());
    assert!(ran.stderr().contains("iam-key-exporter: no account could be read"), "{}", ran.stderr());
    assert_eq!(std::fs::read_to_string(command.home().join("result")).unwrap(), "old\n");
}

#[test]
fn without_a_list_of_the_organisation_listed_accounts_are_shown() {
    let iam = fake("23");
    iam.fail(On::operation("ListAccounts"), DENIED);
    let listed = "accounts: [{ role_arn: 'arn:aws:iam::222222222222:role/iam-key-exporter' }]\n";
    let config = format!("{ORGANIZATION}{listed}");
    let ran = command(&iam, &config).arg("--output=json").run().expect(3);
    assert_eq!(ids(&ran.json()), ["222222222222"]);
    assert_eq!(ran.json()["listing_failure"]["reason"], "access_denied");
    assert!(ran.stderr().contains("accounts could not be listed") && ran.stderr().contains("ListAccounts"));
    let table = command(&iam, &config).run().expect(3).stdout();
    assert!(table.contains("\nThe accounts could not be listed (access_denied): "), "{table}");
    let alone = command(&iam, ORGANIZATION).run().expect(3);
    assert!(alone.stdout().is_empty() && alone.stderr().contains("accounts could not be listed"), "{}", alone.stderr());
    // One account that is listed by hand does not depend on the organisation.
    command(&iam, &config).arg("--account=222222222222").run().expect(1);
    let unknown = command(&iam, &config).arg("--account=333333333333").run().expect(3);
    assert!(unknown.stderr().contains("could not be listed"), "{}", unknown.stderr());
}

#[test]
fn one_account_by_its_id() {
    let iam = fake("234");
    iam.change_organization(|o| o.member("444444444444").state = Some("SUSPENDED"));
    iam.fail(On::operation("ListUsers").in_account("123456789012"), Fault::ACCESS_DENIED);
    let ran = check(&iam, &["--account=222222222222", "--output=json"]).expect(1);
    assert_eq!(ids(&ran.json()), ["222222222222"], "the shape depends on the configuration alone");
    let text = check(&iam, &["--account=333333333333"]).expect(0).stdout();
    assert_eq!(text, "Account 333333333333 (name-3), 1 user: 1 compliant\n", "as with one account");
    assert_eq!(iam.assumed("222222222222"), 1, "no other account is read");
    for (account, why) in [
        ("999999999999", "999999999999 is not one of the configured accounts"),
        ("444444444444", "444444444444 is in the organization, but suspended"),
        ("12", "\"12\" is not an AWS account ID"),
    ] {
        let ran = check(&iam, &[&format!("--account={account}")]).expect(2);
        assert!(ran.stderr().contains("--account") && ran.stderr().contains(why), "{}", ran.stderr());
        assert_eq!(ran.stdout(), "");
    }
}

#[test]
fn the_account_of_the_credentials_or_of_a_file_can_be_named() {
    let iam = FakeIam::start(compliant());
    let of = |account: &str, args: &[&str]| {
        let command = cli(["check", &format!("--account={account}")]).aws(&iam).args(args);
        command.file("i.json", compliant().inventory().to_string()).run()
    };
    for args in [&[][..], &["--input.inventory=i.json"]] {
        of("123456789012", args).expect(0);
        let other = of("222222222222", args).expect(2);
        assert!(other.stderr().contains("222222222222 is not the account of the credentials"), "{}", other.stderr());
    }
}

#[test]
fn a_user_is_of_one_account() {
    let iam = fake("23");
    let ran = check(&iam, &["--user=eve"]).expect(2);
    assert!(ran.stderr().contains("--user needs --account"), "{}", ran.stderr());
    check(&iam, &["--user=eve", "--account=222222222222"]).expect(1);
    check(&iam, &["--user=frank", "--account=222222222222"]).expect(0);
    let unknown = check(&iam, &["--user=eve", "--account=333333333333"]).expect(2);
    assert!(unknown.stderr().contains("--user") && unknown.stderr().contains("\"eve\""), "{}", unknown.stderr());
}

#[test]
fn rules_of_one_account_can_differ() {
    let iam = fake("23");
    let limit = "{ policy: { multiple_active_keys: { limit: 2 }, key_age: { enabled: false } } }";
    let config =
        format!("{ORGANIZATION}account_overrides: {{ '222222222222': {limit}, '999999999999': {{ name: x }} }}\n");
    let ran = command(&iam, &config).run().expect(0);
    assert!(ran.stderr().contains("account_overrides names an account"), "{}", ran.stderr());
}

#[test]
fn the_demo_has_an_organisation_with_an_account_that_cannot_be_read() {
    let ran = cli(["check", "--demo", "--demo.scenario=organization", "--output=json"]).run().expect(3);
    let json = ran.json();
    assert_eq!(json["failed"][0]["account"]["id"], "201000000008");
    assert!(ids(&json).len() >= 9, "{}", ran.stderr());
}
