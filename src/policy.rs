//! The policy: an IAM user has at most one active access key, and the rules around it.
//!
//! Pure: users, settings and the time are arguments, verdicts are the result. A rule is one file in this directory and
//! one line in [`rules!`](self) below; nothing else names it.

pub mod evaluate;
pub mod exemptions;
pub mod remediation;
pub mod rule;
pub mod settings;

pub use evaluate::{Finding, FindingState, RootFinding, RootVerdict, Status, Verdict, evaluate_root, evaluate_user};
pub use exemptions::{Exemption, ExemptionState, Exemptions, Selector, Subject};
pub use remediation::Advice;
pub use rule::{Outcome, Recheck, RootRule, RootSubject, Rule, UserKeys, UserRule};

use crate::model::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Declares the rules: for each, its module, its settings in the `policy` section of the configuration file, and its
/// entry in [`RULES`].
macro_rules! rules {
    (user { $($user:ident,)* } root { $($root:ident,)* }) => {
        $(pub mod $user;)*
        $(pub mod $root;)*

        /// Settings of all rules; the `policy` section of the configuration file.
        #[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize, Serialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct RuleSettings {
            $(
                #[doc = concat!("Settings of the rule `", stringify!($user), "`.")]
                #[serde(deserialize_with = "settings::null_as_default")]
                pub $user: $user::Settings,
            )*
            $(
                #[doc = concat!("Settings of the rule `", stringify!($root), "`.")]
                #[serde(deserialize_with = "settings::null_as_default")]
                pub $root: $root::Settings,
            )*
        }

        /// Settings of some rules, each as a whole.
        #[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize, Serialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct RuleOverrides {
            $(
                #[doc = concat!("Settings of the rule `", stringify!($user), "`; `None` if they are not overridden.")]
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $user: Option<$user::Settings>,
            )*
            $(
                #[doc = concat!("Settings of the rule `", stringify!($root), "`; `None` if they are not overridden.")]
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $root: Option<$root::Settings>,
            )*
        }

        impl RuleOverrides {
            /// `rules` with the settings that are overridden.
            pub fn apply(&self, rules: RuleSettings) -> RuleSettings {
                RuleSettings {
                    $($user: self.$user.unwrap_or(rules.$user),)*
                    $($root: self.$root.unwrap_or(rules.$root),)*
                }
            }

            /// Whether nothing is overridden.
            pub fn is_empty(&self) -> bool {
                *self == RuleOverrides::default()
            }
        }

        /// Rules for IAM users.
        pub static USER_RULES: &[&UserRule] = &[$(&$user::RULE,)*];
        /// Rules for the root user.
        pub static ROOT_RULES: &[&RootRule] = &[$(&$root::RULE,)*];
        /// All rules, in the order in which they are displayed.
        pub static RULES: &[Rule] = &[$(Rule::User(&$user::RULE),)* $(Rule::Root(&$root::RULE),)*];
    };
}

rules! {
    user { multiple_active_keys, key_age, unused_key, }
    root { root_access_key, }
}

/// The validated policy: settings of each rule, and exemptions.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Policy {
    /// Settings of each rule.
    pub rules: RuleSettings,
    /// Exemptions, in the order of the configuration.
    pub exemptions: Exemptions,
    /// Leaves the root user out, where only one IAM user is checked.
    pub without_root: bool,
}

impl Policy {
    /// The rules in force, in the order of [`RULES`].
    pub fn enabled_rules(&self) -> impl Iterator<Item = &'static Rule> + '_ {
        RULES.iter().filter(|rule| match rule {
            Rule::User(rule) => (rule.enabled)(&self.rules),
            Rule::Root(rule) => !self.without_root && (rule.enabled)(&self.rules),
        })
    }
}

impl RuleSettings {
    /// The age at which a key has to be rotated, by the rule that limits it; [`Duration::MAX`] without such a rule.
    pub fn age_limit(&self) -> Duration {
        USER_RULES.iter().find_map(|rule| (rule.age_limit)(self)).unwrap_or(Duration::MAX)
    }
}

/// The rule of that name; `None` if there is none.
pub fn rule(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|r| r.name() == name)
}

/// `at` plus a duration, or the last representable time.
pub(crate) fn after(at: Timestamp, duration: Duration) -> Timestamp {
    at.checked_add(duration).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn rules_have_unique_label_safe_names_and_a_description() {
        let mut seen = HashSet::new();
        for rule in RULES {
            let name = rule.name();
            assert!(seen.insert(name), "{name} occurs twice");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
            assert!(rule.description().ends_with('.'), "{name}");
            assert!(Policy::default().enabled_rules().any(|r| r == rule), "{name} is off by default");
        }
        assert!(RULES.len() <= 32, "a set of rules has 32 bits");
    }
}
