//! Renders the result of `check`. Pure: width, colour and time are arguments.

pub mod csv;
pub mod json;
mod layout;
pub mod prometheus;
pub mod table;

use crate::model::{AccessKey, LastUsed, Timestamp, User};
use crate::policy::{Finding, FindingState, Status};
use crate::state::{AccountFacts, Snapshot};

/// What is reported: one account of a snapshot, at one moment.
#[derive(Clone, Copy)]
pub struct Report<'a> {
    pub snapshot: &'a Snapshot,
    pub facts: &'a AccountFacts,
    pub now: Timestamp,
    /// Whether access key IDs may be shown.
    pub key_ids: bool,
}

impl<'a> Report<'a> {
    fn users(&self) -> impl Iterator<Item = (&'a User, Status, Vec<&'a Finding>)> + use<'a> {
        let AccountFacts { inventory, evaluation } = self.facts;
        let mut findings = evaluation.findings.iter().peekable();
        inventory.users.iter().zip(&evaluation.statuses).enumerate().map(move |(i, (user, status))| {
            let mut own = Vec::new();
            while let Some(finding) = findings.next_if(|f| f.user == Some(i)) {
                own.push(finding);
            }
            (user, *status, own)
        })
    }

    fn root_findings(&self) -> impl Iterator<Item = &'a Finding> + use<'a> {
        self.facts.evaluation.findings.iter().filter(|f| f.user.is_none())
    }

    /// Why an exempt finding is exempt.
    fn exemption_reason(&self, state: FindingState) -> Option<&'a str> {
        match state {
            FindingState::Exempt { exemption } => self.snapshot.policy.exemptions.get(exemption).map(|e| &*e.reason),
            FindingState::Violation | FindingState::Rotating { .. } => None,
        }
    }

    fn key_id(&self, key: &'a AccessKey) -> Option<&'a str> {
        key.id.as_deref().filter(|_| self.key_ids)
    }
}

fn last_used(key: &AccessKey) -> Option<Timestamp> {
    match key.last_used {
        LastUsed::At(at) => Some(at),
        LastUsed::Never | LastUsed::Unknown => None,
    }
}

/// Key numbers separated by commas: `1, 2`.
fn list(numbers: &[usize]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
