//! Environment variables: one for every flag.

use super::command;
use clap::Command;
use std::collections::HashSet;

/// Prefix of every environment variable.
pub(super) const ENV_PREFIX: &str = "IAM_KEY_EXPORTER_";

/// The command and its subcommands with a variable for every flag.
pub(super) fn with_environment(command: Command) -> Command {
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

/// Names of environment variables with the prefix of the exporter that belong to no flag of any command, sorted: they
/// are probably misspelt.
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
}
