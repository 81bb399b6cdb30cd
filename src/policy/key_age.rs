//! Active keys are rotated: none is older than `max_age`.

use super::{Judgement, Rule, RuleSettings, Subject, after, judge_each_active_key, remediation, settings};
use crate::model::Timestamp;
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

pub static RULE: Rule = Rule {
    name: "key_age",
    description: "No active access key is older than the limit.",
    enabled: |s| s.key_age.enabled,
    judge,
    advise: |s, subject, now| match subject {
        Subject::User { keys, .. } => remediation::rotate_old(keys, s.key_age.max_age, now),
        Subject::Root { .. } => remediation::Advice::default(),
    },
};

fn judge(settings: &RuleSettings, subject: &Subject<'_>, now: Timestamp) -> Judgement {
    let Subject::User { keys, .. } = subject else { return Judgement::NotApplicable };
    judge_each_active_key(keys, now, |key| key.created.map(|c| after(c, settings.key_age.max_age)))
}
