//! Active keys are rotated: none is older than `max_age`.

use super::rule::evaluate_each_active_key;
use super::{Recheck, UserRule, after, remediation, settings};
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub enabled: bool,
    #[serde(with = "settings::duration")]
    pub max_age: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { enabled: true, max_age: settings::NINETY_DAYS }
    }
}

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
