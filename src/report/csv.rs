//! CSV: a row per user and finding, for spreadsheets.
//!
//! Control characters are escaped as in the table. A spreadsheet evaluates a cell that begins like a formula; such cells
//! get an apostrophe before them, which spreadsheets take as "this is text".

use super::{Report, Reported, list};
use crate::model::count_active;
use crate::policy::evaluate::ROOT;
use crate::text::printable;
use std::borrow::Cow;

const HEADER: [&str; 11] = [
    "account_id",
    "user",
    "arn",
    "status",
    "active_access_keys",
    "rule",
    "state",
    "since",
    "deactivate_keys",
    "advice",
    "owner",
];

/// The report as CSV with a header, users sorted by name, findings of the root user last.
pub fn render(report: &Report<'_>) -> String {
    let mut out = ::csv::Writer::from_writer(Vec::new());
    let account = &report.state.account;
    let mut row = |fields: [&str; 11]| {
        let cells = fields.map(cell);
        out.write_record(cells.iter().map(|c| c.as_bytes())).expect("writing to memory does not fail");
    };
    row(HEADER);
    for (entry, findings) in report.users() {
        let active = entry.keys().map_or(String::new(), |keys| count_active(keys).to_string());
        let (arn, status) = (entry.user.arn(account), entry.status().as_str());
        let start = [account.id.as_str(), entry.user.name.as_str(), &arn, status, &active];
        let owner = entry.user.owner(report.owner_tags).unwrap_or_default();
        if findings.is_empty() {
            row(join(start, ["", "", "", "", "", owner]));
        }
        for finding in &findings {
            finding_row(&mut row, start, finding, owner);
        }
    }
    let root_arn = account.root_arn();
    let root_keys = report.state.root.active_keys().map_or(String::new(), |n| n.to_string());
    for finding in &report.root_findings() {
        let status = finding.state.status().as_str();
        finding_row(&mut row, [account.id.as_str(), ROOT, &root_arn, status, &root_keys], finding, "");
    }
    String::from_utf8(out.into_inner().expect("writing to memory does not fail")).expect("only text was written")
}

fn finding_row(row: &mut impl FnMut([&str; 11]), start: [&str; 5], finding: &Reported, owner: &str) {
    let since = finding.since.to_string();
    let state = finding.state.status().as_str();
    let deactivate = list(&finding.advice.deactivate);
    row(join(start, [finding.rule, state, &since, &deactivate, &finding.advice.reason, owner]));
}

/// Text that a spreadsheet shows as it is.
fn cell(text: &str) -> Cow<'_, str> {
    // A tab or carriage return, which can begin a formula as well, is escaped.
    if text.starts_with(['=', '+', '-', '@']) { format!("'{}", printable(text)).into() } else { printable(text) }
}

fn join<'a>(a: [&'a str; 5], b: [&'a str; 6]) -> [&'a str; 11] {
    std::array::from_fn(|i| if i < 5 { a[i] } else { b[i - 5] })
}
