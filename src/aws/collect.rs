//! The collectors that call AWS: `live`, `report`, and `auto`, which picks one of them by the number of users.

mod details;
mod live;
mod report;
mod users;

pub use users::Options;

use super::Aws;
use crate::model::{Account, Observation, RootKeys, Timestamp, UserName};
use crate::source::{Request, Source, SourceError};
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
            Choice::Report => self.report.read(account, request).await,
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
        let mut observations = self.report.read(account, request).await?;
        check_report(&observations, users as usize)?;
        // The summary is newer than the report.
        if let keys @ RootKeys::Active(_) = summary.root_keys() {
            observations.push(Observation::Root { at, keys });
        }
        Ok(observations)
    }
}

/// Compares the report with the account's own count. A report is up to four hours old: users created since then are
/// missing from it, one in ten or 20 of them without doubt about the report.
fn check_report(observations: &[Observation], counted: usize) -> Result<(), SourceError> {
    let listing = observations.iter().find_map(|o| match o {
        Observation::Listing(listing) => Some(listing.users().len()),
        _ => None,
    });
    let reported = listing.unwrap_or_default();
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

    fn confirm<'a>(&'a self, account: &'a Account) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(self.aws.confirm(account))
    }
}
