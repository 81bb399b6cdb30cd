//! `check`: one pass, then a result on standard output or in a file.

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

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Compliant,
    Violations,
    /// Only a part could be read.
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
/// When nothing could be found out, or the result could not be written; then no facts were written either.
pub async fn check(config: &Config, output: &OutputArgs) -> Result<Verdict, CheckError> {
    let (_, policy) = watch::channel(Arc::new(config.policy.clone()));
    let source = source(config, policy, Arc::new(()));
    let bar = Arc::new(Bar::new());
    let timeout = config.settings.check.timeout.0;
    let deadline = Instant::now() + timeout;
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
    // Whoever asks for one user does not ask for root.
    policy.rules.root_access_key.enabled &= output.user.is_none();
    let snapshot = Snapshot::new(Arc::new(policy)).with_facts(inventory, now);
    let Some(facts) = snapshot.accounts.values().next() else { unreachable!("its facts were just put in") };
    let report = Report { snapshot: &snapshot, facts, now, key_ids: config.settings.metrics.access_key_id };
    let bytes = match output.output {
        OutputForm::Table => table::render(&report, look(output)).into_bytes(),
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

fn look(output: &OutputArgs) -> table::Look {
    let terminal = output.output_file.is_none() && std::io::stdout().is_terminal();
    let color = match output.color {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            terminal && anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never
        }
    };
    let width = terminal_size::terminal_size().map(|(width, _)| width.0);
    // A terminal of unknown width reports 0.
    let width = width.filter(|columns| terminal && *columns > 0);
    table::Look { color, width }
}

fn write(bytes: &[u8], file: Option<&Path>) -> Result<(), CheckError> {
    match file {
        Some(path) => {
            write_file(bytes, path).map_err(|source| CheckError::Output { path: path.display().to_string(), source })
        }
        None => write_stdout(bytes).map_err(CheckError::Stdout),
    }
}
