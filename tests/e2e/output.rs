//! What `check` writes, and where: terminals, spreadsheets, devices, and outputs that cannot be written.

use crate::common::{Account, FakeIam, Fault, Key, On, User};
use crate::exporter::{Cli, Terminal, cli, wait_for, wait_until};
use crate::metrics::Metrics;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

fn from_inventory(account: &Account) -> Cli {
    cli(["check", "--input.inventory=inventory.json"]).file("inventory.json", account.inventory().to_string())
}

fn two_keys() -> [Key; 2] {
    [Key::active(50), Key::active(20)]
}

/// A name from a file can hold anything; a terminal must not act upon it.
#[test]
fn control_characters_do_not_reach_the_terminal() {
    let account = Account::new([User::new("eve\u{1b}[2J\u{9b}1m\r\n\u{202e}x", two_keys())]);
    for output in ["table", "json", "csv"] {
        let text = from_inventory(&account)
            .args([&format!("--output={output}"), "--account.name=a\u{1b}]0;b\u{7}c", "--metrics.access-key-id"])
            .run()
            .expect(1)
            .stdout();
        let raw: Vec<char> = text.chars().filter(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}').collect();
        assert_eq!(raw, [] as [char; 0], "{output}: {text:?}");
        assert!(text.contains("eve") && text.contains("1b"), "{output}: {text}");
    }
    let json = from_inventory(&account).arg("--output=json").run().expect(1).json();
    assert_eq!(json["users"][0]["name"], "eve\u{1b}[2J\u{9b}1m\r\n\u{202e}x", "a program reads the name itself");
}

#[test]
fn cells_that_begin_like_a_formula_are_text() {
    let names = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "a=1"];
    let account = Account::new(names.map(|name| User::new(name, two_keys())));
    let text = from_inventory(&account).arg("--output=csv").run().expect(1).stdout();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    for cell in rows.iter().flatten() {
        assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{cell:?}");
    }
    for (name, cell) in
        [("=1+1", "'=1+1"), ("@SUM(A1)", "'@SUM(A1)"), ("\t=1", "\\t=1"), ("\r=1", "\\r=1"), ("a=1", "a=1")]
    {
        assert!(rows.iter().any(|r| &r[1] == cell), "{name:?}: {text}");
    }
}

#[test]
fn on_a_narrow_terminal_the_fields_stand_below_each_other() {
    let account = Account::new([User::new("team.lead", two_keys()), User::new("bob", two_keys())]);
    for columns in [20, 40, 80, 99, 100, 120] {
        let text = from_inventory(&account).arg("--color=never").run_on_terminal(columns);
        for line in text.lines().filter(|l| !l.starts_with("Account ")) {
            assert!(line.chars().count() <= columns.into(), "{columns} columns: {line:?}\n{text}");
        }
        let words = ["bob", "team.lead", "violation", "multiple_active_keys"];
        for word in words.iter().filter(|w| w.len() < columns.into()) {
            assert!(text.lines().any(|l| l.contains(word)), "{columns} columns: {word:?} is torn:\n{text}");
        }
        assert_eq!(text.contains("USER: bob"), columns < 100, "{columns} columns:\n{text}");
    }
}

/// A full disk or a closed pipe behind standard error changes nothing but the log.
#[test]
fn a_check_keeps_its_exit_code_when_standard_error_cannot_be_written() {
    let iam = FakeIam::start(Account::example());
    let run = |args: &[&str]| cli(["check"]).aws(&iam).args(args).run_with_stderr("/dev/full");
    assert_eq!(run(&["--collector=live"]).0, 1);
    assert_eq!(run(&["--no-such-flag"]).0, 2);
    assert_eq!(run(&["--config.file=missing.yaml"]).0, 2);
    iam.fail(On::keys_of("alice"), Fault::ACCESS_DENIED);
    let (code, stdout) = run(&["--collector=live", "--log.level=trace"]);
    assert_eq!(code, 3);
    assert!(stdout.contains("alice"), "{stdout}");
    iam.fail(On::EVERYTHING, Fault::ACCESS_DENIED);
    assert_eq!(run(&["--collector=live"]).0, 3);
}

#[test]
fn serving_goes_on_when_the_reader_of_the_log_is_gone() {
    let iam = FakeIam::start(Account::example());
    for format in ["text", "json"] {
        let exporter = crate::exporter::serve(
            &iam,
            ["--log.level=trace", "--log.format=json"].iter().take(if format == "json" { 2 } else { 1 }),
        );
        exporter.wait_for_success();
        exporter.close_log();
        iam.fail(On::EVERYTHING, Fault::ACCESS_DENIED);
        exporter.wait_for_another_check();
        iam.heal();
        exporter.wait_for_another_check();
        assert_eq!(exporter.get("/livez").status, 200, "{format}");
        assert!(!exporter.has_ended(), "{format}");
    }
}

/// A log driver that hangs, or a paused terminal: what is written to it blocks.
#[test]
fn a_log_that_is_not_read_stops_neither_serving_nor_the_end() {
    let (reader, mut other) = std::io::pipe().unwrap();
    let stderr = other.try_clone().unwrap();
    let fill = std::thread::spawn(move || while other.write_all(&[b'x'; 4096]).is_ok() {});
    let port = crate::exporter::unused_port();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let iam = FakeIam::start(Account::example());
    let flags = [format!("--web.listen-address={address}"), "--log.level=trace".into(), "--check.interval=50ms".into()];
    let mut child = cli(["serve"]).aws(&iam).args(flags).spawn_with_stderr(stderr);
    let get = |path: &str| crate::http::try_request(address, "GET", path, &[]).ok();
    wait_until("a hundred checks", || {
        let checks = |r: crate::http::Response| Metrics::new(r.text()).sum("iam_key_exporter_checks_total");
        get("/metrics").map(checks).is_some_and(|checks| checks >= 100.0)
    });
    assert_eq!(get("/livez").map(|r| r.status), Some(200));
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    let status = wait_for("the exporter to end", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    drop(reader);
    fill.join().unwrap();
}

fn write_to(account: &Account, path: &Path) -> Cli {
    from_inventory(account).arg("--output=csv").arg(format!("--output-file={}", path.display()))
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn an_output_file_keeps_its_mode() {
    let mut command = write_to(&Account::example(), Path::new("result")).file("result", "previous\n");
    let path = command.home().join("result");
    for wanted in [0o600, 0o640, 0o664] {
        fs::set_permissions(&path, fs::Permissions::from_mode(wanted)).unwrap();
        command.run().expect(1);
        assert_eq!(mode(&path), wanted);
        assert!(fs::read_to_string(&path).unwrap().starts_with("account_id"));
    }
}

#[test]
fn an_output_file_behind_a_symbolic_link_is_replaced_and_the_link_stays() {
    let mut command = write_to(&Account::example(), Path::new("link")).file("data/result", "previous\n");
    let home = command.home().to_owned();
    symlink("data/result", home.join("middle")).unwrap();
    symlink("middle", home.join("link")).unwrap();
    fs::set_permissions(home.join("data/result"), fs::Permissions::from_mode(0o600)).unwrap();
    command.run().expect(1);
    assert!(home.join("link").is_symlink() && home.join("middle").is_symlink());
    assert!(fs::read_to_string(home.join("data/result")).unwrap().starts_with("account_id"));
    assert_eq!(mode(&home.join("data/result")), 0o600);
    // A link to a file that does not exist yet.
    fs::remove_file(home.join("data/result")).unwrap();
    command.run().expect(1);
    assert!(home.join("link").is_symlink());
    assert!(fs::read_to_string(home.join("data/result")).unwrap().starts_with("account_id"));
    // A loop is an error.
    symlink("loop", home.join("loop")).unwrap();
    let ran = write_to(&Account::example(), &home.join("loop")).run().expect(2);
    assert!(ran.stderr().contains("--output-file"), "{}", ran.stderr());
}

#[test]
fn a_fifo_as_output_file_is_written_to() {
    let mut command = write_to(&Account::example(), Path::new("fifo"));
    let path = command.home().join("fifo");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let fifo = path.clone();
    let reader = std::thread::spawn(move || fs::read_to_string(fifo).unwrap());
    command.run().expect(1);
    assert!(path.symlink_metadata().unwrap().file_type().is_fifo());
    assert!(reader.join().unwrap().starts_with("account_id"));
}

#[test]
fn a_device_as_output_file_is_written_to() {
    for through_link in [false, true] {
        let terminal = Terminal::open(200);
        let device = Path::new(&terminal.path);
        let home = tempfile::tempdir().unwrap();
        let link = home.path().join("link");
        symlink(device, &link).unwrap();
        let path = if through_link { &link } else { device };
        // What is written to a terminal without any handle of it is lost.
        let open = fs::File::open(device).unwrap();
        write_to(&Account::example(), path).run().expect(1);
        assert!(device.metadata().unwrap().file_type().is_char_device() && link.is_symlink());
        drop(open);
        assert!(terminal.receive().starts_with("account_id"));
    }
}

#[test]
fn an_output_file_that_is_a_directory_is_an_error() {
    let mut command = write_to(&Account::example(), Path::new("directory"));
    fs::create_dir(command.home().join("directory")).unwrap();
    let ran = command.run().expect(2);
    assert!(ran.stderr().contains("--output-file"), "{}", ran.stderr());
}
