//! Sums over users: of a block, kept with it; of an account, the sums of its blocks.

use super::entry::Entry;
use crate::model::{KeyStatus, Timestamp};
use crate::policy::{FindingState, RULES, Rule, Status};

/// How many subjects violate a rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RuleTotal {
    /// The rule.
    pub rule: &'static Rule,
    /// `None` when no violation is known and the data do not suffice to evaluate every subject: no number rather than a
    /// reassuring one.
    pub violations: Option<u64>,
}

/// Sums over a block of users.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct BlockTotals {
    pub(super) totals: Totals,
    /// Exemptions of the policy that match a user of the block, ascending.
    pub(super) exemptions: Box<[u32]>,
    pub(super) next_change: Option<Timestamp>,
}

/// Sums over users.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Totals {
    by_status: [u32; Status::ALL.len()],
    active_keys: u32,
    inactive_keys: u32,
    /// For each entry of [`RULES`]: violations, and users for which the data do not suffice.
    pub(super) rules: Box<[(u32, u32)]>,
}

impl Totals {
    pub(super) fn new() -> Self {
        Totals { rules: vec![(0, 0); RULES.len()].into(), ..Totals::default() }
    }

    /// The number of users with this status.
    pub fn users(&self, status: Status) -> u64 {
        self.by_status[status as usize].into()
    }

    /// The number of keys with this status, of users whose keys are known.
    pub fn access_keys(&self, status: KeyStatus) -> u64 {
        match status {
            KeyStatus::Active => self.active_keys.into(),
            KeyStatus::Inactive => self.inactive_keys.into(),
        }
    }

    fn add_entry(&mut self, entry: &Entry) {
        self.by_status[entry.status() as usize] += 1;
        for key in entry.keys().unwrap_or_default() {
            match key.status {
                KeyStatus::Active => self.active_keys += 1,
                KeyStatus::Inactive => self.inactive_keys += 1,
            }
        }
        let Some(verdict) = entry.verdict() else { return };
        for (index, (rule, (violations, undetermined))) in RULES.iter().zip(&mut self.rules).enumerate() {
            let is_violated =
                |f: &crate::policy::Finding| *rule == Rule::User(f.rule) && f.state == FindingState::Violation;
            *violations += u32::from(verdict.findings.iter().any(is_violated));
            *undetermined += u32::from(verdict.undetermined.contains(index));
        }
    }

    pub(super) fn add(&mut self, other: &Totals) {
        for (sum, more) in self.by_status.iter_mut().zip(other.by_status) {
            *sum += more;
        }
        self.active_keys += other.active_keys;
        self.inactive_keys += other.inactive_keys;
        for (sum, more) in self.rules.iter_mut().zip(&other.rules) {
            sum.0 += more.0;
            sum.1 += more.1;
        }
    }
}

impl BlockTotals {
    pub(super) fn of(entries: &[Entry], mut exemptions: Vec<usize>) -> Self {
        let mut totals = Totals::new();
        entries.iter().for_each(|entry| totals.add_entry(entry));
        exemptions.sort_unstable();
        exemptions.dedup();
        BlockTotals {
            totals,
            exemptions: exemptions.into_iter().filter_map(|i| u32::try_from(i).ok()).collect(),
            next_change: entries.iter().filter_map(|e| e.verdict()?.next_change()).min(),
        }
    }
}
