//! What AWS has not answered is not believed: another account's answers, lists that are too short, users that vanish in
//! numbers, dates in the future, and answers that are missing for a reason that concerns the whole account.

use crate::common::{Account, FakeIam, Fault, Key, On, Pages, Report, User, answers, now};
use crate::exporter::{Exporter, check, cli, serve, wait_for};
use crate::metrics::Metrics;
use jiff::{SignedDuration, Timestamp};

const UP: &str = r#"iam_key_exporter_account_up{account_id="123456789012"}"#;
const FACTS: &str = r#"iam_key_exporter_account_facts_timestamp_seconds{account_id="123456789012"}"#;
const UNKNOWN_USERS: &str = r#"aws_iam_users{account_id="123456789012",status="unknown"}"#;
const VIOLATIONS: &str = r#"aws_iam_access_key_violations{account_id="123456789012",rule="multiple_active_keys"}"#;

/// The reason of a check that failed because AWS's answers do not add up to a whole account.
const INCOMPLETE: &str = "unexpected_response";

const OTHER_ACCOUNT: &str = "999999999999";

fn active_keys(user: &str) -> String {
    format!(r#"aws_iam_user_active_access_keys{{account_id="123456789012",user_name="{user}"}}"#)
}

/// As many users with two active keys each, since a few days.
fn in_violation(users: usize) -> impl Iterator<Item = User> {
    (0..users).map(|i| User::new(&format!("twice-{i:02}"), [Key::active(20), Key::active(10)]))
}

/// GetCallerIdentity's answer for credentials of another account.
fn other_identity() -> Fault {
    let other = Account { id: OTHER_ACCOUNT.into(), ..Account::new([]) };
    Fault::instead("text/xml", answers::answer("GetCallerIdentity", &answers::caller_identity(&other)))
}

/// GetAccountSummary's answer when the account has this many users.
fn summary_of(users: usize) -> Fault {
    let summary = answers::account_summary(&Account::of_size(users));
    Fault::instead("text/xml", answers::answer("GetAccountSummary", &summary))
}

/// Waits for two checks that failed for this reason, and compares: nothing about AWS has changed.
#[track_caller]
fn fails_and_keeps_the_data(exporter: &Exporter, before: &Metrics, reason: &str, what: &str) {
    let after = wait_for(what, || Some(exporter.metrics()).filter(|m| m.failures(reason) >= 2.0));
    assert_eq!(after.inventory(), before.inventory(), "{what}");
    assert_eq!(after.value(UP), Some(0.0), "{what}");
    assert!(!after.text().contains(OTHER_ACCOUNT), "{what}");
}

#[test]
fn credentials_that_switch_to_an_account_without_users_change_nothing() {
    for collector in ["live", "report", "auto"] {
        let iam = FakeIam::start(Account::example());
        let exporter = serve(&iam, [format!("--collector={collector}")]);
        let before = exporter.wait_for_success();
        assert_eq!(before.value(VIOLATIONS), Some(2.0), "{collector}");
        iam.change(|account| *account = Account { id: OTHER_ACCOUNT.into(), ..Account::new([]).root_keys(1) });
        fails_and_keeps_the_data(&exporter, &before, "account_mismatch", collector);
    }
}

/// The answers in between may be the other account's.
#[test]
fn credentials_that_switch_during_a_check_fail_it() {
    for collector in ["live", "report", "auto"] {
        let iam = FakeIam::start(Account::example());
        iam.fail_times(1, On::operation("GetCallerIdentity"), Fault::Right);
        iam.fail(On::operation("GetCallerIdentity"), other_identity());
        let ran = check(&iam, [format!("--collector={collector}")]).expect(3);
        assert_eq!(ran.stdout(), "", "{collector}");
        assert!(ran.stderr().contains("(account_mismatch)"), "{collector}: {}", ran.stderr());

        iam.heal();
        let exporter = serve(&iam, [format!("--collector={collector}")]);
        let before = exporter.wait_for_success();
        iam.fail(On::operation("GetCallerIdentity"), other_identity());
        fails_and_keeps_the_data(&exporter, &before, "account_mismatch", collector);
        iam.heal();
        exporter.wait_for_success();
    }
}

#[test]
fn many_users_that_vanish_fail_a_live_check() {
    let iam = FakeIam::start(Account::example());
    let exporter = serve(&iam, ["--collector=live"]);
    let before = exporter.wait_for_success();
    // Six of seven.
    iam.fail(On::keys_of("alice"), Fault::Right);
    iam.fail(On::operation("ListAccessKeys"), Fault::NO_SUCH_ENTITY);
    fails_and_keeps_the_data(&exporter, &before, INCOMPLETE, "all users but the first");
    let ran = check(&iam, ["--collector=live"]).expect(3);
    assert_eq!(ran.stdout(), "");
    iam.heal();
    exporter.wait_for_success();
}

/// One user can be deleted during a check. Of several, ListUsers has to confirm that they are gone.
#[test]
fn users_that_vanish_during_a_check_are_confirmed_by_another_list() {
    for (users, vanished, code) in [(7, 1, 0), (7, 2, 3), (1, 1, 3), (50, 3, 3)] {
        let iam = FakeIam::start(Account::of_size(users));
        for name in ["user-0000", "user-0001", "user-0002"].iter().take(vanished) {
            iam.fail(On::keys_of(name), Fault::NO_SUCH_ENTITY);
        }
        let ran = check(&iam, ["--collector=live", "--output=json"]);
        assert_eq!(ran.code(), code, "{vanished} of {users}: {}{}", ran.stdout(), ran.stderr());
        assert_eq!(iam.calls_of("ListUsers"), if code == 0 { 1 } else { 2 }, "{vanished} of {users}");

        // The second list is without them.
        let mut rest = Account::of_size(users);
        rest.users.drain(..vanished);
        let members: String = rest.users.iter().map(|user| answers::user(&rest, user)).collect();
        let list = answers::answer("ListUsers", &answers::page("Users", &members, None));
        iam.fail_times(1, On::operation("ListUsers"), Fault::Right);
        iam.fail(On::operation("ListUsers"), Fault::instead("text/xml", list));
        let json = check(&iam, ["--collector=live", "--output=json"]).expect(0).json();
        assert_eq!(json["users"].as_array().unwrap().len(), users - vanished, "{vanished} of {users}");
    }
}

#[test]
fn many_users_in_violation_that_vanish_fail_a_check_by_report() {
    let iam = FakeIam::start(Account::new(in_violation(8).chain([User::new("alice", [Key::active(1)])])));
    let exporter = serve(&iam, ["--collector=report"]);
    let before = exporter.wait_for_success();
    assert_eq!(before.value(VIOLATIONS), Some(8.0));
    iam.fail(On::operation("ListAccessKeys"), Fault::NO_SUCH_ENTITY);
    fails_and_keeps_the_data(&exporter, &before, INCOMPLETE, "all users in violation");
    let ran = check(&iam, ["--collector=report"]).expect(3);
    assert_eq!(ran.stdout(), "");
    iam.heal();
    exporter.wait_for_success();
}

/// The policy of the collector `report` does not have ListUsers.
#[test]
fn users_whose_deletion_cannot_be_confirmed_stay_until_the_next_report() {
    let iam = FakeIam::start(Account::new(in_violation(3)));
    iam.fail(On::operation("ListAccessKeys"), Fault::NO_SUCH_ENTITY);
    iam.fail(On::operation("ListUsers"), Fault::ACCESS_DENIED);
    let json = check(&iam, ["--collector=report", "--output=json"]).expect(1).json();
    assert_eq!(json["summary"]["violations"]["multiple_active_keys"], 3, "{json}");
}

#[test]
fn roots_keys_that_cannot_be_read_make_the_check_incomplete() {
    let compliant = || Account::new([User::new("alice", [Key::active(1)])]);
    let iam = FakeIam::start(compliant());
    iam.fail(On::operation("GetAccountSummary"), Fault::ACCESS_DENIED);
    let ran = check(&iam, ["--collector=live"]).expect(3);
    let text = ran.stdout() + &ran.stderr();
    for word in ["root", "GetAccountSummary", "access_denied"] {
        assert!(text.contains(word), "{word} is missing:\n{text}");
    }
    assert!(text.contains("1 user: 1 compliant"), "what could be read is shown:\n{text}");
    let ran = check(&iam, ["--collector=live", "--output=json"]).expect(3);
    assert!(ran.json()["summary"]["violations"]["root_access_key"].is_null(), "{}", ran.stdout());

    // What was not asked for is not missing.
    check(&iam, ["--collector=live", "--user=alice"]).expect(0);
    let without_root = "policy: { root_access_key: { enabled: false } }\n";
    cli(["check", "--collector=live", "--config.file=c.yaml"]).aws(&iam).file("c.yaml", without_root).run().expect(0);
}

/// A violation that was found does not hide that the check is incomplete.
#[test]
fn an_incomplete_check_stays_incomplete_with_violations() {
    let iam = FakeIam::start(Account::example());
    iam.fail(On::keys_of("alice"), Fault::ACCESS_DENIED);
    let ran = check(&iam, ["--collector=live"]).expect(3);
    assert!(ran.stdout().contains("2 violation"), "{}", ran.stdout());
}

#[test]
fn last_use_that_was_not_asked_for_is_named_and_no_failure() {
    let old = [Key::active(85).used(Some(now())), Key::inactive(200)];
    let account = Account::new([User::new("alice", old)]);
    let limit = "policy: { unused_key: { max_idle: 30d } }\n";
    let iam = FakeIam::start(account);
    let command = || cli(["check", "--config.file=c.yaml"]).aws(&iam).file("c.yaml", limit).arg("--collector=live");
    let ran = command().run().expect(0);
    let text = ran.stdout() + &ran.stderr();
    assert!(text.contains("unused_key") && text.contains("--collect.last-used"), "{text}");
    let ran = command().arg("--collect.last-used").run().expect(0);
    let text = ran.stdout() + &ran.stderr();
    assert!(!text.contains("unused_key"), "{text}");
}

/// IAM is eventually consistent: the count may be ahead of the list by two users, or by one in a hundred.
#[test]
fn a_list_shorter_than_the_accounts_own_count_is_incomplete() {
    for (listed, counted, code) in
        [(0, 5, 3), (5, 600, 3), (2, 5, 3), (3, 5, 0), (0, 2, 0), (593, 600, 3), (594, 600, 0), (7, 5, 0), (9, 0, 0)]
    {
        for collector in ["live", "auto"] {
            let iam = FakeIam::start(Account::of_size(listed));
            iam.fail(On::operation("GetAccountSummary"), summary_of(counted));
            let flags = [&format!("--collector={collector}"), "--collector.report-above=5000", "--aws.concurrency=64"];
            let ran = check(&iam, flags);
            let what = format!("{collector}: {listed} listed, {counted} counted");
            assert_eq!(ran.code(), code, "{what}: {}{}", ran.stdout(), ran.stderr());
            if code == 3 {
                assert_eq!(ran.stdout(), "", "{what}");
                let text = ran.stderr();
                assert!(text.contains(&format!("({INCOMPLETE})")), "{what}: {text}");
                for number in [listed, counted] {
                    assert!(text.contains(&number.to_string()), "{what}: {text}");
                }
            }
        }
    }
}

/// A report is hours old: users created since then are missing from it, one in ten or 20 of them without doubt.
#[test]
fn a_report_much_shorter_than_the_accounts_own_count_is_incomplete() {
    for (reported, counted, code) in [(10, 60, 3), (40, 60, 0), (0, 25, 3)] {
        let iam = FakeIam::start(Account::of_size(reported));
        iam.fail(On::operation("GetAccountSummary"), summary_of(counted));
        let ran = check(&iam, ["--collector=auto", "--collector.report-above=5"]);
        let what = format!("{reported} reported, {counted} counted");
        assert_eq!(ran.code(), code, "{what}: {}{}", ran.stdout(), ran.stderr());
        if code == 3 {
            assert!(ran.stderr().contains(&format!("has {reported} users")), "{what}: {}", ran.stderr());
        }
    }
}

#[test]
fn a_list_that_becomes_too_short_changes_nothing() {
    let iam = FakeIam::start(Account::example());
    let exporter = serve(&iam, ["--collector=live"]);
    let before = exporter.wait_for_success();
    let empty = answers::answer("ListUsers", &answers::page("Users", "", None));
    iam.fail(On::operation("ListUsers"), Fault::instead("text/xml", empty));
    fails_and_keeps_the_data(&exporter, &before, INCOMPLETE, "an empty list");
    iam.heal();
    exporter.wait_for_success();
}

#[test]
fn a_marker_without_is_truncated_is_an_error() {
    for pages in [Pages::MarkerThoughWhole, Pages::MarkerAlone] {
        let iam = FakeIam::start(Account::example()).pages(pages);
        let ran = check(&iam, ["--collector=live"]).expect(3);
        assert_eq!(ran.stdout(), "", "{pages:?}");
        assert!(ran.stderr().contains("(pagination)"), "{pages:?}: {}", ran.stderr());
        assert_eq!(iam.calls_of("ListAccessKeys"), 0, "{pages:?}");
    }
}

/// AWS's clock is the one that counts: with the local clock a year slow, every key of the last year is dated in the
/// future. A grace period that begins in the future would end a year late.
#[test]
fn a_key_dated_in_the_future_is_in_violation_now() {
    let account = || {
        Account::new([
            User::new("both", [Key::active(-345), Key::active(-364)]),
            User::new("second", [Key::active(10), Key::active(-30)]),
            User::new(
                "soon",
                [Key::active(10), Key { created: now() + SignedDuration::from_hours(2), ..Key::active(0) }],
            ),
        ])
    };
    for policy in ["{}", "{ multiple_active_keys: { rotation_grace: 7d } }"] {
        let config = format!("policy: {policy}\n");
        let iam = FakeIam::start(account());
        let sources: [&[&str]; 3] =
            [&["--collector=live"], &["--collector=report"], &["--input.inventory=inventory.json"]];
        for source in sources {
            let inventory = account().inventory().to_string();
            let command = cli(["check", "--output=json", "--config.file=c.yaml"]).aws(&iam).args(source);
            let ran = command.file("c.yaml", &config).file("inventory.json", inventory).run().expect(1);
            let json = ran.json();
            for user in json["users"].as_array().unwrap() {
                assert_eq!(user["status"], "violation", "{source:?} {policy}: {user}");
                let since: Timestamp = user["findings"][0]["since"].as_str().unwrap().parse().unwrap();
                assert!(since <= now() + SignedDuration::from_secs(1), "{source:?} {policy}: since {since}");
            }
            assert_eq!(json["summary"]["violations"]["multiple_active_keys"], 3, "{source:?} {policy}");
        }
    }
}

/// Clocks differ by seconds: a key that AWS created this minute begins its grace period like any other.
#[test]
fn a_key_dated_a_moment_ahead_is_rotating_within_its_grace_period() {
    let ahead = Key { created: now() + SignedDuration::from_secs(60), ..Key::active(0) };
    let iam = FakeIam::start(Account::new([User::new("alice", [Key::active(10), ahead])]));
    let grace = "policy: { multiple_active_keys: { rotation_grace: 7d } }\n";
    let command = cli(["check", "--collector=live", "--output=json", "--config.file=c.yaml"]);
    let json = command.aws(&iam).file("c.yaml", grace).run().expect(0).json();
    assert_eq!(json["users"][0]["status"], "rotating", "{json}");
}

#[test]
fn the_same_key_on_two_pages_counts_once() {
    let mut account = Account::new([User::new("alice", [Key::active(10), Key::active(10)])]);
    let alice = account.user("alice");
    alice.keys[1] = alice.keys[0].clone();
    let iam = FakeIam::start(account).pages(Pages::Of(1));
    let json = check(&iam, ["--collector=live", "--output=json"]).expect(0).json();
    assert_eq!(json["users"][0]["active_access_keys"], 1, "{json}");
    assert!(iam.reads_of("alice") >= 2, "both pages were read");
}

/// Clocks differ by minutes at most. What comes later is newer, whatever date an earlier report had.
#[test]
fn a_report_dated_ahead_does_not_stay_the_newest() {
    let iam = FakeIam::start(Account::example());
    let content = iam.account().credential_report().into_bytes();
    let generated_at = now() + SignedDuration::from_mins(10);
    iam.set_report(Report::Fixed { content, generated_at });
    let exporter = serve(&iam, ["--collector=report", "--sweep.max-requests-per-second=0"]);
    let metrics = exporter.wait_for_success();
    assert_eq!(metrics.value(VIOLATIONS), Some(2.0));
    assert!(metrics.value(FACTS).unwrap() < generated_at.as_second() as f64, "{}", metrics.without_help());

    // Of a user that no recheck reads: by the report that is dated ahead she is compliant.
    iam.change(|account| account.user("alice").keys.push(User::new("alice-2", [Key::active(1)]).keys.remove(0)));
    let content = iam.account().credential_report().into_bytes();
    iam.set_report(Report::Fixed { content, generated_at: now() + SignedDuration::from_secs(1) });
    // AWS was generating it: without that, the known report would be the newest for four hours.
    iam.fail_times(1, On::operation("GenerateCredentialReport"), Fault::LIMIT_EXCEEDED);
    let metrics = exporter.wait_for_sample(VIOLATIONS, 3.0);
    assert_eq!(metrics.value(&active_keys("alice")), Some(2.0));
}

/// The report is older than a recheck, not wrong: it does not wait for one that gets no answer.
#[test]
fn rechecks_that_hang_leave_the_report() {
    let iam = FakeIam::start(Account::example());
    iam.fail(On::keys_of("bob"), Fault::Hang);
    let json = check(&iam, ["--collector=report", "--check.timeout=3s", "--output=json"]).expect(1).json();
    assert_eq!(json["summary"]["violations"]["multiple_active_keys"], 2, "{json}");
    assert_eq!(json["summary"]["users"]["unknown"], 0, "{json}");
    assert_eq!(iam.reads_of("team.lead"), 1, "one that hangs holds up no other");

    iam.fail(On::operation("ListAccessKeys"), Fault::Hang);
    let exporter = serve(&iam, ["--collector=report", "--check.timeout=3s"]);
    let metrics = exporter.wait_for_success();
    assert_eq!(metrics.value(VIOLATIONS), Some(2.0));
    assert_eq!(metrics.value(&active_keys("bob")), Some(2.0));
    assert_eq!(metrics.failures("timeout"), 0.0);

    iam.heal();
    iam.fail(On::operation("ListAccessKeys"), Fault::NO_SUCH_ENTITY);
    iam.fail(On::operation("ListUsers"), Fault::Hang);
    let json = check(&iam, ["--collector=report", "--check.timeout=3s", "--output=json"]).expect(1).json();
    assert_eq!(json["summary"]["violations"]["multiple_active_keys"], 2, "unconfirmed deletions: {json}");
}

/// `up` is 0 when keys could not be read for a reason that concerns the whole account, be it at a single user: the
/// credentials have expired, or AWS cannot be reached. Any other reason makes that user unknown, and `up` stays 1.
#[test]
fn credentials_that_expire_during_a_check_fail_it() {
    for (fault, reason) in [(Fault::EXPIRED_TOKEN, "credentials"), (Fault::BAD_TOKEN, "credentials")] {
        let iam = FakeIam::start(Account::example());
        let exporter = serve(&iam, ["--collector=live"]);
        let before = exporter.wait_for_success();
        iam.fail(On::keys_of("a,b"), Fault::Right);
        iam.fail(On::operation("ListAccessKeys"), fault.clone());
        fails_and_keeps_the_data(&exporter, &before, reason, &format!("{fault:?} on all users but one"));
        iam.heal();
        exporter.wait_for_success();
        iam.fail(On::keys_of("team.lead"), fault.clone());
        let failed = exporter.metrics().failures(reason);
        wait_for("another failure", || Some(()).filter(|()| exporter.metrics().failures(reason) >= failed + 2.0));
        assert_eq!(exporter.metrics().inventory(), before.inventory(), "{fault:?} on the last user");
        let ran = check(&iam, ["--collector=live"]).expect(3);
        assert!(ran.stderr().contains(&format!("({reason})")), "{fault:?}: {}", ran.stderr());
    }
}

#[test]
fn a_connection_that_is_lost_during_a_check_fails_it() {
    // So many users use up the SDK's budget of retries, which ends the test in seconds.
    let iam = FakeIam::start(Account::of_size(60));
    iam.fail(On::keys_of("user-0000"), Fault::Right);
    iam.fail(On::operation("ListAccessKeys"), Fault::Close);
    let ran = check(&iam, ["--collector=live", "--aws.concurrency=64"]).expect(3);
    assert_eq!(ran.stdout(), "");
    assert!(ran.stderr().contains("(connection)"), "{}", ran.stderr());
}

#[test]
fn a_denial_that_concerns_some_users_leaves_the_account_up() {
    let iam = FakeIam::start(Account::example());
    iam.fail(On::keys_of("alice"), Fault::Right);
    iam.fail(On::operation("ListAccessKeys"), Fault::ACCESS_DENIED);
    let exporter = serve(&iam, ["--collector=live"]);
    let metrics = exporter.wait_for_success();
    assert_eq!(metrics.value(UNKNOWN_USERS), Some(6.0));
    let alerts = include_str!("../../alerts/rules/alerts.yaml");
    assert!(alerts.contains("alert: IamKeyExporterUsersUnknown"), "an alert says so");
}

/// Failures that follow must not count for the first account, or the second one would stay up.
#[test]
fn credentials_that_switch_before_the_first_success_take_the_accounts_place() {
    let iam = FakeIam::start(Account::example());
    iam.fail(On::operation("ListUsers"), Fault::ACCESS_DENIED);
    let exporter = serve(&iam, ["--collector=live"]);
    wait_for("a failed check", || Some(exporter.metrics()).filter(|m| m.failures("access_denied") >= 1.0));
    iam.change(|account| account.id = OTHER_ACCOUNT.into());
    iam.heal();
    let up = UP.replace("123456789012", OTHER_ACCOUNT);
    exporter.wait_for_sample(&up, 1.0);
    iam.fail(On::operation("ListUsers"), Fault::ACCESS_DENIED);
    let metrics = exporter.wait_for_sample(&up, 0.0);
    assert!(!metrics.text().contains("123456789012"), "{}", metrics.text());
    assert!(!exporter.get("/").text().contains("123456789012"));
    assert_eq!(exporter.logged("account forgotten"), 1);
}

#[test]
fn an_answer_without_the_list_is_not_an_empty_list() {
    let without = |operation: &str| Fault::instead("text/xml", answers::answer(operation, ""));
    for (operation, users) in [("ListUsers", 2), ("ListAccessKeys", 7)] {
        let iam = FakeIam::start(Account::new(in_violation(users)));
        let exporter = serve(&iam, ["--collector=live"]);
        let before = exporter.wait_for_success();
        iam.fail(On::operation(operation), without(operation));
        fails_and_keeps_the_data(&exporter, &before, INCOMPLETE, operation);
        let ran = check(&iam, ["--collector=live"]).expect(3);
        assert_eq!(ran.stdout(), "", "{operation}");
        assert!(ran.stderr().contains("the answer has no element"), "{}", ran.stderr());
    }
    // A recheck that is no answer ends no violation of the report.
    let iam = FakeIam::start(Account::new(in_violation(2)));
    iam.fail(On::operation("ListAccessKeys"), without("ListAccessKeys"));
    check(&iam, ["--collector=report"]).expect(1);
}

#[test]
fn an_answer_that_was_cut_out_in_the_middle_is_no_answer() {
    let account = Account::new(in_violation(2));
    let list = answers::page("Users", &answers::user(&account, &account.users[0]), None);
    let whole = answers::answer("ListUsers", &list);
    let (from, to) = (whole.find("</Users>").unwrap(), whole.find("</ListUsersResponse>").unwrap());
    let iam = FakeIam::start(account);
    iam.fail(On::operation("ListUsers"), Fault::instead("text/xml", [&whole[..from], &whole[to..]].concat()));
    let ran = check(&iam, ["--collector=live"]).expect(3);
    assert!(ran.stderr().contains("the answer is cut off"), "{}", ran.stderr());
}

#[test]
fn keys_of_another_user_are_no_answer() {
    let account =
        Account::new([User::new("alice", [Key::active(1)]), User::new("bob", [Key::active(9), Key::active(8)])]);
    let alice = &account.users[0];
    let list = answers::page("AccessKeyMetadata", &answers::access_key(alice, &alice.keys[0]), None);
    let iam = FakeIam::start(account);
    iam.fail(On::keys_of("bob"), Fault::instead("text/xml", answers::answer("ListAccessKeys", &list)));
    let json = check(&iam, ["--collector=live", "--output=json"]).expect(3).json();
    assert_eq!(json["users"][1]["status"], "unknown");
}

#[test]
fn a_summary_without_roots_keys_makes_the_check_incomplete() {
    let iam = FakeIam::start(Account::of_size(1));
    let summary = "<SummaryMap><entry><key>Users</key><value>1</value></entry></SummaryMap>";
    iam.fail(
        On::operation("GetAccountSummary"),
        Fault::instead("text/xml", answers::answer("GetAccountSummary", summary)),
    );
    for collector in ["live", "auto"] {
        let ran = check(&iam, [format!("--collector={collector}")]).expect(3);
        assert!(ran.stderr().contains("keys of the root user could not be read"), "{collector}: {}", ran.stderr());
        assert!(ran.stderr().contains("GetAccountSummary"), "{collector}: {}", ran.stderr());
    }
}

#[test]
fn an_answer_without_end_is_given_up() {
    let iam = FakeIam::start(Account::example());
    iam.fail(On::operation("ListUsers"), Fault::Endless);
    let ran = check(&iam, ["--collector=live"]).expect(3);
    assert!(ran.stderr().contains("larger than 32 MiB"), "{}", ran.stderr());
    assert!(ran.stderr().contains("(unexpected_response)"), "{}", ran.stderr());
}
