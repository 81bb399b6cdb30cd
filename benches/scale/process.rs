//! Child processes and what the kernel counts of them.

use super::fake::Settings;
use anyhow::{Context as _, bail};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

/// A child process that ends with its owner.
pub struct Process {
    child: Child,
    // Closed when this is dropped: the fake ends then.
    _stdin: Option<ChildStdin>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    pub fn new(command: &mut Command) -> anyhow::Result<Process> {
        let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
        let stdin = child.stdin.take();
        Ok(Process { child, _stdin: stdin })
    }

    /// An error if the process has ended.
    pub fn is_running(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("the process has ended: {status}"),
            None => Ok(()),
        }
    }

    /// CPU time of all threads, in seconds. The kernel counts nanoseconds for each living thread, and clock ticks for the
    /// whole process with the ended ones.
    pub fn cpu(&self) -> anyhow::Result<f64> {
        let directory = format!("/proc/{}", self.child.id());
        let mut nanoseconds = 0.0;
        for task in fs::read_dir(format!("{directory}/task"))? {
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            nanoseconds += text.split(' ').next().unwrap_or_default().parse::<f64>().unwrap_or_default();
        }
        let stat = fs::read_to_string(format!("{directory}/stat"))?;
        let (_, fields) = stat.rsplit_once(") ").context("no fields of a process")?;
        let ticks: Vec<f64> = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
        let ticks = ticks.iter().sum::<f64>() / rustix::param::clock_ticks_per_second() as f64;
        Ok(ticks.max(nanoseconds / 1e9))
    }

    /// `VmRSS` or `VmHWM`, in MiB.
    pub fn memory(&self, what: &str) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(what)).with_context(|| format!("no {what}"))?;
        let kibibytes: f64 = line.trim_matches([':', '\t', ' ']).split(' ').next().unwrap_or_default().parse()?;
        Ok(kibibytes / 1024.0)
    }
}

/// This program again, as the fake AWS.
pub struct FakeAws {
    pub process: Process,
    pub port: u16,
}

impl FakeAws {
    pub fn start(settings: Settings) -> anyhow::Result<FakeAws> {
        let organization = settings.organization;
        let numbers = [
            organization.accounts as u64,
            organization.users as u64,
            organization.violating_one_in as u64,
            organization.seed,
            organization.now.cast_unsigned(),
            settings.latency.as_micros() as u64,
            u64::from(settings.changing),
        ];
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("fake").args(numbers.map(|number| number.to_string()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::new(&mut command)?;
        let mut line = String::new();
        BufReader::new(process.child.stdout.take().context("no output")?).read_line(&mut line)?;
        let port = line.trim().parse().context("the fake AWS did not start")?;
        Ok(FakeAws { process, port })
    }
}

/// The settings that [`FakeAws::start`] has written as arguments.
pub fn fake_settings(arguments: &[String]) -> anyhow::Result<Settings> {
    let numbers: Vec<u64> = arguments.iter().map(|a| a.parse()).collect::<Result<_, _>>()?;
    let &[accounts, users, violating_one_in, seed, now, latency, changing] = numbers.as_slice() else {
        bail!("the fake AWS needs seven numbers");
    };
    let organization = super::organization::Organization {
        accounts: accounts as usize,
        users: users as usize,
        violating_one_in: violating_one_in as usize,
        seed,
        now: now.cast_signed(),
    };
    Ok(Settings { organization, latency: std::time::Duration::from_micros(latency), changing: changing == 1 })
}

/// Starts the exporter without the environment of the caller.
pub fn exporter(binary: &Path, configuration: &Path, aws: u16) -> anyhow::Result<Process> {
    let home = configuration.parent().context("a file is in a directory")?;
    let log = fs::File::create(home.join("exporter.log"))?;
    let mut command = Command::new(binary);
    command.env_clear().env("HOME", home).current_dir(home);
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{aws}"));
    command.env("AWS_ACCESS_KEY_ID", "management").env("AWS_SECRET_ACCESS_KEY", "none");
    command.arg("serve").arg("--config.file").arg(configuration);
    command.stdin(Stdio::null()).stdout(Stdio::from(log.try_clone()?)).stderr(Stdio::from(log));
    Process::new(&mut command)
}
