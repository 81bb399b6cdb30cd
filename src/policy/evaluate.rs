//! Applies the rules to one account's facts at one moment.

use super::{Advice, Exemption, Judgement, Policy, RULES, Rule, Subject};
use crate::model::{Account, Inventory, Timestamp, User};

/// The status of a user: the worst that any rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Compliant,
    /// In breach, but exempt.
    Exempt,
    /// In breach, inside the grace period.
    Rotating,
    Violation,
    /// The keys could not be read.
    Unknown,
}

impl Status {
    pub const ALL: [Status; 5] =
        [Status::Compliant, Status::Rotating, Status::Violation, Status::Exempt, Status::Unknown];

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

/// How a breach counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingState {
    Violation,
    /// Tolerated until then.
    Rotating {
        until: Timestamp,
    },
    /// By the exemption with that index in the policy.
    Exempt {
        exemption: usize,
    },
}

impl FindingState {
    pub fn status(self) -> Status {
        match self {
            FindingState::Violation => Status::Violation,
            FindingState::Rotating { .. } => Status::Rotating,
            FindingState::Exempt { .. } => Status::Exempt,
        }
    }
}

/// A breach of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Index into `Inventory::users`; `None` is root.
    pub user: Option<usize>,
    pub rule: &'static Rule,
    pub since: Timestamp,
    pub state: FindingState,
    pub advice: Advice,
    /// Found on last known keys: the user could not be read this time.
    pub last_known: bool,
}

/// How many subjects violate a rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RuleTotal {
    pub rule: &'static Rule,
    /// `None` when nobody is known to violate the rule and the facts do not suffice to judge everybody: no number
    /// rather than a reassuring one.
    pub violations: Option<u64>,
}

/// The verdicts on one account.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evaluation {
    /// One per user of the inventory, in its order.
    pub statuses: Vec<Status>,
    /// Ordered by user, root last, then by rule.
    pub findings: Vec<Finding>,
    /// Enabled rules, in the order of [`RULES`].
    pub totals: Vec<RuleTotal>,
    /// One per exemption of the policy: whether it matches anybody here, in breach or not.
    pub exemptions_used: Vec<bool>,
    /// The earliest moment at which this answer can change without new facts.
    pub next_change: Option<Timestamp>,
}

impl Evaluation {
    pub fn count(&self, status: Status) -> u64 {
        self.statuses.iter().filter(|s| **s == status).count() as u64
    }

    pub fn violations(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|f| f.state == FindingState::Violation)
    }
}

/// Judges every user, and root, by every enabled rule.
pub fn evaluate(inventory: &Inventory, policy: &Policy, now: Timestamp) -> Evaluation {
    let mut pass = Pass::new(inventory, policy, now);
    for (index, user) in inventory.users.iter().enumerate() {
        pass.user(index, user);
    }
    pass.root();
    pass.finish()
}

struct Pass<'a> {
    inventory: &'a Inventory,
    policy: &'a Policy,
    now: Timestamp,
    out: Evaluation,
    /// Per entry of `out.totals`: somebody's verdict is missing.
    undetermined: Vec<bool>,
}

impl<'a> Pass<'a> {
    fn new(inventory: &'a Inventory, policy: &'a Policy, now: Timestamp) -> Self {
        let totals: Vec<RuleTotal> = RULES
            .iter()
            .filter(|r| (r.enabled)(&policy.rules))
            .map(|rule| RuleTotal { rule, violations: Some(0) })
            .collect();
        let undetermined = vec![false; totals.len()];
        let out = Evaluation {
            statuses: Vec::with_capacity(inventory.users.len()),
            totals,
            exemptions_used: vec![false; policy.exemptions.len()],
            ..Default::default()
        };
        Pass { inventory, policy, now, out, undetermined }
    }

    fn user(&mut self, index: usize, user: &User) {
        let unread = user.keys.as_known().is_none();
        let mut status = if unread { Status::Unknown } else { Status::Compliant };
        if let Some(keys) = user.keys.latest() {
            let undated = user.created.unwrap_or(user.observed_at);
            let worst = self.judge(Some(index), &user.name, &user.arn, &Subject::User { keys, undated }, unread);
            status = status.max(worst);
        }
        self.out.statuses.push(status);
    }

    fn root(&mut self) {
        let arn = root_arn(&self.inventory.account);
        let subject = Subject::Root { active_keys: self.inventory.root_active_keys, facts_at: self.inventory.facts_at };
        self.judge(None, ROOT, &arn, &subject, false);
    }

    fn judge(&mut self, user: Option<usize>, name: &str, arn: &str, subject: &Subject<'_>, last_known: bool) -> Status {
        let mut worst = Status::Compliant;
        for i in 0..self.out.totals.len() {
            let rule = self.out.totals[i].rule;
            match (rule.judge)(&self.policy.rules, subject, self.now) {
                Judgement::NotApplicable => {}
                Judgement::Compliant { until } => self.changes_at(until),
                Judgement::Undetermined { until } => {
                    self.undetermined[i] = true;
                    self.changes_at(until);
                }
                Judgement::Breach { since, grace_ends } => {
                    let state = self.state(name, arn, rule, grace_ends);
                    if state == FindingState::Violation {
                        self.out.totals[i].violations = self.out.totals[i].violations.map(|n| n + 1);
                    }
                    worst = worst.max(state.status());
                    let advice = (rule.advise)(&self.policy.rules, subject, self.now);
                    self.out.findings.push(Finding { user, rule, since, state, advice, last_known });
                }
            }
        }
        worst
    }

    /// An exemption counts before a grace period: whoever is exempt is not about to be in violation.
    fn state(&mut self, name: &str, arn: &str, rule: &Rule, grace_ends: Option<Timestamp>) -> FindingState {
        let mut exempted_by = None;
        for (index, exemption) in self.policy.exemptions.iter().enumerate() {
            if !exemption.expired(self.now) && exemption.covers(&self.inventory.account, name, arn, rule) {
                self.out.exemptions_used[index] = true;
                exempted_by.get_or_insert(index);
            }
        }
        if let Some(exemption) = exempted_by {
            return FindingState::Exempt { exemption };
        }
        match grace_ends {
            Some(until) => {
                self.changes_at(Some(until));
                FindingState::Rotating { until }
            }
            None => FindingState::Violation,
        }
    }

    fn changes_at(&mut self, at: Option<Timestamp>) {
        if let Some(at) = at {
            self.out.next_change = Some(self.out.next_change.map_or(at, |next| next.min(at)));
        }
    }

    /// Whether an exemption speaks of a user, or of root, whom no rule finds in breach at the moment.
    fn matches_anybody(&self, exemption: &Exemption) -> bool {
        let account = &self.inventory.account;
        exemption.matches(account, ROOT, &root_arn(account))
            || self.inventory.users.iter().any(|u| exemption.matches(account, &u.name, &u.arn))
    }

    fn finish(mut self) -> Evaluation {
        for (index, exemption) in self.policy.exemptions.iter().enumerate() {
            self.out.exemptions_used[index] |= self.matches_anybody(exemption);
        }
        let ends: Vec<Timestamp> =
            self.policy.exemptions.iter().filter(|e| !e.expired(self.now)).map(|e| e.expires).collect();
        for end in ends {
            self.changes_at(Some(end));
        }
        for (total, undetermined) in self.out.totals.iter_mut().zip(&self.undetermined) {
            if *undetermined && total.violations == Some(0) {
                total.violations = None;
            }
        }
        self.out
    }
}

fn root_arn(account: &Account) -> String {
    format!("arn:{}:iam::{}:root", account.partition, account.id)
}

/// Root's name in credential reports; no IAM user can have it.
pub const ROOT: &str = "<root_account>";

#[cfg(test)]
mod tests;
