//! Active keys are in use: none has gone `max_idle` without use (counted from its creation when it was never used).

use super::rule::evaluate_each_active_key;
use super::{Recheck, UserRule, after, remediation, settings};
use crate::model::{AccessKey, LastUsed, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Settings of the rule.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whether the rule is applied.
    pub enabled: bool,
    /// The time without use from which on an active key violates the rule.
    #[serde(with = "settings::duration")]
    pub max_idle: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { enabled: true, max_idle: settings::NINETY_DAYS }
    }
}

/// The rule.
pub static RULE: UserRule = UserRule {
    name: "unused_key",
    description: "No active access key has been unused for longer than the limit.",
    enabled: |s| s.unused_key.enabled,
    evaluate: |s, user, now| {
        evaluate_each_active_key(user.keys, now, |key| unused_from(key, s.unused_key.max_idle, now))
    },
    advise: |s, user, now| {
        remediation::deactivate_unused(user.keys, |k| {
            unused_from(k, s.unused_key.max_idle, now).is_some_and(|t| t <= now)
        })
    },
    recheck: Recheck::InTurn,
    counts_keys: false,
    undetermined: "the last use of a key is not known; with the live collector it is read with --collect.last-used",
    age_limit: |_| None,
};

/// When the key counts as unused if it is not used again; `None` when that is not known.
fn unused_from(key: &AccessKey, max_idle: Duration, now: Timestamp) -> Option<Timestamp> {
    let by_creation = key.created().map(|c| after(c, max_idle));
    match key.last_used() {
        LastUsed::At(used) => Some(after(used, max_idle)),
        LastUsed::Never => by_creation,
        // A key younger than the limit cannot have been unused for longer, whatever its last use.
        LastUsed::Unknown => by_creation.filter(|&at| at > now),
    }
}
