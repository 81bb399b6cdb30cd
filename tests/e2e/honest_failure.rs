//! Failures are reported, and never remove or replace known data.

use crate::common::{Account, FakeIam, Fault, On, Pages};
use crate::exporter::{Exporter, check, cli, serve, wait_for, wait_until};
use crate::metrics::Metrics;

const UP: &str = r#"iam_key_exporter_account_up{account_id="123456789012"}"#;
const UP_UNKNOWN: &str = r#"iam_key_exporter_account_up{account_id="unknown"}"#;
const LAST_SUCCESS: &str = r#"iam_key_exporter_account_last_success_timestamp_seconds{account_id="123456789012"}"#;
const UNKNOWN_USERS: &str = r#"aws_iam_users{account_id="123456789012",status="unknown"}"#;
const VIOLATIONS: &str = r#"aws_iam_access_key_violations{account_id="123456789012",rule="multiple_active_keys"}"#;

fn since(user: &str) -> String {
    let name = "aws_iam_user_violation_since_timestamp_seconds";
    format!(r#"{name}{{account_id="123456789012",rule="multiple_active_keys",user_name="{user}"}}"#)
}

fn active_keys(user: &str) -> String {
    format!(r#"aws_iam_user_active_access_keys{{account_id="123456789012",user_name="{user}"}}"#)
}

/// The process runs, serves, is not ready, and reports the reason: over several checks, logged once.
#[track_caller]
fn fails_from_the_start(exporter: &Exporter, reason: &str) -> Metrics {
    let metrics = wait_for(reason, || Some(exporter.metrics()).filter(|m| m.failures(reason) >= 3.0));
    assert_eq!(metrics.inventory(), "", "unknown values are absent");
    let up = metrics.value(UP).or(metrics.value(UP_UNKNOWN));
    assert_eq!(up, Some(0.0), "{}", metrics.without_help());
    assert_eq!(metrics.value(LAST_SUCCESS), None);
    assert_eq!(exporter.get("/livez").status, 200);
    assert_eq!(exporter.get("/-/healthy").status, 200);
    assert_eq!(exporter.get("/readyz").status, 503);
    assert_eq!(exporter.get("/-/ready").status, 503);
    assert_eq!(exporter.logged("check failed"), 1, "once a change, not once a try:\n{}", exporter.log());
    assert_eq!(exporter.logged(&format!("reason=\"{reason}\"")), 1, "{}", exporter.log());
    assert!(!exporter.has_ended());
    assert!(exporter.get("/").text().contains(&format!("({reason})")));
    metrics
}

#[test]
fn no_credentials() {
    let iam = FakeIam::start(Account::example());
    let exporter = cli(["serve", "--check.interval=100ms"]).env("AWS_ENDPOINT_URL", iam.url()).serve();
    fails_from_the_start(&exporter, "credentials");
    assert_eq!(iam.calls(), []);
}

#[test]
fn credentials_that_aws_does_not_know() {
    let iam = FakeIam::start(Account::example());
    iam.fail(On::EVERYTHING, Fault::BAD_TOKEN);
    fails_from_the_start(&serve(&iam, ["--check.interval=100ms"]), "credentials");
}

/// GetCallerIdentity needs no permission: so the account is known, and nothing else.
#[test]
fn access_denied_on_everything_but_the_identity() {
    for collector in ["live", "report", "auto"] {
        let iam = FakeIam::start(Account::example());
        for operation in ["GetAccountSummary", "ListUsers", "ListAccessKeys", "GenerateCredentialReport"] {
            iam.fail(On::operation(operation), Fault::ACCESS_DENIED);
        }
        let exporter = serve(&iam, [format!("--collector={collector}")]);
        let metrics = fails_from_the_start(&exporter, "access_denied");
        assert_eq!(metrics.value(UP), Some(0.0), "{collector}");
        assert_eq!(metrics.value(UP_UNKNOWN), None, "{collector}: the placeholder goes when the account is known");
    }
}

#[test]
fn every_reason_is_there_from_the_start() {
    let iam = FakeIam::start(Account::example());
    iam.fail(On::EVERYTHING, Fault::Hang);
    let exporter = serve(&iam, [""; 0]);
    let page = include_str!("../../docs/metrics.md");
    let (_, reasons) = page.split_once("Reasons of `iam_key_exporter_check_failures_total`:").unwrap();
    let reasons: Vec<&str> = reasons.split('`').skip(1).step_by(2).collect();
    assert!(reasons.len() > 10 && reasons.contains(&"pagination"), "{reasons:?}");
    let metrics = exporter.metrics();
    for reason in &reasons {
        let name = "iam_key_exporter_check_failures_total";
        assert_eq!(
            metrics.value(&format!(r#"{name}{{account_id="unknown",reason="{reason}"}}"#)),
            Some(0.0),
            "{reason}"
        );
    }
    let counted = metrics.of("iam_key_exporter_check_failures_total").lines().filter(|l| !l.starts_with('#')).count();
    assert_eq!(counted, reasons.len(), "all of them are documented");
}

/// The port is bound before AWS is asked, and AWS may take its time.
#[test]
fn the_page_is_served_while_the_first_call_hangs() {
    let iam = FakeIam::start(Account::example());
    iam.fail(On::operation("GetCallerIdentity"), Fault::Hang);
    let exporter = serve(&iam, [""; 0]);
    wait_until("the call that hangs", || iam.calls_of("GetCallerIdentity") == 1);
    assert_eq!(exporter.get("/livez").status, 200);
    assert_eq!(exporter.get("/readyz").status, 503);
    let metrics = exporter.metrics();
    assert_eq!(metrics.value(UP_UNKNOWN), Some(0.0));
    assert_eq!(metrics.inventory(), "");
    assert!(exporter.get("/").text().contains("under way"));
}

#[test]
fn a_check_that_takes_too_long_fails_with_that_reason() {
    for (operation, collector) in [
        ("GetCallerIdentity", "live"),
        ("ListUsers", "live"),
        ("ListAccessKeys", "live"),
        ("GetCredentialReport", "report"),
    ] {
        let iam = FakeIam::start(Account::example());
        iam.fail(On::operation(operation), Fault::Hang);
        let flags = [format!("--collector={collector}"), "--check.timeout=2s".into()];
        let metrics = fails_from_the_start(&serve(&iam, &flags), "timeout");
        assert!(metrics.sum("iam_key_exporter_last_check_duration_seconds") >= 2.0);

        let ran = check(&iam, &flags).expect(3);
        assert_eq!(ran.stdout(), "");
        assert!(ran.stderr().contains("--check.timeout=2s"), "{}", ran.stderr());
        assert!(ran.stderr().contains("(timeout)"), "{}", ran.stderr());
    }
}

#[test]
fn throttling_that_outlasts_all_retries() {
    let iam = FakeIam::start(Account::example());
    iam.fail(On::operation("ListUsers"), Fault::THROTTLED);
    let ran = check(&iam, ["--collector=live"]).expect(3);
    assert_eq!(ran.stdout(), "");
    assert!(ran.stderr().contains("throttled ListUsers"), "{}", ran.stderr());
    assert_eq!(iam.calls_of("ListUsers"), 8, "as many attempts as it may make, no more");
}

/// A truncated response must not be taken for a short list, regardless of where it ends.
#[test]
fn a_cut_off_answer_is_no_answer() {
    let ends = ["<Users>", "<AccessKeyMetadata>", "</member>", "</Users>", "</AccessKeyMetadata>", "Result>\n<Resp"];
    for operation in ["ListUsers", "ListAccessKeys"] {
        for end in ends {
            let iam = FakeIam::start(Account::example());
            iam.fail(On::operation(operation), Fault::CutAfter(end));
            let ran = check(&iam, ["--collector=live", "--output=json"]);
            assert_eq!(ran.code(), 3, "{operation} cut off after {end}: {}{}", ran.stdout(), ran.stderr());
            assert_eq!(ran.stdout(), "", "{operation} cut off after {end}");
        }
    }
    for operation in ["GenerateCredentialReport", "GetCredentialReport"] {
        for end in ["Result>", "<State>COMP", "<Content>dXNlcixhcm4s", "</State>", "</GeneratedTime>"] {
            let iam = FakeIam::start(Account::example());
            iam.fail(On::operation(operation), Fault::CutAfter(end));
            let ran = check(&iam, ["--collector=report", "--output=json"]);
            assert_eq!(ran.code(), 3, "{operation} cut off after {end}: {}{}", ran.stdout(), ran.stderr());
            assert_eq!(ran.stdout(), "");
        }
    }
}

/// A connection that breaks is tried again, like one that is refused or a 503.
#[test]
fn passing_troubles_are_retried() {
    for fault in [Fault::THROTTLED, Fault::SERVICE_FAILURE, Fault::status(503), Fault::Close, Fault::HalfSent] {
        let iam = FakeIam::start(Account::example());
        iam.fail_times(2, On::operation("ListUsers"), fault.clone());
        let ran = check(&iam, ["--collector=live"]);
        assert_eq!(ran.code(), 1, "{fault:?}: {}", ran.stderr());
        assert_eq!(iam.calls_of("ListUsers"), 3, "{fault:?}: twice in vain, then the answer");
    }
}

#[test]
fn a_list_without_end_is_given_up() {
    for (pages, calls) in [
        (Pages::RepeatedMarker, 2..=2),
        (Pages::NoMarker, 1..=1),
        (Pages::Endless, 100..=200),
        (Pages::EndlessAndFull, 10..=11),
    ] {
        let iam = FakeIam::start(Account::example()).pages(pages);
        let ran = check(&iam, ["--collector=live"]).expect(3);
        assert_eq!(ran.stdout(), "", "{pages:?}");
        assert!(ran.stderr().contains("ListUsers cannot be read to its end"), "{pages:?}: {}", ran.stderr());
        assert!(ran.stderr().contains("(pagination)"), "{pages:?}: {}", ran.stderr());
        assert!(calls.contains(&iam.calls_of("ListUsers")), "{pages:?}: {} calls", iam.calls_of("ListUsers"));
        assert_eq!(iam.calls_of("ListAccessKeys"), 0, "{pages:?}");
    }
}

#[test]
fn a_user_that_cannot_be_read_is_unknown_and_its_violation_stays_until_disproved() {
    let iam = FakeIam::start(Account::example());
    let exporter = serve(&iam, ["--collector=live"]);
    let before = exporter.wait_for_success();
    assert_eq!(before.value(UNKNOWN_USERS), Some(0.0));
    assert_eq!(before.value(&active_keys("bob")), Some(2.0));
    let began = before.value(&since("bob"));
    assert!(began.is_some());

    iam.fail(On::keys_of("bob"), Fault::ACCESS_DENIED);
    let after = exporter.wait_for_sample(UNKNOWN_USERS, 1.0);
    assert_eq!(after.value(&active_keys("bob")), None, "unknown, not 0 and not 2");
    assert_eq!(after.of("aws_iam_access_key_active{").lines().filter(|l| l.contains(r#"user_name="bob""#)).count(), 0);
    assert_eq!(after.value(&since("bob")), began, "no observation shows that it is over");
    assert_eq!(after.value(VIOLATIONS), Some(2.0));
    assert_eq!(after.value(UP), Some(1.0), "the rest of the account stands");
    assert_eq!(after.value(&active_keys("alice")), Some(1.0));

    // Still so after more checks, each of which starts from what the one before knew.
    let after = exporter.wait_for_another_check();
    assert_eq!((after.value(&since("bob")), after.value(VIOLATIONS)), (began, Some(2.0)));

    iam.change(|account| account.user("bob").keys[0].active = false);
    let after = exporter.wait_for_another_check();
    assert_eq!(after.value(&since("bob")), began, "a fix that was not observed changes nothing");

    iam.heal();
    let after = exporter.wait_for_sample(&active_keys("bob"), 1.0);
    assert_eq!(after.value(&since("bob")), None, "now it is disproved");
    assert_eq!(after.value(VIOLATIONS), Some(1.0));
    assert_eq!(after.value(UNKNOWN_USERS), Some(0.0));
}

#[test]
fn a_user_that_was_never_read_is_unknown_and_nothing_else() {
    let iam = FakeIam::start(Account::example());
    iam.fail(On::keys_of("bob"), Fault::ACCESS_DENIED);
    let exporter = serve(&iam, ["--collector=live"]);
    let metrics = exporter.wait_for_success();
    assert_eq!(metrics.value(UNKNOWN_USERS), Some(1.0));
    assert_eq!(metrics.value(&active_keys("bob")), None);
    assert_eq!(metrics.value(&since("bob")), None);
    assert_eq!(metrics.value(VIOLATIONS), Some(1.0));

    let ran = check(&iam, ["--collector=live", "--output=json"]).expect(3);
    let bob = ran.json()["users"].as_array().unwrap().iter().find(|u| u["name"] == "bob").cloned().unwrap();
    assert_eq!(bob["status"], "unknown");
    assert!(bob["active_access_keys"].is_null() && bob["access_keys"].is_null(), "{bob}");
}

/// A user that cannot be read for any reason of its own is unknown, not only after a denial.
#[test]
fn whatever_goes_wrong_with_one_user_concerns_that_user_only() {
    for fault in
        [Fault::THROTTLED, Fault::CutAfter("</member>"), Fault::instead("text/html", "<html>"), Fault::status(503)]
    {
        let iam = FakeIam::start(Account::example());
        iam.fail(On::keys_of("alice"), fault.clone());
        let ran = check(&iam, ["--collector=live", "--output=json"]).expect(3);
        let statuses = ran.json()["summary"]["users"].clone();
        assert_eq!(statuses["unknown"], 1, "{fault:?}: {statuses}");
        assert_eq!(statuses["violation"], 2, "{fault:?}: {statuses}");
    }
}

/// The root user's keys are requested with a separate call, which can fail separately.
#[test]
fn roots_violation_stays_while_roots_keys_cannot_be_read() {
    let root = r#"aws_iam_access_key_violations{account_id="123456789012",rule="root_access_key"}"#;
    let iam = FakeIam::start(Account::example().root_keys(1));
    let exporter = serve(&iam, ["--collector=live"]);
    assert_eq!(exporter.wait_for_success().value(root), Some(1.0));
    iam.fail(On::operation("GetAccountSummary"), Fault::ACCESS_DENIED);
    let after = exporter.wait_for_another_check();
    assert_eq!(after.value(root), Some(1.0), "no observation shows that it is over");
    iam.heal();
    iam.change(|account| account.root_keys = 0);
    exporter.wait_for_sample(root, 0.0);
}

#[test]
fn an_answer_about_another_account_is_refused() {
    for collector in ["live", "report"] {
        let iam = FakeIam::start(Account::example());
        let exporter = serve(&iam, [format!("--collector={collector}")]);
        let before = exporter.wait_for_success();
        iam.change(|account| account.id = "999999999999".into());
        let after =
            wait_for("the refusal", || Some(exporter.metrics()).filter(|m| m.failures("account_mismatch") >= 1.0));
        assert_eq!(after.inventory(), before.inventory(), "{collector}");
        assert!(!after.text().contains(r#"account_id="999999999999""#), "{collector}");
        assert_eq!(after.value(UP), Some(0.0));
    }
}

#[test]
fn a_changed_reason_is_logged_again() {
    let iam = FakeIam::start(Account::example());
    iam.fail(On::operation("ListUsers"), Fault::ACCESS_DENIED);
    let exporter = serve(&iam, ["--collector=live"]);
    wait_until("the first reason", || exporter.metrics().failures("access_denied") >= 2.0);
    iam.heal();
    iam.fail(On::operation("ListUsers"), Fault::instead("text/html", "<html>"));
    wait_until("the second reason", || exporter.metrics().failures("unexpected_response") >= 2.0);
    assert_eq!(exporter.logged("check failed"), 2, "{}", exporter.log());
}

/// The exporter logs the result of an attempt once; the SDK's own lines are suppressed.
#[test]
fn the_log_holds_no_lines_of_the_sdk() {
    let iam = FakeIam::start(Account::example());
    let exporter = serve(&iam, ["--log.level=trace", "--collector=live"]);
    exporter.wait_for_success();
    for fault in [Fault::instead("text/xml", "<nonsense"), Fault::HalfSent, Fault::Close, Fault::SERVICE_FAILURE] {
        iam.fail_times(1, On::EVERYTHING, fault);
        exporter.wait_for_another_check();
    }
    let log = exporter.log();
    let lines: Vec<&str> = log.lines().filter(|l| l.contains(" ERROR ")).collect();
    assert_eq!(lines, [""; 0], "{log}");
}
