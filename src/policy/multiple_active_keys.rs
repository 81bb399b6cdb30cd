//! The policy itself: at most `limit` active access keys a user (CIS AWS Foundations 1.13 / 1.12 / 2.12: one).

use super::{Outcome, Recheck, RuleSettings, UserKeys, UserRule, after, remediation, settings};
use crate::model::Timestamp;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::time::Duration;

/// The difference between the local clock and AWS's clock up to which a key dated in the future is a new key. A date
/// beyond it means a wrong clock, and must not grant a grace period.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(300);

/// Settings of the rule.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whether the rule is applied.
    pub enabled: bool,
    /// Active keys a user may have.
    pub limit: NonZeroU32,
    /// How long a further key is tolerated, counted from its creation: time to rotate. Zero by default.
    #[serde(with = "settings::duration")]
    pub rotation_grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { enabled: true, limit: NonZeroU32::MIN, rotation_grace: Duration::ZERO }
    }
}

/// The rule.
pub static RULE: UserRule = UserRule {
    name: "multiple_active_keys",
    description: "A user has at most one active access key.",
    enabled: |s| s.multiple_active_keys.enabled,
    evaluate,
    advise: |s, user, now| {
        remediation::keep_best(user.keys, s.multiple_active_keys.limit.get() as usize, s.age_limit(), now)
    },
    recheck: Recheck::EveryCheck,
    counts_keys: true,
    undetermined: "not all keys of a user are known",
    age_limit: |_| None,
};

/// The violation began when the key that exceeds the limit was created: AWS's own date, which survives a restart.
fn evaluate(settings: &RuleSettings, user: &UserKeys<'_>, now: Timestamp) -> Outcome {
    let settings = &settings.multiple_active_keys;
    let Some(exceeding) = user.keys.iter().filter(|k| k.is_active()).nth(settings.limit.get() as usize) else {
        return Outcome::Compliant { until: None };
    };
    let created = exceeding.created().unwrap_or_else(|| user.undated());
    let grace_ends = after(created, settings.rotation_grace);
    let tolerated = !settings.rotation_grace.is_zero() && grace_ends > now && created <= after(now, CLOCK_TOLERANCE);
    Outcome::Violated { since: created.min(now), grace_ends: tolerated.then_some(grace_ends) }
}
