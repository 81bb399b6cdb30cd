//! Prometheus text format for node_exporter's textfile collector: the AWS metrics and their timestamps.

use super::Report;
use crate::exposition::segment::Segment;
use crate::exposition::{Options, Parts};

/// The report in the text format 0.0.4. Without `process_*` and build information: node_exporter exposes its own and
/// rejects a file that repeats them.
pub fn render(report: &Report<'_>, options: &Options) -> Vec<u8> {
    let parts = Parts::new(options.clone());
    for state in report.snapshot.accounts() {
        parts.publish(parts.encode(state), report.snapshot, report.now);
    }
    let account = report.state.account.id;
    let tail = [
        ("account_up", "Whether the last check of the account succeeded.", 1),
        (
            "account_last_success_timestamp_seconds",
            "When the last successful check of the account ended.",
            report.now.as_second(),
        ),
        (
            "account_facts_timestamp_seconds",
            "When the facts about the account were true.",
            report.state.listed_at().unwrap_or_default().as_second(),
        ),
    ]
    .map(|(name, help, value)| {
        let name = format!("iam_key_exporter_{name}");
        format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name}{{account_id=\"{account}\"}} {value}\n")
    })
    .concat();
    parts.page().plain(&Segment::default(), tail.into_bytes()).into_text()
}
