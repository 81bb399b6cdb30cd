//! What was typed: clap's view of flags and environment, without defaults.
//!
//! Defaults, the configuration file and everything that has to be true of values together are `config`'s.

use crate::policy::settings::DurationError;
use clap::builder::BoolishValueParser;
use clap::error::ErrorKind;
use clap::{Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, ValueHint};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

/// Prefix of every environment variable.
const ENV_PREFIX: &str = "IAM_KEY_EXPORTER_";

/// Keeps checking the IAM users of an AWS account for more than one active access key, and tells Prometheus.
#[derive(Debug, Parser)]
#[command(name = "iam-key-exporter", version, max_term_width = 120, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Action,
}

#[derive(Debug, Subcommand)]
pub enum Action {
    /// Check again and again, and serve the metrics
    Serve(ServeArgs),
    /// Check once and exit: 0 compliant, 1 violations, 2 usage or configuration, 3 could not find out
    Check(CheckArgs),
    /// Say what is wrong with the configuration, or print what is in effect
    VerifyConfig(VerifyArgs),
    /// Ask a running exporter whether it is healthy: 0 if so, 1 if not (for container health checks)
    Healthcheck(HealthcheckArgs),
    /// Print the JSON Schema of --input.inventory
    InventorySchema,
    /// Print shell completions
    Completions { shell: clap_complete::Shell },
    /// Print the manual page
    Man,
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub schedule: ScheduleArgs,
    #[command(flatten)]
    pub web: WebArgs,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Everything that configures `serve` or `check`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub schedule: ScheduleArgs,
    #[command(flatten)]
    pub web: WebArgs,
}

#[derive(Debug, Args)]
pub struct HealthcheckArgs {
    /// URL to ask [default: http://127.0.0.1:19674/-/healthy]
    #[arg(long = "url", value_name = "URL")]
    pub url: Option<String>,
}

/// Flags that `serve` and `check` share.
#[derive(Debug, Args)]
pub struct CommonArgs {
    #[command(flatten)]
    pub input: InputArgs,
    #[command(flatten)]
    pub check: CheckTimeArgs,
    #[command(flatten)]
    pub aws: AwsArgs,
    #[command(flatten)]
    pub metrics: MetricsArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "What to check")]
pub struct InputArgs {
    /// YAML file with the policy, exemptions, and anything that flags can say
    #[arg(long = "config.file", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config_file: Option<PathBuf>,
    /// A built-in account that changes before your eyes; no AWS, no network
    #[arg(long = "demo", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub demo: Option<bool>,
    /// How to read AWS [default: auto]
    #[arg(long = "collector", value_name = "HOW")]
    pub collector: Option<CollectorChoice>,
    /// `auto` reads accounts with more users than this by credential report [default: 500]
    #[arg(long = "collector.report-above", value_name = "USERS")]
    pub report_above: Option<u32>,
    /// Read a saved credential report (CSV as AWS writes it) instead of AWS
    #[arg(long = "input.credential-report", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub credential_report: Option<PathBuf>,
    /// Read a JSON inventory (see `inventory-schema`) instead of AWS
    #[arg(long = "input.inventory", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub inventory: Option<PathBuf>,
    /// Name of the account, for people
    #[arg(long = "account.name", value_name = "NAME")]
    pub account_name: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Checks")]
pub struct CheckTimeArgs {
    /// Give a check up after this time [default: 10m]
    #[arg(long = "check.timeout", value_name = "DURATION", value_parser = positive_duration)]
    pub timeout: Option<Duration>,
    /// With the live collector, ask when each key was last used (one request more a key)
    #[arg(long = "collect.last-used", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub last_used: Option<bool>,
    /// Names of user tags to read and to show as labels of aws_iam_user_info
    #[arg(long = "collect.tags", value_name = "NAME,...", value_delimiter = ',')]
    pub tags: Option<Vec<String>>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Checks")]
pub struct ScheduleArgs {
    /// Time between two checks [default: 5m; with --demo 10s]
    #[arg(long = "check.interval", value_name = "DURATION", value_parser = positive_duration)]
    pub interval: Option<Duration>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "AWS")]
pub struct AwsArgs {
    /// Region; it decides the partition [default: the SDK's, else us-east-1]
    #[arg(long = "aws.region", value_name = "REGION")]
    pub region: Option<String>,
    /// Profile of the AWS configuration files [default: the SDK's]
    #[arg(long = "aws.profile", value_name = "NAME")]
    pub profile: Option<String>,
    /// Requests a second to IAM [default: 10]
    #[arg(long = "aws.max-requests-per-second", value_name = "NUMBER", value_parser = rate)]
    pub max_requests_per_second: Option<f64>,
    /// Requests to IAM under way at once [default: 8]
    #[arg(long = "aws.concurrency", value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: Option<u16>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Metrics")]
pub struct MetricsArgs {
    /// Which users have series of their own [default: all]
    #[arg(long = "metrics.users", value_name = "WHICH")]
    pub users: Option<UserSelection>,
    /// Expose aws_iam_user_info
    #[arg(long = "metrics.user-info", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub user_info: Option<bool>,
    /// Show access key IDs: a label of metrics of keys, a column of `check`
    #[arg(long = "metrics.access-key-id", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub access_key_id: Option<bool>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Logging")]
pub struct LogArgs {
    /// Least severity that is logged [default: info]
    #[arg(long = "log.level", value_name = "LEVEL")]
    pub level: Option<LogLevel>,
    /// Form of a log line [default: text]
    #[arg(long = "log.format", value_name = "FORMAT")]
    pub format: Option<LogFormat>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Web")]
pub struct WebArgs {
    /// Where to listen, as host:port or :port; repeat for several [default: :19674]
    #[arg(long = "web.listen-address", value_name = "ADDRESS", value_delimiter = ',')]
    pub listen_address: Option<Vec<String>>,
    /// Connections served at once; for one more, the longest idle makes room [default: 128]
    #[arg(long = "web.max-connections", value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    pub max_connections: Option<u16>,
    /// Allow reloading the configuration with POST /-/reload; SIGHUP always does
    #[arg(long = "web.enable-lifecycle", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub enable_lifecycle: Option<bool>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Form of the result
    #[arg(long = "output", value_name = "FORM", default_value = "table")]
    pub output: OutputForm,
    /// Write the result to this file, atomically, instead of standard output
    #[arg(long = "output-file", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output_file: Option<PathBuf>,
    /// Check this user only
    #[arg(long = "user", value_name = "NAME")]
    pub user: Option<String>,
    /// Colours; `auto` looks at the terminal and NO_COLOR
    #[arg(long = "color", value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CollectorChoice {
    /// Live in small accounts, the credential report in large ones
    Auto,
    /// List users, then each user's keys
    Live,
    /// The credential report, and the users in breach live
    Report,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserSelection {
    All,
    /// Users that have a key, or may have one
    Keyed,
    /// Users in violation
    Violating,
    /// Totals only
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputForm {
    Table,
    Json,
    Csv,
    /// For node_exporter's textfile collector
    Prometheus,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

fn positive_duration(text: &str) -> Result<Duration, DurationError> {
    crate::policy::settings::parse_period(text)
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    check_rate(rate).map(|()| rate)
}

/// # Errors
/// When no pace can be made of it.
pub(crate) fn check_rate(rate: f64) -> Result<(), String> {
    if (0.01..=10_000.0).contains(&rate) { Ok(()) } else { Err("it must be between 0.01 and 10000".into()) }
}

/// The command with an environment variable for every flag.
pub fn command() -> Command {
    with_environment(Cli::command())
}

fn with_environment(command: Command) -> Command {
    let command = command.mut_args(|arg| match arg.get_long() {
        Some("help" | "version") | None => arg,
        Some(long) => {
            let name = format!("{ENV_PREFIX}{}", long.to_uppercase().replace(['.', '-'], "_"));
            arg.env(name).hide_env_values(true)
        }
    });
    let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, with_environment))
}

/// A usage error, on one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

/// Parses arguments and environment. Prints help or version and exits, where that is asked for.
///
/// # Errors
/// When the arguments or variables are wrong; the message names them.
pub fn parse() -> Result<Cli, UsageError> {
    let parsed = command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        | ErrorKind::MissingSubcommand => error.exit(),
        _ => UsageError(one_line(&error.to_string())),
    })
}

/// The message of an error without the usage, which `--help` shows.
fn one_line(message: &str) -> String {
    let lines = message.lines().map(str::trim);
    let mut out = String::new();
    for line in lines.filter(|l| !(l.is_empty() || l.starts_with("Usage: ") || l.starts_with("For more information"))) {
        if !out.is_empty() {
            out.push_str(if line.starts_with('[') { " " } else { "; " });
        }
        out.push_str(line.trim_start_matches("error: "));
    }
    out + " (see --help)"
}

/// Variables of the environment that begin like ours, but belong to no flag of any command: probably misspelt.
pub fn unknown_variables() -> Vec<String> {
    let variables = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let variables = variables.map(|(name, value)| (name, value.to_string_lossy().into_owned()));
    unknown(variables.filter(|(name, _)| name.starts_with(ENV_PREFIX)))
}

fn unknown(variables: impl Iterator<Item = (String, String)>) -> Vec<String> {
    let mut command = command();
    command.build();
    let args = command.get_subcommands().flat_map(Command::get_arguments);
    let known: HashSet<&str> = args.filter_map(|arg| arg.get_env()?.to_str()).collect();
    let mut unknown: Vec<String> = variables
        .filter(|(name, value)| !known.contains(name.as_str()) && !is_used_elsewhere(&name[ENV_PREFIX.len()..], value))
        .map(|(name, _)| name)
        .collect();
    unknown.sort();
    unknown
}

/// Variables with our prefix that are not meant as flags: those of our build and test scripts, and those that Kubernetes
/// sets in every pod for a Service named like us (`..._SERVICE_HOST`, `..._SERVICE_PORT_HTTP`, `..._PORT_19674_TCP`).
fn is_used_elsewhere(suffix: &str, value: &str) -> bool {
    let of_service = suffix.ends_with("SERVICE_HOST")
        || suffix.contains("SERVICE_PORT")
        || ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| suffix.contains(protocol))
        || (suffix.ends_with("PORT") && value.contains("://"));
    of_service || ["BIN", "CACHE", "REVISION"].contains(&suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_well_formed_and_every_flag_has_its_variable() {
        let mut command = command();
        command.build();
        command.clone().debug_assert();
        for sub in command.get_subcommands().filter(|c| c.get_name() != "help") {
            for arg in sub.get_arguments().filter(|a| a.get_long().is_some_and(|l| l != "help" && l != "version")) {
                let env = arg.get_env().unwrap_or_else(|| panic!("{:?} has no variable", arg.get_long()));
                assert!(env.to_str().unwrap().starts_with(ENV_PREFIX));
                assert!(arg.get_help().is_some(), "{:?} has no help", arg.get_long());
            }
        }
    }

    #[test]
    fn variables_of_no_flag_are_unknown() {
        let variables = [
            ("CHECK_TIMEOUT", "5m"),
            ("CHECK_TIMOUT", "5m"),
            ("OUTPUT_FILE", "x"),
            ("WEB_PORT", "80"),
            ("BIN", "x"),
            ("PORT", "tcp://10.0.0.1:19674"),
            ("SERVICE_HOST", "10.0.0.1"),
            ("PROD_SERVICE_PORT_HTTP", "19674"),
            ("PORT_19674_TCP_ADDR", "10.0.0.1"),
        ];
        let variables = variables.map(|(name, value)| (format!("{ENV_PREFIX}{name}"), value.to_owned()));
        let expected = ["CHECK_TIMOUT", "WEB_PORT"].map(|name| format!("{ENV_PREFIX}{name}"));
        assert_eq!(unknown(variables.into_iter()), expected);
    }

    #[test]
    fn a_usage_error_is_one_line() {
        for (args, expected) in [
            (
                ["--collector=fast"],
                "invalid value 'fast' for '--collector <HOW>' [possible values: auto, live, report]",
            ),
            (
                ["--colector=live"],
                "unexpected argument '--colector' found; tip: a similar argument exists: '--collector'",
            ),
        ] {
            let error = command().try_get_matches_from(["x", "check"].iter().chain(&args)).unwrap_err();
            assert_eq!(one_line(&error.to_string()), format!("{expected} (see --help)"));
        }
    }

    #[test]
    fn shared_flags_are_the_same_in_serve_and_check() {
        let mut command = command();
        command.build();
        let help = |sub: &str, id: &str| {
            let arg = command.find_subcommand(sub)?.get_arguments().find(|a| a.get_id() == id)?;
            arg.get_help().map(ToString::to_string)
        };
        let shared = CommonArgs::augment_args(Command::new("x"));
        for arg in shared.get_arguments() {
            let id = arg.get_id().as_str();
            assert!(help("serve", id).is_some() && help("serve", id) == help("check", id), "{id}");
        }
    }
}
