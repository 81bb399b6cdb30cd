//! Active keys are rotated: none is older than `max_age`.

use super::rule::evaluate_each_active_key;
use super::{Recheck, UserRule, after, remediation, settings};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Settings of the rule.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whether the rule is applied.
    pub enabled: bool,
    /// The age from which on an active key violates the rule.
    #[serde(with = "settings::duration")]
    pub max_age: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { enabled: true, max_age: settings::NINETY_DAYS }
    }
}

/// The rule.
pub static RULE: UserRule = UserRule {
    name: "key_age",
    description: "No active access key is older than the limit.",
    enabled: |s| s.key_age.enabled,
    evaluate: |s, user, now| {
        evaluate_each_active_key(user.keys, now, |key| key.created().map(|c| after(c, s.key_age.max_age)))
    },
    advise: |s, user, now| remediation::rotate_old(user.keys, s.key_age.max_age, now),
    recheck: Recheck::InTurn,
    counts_keys: false,
    undetermined: "the creation date of a key is not known",
    age_limit: |s| Some(s.key_age.max_age),
};
