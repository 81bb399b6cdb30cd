//! The `auto` collector: `live` in small accounts, `report` in large ones.

use super::live::LiveSource;
use super::report::ReportSource;
use super::{Request, Source, SourceError};
use crate::model::{Account, Inventory};
use futures_util::future::BoxFuture;

pub struct AutoSource {
    live: LiveSource,
    report: ReportSource,
    /// The largest account, in users, that is read live.
    report_above: u32,
}

impl AutoSource {
    pub fn new(live: LiveSource, report: ReportSource, report_above: u32) -> Self {
        AutoSource { live, report, report_above }
    }

    async fn read(&self, request: &Request) -> Result<Inventory, SourceError> {
        // One user is always cheaper to read live.
        if request.only_user.is_some() {
            return self.live.collect(request).await;
        }
        // STS first: where credentials or the way to AWS are wrong, it says so soonest.
        self.live.account().await?;
        let summary = self.live.account_summary().await?;
        let users = summary.users.ok_or(SourceError::UnexpectedResponse {
            operation: "GetAccountSummary",
            message: "it does not tell the number of users".into(),
        })?;
        if users > self.report_above {
            tracing::debug!(users, report_above = self.report_above, "reading the credential report");
            self.report.collect(request).await
        } else {
            self.live.read_knowing_root(request, summary.root_active_keys).await
        }
    }
}

impl Source for AutoSource {
    fn account(&self) -> BoxFuture<'_, Result<Account, SourceError>> {
        self.live.account()
    }

    fn collect<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Inventory, SourceError>> {
        Box::pin(self.read(request))
    }
}
