//! The root user has no active access key.

use super::{Judgement, Rule, RuleSettings, Subject, remediation};
use crate::model::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub enabled: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { enabled: true }
    }
}

pub static RULE: Rule = Rule {
    name: "root_access_key",
    description: "The root user has no active access key.",
    enabled: |s| s.root_access_key.enabled,
    judge,
    advise: |_, _, _| remediation::Advice {
        reason: "sign in as root, move what uses the key to a role, then deactivate and delete the key".into(),
        ..Default::default()
    },
};

/// IAM's account summary tells that root has a key, not since when: the breach is dated by the facts.
fn judge(_: &RuleSettings, subject: &Subject<'_>, _: Timestamp) -> Judgement {
    match subject {
        Subject::User { .. } => Judgement::NotApplicable,
        Subject::Root { active_keys: None, .. } => Judgement::Undetermined { until: None },
        Subject::Root { active_keys: Some(0), .. } => Judgement::Compliant { until: None },
        Subject::Root { facts_at, .. } => Judgement::Breach { since: *facts_at, grace_ends: None },
    }
}
