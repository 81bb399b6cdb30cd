//! `check`: one check of each account, and the result on standard output or in a file.

use super::options;
use super::output::{write_file, write_stdout};
use super::progress::Bar;
use super::provider::provider;
use super::publisher::log;
use crate::accounts::{DiscoveryError, Key, Target};
use crate::cli::{ColorChoice, OutputArgs, OutputForm};
use crate::config::Config;
use crate::model::account::InvalidAccountId;
use crate::model::{AccountId, Collector, Timestamp};
use crate::policy::{Policy, Rule, Status};
use crate::report::{Failed, Report, Reports, csv, json, prometheus, table};
use crate::schedule::Pacing;
use crate::schedule::once::{Checked, Found, Once};
use crate::source::SourceError;
use crate::state::{AccountState, Snapshot, Totals};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;

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
    /// Nothing could be read of any account; each failure is in the log.
    #[error("no account could be read")]
    NothingRead,
    /// There is no user of the name that `--user` contains.
    #[error("--user: {0}")]
    NoSuchUser(SourceError),
    /// The text is not an account ID.
    #[error("--account: {0}")]
    InvalidAccount(#[from] InvalidAccountId),
    /// The configuration does not select the account.
    #[error("--account: {account} {why}")]
    UnknownAccount {
        /// The account that `--account` contains.
        account: AccountId,
        /// What it is instead.
        why: &'static str,
    },
    /// Whether the configuration selects the account is not known.
    #[error("--account: whether {account} is among the accounts is not known, as these could not be listed: {source} ({reason})", reason = .source.reason())]
    AccountsUnknown {
        /// The account that `--account` contains.
        account: AccountId,
        /// Why there is no list.
        source: DiscoveryError,
    },
    /// A user is of one account.
    #[error("--user needs --account: the configuration selects several accounts, and a user is of one of them")]
    UserOfManyAccounts,
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

impl CheckError {
    /// Whether arguments or configuration have to be changed.
    pub fn is_usage(&self) -> bool {
        match self {
            CheckError::NoSuchUser(_)
            | CheckError::InvalidAccount(_)
            | CheckError::UnknownAccount { .. }
            | CheckError::UserOfManyAccounts
            | CheckError::Output { .. } => true,
            CheckError::Source(_)
            | CheckError::NothingRead
            | CheckError::AccountsUnknown { .. }
            | CheckError::Stdout(_) => false,
        }
    }
}

/// Checks every account once and writes the result.
///
/// # Errors
/// [`CheckError`] when no account could be read, or the result could not be written. A regular file is then unchanged.
pub async fn check(config: &Config, output: &OutputArgs) -> Result<Verdict, CheckError> {
    let account = output.account.as_deref().map(str::parse::<AccountId>).transpose()?;
    let provider = provider(config, Arc::new(()));
    let bar = Bar::of_listing();
    let mut found = Found::list(&*provider, &config.settings).await;
    bar.clear();
    let targets = select(&mut found, account, output.user.is_some())?;
    found.targets.notices.iter().for_each(log::warn);
    if let Some(error) = &found.failure {
        tracing::error!(reason = error.reason(), %error, "accounts could not be listed");
    }
    let mut policy = Policy::clone(&config.policy);
    // A check of one user does not cover root.
    policy.without_root = output.user.is_some();
    let policy = Arc::new(policy);
    let bar = Arc::new(Bar::new(targets.len()));
    let once = Once {
        provider,
        pacing: Pacing::new(options::limits(&config.settings)),
        policy: Arc::clone(&policy),
        timeout: config.settings.check.timeout.0,
        only_user: output.user.clone(),
        progress: Arc::clone(&bar) as Arc<_>,
        now: Timestamp::now,
    };
    let checked = once.check(targets).await;
    bar.clear();
    let result = CheckResult::new(checked, found.failure, &policy, account.is_some(), lists_accounts(config))?;
    result.report(config, output)
}

/// Whether the configuration is about more than the account of the credentials, or of a file.
fn lists_accounts(config: &Config) -> bool {
    config.settings.organization.is_some() || !config.settings.accounts.is_empty()
}

/// The accounts to check: all, or the one of `--account`.
fn select(found: &mut Found, account: Option<AccountId>, has_user: bool) -> Result<BTreeMap<Key, Target>, CheckError> {
    let mut targets = found.targets.accounts.clone();
    let Some(account) = account else {
        if has_user && (targets.len() > 1 || found.failure.is_some()) {
            return Err(CheckError::UserOfManyAccounts);
        }
        return Ok(targets);
    };
    if let Some((key, target)) = targets.iter().find(|(_, target)| target.account == Some(account)) {
        // Accounts that are not listed do not matter then.
        found.failure = None;
        return Ok(BTreeMap::from([(*key, target.clone())]));
    }
    if let Some(source) = found.failure.take() {
        return Err(CheckError::AccountsUnknown { account, source });
    }
    // The account of the credentials or of a file is identified by its check.
    match targets.remove(&Key::Own).filter(|own| own.account.is_none()) {
        Some(own) => {
            let own = Target { account: Some(account), ..own };
            Ok(BTreeMap::from([(Key::Account(account), own)]))
        }
        None if found.directory.has_member(account) => {
            let why =
                "is in the organization, but suspended, closed, not yet active, or not selected by include and exclude";
            Err(CheckError::UnknownAccount { account, why })
        }
        None => Err(CheckError::UnknownAccount { account, why: "is not one of the configured accounts" }),
    }
}

/// What was read.
struct CheckResult {
    accounts: Vec<(Arc<AccountState>, Totals)>,
    failed: Vec<(Target, SourceError)>,
    listing_failure: Option<DiscoveryError>,
    snapshot: Snapshot,
    lists_accounts: bool,
}

impl CheckResult {
    /// Sorts what was read from what was not, which is logged.
    fn new(
        checked: Vec<Checked>,
        listing_failure: Option<DiscoveryError>,
        policy: &Arc<Policy>,
        is_chosen: bool,
        lists_accounts: bool,
    ) -> Result<Self, CheckError> {
        let mut snapshot = Snapshot::new(Arc::clone(policy));
        let (mut accounts, mut failed) = (Vec::new(), Vec::new());
        for Checked { target, result } in checked {
            match result {
                Ok(state) => {
                    snapshot.put(Arc::clone(&state));
                    let totals = state.totals();
                    accounts.push((state, totals));
                }
                Err(error @ SourceError::NoSuchUser(_)) => return Err(CheckError::NoSuchUser(error)),
                Err(SourceError::AccountMismatch { expected: account, .. }) if !lists_accounts && is_chosen => {
                    let why = "is not the account of the credentials or of the file";
                    return Err(CheckError::UnknownAccount { account, why });
                }
                Err(error) if !lists_accounts => return Err(error.into()),
                Err(error) => {
                    log_failure(&target, &error);
                    failed.push((target, error));
                }
            }
        }
        let incomplete = listing_failure.is_some() || !failed.is_empty();
        if accounts.is_empty() && incomplete {
            return Err(CheckError::NothingRead);
        }
        snapshot.set_incomplete(incomplete);
        accounts.sort_by_key(|(state, _)| state.account.id);
        Ok(CheckResult { accounts, failed, listing_failure, snapshot, lists_accounts })
    }

    fn is_incomplete(&self) -> bool {
        self.listing_failure.is_some() || !self.failed.is_empty()
    }

    fn report(&self, config: &Config, output: &OutputArgs) -> Result<Verdict, CheckError> {
        let report = |(state, totals)| Report {
            state,
            totals,
            now: Timestamp::now(),
            key_ids: config.settings.metrics.access_key_id,
            owner_tags: &config.settings.collect.owner_tag,
        };
        let failed = self.failed.iter().map(|(target, error)| Failed {
            account: target.account,
            name: &target.name,
            reason: error.reason(),
            message: error.to_string(),
        });
        let reports = Reports {
            snapshot: &self.snapshot,
            accounts: self.accounts.iter().map(|(state, totals)| report((&**state, totals))).collect(),
            failed: failed.collect(),
            listing_failure: self.listing_failure.as_ref().map(|error| (error.reason(), error.to_string())),
            has_organization: config.settings.organization.is_some(),
            lists_accounts: self.lists_accounts,
            now: Timestamp::now(),
        };
        if output.output == OutputForm::Prometheus && output.output_file.is_some() && self.is_incomplete() {
            // Without its series, the alerts of an account that was not read would resolve.
            tracing::error!("the file of --output-file stays as it is, because accounts are missing");
            return Ok(Verdict::Incomplete);
        }
        let bytes = match output.output {
            OutputForm::Table => table::render(&reports, terminal(output)).into_bytes(),
            OutputForm::Json => json::render(&reports).into_bytes(),
            OutputForm::Csv => csv::render(&reports).into_bytes(),
            OutputForm::Prometheus => prometheus::render(&reports, &options::exposition(&config.settings)),
        };
        write(&bytes, output.output_file.as_deref())?;
        Ok(self.verdict())
    }

    fn verdict(&self) -> Verdict {
        let verdicts = self.accounts.iter().map(|(state, totals)| verdict(state, totals));
        // All of them: each logs what is missing.
        let verdicts: Vec<Verdict> = verdicts.collect();
        if self.is_incomplete() || verdicts.contains(&Verdict::Incomplete) {
            Verdict::Incomplete
        } else if verdicts.contains(&Verdict::Violations) {
            Verdict::Violations
        } else {
            Verdict::Compliant
        }
    }
}

fn log_failure(target: &Target, error: &SourceError) {
    let account_id = target.account.as_ref().map(AccountId::as_str);
    let account_name = Some(target.name.as_str()).filter(|name| !name.is_empty());
    tracing::error!(account_id, account_name, reason = error.reason(), %error, "account could not be read");
}

/// A check is incomplete when AWS refused an answer that the policy needs. What was not requested is not missing.
fn verdict(state: &AccountState, totals: &Totals) -> Verdict {
    let account_id = state.account.id.as_str();
    let root_is_checked = state.policy().enabled_rules().any(|rule| matches!(rule, Rule::Root(_)));
    if let Some(reason) = state.root.failure().filter(|_| root_is_checked) {
        let operation =
            if state.collector() == Some(Collector::Report) { "GetCredentialReport" } else { "GetAccountSummary" };
        tracing::warn!(account_id, reason, operation, "keys of the root user could not be read");
        return Verdict::Incomplete;
    }
    let violated = totals.users(Status::Violation) > 0;
    if let Some(reason) = state.details_failure(&state.details_needed()).filter(|_| violated) {
        tracing::warn!(account_id, reason, "users in violation could be exempt, their tags or groups are not known");
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
