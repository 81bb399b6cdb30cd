//! The configuration is reloaded on SIGHUP and, if enabled, on request; an invalid one changes nothing but the metric.
//! And verdicts that depend on time alone change as time passes.

use crate::common::{Account, FakeIam, Key, User, days_ago, now};
use crate::exporter::{Exporter, cli, wait_for, wait_until};
use crate::http;
use jiff::SignedDuration;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;

const SUCCESSFUL: &str = "iam_key_exporter_config_last_reload_successful";
const RELOADED_AT: &str = "iam_key_exporter_config_last_reload_success_timestamp_seconds";
const VIOLATIONS: &str = r#"aws_iam_access_key_violations{account_id="123456789012",rule="multiple_active_keys"}"#;

/// Checks once an hour: what changes meanwhile, changes without a check.
fn serving(config: &str) -> Exporter {
    serving_with(config, &["--web.enable-lifecycle"])
}

fn serving_with(config: &str, flags: &[&str]) -> Exporter {
    let common = ["serve", "--check.interval=1h", "--input.inventory=i.json", "--config.file=c.yaml"];
    let exporter = cli(common).args(flags).file("i.json", Account::example().inventory().to_string());
    let exporter = exporter.file("c.yaml", config).serve();
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
    assert_eq!(after.value(r#"aws_iam_exemption_matched{account="",rule="",user="bob"}"#), Some(1.0));
    assert_eq!(after.value(r#"aws_iam_users{account_id="123456789012",status="exempt"}"#), Some(1.0));
    assert!(after.value(RELOADED_AT) > before.value(RELOADED_AT));
    assert_eq!(after.sum("iam_key_exporter_checks_total"), 1.0, "evaluated again, not checked again");
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
        assert_eq!(answer.text(), "configuration not reloaded: it is invalid; the log has the details\n", "{bad}");
        let after = exporter.wait_for_sample(SUCCESSFUL, 0.0);
        assert_eq!(after.inventory(), before.inventory(), "{bad}");
        assert_eq!(after.value(RELOADED_AT), before.value(RELOADED_AT), "{bad}: the time of the last success");
    }
    std::fs::remove_file(exporter.home().join("c.yaml")).unwrap();
    assert_eq!(reload(&exporter).status, 500);
    exporter.signal("HUP");
    wait_until("the signal's attempt", || exporter.logged("configuration not reloaded") == 6);
    assert_eq!(exporter.metrics().inventory(), before.inventory());

    configure(&exporter, "");
    assert_eq!(reload(&exporter).status, 200);
    let after = exporter.wait_for_sample(SUCCESSFUL, 1.0);
    assert!(after.value(RELOADED_AT) > before.value(RELOADED_AT));
    exporter.wait_for_sample(VIOLATIONS, 2.0);
}

#[test]
fn reloading_without_a_file_is_harmless() {
    let iam = FakeIam::start(Account::example());
    let exporter = crate::exporter::serve(&iam, ["--collector=live", "--check.interval=1h", "--web.enable-lifecycle"]);
    let before = exporter.wait_for_success();
    assert_eq!(reload(&exporter).status, 200);
    exporter.signal("HUP");
    wait_until("two reloads", || exporter.logged("configuration reloaded") == 2);
    assert_eq!(exporter.metrics().inventory(), before.inventory());
}

#[test]
fn many_reloads_at_once_are_merged_and_all_get_an_answer() {
    let exporter = serving("");
    let (exporter, mut answers) = (&exporter, Vec::new());
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..64).map(|_| scope.spawn(|| reload(exporter).status)).collect();
        answers.extend(asking.into_iter().map(|a| a.join().unwrap()));
    });
    assert_eq!(answers, [200; 64]);
    let reloads = exporter.logged("configuration reloaded");
    assert!((1..=16).contains(&reloads), "{reloads} reloads");
}

#[test]
fn requests_to_reload_are_refused_unless_they_are_enabled() {
    let exporter = serving_with("", &[]);
    for method in ["POST", "PUT", "GET", "HEAD"] {
        let refused = http::request(exporter.address(), method, "/-/reload", &[("Content-Length", "0")]);
        assert_eq!(refused.status, 403, "{method}");
        assert!(method == "HEAD" || refused.text().contains("--web.enable-lifecycle"), "{}", refused.text());
    }
    configure(&exporter, "policy: {multiple_active_keys: {enabled: false}}\n");
    exporter.signal("HUP");
    wait_until("the signal's reload", || exporter.metrics().value(VIOLATIONS).is_none());
    wait_until("its log record", || exporter.logged("configuration reloaded") > 0);
    assert_eq!(exporter.logged("configuration reloaded"), 1, "{}", exporter.log());
}

#[test]
fn requests_that_a_web_page_can_send_are_refused() {
    let exporter = serving("");
    for header in [
        ("Origin", "https://example.com"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Content-Type", "multipart/form-data; boundary=x"),
        ("Content-Type", "Text/Plain; charset=utf-8"),
    ] {
        let refused = http::request(exporter.address(), "POST", "/-/reload", &[("Content-Length", "0"), header]);
        assert_eq!(refused.status, 403, "{header:?}");
    }
    assert_eq!(reload(&exporter).status, 200);
    wait_until("the only reload", || exporter.logged("configuration reloaded") > 0);
    assert_eq!(exporter.logged("configuration reloaded"), 1, "{}", exporter.log());
}

#[test]
fn answers_contain_nothing_of_the_configuration() {
    let exporter = serving("");
    for secret in ["account: {name: [s3cret]}\n", "s3cret: 1\n", "exemptions: [{user: s3cret}]\n"] {
        configure(&exporter, secret);
        let answer = reload(&exporter);
        assert_eq!(answer.status, 500, "{secret}");
        assert!(!answer.text().contains("s3cret"), "{}", answer.text());
    }
    configure(&exporter, "account: {name: s3cret}\n");
    let answer = reload(&exporter);
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("account.name") && !answer.text().contains("s3cret"), "{}", answer.text());
}

/// Each is refused at the start, with the flags of this process.
#[test]
fn a_file_that_cannot_start_cannot_be_reloaded() {
    let exporter = serving_with("", &["--web.enable-lifecycle", "--collect.tags=team"]);
    for bad in [
        "web: {listen_address: nowhere}\n",
        "web: {listen_address: []}\n",
        "input: {inventory: a.json, credential_report: b.csv}\n",
        "web: {max_connections: 0}\n",
    ] {
        configure(&exporter, &format!("{bad}policy: {{multiple_active_keys: {{enabled: false}}}}\n"));
        let flags = ["--input.inventory=i.json", "--config.file=c.yaml", "--collect.tags=team"];
        let start = cli(["verify-config"]).args(flags).file("c.yaml", bad).run();
        assert_eq!((start.code(), reload(&exporter).status), (2, 500), "{bad}");
        let metrics = exporter.metrics();
        assert_eq!((metrics.value(SUCCESSFUL), metrics.value(VIOLATIONS)), (Some(0.0), Some(2.0)), "{bad}");
    }
}

#[test]
fn changed_settings_that_need_a_restart_are_named() {
    let exporter = serving("check: {timeout: 5m}\n");
    let changed = "check: {timeout: 6m, interval: 2h}\nmetrics: {users: none}\nlog: {level: info}\n\
        policy: {multiple_active_keys: {enabled: false}}\n";
    configure(&exporter, changed);
    let answer = reload(&exporter);
    assert_eq!(answer.status, 200);
    // A flag sets the interval, and the level is the default: neither changes.
    assert_eq!(answer.text(), "configuration reloaded; a restart is needed for: check.timeout, metrics.users\n");
    wait_until("the log record", || exporter.logged("check.timeout, metrics.users") == 1);
    wait_until("the rule to be off", || exporter.metrics().value(VIOLATIONS).is_none());
    assert_eq!(exporter.metrics().value(SUCCESSFUL), Some(1.0));

    configure(&exporter, "check: {timeout: 5m}\n");
    assert_eq!(reload(&exporter).text(), "configuration reloaded\n", "compared with what runs, not with the last file");
}

/// A FIFO blocks as a hung network file system does.
#[test]
fn a_file_that_blocks_freezes_nothing() {
    let exporter = serving("");
    let path = exporter.home().join("c.yaml");
    std::fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    exporter.signal("HUP");
    // Succeeds once the other end is open for reading.
    let writer =
        || OpenOptions::new().write(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed()).open(&path);
    let held = crate::exporter::wait_for("the file to be opened", || writer().ok());
    for _ in 0..20 {
        assert_eq!((exporter.get("/livez").status, exporter.get("/metrics").status), (200, 200));
    }
    assert_eq!(reload(&exporter).status, 500, "it waits for a limited time");
    assert_eq!(exporter.metrics().value(SUCCESSFUL), Some(0.0));
    // A correct file helps, even while the other read still blocks.
    std::fs::rename(&path, exporter.home().join("fifo")).unwrap();
    configure(&exporter, "policy: {multiple_active_keys: {enabled: false}}\n");
    assert_eq!(reload(&exporter).status, 200);
    exporter.signal("TERM");
    let (status, _) = exporter.wait_for_end();
    assert_eq!(status.code(), Some(0), "{}", exporter.log());
    drop(held);
}

#[test]
fn sigterm_ends_it_while_the_configuration_blocks() {
    let exporter = serving("");
    let path = exporter.home().join("c.yaml");
    std::fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    exporter.signal("HUP");
    assert_eq!(exporter.get("/livez").status, 200);
    exporter.signal("TERM");
    let (status, took) = exporter.wait_for_end();
    assert_eq!(status.code(), Some(0), "{}", exporter.log());
    assert!(took < std::time::Duration::from_secs(5), "it took {took:?}");
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let exporter = serving("");
    let file = std::fs::File::create(exporter.home().join("c.yaml")).unwrap();
    file.set_len(1 << 30).unwrap();
    assert_eq!(reload(&exporter).status, 500);
    wait_until("the log record", || exporter.logged("larger than") == 1);
    let ran = cli(["verify-config", "--config.file=/dev/zero"]).run().expect(2);
    assert!(ran.stderr().contains("larger than"), "{}", ran.stderr());
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
    let matched = |user| format!(r#"aws_iam_exemption_matched{{account="",rule="",user="{user}"}}"#);
    assert_eq!(metrics.value(&matched("bob")), Some(1.0), "expired, but it matches");
    assert_eq!(metrics.value(&matched("nobody")), Some(0.0));
    assert_eq!(exporter.logged("\"bob\""), 1, "{}", exporter.log());
    assert_eq!(exporter.logged("\"nobody\""), 1, "{}", exporter.log());
}
