//! Tags and groups of users: exemptions by them, the owner, and what happens when AWS does not return them.

use crate::common::{Account, FakeIam, Fault, Key, On, Pages, User};
use crate::exporter::{Exporter, check, cli, serve, wait_until};
use serde_json::Value;

const UP: &str = r#"aws_iam_account_user_details_up{account_id="123456789012"}"#;
const VIOLATIONS: &str = r#"aws_iam_access_key_violations{account_id="123456789012",rule="multiple_active_keys"}"#;
const MATCHED: &str = r#"aws_iam_exemption_matched{account="",rule="",tag="team=web-*",user=""}"#;
const OPERATION: &str = "GetAccountAuthorizationDetails";
const NOT_READ: &str = "tags and groups of users could not be read";

/// One exemption, of the users with these tags.
const BY_TAG: &str = "exemptions: [{tag: {team: 'web-*'}, reason: r, expires: 2099-01-01}]\n";

/// Four users with two active keys each, that differ in path, tags and groups, and one that complies.
fn account() -> Account {
    let two = || [Key::active(9), Key::active(3)];
    Account::new([
        User::new("ann", two()).tag("Team", "web-1").tag("secret", "x").group("admins"),
        User::new("bob", two()).tag("team", "db").group("bots"),
        User::new("cid", two()).path("/service/ci/"),
        User::new("dan", two()).tag("stage", "prod"),
        User::new("eve", [Key::active(5)]).tag("team", "web-2"),
    ])
}

fn exempt(json: &Value) -> Vec<&str> {
    let users = json["users"].as_array().unwrap().iter().filter(|u| u["status"] == "exempt");
    users.map(|u| u["name"].as_str().unwrap()).collect()
}

fn serving(iam: &FakeIam, config: &str, args: &[&str]) -> Exporter {
    let serve = cli(["serve", "--config.file=c.yaml", "--check.interval=50ms"]).aws(iam);
    serve.args(args).file("c.yaml", config).serve()
}

#[test]
fn exemptions_by_tag_path_and_group_in_every_collector() {
    let iam = FakeIam::start(account()).pages(Pages::Of(2));
    for (selector, expected, calls) in [
        ("tag: {team: 'web-*'}", vec!["ann"], 3),
        ("tag: {team: '*'}", vec!["ann", "bob"], 3),
        ("tag: {team: 'WEB-*'}", vec![], 3),
        ("tag: {team: '*', stage: '*'}", vec![], 3),
        ("group: Bots", vec!["bob"], 3),
        ("group: '*', tag: {team: 'web-?'}", vec!["ann"], 3),
        ("path: '/service/*'", vec!["cid"], 0),
        ("path: '/SERVICE/*/', user: c?d", vec!["cid"], 0),
        ("path: '/service/*', user: ann", vec![], 0),
        ("path: '*', tag: {stage: prod}", vec!["dan"], 3),
    ] {
        let config = format!("exemptions: [{{{selector}, reason: r, expires: 2099-01-01}}]\n");
        for collector in ["--collector=live", "--collector=report"] {
            iam.forget_calls();
            let command = cli(["check", "--config.file=c.yaml", "--output=json", collector]).aws(&iam);
            let json = command.file("c.yaml", &config).run().expect(1).json();
            assert_eq!(exempt(&json), expected, "{selector} {collector}");
            assert_eq!(iam.calls_of(OPERATION), calls, "{selector} {collector}: a call for each page");
        }
        let json = cli(["check", "--config.file=c.yaml", "--output=json", "--input.inventory=i.json"])
            .file("c.yaml", &config)
            .file("i.json", account().inventory().to_string())
            .run()
            .expect(1)
            .json();
        assert_eq!(exempt(&json), expected, "{selector} of a file");
    }
}

/// A failed read of tags is no failed check, and no lost exemption.
#[test]
fn the_last_known_tags_stay_when_they_cannot_be_read() {
    for fault in [
        Fault::ACCESS_DENIED,
        Fault::THROTTLED,
        Fault::SERVICE_FAILURE,
        Fault::CutAfter("<UserDetailList>"),
        Fault::instead("text/html", "<html></html>"),
        Fault::NO_SUCH_ENTITY,
    ] {
        let iam = FakeIam::start(account());
        let exporter = serving(&iam, BY_TAG, &["--collector=live", "--collect.owner-tag=team"]);
        let metrics = exporter.wait_for_sample(UP, 1.0);
        assert_eq!((metrics.value(VIOLATIONS), metrics.value(MATCHED)), (Some(3.0), Some(1.0)));
        iam.fail(On::operation(OPERATION), fault.clone());
        iam.change(|account| account.user("eve").keys.push(Key::active(0)));
        exporter.wait_for_sample(UP, 0.0);
        let metrics = exporter.wait_for_another_check();
        assert_eq!((metrics.value(VIOLATIONS), metrics.value(MATCHED)), (Some(3.0), Some(1.0)), "{fault:?}");
        let up = r#"iam_key_exporter_account_up{account_id="123456789012"}"#;
        assert_eq!(metrics.value(up), Some(1.0), "{fault:?}");
        assert!(metrics.of("aws_iam_user_info").contains(r#"owner="web-1""#), "{fault:?}");
        assert_eq!(exporter.logged(NOT_READ), 1, "{fault:?}: {}", exporter.log());
        iam.heal();
        let metrics = exporter.wait_for_sample(UP, 1.0);
        assert_eq!(metrics.value(VIOLATIONS), Some(3.0), "eve is exempt, too");
    }
}

/// A list that is cut off after its first page would be a list without the tags of the other users.
#[test]
fn half_a_list_of_tags_is_none() {
    let iam = FakeIam::start(account()).pages(Pages::Of(2));
    let exporter = serving(&iam, BY_TAG, &["--collector=live"]);
    exporter.wait_for_sample(UP, 1.0);
    iam.change(|account| account.user("ann").tags.clear());
    // The first page of each check is right, the second is not.
    for _ in 0..50 {
        iam.fail_times(1, On::operation(OPERATION), Fault::Right);
        iam.fail_times(1, On::operation(OPERATION), Fault::ACCESS_DENIED);
    }
    let metrics = exporter.wait_for_sample(UP, 0.0);
    assert_eq!((metrics.value(VIOLATIONS), metrics.value(MATCHED)), (Some(3.0), Some(1.0)));
    iam.heal();
    exporter.wait_for_sample(VIOLATIONS, 4.0);
}

#[test]
fn without_any_tags_an_exemption_is_neither_applied_nor_reported_as_unmatched() {
    for collector in ["live", "report"] {
        let iam = FakeIam::start(account());
        iam.fail(On::operation(OPERATION), Fault::ACCESS_DENIED);
        let exporter = serving(&iam, BY_TAG, &[&format!("--collector={collector}")]);
        exporter.wait_for_success();
        let metrics = exporter.wait_for_another_check();
        assert_eq!((metrics.value(UP), metrics.value(VIOLATIONS)), (Some(0.0), Some(4.0)), "{collector}");
        assert_eq!(metrics.value(MATCHED), None, "{collector}: unknown is absent");
        let log = exporter.log();
        assert!(log.contains(NOT_READ) && log.contains("iam:GetAccountAuthorizationDetails"), "{log}");
        assert!(log.contains("access_denied") && log.contains("123456789012"), "{log}");
        assert_eq!(exporter.logged(NOT_READ), 1, "{log}");
        assert_eq!(exporter.logged("matches no user"), 0, "{log}");
        iam.heal();
        let metrics = exporter.wait_for_sample(VIOLATIONS, 3.0);
        assert_eq!((metrics.value(UP), metrics.value(MATCHED)), (Some(1.0), Some(1.0)));
    }
}

#[test]
fn a_check_without_the_tags_that_its_policy_needs_is_incomplete() {
    let iam = FakeIam::start(account());
    iam.fail(On::operation(OPERATION), Fault::ACCESS_DENIED);
    let run = |config: &str, args: &[&str]| {
        cli(["check", "--config.file=c.yaml"]).aws(&iam).args(args).file("c.yaml", config).run()
    };
    let ran = run(BY_TAG, &[]).expect(3);
    assert!(ran.stdout().contains("Tags and groups: not known (access_denied)"), "{}", ran.stdout());
    assert!(ran.stderr().contains("could be exempt"), "{}", ran.stderr());
    let json = run(BY_TAG, &["--output=json"]).expect(3).json();
    assert_eq!(json["user_details_failure"], "access_denied");
    assert_eq!(json["summary"]["users"]["violation"], 4, "not exempt");
    // Labels are no condition of a verdict.
    let json = run("", &["--output=json", "--collect.owner-tag=team", "--collect.tags=stage"]).expect(1).json();
    assert_eq!(json["user_details_failure"], Value::Null);
    // Expired exemptions need nothing.
    iam.forget_calls();
    run(&BY_TAG.replace("2099", "2020"), &[]).expect(1);
    assert_eq!(iam.calls_of(OPERATION), 0);
    // Without a violation there is nothing that could be exempt.
    iam.change(|account| account.users.retain(|user| user.name == "eve"));
    run(BY_TAG, &[]).expect(0);
}

/// Tags may take half of the time of a check.
#[test]
fn tags_that_are_never_answered_leave_the_findings() {
    for collector in ["--collector=live", "--collector=report"] {
        let iam = FakeIam::start(account());
        iam.fail(On::operation(OPERATION), Fault::Hang);
        let ran = check(&iam, [collector, "--collect.owner-tag=team", "--check.timeout=3s", "--output=json"]).expect(1);
        assert_eq!(ran.json()["summary"]["violations"]["multiple_active_keys"], 4);
        assert!(ran.stderr().contains("(timeout)") || ran.stderr().contains("timeout"), "{}", ran.stderr());
    }
}

/// The answer of another account's credentials must not reach this account's users.
#[test]
fn tags_of_another_account_are_refused() {
    let iam = FakeIam::start(account());
    let foreign = FakeIam::start(Account { id: "999999999999".into(), ..account() });
    let body = {
        check(&foreign, ["--collector=live", "--collect.tags=team"]).expect(1);
        let member = "<member><Path>/</Path><UserName>bob</UserName><UserId>AIDA1</UserId>\
                      <Arn>arn:aws:iam::999999999999:user/bob</Arn><Tags><member><Key>team</Key><Value>web-9</Value>\
                      </member></Tags></member>";
        format!(
            "<GetAccountAuthorizationDetailsResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\">\
             <GetAccountAuthorizationDetailsResult><UserDetailList>{member}</UserDetailList>\
             <IsTruncated>false</IsTruncated></GetAccountAuthorizationDetailsResult>\
             </GetAccountAuthorizationDetailsResponse>"
        )
    };
    iam.fail(On::operation(OPERATION), Fault::instead("text/xml", body));
    let exporter = serving(&iam, BY_TAG, &["--collector=live"]);
    exporter.wait_for_success();
    let metrics = exporter.wait_for_another_check();
    assert_eq!((metrics.value(UP), metrics.value(VIOLATIONS)), (Some(0.0), Some(4.0)));
    assert!(exporter.log().contains("account_mismatch"), "{}", exporter.log());
}

/// Without an exemption by tag no tags are read; a reload adds one, and its tags are read with the next check.
#[test]
fn a_reload_adds_and_removes_what_is_read() {
    let iam = FakeIam::start(account());
    let exporter = serving(&iam, "exemptions: [{path: '/service/*', reason: r, expires: 2099-01-01}]\n", &[]);
    let metrics = exporter.wait_for_success();
    assert_eq!((metrics.value(UP), metrics.value(VIOLATIONS)), (None, Some(3.0)));
    assert_eq!(iam.calls_of(OPERATION), 0);
    std::fs::write(exporter.home().join("c.yaml"), BY_TAG).unwrap();
    exporter.signal("HUP");
    let metrics = exporter.wait_for_sample(MATCHED, 1.0);
    assert_eq!((metrics.value(UP), metrics.value(VIOLATIONS)), (Some(1.0), Some(3.0)));
    std::fs::write(exporter.home().join("c.yaml"), "").unwrap();
    exporter.signal("HUP");
    exporter.wait_for_sample(VIOLATIONS, 4.0);
    assert_eq!(exporter.metrics().value(UP), None);
    // A check that was under way had the earlier configuration.
    exporter.wait_for_another_check();
    exporter.wait_for_another_check();
    iam.forget_calls();
    wait_until("some checks", || iam.calls_of("ListUsers") >= 3);
    assert_eq!(iam.calls_of(OPERATION), 0, "{:?}", iam.calls());
}

#[test]
fn a_file_without_tags_or_groups_says_so() {
    let by_group = BY_TAG.replace("tag: {team: 'web-*'}", "group: bots");
    let report = account().credential_report();
    let mut without_groups = account().inventory();
    for user in without_groups["users"].as_array_mut().unwrap() {
        user.as_object_mut().unwrap().remove("groups");
    }
    let inventory = without_groups.to_string();
    for (config, flag, content, code) in [
        (BY_TAG, "--input.credential-report=f", &report, 3),
        (&by_group, "--input.credential-report=f", &report, 3),
        (BY_TAG, "--input.inventory=f", &inventory, 1),
        (&by_group, "--input.inventory=f", &inventory, 3),
    ] {
        let arguments = ["check", "--config.file=c.yaml", flag];
        let ran = cli(arguments).file("c.yaml", config).file("f", content).run().expect(code);
        assert_eq!(ran.stdout().contains("Tags and groups: not known (not_observed)"), code == 3, "{}", ran.stdout());
        let exporter = cli(["serve", "--config.file=c.yaml", flag]).file("c.yaml", config).file("f", content).serve();
        let metrics = exporter.wait_for_success();
        assert_eq!(metrics.value(UP), Some(if code == 3 { 0.0 } else { 1.0 }), "{flag}");
        let logged = || exporter.logged("tags or groups of users are not known");
        wait_until("the warning", || logged() == usize::from(code == 3));
    }
}

#[test]
fn the_owner_is_named_by_the_preferred_tag() {
    let iam = FakeIam::start(Account::new([
        User::new("ann", [Key::active(9), Key::active(3)]).tag("Owner", "a,\"team\"").tag("team", "web"),
        User::new("bob", [Key::active(9), Key::active(3)]).tag("TEAM", "=db").tag("owner", ""),
        User::new("cid", [Key::active(9), Key::active(3)]).tag("stage", "prod"),
        User::new("dan", [Key::active(9)]).tag("AKIAIOSFODNN7EXAMPLE", "laptop"),
    ]));
    let owner = "--collect.owner-tag=owner,AKIAIOSFODNN7EXAMPLE,team";
    let exporter = serve(&iam, ["--collector=live", owner, "--collect.tags=stage"]);
    let info = exporter.wait_for_success().of("aws_iam_user_info");
    let lines: Vec<&str> = info.lines().filter(|l| !l.starts_with('#')).collect();
    assert_eq!(
        lines,
        [
            r#"aws_iam_user_info{account_id="123456789012",owner="a,\"team\"",path="/",user_name="ann"} 1"#,
            r#"aws_iam_user_info{account_id="123456789012",owner="=db",path="/",user_name="bob"} 1"#,
            r#"aws_iam_user_info{account_id="123456789012",path="/",tag_stage="prod",user_name="cid"} 1"#,
            r#"aws_iam_user_info{account_id="123456789012",path="/",user_name="dan"} 1"#,
        ]
    );
    drop(exporter);
    let table = check(&iam, [owner]).expect(1).stdout();
    let header = table.lines().next().unwrap();
    assert!(header.contains("OWNER") && table.contains("a,\"team\""), "{table}");
    let csv = check(&iam, [owner, "--output=csv"]).expect(1).stdout();
    let mut rows = csv.lines();
    assert!(rows.next().unwrap().ends_with(",advice,owner,account_name"), "{csv}");
    assert!(rows.next().unwrap().ends_with(r#","a,""team""","#), "{csv}");
    assert!(rows.next().unwrap().ends_with(",'=db,"), "no formula: {csv}");
    assert!(rows.next().unwrap().ends_with(",,"), "{csv}");
    let json = check(&iam, [owner, "--output=json"]).expect(1).json();
    assert_eq!((&json["users"][1]["owner"], &json["users"][2]["owner"]), (&"=db".into(), &Value::Null));
    // Without the setting nothing of it is read or shown.
    iam.forget_calls();
    let table = check(&iam, ["--collector=live"]).expect(1).stdout();
    assert!(!table.contains("OWNER"), "{table}");
    assert_eq!(iam.calls_of(OPERATION), 0);
}

/// No more is kept than is needed: neither other tags nor groups are in any output.
#[test]
fn other_tags_and_groups_are_not_kept() {
    let iam = FakeIam::start(account());
    let json = check(&iam, ["--collect.owner-tag=team", "--output=json"]).expect(1).json();
    let ann = &json["users"][0];
    assert_eq!((&ann["tags"], &ann["groups"]), (&serde_json::json!({ "Team": "web-1" }), &Value::Null));
    let config = "exemptions: [{group: bots, reason: r, expires: 2099-01-01}]\n";
    let command = cli(["check", "--config.file=c.yaml", "--output=json"]).aws(&iam).file("c.yaml", config);
    let json = { command }.run().expect(1).json();
    assert_eq!(
        (&json["users"][0]["tags"], &json["users"][0]["groups"]),
        (&Value::Null, &serde_json::json!(["admins"]))
    );
}

/// A user that is moved, tagged or taken out of a group changes its status with the next check.
#[test]
fn a_change_of_tags_shows_at_the_next_check() {
    let iam = FakeIam::start(account());
    iam.freeze_report();
    let exporter = serving(&iam, BY_TAG, &["--collector=report"]);
    exporter.wait_for_sample(VIOLATIONS, 3.0);
    iam.change(|account| account.user("bob").tags = vec![("team".into(), "web-7".into())]);
    exporter.wait_for_sample(VIOLATIONS, 2.0);
    iam.change(|account| account.user("ann").tags.clear());
    let metrics = exporter.wait_for_sample(VIOLATIONS, 3.0);
    let since = |user: &str| {
        let labels = format!(r#"account_id="123456789012",rule="multiple_active_keys",user_name="{user}""#);
        metrics.value(&format!("aws_iam_user_violation_since_timestamp_seconds{{{labels}}}"))
    };
    assert!(since("ann").is_some() && since("bob").is_none());
    assert_eq!(metrics.value(r#"aws_iam_users{account_id="123456789012",status="exempt"}"#), Some(1.0));
}
