//! Renders the result of `check`. Pure: width, colour and time are arguments.

pub mod access;
pub mod csv;
pub mod json;
mod layout;
pub mod prometheus;
pub mod table;

use crate::model::{AccessKey, AccessKeyId, AccountId, Keys, LastUsed, Timestamp};
use crate::policy::{Advice, FindingState, Status};
use crate::state::{AccountState, Entry, Snapshot, Totals};

/// The result over all accounts, at one moment.
pub struct Reports<'a> {
    /// The accounts that were read, for the Prometheus format.
    pub snapshot: &'a Snapshot,
    /// The accounts that were read, by ID.
    pub accounts: Vec<Report<'a>>,
    /// The accounts that could not be read.
    pub failed: Vec<Failed<'a>>,
    /// Why accounts can be missing: reason and message of a failed listing.
    pub listing_failure: Option<(&'static str, String)>,
    /// Whether accounts of an organisation are checked.
    pub has_organization: bool,
    /// Whether the configuration is about a list of accounts, also if it has one element.
    pub lists_accounts: bool,
    /// The time of the report.
    pub now: Timestamp,
}

/// An account that could not be read.
pub struct Failed<'a> {
    /// `None` if it was not identified.
    pub account: Option<AccountId>,
    /// A display name; empty if there is none.
    pub name: &'a str,
    /// Why, from a closed list.
    pub reason: &'static str,
    /// Why, with the text of AWS.
    pub message: String,
}

impl Failed<'_> {
    fn id(&self) -> String {
        self.account.map_or("of the credentials".to_owned(), |id| id.to_string())
    }
}

impl Reports<'_> {
    /// The sum over the accounts that were read.
    fn users(&self, status: Status) -> u64 {
        self.accounts.iter().map(|report| report.totals.users(status)).sum()
    }
}

/// One account, at one moment.
#[derive(Clone, Copy)]
pub struct Report<'a> {
    /// The account.
    pub state: &'a AccountState,
    /// Sums over its users.
    pub totals: &'a Totals,
    /// The time of the report, from which ages are computed.
    pub now: Timestamp,
    /// Whether access key IDs may be shown.
    pub key_ids: bool,
    /// Keys of the tags that name the owner of a user, in the order of preference; the owner is not shown if empty.
    pub owner_tags: &'a [String],
}

/// A finding of a user or of the root user, with its advice.
struct Reported {
    rule: &'static str,
    since: Timestamp,
    state: FindingState,
    advice: Advice,
    /// By the last known keys: the user could not be read this time.
    last_known: bool,
}

impl<'a> Report<'a> {
    fn users(&self) -> impl Iterator<Item = (&'a Entry, Vec<Reported>)> + use<'a> {
        let (state, now) = (self.state, self.now);
        state.users().iter().map(move |entry| {
            let last_known = matches!(entry.user.keys(), Keys::Unreadable { .. });
            let findings = entry.verdict().map_or(&[][..], |v| &v.findings).iter();
            let reported = findings.map(|f| Reported {
                rule: f.rule.name,
                since: f.since(),
                state: f.state,
                advice: f.advice(&entry.user, state.policy(), now),
                last_known,
            });
            (entry, reported.collect())
        })
    }

    fn root_findings(&self) -> Vec<Reported> {
        let reported = self.state.root.verdict.findings.iter().map(|f| Reported {
            rule: f.rule.name,
            since: f.since,
            state: f.state,
            advice: Advice { reason: f.rule.advice.into(), ..Advice::default() },
            last_known: false,
        });
        reported.collect()
    }

    /// Why an exempt finding is exempt.
    fn exemption_reason(&self, state: FindingState) -> Option<&'a str> {
        state.exemption(self.state.policy()).map(|e| &*e.reason)
    }

    /// Why exemptions by tag or group may not have been applied; `None` if all could be.
    fn details_failure(&self) -> Option<&'static str> {
        self.state.details_failure(&self.state.details_needed())
    }

    fn key_id(&self, key: &'a AccessKey) -> Option<&'a str> {
        key.id.as_ref().filter(|_| self.key_ids).map(AccessKeyId::as_str)
    }
}

fn last_used(key: &AccessKey) -> Option<Timestamp> {
    match key.last_used() {
        LastUsed::At(at) => Some(at),
        LastUsed::Never | LastUsed::Unknown => None,
    }
}

/// Key numbers separated by commas: `1, 2`.
fn list(numbers: &[usize]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
