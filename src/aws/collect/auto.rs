//! The `auto` collector: `live` in small accounts, `report` in large ones.

use super::live::LiveSource;
use super::report::ReportSource;
use crate::model::{Account, Observation, RootKeys, Timestamp, UserName};
use crate::source::{Request, Source, SourceError};
use futures_util::future::BoxFuture;

pub struct AutoSource {
    live: LiveSource,
    report: ReportSource,
    /// The largest number of users that is read live.
    report_above: u32,
}

impl AutoSource {
    pub fn new(live: LiveSource, report: ReportSource, report_above: u32) -> Self {
        AutoSource { live, report, report_above }
    }

    async fn read(&self, account: &Account, request: &Request) -> Result<Vec<Observation>, SourceError> {
        // One user is always cheaper to read live.
        if request.only_user.is_some() {
            return self.live.collect(account, request).await;
        }
        let summary = self.live.reader.account_summary().await?;
        let users = summary.users()?;
        if users <= self.report_above {
            return self.live.read_with_summary(account, request, summary.root_keys(), Some(users)).await;
        }
        tracing::debug!(users, report_above = self.report_above, "reading the credential report");
        let at = Timestamp::now();
        let mut observations = self.report.collect(account, request).await?;
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

impl Source for AutoSource {
    fn account<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Account, SourceError>> {
        self.live.account(request)
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
        self.report.recheck(account, users, request)
    }

    fn confirm<'a>(&'a self, account: &'a Account) -> BoxFuture<'a, Result<(), SourceError>> {
        self.live.confirm(account)
    }
}
