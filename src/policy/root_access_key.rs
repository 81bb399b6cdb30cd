//! The root user has no active access key.

use super::{Outcome, RootSubject, RootRule, RuleSettings};
use crate::model::Timestamp;
use serde::{Deserialize, Serialize};

/// Settings of the rule.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whether the rule is applied.
    pub enabled: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { enabled: true }
    }
}

/// The rule.
pub static RULE: RootRule = RootRule {
    name: "root_access_key",
    description: "The root user has no active access key.",
    enabled: |s| s.root_access_key.enabled,
    evaluate,
    advice: "sign in as root, move what uses the key to a role, then deactivate and delete the key",
    undetermined: "the root user's keys are not part of the data",
};

/// GetAccountSummary contains no date of a root key: the violation is dated by the first observation of it.
fn evaluate(_: &RuleSettings, root: &RootSubject, _: Timestamp) -> Outcome {
    match root.active_keys {
        None => Outcome::Undetermined { until: None },
        Some(0) => Outcome::Compliant { until: None },
        Some(_) => Outcome::Violated { since: root.active_since, grace_ends: None },
    }
}
