//! The public contract: every metric of facts about AWS. An entry here, a row in `docs/metrics.md`.

use super::family::{Labels, Samples};
use super::{Options, Users};
use crate::model::{AccessKey, KeyStatus, LastUsed, User, count_active};
use crate::policy::{ExemptionState, FindingState, Status};
use crate::state::{AccountFacts, Snapshot};

/// A metric family; all facts are gauges.
pub struct Family {
    pub name: &'static str,
    pub help: &'static str,
    pub samples: Write,
}

/// Where a family's samples come from.
pub enum Write {
    /// From one account's facts: a piece of its own per account.
    Account(fn(&AccountFacts, &Options, &mut Samples<'_>)),
    /// From the snapshot as a whole.
    Whole(fn(&Snapshot, &mut Samples<'_>)),
}

pub static FAMILIES: &[Family] = &[
    Family {
        name: "aws_iam_account_info",
        help: "The AWS account, and the collector its facts came from.",
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
        samples: Write::Account(violation_since),
    },
    Family {
        name: "aws_iam_user_active_access_keys",
        help: "Active access keys of the IAM user.",
        samples: Write::Account(user_active_access_keys),
    },
    Family {
        name: "aws_iam_access_key_active",
        help: "Whether the access key is active (1) or inactive (0).",
        samples: Write::Account(key_active),
    },
    Family {
        name: "aws_iam_access_key_created_timestamp_seconds",
        help: "When the access key was created.",
        samples: Write::Account(key_created),
    },
    Family {
        name: "aws_iam_access_key_last_used_timestamp_seconds",
        help: "When the access key was last used; absent when it never was or when that is not known.",
        samples: Write::Account(key_last_used),
    },
    Family {
        name: "aws_iam_user_info",
        help: "The IAM user's path and allow-listed tags.",
        samples: Write::Account(user_info),
    },
    Family {
        name: "aws_iam_exemptions",
        help: "Exemptions of the configuration by state.",
        samples: Write::Whole(exemptions),
    },
    Family {
        name: "aws_iam_exemption_expires_timestamp_seconds",
        help: "When the exemption of the configuration ends.",
        samples: Write::Whole(exemption_expires),
    },
];

fn account_info(facts: &AccountFacts, _: &Options, out: &mut Samples<'_>) {
    let account = &facts.inventory.account;
    out.add(
        &Labels::new(&[
            ("account_id", &account.id),
            ("account_name", &account.name),
            ("collector", facts.inventory.collector.as_str()),
            ("partition", &account.partition),
        ]),
        1,
    );
}

fn users(facts: &AccountFacts, _: &Options, out: &mut Samples<'_>) {
    for status in Status::ALL {
        let labels = Labels::new(&[("account_id", &facts.inventory.account.id), ("status", status.as_str())]);
        out.add(&labels, number(facts.evaluation.count(status)));
    }
}

fn access_keys(facts: &AccountFacts, _: &Options, out: &mut Samples<'_>) {
    for status in [KeyStatus::Active, KeyStatus::Inactive] {
        let keys = facts.inventory.users.iter().filter_map(|u| u.keys.as_known()).flatten();
        let count = keys.filter(|k| k.status == status).count();
        let labels = Labels::new(&[("account_id", &facts.inventory.account.id), ("status", status.as_str())]);
        out.add(&labels, number(count as u64));
    }
}

fn root_active_access_keys(facts: &AccountFacts, _: &Options, out: &mut Samples<'_>) {
    if let Some(keys) = facts.inventory.root_active_keys {
        out.add(&Labels::new(&[("account_id", &facts.inventory.account.id)]), keys.into());
    }
}

fn violations(facts: &AccountFacts, _: &Options, out: &mut Samples<'_>) {
    for total in &facts.evaluation.totals {
        if let Some(violations) = total.violations {
            let labels = Labels::new(&[("account_id", &facts.inventory.account.id), ("rule", total.rule.name)]);
            out.add(&labels, number(violations));
        }
    }
}

fn violation_since(facts: &AccountFacts, options: &Options, out: &mut Samples<'_>) {
    if options.users == Users::None {
        return;
    }
    for finding in facts.evaluation.violations() {
        if let Some(user) = finding.user {
            let labels = Labels::new(&[
                ("account_id", &facts.inventory.account.id),
                ("rule", finding.rule.name),
                ("user_name", &facts.inventory.users[user].name),
            ]);
            out.add(&labels, finding.since.as_second());
        }
    }
}

fn user_active_access_keys(facts: &AccountFacts, options: &Options, out: &mut Samples<'_>) {
    let mut labels = Labels::new(&[("account_id", &facts.inventory.account.id)]);
    let len = labels.len();
    for user in selected(facts, options) {
        if let Some(keys) = user.keys.as_known() {
            labels.truncate(len);
            labels.push("user_name", &user.name);
            out.add(&labels, number(count_active(keys) as u64));
        }
    }
}

fn key_active(facts: &AccountFacts, options: &Options, out: &mut Samples<'_>) {
    of_keys(facts, options, out, |key| Some(i64::from(key.is_active())));
}

fn key_created(facts: &AccountFacts, options: &Options, out: &mut Samples<'_>) {
    of_keys(facts, options, out, |key| key.created.map(jiff::Timestamp::as_second));
}

fn key_last_used(facts: &AccountFacts, options: &Options, out: &mut Samples<'_>) {
    of_keys(facts, options, out, |key| match key.last_used {
        LastUsed::At(at) => Some(at.as_second()),
        LastUsed::Never | LastUsed::Unknown => None,
    });
}

fn user_info(facts: &AccountFacts, options: &Options, out: &mut Samples<'_>) {
    if !options.user_info {
        return;
    }
    for user in selected(facts, options) {
        let mut labels = Labels::new(&[("account_id", &facts.inventory.account.id), ("path", &user.path)]);
        for name in &options.tags {
            if let Some(tag) = user.tags.iter().find(|t| t.key == *name && !t.names_an_access_key()) {
                labels.push(&tag_label(name), &tag.value);
            }
        }
        labels.push("user_name", &user.name);
        out.add(&labels, 1);
    }
}

fn exemptions(snapshot: &Snapshot, out: &mut Samples<'_>) {
    for state in ExemptionState::ALL {
        let count = snapshot.exemptions.iter().filter(|s| **s == state).count();
        out.add(&Labels::new(&[("state", state.as_str())]), number(count as u64));
    }
}

fn exemption_expires(snapshot: &Snapshot, out: &mut Samples<'_>) {
    for exemption in &snapshot.policy.exemptions {
        let labels = Labels::new(&[
            ("account", exemption.account.as_deref().unwrap_or_default()),
            ("rule", exemption.rule.map_or("", |r| r.name)),
            ("user", &exemption.user),
        ]);
        out.add(&labels, exemption.expires.as_second());
    }
}

/// The users that have series of their own.
fn selected<'a>(facts: &'a AccountFacts, options: &Options) -> impl Iterator<Item = &'a User> {
    let which = options.users;
    let mut violating = vec![false; if which == Users::Violating { facts.inventory.users.len() } else { 0 }];
    if which == Users::Violating {
        for finding in facts.evaluation.findings.iter().filter(|f| f.state == FindingState::Violation) {
            if let Some(user) = finding.user {
                violating[user] = true;
            }
        }
    }
    facts.inventory.users.iter().enumerate().filter_map(move |(i, user)| {
        let wanted = match which {
            Users::All => true,
            Users::Keyed => user.keys.as_known().is_none_or(|keys| !keys.is_empty()),
            Users::Violating => violating[i],
            Users::None => false,
        };
        wanted.then_some(user)
    })
}

fn of_keys(facts: &AccountFacts, options: &Options, out: &mut Samples<'_>, value: impl Fn(&AccessKey) -> Option<i64>) {
    let account = &facts.inventory.account.id;
    let mut labels = Labels::default();
    for user in selected(facts, options) {
        for (number, key) in user.keys.as_known().unwrap_or_default().iter().enumerate() {
            let Some(value) = value(key) else { continue };
            labels.truncate(0);
            if options.access_key_id {
                labels.push("access_key_id", key.id.as_deref().unwrap_or_default());
            }
            labels.push("account_id", account);
            labels.push("key", itoa::Buffer::new().format(number + 1));
            labels.push("user_name", &user.name);
            out.add(&labels, value);
        }
    }
}

/// `tag_` and the tag's name as a label name can hold it.
pub fn tag_label(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    format!("tag_{}", name.chars().map(safe).collect::<String>())
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

    #[test]
    fn tags_become_label_names() {
        assert_eq!(tag_label("Cost-Centre/é"), "tag_cost_centre__");
    }
}
