//! An exporter and a fake AWS, run together.

use super::client::{Samples, get, wait_for};
use super::fake::Settings;
use super::organization::Organization;
use super::process::{FakeAws, Process, exporter};
use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// Longer than any measurement.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two polls of the fake, which cost the exporter nothing.
const POLL: Duration = Duration::from_millis(50);

/// What is run.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub binary: PathBuf,
    /// Members of the organisation; `None` for the account of the credentials alone.
    pub members: Option<usize>,
    pub users: usize,
    pub latency: Duration,
    pub changing: bool,
    /// Lines of the configuration file: keys with dots, and values.
    pub settings: Vec<(&'static str, String)>,
    pub seed: u64,
}

impl Scenario {
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Scenario {
        self.settings.push((key, value.into()));
        self
    }

    /// Accounts that are checked.
    pub fn checked(&self) -> usize {
        self.members.unwrap_or(1)
    }

    fn organization(&self) -> Organization {
        Organization {
            // The management account is one more, and is not checked.
            accounts: self.members.map_or(1, |members| members + 1),
            users: self.users,
            violating_one_in: 100,
            seed: self.seed,
            now: jiff::Timestamp::now().as_second(),
        }
    }

    fn configuration(&self, port: u16) -> String {
        let mut text = format!("web: {{ listen_address: ['127.0.0.1:{port}'] }}\n");
        if self.members.is_some() {
            text.push_str("organization: { role_name: iam-key-exporter, management_account: skip }\n");
        }
        let mut sections: Vec<(&str, Vec<String>)> = Vec::new();
        for (key, value) in &self.settings {
            let Some((section, key)) = key.split_once('.') else {
                let _ = writeln!(text, "{key}: {value}");
                continue;
            };
            let entry = format!("{key}: {value}");
            match sections.iter_mut().find(|(name, _)| *name == section) {
                Some((_, entries)) => entries.push(entry),
                None => sections.push((section, vec![entry])),
            }
        }
        for (section, entries) in sections {
            let _ = writeln!(text, "{section}: {{ {} }}", entries.join(", "));
        }
        text
    }

    /// Starts both; `prepare` controls the fake before the exporter starts.
    pub fn start(&self, prepare: impl FnOnce(u16) -> anyhow::Result<()>) -> anyhow::Result<Running> {
        let organization = self.organization();
        let aws = FakeAws::start(Settings { organization, latency: self.latency, changing: self.changing })?;
        prepare(aws.port)?;
        let directory = tempfile::tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let file = directory.path().join("iam-key-exporter.yaml");
        fs::write(&file, self.configuration(port))?;
        let fake_cpu_before = aws.process.cpu()?;
        let started = unix_now();
        let exporter = exporter(&self.binary, &file, aws.port)?;
        Ok(Running { aws, exporter, port, started, fake_cpu_before, directory, organization, members: self.members })
    }
}

/// An exporter under load.
pub struct Running {
    pub aws: FakeAws,
    pub exporter: Process,
    pub port: u16,
    /// Unix time of the start of the exporter.
    pub started: f64,
    fake_cpu_before: f64,
    directory: TempDir,
    organization: Organization,
    members: Option<usize>,
}

/// The first check of all accounts.
#[derive(Debug, Clone)]
pub struct Cycle {
    /// From the start of the process to the end of the last account's check, in seconds.
    pub wall: f64,
    /// CPU time of the exporter in that time, and a little longer.
    pub cpu: f64,
    pub fake_cpu: f64,
    pub requests: f64,
    /// The end of each account's check, in seconds since the start, by account.
    pub ends: Vec<(String, f64)>,
}

impl Running {
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("exporter.log")).unwrap_or_default()
    }

    fn checked(&self) -> usize {
        self.members.unwrap_or(1)
    }

    pub fn stats(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&get(self.aws.port, "/fake/stats", false)?)?)
    }

    pub fn fake_cpu(&self) -> anyhow::Result<f64> {
        Ok(self.aws.process.cpu()? - self.fake_cpu_before)
    }

    /// Waits until `accounts` accounts have been checked `checks` times, and returns the samples and the CPU time before
    /// this scrape. The fake shows when a scrape is useful; each one costs the exporter CPU time.
    pub fn checked_times(&mut self, accounts: usize, checks: u64) -> anyhow::Result<(Samples, f64)> {
        let (accounts_wanted, mut waited) = (accounts as u64, 0_u32);
        let checked = wait_for("checks", PATIENCE, POLL, || {
            self.exporter.is_running()?;
            let stats = self.stats()?;
            let count = |operation: &str| stats["operations"][operation].as_u64().unwrap_or(0);
            let reports = count("GetCredentialReport") >= accounts_wanted * checks;
            let live = count("ListAccessKeys") >= accounts_wanted * self.organization.users as u64;
            // Reports can be known to be unchanged: only the exporter shows the end of the cycle then.
            waited += 1;
            if !(reports || live || checks > 1 && waited.is_multiple_of(10)) {
                return Ok(None);
            }
            let cpu = self.exporter.cpu()?;
            let samples = Samples::scrape(self.port)?;
            let of_account = samples.of("iam_key_exporter_checks_total");
            let done = of_account.filter(|(_, value)| *value >= checks as f64).count() >= accounts;
            Ok(done.then_some((samples, cpu)))
        });
        checked.with_context(|| format!("the log of the exporter:\n{}", self.log()))
    }

    /// Waits for the first check of every account. All but those of `except` have to succeed.
    pub fn first_cycle(&mut self, except: usize) -> anyhow::Result<Cycle> {
        let accounts = self.checked() - except;
        let (samples, cpu) = self.checked_times(accounts, 1)?;
        let up = samples.sum("iam_key_exporter_account_up");
        ensure!(up >= accounts as f64, "{up} of {accounts} accounts are up:\n{}", self.log());
        let ends: Vec<(String, f64)> = samples
            .of("iam_key_exporter_account_last_success_timestamp_seconds")
            .map(|(labels, at)| (labels.to_owned(), at - self.started))
            .collect();
        let found: f64 = samples
            .of("aws_iam_access_key_violations")
            .filter(|(labels, _)| labels.contains("multiple_active_keys"))
            .map(|(_, value)| value)
            .sum();
        let first = usize::from(self.members.is_some());
        let expected: usize =
            (first..self.organization.accounts).map(|account| self.organization.violations(account, 0)).sum();
        ensure!(except > 0 || found == expected as f64, "{found} violations were found, and {expected} expected");
        let wall = ends.iter().map(|(_, at)| *at).fold(0.0, f64::max);
        let requests = self.stats()?["requests"].as_f64().unwrap_or(0.0);
        Ok(Cycle { wall, cpu, fake_cpu: self.fake_cpu()?, requests, ends })
    }
}

pub fn unix_now() -> f64 {
    jiff::Timestamp::now().as_millisecond() as f64 / 1000.0
}
