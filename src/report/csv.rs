//! CSV: a row per user and finding, for spreadsheets.
//!
//! Control characters are escaped as in the table. A spreadsheet evaluates a cell that begins like a formula; such cells
//! get an apostrophe before them, which spreadsheets take as "this is text".

use super::{Report, list};
use crate::policy::evaluate::ROOT;
use crate::policy::{Finding, Status};
use crate::text::printable;
use std::borrow::Cow;

const HEADER: [&str; 10] = [
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
];

pub fn render(report: &Report<'_>) -> String {
    let mut out = ::csv::Writer::from_writer(Vec::new());
    let account = &report.facts.inventory.account;
    let mut row = |fields: [&str; 10]| {
        let cells = fields.map(cell);
        out.write_record(cells.iter().map(|c| c.as_bytes())).expect("writing to memory does not fail");
    };
    row(HEADER);
    for (user, status, findings) in report.users() {
        let active = user.active_keys().map_or(String::new(), |n| n.to_string());
        let start = [account.id.as_str(), &user.name, &user.arn, status.as_str(), &active];
        if findings.is_empty() {
            row(join(start, ["", "", "", "", ""]));
        }
        for finding in findings {
            finding_row(&mut row, start, finding);
        }
    }
    let root_arn = format!("arn:{}:iam::{}:root", account.partition, account.id);
    let root_keys = report.facts.inventory.root_active_keys.map_or(String::new(), |n| n.to_string());
    for finding in report.root_findings() {
        let status: Status = finding.state.status();
        finding_row(&mut row, [&account.id, ROOT, &root_arn, status.as_str(), &root_keys], finding);
    }
    String::from_utf8(out.into_inner().expect("writing to memory does not fail")).expect("only text was written")
}

fn finding_row(row: &mut impl FnMut([&str; 10]), start: [&str; 5], finding: &Finding) {
    let since = finding.since.to_string();
    let state = finding.state.status().as_str();
    let deactivate = list(&finding.advice.deactivate);
    row(join(start, [finding.rule.name, state, &since, &deactivate, &finding.advice.reason]));
}

/// Text that a spreadsheet shows as it is.
fn cell(text: &str) -> Cow<'_, str> {
    // A tab or carriage return, which can begin a formula as well, is escaped.
    if text.starts_with(['=', '+', '-', '@']) { format!("'{}", printable(text)).into() } else { printable(text) }
}

fn join<'a>(a: [&'a str; 5], b: [&'a str; 5]) -> [&'a str; 10] {
    std::array::from_fn(|i| if i < 5 { a[i] } else { b[i - 5] })
}
