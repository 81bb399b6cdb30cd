//! The configuration is read again on SIGHUP and on request; a bad one changes nothing but the metric. And what depends
//! on time alone is judged again as time passes.

use crate::common::{Account, FakeIam, Key, User, days_ago, now};
use crate::exporter::{Exporter, cli, wait_for, wait_until};
use crate::http;
use jiff::SignedDuration;

const SUCCESSFUL: &str = "iam_key_exporter_config_last_reload_successful";
const RELOADED_AT: &str = "iam_key_exporter_config_last_reload_success_timestamp_seconds";
const VIOLATIONS: &str = r#"aws_iam_access_key_violations{account_id="123456789012",rule="multiple_active_keys"}"#;

/// Checks once an hour: what changes meanwhile, changes without a check.
fn serving(config: &str) -> Exporter {
    let flags = ["serve", "--check.interval=1h", "--input.inventory=i.json", "--config.file=c.yaml"];
    let exporter = cli(flags).file("i.json", Account::example().inventory().to_string()).file("c.yaml", config).serve();
    exporter.wait_for_success();
    exporter
}

fn configure(exporter: &Exporter, config: &str) {
    std::fs::write(exporter.home().join("c.yaml"), config).unwrap();
}

fn reload(exporter: &Exporter) -> http::Response {
    http::request(exporter.address(), "POST", "/-/reload", &[("Content-Length", "0")])
}

#[test]
fn a_request_reloads_policy_and_exemptions() {
    let exporter = serving("");
    let before = exporter.metrics();
    assert_eq!((before.value(VIOLATIONS), before.value(SUCCESSFUL)), (Some(2.0), Some(1.0)));
    configure(&exporter, "exemptions: [{user: bob, reason: r, expires: 2099-01-01}]\n");
    assert_eq!(reload(&exporter).status, 200);
    let after = exporter.wait_for_sample(VIOLATIONS, 1.0);
    assert_eq!(after.value(r#"aws_iam_exemptions{state="used"}"#), Some(1.0));
    assert_eq!(after.value(r#"aws_iam_users{account_id="123456789012",status="exempt"}"#), Some(1.0));
    assert!(after.value(RELOADED_AT) > before.value(RELOADED_AT));
    assert_eq!(after.sum("iam_key_exporter_checks_total"), 1.0, "judged again, not checked again");
}

#[test]
fn sighup_reloads_as_well() {
    let exporter = serving("");
    configure(&exporter, "policy: {multiple_active_keys: {enabled: false}}\n");
    exporter.signal("HUP");
    wait_until("the rule to be off", || exporter.metrics().value(VIOLATIONS).is_none());
    assert!(!exporter.has_ended());
    configure(&exporter, "");
    exporter.signal("HUP");
    exporter.wait_for_sample(VIOLATIONS, 2.0);
}

#[test]
fn a_bad_file_keeps_the_old_policy() {
    let exporter = serving("exemptions: [{user: bob, reason: r, expires: 2099-01-01}]\n");
    let before = exporter.metrics();
    for bad in ["exemptions: [{user: bob}]\n", "nonsense: 1\n", "policy: {multiple_active_keys: {limit: 0}}\n", "["] {
        configure(&exporter, bad);
        let answer = reload(&exporter);
        assert_eq!(answer.status, 500, "{bad}");
        assert!(answer.text().contains("c.yaml") && answer.text().contains("line"), "{}", answer.text());
        let after = exporter.wait_for_sample(SUCCESSFUL, 0.0);
        assert_eq!(after.facts(), before.facts(), "{bad}");
        assert_eq!(after.value(RELOADED_AT), before.value(RELOADED_AT), "{bad}: the time of the last success");
    }
    std::fs::remove_file(exporter.home().join("c.yaml")).unwrap();
    assert_eq!(reload(&exporter).status, 500);
    exporter.signal("HUP");
    wait_until("the signal's attempt", || exporter.logged("configuration not reloaded") == 6);
    assert_eq!(exporter.metrics().facts(), before.facts());

    configure(&exporter, "");
    assert_eq!(reload(&exporter).status, 200);
    let after = exporter.wait_for_sample(SUCCESSFUL, 1.0);
    assert!(after.value(RELOADED_AT) > before.value(RELOADED_AT));
    exporter.wait_for_sample(VIOLATIONS, 2.0);
}

#[test]
fn reloading_without_a_file_is_harmless() {
    let iam = FakeIam::start(Account::example());
    let exporter = crate::exporter::serve(&iam, ["--collector=live", "--check.interval=1h"]);
    let before = exporter.wait_for_success();
    assert_eq!(reload(&exporter).status, 200);
    exporter.signal("HUP");
    wait_until("two reloads", || exporter.logged("configuration reloaded") == 2);
    assert_eq!(exporter.metrics().facts(), before.facts());
}

#[test]
fn many_reloads_at_once_all_get_an_answer() {
    let exporter = serving("");
    let (exporter, mut answers) = (&exporter, Vec::new());
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..16).map(|_| scope.spawn(|| reload(exporter).status)).collect();
        answers.extend(asking.into_iter().map(|a| a.join().unwrap()));
    });
    assert_eq!(answers, [200; 16]);
}

/// A key turns ninety days old, a grace period ends: between two checks, on time.
#[test]
fn verdicts_change_as_time_passes_without_a_check() {
    let soon = SignedDuration::from_secs(12);
    let mut old = Key::active(90);
    old.created = days_ago(90) + soon;
    let mut second = Key::active(0);
    second.created = now() - SignedDuration::from_hours(1) + soon;
    let account = Account::new([User::new("ages", [old]), User::new("rotates", [Key::active(10), second])]);
    let flags = ["serve", "--check.interval=1h", "--input.inventory=i.json", "--config.file=c.yaml"];
    let exporter = cli(flags)
        .file("i.json", account.inventory().to_string())
        .file("c.yaml", "policy: {multiple_active_keys: {rotation_grace: 1h}}\n")
        .serve();
    let by_status = |status: &str| format!(r#"aws_iam_users{{account_id="123456789012",status="{status}"}}"#);
    let first = exporter.wait_for_success();
    assert_eq!((first.value(&by_status("rotating")), first.value(&by_status("compliant"))), (Some(1.0), Some(1.0)));
    let last = exporter.wait_for_sample(&by_status("violation"), 2.0);
    assert_eq!(last.sum("iam_key_exporter_checks_total"), 1.0);
    assert_eq!(last.value(&by_status("rotating")), Some(0.0));
}

/// Notes about exemptions are made once, not at each check.
#[test]
fn exemptions_that_no_longer_serve_are_logged_once() {
    let config = "exemptions:\n- {user: bob, reason: r, expires: 2020-01-01}\n- {user: nobody, reason: r, expires: 2099-01-01}\n";
    let flags = ["serve", "--check.interval=50ms", "--input.inventory=i.json", "--config.file=c.yaml"];
    let exporter = cli(flags).file("i.json", Account::example().inventory().to_string()).file("c.yaml", config).serve();
    let metrics =
        wait_for("some checks", || Some(exporter.metrics()).filter(|m| m.sum("iam_key_exporter_checks_total") >= 5.0));
    assert_eq!(metrics.value(r#"aws_iam_exemptions{state="expired"}"#), Some(1.0));
    assert_eq!(metrics.value(r#"aws_iam_exemptions{state="unmatched"}"#), Some(1.0));
    assert_eq!(metrics.value(r#"aws_iam_exemptions{state="used"}"#), Some(0.0));
    assert_eq!(exporter.logged("\"bob\""), 1, "{}", exporter.log());
    assert_eq!(exporter.logged("\"nobody\""), 1, "{}", exporter.log());
}
