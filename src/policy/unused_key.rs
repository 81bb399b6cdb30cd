//! Active keys are in use: none has gone `max_idle` without use (counted from its creation when it was never used).

use super::{Judgement, Rule, RuleSettings, Subject, after, judge_each_active_key, remediation, settings};
use crate::model::{AccessKey, LastUsed, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub enabled: bool,
    #[serde(with = "settings::duration")]
    pub max_idle: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { enabled: true, max_idle: settings::NINETY_DAYS }
    }
}

pub static RULE: Rule = Rule {
    name: "unused_key",
    description: "No active access key has been unused for longer than the limit.",
    enabled: |s| s.unused_key.enabled,
    judge,
    advise: |s, subject, now| match subject {
        Subject::User { keys, .. } => remediation::deactivate_unused(keys, |k| {
            unused_from(k, s.unused_key.max_idle, now).is_some_and(|t| t <= now)
        }),
        Subject::Root { .. } => remediation::Advice::default(),
    },
};

/// When the key counts as unused if nothing new is heard of it; `None` when that cannot be told.
fn unused_from(key: &AccessKey, max_idle: Duration, now: Timestamp) -> Option<Timestamp> {
    let by_creation = key.created.map(|c| after(c, max_idle));
    match key.last_used {
        LastUsed::At(used) => Some(after(used, max_idle)),
        LastUsed::Never => by_creation,
        // A key younger than the limit cannot have been unused for longer, whatever its last use.
        LastUsed::Unknown => by_creation.filter(|&at| at > now),
    }
}

fn judge(settings: &RuleSettings, subject: &Subject<'_>, now: Timestamp) -> Judgement {
    let Subject::User { keys, .. } = subject else { return Judgement::NotApplicable };
    judge_each_active_key(keys, now, |key| unused_from(key, settings.unused_key.max_idle, now))
}
