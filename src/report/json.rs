//! JSON: the complete result, for programs.

use super::{Failed, Report, Reported, Reports, last_used};
use crate::model::{AccessKey, AccountId, LastUsed, Timestamp, count_active};
use crate::policy::{FindingState, Status};
use crate::state::Entry;
use crate::text::is_unsafe;
use serde::Serialize;
use std::collections::BTreeMap;

/// The result for a configuration that lists accounts, or an organisation.
#[derive(Serialize)]
struct Accounts<'a> {
    checked_at: Timestamp,
    summary: Sums,
    accounts: Vec<Document<'a>>,
    failed: Vec<FailedAccount<'a>>,
    /// Null: the list of accounts is complete.
    listing_failure: Option<Failure<'a>>,
}

#[derive(Serialize)]
struct Sums {
    accounts: usize,
    failed_accounts: usize,
    users: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct FailedAccount<'a> {
    account: NamedAccount<'a>,
    #[serde(flatten)]
    failure: Failure<'a>,
}

#[derive(Serialize)]
struct NamedAccount<'a> {
    /// Null: the account of the credentials, which was not identified.
    id: Option<AccountId>,
    name: &'a str,
}

#[derive(Serialize)]
struct Failure<'a> {
    reason: &'static str,
    message: &'a str,
}

/// One account.
#[derive(Serialize)]
struct Document<'a> {
    account: Account<'a>,
    collector: &'static str,
    checked_at: Timestamp,
    facts_at: Timestamp,
    summary: Summary,
    /// Why exemptions by tag or group may not have been applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_details_failure: Option<&'static str>,
    root: Root<'a>,
    users: Vec<UserEntry<'a>>,
}

#[derive(Serialize)]
struct Account<'a> {
    id: &'a str,
    name: &'a str,
    partition: &'a str,
}

#[derive(Serialize)]
struct Summary {
    users: BTreeMap<&'static str, u64>,
    /// Null: not evaluated, because data is missing.
    violations: BTreeMap<&'static str, Option<u64>>,
}

#[derive(Serialize)]
struct Root<'a> {
    /// Null: not known.
    active_access_keys: Option<u32>,
    findings: Vec<FindingEntry<'a>>,
}

#[derive(Serialize)]
struct UserEntry<'a> {
    name: &'a str,
    arn: String,
    status: &'static str,
    observed_at: Timestamp,
    /// Null: not known.
    active_access_keys: Option<usize>,
    access_keys: Option<Vec<KeyEntry<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<&'a str>,
    findings: Vec<FindingEntry<'a>>,
}

#[derive(Serialize)]
struct KeyEntry<'a> {
    key: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    status: &'static str,
    created: Option<Timestamp>,
    /// Null: never used or not known, see `never_used`.
    last_used: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    never_used: Option<bool>,
}

#[derive(Serialize)]
struct FindingEntry<'a> {
    rule: &'static str,
    state: &'static str,
    since: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    tolerated_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exemption_reason: Option<&'a str>,
    keep: Vec<usize>,
    deactivate: Vec<usize>,
    advice: String,
    /// True: from the last successful read; the user could not be read this time.
    last_known: bool,
}

/// The result as one JSON document with a line feed at the end: that of the account, or with a list of accounts that of
/// all. Users are sorted by name.
pub fn render(reports: &Reports<'_>) -> String {
    let json = match &reports.accounts[..] {
        [account] if !reports.lists_accounts => serde_json::to_string_pretty(&document(account)),
        _ => serde_json::to_string_pretty(&accounts(reports)),
    };
    escape(&json.expect("strings, numbers and dates serialize")) + "\n"
}

fn accounts<'a>(reports: &'a Reports<'a>) -> Accounts<'a> {
    let failed = |failed: &'a Failed<'a>| FailedAccount {
        account: NamedAccount { id: failed.account, name: failed.name },
        failure: Failure { reason: failed.reason, message: &failed.message },
    };
    let listing_failure = reports.listing_failure.as_ref();
    Accounts {
        checked_at: reports.now,
        summary: Sums {
            accounts: reports.accounts.len(),
            failed_accounts: reports.failed.len(),
            users: Status::ALL.iter().map(|s| (s.as_str(), reports.users(*s))).collect(),
        },
        accounts: reports.accounts.iter().map(document).collect(),
        failed: reports.failed.iter().map(failed).collect(),
        listing_failure: listing_failure.map(|(reason, message)| Failure { reason, message }),
    }
}

fn document<'a>(report: &Report<'a>) -> Document<'a> {
    let state = report.state;
    Document {
        account: Account {
            id: state.account.id.as_str(),
            name: &state.account.name,
            partition: state.account.partition.as_str(),
        },
        collector: state.collector().map_or("", |c| c.as_str()),
        checked_at: report.now,
        facts_at: state.listed_at().unwrap_or_default(),
        summary: Summary {
            users: Status::ALL.iter().map(|s| (s.as_str(), report.totals.users(*s))).collect(),
            violations: state.rule_totals(report.totals).iter().map(|t| (t.rule.name(), t.violations)).collect(),
        },
        user_details_failure: report.details_failure(),
        root: Root {
            active_access_keys: state.root.active_keys(),
            findings: report.root_findings().into_iter().map(|f| finding(report, f)).collect(),
        },
        users: report.users().map(|(entry, findings)| user(report, entry, findings)).collect(),
    }
}

/// JSON escapes the control characters of ASCII only; a terminal acts upon others, too. All of them are in strings.
fn escape(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && is_unsafe(c) { out.push_str(&format!("\\u{:04x}", u32::from(c))) } else { out.push(c) }
    }
    out
}

fn user<'a>(report: &Report<'a>, entry: &'a Entry, findings: Vec<Reported>) -> UserEntry<'a> {
    let key = |(i, k): (usize, &'a AccessKey)| KeyEntry {
        key: i + 1,
        id: report.key_id(k),
        status: k.status.as_str(),
        created: k.created(),
        last_used: last_used(k),
        never_used: match k.last_used() {
            LastUsed::Unknown => None,
            LastUsed::Never => Some(true),
            LastUsed::At(_) => Some(false),
        },
    };
    let user = &entry.user;
    UserEntry {
        name: user.name.as_str(),
        arn: user.arn(&report.state.account),
        status: entry.status().as_str(),
        observed_at: user.observed_at(),
        active_access_keys: entry.keys().map(count_active),
        access_keys: entry.keys().map(|keys| keys.iter().enumerate().map(key).collect()),
        owner: user.owner(report.owner_tags),
        groups: user.details().groups.iter().map(|group| &**group).collect(),
        tags: user.details().tags.iter().map(|t| (&*t.key, &*t.value)).collect(),
        findings: findings.into_iter().map(|f| finding(report, f)).collect(),
    }
}

fn finding<'a>(report: &Report<'a>, finding: Reported) -> FindingEntry<'a> {
    FindingEntry {
        rule: finding.rule,
        state: finding.state.status().as_str(),
        since: finding.since,
        tolerated_until: match finding.state {
            FindingState::Rotating { until } => Some(until.get()),
            FindingState::Violation | FindingState::Exempt { .. } => None,
        },
        exemption_reason: report.exemption_reason(finding.state),
        keep: finding.advice.keep,
        deactivate: finding.advice.deactivate,
        advice: finding.advice.reason,
        last_known: finding.last_known,
    }
}
