//! `check`: exit codes, output formats, and output files, which are replaced completely or not at all.

use crate::common::{Account, FakeIam, Fault, Key, On, User};
use crate::exporter::{Cli, check, cli};
use serde_json::Value;

fn from_inventory(account: &Account) -> Cli {
    cli(["check", "--input.inventory=inventory.json"]).file("inventory.json", account.inventory().to_string())
}

fn compliant() -> Account {
    Account::new([User::new("alice", [Key::active(1)])])
}

#[test]
fn exit_codes() {
    from_inventory(&compliant()).run().expect(0);
    from_inventory(&Account::example()).run().expect(1);
    from_inventory(&compliant().root_keys(1)).run().expect(1);
    cli(["check", "--no-such-flag"]).run().expect(2);
    cli(["check", "--config.file=missing.yaml"]).run().expect(2);
    cli(["check", "--demo", "--collector=live"]).run().expect(2);
    cli(["check", "--input.inventory=missing.json"]).run().expect(3);
    cli::<&str>([]).run().expect(2);
    cli(["check", "--demo"]).run().expect(3);
}

/// With a part unread, the known part is shown, but the result is not "compliant".
#[test]
fn a_partial_check_is_incomplete() {
    let account = Account::new([User::new("alice", [Key::active(1)]), User::new("zoe", [])]);
    let iam = FakeIam::start(account);
    check(&iam, ["--collector=live"]).expect(0);
    iam.fail(On::keys_of("zoe"), Fault::ACCESS_DENIED);
    let ran = check(&iam, ["--collector=live"]).expect(3);
    assert!(ran.stdout().contains("zoe") && ran.stdout().contains("unknown"), "{}", ran.stdout());
    assert!(ran.stdout().contains("access_denied"), "{}", ran.stdout());
}

#[test]
fn json_has_every_user_and_every_finding() {
    let ran = from_inventory(&Account::example()).arg("--output=json").run().expect(1);
    let json = ran.json();
    assert_eq!(json["users"].as_array().unwrap().len(), 7);
    assert_eq!(json["account"]["id"], "123456789012");
    let bob: &Value = json["users"].as_array().unwrap().iter().find(|u| u["name"] == "bob").unwrap();
    assert_eq!(bob["findings"][0]["rule"], "multiple_active_keys");
    assert_eq!((&bob["findings"][0]["keep"][0], &bob["findings"][0]["deactivate"][0]), (&2.into(), &1.into()));
    assert_eq!(ran.stderr(), "", "nothing but the result");
}

#[test]
fn csv_has_a_row_for_every_user_and_finding() {
    let ran = from_inventory(&Account::example().root_keys(1)).arg("--output=csv").run().expect(1);
    let text = ran.stdout();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 8, "seven users with one row each, and root");
    let comma = rows.iter().find(|r| &r[1] == "a,b").expect("a comma in a name stays in its cell");
    assert_eq!(&comma[3], "compliant");
    assert_eq!(&comma[4], "1");
    let root = rows.iter().find(|r| &r[1] == "<root_account>").unwrap();
    assert_eq!((&root[3], &root[5]), ("violation", "root_access_key"));
}

#[test]
fn the_textfile_is_what_serving_would_have_shown() {
    let iam = FakeIam::start(Account::example());
    let served = crate::exporter::serve(&iam, ["--collector=live"]).wait_for_success();
    let text = check(&iam, ["--collector=live", "--output=prometheus"]).expect(1).stdout();
    let written = crate::metrics::Metrics::new(text);
    assert_eq!(written.inventory(), served.inventory());
    assert_eq!(written.value(r#"iam_key_exporter_account_up{account_id="123456789012"}"#), Some(1.0));
    assert!(written.sum("iam_key_exporter_account_last_success_timestamp_seconds") > 1e9);
    assert!(!written.text().contains("process_"), "node_exporter has its own and refuses a second one");
}

#[test]
fn the_table_has_users_with_findings() {
    let table = |args: &[&str]| from_inventory(&Account::example()).args(args).run().expect(1).stdout();
    let text = table(&[]);
    for word in ["USER", "WHAT TO DO", "bob", "team.lead", "keep key 2, deactivate key 1", "7 users", "2 violation"] {
        assert!(text.contains(word), "{word:?} is missing:\n{text}");
    }
    assert!(!text.contains("alice"), "compliant users are only counted:\n{text}");
    assert!(!text.contains('\u{1b}'), "no colours in a pipe");
    assert!(table(&["--color=always"]).contains("\u{1b}["));
    assert!(!table(&["--color=never"]).contains('\u{1b}'));
    let compliant = from_inventory(&compliant()).run().expect(0).stdout();
    assert!(compliant.contains("1 user: 1 compliant"), "{compliant}");
}

#[test]
fn one_user_by_name() {
    let account = Account::example();
    let iam = FakeIam::start(account.clone());
    let names = |json: Value| {
        json["users"].as_array().unwrap().iter().map(|u| u["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for source in ["--collector=live", "--collector=report", "--collector=auto", "--input.inventory=i.json"] {
        let ran = |user: &str| {
            let flags = [source, "--output=json", &format!("--user={user}")];
            cli(["check"]).aws(&iam).file("i.json", account.inventory().to_string()).args(flags).run()
        };
        assert_eq!(names(ran("bob").expect(1).json()), ["bob"], "{source}: not bobby");
        assert_eq!(names(ran("bobby").expect(0).json()), ["bobby"], "{source}");
        assert_eq!(names(ran("a,b").expect(0).json()), ["a,b"], "{source}");
        let unknown = ran("bo").expect(2);
        assert!(unknown.stderr().contains("--user") && unknown.stderr().contains("\"bo\""), "{}", unknown.stderr());
        assert_eq!(unknown.stdout(), "", "{source}");
    }
    iam.forget_calls();
    check(&iam, ["--user=bob"]).expect(1);
    assert_eq!(iam.calls_of("ListAccessKeys"), 1, "no other user is read");
}

/// A key of root does not affect the check of one user.
#[test]
fn one_user_is_checked_without_root() {
    let command = from_inventory(&Account::example().root_keys(1)).args(["--user=alice", "--output=json"]).run();
    assert_eq!(command.code(), 0, "{}", command.stdout());
}

#[test]
fn an_output_file_is_replaced_whole() {
    for (output, word) in
        [("table", "USER"), ("json", "\"users\""), ("csv", "account_id,user"), ("prometheus", "# HELP")]
    {
        let mut command = from_inventory(&Account::example()).file("result", "previous\n");
        command = command.args([&format!("--output={output}"), "--output-file=result"]);
        let ran = command.run().expect(1);
        assert_eq!(ran.stdout(), "", "{output}");
        let written = std::fs::read_to_string(command.home().join("result")).unwrap();
        assert!(written.contains(word) && !written.contains("previous"), "{output}: {written}");
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&command.home().join("result").metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o644, "node_exporter runs as another user");
        let left: Vec<_> = std::fs::read_dir(command.home()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "nothing else is left behind: {left:?}");
    }
}

#[test]
fn an_output_file_is_unchanged_when_the_check_fails() {
    let iam = FakeIam::start(Account::example());
    for (fault, args) in [
        (Fault::ACCESS_DENIED, vec!["--collector=live"]),
        (Fault::Hang, vec!["--collector=live", "--check.timeout=300ms"]),
        (Fault::instead("text/html", "<html>"), vec!["--collector=report"]),
    ] {
        iam.fail(On::EVERYTHING, fault.clone());
        let mut command = cli(["check", "--output=prometheus", "--output-file=iam.prom"]).aws(&iam).args(args);
        command = command.file("iam.prom", "old\n");
        command.run().expect(3);
        assert_eq!(std::fs::read_to_string(command.home().join("iam.prom")).unwrap(), "old\n", "{fault:?}");
        assert_eq!(std::fs::read_dir(command.home()).unwrap().count(), 1, "{fault:?}");
        iam.heal();
    }
}

#[test]
fn an_output_file_that_cannot_be_written_is_an_error() {
    let ran = from_inventory(&compliant()).arg("--output-file=no/such/directory/file").run().expect(2);
    assert!(
        ran.stderr().contains("--output-file") && ran.stderr().contains("no/such/directory/file"),
        "{}",
        ran.stderr()
    );
}

#[test]
fn the_demo_has_users_of_every_status_and_needs_no_aws() {
    let ran = cli(["check", "--demo", "--output=json"]).run().expect(3);
    let counts = ran.json()["summary"]["users"].clone();
    for status in ["compliant", "violation", "exempt", "unknown"] {
        assert!(counts[status].as_u64() > Some(0), "no user is {status}: {counts}");
    }
}

/// The time limit applies to files that block.
#[test]
fn a_file_that_blocks_is_a_timeout() {
    let mut command = cli(["check", "--input.inventory=pipe", "--check.timeout=300ms"]);
    let made = std::process::Command::new("mkfifo").arg(command.home().join("pipe")).status().unwrap();
    assert!(made.success());
    let ran = command.run().expect(3);
    assert!(ran.stderr().contains("(timeout)"), "{}", ran.stderr());
}

/// A file without an end is an error before it fills the memory.
#[test]
fn a_file_that_does_not_end_is_an_error() {
    for flag in ["--input.inventory=/dev/zero", "--input.credential-report=/dev/zero"] {
        let ran = cli(["check", flag]).run().expect(3);
        assert!(ran.stderr().contains("larger than") && ran.stderr().contains("/dev/zero"), "{}", ran.stderr());
    }
}

/// Each check waits for the same thread instead of adding one.
#[test]
fn a_file_that_blocks_costs_one_thread() {
    let command = cli(["serve", "--input.inventory=pipe", "--check.timeout=50ms", "--check.interval=10ms"]);
    assert!(std::process::Command::new("mkfifo").arg(command.home().join("pipe")).status().unwrap().success());
    let exporter = command.serve();
    let threads = || exporter.metrics().value("process_threads");
    exporter.wait_for_another_check();
    let before = threads();
    for _ in 0..5 {
        exporter.wait_for_another_check();
    }
    assert_eq!(threads(), before);
}
