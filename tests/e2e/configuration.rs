//! Flags, environment variables, file and defaults: precedence, and error messages.

use crate::common::Account;
use crate::exporter::{Cli, cli};

fn verify(args: &[&str]) -> Cli {
    cli(["verify-config"]).args(args)
}

/// The line of the effective configuration that sets this key (of a section: `section.key`).
fn effective(yaml: &str, key: &str) -> String {
    let mut section = "";
    for line in yaml.lines() {
        let (name, value) = line.trim().split_once(':').unwrap_or((line.trim(), ""));
        if !line.starts_with(' ') {
            section = name;
        }
        let full = if line.starts_with(' ') { format!("{section}.{name}") } else { name.to_owned() };
        if full == key {
            return value.trim().to_owned();
        }
    }
    panic!("{key} is not in\n{yaml}")
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let file = "check:\n  timeout: 3m\n";
    let variable = "IAM_KEY_EXPORTER_CHECK_TIMEOUT";
    let with = |flag: Option<&str>, env: Option<&str>, file: Option<&str>| {
        let mut command = verify(&[]);
        if let Some(value) = env {
            command = command.env(variable, value);
        }
        if let Some(content) = file {
            command = command.file("c.yaml", content).arg("--config.file=c.yaml");
        }
        effective(&command.args(flag).run().expect(0).stdout(), "check.timeout")
    };
    assert_eq!(with(Some("--check.timeout=1m"), Some("2m"), Some(file)), "1m");
    assert_eq!(with(None, Some("2m"), Some(file)), "2m");
    assert_eq!(with(None, None, Some(file)), "3m");
    assert_eq!(with(None, None, None), "10m");
}

/// Every setting of the documentation's table has the documented default, and can be set by flag and by file.
#[test]
fn the_documented_defaults_hold() {
    let yaml = verify(&[]).run().expect(0).stdout();
    for (key, default) in [
        ("collector", "auto"),
        ("collector_report_above", "500"),
        ("check.interval", "5m"),
        ("check.timeout", "10m"),
        ("collect.last_used", "false"),
        ("aws.max_requests_per_second", "10"),
        ("aws.max_accounts", "64"),
        ("aws.concurrency", "64"),
        ("sweep.max_requests_per_second", "2"),
        ("metrics.users", "all"),
        ("metrics.user_info", "false"),
        ("metrics.access_key_id", "false"),
        ("web.max_connections", "128"),
        ("log.level", "info"),
        ("log.format", "text"),
    ] {
        assert_eq!(effective(&yaml, key).trim_end_matches(".0"), default, "{key}");
    }
    assert!(yaml.contains(":19674"), "{yaml}");
}

#[test]
fn what_is_printed_is_accepted_and_printed_again() {
    let file = r#"
policy:
  multiple_active_keys: { limit: 2, rotation_grace: 36h }
  key_age: { enabled: false, max_age: 400d }
exemptions:
  - { user: "ci-*", account: "012345678901", rule: key_age, reason: "it: says # no", expires: 2099-12-31 }
  - { user: "*", reason: all, expires: 2020-01-01 }
  - { path: "/service: x/*", group: "bots # 1", tag: { "cost: centre": "4711", team: "*" }, reason: r, expires: 2020-01-01 }
account: { name: "Größe: 1" }
collect: { tags: [Owner, "cost: centre"] }
web: { listen_address: ["127.0.0.1:1234", "[::1]:1234"] }
aws: { region: eu-west-1, profile: audit, max_requests_per_second: 2.5 }
"#;
    let first = verify(&["--config.file=c.yaml"]).file("c.yaml", file).run().expect(0).stdout();
    let again = verify(&["--config.file=again.yaml"]).file("again.yaml", &first).run().expect(0).stdout();
    assert_eq!(again, first);
    for part in [
        "012345678901",
        "it: says # no",
        "Größe: 1",
        "cost: centre",
        "[::1]:1234",
        "audit",
        "2.5",
        "2099-12-31",
        "bots # 1",
    ] {
        assert!(first.contains(part), "{part} is lost:\n{first}");
    }
    let defaults = verify(&[]).run().expect(0).stdout();
    let again = verify(&["--config.file=d.yaml"]).file("d.yaml", &defaults).run().expect(0).stdout();
    assert_eq!(again, defaults);
}

#[test]
fn mistakes_in_the_file_are_named_by_line_and_column() {
    for (content, place, word) in [
        ("policies: {}\n", "line 1 column 1", "policies"),
        ("check:\n  intervall: 5m\n", "line 2 column 3", "intervall"),
        ("check:\n  interval: 5 parsecs\n", "line 2 column 13", "parsecs"),
        ("check:\n  interval: 0s\n", "line 2 column 13", "zero"),
        ("policy:\n  key_age:\n    max_age: 90\n", "line 3 column 14", "90"),
        ("policy:\n  key_age:\n    enabled: perhaps\n", "line 3 column 14", "bool"),
        ("check:\n  timeout: 18446744073709551615s\n", "line 2 column 12", "maximum is 36500d"),
        ("check:\n  interval: 366d\n", "line 2 column 13", "maximum is 365d"),
        ("policy:\n  key_age: {max_age: 18446744073709551615s}\n", "line 2 column 22", "maximum is 36500d"),
        ("collector: sideways\n", "line 1 column 12", "sideways"),
        ("aws:\n  concurrency: 1025\n", "line 2 column 16", "1024"),
        ("exemptions:\n- user: bob\n  expires: 2099-01-01\n", "line 3 column 3", "reason"),
        ("exemptions:\n- user: bob\n  reason: x\n", "line 3 column 3", "expires"),
        ("exemptions:\n- user: bob\n  reason: x\n  expires: 2099-02-31\n", "line 4 column 12", "2099-02-31"),
        ("exemptions:\n- reason: x\n  expires: 2099-01-01\n", "line 2 column 3", "user, path, group and tag"),
        ("exemptions:\n- path: service\n  reason: x\n  expires: 2099-01-01\n", "line 2 column 9: path", "slash"),
        ("exemptions:\n- tag: {team: }\n  reason: x\n  expires: 2099-01-01\n", "line 2", "team"),
        (
            "exemptions:\n- user: bob\n  reason: x\n  rule: keys\n  expires: 2099-01-01\n",
            "line 4 column 9",
            "multiple_active_keys",
        ),
        ("a: [\n", "line", ""),
        ("check:\n\tinterval: 5m\n", "line 2", "tab"),
        ("check: {interval: 5m}\ncheck: {interval: 6m}\n", "line 2", "check"),
    ] {
        for command in ["verify-config", "check", "serve"] {
            let ran = cli([command, "--config.file=c.yaml"]).file("c.yaml", content).run();
            let message = ran.stderr();
            assert_eq!(ran.code(), 2, "{command}, {content}: {message}");
            assert_eq!(ran.stdout(), "", "{command}, {content}");
            assert!(message.contains("c.yaml") && message.contains(place), "{content}: {place:?} is not in: {message}");
            assert_eq!(message.trim_end().lines().count(), 1, "{content}: {message}");
            assert!(message.to_lowercase().contains(&word.to_lowercase()), "{content}: {word:?} is not in: {message}");
            if command == "verify-config" {
                // The other commands load the file in the same way.
                break;
            }
        }
    }
    for command in ["check", "serve"] {
        let ran = cli([command, "--config.file=c.yaml"]).file("c.yaml", "nonsense: 1\n").run().expect(2);
        assert!(ran.stderr().contains("c.yaml") && ran.stderr().contains("line 1"), "{}", ran.stderr());
    }
}

#[test]
fn mistakes_in_flags_and_environment_name_the_flag() {
    for args in [
        ["--check.timeout=0s"],
        ["--check.timeout=soon"],
        ["--check.timeout=10"],
        ["--check.timeout=366d"],
        ["--check.timeout=18446744073709551615s"],
        ["--check.interval=500000y"],
        ["--collector=a\nb"],
        ["--aws.concurrency=0"],
        ["--aws.concurrency=1025"],
        ["--aws.max-requests-per-second=0"],
        ["--aws.max-requests-per-second=-1"],
        ["--aws.max-requests-per-second=NaN"],
        ["--collector=fast"],
        ["--metrics.users=some"],
        ["--log.level=loud"],
        ["--web.listen-address=here"],
        ["--web.listen-address=1.2.3.4"],
        ["--web.listen-address=:99999"],
        ["--web.listen-address=::1:80"],
        ["--web.max-connections=0"],
        ["--collect.tags=a,,b"],
        ["--collect.owner-tag=a,A"],
        ["--config.file=missing.yaml"],
    ] {
        let ran = verify(&args).run().expect(2);
        let flag = args[0].split('=').next().unwrap();
        assert!(ran.stderr().contains(flag), "{args:?}: {}", ran.stderr());
        assert_eq!(ran.stderr().trim_end().lines().count(), 1, "{args:?}: {}", ran.stderr());
        assert_eq!(ran.stdout(), "");
    }
    let ran = verify(&[]).env("IAM_KEY_EXPORTER_CHECK_TIMEOUT", "soon").run().expect(2);
    assert!(ran.stderr().contains("--check.timeout"), "{}", ran.stderr());
}

#[test]
fn what_contradicts_itself_is_refused() {
    for args in [
        vec!["--demo", "--input.inventory=a"],
        vec!["--demo", "--input.credential-report=a"],
        vec!["--demo", "--collector=report"],
        vec!["--input.inventory=a", "--input.credential-report=b"],
        vec!["--collector=live", "--input.inventory=a"],
    ] {
        let message = verify(&args).run().expect(2).stderr();
        assert!(message.contains(args[0].split('=').next().unwrap()), "{args:?}: {message}");
    }
    let both = "input: {credential_report: a, inventory: b}\n";
    let message = verify(&["--config.file=c.yaml"]).file("c.yaml", both).run().expect(2).stderr();
    assert!(message.contains("input.credential_report") && message.contains("input.inventory"), "{message}");
}

/// Two tags that become the same label would make every scrape invalid.
#[test]
fn tags_that_become_the_same_label_are_refused() {
    for tags in ["cost-centre,cost_centre", "Owner,owner", "a,a"] {
        let message = verify(&[&format!("--collect.tags={tags}")]).run().expect(2).stderr();
        assert!(message.contains("--collect.tags"), "{tags}: {message}");
    }
    let file = "collect: {tags: [Owner, owner]}\n";
    verify(&["--config.file=c.yaml"]).file("c.yaml", file).run().expect(2);
}

#[test]
fn booleans_can_be_switched_off_again() {
    let file = "collect: {last_used: true}\n";
    let last_used = |args: &[&str]| {
        let yaml = verify(args).arg("--config.file=c.yaml").file("c.yaml", file).run().expect(0).stdout();
        effective(&yaml, "collect.last_used")
    };
    assert_eq!(last_used(&[]), "true");
    assert_eq!(last_used(&["--collect.last-used=false"]), "false");
    let off = verify(&[]).env("IAM_KEY_EXPORTER_COLLECT_LAST_USED", "false").run().expect(0).stdout();
    assert_eq!(effective(&off, "collect.last_used"), "false");
    let on = verify(&[]).env("IAM_KEY_EXPORTER_COLLECT_LAST_USED", "1").run().expect(0).stdout();
    assert_eq!(effective(&on, "collect.last_used"), "true");
}

#[test]
fn an_input_of_the_file_is_used_and_a_flag_takes_its_place() {
    let config = "input: {inventory: compliant.json}\n";
    let inventory = |account: &Account| account.inventory().to_string();
    let command = |args: &[&str]| {
        cli(["check", "--config.file=c.yaml"])
            .args(args)
            .file("c.yaml", config)
            .file("compliant.json", inventory(&Account::of_size(2)))
            .file("report.csv", Account::example().credential_report())
            .run()
    };
    command(&[]).expect(0);
    command(&["--input.credential-report=report.csv"]).expect(1);
}

#[test]
fn policy_and_exemptions_of_the_file_count() {
    let verdict = |config: &str| {
        let mut command = cli(["check", "--input.inventory=i.json", "--config.file=c.yaml", "--output=json"]);
        command = command.file("i.json", Account::example().inventory().to_string()).file("c.yaml", config);
        let ran = command.run();
        (ran.code(), ran.json()["summary"]["users"].clone())
    };
    assert_eq!(verdict("").0, 1);
    assert_eq!(verdict("policy: {multiple_active_keys: {limit: 2}}\n").0, 0);
    assert_eq!(verdict("policy: {multiple_active_keys: {enabled: false}}\n").0, 0);
    let (code, users) = verdict("policy: {multiple_active_keys: {rotation_grace: 10d}}\n");
    assert_eq!(
        (code, &users["rotating"], &users["violation"]),
        (1, &1.into(), &1.into()),
        "team.lead's is 3 days old, bob's 20"
    );
    let exemption =
        |user: &str, more: &str| format!("exemptions: [{{user: '{user}', reason: r, expires: 2099-01-01{more}}}]\n");
    let (code, users) = verdict(&exemption("B?B", ""));
    assert_eq!((code, &users["exempt"], &users["violation"]), (1, &1.into(), &1.into()));
    assert_eq!(verdict(&exemption("*", "")).0, 0);
    assert_eq!(verdict(&exemption("*", ", account: '123456789012'")).0, 0);
    assert_eq!(verdict(&exemption("*", ", account: '999999999999'")).0, 1);
    assert_eq!(verdict(&exemption("*", ", rule: key_age")).0, 1);
    assert_eq!(verdict(&exemption("arn:aws:iam::*:user/*", "")).0, 0);
    assert_eq!(verdict(&exemption("*", "").replace("2099", "2020")).0, 1, "expired");
}

/// The longest durations that are accepted; each of them is added to dates.
#[test]
fn the_longest_durations_work() {
    let file = "policy:\n  multiple_active_keys: {rotation_grace: 36500d}\n  key_age: {max_age: 36500d}\n  \
                unused_key: {max_idle: 36500d}\nexemptions: [{user: x, reason: r, expires: 9999-12-31}]\n";
    for output in ["table", "json", "csv", "prometheus"] {
        cli(["check", "--input.inventory=i.json", "--config.file=c.yaml", "--check.timeout=365d"])
            .arg(format!("--output={output}"))
            .file("i.json", Account::example().inventory().to_string())
            .file("c.yaml", file)
            .run()
            .expect(0);
    }
    let exporter = cli(["serve", "--input.inventory=i.json", "--config.file=c.yaml"])
        .args(["--check.timeout=365d", "--check.interval=365d"])
        .file("i.json", Account::example().inventory().to_string())
        .file("c.yaml", file)
        .serve();
    exporter.wait_for_success();
}

#[test]
fn variables_of_no_flag_are_named() {
    let inventory = Account::of_size(1).inventory().to_string();
    let ran = cli(["check", "--input.inventory=i.json"])
        .file("i.json", inventory)
        .env("IAM_KEY_EXPORTER_CHECK_TIMOUT", "5m")
        .env("IAM_KEY_EXPORTER_CHECK_INTERVAL", "5m")
        .env("IAM_KEY_EXPORTER_CACHE", "/tmp")
        .env("IAM_KEY_EXPORTER_PORT", "tcp://10.0.0.1:19674")
        .env("IAM_KEY_EXPORTER_SERVICE_HOST", "10.0.0.1")
        .run()
        .expect(0);
    let log = ran.stderr();
    assert!(log.contains("WARN") && log.contains("IAM_KEY_EXPORTER_CHECK_TIMOUT"), "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");
}

#[test]
fn a_section_with_nothing_under_it_is_empty() {
    let defaults = verify(&[]).run().expect(0).stdout();
    let sections: Vec<&str> = defaults.lines().filter(|l| !l.starts_with([' ', '-'])).collect();
    assert!(sections.len() > 8, "{sections:?}");
    for line in sections {
        let key = line.split(':').next().unwrap();
        for null in ["", " ~", " null"] {
            let file = format!("{key}:{null}\n");
            let yaml = verify(&["--config.file=c.yaml"]).file("c.yaml", &file).run().expect(0).stdout();
            assert_eq!(yaml, defaults, "{file}");
        }
    }
    for rule in ["multiple_active_keys", "key_age", "unused_key", "root_access_key"] {
        let file = format!("policy:\n  {rule}:\n");
        let yaml = verify(&["--config.file=c.yaml"]).file("c.yaml", &file).run().expect(0).stdout();
        assert_eq!(yaml, defaults, "{file}");
    }
    let file = "check:\n  interval:\n  timeout: 3m\nweb:\n  listen_address:\n";
    let yaml = verify(&["--config.file=c.yaml"]).file("c.yaml", file).run().expect(0).stdout();
    assert_eq!(yaml, defaults.replace("timeout: 10m", "timeout: 3m"));
}
