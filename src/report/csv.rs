//! CSV: a row per user and finding, for spreadsheets.
//!
//! Control characters are escaped as in the table. A spreadsheet evaluates a cell that begins like a formula; such cells
//! get an apostrophe before them, which spreadsheets take as "this is text".

use super::{Report, Reported, Reports, list};
use crate::model::count_active;
use crate::policy::evaluate::ROOT;
use crate::text::printable;
use std::borrow::Cow;

const COLUMNS: usize = 12;
const HEADER: [&str; COLUMNS] = [
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
    "account_name",
];

/// The accounts as CSV with a header, users sorted by name, findings of the root user after those of users.
pub fn render(reports: &Reports<'_>) -> String {
    let mut out = ::csv::Writer::from_writer(Vec::new());
    let mut row = |fields: [&str; COLUMNS]| {
        let cells = fields.map(cell);
        out.write_record(cells.iter().map(|c| c.as_bytes())).expect("writing to memory does not fail");
    };
    row(HEADER);
    for report in &reports.accounts {
        account_rows(&mut row, report);
    }
    String::from_utf8(out.into_inner().expect("writing to memory does not fail")).expect("only text was written")
}

fn account_rows(row: &mut impl FnMut([&str; COLUMNS]), report: &Report<'_>) {
    let account = &report.state.account;
    for (entry, findings) in report.users() {
        let active = entry.keys().map_or(String::new(), |keys| count_active(keys).to_string());
        let (arn, status) = (entry.user.arn(account), entry.status().as_str());
        let start = [account.id.as_str(), entry.user.name.as_str(), &arn, status, &active];
        let end = [entry.user.owner(report.owner_tags).unwrap_or_default(), &account.name];
        if findings.is_empty() {
            row(join(start, [""; 5], end));
        }
        for finding in &findings {
            finding_row(row, start, finding, end);
        }
    }
    let root_arn = account.root_arn();
    let root_keys = report.state.root.active_keys().map_or(String::new(), |n| n.to_string());
    for finding in &report.root_findings() {
        let status = finding.state.status().as_str();
        finding_row(row, [account.id.as_str(), ROOT, &root_arn, status, &root_keys], finding, ["", &account.name]);
    }
}

fn finding_row(row: &mut impl FnMut([&str; COLUMNS]), start: [&str; 5], finding: &Reported, end: [&str; 2]) {
    let since = finding.since.to_string();
    let state = finding.state.status().as_str();
    let deactivate = list(&finding.advice.deactivate);
    row(join(start, [finding.rule, state, &since, &deactivate, &finding.advice.reason], end));
}

/// Text that a spreadsheet shows as it is.
fn cell(text: &str) -> Cow<'_, str> {
    // A tab or carriage return, which can begin a formula as well, is escaped.
    if text.starts_with(['=', '+', '-', '@']) { format!("'{}", printable(text)).into() } else { printable(text) }
}

fn join<'a>(user: [&'a str; 5], finding: [&'a str; 5], end: [&'a str; 2]) -> [&'a str; COLUMNS] {
    let mut fields = user.into_iter().chain(finding).chain(end);
    std::array::from_fn(|_| fields.next().unwrap_or_default())
}
