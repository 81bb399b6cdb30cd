//! Faults of the process and of the machine: signals at every stage of a check, clocks, limits, a second instance.

use super::scenario::assert_memory;
use super::{Injection, Row};
use crate::common::{Account, FakeIam, Fault, Member, On, Organization, Report, now};
use crate::exporter::{Exporter, cli, unused_port, wait_for, wait_until};
use crate::http;
use crate::metrics::Metrics;
use jiff::SignedDuration;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const ACCOUNT: &str = "123456789012";
const MEMBER: &str = "222222222222";
/// `bob` and `team.lead` are in violation.
const VIOLATIONS: &str = r#"aws_iam_access_key_violations{account_id="123456789012",rule="multiple_active_keys"}"#;
const MEMBER_VIOLATIONS: &str =
    r#"aws_iam_access_key_violations{account_id="222222222222",rule="multiple_active_keys"}"#;
const UP: &str = r#"iam_key_exporter_account_up{account_id="123456789012"}"#;

/// The injections of the section "Process".
pub fn injections() -> Vec<Injection> {
    vec![
        Injection::new("SIGTERM while the configuration is read", terminate_at_start),
        Injection::new("SIGTERM while accounts are listed", |row| terminate(row, &DISCOVERY)),
        Injection::new("SIGTERM while a role is assumed", |row| terminate(row, &ASSUMING)),
        Injection::new("SIGTERM while the account is identified", |row| terminate(row, &IDENTIFYING)),
        Injection::new("SIGTERM while users are listed", |row| terminate(row, &LISTING)),
        Injection::new("SIGTERM while keys are read", |row| terminate(row, &READING_KEYS)),
        Injection::new("SIGTERM while a report is waited for", |row| terminate(row, &REPORT)),
        Injection::new("SIGTERM while a file is waited for", |row| terminate(row, &FILE)),
        Injection::new("SIGTERM while publishing", |row| terminate(row, &PUBLISHING)),
        Injection::new("SIGTERM in the pause after a failure", |row| terminate(row, &RETRY_PAUSE)),
        Injection::new("SIGHUP while the configuration is read", hangup_at_start),
        Injection::new("SIGHUP while accounts are listed", |row| hangup(row, &DISCOVERY)),
        Injection::new("SIGHUP while a role is assumed", |row| hangup(row, &ASSUMING)),
        Injection::new("SIGHUP while the account is identified", |row| hangup(row, &IDENTIFYING)),
        Injection::new("SIGHUP while users are listed", |row| hangup(row, &LISTING)),
        Injection::new("SIGHUP while keys are read", |row| hangup(row, &READING_KEYS)),
        Injection::new("SIGHUP while a report is waited for", |row| hangup(row, &REPORT)),
        Injection::new("SIGHUP while a file is waited for", |row| hangup(row, &FILE)),
        Injection::new("SIGHUP while publishing", |row| hangup(row, &PUBLISHING)),
        Injection::new("SIGHUP in the pause after a failure", |row| hangup(row, &RETRY_PAUSE)),
        Injection::new("clock set forward by 2 hours", |row| clock(row, &["+7200", "+0"])),
        Injection::new("clock set back by 2 hours", |row| clock(row, &["-7200", "+0"])),
        Injection::new("clock set forward by 30 years", |row| clock(row, &["+946080000", "+0"])),
        Injection::new("clock set from 1973 to now during a check", |row| clock(row, &["-1700000000", QUEUE, "+0"])),
        Injection::new("no free descriptors for requests", descriptors_of_requests),
        Injection::new("no free descriptors for files", descriptors_of_files),
        Injection::new("memory limit of the control group", |row| memory(row, in_control_group)),
        Injection::new("limit of the address space", |row| memory(row, in_address_space)),
        Injection::new("read-only file system", read_only),
        Injection::new("log on a full disk", log_on_a_full_disk),
        Injection::new("second instance on the same address", second_instance),
    ]
}

// --- signals ------------------------------------------------------------------------------------------------------

/// A moment at which a signal arrives.
struct Stage {
    flags: &'static [&'static str],
    config: &'static str,
    /// Keeps the exporter at the stage.
    hold: fn(&World),
    reached: fn(&World, &Exporter) -> bool,
    release: fn(&World),
}

struct World {
    iam: FakeIam,
    home: PathBuf,
}

const STAGE: Stage = Stage {
    flags: &["--check.timeout=2s"],
    config: "",
    hold: |_| {},
    reached: |_, _| true,
    release: |world| world.iam.heal(),
};

fn calls(operation: &'static str) -> On {
    On::operation(operation)
}

const DISCOVERY: Stage = Stage {
    config: "organization: { role_name: iam-key-exporter, refresh_interval: 1s }\n",
    hold: |world| world.iam.fail(calls("ListAccounts"), Fault::Hang),
    reached: |world, _| world.iam.calls_of("ListAccounts") > 0,
    ..STAGE
};
const ASSUMING: Stage = Stage {
    config: "accounts: [{ self: true }, { role_arn: 'arn:aws:iam::222222222222:role/iam-key-exporter' }]\n",
    hold: |world| world.iam.fail(calls("AssumeRole"), Fault::Hang),
    reached: |world, _| world.iam.calls_of("AssumeRole") > 0,
    ..STAGE
};
const IDENTIFYING: Stage = Stage {
    hold: |world| world.iam.fail(calls("GetCallerIdentity"), Fault::Hang),
    reached: |world, _| world.iam.calls_of("GetCallerIdentity") > 0,
    ..STAGE
};
const LISTING: Stage = Stage {
    hold: |world| world.iam.fail(calls("ListUsers"), Fault::Hang),
    reached: |world, _| world.iam.calls_of("ListUsers") > 0,
    ..STAGE
};
const READING_KEYS: Stage = Stage {
    hold: |world| world.iam.fail(calls("ListAccessKeys"), Fault::Hang),
    reached: |world, _| world.iam.calls_of("ListAccessKeys") > 0,
    ..STAGE
};
const REPORT: Stage = Stage {
    flags: &["--check.timeout=2s", "--collector=report"],
    hold: |world| world.iam.set_report(Report::Never),
    reached: |world, _| world.iam.calls_of("GenerateCredentialReport") > 0,
    release: |world| world.iam.set_report(Report::Fresh { age: SignedDuration::ZERO }),
    ..STAGE
};
const FILE: Stage = Stage {
    flags: &["--check.timeout=2s", "--input.inventory=i.json"],
    hold: |world| assert!(Command::new("mkfifo").arg(world.home.join("i.json")).status().unwrap().success()),
    reached: |world, _| nonblocking_writer(&world.home.join("i.json")).is_ok(),
    release: |world| {
        let new = world.home.join("new.json");
        fs::write(&new, Account::example().inventory().to_string()).unwrap();
        fs::rename(new, world.home.join("i.json")).unwrap();
    },
    ..STAGE
};
/// Checks and publishes all the time.
const PUBLISHING: Stage = Stage {
    flags: &["--check.interval=1ms", "--input.inventory=i.json", "--metrics.users=all"],
    hold: |world| {
        let mut account = Account::of_size(2000);
        account.users.extend(Account::example().users);
        fs::write(world.home.join("i.json"), account.inventory().to_string()).unwrap();
    },
    reached: |_, exporter| exporter.metrics().sum("iam_key_exporter_checks_total") >= 3.0,
    ..STAGE
};
/// The pause of 5 seconds has begun when the failure is logged.
const RETRY_PAUSE: Stage = Stage {
    flags: &["--check.interval=1h"],
    hold: |world| world.iam.fail(On::EVERYTHING, Fault::ACCESS_DENIED),
    reached: |_, exporter| exporter.logged("check failed") > 0,
    ..STAGE
};

impl Stage {
    fn begin(&self) -> (World, Exporter) {
        let organization = Organization::new([Member::new(MEMBER, Account::of_size(3))]);
        let iam = FakeIam::start(Account::example()).organization(organization);
        let flags = ["serve", "--config.file=c.yaml", "--sweep.max-requests-per-second=0"];
        let mut command = cli(flags).aws(&iam).file("c.yaml", self.config).args(self.flags);
        if !self.flags.iter().any(|flag| flag.starts_with("--check.interval")) {
            command = command.arg("--check.interval=500ms");
        }
        if !self.flags.iter().any(|flag| flag.starts_with("--collector") || flag.starts_with("--input")) {
            command = command.arg("--collector=live");
        }
        let world = World { home: command.home().to_owned(), iam };
        (self.hold)(&world);
        let exporter = command.serve();
        wait_until("the stage", || (self.reached)(&world, &exporter));
        (world, exporter)
    }
}

fn nonblocking_writer(path: &Path) -> std::io::Result<fs::File> {
    fs::File::options().write(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed()).open(path)
}

fn terminate(row: &Row, stage: &Stage) {
    let (_world, exporter) = stage.begin();
    exporter.signal("TERM");
    ends_in_good_order(row, &exporter);
    assert!(http::try_request(exporter.address(), "GET", "/livez", &[]).is_err(), "the port is closed");
}

fn ends_in_good_order(row: &Row, exporter: &Exporter) {
    let (status, took) = exporter.wait_for_end();
    assert_eq!(row.value("exit code "), Some(&*status.code().unwrap_or(-1).to_string()), "{}", exporter.log());
    let seconds = row.value("within ").and_then(|text| text.strip_suffix(" seconds")?.parse().ok()).unwrap();
    assert!(took < Duration::from_secs(seconds), "it took {took:?}");
    for texts in row.log() {
        assert!(texts.iter().all(|text| exporter.log().contains(text)), "{texts:?}: {}", exporter.log());
    }
    assert!(!row.log().is_empty() || is_quiet(exporter), "{}", exporter.log());
    assert!(!exporter.log().contains("panicked"), "{}", exporter.log());
    // A supervisor starts it again, and there is nothing to clean up.
    assert!(row.says("restart"));
    let before: Vec<_> = fs::read_dir(exporter.home()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        before.iter().all(|name| ["c.yaml", "i.json"].map(|n| name == n).contains(&true)),
        "left behind: {before:?}"
    );
}

fn is_quiet(exporter: &Exporter) -> bool {
    [" WARN ", " ERROR ", "panicked"].iter().all(|text| exporter.logged(text) == 0)
}

fn terminate_at_start(row: &Row) {
    let (exporter, _writer) = starting();
    exporter.signal("TERM");
    ends_in_good_order(row, &exporter);
}

/// Its configuration is a FIFO, and there is nothing in it yet.
fn starting() -> (Exporter, fs::File) {
    let flags = ["serve", "--check.interval=1h", "--input.inventory=i.json", "--config.file=c.yaml"];
    let command = cli(flags).file("i.json", Account::example().inventory().to_string());
    let path = command.home().join("c.yaml");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let exporter = command.arg("--web.listen-address=127.0.0.1:0").spawn();
    let writer = wait_for("the file to be opened", || nonblocking_writer(&path).ok());
    (exporter, writer)
}

const EXEMPTION: &str = "exemptions: [{user: bob, reason: r, expires: 2099-01-01}]\n";

/// The new policy applies to the next data, and nothing is lost.
fn hangup(row: &Row, stage: &Stage) {
    let (world, exporter) = stage.begin();
    fs::write(world.home.join("c.yaml"), format!("{}{EXEMPTION}", stage.config)).unwrap();
    exporter.signal("HUP");
    for texts in row.log() {
        let lines = || exporter.log().lines().filter(|l| texts.iter().all(|t| l.contains(t))).count();
        wait_until(&format!("{texts:?}\n{}", exporter.log()), || lines() == 1 || exporter.has_ended());
    }
    assert!(!exporter.has_ended(), "{}", exporter.log());
    (stage.release)(&world);
    let failed = failures(&exporter.metrics());
    assert!(row.says("next check"));
    let metrics = wait_for(&format!("data\n{}", exporter.log()), || {
        let metrics = exporter.metrics();
        let violations = metrics.value(VIOLATIONS);
        assert!(violations.is_none_or(|v| v == 1.0 || v == 2.0), "{}", metrics.without_help());
        (violations == Some(1.0) && metrics.value(UP) == Some(1.0)).then_some(metrics)
    });
    row.samples().iter().for_each(|sample| sample.assert(ACCOUNT, None, &metrics));
    assert_next_check(&exporter, failed);
    assert_memory(row, &exporter);
    assert!(!exporter.log().contains("panicked"), "{}", exporter.log());
}

fn failures(metrics: &Metrics) -> f64 {
    metrics.sum("iam_key_exporter_check_failures_total")
}

/// Since there were so many failures, at most one more check has failed: that under way when the fault ended.
#[track_caller]
fn assert_next_check(exporter: &Exporter, failed: f64) {
    let failed = failures(&exporter.metrics()) - failed;
    assert!(failed <= 1.0, "{failed} checks failed after the end of the fault: {}", exporter.log());
}

fn hangup_at_start(row: &Row) {
    let (exporter, mut start) = starting();
    exporter.signal("HUP");
    // The start reads the FIFO, the reload what has replaced it.
    fs::rename(exporter.home().join("c.yaml"), exporter.home().join("fifo")).unwrap();
    fs::write(exporter.home().join("c.yaml"), EXEMPTION).unwrap();
    start.write_all(b"{}\n").unwrap();
    drop(start);
    for texts in row.log() {
        wait_until("the log", || texts.iter().all(|t| exporter.log().contains(t)) || exporter.has_ended());
    }
    assert!(!exporter.has_ended(), "{}", exporter.log());
    assert!(row.says("next check"));
    let metrics = exporter.wait_for_sample(VIOLATIONS, 1.0);
    row.samples().iter().for_each(|sample| sample.assert(ACCOUNT, None, &metrics));
}

// --- the clock ----------------------------------------------------------------------------------------------------

/// The library that gives a process another clock; its directory contains the name of the architecture.
fn libfaketime() -> String {
    let printed = Command::new("faketime").args(["-f", "+0", "sh", "-c", "echo $LD_PRELOAD"]).output();
    let printed = printed.expect("faketime is installed: run scripts/prerequisites");
    String::from_utf8(printed.stdout).unwrap().trim().to_owned()
}

/// From here on the clock jumps while requests wait for their turn.
const QUEUE: &str = "queue";

/// An own account, and a member whose session has an end. The clock jumps to each of these offsets in turn.
fn clock(row: &Row, jumps: &[&str]) {
    let mut member = Account::example();
    member.remove("bob");
    let iam = FakeIam::start(Account::example()).organization(Organization::new([Member::new(MEMBER, member)]));
    let config = "accounts: [{ self: true }, { role_arn: 'arn:aws:iam::222222222222:role/iam-key-exporter' }]\n";
    let flags = [
        "serve",
        "--config.file=c.yaml",
        "--collector=live",
        "--check.interval=500ms",
        "--sweep.max-requests-per-second=0",
    ];
    let command = cli(flags).aws(&iam).file("c.yaml", config).file("clock", "+0");
    let file = command.home().join("clock");
    let set = |offset: &str| {
        let new = file.with_extension("new");
        fs::write(&new, offset).unwrap();
        fs::rename(new, &file).unwrap();
    };
    let exporter = command
        .env("LD_PRELOAD", libfaketime())
        .env("FAKETIME_TIMESTAMP_FILE", &file)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("NO_FAKE_STAT", "1")
        .env("IAM_KEY_EXPORTER_AWS_MAX_REQUESTS_PER_SECOND", if jumps.contains(&QUEUE) { "4" } else { "5000" })
        .serve();
    let complete = |m: &Metrics| m.value(VIOLATIONS) == Some(2.0) && m.value(MEMBER_VIOLATIONS) == Some(1.0);
    let before = wait_for("good data", || Some(exporter.metrics()).filter(complete));
    for offset in jumps {
        if *offset == QUEUE {
            iam.forget_calls();
            wait_until("some of the requests", || iam.calls_of("ListAccessKeys") >= 3);
            continue;
        }
        set(offset);
        let seconds: f64 = offset.parse().unwrap();
        let expected = now().as_second() as f64 + seconds;
        for account in [ACCOUNT, MEMBER] {
            let series = format!("iam_key_exporter_account_last_success_timestamp_seconds{{account_id=\"{account}\"}}");
            assert!(row.says("times follow the clock") && row.says("next check"));
            wait_for(&format!("a check of {account} at {offset}\n{}", exporter.log()), || {
                let now = exporter.metrics();
                assert!(complete(&now), "{offset}: {}", now.without_help());
                now.value(&series).filter(|at| (at - expected).abs() < 600.0)
            });
        }
        // From then on, checks go on.
        assert!(row.says("checks continue"));
        let checks =
            |m: &Metrics| m.sum("iam_key_exporter_checks_total") - m.sum("iam_key_exporter_check_failures_total");
        let start = checks(&exporter.metrics());
        let failed = failures(&exporter.metrics());
        let after = wait_for(&format!("checks at {offset}\n{}", exporter.log()), || {
            let now = exporter.metrics();
            assert!(complete(&now), "{offset}: {}", now.without_help());
            Some(now).filter(|now| checks(now) >= start + 4.0)
        });
        assert_next_check(&exporter, failed);
        if *offset == "+0" {
            assert!(row.says("data unchanged"));
            assert_eq!(after.inventory(), before.inventory());
            row.samples().iter().for_each(|sample| sample.assert(ACCOUNT, Some(&before), &after));
        }
    }
    for texts in row.log() {
        assert!(texts.iter().all(|text| exporter.log().contains(text)), "{texts:?}: {}", exporter.log());
    }
    assert_memory(row, &exporter);
    assert!(!exporter.has_ended() && !exporter.log().contains("panicked"), "{}", exporter.log());
}

// --- limits -------------------------------------------------------------------------------------------------------

/// A connection that stays: without descriptors no other one is accepted.
struct Kept(TcpStream);

impl Kept {
    fn metrics(&mut self) -> Metrics {
        self.0.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: identity\r\n\r\n").unwrap();
        let (mut received, mut chunk) = (Vec::new(), [0; 1 << 16]);
        loop {
            let n = self.0.read(&mut chunk).unwrap();
            assert!(n > 0, "the connection was closed");
            received.extend_from_slice(&chunk[..n]);
            let text = String::from_utf8_lossy(&received);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length: Option<usize> =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let whole = match length {
                Some(length) => (body.len() == length).then(|| body.to_owned()),
                None => body.ends_with("\r\n0\r\n\r\n").then(|| unchunked(body)),
            };
            if let Some(body) = whole {
                return Metrics::new(body);
            }
        }
    }
}

fn unchunked(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        text.push_str(&rest[..size]);
        body = rest.get(size + 2..).unwrap_or_default();
    }
    text
}

/// No descriptor is free, from now on or no longer.
fn set_descriptors(exporter: &Exporter, limit: u64) {
    let pid = Pid::from_raw(exporter.pid()).unwrap();
    let maximum = getrlimit(Resource::Nofile).maximum;
    prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(limit), maximum }).unwrap();
}

fn descriptors_of_requests(row: &Row) {
    let iam = FakeIam::start(Account::example());
    let flags = ["serve", "--collector=live", "--check.interval=300ms", "--sweep.max-requests-per-second=0"];
    let exporter = cli(flags).aws(&iam).serve();
    // Without the connections that it has, it needs new ones.
    without_descriptors(row, &exporter, || iam.fail(On::EVERYTHING, Fault::Close), || iam.heal());
}

fn descriptors_of_files(row: &Row) {
    let flags = ["serve", "--input.inventory=i.json", "--config.file=c.yaml", "--check.interval=300ms"];
    let inventory = Account::example().inventory().to_string();
    let exporter = cli(flags).file("i.json", inventory).file("c.yaml", "").serve();
    without_descriptors(row, &exporter, || exporter.signal("HUP"), || {});
}

fn without_descriptors(row: &Row, exporter: &Exporter, inject: impl Fn(), injected: impl Fn()) {
    let before = exporter.wait_for_success();
    let mut kept = Kept(http::connect(exporter.address()).unwrap());
    kept.metrics();
    set_descriptors(exporter, 5);
    inject();
    let reason = row.value("reason ").unwrap();
    let series = format!("iam_key_exporter_check_failures_total{{account_id=\"{ACCOUNT}\",reason=\"{reason}\"}}");
    let mut failed_checks = |number| {
        wait_for(&format!("failed checks: {}", exporter.log()), || {
            Some(kept.metrics()).filter(|m| m.value(&series) >= Some(number))
        })
    };
    failed_checks(3.0);
    injected();
    let failed = failed_checks(6.0);
    for texts in row.log() {
        let lines = exporter.log().lines().filter(|l| texts.iter().all(|t| l.contains(t))).count();
        assert_eq!(lines, 1, "{texts:?}: once\n{}", exporter.log());
    }
    row.samples().iter().for_each(|sample| sample.assert(ACCOUNT, Some(&before), &failed));
    assert!(row.says("data unchanged"));
    assert_eq!(failed.inventory(), before.inventory());
    set_descriptors(exporter, 1024);
    let failed = failures(&kept.metrics());
    assert!(row.says("next check"));
    let after = exporter.wait_for_success();
    assert_next_check(exporter, failed);
    assert_memory(row, exporter);
    assert_eq!(after.inventory(), before.inventory());
    assert!(!exporter.log().contains("panicked"), "{}", exporter.log());
}

/// The limit of a control group in MiB: of version 2 or 1, whichever this machine has. `None` if it may not be made.
fn in_control_group(mib: u64) -> Option<(Wrap, Group)> {
    static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = format!("iam-key-exporter-test-{}-{number}", std::process::id());
    let roots = [("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")];
    let group = roots.into_iter().find_map(|(root, file)| {
        // The place of version 2 can be a directory of version 1's hierarchies.
        let has_memory = |list: String| list.split_whitespace().any(|controller| controller == "memory");
        if file == "memory.max" && !fs::read_to_string(format!("{root}/cgroup.subtree_control")).is_ok_and(has_memory) {
            return None;
        }
        let directory = Path::new(root).join(&name);
        fs::create_dir(&directory).ok()?;
        let group = Group(directory);
        fs::write(group.0.join(file), (mib << 20).to_string()).is_ok().then_some(group)
    })?;
    // Otherwise memory goes to swap space.
    let _ = fs::write(group.0.join("memory.swap.max"), "0");
    let script = format!(r#"echo $$ >"{}/cgroup.procs"; exec "$@""#, group.0.display());
    Some((script, group))
}

type Wrap = String;

/// A control group, which is removed in the end.
struct Group(PathBuf);

impl Drop for Group {
    fn drop(&mut self) {
        // It is empty as soon as the system has noticed that the process is gone.
        if self.0 != Path::new("") {
            wait_until("the control group to be empty", || fs::remove_dir(&self.0).is_ok());
        }
    }
}

/// Allocations beyond it fail, which ends the process.
fn in_address_space(mib: u64) -> Option<(Wrap, Group)> {
    // Most of the address space is reserved, not used.
    Some((format!(r#"ulimit -v {}; exec "$@""#, mib * 8 * 1024), Group(PathBuf::new())))
}

/// An account that is as large as an account can be, with ever more memory: what is served is complete.
fn memory(row: &Row, limited: fn(u64) -> Option<(Wrap, Group)>) {
    const USERS: usize = 5000;
    let mut account = Account::of_size(USERS - 7);
    account.users.extend(Account::example().users);
    let inventory = account.inventory().to_string();
    assert!(row.says("complete data or none") && row.says("restart"));
    let (mut killed, mut complete) = (0, 0);
    for mib in [8, 24, 48, 128] {
        let Some((wrap, group)) = limited(mib) else {
            eprintln!("NOT TESTED: {}: only root may make a control group", row.fault);
            return;
        };
        let flags = ["serve", "--input.inventory=i.json", "--check.interval=100ms", "--metrics.users=all"];
        let command = cli(flags).arg("--web.listen-address=127.0.0.1:0").file("i.json", &inventory);
        let exporter = command.wrapped(&[], &wrap).spawn();
        let served = wait_for("complete data, or the end", || {
            if exporter.has_ended() {
                return Some(false);
            }
            let address = *exporter.addresses().first()?;
            let page = http::try_request(address, "GET", "/metrics", &[]).ok().filter(|r| r.status == 200)?;
            let page = Metrics::new(page.text());
            let users = page.sum("aws_iam_users");
            assert!(
                users == 0.0 && page.value(VIOLATIONS).is_none()
                    || users == USERS as f64 && page.value(VIOLATIONS) == Some(2.0),
                "{mib} MiB: {users}"
            );
            // More than one check.
            (page.sum("iam_key_exporter_checks_total") >= 3.0 && page.value(VIOLATIONS).is_some()).then_some(true)
        });
        assert!(!served || is_quiet(&exporter), "{mib} MiB: {}", exporter.log());
        if served {
            complete += 1
        } else {
            killed += 1
        }
        drop(exporter);
        drop(group);
    }
    assert!(killed > 0, "no limit was reached: the test means nothing");
    assert!(complete > 0, "no limit was high enough: the test means nothing");
}

/// Ends a program that runs as another user, which this one may not send signals to.
struct Stop<'a>(&'a Exporter);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        drop(nonblocking_writer(&self.0.home().join("stop")));
        self.0.wait_for_end();
    }
}

/// Everything that the process can see is read-only.
fn read_only(row: &Row) {
    let iam = FakeIam::start(Account::example());
    let is_root = rustix::process::geteuid().is_root();
    let with = if is_root { &["unshare", "--mount"][..] } else { &["sudo", "-n", "unshare", "--mount"] };
    let script = r#"for at in / /tmp /var /run /dev/shm "$PWD"; do mount -o remount,bind,ro "$at" 2>/dev/null; done
        touch file 2>/dev/null; "$@" & read -r _ <stop; kill $!; wait $!"#;
    let flags =
        ["serve", "--config.file=c.yaml", "--collector=live", "--check.interval=300ms", "--web.enable-lifecycle"];
    let exporter = cli(flags).aws(&iam).file("c.yaml", "").arg("--web.listen-address=127.0.0.1:0");
    assert!(Command::new("mkfifo").arg(exporter.home().join("stop")).status().unwrap().success());
    let exporter = exporter.wrapped(with, script).serve_as_configured();
    let stop = Stop(&exporter);
    let first = exporter.wait_for_success();
    let reload = http::request(exporter.address(), "POST", "/-/reload", &[("Content-Length", "0")]);
    assert_eq!(reload.status, 200, "{}", reload.text());
    for texts in row.log() {
        wait_until(&format!("{texts:?}: {}", exporter.log()), || texts.iter().all(|t| exporter.log().contains(t)));
    }
    let metrics = exporter.wait_for_another_check();
    row.samples().iter().for_each(|sample| sample.assert(ACCOUNT, Some(&first), &metrics));
    assert!(row.says("data as without the fault") && row.says("not needed"));
    assert_eq!(metrics.value(VIOLATIONS), Some(2.0));
    assert!(!exporter.home().join("file").exists(), "the file system can be written to: the test means nothing");
    drop(stop);
    assert_eq!(exporter.logged("stopped"), 1, "{}", exporter.log());
}

/// The limit of file sizes stands for the disk: the log is a file.
fn log_on_a_full_disk(row: &Row) {
    let iam = FakeIam::start(Account::example());
    let flags = ["serve", "--collector=live", "--check.interval=50ms", "--log.level=trace"];
    let address = SocketAddr::from(([127, 0, 0, 1], unused_port()));
    let command = cli(flags).aws(&iam).arg(format!("--web.listen-address={address}"));
    let log = command.home().join("log");
    let exporter = command.wrapped(&[], r#"ulimit -f 1; exec "$@" 2>log"#).spawn();
    let page = || http::try_request(address, "GET", "/metrics", &[]).ok().map(|r| Metrics::new(r.text()));
    // Changes are logged, so that the limit is reached, and the process continues.
    wait_for("checks beyond the limit", || {
        let number = iam.calls_of("ListUsers");
        if number.is_multiple_of(2) {
            iam.heal()
        } else {
            iam.fail(On::operation("ListUsers"), Fault::ACCESS_DENIED)
        }
        assert!(!exporter.has_ended(), "{:?}", exporter.wait_for_end());
        let is_full = fs::metadata(&log).is_ok_and(|m| m.len() >= 512);
        page().filter(|m| is_full && m.sum("iam_key_exporter_checks_total") >= 20.0)
    });
    iam.heal();
    let metrics = wait_for("a check", || page().filter(|m| m.value(UP) == Some(1.0)));
    row.samples().iter().for_each(|sample| sample.assert(ACCOUNT, None, &metrics));
    assert!(row.says("data as without the fault") && row.says("not needed"));
    assert_eq!(metrics.value(VIOLATIONS), Some(2.0));
    assert_memory(row, &exporter);
    let log = fs::read_to_string(&log).unwrap();
    assert!(log.len() <= 1024, "there is no limit: the test means nothing");
    assert!(row.log().iter().flatten().all(|text| log.contains(text)), "{log}");
}

// --- two instances ------------------------------------------------------------------------------------------------

fn second_instance(row: &Row) {
    let iam = FakeIam::start(Account::example());
    let first = crate::exporter::serve(&iam, ["--collector=live"]);
    let before = first.wait_for_success();
    let second =
        cli(["serve", "--collector=live"]).aws(&iam).arg(format!("--web.listen-address={}", first.address())).spawn();
    let (status, _) = second.wait_for_end();
    assert_eq!(row.value("exit code of the second "), Some(&*status.code().unwrap().to_string()), "{}", second.log());
    for texts in row.log() {
        assert!(texts.iter().all(|text| second.log().contains(text)), "{texts:?}: {}", second.log());
    }
    assert!(row.says("data as without the fault") && row.says("not needed"));
    let after = first.wait_for_another_check();
    assert_eq!(after.inventory(), before.inventory());
    row.samples().iter().for_each(|sample| sample.assert(ACCOUNT, Some(&before), &after));
}
