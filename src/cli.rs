//! The command line: commands, flags and their environment variables. What the values mean together is [`crate::config`]'s.

mod environment;
mod settings;

pub use environment::unknown_variables;

use crate::config::Given;
use clap::builder::BoolishValueParser;
use clap::error::ErrorKind;
use clap::{Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, ValueHint};
use environment::with_environment;
use settings::{SettingArgs, WebArgs};
use std::path::PathBuf;

/// Continuously checks the IAM users of AWS accounts for more than one active access key, and exports Prometheus metrics.
#[derive(Debug, Parser)]
#[command(name = "iam-key-exporter", version, max_term_width = 120, propagate_version = true)]
pub struct Cli {
    /// The subcommand with its arguments.
    #[command(subcommand)]
    pub command: Action,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Check periodically and serve metrics
    Serve(ConfigArgs<true>),
    /// Check every account once and exit: 0 compliant, 1 violations, 2 usage or configuration, 3 failed or incomplete
    Check(CheckArgs),
    /// Validate the configuration and print the effective settings, or with --aws what can be reached
    VerifyConfig(VerifyArgs),
    /// Query the health of a running exporter: 0 healthy, 1 not (for container health checks)
    Healthcheck(HealthcheckArgs),
    /// Print the JSON Schema of --input.inventory
    InventorySchema,
    /// Print shell completions
    Completions {
        #[allow(missing_docs, reason = "a doc comment would be part of the help; the name is enough")]
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs<false>,
    /// The form of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Arguments of `verify-config`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs<true>,
    /// Try to list the organization and to reach every account, and print what is missing; exits with 3 if anything is
    #[arg(long = "aws", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub aws: Option<bool>,
}

/// The configuration: of `serve`, or without its own settings that of `check`.
#[derive(Debug, Args)]
pub struct ConfigArgs<const SERVE: bool> {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    settings: SettingArgs<SERVE>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "What to check")]
struct SourceArgs {
    /// YAML file with the policy, exemptions, and any of the settings below
    #[arg(long = "config.file", value_name = "FILE", value_hint = ValueHint::FilePath)]
    config_file: Option<PathBuf>,
    /// Use a built-in demo account that changes over time; no AWS, no network
    #[arg(long = "demo", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = BoolishValueParser::new())]
    demo: Option<bool>,
}

impl<const SERVE: bool> From<ConfigArgs<SERVE>> for Given {
    fn from(args: ConfigArgs<SERVE>) -> Self {
        let SourceArgs { config_file, demo } = args.source;
        Given { config_file, demo: demo.unwrap_or(false), values: args.settings.values }
    }
}

/// Arguments of `healthcheck`.
#[derive(Debug, Args)]
pub struct HealthcheckArgs {
    /// URL to query [default: health at the address of the settings]
    #[arg(long = "url", value_name = "URL")]
    pub url: Option<String>,
    /// Where the exporter listens, as for `serve`.
    #[command(flatten)]
    pub config: WebConfigArgs,
}

/// The part of the configuration by which a running exporter is found.
#[derive(Debug, Args)]
pub struct WebConfigArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    settings: WebArgs,
}

impl From<WebConfigArgs> for Given {
    fn from(args: WebConfigArgs) -> Self {
        let SourceArgs { config_file, demo } = args.source;
        Given { config_file, demo: demo.unwrap_or(false), values: args.settings.values }
    }
}

/// Arguments that select the form of a result.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Format of the result
    #[arg(long = "output", value_name = "FORM", default_value = "table")]
    pub output: OutputForm,
    /// Write the result to this file, atomically if it is a regular file, instead of standard output
    #[arg(long = "output-file", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output_file: Option<PathBuf>,
    /// Check this account only, one of those that the configuration selects
    #[arg(long = "account", value_name = "ID")]
    pub account: Option<String>,
    /// Check this user only, in one account
    #[arg(long = "user", value_name = "NAME")]
    pub user: Option<String>,
    /// Colors; with `auto`, on a terminal and without NO_COLOR
    #[arg(long = "color", value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
}

/// Output formats of `check`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputForm {
    /// Users with findings or unknown keys, for people.
    Table,
    /// Everything, for programs.
    Json,
    /// A row per user and finding.
    Csv,
    /// For node_exporter's textfile collector
    Prometheus,
}

/// When output is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// If the output is a terminal and `NO_COLOR` is not set.
    Auto,
    #[allow(missing_docs, reason = "a doc comment would be part of the help; the name is enough")]
    Always,
    #[allow(missing_docs, reason = "a doc comment would be part of the help; the name is enough")]
    Never,
}

/// The command with an environment variable for every flag.
pub fn command() -> Command {
    with_environment(Cli::command())
}

/// A usage error, on one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

/// Parses arguments and environment. Prints help or version and exits, where that is requested.
///
/// # Errors
/// [`UsageError`] when the arguments or variables are wrong; the message names them.
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

#[cfg(test)]
mod tests {
    use super::environment::ENV_PREFIX;
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
        let shared = ConfigArgs::<false>::augment_args(Command::new("x"));
        for arg in shared.get_arguments() {
            let id = arg.get_id().as_str();
            assert!(help("serve", id).is_some() && help("serve", id) == help("check", id), "{id}");
        }
    }
}
