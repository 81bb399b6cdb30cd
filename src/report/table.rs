//! The table: users with findings or unknown keys, since when, and what to do.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use super::layout::{Row, arrange};
use super::{Failed, Report, Reported, Reports, list};
use crate::model::{AccessKey, LastUsed, Timestamp};
use crate::policy::evaluate::ROOT;
use crate::policy::{FindingState, Rule, Status};
use crate::state::Entry;
use crate::text::printable;
use anstyle::{AnsiColor, Style};

/// Terminal properties that the table depends on.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    /// Whether statuses are coloured by escape sequences.
    pub color: bool,
    /// The width of the terminal in columns; `None` if it is not known, and the table as wide as needed.
    pub width: Option<u16>,
}

/// The accounts, each as a table and a summary. The table contains the users that are not compliant, and the root user if
/// it violates a rule; violations come first. With several accounts, the summary of each is before its table, and the sums
/// are at the end.
pub fn render(reports: &Reports<'_>, terminal: Terminal) -> String {
    if let ([report], [], None) = (&reports.accounts[..], &reports.failed[..], &reports.listing_failure) {
        return users(report, terminal) + &summary(report);
    }
    let mut out = String::new();
    for report in &reports.accounts {
        let users = users(report, terminal);
        if !users.is_empty() {
            empty_line(&mut out);
        }
        out.push_str(&summary(report));
        if !users.is_empty() {
            out.push_str(users.trim_end());
            out.push_str("\n\n");
        }
    }
    for failed in &reports.failed {
        out.push_str(&not_read(failed));
    }
    empty_line(&mut out);
    out + &sums(reports)
}

/// Separates what follows, unless it is the first, or is separated already.
fn empty_line(out: &mut String) {
    if !out.is_empty() && !out.ends_with("\n\n") {
        out.push('\n');
    }
}

fn not_read(failed: &Failed<'_>) -> String {
    let name = if failed.name.is_empty() { String::new() } else { format!(" ({})", failed.name) };
    let text = format!("Account {}{name}, not read ({}): {}", failed.id(), failed.reason, failed.message);
    format!("{}\n", printable(&text))
}

/// The users of an account that need attention.
fn users(report: &Report<'_>, terminal: Terminal) -> String {
    let mut rows: Vec<(Status, Vec<Row>)> = Vec::new();
    let root = report.root_findings();
    if let Some(worst) = root.iter().map(|f| f.state.status()).max() {
        let keys = report.state.root.active_keys().map_or(String::new(), |n| format!("{n} active"));
        let start = [ROOT.to_owned(), String::new(), status(worst, terminal), keys];
        rows.push((worst, block(start, None, &root, report)));
    }
    for (entry, findings) in report.users().filter(|(entry, _)| entry.status() != Status::Compliant) {
        let name = printable(entry.user.name.as_str()).into_owned();
        let owner = entry.user.owner(report.owner_tags).map_or(String::new(), |owner| printable(owner).into_owned());
        let start = [name, owner, status(entry.status(), terminal), keys(entry, report)];
        rows.push((entry.status(), block(start, unknown(entry), &findings, report)));
    }
    rows.sort_by_key(|(status, _)| urgency(*status));
    arrange(rows.into_iter().map(|(_, rows)| rows).collect(), terminal.width)
}

/// Order of the rows.
fn urgency(status: Status) -> u8 {
    match status {
        Status::Violation => 0,
        Status::Unknown => 1,
        Status::Rotating => 2,
        Status::Exempt => 3,
        Status::Compliant => 4,
    }
}

fn status(status: Status, terminal: Terminal) -> String {
    let color = match status {
        Status::Violation => AnsiColor::Red,
        Status::Unknown => AnsiColor::Magenta,
        Status::Rotating => AnsiColor::Yellow,
        Status::Exempt => AnsiColor::Blue,
        Status::Compliant => AnsiColor::Green,
    };
    if !terminal.color {
        return status.as_str().to_owned();
    }
    let style = Style::new().fg_color(Some(color.into())).bold();
    format!("{style}{}{style:#}", status.as_str())
}

fn keys(entry: &Entry, report: &Report<'_>) -> String {
    let Some(keys) = entry.keys() else { return "not known".into() };
    if keys.is_empty() {
        return "none".into();
    }
    let describe = |(number, key): (usize, &AccessKey)| {
        let id = report.key_id(key).map_or(String::new(), |id| format!(" {}", printable(id)));
        let age = key.created().map_or("of unknown age".to_owned(), |c| format!("{} old", ago(c, report.now)));
        let used = match key.last_used() {
            LastUsed::At(at) => format!("used {} ago", ago(at, report.now)),
            LastUsed::Never => "never used".into(),
            LastUsed::Unknown => "last use not known".into(),
        };
        format!("{number}:{id} {}, {age}, {used}", key.status.as_str())
    };
    (1..).zip(keys).map(describe).collect::<Vec<_>>().join("\n")
}

/// The rows of one user: one per finding; the first one names the user.
fn block(start: [String; 4], note: Option<String>, findings: &[Reported], report: &Report<'_>) -> Vec<Row> {
    let notes = note.into_iter().map(|note| (String::new(), note));
    let rest = notes.chain(findings.iter().map(|f| (since(f, report.now), to_do(f, report))));
    let [user, owner, status, keys] = start;
    let mut rows: Vec<Row> =
        rest.map(|(since, to_do)| [String::new(), String::new(), String::new(), String::new(), since, to_do]).collect();
    if rows.is_empty() {
        rows.push(Default::default());
    }
    let first = &mut rows[0];
    (first[0], first[1], first[2], first[3]) = (user, owner, status, keys);
    rows
}

fn since(finding: &Reported, now: Timestamp) -> String {
    let day = finding.since.strftime("%Y-%m-%d");
    match finding.state {
        FindingState::Rotating { until } => format!("{day}, tolerated for {}", ago(now, until.get())),
        FindingState::Violation | FindingState::Exempt { .. } => format!("{day} ({})", ago(finding.since, now)),
    }
}

fn to_do(finding: &Reported, report: &Report<'_>) -> String {
    let rule = finding.rule;
    if let Some(reason) = report.exemption_reason(finding.state) {
        return format!("{rule}: exempt, {}", printable(reason));
    }
    let advice = &finding.advice;
    let stale = if finding.last_known { " (from the last successful read)" } else { "" };
    let keys = match (&advice.keep[..], &advice.deactivate[..]) {
        (_, []) => String::new(),
        ([], old) => format!("deactivate key {}; ", list(old)),
        (keep, old) => format!("keep key {}, deactivate key {}; ", list(keep), list(old)),
    };
    format!("{rule}{stale}: {keys}{}", advice.reason)
}

fn unknown(entry: &Entry) -> Option<String> {
    let reason = entry.user.keys().unknown_reason().filter(|_| entry.keys().is_none())?;
    Some(format!("the keys could not be read ({})", printable(reason)))
}

/// The last lines, with several accounts.
fn sums(reports: &Reports<'_>) -> String {
    let mut out = String::new();
    if let Some((reason, message)) = &reports.listing_failure {
        let text = format!("The accounts could not be listed ({reason}): {message}");
        out.push_str(&format!("{}\n", printable(&text)));
    }
    let (read, failed) = (reports.accounts.len(), reports.failed.len());
    let missing = if failed == 0 { String::new() } else { format!(", {failed} not read") };
    let users = reports.accounts.iter().map(|report| report.state.users().len()).sum();
    out + &format!("{}{missing}, {}\n", count(read, "account"), by_status(users, |status| reports.users(status)))
}

/// `3 users: 2 compliant, 1 violation`.
fn by_status(users: usize, of: impl Fn(Status) -> u64) -> String {
    let counts = Status::ALL.iter().map(|s| (of(*s), s)).filter(|(n, _)| *n > 0);
    let counts: Vec<String> = counts.map(|(n, s)| format!("{n} {}", s.as_str())).collect();
    let breakdown = if counts.is_empty() { String::new() } else { format!(": {}", counts.join(", ")) };
    count(users, "user") + &breakdown
}

fn count(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

fn summary(report: &Report<'_>) -> String {
    let state = report.state;
    let account = state.account.to_string();
    let users = by_status(state.users().len(), |status| report.totals.users(status));
    let mut out = format!("Account {}, {users}\n", printable(&account));
    for total in state.rule_totals(report.totals).iter().filter(|t| t.violations.is_none()) {
        let why = match (total.rule, state.root.failure()) {
            (Rule::Root(_), Some(reason)) => format!("GetAccountSummary failed ({reason})"),
            (rule, _) => rule.undetermined().to_owned(),
        };
        out.push_str(&format!("{}: not evaluated, {why}\n", total.rule.name()));
    }
    if let Some(reason) = report.details_failure() {
        out.push_str(&format!("Tags and groups: not known ({reason}), exemptions that need them may not be applied\n"));
    }
    let listed_at = state.listed_at().unwrap_or_default();
    if report.now.duration_since(listed_at) > jiff::SignedDuration::from_mins(5) {
        out.push_str(&format!("The data is {} old\n", ago(listed_at, report.now)));
    }
    out
}

/// The time between two moments, in its largest unit.
fn ago(earlier: Timestamp, later: Timestamp) -> String {
    let seconds = later.duration_since(earlier).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
