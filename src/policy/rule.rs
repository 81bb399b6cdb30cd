//! What a rule is.

use super::{Advice, RuleSettings};
use crate::model::{AccessKey, Timestamp, User};
use std::time::Duration;

/// A rule for IAM users.
pub struct UserRule {
    /// The value of the label `rule`, and the key in the configuration file.
    pub name: &'static str,
    /// What the rule requires, in one sentence.
    pub description: &'static str,
    /// Whether the rule is applied.
    pub enabled: fn(&RuleSettings) -> bool,
    /// Applies the rule to one user at one point in time; called only when the rule is enabled.
    pub evaluate: fn(&RuleSettings, &UserKeys<'_>, Timestamp) -> Outcome,
    /// How to end a violation at one point in time.
    pub advise: fn(&RuleSettings, &UserKeys<'_>, Timestamp) -> Advice,
    /// How often users that violate the rule by a report are rechecked live.
    pub recheck: Recheck,
    /// Whether the rule limits the number of keys: some of a user's keys then suffice to show a violation.
    pub counts_keys: bool,
    /// Why the result can be undetermined.
    pub undetermined: &'static str,
    /// The age at which the rule requires a rotation; `None` for a rule that limits no age.
    pub age_limit: fn(&RuleSettings) -> Option<Duration>,
}

/// A rule for the root user.
pub struct RootRule {
    /// The value of the label `rule`, and the key in the configuration file.
    pub name: &'static str,
    /// What the rule requires, in one sentence.
    pub description: &'static str,
    /// Whether the rule is applied.
    pub enabled: fn(&RuleSettings) -> bool,
    /// Applies the rule at one point in time; called only when the rule is enabled.
    pub evaluate: fn(&RuleSettings, &RootSubject, Timestamp) -> Outcome,
    /// How to end a violation.
    pub advice: &'static str,
    /// Why the result can be undetermined.
    pub undetermined: &'static str,
}

/// How often users that violate a rule are rechecked, from rarely to often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Recheck {
    /// A bounded number at each check, the oldest observations first: an account can have thousands of old keys.
    InTurn,
    /// At every check.
    EveryCheck,
}

/// The keys of one user, as a rule sees them.
#[derive(Debug, Clone, Copy)]
pub struct UserKeys<'a> {
    /// In the order of creation.
    pub keys: &'a [AccessKey],
    user: &'a User,
}

impl<'a> UserKeys<'a> {
    /// The last known keys of a user.
    pub fn of(user: &'a User) -> Self {
        UserKeys { keys: user.keys().latest().unwrap_or_default(), user }
    }

    /// Stands in for the creation of a key without a date: the user's creation, else the time of the observation.
    pub fn undated(&self) -> Timestamp {
        self.user.created().unwrap_or_else(|| self.user.observed_at())
    }
}

/// The root user's keys, as a rule sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootSubject {
    /// `None` when not known.
    pub active_keys: Option<u32>,
    /// The first of the observations since which the root user has active keys without interruption.
    pub active_since: Timestamp,
}

/// The result of applying one rule at one point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Not violated.
    Compliant {
        /// The earliest time at which the rule can be violated without a new observation; `None` if it cannot.
        until: Option<Timestamp>,
    },
    /// Violated.
    Violated {
        /// When the violation began.
        since: Timestamp,
        /// The end of the grace period, in the future; `None` outside a grace period.
        grace_ends: Option<Timestamp>,
    },
    /// The data do not suffice.
    Undetermined {
        /// The earliest time at which the rule can be violated without a new observation; `None` if it cannot.
        until: Option<Timestamp>,
    },
}

/// Applies a rule that each active key violates from a time of its own; the violation began with the first key.
pub(super) fn evaluate_each_active_key(
    keys: &[AccessKey],
    now: Timestamp,
    violates_at: impl Fn(&AccessKey) -> Option<Timestamp>,
) -> Outcome {
    let mut earliest: Option<Timestamp> = None;
    let mut undetermined = false;
    for key in keys.iter().filter(|k| k.is_active()) {
        match violates_at(key) {
            Some(at) => earliest = Some(earliest.map_or(at, |e| e.min(at))),
            None => undetermined = true,
        }
    }
    match earliest {
        Some(since) if since <= now => Outcome::Violated { since, grace_ends: None },
        until if undetermined => Outcome::Undetermined { until },
        until => Outcome::Compliant { until },
    }
}

/// Any rule, where its kind does not matter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// A rule for IAM users.
    User(&'static UserRule),
    /// A rule for the root user.
    Root(&'static RootRule),
}

impl Rule {
    /// The value of the label `rule`.
    pub fn name(&self) -> &'static str {
        match self {
            Rule::User(rule) => rule.name,
            Rule::Root(rule) => rule.name,
        }
    }

    /// What the rule requires, in one sentence.
    pub fn description(&self) -> &'static str {
        match self {
            Rule::User(rule) => rule.description,
            Rule::Root(rule) => rule.description,
        }
    }

    /// Why the result can be undetermined.
    pub fn undetermined(&self) -> &'static str {
        match self {
            Rule::User(rule) => rule.undetermined,
            Rule::Root(rule) => rule.undetermined,
        }
    }
}

macro_rules! compared_by_name {
    ($($type:ty),*) => {$(
        impl PartialEq for $type {
            fn eq(&self, other: &Self) -> bool {
                self.name == other.name
            }
        }

        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name)
            }
        }
    )*};
}

compared_by_name!(UserRule, RootRule);
