//! One account: its inventory, and the verdicts on it.

use super::details::Details;
use super::entry::Entry;
use super::totals::{RuleTotal, Totals};
use super::users::Users;
use crate::model::{Account, Collector, Keys, Listing, Observation, RootKeys, Timestamp, User, UserName};
use crate::policy::{
    Exemption, Policy, RULES, Recheck, RootSubject, RootVerdict, Rule, Status, Subject, Verdict, evaluate_root,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is known about an account, and the verdicts on it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AccountState {
    /// Identity of the account.
    pub account: Account,
    /// Of the newest listing.
    pub(super) listing: Option<(Collector, Timestamp)>,
    pub(super) users: Users,
    /// Users that are not visible, because the newest listing does not contain them or because they are gone since.
    pub(super) hidden: BTreeMap<UserName, Hidden>,
    pub(super) details: Details,
    /// The root user.
    pub root: RootState,
    policy: Arc<Policy>,
    pub(super) evaluated_at: Timestamp,
}

/// A user that is not visible.
#[derive(Debug, Clone, Default)]
pub(super) struct Hidden {
    /// As listed, if the newest listing contains it.
    pub(super) user: Option<User>,
    /// Newer than the newest listing.
    pub(super) observations: Vec<Observation>,
}

impl Hidden {
    fn limit_times(&mut self, latest: Timestamp) {
        if let Some(user) = &mut self.user {
            user.limit_times(latest);
        }
        for observation in &mut self.observations {
            if let Observation::UserKeys { at, .. } | Observation::UserGone { at, .. } = observation {
                *at = latest.min(*at);
            }
        }
    }
}

/// What is known about the root user, and the verdict on it.
#[derive(Debug, Clone, PartialEq)]
pub struct RootState {
    /// The last known number of active keys.
    known: Option<u32>,
    at: Timestamp,
    /// The first of the observations since which there are active keys without interruption.
    active_since: Timestamp,
    /// Why the number is not known, and since which answer.
    unknown: Option<(Timestamp, &'static str)>,
    /// The verdict at the last evaluation.
    pub verdict: RootVerdict,
}

/// What an observation changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    /// Users added, removed or changed.
    pub users: usize,
    /// The root user, or the time of the listing.
    pub account: bool,
}

impl Change {
    /// Whether nothing changed.
    pub fn is_none(self) -> bool {
        self == Change::default()
    }
}

/// The root user is not part of the data.
const NOT_INCLUDED: &str = "not_included";

impl RootState {
    fn new() -> Self {
        RootState {
            known: None,
            at: Timestamp::MIN,
            active_since: Timestamp::MIN,
            unknown: Some((Timestamp::MIN, NOT_INCLUDED)),
            verdict: RootVerdict::default(),
        }
    }

    /// The number of active keys; `None` when it is not known. A violation is remembered while the number cannot be
    /// read; a zero is not, since it would stay a good result for ever.
    pub fn active_keys(&self) -> Option<u32> {
        self.known.filter(|&keys| self.unknown.is_none() || keys > 0)
    }

    /// Why reading the number failed, from a closed list; `None` if it did not.
    pub fn failure(&self) -> Option<&'static str> {
        self.unknown.map(|(_, reason)| reason).filter(|reason| *reason != NOT_INCLUDED)
    }

    /// The newest answer wins; a failed one keeps what is known.
    fn observe(&mut self, at: Timestamp, keys: RootKeys) -> bool {
        let before = (self.known, self.at, self.unknown);
        match keys {
            RootKeys::Active(keys) if at >= self.at => {
                if self.known.unwrap_or(0) == 0 {
                    self.active_since = at;
                }
                (self.known, self.at) = (Some(keys), at);
                self.unknown = self.unknown.filter(|(since, _)| *since > at);
            }
            RootKeys::Active(_) => {}
            RootKeys::NotIncluded => self.observe_unknown(at, NOT_INCLUDED),
            RootKeys::Failed(reason) => self.observe_unknown(at, reason),
        }
        before != (self.known, self.at, self.unknown)
    }

    fn limit_times(&mut self, latest: Timestamp) {
        self.at = self.at.min(latest);
        self.active_since = self.active_since.min(latest);
        if let Some((since, _)) = &mut self.unknown {
            *since = latest.min(*since);
        }
    }

    fn observe_unknown(&mut self, at: Timestamp, reason: &'static str) {
        if at >= self.at && self.unknown.is_none_or(|(since, _)| at >= since) {
            self.unknown = Some((at, reason));
        }
    }
}

impl AccountState {
    /// An account of which nothing is known yet.
    pub fn new(account: Account, policy: Arc<Policy>) -> Self {
        AccountState {
            account,
            listing: None,
            users: Users::default(),
            hidden: BTreeMap::new(),
            details: Details::default(),
            root: RootState::new(),
            policy,
            evaluated_at: Timestamp::MIN,
        }
    }

    /// The visible users, sorted by name.
    pub fn users(&self) -> &Users {
        &self.users
    }

    /// The policy of the last evaluation.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// The collector of the newest listing; `None` before the first one.
    pub fn collector(&self) -> Option<Collector> {
        self.listing.map(|(collector, _)| collector)
    }

    /// The time at which the newest listing was true; `None` before the first one.
    pub fn listed_at(&self) -> Option<Timestamp> {
        self.listing.map(|(_, at)| at)
    }

    /// Applies an observation: the newest one of each user wins, and a failed one removes nothing. The order of
    /// observations does not matter. Verdicts are updated by [`evaluate`](Self::evaluate).
    pub fn apply(&mut self, observation: Observation) -> Change {
        match observation {
            Observation::Listing(listing) => self.apply_listing(listing),
            Observation::UserKeys { user, at, keys } => {
                Change { users: self.apply_keys(user, at, keys).into(), account: false }
            }
            Observation::UserGone { user, at } => Change { users: self.apply_gone(&user, at).into(), account: false },
            Observation::Root { at, keys } => Change { users: 0, account: self.root.observe(at, keys) },
            Observation::Details { at, details } => self.apply_details(at, details),
        }
    }

    fn apply_listing(&mut self, listing: Listing) -> Change {
        let (collector, at) = (listing.collector(), listing.at());
        if self.listed_at().is_some_and(|newest| at < newest) {
            return self.apply_older_listing(listing);
        }
        let is_newer = self.listed_at().is_none_or(|newest| newest < at);
        let account = self.listing != Some((collector, at));
        self.listing = Some((collector, at));
        Change { users: self.merge_listing(listing, is_newer), account }
    }

    /// Limits the times of observations to `latest`. After a wall clock was set back, observations from before would be
    /// newer than all that follow, and the account would not change until the clock has caught up.
    pub fn limit_times(&mut self, latest: Timestamp) {
        if let Some((_, at)) = &mut self.listing {
            *at = latest.min(*at);
        }
        self.details.limit_times(latest);
        self.root.limit_times(latest);
        self.users.limit_times(latest);
        for hidden in self.hidden.values_mut() {
            hidden.limit_times(latest);
        }
    }

    /// Evaluates what has changed, and what can have changed by `now`; everything with another policy, or when the clock
    /// was set back, because the next change of a verdict is a later time only.
    pub fn evaluate(&mut self, policy: &Arc<Policy>, now: Timestamp) {
        let other_policy = !Arc::ptr_eq(policy, &self.policy) && **policy != *self.policy;
        self.users.evaluate(&self.account, policy, now, other_policy || now < self.evaluated_at);
        self.policy = Arc::clone(policy);
        self.evaluated_at = now;
        let root = RootSubject { active_keys: self.root.active_keys(), active_since: self.root.active_since };
        self.root.verdict = evaluate_root(&self.account, &root, policy, now);
    }

    /// The users to recheck live, of those whose keys were last read before `before`: users that are unknown, that
    /// violate a rule whose violations are rechecked at every check, or that did since the newest listing; and of the
    /// users that violate other rules, the `in_turn` with the oldest observations.
    pub fn recheck_candidates(&self, before: Timestamp, in_turn: usize) -> Vec<UserName> {
        let mut every = BTreeSet::new();
        let mut others = Vec::new();
        // Keys that a report of this very moment shows in part only have not been read live either.
        let is_due = |e: &&Entry| e.user.attempted_at() < before || matches!(e.user.keys(), Keys::Partial(_));
        for entry in self.users.iter().filter(is_due) {
            match entry.flagged {
                _ if entry.status() == Status::Unknown => {
                    every.insert(&entry.user.name);
                }
                Some(Recheck::EveryCheck) => {
                    every.insert(&entry.user.name);
                }
                Some(Recheck::InTurn) => others.push((entry.user.observed_at(), &entry.user.name)),
                None => {}
            }
        }
        others.sort_unstable();
        every.into_iter().chain(others.into_iter().take(in_turn).map(|(_, name)| name)).cloned().collect()
    }

    /// Sums over all users.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::new();
        for block in self.users.blocks() {
            if let Some(block) = &block.totals {
                totals.add(&block.totals);
            }
        }
        totals
    }

    /// Violations of each enabled rule, in the order of the rules.
    pub fn rule_totals(&self, totals: &Totals) -> Vec<RuleTotal> {
        let enabled: Vec<&Rule> = self.policy.enabled_rules().collect();
        let rules = RULES.iter().enumerate().filter(|(_, rule)| enabled.contains(rule));
        rules
            .map(|(index, rule)| {
                let root = &self.root.verdict;
                let of_root = root.findings.iter().filter(|f| *rule == Rule::Root(f.rule) && is_violation(f.state));
                let violations = u64::from(totals.rules[index].0) + of_root.count() as u64;
                let undetermined = totals.rules[index].1 > 0 || root.undetermined.contains(index);
                RuleTotal { rule, violations: (violations > 0 || !undetermined).then_some(violations) }
            })
            .collect()
    }

    /// Whether any subject is in violation, the root user included.
    pub fn has_violations(&self, totals: &Totals) -> bool {
        totals.users(Status::Violation) > 0
            || self.users.iter().filter_map(|e| e.verdict()).any(Verdict::has_violation)
            || self.root.verdict.findings.iter().any(|f| is_violation(f.state))
    }

    /// Whether exemptions of the policy match a user of this account: one entry for each exemption, `None` if it depends
    /// on tags or groups that are not known.
    pub fn matched_exemptions(&self) -> Vec<Option<bool>> {
        let unmatched = |e: &Exemption| (!e.is_of(self.account.id) || self.details.covers(&e.needs())).then_some(false);
        let mut matched: Vec<_> = self.policy.exemptions.iter().map(unmatched).collect();
        if matched.is_empty() {
            return matched;
        }
        let root = self.policy.exemptions.matching(&self.account, &Subject::root(&self.account.root_arn()));
        let users = self.users.blocks().iter().filter_map(|b| b.totals.as_ref()).flat_map(|t| t.exemptions.iter());
        for index in users.map(|i| *i as usize).chain(root) {
            matched[index] = Some(true);
        }
        matched
    }

    /// The earliest time at which a verdict, or the state of an exemption, can change without a new observation; `None`
    /// if nothing can.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let blocks = self.users.blocks().iter().filter_map(|b| b.totals.as_ref()?.next_change);
        let exemptions = self.policy.exemptions.iter().filter(|e| !e.expired(now)).map(|e| e.expires);
        blocks.chain(self.root.verdict.next_change).chain(exemptions).min()
    }
}

fn is_violation(state: crate::policy::FindingState) -> bool {
    state == crate::policy::FindingState::Violation
}

#[cfg(test)]
mod tests;
