//! Tags and groups of the users of an account.

use super::account::{AccountState, Change};
use super::entry::Entry;
use crate::model::{DetailsResult, DetailsScope, Timestamp, User, UserDetails, UserName};
use std::sync::Arc;

/// Why tags or groups are not known that nothing has tried to read.
const NOT_OBSERVED: &str = "not_observed";

/// The newest observations of tags and groups: a failed one keeps what is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Details {
    known: Option<Known>,
    /// Of the newest failed observation that follows the known one.
    failure: Option<(Timestamp, &'static str)>,
}

#[derive(Debug, Clone)]
struct Known {
    at: Timestamp,
    scope: DetailsScope,
    /// Sorted by name.
    users: Arc<[(UserName, Arc<UserDetails>)]>,
}

impl Details {
    /// What is known of this user. Of a user that was created after the answer nothing is: it was about an earlier user of
    /// that name.
    pub(super) fn of(&self, user: &User) -> Option<Arc<UserDetails>> {
        let known = self.known.as_ref().filter(|known| user.created().is_none_or(|created| created <= known.at))?;
        let index = known.users.binary_search_by(|(name, _)| name.cmp(&user.name)).ok()?;
        Some(Arc::clone(&known.users[index].1))
    }

    pub(super) fn limit_times(&mut self, latest: Timestamp) {
        if let Some(known) = &mut self.known {
            known.at = latest.min(known.at);
        }
        if let Some((at, _)) = &mut self.failure {
            *at = latest.min(*at);
        }
    }

    /// Whether these tags and groups are known, by the last successful observation.
    pub(super) fn covers(&self, needed: &DetailsScope) -> bool {
        needed.is_empty() || self.known.as_ref().is_some_and(|known| known.scope.covers(needed))
    }

    /// Returns whether anything changed.
    fn observe(&mut self, at: Timestamp, details: DetailsResult) -> bool {
        match details {
            DetailsResult::Failed(reason) => {
                let is_newest = self.known.as_ref().is_none_or(|known| known.at <= at)
                    && self.failure.is_none_or(|(failed, _)| failed <= at);
                if is_newest {
                    self.failure = Some((at, reason));
                }
                is_newest
            }
            DetailsResult::Complete { scope, mut users } => {
                let is_newest = self.known.as_ref().is_none_or(|known| known.at <= at);
                if is_newest {
                    users.sort_unstable_by(|a, b| a.0.cmp(&b.0));
                    self.known = Some(Known { at, scope, users: users.into() });
                    self.failure = self.failure.filter(|(failed, _)| *failed > at);
                }
                is_newest
            }
        }
    }
}

impl AccountState {
    pub(super) fn apply_details(&mut self, at: Timestamp, details: DetailsResult) -> Change {
        if !self.details.observe(at, details) {
            return Change::default();
        }
        let is_changed =
            |e: &&Entry| e.user.details() != self.details.of(&e.user).as_deref().unwrap_or(UserDetails::empty());
        let changed: Vec<UserName> = self.users.iter().filter(is_changed).map(|e| e.user.name.clone()).collect();
        for name in &changed {
            if let Some(entry) = self.users.get_mut(name) {
                let details = self.details.of(&entry.user);
                entry.user.set_details(details);
                // Exemptions can depend on them.
                entry.verdict = None;
            }
        }
        Change { users: changed.len(), account: true }
    }

    /// The tags and groups that exemptions need which were in force at the last evaluation.
    pub fn details_needed(&self) -> DetailsScope {
        self.policy().exemptions.needs(self.evaluated_at)
    }

    /// Whether exemptions need tags or groups that are not known although no reading of them failed: the data do not
    /// include them, or they are read with the next check.
    pub fn lacks_details(&self) -> bool {
        self.details_failure(&self.details_needed()) == Some(NOT_OBSERVED)
    }

    /// Why these tags and groups are not known as of now, from a closed list; `None` if they are. The last known ones
    /// stay while reading them fails.
    pub fn details_failure(&self, needed: &DetailsScope) -> Option<&'static str> {
        if needed.is_empty() {
            return None;
        }
        let never = (!self.details.covers(needed)).then_some(NOT_OBSERVED);
        self.details.failure.map(|(_, reason)| reason).or(never)
    }
}
