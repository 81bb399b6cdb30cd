//! The collectors that call AWS: `live`, `report`, and `auto`, which picks one of them by the number of users.

mod details;
mod live;
mod report;
mod sweep;
mod users;

pub use users::Options;

use super::Aws;
use crate::model::{Account, Observation, RootKeys, Timestamp, UserName};
use crate::source::{Request, Source, SourceError, Swept};
use futures_util::future::BoxFuture;
use live::LiveCollector;
use report::ReportCollector;
use std::sync::Arc;
use users::UserReader;

/// How an account is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Lists users, then each user's keys (ListUsers, ListAccessKeys).
    Live,
    /// The credential report for all users, rechecks live (GetCredentialReport, ListAccessKeys).
    Report,
    /// By report if the account has many users (`Users` of GetAccountSummary), otherwise live.
    Auto {
        /// The largest number of users that is read live.
        report_above: u32,
    },
}

/// Observations of one account from AWS.
pub struct AwsSource {
    aws: Arc<Aws>,
    choice: Choice,
    reader: Arc<UserReader>,
    live: LiveCollector,
    report: ReportCollector,
}

impl AwsSource {
    /// Nothing is read or called yet.
    pub fn new(aws: Arc<Aws>, choice: Choice, options: Options) -> Self {
        let reader = Arc::new(UserReader::new(Arc::clone(&aws), options));
        let live = LiveCollector { reader: Arc::clone(&reader) };
        let report = ReportCollector::new(Arc::clone(&reader));
        AwsSource { aws, choice, reader, live, report }
    }

    async fn read(&self, account: &Account, request: &Request) -> Result<Vec<Observation>, SourceError> {
        match self.choice {
            Choice::Live => self.live.read(account, request).await,
            Choice::Report => {
                let observations = self.report.read(account, request).await?.observations;
                match &request.only_user {
                    // Created since the report was generated, or not at all.
                    Some(name) if !is_listed(&observations, name) => self.live.read(account, request).await,
                    _ => Ok(observations),
                }
            }
            // One user is always cheaper to read live.
            Choice::Auto { .. } if request.only_user.is_some() => self.live.read(account, request).await,
            Choice::Auto { report_above } => self.read_by_size(account, request, report_above).await,
        }
    }

    async fn read_by_size(
        &self,
        account: &Account,
        request: &Request,
        report_above: u32,
    ) -> Result<Vec<Observation>, SourceError> {
        let summary = self.reader.account_summary().await?;
        let users = summary.users()?;
        if users <= report_above {
            return self.live.read_with_summary(account, request, summary.root_keys(), Some(users)).await;
        }
        tracing::debug!(users, report_above, "reading the credential report");
        let at = Timestamp::now();
        let report::Answer { reported, mut observations } = self.report.read(account, request).await?;
        check_report(reported, users as usize)?;
        // The summary is newer than the report.
        if let keys @ RootKeys::Active(_) = summary.root_keys() {
            observations.push(Observation::Root { at, keys });
        }
        Ok(observations)
    }
}

fn is_listed(observations: &[Observation], name: &str) -> bool {
    observations
        .iter()
        .any(|o| matches!(o, Observation::Listing(l) if l.users().iter().any(|u| u.name.is_same_user(name))))
}

/// Compares the report with the account's own count. A report is up to four hours old: users created since then are
/// missing from it, one in ten or 20 of them without doubt about the report.
fn check_report(reported: usize, counted: usize) -> Result<(), SourceError> {
    if counted.saturating_sub(reported) > (counted / 10).max(20) {
        return Err(SourceError::Incomplete(format!(
            "the credential report has {reported} users, GetAccountSummary counts {counted}"
        )));
    }
    Ok(())
}

impl Source for AwsSource {
    fn account<'a>(&'a self, _: &'a Request) -> BoxFuture<'a, Result<Account, SourceError>> {
        Box::pin(self.aws.account())
    }

    fn collect<'a>(
        &'a self,
        account: &'a Account,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Vec<Observation>, SourceError>> {
        Box::pin(self.read(account, request))
    }

    fn can_recheck(&self) -> bool {
        true
    }

    fn recheck<'a>(
        &'a self,
        account: &'a Account,
        users: Vec<UserName>,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Vec<Observation>, SourceError>> {
        Box::pin(self.report.recheck(account, users, request))
    }

    fn sweep<'a>(&'a self, account: &'a Account, users: Vec<UserName>, at_once: usize) -> BoxFuture<'a, Swept> {
        Box::pin(async move {
            match self.aws.account().await {
                Ok(found) if found.id == account.id => {}
                Ok(found) => {
                    let error = SourceError::AccountMismatch { expected: account.id, found: found.id };
                    return Swept { failure: Some(error), ..Swept::default() };
                }
                Err(error) => return Swept { failure: Some(error), ..Swept::default() },
            }
            let swept = self.reader.sweep(account, users, at_once).await;
            match self.aws.confirm(account).await {
                Ok(()) => swept,
                Err(error) => Swept { failure: Some(error), observations: Vec::new(), ..swept },
            }
        })
    }

    fn throttled_requests(&self) -> u64 {
        self.aws.throttled_requests()
    }

    fn confirm<'a>(&'a self, account: &'a Account) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(self.aws.confirm(account))
    }
}
