//! Live, report and file give the same result for the same account, each with exactly the calls that it needs.

use crate::common::{Account, FakeIam, Fault, Key, On, Pages, Report, User, days_ago, now};
use crate::exporter::{check, cli, serve, wait_until};
use jiff::SignedDuration;
use serde_json::Value;
use std::collections::BTreeMap;

const VIOLATIONS: &str = r#"aws_iam_access_key_violations{account_id="123456789012",rule="multiple_active_keys"}"#;

fn active_keys(user: &str) -> String {
    format!(r#"aws_iam_user_active_access_keys{{account_id="123456789012",user_name="{user}"}}"#)
}

/// The result for each user, and for the root user, without the parts that depend on the collector.
fn verdicts(json: &Value) -> Value {
    let mut verdicts = json.clone();
    for key in ["collector", "checked_at", "facts_at"] {
        verdicts.as_object_mut().unwrap().remove(key);
    }
    for user in verdicts["users"].as_array_mut().unwrap() {
        user.as_object_mut().unwrap().remove("observed_at");
    }
    // The start of the root user's violation is the time of the observation.
    for finding in verdicts["root"]["findings"].as_array_mut().unwrap() {
        finding.as_object_mut().unwrap().remove("since");
    }
    verdicts
}

fn statuses(json: &Value) -> BTreeMap<String, String> {
    let users = json["users"].as_array().unwrap().iter();
    users.map(|u| (u["name"].as_str().unwrap().into(), u["status"].as_str().unwrap().into())).collect()
}

/// An account with a user for every case of the rules.
fn eventful() -> Account {
    let mut account = Account::example().root_keys(1);
    account.users.extend([
        User::new("old-key", [Key::active(200)]),
        User::new("never-used", [Key::active(120).used(None)]),
        User::new("long-unused", [Key::active(85).used(Some(days_ago(84)))]),
        User::new("both-old", [Key::active(300), Key::active(200).used(None)]),
        User::new("x+=,.@_-y", [Key::active(1), Key::inactive(2)]),
    ]);
    account.users.sort_by_key(|u| u.name.to_lowercase());
    account
}

#[test]
fn live_report_and_files_come_to_the_same_verdicts() {
    let account = eventful();
    let iam = FakeIam::start(account.clone());
    let live = check(&iam, ["--collector=live", "--collect.last-used", "--output=json"]).expect(1).json();
    let report = check(&iam, ["--collector=report", "--output=json"]).expect(1).json();
    let saved = cli(["check", "--input.credential-report=report.csv", "--output=json"])
        .file("report.csv", account.credential_report())
        .run()
        .expect(1)
        .json();
    let inventory = cli(["check", "--input.inventory=inventory.json", "--output=json"])
        .file("inventory.json", account.inventory().to_string())
        .run()
        .expect(1)
        .json();
    let expected = verdicts(&live);
    pretty_assertions::assert_eq!(verdicts(&report), expected);
    pretty_assertions::assert_eq!(verdicts(&saved), expected);
    pretty_assertions::assert_eq!(verdicts(&inventory), expected);
    assert_eq!(
        (&live["collector"], &report["collector"], &saved["collector"]),
        (&"live".into(), &"report".into(), &"file".into())
    );

    // The expected values, counted manually.
    let expected = [
        ("Erin", "compliant"),
        ("a,b", "compliant"),
        ("alice", "compliant"),
        ("bob", "violation"),
        ("bobby", "compliant"),
        ("both-old", "violation"),
        ("dave", "compliant"),
        ("long-unused", "compliant"),
        ("never-used", "violation"),
        ("old-key", "violation"),
        ("team.lead", "violation"),
        ("x+=,.@_-y", "compliant"),
    ];
    assert_eq!(statuses(&live), expected.map(|(n, s)| (n.to_owned(), s.to_owned())).into());
    assert_eq!(live["summary"]["violations"]["multiple_active_keys"], 3);
    assert_eq!(live["summary"]["violations"]["key_age"], 3);
    assert_eq!(live["summary"]["violations"]["unused_key"], 2);
    assert_eq!(live["summary"]["violations"]["root_access_key"], 1);
    let bob = live["users"].as_array().unwrap().iter().find(|u| u["name"] == "bob").unwrap();
    assert_eq!(bob["active_access_keys"], 2, "bob's own two keys; bobby has none");
    assert_eq!(
        bob["findings"][0]["since"],
        account.users.iter().find(|u| u.name == "bob").unwrap().keys[1].created.to_string()
    );
}

#[test]
fn partitions_and_root_are_known_to_either_collector() {
    for collector in ["live", "report"] {
        let mut account = Account::example().root_keys(2);
        account.partition = "aws-us-gov".into();
        let iam = FakeIam::start(account);
        let exporter = serve(&iam, [format!("--collector={collector}"), "--account.name=prod".into()]);
        let metrics = exporter.wait_for_success();
        let info = format!(
            r#"aws_iam_account_info{{account_id="123456789012",account_name="prod",collector="{collector}",partition="aws-us-gov"}}"#
        );
        assert_eq!(metrics.value(&info), Some(1.0), "{}", metrics.inventory());
        assert_eq!(metrics.value(r#"aws_iam_account_root_active_access_keys{account_id="123456789012"}"#), Some(2.0));
        let root = r#"aws_iam_access_key_violations{account_id="123456789012",rule="root_access_key"}"#;
        assert_eq!(metrics.value(root), Some(1.0), "one root, however many keys it has");
        assert_eq!(metrics.sum("aws_iam_users"), 7.0, "root is not a user");
        assert_eq!(metrics.value(r#"aws_iam_access_keys{account_id="123456789012",status="active"}"#), Some(7.0));
        assert_eq!(metrics.value(r#"aws_iam_access_keys{account_id="123456789012",status="inactive"}"#), Some(4.0));
    }
}

#[test]
fn lists_are_read_to_their_end() {
    for (pages, calls) in [(Pages::Of(1), 7), (Pages::Of(3), 3), (Pages::Of(1000), 1), (Pages::WithEmptyOnes, 14)] {
        let iam = FakeIam::start(Account::example()).pages(pages);
        let json = check(&iam, ["--collector=live", "--output=json"]).expect(1).json();
        assert_eq!(json["users"].as_array().unwrap().len(), 7, "{pages:?}");
        assert_eq!(json["summary"]["violations"]["multiple_active_keys"], 2, "{pages:?}: keys are on pages, too");
        assert_eq!(iam.calls_of("ListUsers"), calls, "{pages:?}");
        let all = iam.calls();
        let mut lists = all.iter().filter(|c| matches!(c.operation.as_str(), "ListUsers" | "ListAccessKeys"));
        assert!(lists.all(|c| c.parameters["MaxItems"] == "1000"), "{pages:?}: pages are as large as IAM makes them");
    }
}

#[test]
fn more_users_than_the_largest_page() {
    let iam = FakeIam::start(Account::of_size(1203));
    let json = check(&iam, ["--collector=live", "--output=json", "--aws.concurrency=64"]).expect(0).json();
    assert_eq!(json["summary"]["users"]["compliant"], 1203);
    assert_eq!(iam.calls_of("ListUsers"), 2);
    assert_eq!(iam.calls_of("ListAccessKeys"), 1203);
}

/// Every call, by name: other operations need no permission.
#[test]
fn each_collector_makes_the_calls_that_it_needs_and_no_other() {
    let calls = |args: &[&str]| {
        let iam = FakeIam::start(Account::example());
        check(&iam, args).expect(1);
        let mut counts = BTreeMap::new();
        for call in iam.calls() {
            *counts.entry(call.operation).or_insert(0) += 1;
        }
        counts.into_iter().collect::<Vec<_>>()
    };
    let expected = |counts: &[(&str, i32)]| counts.iter().map(|(o, n)| ((*o).to_owned(), *n)).collect::<Vec<_>>();
    // An account with a name has no need of its alias.
    assert_eq!(
        calls(&["--collector=live", "--account.name=production"]),
        expected(&[("GetAccountSummary", 1), ("GetCallerIdentity", 2), ("ListAccessKeys", 7), ("ListUsers", 1)])
    );
    assert_eq!(
        calls(&["--collector=live"]),
        expected(&[
            ("GetAccountSummary", 1),
            ("GetCallerIdentity", 2),
            ("ListAccessKeys", 7),
            ("ListAccountAliases", 1),
            ("ListUsers", 1)
        ])
    );
    assert_eq!(
        calls(&["--collector=live", "--collect.last-used"]),
        expected(&[
            ("GetAccessKeyLastUsed", 11),
            ("GetAccountSummary", 1),
            ("GetCallerIdentity", 2),
            ("ListAccessKeys", 7),
            ("ListAccountAliases", 1),
            ("ListUsers", 1),
        ])
    );
    assert_eq!(
        calls(&["--collector=report"]),
        expected(&[
            ("GenerateCredentialReport", 1),
            ("GetCallerIdentity", 2),
            ("GetCredentialReport", 1),
            ("ListAccessKeys", 2),
            ("ListAccountAliases", 1),
        ])
    );
    assert_eq!(
        calls(&["--collector=live", "--collect.tags=owner"]),
        expected(&[
            ("GetAccountAuthorizationDetails", 1),
            ("GetAccountSummary", 1),
            ("GetCallerIdentity", 2),
            ("ListAccessKeys", 7),
            ("ListAccountAliases", 1),
            ("ListUsers", 1),
        ])
    );
}

#[test]
fn auto_takes_the_report_above_the_threshold_only() {
    for (threshold, collector) in [("6", "report"), ("7", "live")] {
        let iam = FakeIam::start(Account::example());
        let flag = format!("--collector.report-above={threshold}");
        let json = check(&iam, [flag.as_str(), "--output=json"]).expect(1).json();
        assert_eq!(json["collector"], collector, "seven users, {flag}");
    }
}

#[test]
fn files_need_no_aws() {
    let iam = FakeIam::start(Account::example());
    let account = Account::example();
    for (flag, content) in [
        ("--input.credential-report=file", account.credential_report()),
        ("--input.inventory=file", account.inventory().to_string()),
    ] {
        // No credentials: it would fail if it asked for any.
        cli(["check", flag]).env("AWS_ENDPOINT_URL", iam.url()).file("file", content).run().expect(1);
    }
    assert_eq!(iam.calls(), []);
}

/// AWS returns an old report for hours; users that it flags are rechecked live at each check.
#[test]
fn a_fix_clears_at_the_next_check_though_the_report_is_old() {
    let iam = FakeIam::start(Account::example());
    iam.freeze_report();
    let exporter = serve(&iam, ["--collector=report", "--sweep.max-requests-per-second=0"]);
    let metrics = exporter.wait_for_success();
    assert_eq!(metrics.value(VIOLATIONS), Some(2.0));
    iam.change(|account| account.user("bob").keys[0].active = false);
    let metrics = exporter.wait_for_sample(VIOLATIONS, 1.0);
    assert_eq!(metrics.value(&active_keys("bob")), Some(1.0));
    let key = |n| format!(r#"aws_iam_access_key_active{{account_id="123456789012",key="{n}",user_name="bob"}}"#);
    assert_eq!((metrics.value(&key(1)), metrics.value(&key(2))), (Some(0.0), Some(1.0)));

    // The same old report is returned, with bob's two keys; the newer observation wins.
    let metrics = exporter.wait_for_another_check();
    assert_eq!(metrics.value(VIOLATIONS), Some(1.0), "{}", metrics.inventory());

    // Deleted altogether.
    iam.change(|account| account.remove("team.lead"));
    let metrics = exporter.wait_for_sample(VIOLATIONS, 0.0);
    assert_eq!(metrics.value(&active_keys("team.lead")), None);
    let metrics = exporter.wait_for_another_check();
    assert_eq!(metrics.value(&active_keys("team.lead")), None);
    assert_eq!(iam.reads_of("alice"), 0, "no other user is read live");
}

#[test]
fn a_fix_of_another_rule_clears_at_the_next_check_too() {
    let old = r#"aws_iam_access_key_violations{account_id="123456789012",rule="key_age"}"#;
    let iam = FakeIam::start(Account::new([User::new("old", [Key::active(200)]), User::new("new", [Key::active(2)])]));
    iam.freeze_report();
    let exporter = serve(&iam, ["--collector=report", "--sweep.max-requests-per-second=0"]);
    assert_eq!(exporter.wait_for_success().value(old), Some(1.0));
    iam.change(|account| account.user("old").keys[0].active = false);
    exporter.wait_for_sample(old, 0.0);
    assert_eq!(iam.reads_of("new"), 0);
}

/// Thousands of old keys must not become thousands of requests at every check.
#[test]
fn users_with_old_keys_are_read_live_in_turn() {
    let users = (0..250).map(|i| User::new(&format!("user-{i:03}"), [Key::active(200)]));
    let iam = FakeIam::start(Account::new(users));
    iam.freeze_report();
    check(&iam, ["--collector=report"]).expect(1);
    assert_eq!(iam.calls_of("ListAccessKeys"), 100);
    iam.forget_calls();
    let exporter = serve(&iam, ["--collector=report"]);
    exporter.wait_for_success();
    wait_until("all users to be read", || (0..250).all(|i| iam.reads_of(&format!("user-{i:03}")) > 0));
}

#[test]
fn a_new_report_wins_over_an_older_observation() {
    let iam = FakeIam::start(Account::example());
    iam.set_report(Report::Fresh { age: SignedDuration::from_hours(4) });
    let exporter = serve(&iam, ["--collector=report", "--sweep.max-requests-per-second=0"]);
    exporter.wait_for_success();
    iam.change(|account| account.user("bob").keys[0].active = false);
    exporter.wait_for_sample(VIOLATIONS, 1.0);
    // The key is reactivated, and a report that was generated afterwards contains it.
    iam.change(|account| account.user("bob").keys[0].active = true);
    let content = iam.account().credential_report().into_bytes();
    iam.set_report(Report::Fixed { content, generated_at: now() + SignedDuration::from_secs(5) });
    exporter.wait_for_sample(VIOLATIONS, 2.0);
}

#[test]
fn a_flagged_user_that_cannot_be_read_live_stays_as_in_the_report() {
    let iam = FakeIam::start(Account::example());
    iam.fail(On::operation("ListAccessKeys"), Fault::ACCESS_DENIED);
    let json = check(&iam, ["--collector=report", "--output=json"]).expect(1).json();
    assert_eq!(json["summary"]["violations"]["multiple_active_keys"], 2);
    assert_eq!(json["summary"]["users"]["unknown"], 0);
}

#[test]
fn the_age_of_the_inventory_is_the_reports() {
    let facts = r#"iam_key_exporter_account_facts_timestamp_seconds{account_id="123456789012"}"#;
    let iam = FakeIam::start(Account::example());
    let generated_at = now() - SignedDuration::from_hours(3);
    let content = iam.account().credential_report().into_bytes();
    iam.set_report(Report::Fixed { content, generated_at });
    let metrics = serve(&iam, ["--collector=report"]).wait_for_success();
    assert_eq!(metrics.value(facts), Some(generated_at.as_second() as f64));

    let metrics = serve(&iam, ["--collector=live"]).wait_for_success();
    let age = now().as_second() as f64 - metrics.value(facts).unwrap();
    assert!((-2.0..60.0).contains(&age), "a live reading is of now, not {age} seconds old");
}

#[test]
fn a_report_that_is_not_ready_is_waited_for() {
    let iam = FakeIam::start(Account::example());
    iam.set_report(Report::ReadyAfter(2));
    check(&iam, ["--collector=report"]).expect(1);
    assert_eq!(iam.calls_of("GenerateCredentialReport"), 3);
    assert_eq!(iam.calls_of("GetCredentialReport"), 1, "it is fetched when it is ready, not before");
}

#[test]
fn passing_troubles_with_the_report_are_waited_out() {
    for (operation, fault) in [
        ("GenerateCredentialReport", Fault::LIMIT_EXCEEDED),
        ("GetCredentialReport", Fault::REPORT_NOT_PRESENT),
        ("GetCredentialReport", Fault::REPORT_EXPIRED),
        ("GetCredentialReport", Fault::REPORT_IN_PROGRESS),
    ] {
        let iam = FakeIam::start(Account::example());
        iam.fail_times(1, On::operation(operation), fault.clone());
        let ran = check(&iam, ["--collector=report"]);
        assert_eq!(ran.code(), 1, "{fault:?}: {}", ran.stderr());
        assert_eq!(iam.calls_of(operation), 2, "{fault:?}");
    }
}

#[test]
fn a_report_that_never_comes_is_given_up_without_a_busy_loop() {
    let iam = FakeIam::start(Account::example());
    iam.set_report(Report::Never);
    let ran = check(&iam, ["--collector=report", "--check.timeout=3s"]).expect(3);
    assert_eq!(ran.stdout(), "");
    assert!(ran.stderr().contains("(report_pending)"), "{}", ran.stderr());
    // Pauses of 0.5, 1 and 2 seconds, of which the last does not fit.
    assert!((2..=3).contains(&iam.calls_of("GenerateCredentialReport")), "{:?}", iam.calls());
}

/// The columns contain two keys; if the report indicates more, the user is read live.
#[test]
fn users_with_more_credentials_than_the_report_contains_are_read_live() {
    let mut account = Account::example();
    account.user("alice").additional_credentials_info = Some("1 more access key".into());
    let iam = FakeIam::start(account.clone());
    let json = check(&iam, ["--collector=report", "--output=json"]).expect(1).json();
    assert_eq!(statuses(&json)["alice"], "compliant", "the live reading knows all her keys");
    assert_eq!(iam.reads_of("alice"), 1);

    let saved =
        cli(["check", "--input.credential-report=r.csv", "--output=json"]).file("r.csv", account.credential_report());
    let json = saved.env("LC_ALL", "C").run().expect(3).json();
    assert_eq!(statuses(&json)["alice"], "unknown", "a file cannot be asked");
}

#[test]
fn tags_become_labels_of_user_info_if_asked_for() {
    let iam = FakeIam::start(Account::new([
        User::new("alice", [Key::active(1)])
            .tag("Owner", "payments")
            .tag("secret", "x")
            .tag("AKIAIOSFODNN7EXAMPLE", "laptop"),
        User::new("bob", []).path("/team/").tag("cost-centre", r#"4"2\"#),
    ]));
    let exporter = serve(&iam, ["--collector=live", "--collect.tags=Owner,cost-centre,AKIAIOSFODNN7EXAMPLE"]);
    let metrics = exporter.wait_for_success();
    let info = metrics.of("aws_iam_user_info");
    let lines: Vec<&str> = info.lines().filter(|l| !l.starts_with('#')).collect();
    assert_eq!(
        lines,
        [
            r#"aws_iam_user_info{account_id="123456789012",path="/",tag_owner="payments",user_name="alice"} 1"#,
            r#"aws_iam_user_info{account_id="123456789012",path="/team/",tag_cost_centre="4\"2\\",user_name="bob"} 1"#,
        ]
    );
    assert!(!metrics.text().contains("laptop") && !metrics.text().contains("secret"));
    let call = iam.calls().into_iter().find(|c| c.operation == "GetAccountAuthorizationDetails").unwrap();
    assert_eq!(call.parameters["Filter.member.1"], "User", "policies and roles are not asked for");
}

#[test]
fn last_use_is_shown_when_asked_for() {
    let used = |user: &str| {
        let name = "aws_iam_access_key_last_used_timestamp_seconds";
        format!(r#"{name}{{account_id="123456789012",key="1",user_name="{user}"}}"#)
    };
    let at = days_ago(3);
    let iam = FakeIam::start(Account::new([
        User::new("used", [Key::active(5).used(Some(at))]),
        User::new("never", [Key::active(5).used(None)]),
    ]));
    let metrics = serve(&iam, ["--collector=live", "--collect.last-used"]).wait_for_success();
    assert_eq!(metrics.value(&used("used")), Some(at.as_second() as f64));
    assert_eq!(metrics.value(&used("never")), None, "absent, not 0");

    let metrics = serve(&iam, ["--collector=live"]).wait_for_success();
    assert_eq!(metrics.value(&used("used")), None);
}

/// As when the credentials become those of another account between two calls.
#[test]
fn an_account_whose_users_all_vanish_in_mid_check_is_not_believed() {
    let iam = FakeIam::start(Account::example());
    iam.fail(On::operation("ListAccessKeys"), Fault::NO_SUCH_ENTITY);
    let ran = check(&iam, ["--collector=live"]).expect(3);
    assert_eq!(ran.stdout(), "");
    assert!(ran.stderr().contains("does not know 7 of 7 users"), "{}", ran.stderr());
}

/// A key that is deleted between two calls does not make its user unknown.
#[test]
fn a_key_that_vanishes_in_mid_check_is_no_error() {
    let iam = FakeIam::start(Account::example());
    iam.fail(On::operation("GetAccessKeyLastUsed"), Fault::NO_SUCH_ENTITY);
    let json = check(&iam, ["--collector=live", "--collect.last-used", "--output=json"]).expect(1).json();
    assert_eq!(json["summary"]["users"]["unknown"], 0);
}

#[test]
fn every_attempt_is_counted_by_operation_and_outcome() {
    let iam = FakeIam::start(Account::example());
    iam.fail_times(2, On::operation("ListUsers"), Fault::THROTTLED);
    iam.fail_times(1, On::keys_of("bob"), Fault::status(503));
    iam.fail_times(1, On::keys_of("alice"), Fault::Close);
    iam.fail(On::keys_of("dave"), Fault::ACCESS_DENIED);
    let exporter = serve(&iam, ["--collector=live", "--check.interval=1h"]);
    let metrics = exporter.wait_for_success();
    assert_eq!(metrics.requests("GetCallerIdentity"), 2.0, "before and after the check");
    assert_eq!(metrics.requests("ListUsers"), 3.0);
    assert_eq!(metrics.request_failures("ListUsers", "Throttling"), 2.0);
    assert_eq!(metrics.requests("ListAccessKeys"), 9.0, "seven users, two of them twice");
    assert_eq!(metrics.request_failures("ListAccessKeys", "http_503"), 1.0);
    assert_eq!(metrics.request_failures("ListAccessKeys", "connection"), 1.0);
    assert_eq!(metrics.request_failures("ListAccessKeys", "AccessDenied"), 1.0);
    for operation in ["GetCallerIdentity", "GetAccountSummary", "ListUsers", "ListAccessKeys"] {
        assert_eq!(metrics.requests(operation), iam.calls_of(operation) as f64, "{operation}: what AWS saw");
    }
}

#[test]
fn concurrency_is_bounded() {
    let iam = FakeIam::start(Account::of_size(40));
    iam.fail(On::operation("ListAccessKeys"), Fault::Hang);
    let exporter = serve(&iam, ["--collector=live", "--aws.concurrency=3"]);
    wait_until("three calls under way", || iam.calls_of("ListAccessKeys") == 3);
    // A fourth would be there by the time that the page has been asked for a hundred times.
    for _ in 0..100 {
        assert_eq!(exporter.get("/livez").status, 200);
    }
    assert_eq!(iam.calls_of("ListAccessKeys"), 3);
}

/// One request in a hundred seconds: the first is sent at once, the second not before the check's time is over.
#[test]
fn the_request_rate_is_kept() {
    let iam = FakeIam::start(Account::example());
    let ran = check(&iam, ["--collector=live", "--aws.max-requests-per-second=0.01", "--check.timeout=2s"]).expect(3);
    assert!(ran.stderr().contains("(timeout)"), "{}", ran.stderr());
    assert_eq!(iam.calls().iter().filter(|c| c.operation != "GetCallerIdentity").count(), 1, "{:?}", iam.calls());
}

#[test]
fn a_thousand_scrapes_are_no_call_to_aws() {
    let iam = FakeIam::start(Account::example());
    let exporter = serve(&iam, ["--collector=live", "--check.interval=1h"]);
    exporter.wait_for_success();
    let calls = iam.calls().len();
    for i in 0..1000 {
        let path = ["/metrics", "/", "/readyz", "/livez"][i % 4];
        assert_eq!(exporter.get(path).status, 200);
    }
    assert_eq!(iam.calls().len(), calls);
}

/// IAM's region decides the partition, wherever it is configured: flag, environment, profile.
#[test]
fn requests_are_signed_for_the_configured_region() {
    let profiles = "[default]\nregion = eu-west-1\n[profile china]\nregion = cn-north-1\n\
                    aws_access_key_id = AKIAFAKEFAKEFAKEFAKE\naws_secret_access_key = a-secret-that-is-none\n";
    let region = |args: &[&str], env: &[(&str, &str)]| {
        let iam = FakeIam::start(Account::example());
        let mut cli = cli(["check", "--collector=live"]).aws(&iam).args(args).file(".aws/config", profiles);
        for (name, value) in env {
            cli = cli.env(name, value);
        }
        cli.run().expect(1);
        iam.calls().iter().find(|c| c.operation == "ListUsers").unwrap().region.clone()
    };
    assert_eq!(region(&["--aws.region=us-gov-west-1"], &[("AWS_REGION", "eu-north-1")]), "us-gov-west-1");
    assert_eq!(region(&[], &[("AWS_REGION", "eu-north-1")]), "eu-north-1");
    assert_eq!(region(&[], &[]), "eu-west-1", "of the default profile");
    assert_eq!(region(&[], &[("AWS_PROFILE", "china")]), "cn-north-1");
    assert_eq!(region(&["--aws.profile=china"], &[]), "cn-north-1");
}

/// README.md and docs/configuration.md have these numbers.
#[test]
fn a_check_by_report_sends_two_requests_to_iam_and_one_per_user_in_violation() {
    let mut account = Account::of_size(600);
    account.users.push(User::new("two", [Key::active(50), Key::active(20)]));
    let iam = FakeIam::start(account);
    let exporter = serve(&iam, ["--check.interval=100ms", "--sweep.max-requests-per-second=0"]);
    let checks = || exporter.metrics().sum("iam_key_exporter_checks_total") as usize;
    wait_until("checks", || checks() >= 5);
    let before = checks();
    let each = ["GetAccountSummary", "GenerateCredentialReport", "ListAccessKeys"].map(|name| iam.calls_of(name));
    let after = checks() + 1;
    assert!(each.iter().all(|calls| (before..=after).contains(calls)), "{each:?} in {before} to {after} checks");
    // Once, until AWS can have a newer report; the alias of the account once as well.
    let once = ["GetCredentialReport", "ListAccountAliases", "ListUsers"].map(|name| iam.calls_of(name));
    assert_eq!(once, [1, 1, 0]);
}
