//! The public contract: every metric about AWS. An entry here, a row in `docs/metrics.md`.

use super::family::{Labels, Samples};
use super::{Options, Users};
use crate::model::{AccessKey, AccessKeyId, DetailsScope, KeyStatus, LastUsed, Timestamp, count_active};
use crate::policy::{Exemption, FindingState, Status};
use crate::state::{AccountState, Entry, Snapshot};
use crate::text::label_name;

/// A metric family; all are gauges.
pub struct Family {
    /// The name of the metric.
    pub name: &'static str,
    /// The text of `# HELP`: one sentence.
    pub help: &'static str,
    /// Writes the samples.
    pub samples: Write,
}

/// Where a family's samples come from.
pub enum Write {
    /// From one account.
    Account(fn(&AccountState, &Options, &mut Samples<'_>)),
    /// From users of one account.
    Users(fn(&AccountState, &[Entry], &Options, &mut Samples<'_>)),
    /// From the snapshot as a whole.
    Whole(fn(&Snapshot, Timestamp, &mut Samples<'_>)),
}

/// All families, in the order of the exposition.
pub static FAMILIES: &[Family] = &[
    Family {
        name: "aws_iam_account_info",
        help: "The AWS account, and the collector of its inventory.",
        samples: Write::Account(account_info),
    },
    Family { name: "aws_iam_users", help: "IAM users by status.", samples: Write::Account(users) },
    Family {
        name: "aws_iam_access_keys",
        help: "Access keys of IAM users by status.",
        samples: Write::Account(access_keys),
    },
    Family {
        name: "aws_iam_account_root_active_access_keys",
        help: "Active access keys of the root user.",
        samples: Write::Account(root_active_access_keys),
    },
    Family {
        name: "aws_iam_access_key_violations",
        help: "IAM users, or for root_access_key roots, in violation of the rule.",
        samples: Write::Account(violations),
    },
    Family {
        name: "aws_iam_user_violation_since_timestamp_seconds",
        help: "When the user's violation of the rule began, by AWS's own dates.",
        samples: Write::Users(violation_since),
    },
    Family {
        name: "aws_iam_user_active_access_keys",
        help: "Active access keys of the IAM user.",
        samples: Write::Users(user_active_access_keys),
    },
    Family {
        name: "aws_iam_access_key_active",
        help: "Whether the access key is active (1) or inactive (0).",
        samples: Write::Users(key_active),
    },
    Family {
        name: "aws_iam_access_key_created_timestamp_seconds",
        help: "When the access key was created.",
        samples: Write::Users(key_created),
    },
    Family {
        name: "aws_iam_access_key_last_used_timestamp_seconds",
        help: "When the access key was last used; absent when it never was or when that is not known.",
        samples: Write::Users(key_last_used),
    },
    Family {
        name: "aws_iam_account_user_details_up",
        help: "Whether the tags and groups of users could be read that exemptions or labels need.",
        samples: Write::Account(user_details_up),
    },
    Family {
        name: "aws_iam_user_info",
        help: "The IAM user's path, owner and allow-listed tags.",
        samples: Write::Users(user_info),
    },
    Family {
        name: "aws_iam_exemption_matched",
        help: "Whether the exemption of the configuration matches a user of the accounts that this process checks.",
        samples: Write::Whole(exemption_matched),
    },
    Family {
        name: "aws_iam_exemption_expires_timestamp_seconds",
        help: "When the exemption of the configuration ends.",
        samples: Write::Whole(exemption_expires),
    },
];

fn account_info(state: &AccountState, _: &Options, out: &mut Samples<'_>) {
    let account = &state.account;
    out.add(
        &Labels::new(&[
            ("account_id", account.id.as_str()),
            ("account_name", &account.name),
            ("collector", state.collector().map_or("", |c| c.as_str())),
            ("partition", account.partition.as_str()),
        ]),
        1,
    );
}

fn users(state: &AccountState, _: &Options, out: &mut Samples<'_>) {
    let totals = state.totals();
    for status in Status::ALL {
        let labels = Labels::new(&[("account_id", state.account.id.as_str()), ("status", status.as_str())]);
        out.add(&labels, number(totals.users(status)));
    }
}

fn access_keys(state: &AccountState, _: &Options, out: &mut Samples<'_>) {
    let totals = state.totals();
    for status in [KeyStatus::Active, KeyStatus::Inactive] {
        let labels = Labels::new(&[("account_id", state.account.id.as_str()), ("status", status.as_str())]);
        out.add(&labels, number(totals.access_keys(status)));
    }
}

fn root_active_access_keys(state: &AccountState, _: &Options, out: &mut Samples<'_>) {
    if let Some(keys) = state.root.active_keys() {
        out.add(&Labels::new(&[("account_id", state.account.id.as_str())]), keys.into());
    }
}

fn violations(state: &AccountState, _: &Options, out: &mut Samples<'_>) {
    for total in state.rule_totals(&state.totals()) {
        if let Some(violations) = total.violations {
            let labels = Labels::new(&[("account_id", state.account.id.as_str()), ("rule", total.rule.name())]);
            out.add(&labels, number(violations));
        }
    }
}

fn violation_since(state: &AccountState, users: &[Entry], options: &Options, out: &mut Samples<'_>) {
    if options.users == Users::None {
        return;
    }
    for entry in users {
        let findings = entry.verdict().map_or(&[][..], |v| &v.findings);
        for finding in findings.iter().filter(|f| f.state == FindingState::Violation) {
            let labels = Labels::new(&[
                ("account_id", state.account.id.as_str()),
                ("rule", finding.rule.name),
                ("user_name", entry.user.name.as_str()),
            ]);
            out.add(&labels, finding.since().as_second());
        }
    }
}

fn user_active_access_keys(state: &AccountState, users: &[Entry], options: &Options, out: &mut Samples<'_>) {
    let mut labels = Labels::new(&[("account_id", state.account.id.as_str())]);
    let len = labels.len();
    for entry in selected(users, options) {
        if let Some(keys) = entry.keys() {
            labels.truncate(len);
            labels.push("user_name", entry.user.name.as_str());
            out.add(&labels, number(count_active(keys) as u64));
        }
    }
}

fn key_active(state: &AccountState, users: &[Entry], options: &Options, out: &mut Samples<'_>) {
    of_keys(state, users, options, out, |key| Some(i64::from(key.is_active())));
}

fn key_created(state: &AccountState, users: &[Entry], options: &Options, out: &mut Samples<'_>) {
    of_keys(state, users, options, out, |key| key.created().map(Timestamp::as_second));
}

fn key_last_used(state: &AccountState, users: &[Entry], options: &Options, out: &mut Samples<'_>) {
    of_keys(state, users, options, out, |key| match key.last_used() {
        LastUsed::At(at) => Some(at.as_second()),
        LastUsed::Never | LastUsed::Unknown => None,
    });
}

/// Absent where nothing needs tags or groups.
fn user_details_up(state: &AccountState, options: &Options, out: &mut Samples<'_>) {
    let mut needed = state.details_needed();
    needed.add(&DetailsScope::new(options.tags.iter().chain(&options.owner_tags), false));
    if !needed.is_empty() {
        let up = state.details_failure(&needed).is_none();
        out.add(&Labels::new(&[("account_id", state.account.id.as_str())]), up.into());
    }
}

fn user_info(state: &AccountState, users: &[Entry], options: &Options, out: &mut Samples<'_>) {
    if !options.user_info {
        return;
    }
    for entry in selected(users, options) {
        let user = &entry.user;
        let mut labels = Labels::new(&[("account_id", state.account.id.as_str())]);
        if let Some(owner) = user.owner(&options.owner_tags) {
            labels.push("owner", owner);
        }
        labels.push("path", &user.path);
        for name in &options.tags {
            if let Some(value) = user.tag(name) {
                labels.push(&label_name(name), value);
            }
        }
        labels.push("user_name", user.name.as_str());
        out.add(&labels, 1);
    }
}

/// One series for each exemption, so that the maximum over processes that share the accounts is the truth.
fn exemption_matched(snapshot: &Snapshot, _: Timestamp, out: &mut Samples<'_>) {
    for (exemption, matched) in snapshot.policy().exemptions.iter().zip(snapshot.matched_exemptions()) {
        if let Some(matched) = matched {
            out.add(&exemption_labels(exemption), i64::from(matched));
        }
    }
}

fn exemption_expires(snapshot: &Snapshot, _: Timestamp, out: &mut Samples<'_>) {
    for exemption in snapshot.policy().exemptions.iter() {
        out.add(&exemption_labels(exemption), exemption.expires.as_second());
    }
}

/// As written in the configuration, where no two exemptions have the same.
fn exemption_labels(exemption: &Exemption) -> Labels {
    let selector = &exemption.selector;
    let mut labels = Labels::new(&[("account", exemption.account.as_ref().map_or("", |id| id.as_str()))]);
    let tag = selector.tag_text();
    for (name, value) in [("group", &selector.group), ("path", &selector.path)] {
        if let Some(value) = value {
            labels.push(name, value);
        }
    }
    labels.push("rule", exemption.rule.map_or("", |r| r.name()));
    if let Some(tag) = &tag {
        labels.push("tag", tag);
    }
    labels.push("user", selector.user.as_deref().unwrap_or_default());
    labels
}

/// The users that have series of their own.
fn selected<'a>(users: &'a [Entry], options: &Options) -> impl Iterator<Item = &'a Entry> {
    let which = options.users;
    users.iter().filter(move |entry| match which {
        Users::All => true,
        Users::Keyed => entry.keys().is_none_or(|keys| !keys.is_empty()),
        Users::Violating => entry.verdict().is_some_and(|v| v.has_violation()),
        Users::None => false,
    })
}

fn of_keys(
    state: &AccountState,
    users: &[Entry],
    options: &Options,
    out: &mut Samples<'_>,
    value: impl Fn(&AccessKey) -> Option<i64>,
) {
    let mut labels = Labels::default();
    for entry in selected(users, options) {
        for (number, key) in entry.keys().unwrap_or_default().iter().enumerate() {
            let Some(value) = value(key) else { continue };
            labels.truncate(0);
            if options.access_key_id {
                labels.push("access_key_id", key.id.as_ref().map_or("", AccessKeyId::as_str));
            }
            labels.push("account_id", state.account.id.as_str());
            labels.push("key", itoa::Buffer::new().format(number + 1));
            labels.push("user_name", entry.user.name.as_str());
            out.add(&labels, value);
        }
    }
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_helps_are_well_formed_and_unique() {
        let mut seen = std::collections::HashSet::new();
        for family in FAMILIES {
            assert!(seen.insert(family.name), "{} occurs twice", family.name);
            assert!(family.name.starts_with("aws_iam_") && !family.name.ends_with("_total"), "{}", family.name);
            assert!(family.help.ends_with('.') && !family.help.contains(['\n', '\\']), "{}", family.name);
        }
    }
}
