//! `check`: one check, and its result on standard output or in a file.

use super::options;
use super::output::{write_file, write_stdout};
use super::progress::Bar;
use super::provider::provider;
use crate::accounts::Directory;
use crate::cli::{ColorChoice, OutputArgs, OutputForm};
use crate::config::Config;
use crate::config::shard::Shard;
use crate::model::{Collector, Timestamp};
use crate::policy::{Policy, Rule, Status};
use crate::report::{Report, csv, json, prometheus, table};
use crate::schedule::{Check, check_account};
use crate::source::{Request, SourceError};
use crate::state::{AccountState, Snapshot, Totals};
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use tokio::time::Instant;

/// Outcome of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// No user violates a rule.
    Compliant,
    /// At least one user, or the root user, violates a rule.
    Violations,
    /// A part could not be read.
    Incomplete,
}

/// Why a check has no result.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The check failed.
    #[error("{0} ({reason})", reason = .0.reason())]
    Source(#[from] SourceError),
    /// There is no user of the name that `--user` contains.
    #[error("--user: {0}")]
    NoSuchUser(SourceError),
    /// The file for the result cannot be written.
    #[error("--output-file: cannot write {path}: {source}")]
    Output {
        /// The path of the file.
        path: String,
        /// What failed.
        source: std::io::Error,
    },
    /// Standard output cannot be written to.
    #[error("cannot write to standard output: {0}")]
    Stdout(std::io::Error),
}

/// Checks once and writes the result.
///
/// # Errors
/// [`CheckError`] when the check failed, or the result could not be written. A regular file is then unchanged.
pub async fn check(config: &Config, output: &OutputArgs) -> Result<Verdict, CheckError> {
    let targets = Directory::default().targets(&config.settings, None, Shard::ALL);
    let target = targets.accounts.values().next().expect("without an organisation there is an account");
    let source = provider(config, Arc::new(())).source(target);
    let bar = Arc::new(Bar::new());
    let timeout = config.settings.check.timeout.0;
    // A timeout is at most a year: the deadline exists.
    let started = Instant::now();
    let request = Request {
        only_user: output.user.clone(),
        details: config.policy.exemptions.needs(Timestamp::now()),
        known_report: None,
        deadline: started.checked_add(timeout).unwrap_or(started),
        progress: Arc::clone(&bar) as Arc<_>,
    };
    let mut policy = Policy::clone(&config.policy);
    // A check of one user does not cover root.
    policy.without_root = output.user.is_some();
    let policy = Arc::new(policy);
    let check = Check {
        source: &*source,
        expected: None,
        previous: None,
        policy: &policy,
        now: Timestamp::now,
        identified: &|_| (),
    };
    let result = check_account(check, &request, timeout).await;
    bar.clear();
    let state = match result {
        Err(error @ SourceError::NoSuchUser(_)) => return Err(CheckError::NoSuchUser(error)),
        other => Arc::new(other?),
    };
    let totals = state.totals();
    let snapshot = Snapshot::new(policy).with(Arc::clone(&state));
    let report = Report {
        snapshot: &snapshot,
        state: &state,
        totals: &totals,
        now: Timestamp::now(),
        key_ids: config.settings.metrics.access_key_id,
        owner_tags: &config.settings.collect.owner_tag,
    };
    let bytes = match output.output {
        OutputForm::Table => table::render(&report, terminal(output)).into_bytes(),
        OutputForm::Json => json::render(&report).into_bytes(),
        OutputForm::Csv => csv::render(&report).into_bytes(),
        OutputForm::Prometheus => prometheus::render(&report, &options::exposition(&config.settings)),
    };
    write(&bytes, output.output_file.as_deref())?;
    Ok(verdict(&state, &totals))
}

/// A check is incomplete when AWS refused an answer that the policy needs. What was not requested is not missing.
fn verdict(state: &AccountState, totals: &Totals) -> Verdict {
    let root_is_checked = state.policy().enabled_rules().any(|rule| matches!(rule, Rule::Root(_)));
    if let Some(reason) = state.root.failure().filter(|_| root_is_checked) {
        let operation =
            if state.collector() == Some(Collector::Report) { "GetCredentialReport" } else { "GetAccountSummary" };
        tracing::warn!(reason, operation, "keys of the root user could not be read");
        return Verdict::Incomplete;
    }
    let violated = totals.users(Status::Violation) > 0;
    if let Some(reason) = state.details_failure(&state.details_needed()).filter(|_| violated) {
        tracing::warn!(reason, "users in violation could be exempt, their tags or groups are not known");
        return Verdict::Incomplete;
    }
    if totals.users(Status::Unknown) > 0 {
        Verdict::Incomplete
    } else if state.has_violations(totals) {
        Verdict::Violations
    } else {
        Verdict::Compliant
    }
}

fn terminal(output: &OutputArgs) -> table::Terminal {
    let is_terminal = output.output_file.is_none() && std::io::stdout().is_terminal();
    let color = match output.color {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            is_terminal && anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never
        }
    };
    let width = terminal_size::terminal_size().map(|(width, _)| width.0);
    // A terminal of unknown width reports 0.
    let width = width.filter(|columns| is_terminal && *columns > 0);
    table::Terminal { color, width }
}

fn write(bytes: &[u8], file: Option<&Path>) -> Result<(), CheckError> {
    match file {
        Some(path) => {
            write_file(bytes, path).map_err(|source| CheckError::Output { path: path.display().to_string(), source })
        }
        None => write_stdout(bytes).map_err(CheckError::Stdout),
    }
}
