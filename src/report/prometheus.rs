//! Prometheus text format for node_exporter's textfile collector: the AWS metrics and their timestamps.

use super::Reports;
use crate::exposition::segment::Segment;
use crate::exposition::{Options, Parts};
use crate::model::AccountId;

/// The accounts in the text format 0.0.4. Without `process_*` and build information: node_exporter exposes its own and
/// rejects a file that repeats them.
pub fn render(reports: &Reports<'_>, options: &Options) -> Vec<u8> {
    let parts = Parts::new(options.clone());
    for state in reports.snapshot.accounts() {
        parts.publish(parts.encode(state), reports.snapshot, reports.now);
    }
    let read = || reports.accounts.iter().map(|report| (report.state.account.id, report));
    let failed = reports.failed.iter().filter_map(|failed| Some((failed.account?, 0)));
    let mut tail = family(
        "account_up",
        "Whether the last check of the account succeeded.",
        read().map(|(id, _)| (id, 1)).chain(failed),
    );
    tail += &family(
        "account_last_success_timestamp_seconds",
        "When the last successful check of the account ended.",
        read().map(|(id, report)| (id, report.now.as_second())),
    );
    tail += &family(
        "account_facts_timestamp_seconds",
        "When the inventory of the account was true.",
        read().map(|(id, report)| (id, report.state.listed_at().unwrap_or_default().as_second())),
    );
    if reports.has_organization {
        let (name, help) = ("organization_up", "Whether the last listing of the organisation's accounts succeeded.");
        let up = u8::from(reports.listing_failure.is_none());
        tail += &format!("{}iam_key_exporter_{name} {up}\n", header(name, help));
    }
    parts.page().plain(&Segment::default(), tail.into_bytes()).into_text()
}

fn family(name: &str, help: &str, samples: impl Iterator<Item = (AccountId, i64)>) -> String {
    let line = |(account, value)| format!("iam_key_exporter_{name}{{account_id=\"{account}\"}} {value}\n");
    samples.map(line).fold(header(name, help), |text, line| text + &line)
}

fn header(name: &str, help: &str) -> String {
    format!("# HELP iam_key_exporter_{name} {help}\n# TYPE iam_key_exporter_{name} gauge\n")
}
