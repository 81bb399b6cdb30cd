//! `verify-config --aws`: tries to list the organisation and to reach every account, and names what is missing.

use super::options;
use super::output::write_stdout;
use super::provider::OfAws;
use crate::accounts::{DiscoveryError, Key, Target};
use crate::aws::probe::Needs;
use crate::config::accounts::OrganizationSection;
use crate::config::{Config, Input};
use crate::model::{Account, Timestamp};
use crate::report::access::{AccessReport, AccountAccess, Outcome};
use crate::schedule::Pacing;
use crate::schedule::once::{Found, each};
use crate::source::SourceError;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use tokio::time::timeout;

/// Why nothing could be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// There is no AWS in the configuration.
    #[error("--aws: the inventory comes from a file or the demo, not from AWS")]
    NoAws,
    /// Standard output cannot be written to.
    #[error("cannot write to standard output: {0}")]
    Stdout(#[from] std::io::Error),
}

/// Writes a table of the accounts. Returns whether all can be reached, and the organisation can be listed.
///
/// # Errors
/// [`VerifyError`] when there is nothing to verify, or the table could not be written.
pub async fn verify(config: &Config) -> Result<bool, VerifyError> {
    if config.input != Input::Aws {
        return Err(VerifyError::NoAws);
    }
    let settings = &config.settings;
    let provider = Arc::new(OfAws::new(settings, Arc::new(())));
    let found = Found::list(&*provider, settings).await;
    let details =
        !options::live(settings).details.is_empty() || !config.policy.exemptions.needs(Timestamp::now()).is_empty();
    let needs = Needs { choice: provider.choice, last_used: settings.collect.last_used, details };
    let limit = settings.check.timeout.0;
    let probe = |_: Key, target: Target| -> BoxFuture<'static, _> {
        let provider = Arc::clone(&provider);
        Box::pin(async move {
            let late = |_| Err(SourceError::Timeout(format!("no complete answer in {} s", limit.as_secs())));
            let probed = timeout(limit, provider.probe(&target, needs)).await.unwrap_or_else(late);
            (target, probed)
        })
    };
    let panicked = |target| (target, Err(SourceError::Internal));
    let probed = each(found.targets.accounts, &Pacing::new(options::limits(settings)), probe, panicked).await;
    let organization = settings.organization.as_ref();
    let discovery_role = organization.and_then(OrganizationSection::discovery_role);
    let report = AccessReport {
        accounts: probed.iter().map(|(target, probed)| access(target, probed)).collect(),
        listing: match found.failure {
            None => organization.map(|_| Outcome::Reachable),
            Some(DiscoveryError::Source(error)) => Some(failed(&error)),
            Some(error) => Some(Outcome::Failed(error.reason(), error.to_string())),
        },
        discovery_role: discovery_role.as_ref(),
        collector: settings.collector.as_str(),
        details,
    };
    write_stdout(report.render().as_bytes())?;
    Ok(report.is_complete())
}

type Probed = Result<(Account, Vec<SourceError>), SourceError>;

fn access<'a>(target: &'a Target, probed: &'a Probed) -> AccountAccess<'a> {
    let known = probed.as_ref().ok().map(|(account, _)| account);
    AccountAccess {
        account: target.account.or(known.map(|account| account.id)),
        name: known.map_or(&target.name, |account| &account.name),
        access: &target.access,
        outcome: match probed {
            Ok((_, denied)) => denied_operations("iam", denied),
            Err(error) => failed(error),
        },
    }
}

fn failed(error: &SourceError) -> Outcome {
    match error {
        SourceError::RoleDenied { message, .. } => Outcome::RoleDenied(message.clone()),
        denied @ SourceError::AccessDenied { .. } => denied_operations("organizations", std::slice::from_ref(denied)),
        other => Outcome::Failed(other.reason(), other.to_string()),
    }
}

fn denied_operations(service: &'static str, denied: &[SourceError]) -> Outcome {
    let mut operations = Vec::new();
    let mut text = None;
    for error in denied {
        if let SourceError::AccessDenied { operation, message } = error {
            // As policies have it.
            operations.push(format!("{service}:{operation}"));
            text.get_or_insert_with(|| message.clone());
        }
    }
    text.map_or(Outcome::Reachable, |message| Outcome::Denied(operations, message))
}
