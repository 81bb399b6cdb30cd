//! Faults of files: the inventory, the configuration, and the file that `check` writes.

use super::scenario::peak_memory;
use super::{Injection, Row};
use crate::common::Account;
use crate::exporter::{Cli, Exporter, cli, wait_for, wait_until};
use crate::metrics::Metrics;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

const ACCOUNT: &str = "123456789012";
const RELOADED: &str = "iam_key_exporter_config_last_reload_successful";
const RELOADED_AT: &str = "iam_key_exporter_config_last_reload_success_timestamp_seconds";

/// The injections of the section "Files".
pub fn injections() -> Vec<Injection> {
    vec![
        Injection::new("inventory removed", |row| inventory(row, &[], remove)),
        Injection::new("inventory replaced by a directory", |row| inventory(row, &[], directory)),
        Injection::new("inventory replaced by a FIFO", |row| inventory(row, &["--check.timeout=500ms"], fifo)),
        Injection::new("inventory replaced by a link to itself", |row| inventory(row, &[], link_to_itself)),
        Injection::new("inventory of 1 GB", |row| inventory(row, &[], gigabyte)),
        Injection::new("inventory truncated in mid-write", |row| {
            inventory(row, &[], |path| put(path, &text()[..text().len() / 2]))
        }),
        Injection::new("inventory empty", |row| inventory(row, &[], |path| put(path, ""))),
        Injection::new("inventory not UTF-8", |row| {
            inventory(row, &[], |path| put(path, text().replace("alice", "\u{e9}").into_latin_1()));
        }),
        Injection::new("inventory of another account", |row| inventory(row, &[], other_account)),
        Injection::new("configuration removed", |row| configuration(row, remove)),
        Injection::new("configuration replaced by a directory", |row| configuration(row, directory)),
        Injection::new("configuration replaced by a FIFO", |row| configuration(row, fifo)),
        Injection::new("configuration replaced by a link to itself", |row| configuration(row, link_to_itself)),
        Injection::new("configuration of 1 GB", |row| configuration(row, gigabyte)),
        Injection::new("configuration truncated in mid-write", |row| {
            configuration(row, |path| put(path, "exemptions: [{user: bob, rea"));
        }),
        Injection::new("configuration not UTF-8", |row| {
            configuration(row, |path| put(path, b"# \xe9\n"));
        }),
        Injection::new("disk full while `check` writes", |row| output(row, |check| in_namespace(check, SMALL_DISK))),
        Injection::new("file system read-only while `check` writes", |row| {
            output(row, |check| in_namespace(check, READ_ONLY))
        }),
        Injection::new("limit of file sizes while `check` writes", |row| {
            output(row, |check| check.wrapped(&[], SIZE_LIMIT))
        }),
        Injection::new("two `check` at once write the same file", two_writers),
    ]
}

trait Latin1 {
    fn into_latin_1(self) -> Vec<u8>;
}

impl Latin1 for String {
    fn into_latin_1(self) -> Vec<u8> {
        self.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
    }
}

// --- what can be in the place of a file --------------------------------------------------------------------------

fn remove(path: &Path) {
    if path.is_dir() { fs::remove_dir(path).unwrap() } else { fs::remove_file(path).unwrap() }
}

/// Makes something, and puts it there in one step: at no time is there nothing.
fn replace(path: &Path, make: impl FnOnce(&Path)) {
    let new = path.with_extension("new");
    make(&new);
    if path.symlink_metadata().is_err() {
        fs::rename(new, path).unwrap();
        return;
    }
    renameat_with(CWD, &new, CWD, path, RenameFlags::EXCHANGE).unwrap();
    remove(&new);
}

fn directory(path: &Path) {
    replace(path, |new| fs::create_dir(new).unwrap());
}

fn fifo(path: &Path) {
    replace(path, |new| assert!(Command::new("mkfifo").arg(new).status().unwrap().success()));
}

fn link_to_itself(path: &Path) {
    replace(path, |new| symlink(path.file_name().unwrap(), new).unwrap());
}

fn gigabyte(path: &Path) {
    replace(path, |new| fs::File::create(new).unwrap().set_len(1 << 30).unwrap());
}

fn other_account(path: &Path) {
    put(path, Account { id: "999999999999".into(), ..Account::of_size(1) }.inventory().to_string());
}

/// The same at any time: dates in it are relative to the first call.
fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| Account::example().inventory().to_string());
    &TEXT
}

/// Puts a file there, whatever is there now.
fn put(path: &Path, content: impl AsRef<[u8]>) {
    replace(path, |new| fs::write(new, content).unwrap());
}

/// Fails if the peak of memory has grown by more than the row allows.
#[track_caller]
fn assert_growth(row: &Row, exporter: &Exporter, before: u64) {
    let grown = peak_memory(exporter) - before;
    assert!(grown <= row.memory_limit(), "the peak of memory grew by {grown} KiB");
}

// --- the inventory ------------------------------------------------------------------------------------------------

/// The fault is there from the start, and after a first check.
fn inventory(row: &Row, flags: &[&str], inject: fn(&Path)) {
    for from_the_start in [true, false] {
        if from_the_start && row.says("after a first check only") {
            continue;
        }
        let common = ["serve", "--input.inventory=i.json", "--check.interval=300ms"];
        let command = cli(common).args(flags).file("i.json", text());
        let path = command.home().join("i.json");
        if from_the_start {
            inject(&path);
        }
        let exporter = command.serve();
        let before = (!from_the_start).then(|| exporter.wait_for_success());
        let memory = peak_memory(&exporter);
        if !from_the_start {
            inject(&path);
        }
        observe(row, &exporter, before.as_ref());
        if !from_the_start {
            assert_growth(row, &exporter, memory);
        }
        let failed = exporter.metrics().sum("iam_key_exporter_check_failures_total");
        put(&path, text());
        assert!(row.says("next check"));
        let after = exporter.wait_for_success();
        let failed = after.sum("iam_key_exporter_check_failures_total") - failed;
        assert!(failed <= 1.0, "{failed} checks failed after the end of the fault: {}", exporter.log());
        assert!(before.is_none_or(|before| before.inventory() == after.inventory()), "{}", after.without_help());
    }
}

fn observe(row: &Row, exporter: &Exporter, before: Option<&Metrics>) {
    let account = if before.is_some() { ACCOUNT } else { "unknown" };
    let reason = row.value("reason ").expect("a reason");
    let series = format!("iam_key_exporter_check_failures_total{{account_id=\"{account}\",reason=\"{reason}\"}}");
    let failed = |number| {
        let enough = |m: &Metrics| m.value(&series) >= Some(number);
        wait_for(&format!("failed checks: {}", exporter.log()), || Some(exporter.metrics()).filter(enough))
    };
    let (first, last) = (failed(1.0), failed(3.0));
    row.samples().iter().for_each(|sample| sample.assert(account, before, &last));
    assert!(row.says("data unchanged"));
    let users =
        |m: &Metrics| m.of("aws_iam_").lines().filter(|l| l.contains(ACCOUNT)).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(users(&last), before.map(users).unwrap_or_default());
    for dates in ["iam_key_exporter_account_facts_timestamp", "iam_key_exporter_account_last_success_timestamp"] {
        assert_eq!(last.of(dates), first.of(dates), "dates stand still");
    }
    assert_eq!(exporter.get("/readyz").status, if before.is_some() { 200 } else { 503 });
    for texts in row.log() {
        let lines = |log: String| log.lines().filter(|line| texts.iter().all(|text| line.contains(text))).count();
        assert_eq!(lines(exporter.log()), 1, "{texts:?}: once a change\n{}", exporter.log());
    }
}

// --- the configuration --------------------------------------------------------------------------------------------

/// `bob` and `team.lead` violate the policy.
const VIOLATIONS: &str = r#"aws_iam_access_key_violations{account_id="123456789012",rule="multiple_active_keys"}"#;

fn exempting(user: &str) -> String {
    format!("exemptions: [{{user: {user}, reason: r, expires: 2099-01-01}}]\n")
}

fn serving_with_configuration() -> Cli {
    let flags = ["serve", "--check.interval=1h", "--input.inventory=i.json", "--config.file=c.yaml"];
    cli(flags).file("i.json", text()).file("c.yaml", exempting("bob"))
}

/// The fault is there at the start, and at a reload.
fn configuration(row: &Row, inject: fn(&Path)) {
    let (Some(reload), Some(start)) = (row.log().first(), row.log().get(1)) else {
        panic!("the log of a reload and of a start")
    };
    let command = serving_with_configuration();
    inject(&command.home().join("c.yaml"));
    let refused = command.arg("--web.listen-address=127.0.0.1:0").spawn();
    let (status, _) = refused.wait_for_end();
    assert_eq!(row.value("exit code at the start "), Some(&*status.code().unwrap().to_string()), "{}", refused.log());
    assert!(start.iter().all(|text| refused.log().contains(text)), "{start:?}: {}", refused.log());
    drop(refused);

    let exporter = serving_with_configuration().serve();
    let before = exporter.wait_for_success();
    let path = exporter.home().join("c.yaml");
    let memory = peak_memory(&exporter);
    inject(&path);
    exporter.signal("HUP");
    wait_until("the reload", || exporter.logged("configuration not reloaded") == 1);
    let log = exporter.log();
    assert!(log.lines().any(|line| reload.iter().all(|text| line.contains(text))), "{reload:?}: {log}");
    let now = exporter.metrics();
    row.samples().iter().for_each(|sample| sample.assert(ACCOUNT, Some(&before), &now));
    assert!(row.says("policy unchanged"));
    assert_eq!((before.value(VIOLATIONS), now.value(VIOLATIONS)), (Some(1.0), Some(1.0)));
    assert_eq!(before.inventory(), now.inventory());
    assert_eq!(before.value(RELOADED_AT), now.value(RELOADED_AT), "the time of the last success");
    assert_growth(row, &exporter, memory);
    put(&path, "");
    exporter.signal("HUP");
    assert!(row.says("next reload"));
    exporter.wait_for_sample(RELOADED, 1.0);
    exporter.wait_for_sample(VIOLATIONS, 2.0);
}

// --- the file that `check` writes ---------------------------------------------------------------------------------

/// They print the directory and the file afterwards: what is mounted is gone with the command.
const SMALL_DISK: &str = r#"mount -t tmpfs -o size=64k tmpfs out; echo previous >out/result
    "$@" || code=$?; ls -A out; cat out/result; exit $code"#;
const READ_ONLY: &str = r#"mount -t tmpfs -o size=4m tmpfs out; echo previous >out/result; mount -o remount,ro out
    "$@" || code=$?; ls -A out; cat out/result; exit $code"#;
/// In blocks of 512 bytes.
const SIZE_LIMIT: &str = r#"echo previous >out/result
    (ulimit -f 16 && exec "$@") || code=$?; ls -A out; cat out/result; exit $code"#;

/// Root has a mount namespace of its own for the asking.
pub fn in_namespace(check: Cli, script: &str) -> Cli {
    let is_root = rustix::process::geteuid().is_root();
    let with = if is_root { &["unshare", "--mount"][..] } else { &["sudo", "-n", "unshare", "--mount"] };
    check.wrapped(with, script)
}

fn output(row: &Row, wrap: fn(Cli) -> Cli) {
    for form in ["csv", "json", "prometheus"] {
        let flags = ["check", "--input.inventory=i.json", "--output-file=out/result", "--metrics.users=all"];
        let command = cli(flags).arg(format!("--output={form}"));
        let inventory = Account::of_size(4000).inventory().to_string();
        let mut command = wrap(command.file("i.json", inventory).file("out/.keep", ""));
        let ran = command.run();
        assert_eq!(row.value("exit code "), Some(&*ran.code().to_string()), "{form}: {}", ran.stderr());
        assert!(row.says("previous file unchanged"));
        assert_eq!(ran.stdout().replace(".keep\n", ""), "result\nprevious\n", "{form}");
        for texts in row.log() {
            assert!(texts.iter().all(|text| ran.stderr().contains(text)), "{texts:?}: {}", ran.stderr());
        }
        assert!(row.says("next run"));
        cli(flags).file("i.json", text()).file("out/result", "previous\n").run().expect(1);
    }
}

/// A reader finds one of the two results at any time, whole.
fn two_writers(row: &Row) {
    let home = cli(["check"]).file("result", "");
    let path = home.home().join("result");
    let results = [50, 3000].map(|users| {
        let mut command = cli(["check", "--input.inventory=i.json", "--output=csv"]);
        command = command.file("i.json", Account::of_size(users).inventory().to_string());
        let expected = command.run().expect(0).stdout();
        (command.arg(format!("--output-file={}", path.display())), expected)
    });
    let (mut commands, expected): (Vec<Cli>, Vec<String>) = results.into_iter().unzip();
    commands[0].run().expect(0);
    let done = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for command in &mut commands {
            scope.spawn(|| {
                for _ in 0..10 {
                    let ran = command.run().expect(0);
                    assert_eq!(ran.stderr(), "", "nothing is logged");
                }
                done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            });
        }
        wait_until("both writers", || {
            let found = fs::read_to_string(&path).unwrap();
            assert!(expected.contains(&found), "a part of a result: {} bytes", found.len());
            done.load(std::sync::atomic::Ordering::Relaxed) == 2
        });
    });
    assert!(row.says("exit codes as of one alone") && row.says("the file is always one whole result"));
    assert!(row.says("not needed"));
    let left: Vec<_> = fs::read_dir(home.home()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["result"], "no temporary file is left");
}
