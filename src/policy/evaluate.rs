//! Applies the rules to one user, or to the root user, at one point in time.

use super::{
    Exemption, Outcome, Policy, ROOT_RULES, RULES, RootRule, RootSubject, Rule, Subject, USER_RULES, UserKeys, UserRule,
};
use crate::model::{AccessKey, Account, CompactTimestamp, Keys, Timestamp, User};

/// The status of a user: the worst of all rules, in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// No rule is violated.
    Compliant,
    /// A rule is violated; the user is exempt.
    Exempt,
    /// A rule is violated, inside the grace period.
    Rotating,
    /// A rule is violated.
    Violation,
    /// The keys are not fully known.
    Unknown,
}

impl Status {
    /// In the order in which they are displayed.
    pub const ALL: [Status; 5] =
        [Status::Compliant, Status::Rotating, Status::Violation, Status::Exempt, Status::Unknown];

    /// The value of the label `status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Compliant => "compliant",
            Status::Exempt => "exempt",
            Status::Rotating => "rotating",
            Status::Violation => "violation",
            Status::Unknown => "unknown",
        }
    }
}

/// How a violated rule counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingState {
    /// Neither tolerated nor exempt.
    Violation,
    /// Tolerated inside the grace period.
    Rotating {
        /// The end of the grace period.
        until: CompactTimestamp,
    },
    /// Exempt by an exemption that is in force.
    Exempt {
        /// Index of the exemption in [`Policy::exemptions`].
        exemption: u32,
    },
}

impl FindingState {
    /// The status of a user with this finding.
    pub fn status(self) -> Status {
        match self {
            FindingState::Violation => Status::Violation,
            FindingState::Rotating { .. } => Status::Rotating,
            FindingState::Exempt { .. } => Status::Exempt,
        }
    }

    /// The exemption of an exempt finding; `None` for other findings.
    pub fn exemption(self, policy: &Policy) -> Option<&Exemption> {
        match self {
            FindingState::Exempt { exemption } => policy.exemptions.get(exemption as usize),
            FindingState::Violation | FindingState::Rotating { .. } => None,
        }
    }
}

/// A rule that a user violates.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The violated rule.
    pub rule: &'static UserRule,
    since: CompactTimestamp,
    /// How the violation counts.
    pub state: FindingState,
}

impl Finding {
    /// When the violation began, in microseconds; not after the evaluation.
    pub fn since(&self) -> Timestamp {
        self.since.get()
    }
}

/// A rule that the root user violates.
#[derive(Debug, Clone, PartialEq)]
pub struct RootFinding {
    /// The violated rule.
    pub rule: &'static RootRule,
    /// When the violation was first observed.
    pub since: Timestamp,
    /// How the violation counts.
    pub state: FindingState,
}

/// A set of rules, one bit for each entry of [`RULES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RuleSet(u32);

impl RuleSet {
    fn insert(&mut self, rule: Rule) {
        self.0 |= RULES.iter().position(|r| *r == rule).map_or(0, |index| 1 << index);
    }

    /// Whether the set has the rule with this index in [`RULES`].
    pub fn contains(self, index: usize) -> bool {
        self.0 & (1 << index) != 0
    }
}

/// The result of applying all enabled rules to one user.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// In the order of the rules.
    pub findings: Box<[Finding]>,
    /// The largest timestamp if there is none.
    next_change: CompactTimestamp,
    /// Rules whose result the data do not determine.
    pub undetermined: RuleSet,
    /// The worst of all findings, or unknown.
    pub status: Status,
}

impl Verdict {
    /// Whether a rule is violated, neither tolerated nor exempt. A user of unknown status can have violations, by its
    /// last known keys.
    pub fn has_violation(&self) -> bool {
        self.findings.iter().any(|f| f.state == FindingState::Violation)
    }

    /// The earliest time at which the verdict can change without a new observation; `None` if it cannot.
    pub fn next_change(&self) -> Option<Timestamp> {
        Some(self.next_change.get()).filter(|at| *at != Timestamp::MAX)
    }
}

/// The result of applying all enabled rules to the root user.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RootVerdict {
    /// In the order of the rules.
    pub findings: Vec<RootFinding>,
    /// The earliest time at which the verdict can change without a new observation; `None` if it cannot.
    pub next_change: Option<Timestamp>,
    /// Rules whose result the data do not determine.
    pub undetermined: RuleSet,
}

/// Applies all enabled rules to one user. `exemptions` are the indices of those that match the user, as
/// [`Exemptions::matching`](super::Exemptions::matching) returns them.
///
/// A user whose keys could not be read is evaluated by its last known keys: a failed read ends no finding.
pub fn evaluate_user(user: &User, policy: &Policy, exemptions: &[usize], now: Timestamp) -> Verdict {
    let keys = user.keys();
    let mut status = if matches!(keys, Keys::Known(_)) { Status::Compliant } else { Status::Unknown };
    let mut undetermined = RuleSet::default();
    let mut next = NextChange(None);
    let mut findings = Vec::new();
    let subject = UserKeys::of(user);
    // A date in the future: the local clock is behind, and what follows from the date ends when the clock is set.
    next.at(subject.keys.iter().filter_map(AccessKey::created).filter(|created| *created > now).min());
    for rule in USER_RULES.iter().filter(|r| (r.enabled)(&policy.rules)) {
        if keys.latest().is_none() {
            // A user that was never read: without other violations, the number of the account is not known to be 0.
            undetermined.insert(Rule::User(rule));
            continue;
        }
        let (since, grace_ends) = match (rule.evaluate)(&policy.rules, &subject, now) {
            Outcome::Compliant { until } => {
                next.at(until);
                if matches!(keys, Keys::Partial(_)) {
                    undetermined.insert(Rule::User(rule));
                }
                continue;
            }
            Outcome::Undetermined { until } => {
                next.at(until);
                undetermined.insert(Rule::User(rule));
                continue;
            }
            Outcome::Violated { since, grace_ends } => (since, grace_ends),
        };
        let state = finding_state(policy, exemptions, &Rule::User(rule), grace_ends, now, &mut next);
        // More keys than the limit are a violation, however many more there are.
        if rule.counts_keys && matches!(keys, Keys::Partial(_)) {
            status = Status::Compliant;
        }
        findings.push(Finding { rule, since: CompactTimestamp::new(since), state });
    }
    status = findings.iter().map(|f| f.state.status()).fold(status, Status::max);
    Verdict {
        findings: findings.into_boxed_slice(),
        next_change: CompactTimestamp::new(next.0.unwrap_or(Timestamp::MAX)),
        undetermined,
        status,
    }
}

/// Applies all enabled rules to the root user.
pub fn evaluate_root(account: &Account, root: &RootSubject, policy: &Policy, now: Timestamp) -> RootVerdict {
    let mut verdict = RootVerdict::default();
    let mut next = NextChange(None);
    let exemptions = policy.exemptions.matching(account, &Subject::root(&account.root_arn()));
    for rule in ROOT_RULES.iter().filter(|r| !policy.without_root && (r.enabled)(&policy.rules)) {
        match (rule.evaluate)(&policy.rules, root, now) {
            Outcome::Compliant { until } => next.at(until),
            Outcome::Undetermined { until } => {
                next.at(until);
                verdict.undetermined.insert(Rule::Root(rule));
            }
            Outcome::Violated { since, grace_ends } => {
                let state = finding_state(policy, &exemptions, &Rule::Root(rule), grace_ends, now, &mut next);
                verdict.findings.push(RootFinding { rule, since, state });
            }
        }
    }
    verdict.next_change = next.0;
    verdict
}

/// An exemption takes precedence over a grace period: an exempt user does not become a violation when it ends.
fn finding_state(
    policy: &Policy,
    exemptions: &[usize],
    rule: &Rule,
    grace_ends: Option<Timestamp>,
    now: Timestamp,
    next: &mut NextChange,
) -> FindingState {
    let in_force = |index: &&usize| {
        policy.exemptions.get(**index).is_some_and(|exemption| !exemption.expired(now) && exemption.covers(rule))
    };
    if let Some(&index) = exemptions.iter().find(in_force) {
        next.at(Some(policy.exemptions[index].expires));
        return FindingState::Exempt { exemption: u32::try_from(index).unwrap_or(u32::MAX) };
    }
    match grace_ends {
        Some(until) => {
            next.at(Some(until));
            FindingState::Rotating { until: CompactTimestamp::new(until) }
        }
        None => FindingState::Violation,
    }
}

struct NextChange(Option<Timestamp>);

impl NextChange {
    fn at(&mut self, at: Option<Timestamp>) {
        if let Some(at) = at {
            self.0 = Some(self.0.map_or(at, |next| next.min(at)));
        }
    }
}

impl Finding {
    /// What ends the violation; computed when displayed, because it depends on the time.
    pub fn advice(&self, user: &User, policy: &Policy, now: Timestamp) -> super::Advice {
        (self.rule.advise)(&policy.rules, &UserKeys::of(user), now)
    }
}

/// The root user's name in credential reports (IAM User Guide, "Generate credential reports for your AWS account"); no
/// IAM user can have it.
pub const ROOT: &str = "<root_account>";

#[cfg(test)]
mod tests;
