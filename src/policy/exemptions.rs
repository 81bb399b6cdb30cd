//! Exemptions: which users may violate which rule, why, and until when.

use super::Rule;
use crate::model::{Account, AccountId, DetailsScope, Timestamp, User, UserDetails};
use wildmatch::WildMatch;

mod matcher;
mod selector;

pub use matcher::Exemptions;
pub use selector::Selector;

/// One exemption of the configuration. It always has a reason and an end.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemption {
    /// Which users it matches.
    pub selector: Selector,
    /// The account in which it applies; `None` for all accounts.
    pub account: Option<AccountId>,
    /// The rule that users may violate; `None` for all rules.
    pub rule: Option<&'static Rule>,
    /// Why the users are exempt.
    pub reason: String,
    /// The first moment at which it is no longer in force.
    pub expires: Timestamp,
    patterns: Patterns,
}

/// The selector, compiled.
#[derive(Debug, Clone, PartialEq)]
struct Patterns {
    user: Option<WildMatch>,
    path: Option<WildMatch>,
    group: Option<WildMatch>,
    /// The key of a tag, and its value.
    tags: Box<[(String, WildMatch)]>,
}

/// What the selectors of exemptions are compared with.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The name of the user.
    pub name: &'a str,
    /// The ARN, which contains the path.
    pub arn: &'a str,
    /// The path; `None` for the root user.
    pub path: Option<&'a str>,
    /// Tags and groups that are known.
    pub details: &'a UserDetails,
}

impl<'a> Subject<'a> {
    /// A user with this ARN.
    pub fn of(user: &'a User, arn: &'a str) -> Self {
        Subject { name: user.name.as_str(), arn, path: Some(&user.path), details: user.details() }
    }

    /// The root user, which has neither path nor tags nor groups.
    pub fn root(arn: &'a str) -> Self {
        Subject { name: super::evaluate::ROOT, arn, path: None, details: UserDetails::empty() }
    }
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

impl Exemption {
    /// An exemption of the users that `selector` matches, until `expires`.
    pub fn new(
        selector: Selector,
        account: Option<AccountId>,
        rule: Option<&'static Rule>,
        reason: String,
        expires: Timestamp,
    ) -> Self {
        let folded = |pattern: &Option<String>| pattern.as_deref().map(WildMatch::new_case_insensitive);
        let patterns = Patterns {
            user: folded(&selector.user),
            path: folded(&selector.path),
            group: folded(&selector.group),
            // IAM distinguishes upper and lower case in the values of tags.
            tags: selector.tag.iter().map(|(key, value)| (key.clone(), WildMatch::new(value))).collect(),
        };
        Exemption { selector, account, rule, reason, expires, patterns }
    }

    /// Whether it is no longer in force.
    pub fn expired(&self, now: Timestamp) -> bool {
        self.expires <= now
    }

    /// Whether it applies to this rule, expired or not.
    pub fn covers(&self, rule: &Rule) -> bool {
        self.rule.is_none_or(|r| r == rule)
    }

    /// Whether it applies to users of this account.
    pub fn is_of(&self, account: AccountId) -> bool {
        self.account.is_none_or(|id| id == account)
    }

    /// The tags and groups on which it depends whether it matches a user.
    pub fn needs(&self) -> DetailsScope {
        DetailsScope::new(self.selector.tag.keys(), self.selector.group.is_some())
    }

    /// Whether all parts of the selector match this user, expired or not and for any rule.
    pub fn matches(&self, account: &Account, subject: &Subject<'_>) -> bool {
        let Patterns { user, path, group, tags } = &self.patterns;
        let details = subject.details;
        self.is_of(account.id)
            && user.as_ref().is_none_or(|user| user.matches(subject.name) || user.matches(subject.arn))
            && path.as_ref().is_none_or(|path| subject.path.is_some_and(|own| path.matches(own)))
            && group.as_ref().is_none_or(|group| details.groups.iter().any(|name| group.matches(name)))
            && tags.iter().all(|(key, value)| details.tags.iter().any(|t| t.has_key(key) && value.matches(&t.value)))
    }

    /// Its state, given whether it matches a user.
    pub fn state(&self, matched: bool, now: Timestamp) -> ExemptionState {
        match (self.expired(now), matched) {
            (true, _) => ExemptionState::Expired,
            (false, true) => ExemptionState::Used,
            (false, false) => ExemptionState::Unmatched,
        }
    }
}
