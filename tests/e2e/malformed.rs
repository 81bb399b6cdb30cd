//! Malformed reports and inventories: an error with the location, and no data.

use crate::common::{Account, FakeIam, Key, Report, User, now};
use crate::exporter::{check, cli, wait_for, wait_until};

/// A sound report of three rows, to be damaged.
fn sound() -> String {
    Account::new([User::new("alice", [Key::active(3)]), User::new("bob", [Key::active(5), Key::active(2)])])
        .credential_report()
}

/// The report with one cell of one row (the header is row 1) replaced.
fn with_cell(row: usize, column: &str, value: &str) -> String {
    let report = sound();
    let index = report.lines().next().unwrap().split(',').position(|c| c == column).unwrap();
    let edit = |(i, line): (usize, &str)| {
        if i + 1 != row {
            return line.to_owned();
        }
        let mut cells: Vec<&str> = line.split(',').collect();
        cells[index] = value;
        cells.join(",")
    };
    report.lines().enumerate().map(edit).collect::<Vec<_>>().join("\n")
}

fn without_column(column: &str) -> String {
    let report = sound();
    let index = report.lines().next().unwrap().split(',').position(|c| c == column).unwrap();
    let cut = |line: &str| {
        let mut cells: Vec<&str> = line.split(',').collect();
        cells.remove(index);
        cells.join(",")
    };
    report.lines().map(cut).collect::<Vec<_>>().join("\n")
}

fn with_line(line: &str) -> String {
    format!("{}\n{line}", sound())
}

/// The error, the report, and the location that the message must contain, as row and column.
fn malformed() -> Vec<(&'static str, Vec<u8>, Vec<&'static str>)> {
    let alice = sound().lines().nth(2).unwrap().to_owned();
    let text = |s: String| s.into_bytes();
    let mut cases: Vec<(&str, Vec<u8>, Vec<&str>)> = vec![
        ("empty", vec![], vec!["empty"]),
        ("only white space", b"\n\n".to_vec(), vec!["empty"]),
        ("no row at all", text(sound().lines().next().unwrap().into()), vec!["<root_account>"]),
        ("HTML", b"<!DOCTYPE html>\n<html><body>Sign in</body></html>".to_vec(), vec!["HTML"]),
        ("JSON", br#"{"message": "no"}"#.to_vec(), vec!["JSON"]),
        ("XML", b"<?xml version='1.0'?><ErrorResponse/>".to_vec(), vec!["XML"]),
        ("something else", b"hello".to_vec(), vec!["column", "\"user\""]),
        ("no column user", text(without_column("user")), vec!["\"user\""]),
        ("no column arn", text(without_column("arn")), vec!["\"arn\""]),
        ("no column of key 1", text(without_column("access_key_1_active")), vec!["\"access_key_1_active\""]),
        ("no column of key 2", text(without_column("access_key_2_active")), vec!["\"access_key_2_active\""]),
        ("a column twice", text(sound().replace("cert_2_active", "arn")), vec!["\"arn\"", "twice"]),
        (
            "a wrong boolean",
            text(with_cell(3, "access_key_1_active", "yes")),
            vec!["row 3", "access_key_1_active", "yes"],
        ),
        ("an empty boolean", text(with_cell(4, "access_key_2_active", "")), vec!["row 4", "access_key_2_active"]),
        (
            "a wrong date",
            text(with_cell(4, "access_key_2_last_rotated", "yesterday")),
            vec!["row 4", "access_key_2_last_rotated", "yesterday"],
        ),
        (
            "a wrong date of last use",
            text(with_cell(3, "access_key_1_last_used_date", "2026-13-01T00:00:00Z")),
            vec!["row 3", "access_key_1_last_used_date"],
        ),
        ("a wrong ARN", text(with_cell(3, "arn", "alice")), vec!["row 3", "\"arn\""]),
        (
            "another user's ARN",
            text(with_cell(3, "arn", "arn:aws:iam::123456789012:user/mallory")),
            vec!["row 3", "\"arn\"", "alice"],
        ),
        (
            "two accounts",
            text(with_cell(4, "arn", "arn:aws:iam::999999999999:user/bob")),
            vec!["row 4", "\"arn\"", "999999999999"],
        ),
        ("an empty user", text(with_cell(3, "user", "")), vec!["row 3", "\"user\""]),
        ("a user twice", text(with_line(&alice)), vec!["row 5", "alice", "twice"]),
        ("a user twice in other case", text(with_line(&alice.replace("alice", "ALICE"))), vec!["row 5", "twice"]),
        ("root twice", text(with_line(sound().lines().nth(1).unwrap())), vec!["row 5", "root"]),
        (
            "a short row",
            text(with_line("carol,arn:aws:iam::123456789012:user/carol,2026-01-01T00:00:00Z")),
            vec!["row 5", "3 columns"],
        ),
        (
            "a long row",
            text(with_line(&format!("{},x,y", alice.replace("alice", "carol")))),
            vec!["row 5", "24 columns"],
        ),
        ("a quote that is not closed", text(with_line(&alice.replace("alice,arn", "\"carol,arn"))), vec!["row 5"]),
        ("broken quotes", text(with_line(&alice.replacen("alice", "\"ca\"rol\"", 1))), vec!["row 5"]),
        ("not UTF-8", [sound().as_bytes(), b"\n\xff\xfe"].concat(), vec!["row 5", "UTF-8"]),
        ("UTF-16", sound().encode_utf16().flat_map(u16::to_le_bytes).collect(), vec![""]),
    ];
    // A report that was cut off in its last row, wherever.
    let whole = sound();
    let last_row = whole.rfind('\n').unwrap() + 1;
    for end in [last_row + 1, last_row + 20, last_row + 60, whole.len() - 40, whole.len() - 5, whole.len() - 1] {
        cases.push(("cut off", whole.as_bytes()[..end].to_vec(), vec!["row 4"]));
    }
    cases
}

#[test]
fn a_malformed_report_from_a_file() {
    for (what, report, words) in malformed() {
        for output in ["table", "json", "csv", "prometheus"] {
            let flags = ["check", "--input.credential-report=report.csv", &format!("--output={output}")];
            let ran = cli(flags).file("report.csv", &report).run();
            let stderr = ran.stderr();
            assert_eq!(ran.code(), 3, "{what}: {}{stderr}", ran.stdout());
            assert_eq!(ran.stdout(), "", "{what}: data in spite of the error");
            assert!(stderr.contains("report.csv") && stderr.contains("(file_malformed)"), "{what}: {stderr}");
            assert!(words.iter().all(|w| stderr.contains(w)), "{what}: {words:?} in {stderr}");
            assert_eq!(stderr.trim().lines().count(), 1, "{what}: {stderr}");
            // The output format does not matter: one run with the others is sufficient.
            if what != "empty" {
                break;
            }
        }
    }
}

#[test]
fn a_malformed_report_from_aws() {
    let iam = FakeIam::start(Account::example());
    for (what, content, words) in malformed() {
        iam.set_report(Report::Fixed { content, generated_at: now() });
        let ran = check(&iam, ["--collector=report", "--output=json"]);
        let stderr = ran.stderr();
        assert_eq!(ran.code(), 3, "{what}: {}{stderr}", ran.stdout());
        assert_eq!(ran.stdout(), "", "{what}: data in spite of the error");
        // AWS's empty content is no content.
        if !stderr.contains("no content") {
            assert!(stderr.contains("(report_malformed)"), "{what}: {stderr}");
            assert!(words.iter().all(|w| stderr.contains(w)), "{what}: {words:?} in {stderr}");
        }
    }
    assert_eq!(iam.calls_of("ListAccessKeys"), 0);
}

/// The undamaged report is valid: otherwise the cases above prove nothing.
#[test]
fn the_report_that_is_damaged_above_is_sound_and_so_are_its_harmless_variants() {
    let lines = |text: String, end: &str| text.replace('\n', end) + end;
    let variants = [
        ("as AWS writes it", sound().into_bytes()),
        ("an unquoted comma in a name", sound().replace("alice", "a,lice").into_bytes()),
        ("CRLF", lines(sound(), "\r\n").into_bytes()),
        ("a newline at the end", lines(sound(), "\n").into_bytes()),
        ("a byte order mark", [b"\xef\xbb\xbf", sound().as_bytes()].concat()),
        ("capital booleans", sound().replace("true", "TRUE").replace("false", "FALSE").into_bytes()),
        ("dates with Z", sound().replace("+00:00", "Z").into_bytes()),
        ("without an optional column", without_column("cert_2_active").into_bytes()),
        ("no_information", with_cell(3, "access_key_1_last_used_date", "no_information").into_bytes()),
        ("an extra column", sound().lines().map(|l| format!("{l},x")).collect::<Vec<_>>().join("\n").into_bytes()),
        ("another partition", sound().replace("arn:aws:", "arn:aws-cn:").into_bytes()),
    ];
    for (what, report) in variants {
        let ran = cli(["check", "--input.credential-report=r.csv", "--output=json"]).file("r.csv", report).run();
        assert_eq!(ran.code(), 1, "{what}: {}", ran.stderr());
        let json = ran.json();
        assert_eq!(json["summary"]["users"]["violation"], 1, "{what}");
        assert_eq!(json["summary"]["users"]["compliant"], 1, "{what}");
    }
}

/// Serving goes on with what was known, until the file is sound again.
#[test]
fn a_report_that_becomes_malformed_changes_no_data() {
    let command = cli(["serve", "--check.interval=100ms", "--input.credential-report=report.csv"]);
    let exporter = command.file("report.csv", sound()).serve();
    let before = exporter.wait_for_success();
    let path = exporter.home().join("report.csv");
    for (what, report, _) in malformed() {
        let failures = exporter.metrics().failures("file_malformed");
        replace(&path, &report);
        let after =
            wait_for(what, || Some(exporter.metrics()).filter(|m| m.failures("file_malformed") >= failures + 2.0));
        assert_eq!(after.inventory(), before.inventory(), "{what}");
        assert_eq!(after.value(r#"iam_key_exporter_account_up{account_id="123456789012"}"#), Some(0.0), "{what}");
    }
    std::fs::remove_file(&path).unwrap();
    wait_until("the missing file", || exporter.metrics().failures("file_unreadable") >= 1.0);
    assert_eq!(exporter.metrics().inventory(), before.inventory());
    replace(&path, sound().as_bytes());
    exporter.wait_for_success();
    assert_eq!(exporter.logged("check failed"), 2, "malformed, then unreadable:\n{}", exporter.log());
}

/// Atomically, so that a reader never gets a partial file.
fn replace(path: &std::path::Path, content: &[u8]) {
    let new = path.with_extension("new");
    std::fs::write(&new, content).unwrap();
    std::fs::rename(new, path).unwrap();
}

#[test]
fn a_malformed_inventory() {
    let account = r#""account": {"id": "123456789012"}"#;
    let with_users = |users: &str| format!("{{\"version\": 1, {account},\n \"users\": [{users}]}}");
    for (what, inventory, words) in [
        ("empty", String::new(), vec!["empty"]),
        ("not JSON", "user,arn\n".into(), vec!["line 1 column 1"]),
        ("cut off", with_users(r#"{"name": "a", "acc"#).replace("]}", ""), vec!["line 2 column"]),
        ("no version", format!("{{{account}, \"users\": []}}"), vec!["version"]),
        ("another version", format!("{{\"version\": 2, {account}, \"users\": []}}"), vec!["version 2"]),
        ("no account", r#"{"version": 1, "users": []}"#.into(), vec!["account"]),
        ("a wrong account", r#"{"version": 1, "account": {"id": "12"}, "users": []}"#.into(), vec!["\"12\""]),
        ("no users", format!("{{\"version\": 1, {account}}}"), vec!["users"]),
        (
            "an unknown key",
            with_users(r#"{"name": "a", "access_keys": [], "mfa": true}"#),
            vec!["mfa", "line 2 column"],
        ),
        ("a user without keys", with_users(r#"{"name": "a"}"#), vec!["access_keys", "line 2 column"]),
        (
            "a wrong status",
            with_users(r#"{"name": "a", "access_keys": [{"status": "on"}]}"#),
            vec!["on", "line 2 column"],
        ),
        (
            "a wrong date",
            with_users(r#"{"name": "a", "access_keys": [{"status": "active", "created": "x"}]}"#),
            vec!["line 2 column"],
        ),
        (
            "a user twice",
            with_users(r#"{"name": "a", "access_keys": []}, {"name": "A", "access_keys": []}"#),
            vec!["twice"],
        ),
        (
            "two accounts",
            with_users(r#"{"name": "a", "arn": "arn:aws:iam::999999999999:user/a", "access_keys": []}"#),
            vec!["\"a\"", "999999999999"],
        ),
    ] {
        let ran = cli(["check", "--input.inventory=inv.json", "--output=json"]).file("inv.json", inventory).run();
        let stderr = ran.stderr();
        assert_eq!(ran.code(), 3, "{what}: {}{stderr}", ran.stdout());
        assert_eq!(ran.stdout(), "", "{what}");
        assert!(stderr.contains("inv.json") && stderr.contains("(file_malformed)"), "{what}: {stderr}");
        assert!(words.iter().all(|w| stderr.contains(w)), "{what}: {words:?} in {stderr}");
    }
}

#[test]
fn a_file_that_cannot_be_read() {
    for path in ["missing.csv", "."] {
        let ran = cli(["check", &format!("--input.credential-report={path}")]).run().expect(3);
        assert_eq!(ran.stdout(), "");
        assert!(ran.stderr().contains("(file_unreadable)") && ran.stderr().contains(path), "{}", ran.stderr());
    }
}
