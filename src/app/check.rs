//! `check`: one check, and its result on standard output or in a file.

use super::options;
use super::output::{write_file, write_stdout};
use super::progress::Bar;
use super::source;
use crate::cli::{ColorChoice, OutputArgs, OutputForm};
use crate::config::Config;
use crate::model::Timestamp;
use crate::policy::Status;
use crate::report::{Report, csv, json, prometheus, table};
use crate::schedule::too_long;
use crate::source::{Request, SourceError};
use crate::state::Snapshot;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// Outcome of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Compliant,
    Violations,
    /// A part could not be read.
    Incomplete,
}

#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error("{0} ({reason})", reason = .0.reason())]
    Source(#[from] SourceError),
    #[error("--user: {0}")]
    NoSuchUser(SourceError),
    #[error("--output-file: cannot write {path}: {source}")]
    Output { path: String, source: std::io::Error },
    #[error("cannot write to standard output: {0}")]
    Stdout(std::io::Error),
}

/// Checks once and writes the result.
///
/// # Errors
/// When the check failed, or the result could not be written. Then nothing is written, or the file is unchanged.
pub async fn check(config: &Config, output: &OutputArgs) -> Result<Verdict, CheckError> {
    let (_, policy) = watch::channel(Arc::new(config.policy.clone()));
    let source = source(config, policy, Arc::new(()));
    let bar = Arc::new(Bar::new());
    let timeout = config.settings.check.timeout.0;
    // A timeout is at most a year: the deadline exists.
    let now = Instant::now();
    let deadline = now.checked_add(timeout).unwrap_or(now);
    let request =
        Request { previous: None, only_user: output.user.clone(), deadline, progress: Arc::clone(&bar) as Arc<_> };
    let collected = timeout_at(deadline, source.collect(&request)).await;
    bar.clear();
    let inventory = match collected.unwrap_or_else(|_| Err(too_long(timeout))) {
        Err(error @ SourceError::NoSuchUser(_)) => return Err(CheckError::NoSuchUser(error)),
        other => other?,
    };
    let now = Timestamp::now();
    let mut policy = config.policy.clone();
    // A check of one user does not cover root.
    policy.rules.root_access_key.enabled &= output.user.is_none();
    let snapshot = Snapshot::new(Arc::new(policy)).with_facts(inventory, now);
    let Some(facts) = snapshot.accounts.values().next() else { unreachable!("its facts were just put in") };
    let report = Report { snapshot: &snapshot, facts, now, key_ids: config.settings.metrics.access_key_id };
    let bytes = match output.output {
        OutputForm::Table => table::render(&report, terminal(output)).into_bytes(),
        OutputForm::Json => json::render(&report).into_bytes(),
        OutputForm::Csv => csv::render(&report).into_bytes(),
        OutputForm::Prometheus => prometheus::render(&report, &options::exposition(&config.settings)),
    };
    write(&bytes, output.output_file.as_deref())?;
    Ok(if facts.evaluation.count(Status::Unknown) > 0 {
        Verdict::Incomplete
    } else if facts.evaluation.violations().next().is_some() {
        Verdict::Violations
    } else {
        Verdict::Compliant
    })
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
