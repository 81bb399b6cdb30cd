//! What is read when: reports only when there can be a new one, and users between checks.

use crate::common::{Account, FakeIam, Fault, Key, On, Report, User, now};
use crate::exporter::{check, serve, wait_for, wait_until};
use jiff::SignedDuration;

const UP: &str = r#"iam_key_exporter_account_up{account_id="123456789012"}"#;
const VIOLATIONS: &str = r#"aws_iam_access_key_violations{account_id="123456789012",rule="multiple_active_keys"}"#;
const THROTTLED: &str = r#"iam_key_exporter_account_throttled_requests_total{account_id="123456789012"}"#;
const SWEEP_FAILURES: &str = r#"iam_key_exporter_account_sweep_failures_total{account_id="123456789012"}"#;
const OLDEST: &str = r#"iam_key_exporter_account_oldest_observation_timestamp_seconds{account_id="123456789012"}"#;
const NO_SWEEP: &str = "--sweep.max-requests-per-second=0";

fn compliant() -> FakeIam {
    let iam = FakeIam::start(Account::new([User::new("alice", [Key::active(10)]), User::new("bob", [])]));
    iam.freeze_report();
    iam
}

#[test]
fn a_report_is_transferred_once_until_aws_can_have_a_newer_one() {
    for collector in [&["--collector=report"][..], &["--collector=auto", "--collector.report-above=1"]] {
        let iam = compliant();
        let exporter = serve(&iam, collector.iter().chain([&NO_SWEEP]));
        exporter.wait_for_success();
        for _ in 0..3 {
            exporter.wait_for_another_check();
        }
        assert_eq!(iam.calls_of("GetCredentialReport"), 1);
        assert!(iam.calls_of("GenerateCredentialReport") >= 4, "no check succeeds without a call");

        // AWS lost it, or is ahead of the local clock: a report that is generated is transferred.
        iam.change(|account| account.user("alice").keys.push(Key::active(1)));
        iam.set_report(Report::Fixed { content: iam.account().credential_report().into_bytes(), generated_at: now() });
        iam.fail_times(1, On::operation("GenerateCredentialReport"), Fault::LIMIT_EXCEEDED);
        exporter.wait_for_sample(VIOLATIONS, 1.0);
        assert_eq!(iam.calls_of("GetCredentialReport"), 2);
    }
}

#[test]
fn a_report_that_is_four_hours_old_is_transferred_again() {
    let iam = compliant();
    let content = iam.account().credential_report().into_bytes();
    iam.set_report(Report::Fixed { content, generated_at: now() - SignedDuration::from_hours(4) });
    let exporter = serve(&iam, ["--collector=report", NO_SWEEP]);
    exporter.wait_for_success();
    exporter.wait_for_another_check();
    assert!(iam.calls_of("GetCredentialReport") >= 2);
}

/// What was transferred by a check that failed later is not known.
#[test]
fn the_report_of_a_failed_check_is_transferred_again() {
    let iam = compliant();
    iam.fail_times(1, On::operation("GetCallerIdentity"), Fault::Right);
    iam.fail_times(1, On::operation("GetCallerIdentity"), Fault::BAD_TOKEN);
    let exporter = serve(&iam, ["--collector=report", NO_SWEEP]);
    exporter.wait_for_success();
    assert_eq!(iam.calls_of("GetCredentialReport"), 2);
}

#[test]
fn a_permission_that_is_removed_fails_the_checks_although_the_report_is_known() {
    let iam = compliant();
    let exporter = serve(&iam, ["--collector=report", NO_SWEEP]);
    exporter.wait_for_success();
    iam.fail(On::operation("GenerateCredentialReport"), Fault::ACCESS_DENIED);
    let metrics = exporter.wait_for_sample(UP, 0.0);
    assert!(metrics.failures("access_denied") >= 1.0);
}

#[test]
fn a_second_key_shows_between_reports() {
    let iam = compliant();
    let exporter = serve(&iam, ["--collector=report"]);
    let metrics = exporter.wait_for_success();
    assert_eq!(metrics.value("iam_key_exporter_detection_delay_seconds_count"), Some(0.0));
    let reported = metrics.value(OLDEST).unwrap();
    // AWS's dates have whole seconds: it was created after the start.
    let created = now() + SignedDuration::from_secs(1);
    iam.change(|account| account.user("alice").keys.push(Key { created, ..Key::active(0) }));
    exporter.wait_for_sample(VIOLATIONS, 1.0);
    let metrics = wait_for("its delay", || {
        let metrics = exporter.metrics();
        (metrics.value("iam_key_exporter_detection_delay_seconds_count") == Some(1.0)).then_some(metrics)
    });
    assert_eq!(metrics.value(r#"iam_key_exporter_detection_delay_seconds_bucket{le="86400"}"#), Some(1.0));
    assert!(metrics.sum("iam_key_exporter_detection_delay_seconds_sum") < 600.0);
    wait_until("both users to be read", || exporter.metrics().value(OLDEST).unwrap() > reported);
    assert_eq!(iam.calls_of("GetCredentialReport"), 1);
}

#[test]
fn without_the_sweep_only_rechecks_read_users() {
    let iam = compliant();
    let exporter = serve(&iam, ["--collector=report", NO_SWEEP]);
    exporter.wait_for_success();
    exporter.wait_for_another_check();
    assert_eq!(iam.calls_of("ListAccessKeys"), 0);
}

#[test]
fn a_sweep_that_is_throttled_is_visible_and_fails_no_check() {
    let iam = compliant();
    iam.set_report(Report::Fresh { age: SignedDuration::from_hours(2) });
    iam.fail(On::operation("ListAccessKeys"), Fault::THROTTLED);
    // Users are older than the interval, and no check ends a part of the sweep.
    let exporter = serve(&iam, ["--collector=report", "--check.interval=1h"]);
    let metrics = exporter.wait_for_success();
    assert_eq!((metrics.value(UP), metrics.failures("throttled")), (Some(1.0), 0.0));
    wait_until("a second failure of the sweep", || exporter.metrics().value(SWEEP_FAILURES) >= Some(2.0));
    wait_until("a throttled request", || exporter.metrics().value(THROTTLED) >= Some(1.0));
    assert_eq!(exporter.metrics().value(UP), Some(1.0));
    let logged = "sweep failed, users are read again later";
    wait_until("the log record of the first failure", || exporter.logged(logged) > 0);
    assert_eq!(exporter.logged(logged), 1, "{}", exporter.log());
    let calls = iam.calls_of("ListAccessKeys") as f64;
    let failures = exporter.metrics().value(SWEEP_FAILURES).unwrap();
    assert!(calls <= failures + 1.0, "requests of the sweep are not retried: {calls}, {failures}");
    iam.heal();
    wait_until("the sweep to go on", || exporter.logged("sweep succeeded") == 1);
}

#[test]
fn deleted_users_are_removed_by_the_sweep_if_aws_agrees() {
    let user =
        |name: &str| format!(r#"aws_iam_user_active_access_keys{{account_id="123456789012",user_name="{name}"}}"#);
    let iam = compliant();
    let exporter = serve(&iam, ["--collector=report"]);
    exporter.wait_for_success();
    iam.change(|account| {
        account.remove("alice");
        account.remove("bob");
    });
    wait_until("both users to go", || {
        let metrics = exporter.metrics();
        metrics.value(&user("alice")).is_none() && metrics.value(&user("bob")).is_none()
    });
    assert!(iam.calls_of("ListUsers") >= 1);
    assert_eq!(exporter.metrics().value(UP), Some(1.0));
}

#[test]
fn a_user_that_was_created_after_the_report_is_read_live() {
    let iam = compliant();
    iam.change(|account| account.users.push(User::new("new", [Key::active(1), Key::active(0)])));
    let json = check(&iam, ["--collector=report", "--user=new", "--output=json"]).expect(1).json();
    assert_eq!(json["users"][0]["active_access_keys"], 2, "{json}");
    assert!(check(&iam, ["--collector=report", "--user=none"]).expect(2).stderr().contains("no IAM user named"));
}

#[test]
fn a_report_without_the_root_user_leaves_the_check_incomplete() {
    let iam = compliant();
    let report = iam.account().credential_report();
    let content = report.lines().filter(|line| !line.starts_with("<root_account>")).collect::<Vec<_>>().join("\n");
    assert_ne!(content.lines().count(), report.lines().count());
    iam.set_report(Report::Fixed { content: content.into_bytes(), generated_at: now() });
    let ran = check(&iam, ["--collector=report"]).expect(3);
    assert!(ran.stderr().contains("root user"), "{}", ran.stderr());
    let lax = "policy: { root_access_key: { enabled: false } }\n";
    crate::exporter::cli(["check", "--collector=report", "--config.file=c.yaml"])
        .aws(&iam)
        .file("c.yaml", lax)
        .run()
        .expect(0);
}
