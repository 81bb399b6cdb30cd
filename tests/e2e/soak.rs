//! A long run at speed: checks of several accounts with faults sprinkled in, scrapes, reloads and clients that give up
//! meanwhile. Memory and file descriptors stay flat, and no scrape shows a violation as ended that goes on.
//!
//! `make soak` makes 10,000 checks (`SOAK_CHECKS`) and prints a table; the tests make a few hundred. The faults follow from
//! `SOAK_SEED`.

use crate::common::{Account, FakeIam, Fault, Key, Member, On, Organization, User};
use crate::exporter::{Exporter, cli, wait_until};
use crate::http;
use crate::metrics::Metrics;
use fastrand::Rng;
use std::collections::HashMap;
use std::io::Write;
use std::time::Instant;

/// Beside the own one.
const ACCOUNTS: u64 = 24;
/// The account whose violation never ends.
const STEADY: u64 = 0;
/// How much more the second half of a run may take than the first.
const MOST_MEMORY_KIB: u64 = 4 * 1024;
/// Connections to AWS and of clients come and go.
const MOST_DESCRIPTORS: u64 = 24;

fn id(number: u64) -> String {
    format!("{:012}", 200_000_000_000 + number)
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name}: {e}")))
}

/// A run of the exporter against a fake AWS.
struct Soak {
    iam: FakeIam,
    exporter: Exporter,
    random: Rng,
    /// Checks of each account when it was last scraped. Those of an account begin anew when it was removed meanwhile.
    counted: HashMap<String, u64>,
    checks: u64,
    faults: u64,
    reloads: u64,
    scrapes: u64,
}

/// What the kernel counts of the process.
#[derive(Debug, Clone, Copy, Default)]
struct Usage {
    memory_kib: u64,
    descriptors: u64,
    threads: u64,
}

impl Usage {
    fn of(exporter: &Exporter) -> Usage {
        let directory = format!("/proc/{}", exporter.pid());
        let status = std::fs::read_to_string(format!("{directory}/status")).unwrap();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux has it");
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        let descriptors = std::fs::read_dir(format!("{directory}/fd")).unwrap().count() as u64;
        Usage { memory_kib: number("VmRSS:"), descriptors, threads: number("Threads:") }
    }

    fn most(self, other: Usage) -> Usage {
        Usage {
            memory_kib: self.memory_kib.max(other.memory_kib),
            descriptors: self.descriptors.max(other.descriptors),
            threads: self.threads.max(other.threads),
        }
    }
}

impl Soak {
    fn start(seed: u64) -> Soak {
        let user = |name: &str, keys: &[i64]| User::new(name, keys.iter().map(|days| Key::active(*days)));
        let members = (0..ACCOUNTS).map(|number| {
            let users = [user("eve", &[200, 3]), user("frank", &[5]), user("grace", &[])];
            Member::new(&id(number), Account::new(users))
        });
        let iam = FakeIam::start(Account::example()).organization(Organization::new(members));
        let exporter = cli(["serve", "--config.file=c.yaml", "--check.interval=100ms", "--check.timeout=5s"])
            .aws(&iam)
            .file("c.yaml", configuration(0..ACCOUNTS, 90))
            .serve();
        wait_until("every account", || is_up(&exporter.metrics()));
        let random = Rng::with_seed(seed);
        let (counted, checks, faults, reloads, scrapes) = (HashMap::new(), 0, 0, 0, 0);
        Soak { iam, exporter, random, counted, checks, faults, reloads, scrapes }
    }

    /// Makes something happen, and waits until that many checks have ended since.
    fn step(&mut self, checks: u64) {
        self.iam.heal();
        self.iam.forget_calls();
        for _ in 0..self.random.usize(0..4) {
            self.fault();
        }
        match self.random.u8(0..8) {
            0 | 1 => self.reload(),
            2 | 3 => self.change_users(),
            4 => self.give_up(),
            _ => {}
        }
        let enough = self.checks + checks;
        wait_until("more checks", || {
            self.scrape();
            self.checks >= enough
        });
    }

    /// A fault of a few calls of one account, or of what all accounts share. None is an answer: a user that AWS reports as
    /// deleted is no violation any more.
    fn fault(&mut self) {
        let on = match self.random.u8(0..8) {
            0 => On::operation("GetCallerIdentity"),
            1 => On::assuming(&self.account()),
            2 => On::operation("GetAccountSummary"),
            3 => On::keys_of("eve"),
            4 | 5 => On::operation("ListAccessKeys"),
            _ => On::operation("ListUsers"),
        };
        let on = if self.random.bool() { on.in_account(&self.account()) } else { on };
        let fault = match self.random.u8(0..12) {
            0 => Fault::THROTTLED,
            1 => Fault::ACCESS_DENIED,
            2 => Fault::EXPIRED_TOKEN,
            3 => Fault::SERVICE_FAILURE,
            4 => Fault::BAD_TOKEN,
            5 => Fault::status(503),
            6 => Fault::instead("text/html", "<html>Sign in</html>"),
            7 => Fault::CutAfter("<member>"),
            8 => Fault::instead("text/xml", ""),
            9 => Fault::HalfSent,
            10 => Fault::Close,
            _ => Fault::Hang,
        };
        self.iam.fail_times(self.random.usize(1..12), on, fault);
        self.faults += 1;
    }

    fn account(&mut self) -> String {
        id(self.random.u64(0..ACCOUNTS))
    }

    /// Some of the accounts, with another policy; the steady one among them.
    fn reload(&mut self) {
        let accounts: Vec<u64> = (0..ACCOUNTS).filter(|n| *n == STEADY || self.random.u8(0..8) > 0).collect();
        let text = configuration(accounts, self.random.u16(30..400));
        let path = self.exporter.home().join("c.yaml");
        // Now and then a file that is refused.
        std::fs::write(path, if self.random.u8(0..5) == 0 { "accounts: [" } else { &text }).unwrap();
        self.exporter.signal("HUP");
        self.reloads += 1;
    }

    /// Users come, and go.
    fn change_users(&mut self) {
        let (name, account) = (format!("user-{}", self.random.u8(0..20)), self.account());
        let has_key = self.random.bool();
        self.iam.change_member(&account, |account| {
            if account.users.iter().any(|user| user.name == name) {
                account.remove(&name);
            } else {
                account.users.push(User::new(&name, has_key.then(|| Key::active(1))));
            }
        });
    }

    /// Clients that connect and send nothing, or that do not read what they asked for.
    fn give_up(&self) {
        for request in ["", "GET /metrics HTTP/1.1\r\n", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"] {
            let mut stream = http::connect(self.exporter.address()).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
        }
    }

    /// Plain, or compressed, or the status page; and what must hold whenever it is shown.
    fn scrape(&mut self) {
        let address = self.exporter.address();
        http::request(address, "GET", "/metrics", &[("Accept-Encoding", "gzip")]);
        http::get(address, "/");
        let metrics = self.exporter.metrics();
        let violations =
            format!("aws_iam_access_key_violations{{account_id=\"{}\",rule=\"multiple_active_keys\"}}", id(STEADY));
        // Not known while a new user was never read.
        assert!(metrics.value(&violations).is_none_or(|users| users == 1.0), "{}", metrics.without_help());
        self.count(&metrics);
        self.scrapes += 2;
    }

    fn count(&mut self, metrics: &Metrics) {
        let family = metrics.of("iam_key_exporter_checks_total");
        for (account, ended) in family.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.rsplit_once(' ')) {
            let ended = ended.parse().unwrap();
            let before = self.counted.insert(account.to_owned(), ended).unwrap_or_default();
            self.checks += if ended < before { ended } else { ended - before };
        }
    }

    /// Without faults and load.
    fn rest(&mut self) -> Usage {
        self.iam.heal();
        std::fs::write(self.exporter.home().join("c.yaml"), configuration(0..ACCOUNTS, 90)).unwrap();
        self.exporter.signal("HUP");
        wait_until("every account to recover", || is_up(&self.exporter.metrics()));
        Usage::of(&self.exporter)
    }
}

/// Whether the last check of every account succeeded.
fn is_up(metrics: &Metrics) -> bool {
    let up = |number| format!("iam_key_exporter_account_up{{account_id=\"{}\"}}", id(number));
    (0..ACCOUNTS).all(|number| metrics.value(&up(number)) == Some(1.0))
}

/// These accounts, with roles, and the age that keys may have.
fn configuration(accounts: impl IntoIterator<Item = u64>, days: u16) -> String {
    let role = |number| format!("- role_arn: arn:aws:iam::{}:role/iam-key-exporter\n", id(number));
    let accounts: String = accounts.into_iter().map(role).collect();
    format!("accounts:\n- self: true\n{accounts}policy: {{ key_age: {{ max_age: {days}d }} }}\n")
}

#[test]
fn memory_and_descriptors_stay_flat() {
    let (checks, seed) = (setting("SOAK_CHECKS", 500), setting("SOAK_SEED", 1));
    let mut soak = Soak::start(seed);
    let started = Instant::now();
    // The first part fills caches and pools; what follows is compared half by half.
    let warm = checks / 5;
    let step = (checks / 100).clamp(10, 50);
    let mut halves = [Usage::default(); 2];
    let mut next_row = 0;
    println!("{:>8} {:>8} {:>12} {:>12} {:>8}", "checks", "seconds", "memory KiB", "descriptors", "threads");
    while soak.checks < checks {
        soak.step(step);
        let usage = Usage::of(&soak.exporter);
        if soak.checks >= warm {
            let half = usize::from(soak.checks > warm + (checks - warm) / 2);
            halves[half] = halves[half].most(usage);
        }
        if soak.checks >= next_row {
            let Usage { memory_kib, descriptors, threads } = usage;
            let seconds = started.elapsed().as_secs();
            println!("{:>8} {seconds:>8} {memory_kib:>12} {descriptors:>12} {threads:>8}", soak.checks);
            next_row += checks / 10;
        }
    }
    let Soak { faults, reloads, scrapes, .. } = soak;
    let failures = soak.exporter.metrics().sum("iam_key_exporter_check_failures_total");
    println!("seed {seed}: {faults} faults, {failures} failed checks, {reloads} reloads, {scrapes} scrapes");
    let rest = soak.rest();
    println!("most in the first half: {:?}\nmost in the second half: {:?}\nat rest: {rest:?}", halves[0], halves[1]);
    let [first, second] = halves;
    assert!(failures > 0.0 && faults > 0 && reloads > 0, "nothing was tested");
    assert!(second.memory_kib <= first.memory_kib + MOST_MEMORY_KIB, "memory grows: {first:?}, then {second:?}");
    assert!(second.descriptors <= first.descriptors + MOST_DESCRIPTORS, "descriptors leak: {first:?}, then {second:?}");
    assert_eq!(soak.exporter.logged("panicked"), 0, "{}", soak.exporter.log());
}
