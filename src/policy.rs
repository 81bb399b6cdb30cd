//! The policy: an IAM user has at most one active access key, and what belongs to it.
//!
//! Pure: facts, settings and the time go in, verdicts come out. A rule is one file below `policy/` and one
//! line in [`RULES`]; [`evaluate()`] knows none of them by name.

pub mod evaluate;
pub mod exemptions;
pub mod key_age;
pub mod multiple_active_keys;
pub mod remediation;
pub mod root_access_key;
pub mod settings;
pub mod unused_key;

pub use evaluate::{Evaluation, Finding, FindingState, Status, evaluate};
pub use exemptions::{Exemption, ExemptionState, Exemptions};
pub use remediation::Advice;

use crate::model::{AccessKey, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The validated policy: settings of each rule, and who is exempt.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Policy {
    pub rules: RuleSettings,
    pub exemptions: Vec<Exemption>,
}

/// Settings of all rules; the `policy` section of the configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuleSettings {
    pub multiple_active_keys: multiple_active_keys::Settings,
    pub key_age: key_age::Settings,
    pub unused_key: unused_key::Settings,
    pub root_access_key: root_access_key::Settings,
}

/// One clause of the policy.
pub struct Rule {
    /// The value of the label `rule`, and the name in the configuration file.
    pub name: &'static str,
    /// One sentence for people.
    pub description: &'static str,
    pub enabled: fn(&RuleSettings) -> bool,
    /// Judges one subject at one moment; called only when the rule is enabled.
    pub judge: fn(&RuleSettings, &Subject<'_>, Timestamp) -> Judgement,
    /// What to do about a breach.
    pub advise: fn(&RuleSettings, &Subject<'_>, Timestamp) -> Advice,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// Every rule there is, in the order in which they are shown.
pub static RULES: &[&Rule] = &[&multiple_active_keys::RULE, &key_age::RULE, &unused_key::RULE, &root_access_key::RULE];

/// The rule of that name.
pub fn rule(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|r| r.name == name).copied()
}

/// What a rule looks at.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    User {
        /// In the order of creation.
        keys: &'a [AccessKey],
        /// Stands in for a key's creation where AWS's data lack it: the user's creation, else when the facts were true.
        undated: Timestamp,
    },
    /// Root's active keys; `None` when not known.
    Root { active_keys: Option<u32>, facts_at: Timestamp },
}

/// What a rule says of a subject at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// The rule has nothing to say about this kind of subject.
    NotApplicable,
    /// In order, until the given moment at the earliest (without new facts).
    Compliant { until: Option<Timestamp> },
    /// In breach since; tolerated until `grace_ends`, if that is still to come.
    Breach { since: Timestamp, grace_ends: Option<Timestamp> },
    /// The facts do not tell; they may from the given moment on, without new ones.
    Undetermined { until: Option<Timestamp> },
}

/// `at` plus a duration, at the end of time when it does not fit.
pub(crate) fn after(at: Timestamp, duration: Duration) -> Timestamp {
    at.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// Judges the active keys of a user one by one, where each breaks the rule from a moment of its own:
/// the breach began with the first.
fn judge_each_active_key(
    keys: &[AccessKey],
    now: Timestamp,
    breaks_at: impl Fn(&AccessKey) -> Option<Timestamp>,
) -> Judgement {
    let mut earliest: Option<Timestamp> = None;
    let mut undetermined = false;
    for key in keys.iter().filter(|k| k.is_active()) {
        match breaks_at(key) {
            Some(at) => earliest = Some(earliest.map_or(at, |e| e.min(at))),
            None => undetermined = true,
        }
    }
    match earliest {
        Some(since) if since <= now => Judgement::Breach { since, grace_ends: None },
        until if undetermined => Judgement::Undetermined { until },
        until => Judgement::Compliant { until },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn rules_have_unique_label_safe_names_and_a_description() {
        let mut seen = HashSet::new();
        for rule in RULES {
            assert!(seen.insert(rule.name), "{} occurs twice", rule.name);
            assert!(rule.name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{}", rule.name);
            assert!(rule.description.ends_with('.'), "{}", rule.name);
            assert!((rule.enabled)(&RuleSettings::default()), "{} is off by default", rule.name);
        }
    }
}
