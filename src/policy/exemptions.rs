//! Exemptions: which users may violate which rule, why, and until when.

use super::Rule;
use crate::model::{Account, AccountId, Timestamp};
use wildmatch::WildMatch;

mod matcher;

pub use matcher::Exemptions;

/// One exemption of the configuration. It always has a reason and an end.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemption {
    /// User name or ARN, with the wildcards `*` and `?`; compared without regard to case, as IAM's names are.
    pub user: String,
    /// The account in which it applies; `None` for all accounts.
    pub account: Option<AccountId>,
    /// The rule that users may violate; `None` for all rules.
    pub rule: Option<&'static Rule>,
    /// Why the users are exempt.
    pub reason: String,
    /// The first moment at which it is no longer in force.
    pub expires: Timestamp,
    pattern: WildMatch,
}

/// The state of an exemption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExemptionState {
    /// In force, and it matches a user.
    Used,
    /// No longer in force.
    Expired,
    /// In force, but it matches no user.
    Unmatched,
}

impl ExemptionState {
    /// In the order in which they are displayed.
    pub const ALL: [ExemptionState; 3] = [ExemptionState::Used, ExemptionState::Expired, ExemptionState::Unmatched];
}

impl Exemption {
    /// An exemption of the users that `user` matches, until `expires`.
    pub fn new(
        user: String,
        account: Option<AccountId>,
        rule: Option<&'static Rule>,
        reason: String,
        expires: Timestamp,
    ) -> Self {
        let pattern = WildMatch::new_case_insensitive(&user);
        Exemption { user, account, rule, reason, expires, pattern }
    }

    /// Whether it is no longer in force.
    pub fn expired(&self, now: Timestamp) -> bool {
        self.expires <= now
    }

    /// Whether it applies to this rule, expired or not.
    pub fn covers(&self, rule: &Rule) -> bool {
        self.rule.is_none_or(|r| r == rule)
    }

    /// Whether it matches this user, expired or not and for any rule.
    pub fn matches(&self, account: &Account, user_name: &str, user_arn: &str) -> bool {
        self.account.is_none_or(|id| id == account.id)
            && (self.pattern.matches(user_name) || self.pattern.matches(user_arn))
    }

    /// Its state, given whether it matches a user.
    pub fn state(&self, used: bool, now: Timestamp) -> ExemptionState {
        match (self.expired(now), used) {
            (true, _) => ExemptionState::Expired,
            (false, true) => ExemptionState::Used,
            (false, false) => ExemptionState::Unmatched,
        }
    }
}
