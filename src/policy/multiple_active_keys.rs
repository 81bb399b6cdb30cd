//! The policy itself: at most `limit` active access keys a user (CIS AWS Foundations 1.13 / 1.12 / 2.12: one).

use super::{Judgement, Rule, RuleSettings, Subject, after, remediation, settings};
use crate::model::Timestamp;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
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

pub static RULE: Rule = Rule {
    name: "multiple_active_keys",
    description: "A user has at most one active access key.",
    enabled: |s| s.multiple_active_keys.enabled,
    judge,
    advise: |s, subject, now| match subject {
        Subject::User { keys, .. } => {
            remediation::keep_best(keys, s.multiple_active_keys.limit.get() as usize, s.key_age.max_age, now)
        }
        Subject::Root { .. } => remediation::Advice::default(),
    },
};

/// The breach began when the key that broke the limit was created: AWS's own date, so it needs no memory.
fn judge(settings: &RuleSettings, subject: &Subject<'_>, now: Timestamp) -> Judgement {
    let Subject::User { keys, undated } = subject else { return Judgement::NotApplicable };
    let settings = &settings.multiple_active_keys;
    let Some(breaking) = keys.iter().filter(|k| k.is_active()).nth(settings.limit.get() as usize) else {
        return Judgement::Compliant { until: None };
    };
    let since = breaking.created.unwrap_or(*undated);
    let grace_ends = after(since, settings.rotation_grace);
    Judgement::Breach { since, grace_ends: (grace_ends > now).then_some(grace_ends) }
}
