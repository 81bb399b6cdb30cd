//! From flags, environment and file to a configuration that holds.
//!
//! Precedence: flag, environment, file, default. What was typed is turned into the file's own shape, so that there is
//! one list of settings, and one that can be printed.

pub mod file;

use crate::aws;
use crate::cli::{CollectorChoice, CommonArgs, LogArgs, LogFormat, LogLevel, ScheduleArgs, UserSelection, WebArgs};
use crate::exposition;
use crate::exposition::families::tag_label;
use crate::policy::{Policy, RuleSettings};
use crate::source::{demo, live};
use file::{AccountSection, AwsSection, CheckSection, CollectSection, FileConfig, InputSection, LogSection};
use file::{MetricsSection, WebSection};
use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Ten times what 20,000 exemptions take.
const MAX_FILE_BYTES: u64 = 32 * 1024 * 1024;

/// A validated configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub input: Input,
    pub account_name: String,
    pub interval: Duration,
    pub timeout: Duration,
    pub aws: aws::Settings,
    pub live: live::Options,
    pub metrics: exposition::Options,
    pub web: Web,
    pub log: Log,
    pub policy: Policy,
    /// Every setting but policy and exemptions with the value in effect, in the shape of the file.
    pub settings: FileConfig,
}

/// Where facts come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    Demo,
    Aws { collector: CollectorChoice, report_above: u32 },
    CredentialReport(PathBuf),
    Inventory(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Web {
    pub listen_addresses: Vec<String>,
    pub max_connections: usize,
    /// Whether `POST /-/reload` is served.
    pub enable_lifecycle: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    pub level: LogLevel,
    pub format: LogFormat,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("--config.file: cannot read {path}: {message}")]
    Unreadable { path: String, message: String },
    #[error("--config.file: {path} is larger than {MAX_FILE_BYTES} bytes")]
    TooLarge { path: String },
    #[error("{path}: {message}")]
    File { path: String, message: String },
    #[error("{0}")]
    Conflict(String),
}

/// What was typed, whichever command it was.
#[derive(Clone, Copy)]
pub struct Typed<'a> {
    pub common: &'a CommonArgs,
    pub schedule: Option<&'a ScheduleArgs>,
    pub web: Option<&'a WebArgs>,
}

impl Config {
    /// Reads the file, if one is named, and validates it together with flags and environment. A start and a reload
    /// both do this, so that a file which cannot start cannot be reloaded either.
    ///
    /// Blocks as long as reading the file does.
    ///
    /// # Errors
    /// [`ConfigError`], which names the file's line and column, or the flags that contradict each other.
    pub fn load(typed: Typed<'_>) -> Result<Config, ConfigError> {
        validate(typed.common.input.demo.unwrap_or(false), &effective(typed)?)
    }

    /// Names of the settings whose values differ from those of `running` and are read at the start only.
    pub fn restart_needed(&self, running: &Config) -> Vec<String> {
        let json = |config: &Config| serde_json::to_value(&config.settings).expect("plain data serializes");
        let mut names = Vec::new();
        add_differences("", &json(running), &json(self), &mut names);
        names
    }
}

/// Adds the paths of the values that differ, `section.key`.
fn add_differences(path: &str, a: &serde_json::Value, b: &serde_json::Value, names: &mut Vec<String>) {
    let (Some(left), Some(right)) = (a.as_object(), b.as_object()) else {
        if a != b {
            names.push(path.to_owned());
        }
        return;
    };
    let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    for key in keys {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        // Absent means not set.
        let value = |of: &'_ serde_json::Map<String, serde_json::Value>| of.get(key).cloned().unwrap_or_default();
        add_differences(&path, &value(left), &value(right), names);
    }
}

/// Every setting with the value that is in effect, in the shape of the file.
///
/// # Errors
/// When the file cannot be read or is wrong.
pub fn effective(typed: Typed<'_>) -> Result<FileConfig, ConfigError> {
    let demo = typed.common.input.demo.unwrap_or(false);
    let file = match &typed.common.input.config_file {
        Some(path) => read(path)?,
        None if demo => FileConfig::parse(demo::CONFIG).expect("the embedded configuration is tested"),
        None => FileConfig::default(),
    };
    let said = from_flags(typed);
    check_conflicts(demo, typed, &file)?;
    // A flag that names one input takes the place of another one in the file.
    let file =
        if said.input == InputSection::default() { file } else { FileConfig { input: said.input.clone(), ..file } };
    Ok(said.or(file).or_defaults(demo))
}

fn read(path: &Path) -> Result<FileConfig, ConfigError> {
    let path_text = path.display().to_string();
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text))
        .map_err(|e| ConfigError::Unreadable { path: path_text.clone(), message: e.to_string() })?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(ConfigError::TooLarge { path: path_text });
    }
    FileConfig::parse(&text).map_err(|message| ConfigError::File { path: path_text, message })
}

fn from_flags(typed: Typed<'_>) -> FileConfig {
    let CommonArgs { input, check, aws, metrics, log } = typed.common;
    FileConfig {
        collector: input.collector,
        collector_report_above: input.report_above,
        input: InputSection { credential_report: input.credential_report.clone(), inventory: input.inventory.clone() },
        account: AccountSection { name: input.account_name.clone() },
        check: CheckSection { interval: typed.schedule.and_then(|s| s.interval), timeout: check.timeout },
        collect: CollectSection { last_used: check.last_used, tags: check.tags.clone() },
        aws: AwsSection {
            region: aws.region.clone(),
            profile: aws.profile.clone(),
            max_requests_per_second: aws.max_requests_per_second,
            concurrency: aws.concurrency,
        },
        metrics: MetricsSection {
            users: metrics.users,
            user_info: metrics.user_info,
            access_key_id: metrics.access_key_id,
        },
        web: WebSection {
            listen_address: typed.web.and_then(|w| w.listen_address.clone()),
            max_connections: typed.web.and_then(|w| w.max_connections),
            enable_lifecycle: typed.web.and_then(|w| w.enable_lifecycle),
        },
        log: LogSection { level: log.level, format: log.format },
        ..FileConfig::default()
    }
}

fn check_conflicts(demo: bool, typed: Typed<'_>, file: &FileConfig) -> Result<(), ConfigError> {
    let input = &typed.common.input;
    let both = |a: &str, b: &str| {
        Err(ConfigError::Conflict(format!(
            "{a} and {b} contradict each other: facts come from one place; leave one out"
        )))
    };
    if input.credential_report.is_some() && input.inventory.is_some() {
        return both("--input.credential-report", "--input.inventory");
    }
    if file.input.credential_report.is_some() && file.input.inventory.is_some() {
        return both("input.credential_report", "input.inventory");
    }
    if demo {
        for (said, name) in [
            (input.credential_report.is_some(), "--input.credential-report"),
            (input.inventory.is_some(), "--input.inventory"),
            (input.collector.is_some(), "--collector"),
        ] {
            if said {
                return both("--demo", name);
            }
        }
    }
    if let Some(collector @ (CollectorChoice::Live | CollectorChoice::Report)) = input.collector
        && (input.credential_report.is_some() || input.inventory.is_some())
    {
        return both(&format!("--collector={collector:?}").to_lowercase(), "--input.*");
    }
    Ok(())
}

impl FileConfig {
    fn or_defaults(self, demo: bool) -> FileConfig {
        let (policy, exemptions) = (self.policy, self.exemptions.clone());
        let interval = if demo { demo::CHECK_INTERVAL } else { Duration::from_secs(300) };
        self.or(FileConfig {
            collector: Some(CollectorChoice::Auto),
            collector_report_above: Some(500),
            check: CheckSection { interval: Some(interval), timeout: Some(Duration::from_secs(600)) },
            collect: CollectSection { last_used: Some(false), tags: Some(Vec::new()) },
            aws: AwsSection { max_requests_per_second: Some(10.0), concurrency: Some(8), ..AwsSection::default() },
            metrics: MetricsSection {
                users: Some(UserSelection::All),
                user_info: Some(false),
                access_key_id: Some(false),
            },
            web: WebSection {
                listen_address: Some(vec![":19674".into()]),
                max_connections: Some(128),
                enable_lifecycle: Some(false),
            },
            log: LogSection { level: Some(LogLevel::Info), format: Some(LogFormat::Text) },
            policy,
            exemptions,
            ..FileConfig::default()
        })
    }
}

/// Everything is there after `or_defaults`; what can still be wrong is what values mean together.
fn validate(demo: bool, all: &FileConfig) -> Result<Config, ConfigError> {
    const FILLED: &str = "or_defaults fills it in";
    let input = match (demo, &all.input.credential_report, &all.input.inventory) {
        (true, _, _) => Input::Demo,
        (_, Some(path), _) => Input::CredentialReport(path.clone()),
        (_, _, Some(path)) => Input::Inventory(path.clone()),
        _ => Input::Aws {
            collector: all.collector.expect(FILLED),
            report_above: all.collector_report_above.expect(FILLED),
        },
    };
    let tags = all.collect.tags.clone().expect(FILLED);
    if tags.iter().any(|t| t.trim().is_empty()) {
        return Err(ConfigError::Conflict("--collect.tags: a tag's name is empty".into()));
    }
    let mut labels = HashSet::new();
    if let Some(tag) = tags.iter().find(|t| !labels.insert(tag_label(t))) {
        return Err(ConfigError::Conflict(format!(
            "--collect.tags: {tag:?} would become the label {:?}, as another tag does already",
            tag_label(tag)
        )));
    }
    let listen_addresses = all.web.listen_address.clone().expect(FILLED);
    for address in &listen_addresses {
        check_listen_address(address)
            .map_err(|error| ConfigError::Conflict(format!("--web.listen-address: {error}")))?;
    }
    Ok(Config {
        input,
        account_name: all.account.name.clone().unwrap_or_default(),
        interval: all.check.interval.expect(FILLED),
        timeout: all.check.timeout.expect(FILLED),
        aws: aws::Settings {
            region: all.aws.region.clone(),
            profile: all.aws.profile.clone(),
            max_requests_per_second: all.aws.max_requests_per_second.expect(FILLED),
            concurrency: all.aws.concurrency.expect(FILLED).into(),
        },
        live: live::Options { last_used: all.collect.last_used.expect(FILLED), tags: tags.clone() },
        metrics: exposition::Options {
            users: all.metrics.users.expect(FILLED).into(),
            user_info: all.metrics.user_info.expect(FILLED) || !tags.is_empty(),
            tags,
            access_key_id: all.metrics.access_key_id.expect(FILLED),
        },
        web: Web {
            listen_addresses,
            max_connections: all.web.max_connections.expect(FILLED).into(),
            enable_lifecycle: all.web.enable_lifecycle.expect(FILLED),
        },
        log: log(all.log.level, all.log.format),
        policy: all.policy(),
        settings: FileConfig { policy: RuleSettings::default(), exemptions: Vec::new(), ..all.clone() },
    })
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not host:port or :port, for example :19674 or 127.0.0.1:19674")]
struct ListenAddressError(String);

fn check_listen_address(address: &str) -> Result<(), ListenAddressError> {
    let well_formed = address.rsplit_once(':').is_some_and(|(host, port)| {
        let bracketed = host.starts_with('[') && host.ends_with(']');
        port.parse::<u16>().is_ok() && (bracketed || !host.contains(':'))
    });
    if well_formed { Ok(()) } else { Err(ListenAddressError(address.to_owned())) }
}

fn log(level: Option<LogLevel>, format: Option<LogFormat>) -> Log {
    Log { level: level.unwrap_or(LogLevel::Info), format: format.unwrap_or(LogFormat::Text) }
}

/// Logging as far as flags tell, for errors before the configuration holds.
pub fn early_log(args: &LogArgs) -> Log {
    log(args.level, args.format)
}

impl From<UserSelection> for exposition::Users {
    fn from(selection: UserSelection) -> Self {
        match selection {
            UserSelection::All => exposition::Users::All,
            UserSelection::Keyed => exposition::Users::Keyed,
            UserSelection::Violating => exposition::Users::Violating,
            UserSelection::None => exposition::Users::None,
        }
    }
}

#[cfg(test)]
mod tests;
