//! The configuration: flags and environment variables, the file, and defaults, validated together.
//!
//! Precedence: flag, environment variable, file, default. [`settings`] is the table of settings, [`values`] their types.

pub mod accounts;
pub mod addresses;
pub mod exemptions;
pub mod file;
mod running;
pub mod settings;
pub mod shard;
pub mod values;
pub mod web;

use crate::files::{self, Bounds};
use crate::policy::Policy;
use crate::text::label_name;
use accounts::OrganizationSection;
use addresses::ListenAddresses;
use file::FileError;
use settings::{InputSection, Setting, Settings, WebSection};
use shard::Shard;
use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use values::{CollectorChoice, DemoScenario, InvalidValue, Period};

/// Ten times what 20,000 exemptions take.
const MAX_FILE_BYTES: u64 = 32 << 20;
/// Long for a small file on a slow volume, or a pipe from a program.
pub const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The configuration of `--demo`, where no file is given.
const DEMO: &str = include_str!("config/demo.yaml");
/// The organisation of the demo.
const DEMO_ORGANIZATION: &str = include_str!("config/demo-organization.yaml");
/// Often enough to watch the changes of the demo.
const DEMO_INTERVAL: Duration = Duration::from_secs(10);

/// A validated configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where observations come from.
    pub input: Input,
    /// Every setting with the value in effect.
    pub settings: Settings,
    /// Rules and exemptions of the file.
    pub policy: Arc<Policy>,
    /// The part of the accounts that this process checks.
    pub shard: Shard,
}

/// Where the inventory comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The built-in demo.
    Demo,
    /// AWS, with the collector of the settings.
    Aws,
    /// A saved credential report.
    CredentialReport(PathBuf),
    /// A JSON inventory.
    Inventory(PathBuf),
}

/// Why there is no valid configuration; the message names file, line or flag.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("--config.file: cannot read {path}: {message}")]
    Unreadable {
        /// The path of the file.
        path: String,
        /// What failed.
        message: String,
    },
    /// The content of the file is wrong.
    #[error("{path}: {error}")]
    File {
        /// The path of the file.
        path: String,
        /// What is wrong with the content.
        error: FileError,
    },
    /// The value of a flag or environment variable is wrong.
    #[error("--{flag}: {error}")]
    Flag {
        /// The flag without the dashes before it.
        flag: &'static str,
        /// What is wrong with the value.
        error: InvalidValue,
    },
    /// Two settings name different sources of the inventory.
    #[error("{0} and {1} contradict each other: the inventory comes from one place; leave one out")]
    TwoInputs(&'static str, &'static str),
    /// A scenario of the demo is chosen without the demo.
    #[error("--demo.scenario needs --demo")]
    NoDemo,
    /// A part of the accounts is to be checked without naming it.
    #[error("--total-shards={total} needs --shard: a number below {total}, or auto")]
    NoShard {
        /// The number of parts.
        total: usize,
    },
    /// The account of a file is to be divided.
    #[error("--total-shards={total}: the inventory comes from a file, which is one account; leave out one of the two")]
    ShardOfFile {
        /// The number of parts.
        total: usize,
    },
    /// There is no such part.
    #[error("--shard: {shard} is not below --total-shards={total}; shards are counted from 0")]
    ShardOutOfRange {
        /// The part, counted from 0.
        shard: u16,
        /// The number of parts.
        total: usize,
    },
    /// The part cannot be taken from the pod's name.
    #[error("--shard=auto: the name of the pod, {name:?}, does not end in a hyphen and a number")]
    NoOrdinal {
        /// The name of the pod.
        name: String,
    },
    /// Addresses are configured, and sockets of systemd.
    #[error(
        "--web.systemd-socket and --web.listen-address contradict each other: systemd has the addresses; leave one out"
    )]
    TwoListeners,
    /// A list of tags contains an empty name.
    #[error("--{0}: the name of a tag is empty")]
    EmptyTag(&'static str),
    /// `--collect.owner-tag` contains a tag twice.
    #[error("--collect.owner-tag: {0:?} is named twice (keys of tags are the same in upper and lower case)")]
    RepeatedOwnerTag(String),
    /// Two tags of `--collect.tags` have the same label name.
    #[error("--collect.tags: {tag:?} would become the label {label:?}, as another tag does already")]
    SameLabel {
        /// The second one of the tags.
        tag: String,
        /// The name of the label.
        label: String,
    },
}

/// What the command line and the environment contain.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Given {
    /// Path of the configuration file; `None` if there is none.
    pub config_file: Option<PathBuf>,
    /// Whether the built-in demo is checked instead of AWS.
    pub demo: bool,
    /// Settings with their values, each accepted by [`Setting::check`].
    pub values: Vec<(&'static Setting, Vec<OsString>)>,
}

impl Given {
    fn has(&self, flag: &str) -> bool {
        self.values.iter().any(|(setting, _)| setting.flag == flag)
    }

    fn apply(&self, settings: &mut Settings) -> Result<(), ConfigError> {
        for (setting, texts) in &self.values {
            let texts: Vec<&OsStr> = texts.iter().map(OsString::as_os_str).collect();
            (setting.set)(settings, &texts).map_err(|error| ConfigError::Flag { flag: setting.flag, error })?;
        }
        Ok(())
    }
}

impl Config {
    /// Reads the file, if one is given, and validates it together with flags and environment variables. A start and a
    /// reload both do this, so that a file which cannot start cannot be reloaded either.
    ///
    /// Blocks as long as reading the file does: at most [`READ_TIMEOUT`], unless its file system hangs.
    ///
    /// # Errors
    /// [`ConfigError`], which names the file's line and column, or the flags that contradict each other.
    pub fn load(given: &Given) -> Result<Config, ConfigError> {
        let settings = merge(given)?;
        check_listeners(given, &settings.web)?;
        check_tags(&settings.collect.tags)?;
        check_owner_tags(&settings.collect.owner_tag)?;
        let input = match (given.demo, &settings.input.credential_report, &settings.input.inventory) {
            (true, _, _) => Input::Demo,
            (_, Some(path), _) => Input::CredentialReport(path.clone()),
            (_, _, Some(path)) => Input::Inventory(path.clone()),
            _ => Input::Aws,
        };
        let shard = Shard::of(&settings, shard::pod_name)?;
        if shard != Shard::ALL && matches!(input, Input::CredentialReport(_) | Input::Inventory(_)) {
            return Err(ConfigError::ShardOfFile { total: shard.total.into() });
        }
        Ok(Config { input, policy: Arc::new(settings.policy()), shard, settings })
    }

    /// This configuration with what a reload replaces of the other one: policy, exemptions and accounts.
    #[must_use]
    pub fn reloaded(&self, new: Config) -> Config {
        let settings = Settings {
            policy: new.settings.policy,
            exemptions: new.settings.exemptions,
            accounts: new.settings.accounts,
            organization: new.settings.organization,
            account_overrides: new.settings.account_overrides,
            ..self.settings.clone()
        };
        Config { settings, policy: new.policy, ..self.clone() }
    }

    /// Names of the settings, as `section.key`, whose values differ from those of `running` and take effect at the
    /// start only; sorted, empty if there are none.
    pub fn restart_needed(&self, running: &Config) -> Vec<String> {
        let json = |config: &Config| serde_json::to_value(&config.settings).expect("plain data serializes");
        let mut names = Vec::new();
        add_differences("", &json(running), &json(self), &mut names);
        names
    }

    /// Time between two checks: 5 minutes by default, 10 seconds with `--demo`.
    pub fn interval(&self) -> Duration {
        self.settings.check.interval.map_or(default_interval(false).0, |i| i.0)
    }
}

/// The keys of the file that a reload replaces.
const RELOADED: &[&str] = &["policy", "exemptions", "accounts", "organization", "account_overrides"];

/// Adds the paths of the values that differ, `section.key`, apart from what a reload replaces.
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
        if RELOADED.contains(&&*path) {
            continue;
        }
        // Absent means not set.
        let value = |of: &'_ serde_json::Map<String, serde_json::Value>| of.get(key).cloned().unwrap_or_default();
        add_differences(&path, &value(left), &value(right), names);
    }
}

fn merge(given: &Given) -> Result<Settings, ConfigError> {
    let mut settings = match &given.config_file {
        Some(path) => read(path)?,
        None if given.demo => Settings::from_yaml(DEMO).expect("the embedded configuration is tested"),
        None => Settings::default(),
    };
    check_inputs(given, &settings)?;
    if given.has(DEMO_SCENARIO) && !given.demo {
        return Err(ConfigError::NoDemo);
    }
    // An input that is given replaces the other kind of input in the file.
    let input = given.has(CREDENTIAL_REPORT) || given.has(INVENTORY);
    if input {
        settings.input = InputSection::default();
    }
    given.apply(&mut settings)?;
    if input && given.has(COLLECTOR) && settings.collector != CollectorChoice::Auto {
        return Err(ConfigError::TwoInputs("--collector", "--input.*"));
    }
    settings.check.interval.get_or_insert(default_interval(given.demo));
    if given.demo && settings.demo.scenario == DemoScenario::Organization {
        settings.organization = Some(demo_organization());
    }
    Ok(settings)
}

fn demo_organization() -> OrganizationSection {
    serde_saphyr::from_str(DEMO_ORGANIZATION).expect("the embedded configuration is tested")
}

fn default_interval(demo: bool) -> Period {
    if demo { Period(DEMO_INTERVAL) } else { Period::minutes(5) }
}

const COLLECTOR: &str = "collector";
const DEMO_SCENARIO: &str = "demo.scenario";
const CREDENTIAL_REPORT: &str = "input.credential-report";
const INVENTORY: &str = "input.inventory";
const LISTEN_ADDRESS: &str = "web.listen-address";

fn check_inputs(given: &Given, file: &Settings) -> Result<(), ConfigError> {
    let (report, inventory) = (given.has(CREDENTIAL_REPORT), given.has(INVENTORY));
    let both_in_file = file.input.credential_report.is_some() && file.input.inventory.is_some();
    let input_in_file = file.input.credential_report.is_some() || file.input.inventory.is_some();
    let input = report || inventory || input_in_file;
    for (contradiction, a, b) in [
        (report && inventory, "--input.credential-report", "--input.inventory"),
        (both_in_file, "input.credential_report", "input.inventory"),
        (input && !file.accounts.is_empty(), "accounts", "input"),
        (input && file.organization.is_some(), "organization", "input"),
        (input && !file.account_overrides.is_empty(), "account_overrides", "input"),
        (given.demo && report, "--demo", "--input.credential-report"),
        (given.demo && inventory, "--demo", "--input.inventory"),
        (given.demo && given.has(COLLECTOR), "--demo", "--collector"),
    ] {
        if contradiction {
            return Err(ConfigError::TwoInputs(a, b));
        }
    }
    Ok(())
}

fn check_listeners(given: &Given, web: &WebSection) -> Result<(), ConfigError> {
    let addresses = given.has(LISTEN_ADDRESS) || web.listen_address != ListenAddresses::standard();
    if web.systemd_socket && addresses { Err(ConfigError::TwoListeners) } else { Ok(()) }
}

fn check_tags(tags: &[String]) -> Result<(), ConfigError> {
    let mut labels = HashSet::new();
    for tag in tags {
        if tag.trim().is_empty() {
            return Err(ConfigError::EmptyTag("collect.tags"));
        }
        let label = label_name(tag);
        if !labels.insert(label.clone()) {
            return Err(ConfigError::SameLabel { tag: tag.clone(), label });
        }
    }
    Ok(())
}

fn check_owner_tags(tags: &[String]) -> Result<(), ConfigError> {
    let mut seen = HashSet::new();
    for tag in tags {
        if tag.trim().is_empty() {
            return Err(ConfigError::EmptyTag("collect.owner-tag"));
        }
        if !seen.insert(tag.to_ascii_lowercase()) {
            return Err(ConfigError::RepeatedOwnerTag(tag.clone()));
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Settings, ConfigError> {
    let name = path.display().to_string();
    let unreadable = |message: String| ConfigError::Unreadable { path: name.clone(), message };
    let content =
        files::read(path, Bounds::within(MAX_FILE_BYTES, READ_TIMEOUT)).map_err(|e| unreadable(e.to_string()))?;
    let text = String::from_utf8(content.bytes).map_err(|e| unreadable(format!("it is not UTF-8: {e}")))?;
    Settings::from_yaml(&text).map_err(|error| ConfigError::File { path: name, error })
}

#[cfg(test)]
mod tests;
